//! What a role was made to set for itself stays in the database; connections made later must not follow it.

use std::sync::Arc;

use anyhow::Result;
use countersign_model::Service;
use countersign_postgres::{Pool, Scope};
use countersign_testkit::{DATABASE, Postgres};

#[tokio::test(flavor = "multi_thread")]
async fn what_a_role_or_a_database_is_set_to_weakens_nothing() -> Result<()> {
    let server = Postgres::start()?;
    let pool = Pool::new(server.settings()?, server.identity(Service::Store)?);
    // A role may do this to itself, and so may whoever has taken it over.
    let mut taken_over = pool.begin(Scope::Service).await?;
    taken_over
        .run(
            "ALTER ROLE CURRENT_USER SET synchronous_commit = off;
             ALTER ROLE CURRENT_USER SET search_path = pg_temp, public;",
        )
        .await?;
    taken_over.commit().await?;
    // And an administrator that.
    let tenant = "00000000-0000-7000-8000-000000000001";
    server.sql("postgres", &format!("ALTER ROLE countersign_store SET countersign.tenant = '{tenant}'"))?;
    server.sql("postgres", &format!("ALTER DATABASE {DATABASE} SET synchronous_commit = local"))?;

    pool.renew();
    let text: Arc<str> = "SELECT current_setting('synchronous_commit'), current_setting('countersign.tenant', true), \
                          current_setting('search_path')"
        .into();
    let mut after = pool.begin(Scope::Service).await?;
    let rows = after.query(&text, &[]).await?;
    let found: Vec<String> = rows.iter().flat_map(|row| (0..3).map(|column| row.get::<_, String>(column))).collect();
    assert_eq!(found, ["on", "", "countersign"]);
    Ok(())
}
