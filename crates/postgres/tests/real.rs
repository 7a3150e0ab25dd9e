//! Against a real server.

use std::sync::Arc;

use anyhow::Result;
use countersign_model::{Service, TenantId};
use countersign_postgres::{CORE, Outcome, PgError, Pool, Scope, migrate};
use countersign_testkit::Postgres;

#[tokio::test(flavor = "multi_thread")]
async fn a_service_signs_in_by_its_certificate_and_as_nobody_else() -> Result<()> {
    let server = Postgres::start()?;
    let pool = Pool::new(server.settings()?, server.identity(Service::Store)?);
    let who: Arc<str> = "SELECT current_user::text".into();
    let mut transaction = pool.begin(Scope::Tenant(TenantId::from_u128(7))).await?;
    let rows = transaction.query(&who, &[]).await?;
    assert_eq!(rows.first().map(|row| row.get::<_, String>(0)), Some("countersign_store".to_owned()));
    assert_eq!(transaction.commit().await?, Outcome::Committed);

    let mut other = server.identity(Service::Keys)?;
    other.slot = server.slot(Service::Gateway)?;
    let pool = Pool::new(server.settings()?, other);
    assert_eq!(pool.begin(Scope::Service).await.err(), Some(PgError::Forbidden));
    migrate(&Pool::new(server.settings()?, server.owner()?), &[CORE]).await?;
    Ok(())
}
