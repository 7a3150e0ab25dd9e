//! What each service's role may do in the database, and what it tries in vain.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context as _, Result, ensure};
use countersign::compose::TABLES;
use countersign_crypto::SystemEntropy;
use countersign_model::{Service, TenantId};
use countersign_postgres::{Identity, PgError, Pool, SCHEMA, SCHEMA_ROLE, Scope, migrate, role_of};
use countersign_store::postgres::PostgresStore;
use countersign_store::{Store as _, types_file};
use countersign_testkit::{DATABASE, Postgres};

use crate::root;

/// A server with all tables that there are.
async fn prepared() -> Result<Postgres> {
    let server = Postgres::start()?;
    let owner = Pool::new(server.settings()?, server.owner()?);
    migrate(&owner, &TABLES).await?;
    let pool = Pool::new(server.settings()?, server.identity(Service::Store)?);
    let store = PostgresStore::new(pool, Some(owner), Arc::new(SystemEntropy));
    let types = std::fs::read_to_string(root().join("examples/trading/types.toml"))?;
    store.apply_types(&types_file::parse(&types)?).await?;
    Ok(server)
}

fn rows(server: &Postgres, sql: &str) -> Result<Vec<String>> {
    Ok(server.sql(DATABASE, sql)?.lines().map(str::to_owned).collect())
}

/// Whatever tables are ever added: these hold for all of them.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "starts a database; a step of `cargo xtask test` runs it"]
async fn every_table_is_the_owners_and_shows_a_tenants_rows_to_nobody_unasked() -> Result<()> {
    let server = prepared().await?;
    let here = format!("relnamespace = '{SCHEMA}'::regnamespace");
    let tables = rows(&server, &format!("SELECT relname FROM pg_class WHERE {here} AND relkind IN ('r', 'p')"))?;
    ensure!(tables.len() > 10, "only {} tables", tables.len());

    let none = |what: &str, sql: String| -> Result<()> {
        let found = rows(&server, &sql)?;
        ensure!(found.is_empty(), "{what}: {found:?}");
        Ok(())
    };
    let of_tenants = "EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attname = 'tenant')";
    none(
        "tables with tenants' rows whose row security is not forced, or that have no policy",
        format!(
            "SELECT relname FROM pg_class c WHERE {here} AND relkind IN ('r', 'p') AND {of_tenants} AND NOT \
             (relrowsecurity AND relforcerowsecurity AND EXISTS (SELECT FROM pg_policy WHERE polrelid = c.oid))"
        ),
    )?;
    none(
        "keys and unique indexes of tenants' rows in which the tenant is not first",
        format!(
            "SELECT i.indexrelid::regclass FROM pg_index i JOIN pg_class c ON c.oid = i.indrelid \
             WHERE {here} AND {of_tenants} AND (SELECT attname FROM pg_attribute a WHERE a.attrelid = c.oid \
             AND a.attnum = i.indkey[0]) <> 'tenant'"
        ),
    )?;
    none(
        "what is not its owner's",
        format!("SELECT relname FROM pg_class WHERE {here} AND relowner <> '{SCHEMA_ROLE}'::regrole"),
    )?;
    none(
        "views, which see what their owner sees",
        format!("SELECT relname FROM pg_class WHERE {here} AND relkind IN ('v', 'm', 'f')"),
    )?;
    none(
        "rights for everybody",
        format!(
            "SELECT relname FROM pg_class, aclexplode(relacl) WHERE {here} AND grantee = 0 \
             UNION ALL SELECT nspname FROM pg_namespace, aclexplode(nspacl) \
             WHERE nspname IN ('{SCHEMA}', 'public') AND grantee = 0"
        ),
    )?;
    none(
        "rights that can be passed on",
        format!(
            "SELECT relname FROM pg_class, aclexplode(relacl) a WHERE {here} AND a.is_grantable AND a.grantee <> relowner"
        ),
    )?;
    none("functions", format!("SELECT proname FROM pg_proc WHERE pronamespace = '{SCHEMA}'::regnamespace"))?;
    none("functions with their owner's rights", "SELECT proname FROM pg_proc WHERE prosecdef".into())?;
    none(
        "triggers",
        format!("SELECT tgname FROM pg_trigger t JOIN pg_class c ON c.oid = tgrelid WHERE {here} AND NOT tgisinternal"),
    )?;
    none("extensions", "SELECT extname FROM pg_extension WHERE extname <> 'plpgsql'".into())?;
    none(
        "roles with a power, or that are members of others",
        "SELECT rolname FROM pg_roles r WHERE rolname LIKE 'countersign%' AND (rolsuper OR rolcreaterole OR \
         rolcreatedb OR rolreplication OR rolbypassrls OR EXISTS (SELECT FROM pg_auth_members WHERE member = r.oid))"
            .into(),
    )
}

/// Who may do what with each table and column, held against a file that somebody has read.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "starts a database; a step of `cargo xtask test` runs it"]
async fn rights_are_the_least() -> Result<()> {
    let server = prepared().await?;
    let sql = format!(
        "SELECT c.relname || ' ' || substr(g.grantee::regrole::text, 13) || ' ' || string_agg(DISTINCT g.right, ' ' ORDER BY g.right)
         FROM pg_class c, LATERAL (
             SELECT grantee, lower(privilege_type) AS right FROM aclexplode(c.relacl)
             UNION ALL
             SELECT x.grantee, lower(x.privilege_type) || '(columns)'
             FROM pg_attribute a, aclexplode(a.attacl) x WHERE a.attrelid = c.oid
         ) g
         WHERE c.relnamespace = '{SCHEMA}'::regnamespace AND c.relkind IN ('r', 'p')
             AND g.grantee <> '{SCHEMA_ROLE}'::regrole
         GROUP BY c.relname, g.grantee ORDER BY 1"
    );
    let mut found = String::from("# table, role, rights. Nobody has any other; the owner's are not listed.\n");
    for line in rows(&server, &sql)? {
        let _ = writeln!(found, "{line}");
    }
    let file = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/shown/database/rights.txt");
    if std::env::var_os("UPDATE_PAGES").is_some() {
        std::fs::write(&file, &found)?;
    }
    let reviewed = std::fs::read_to_string(&file).with_context(|| file.display().to_string())?;
    assert_eq!(found, reviewed, "read the difference; then: UPDATE_PAGES=1");
    Ok(())
}

/// What a service that was taken over, or a statement that somebody smuggled in, might try.
const IN_VAIN: &[&str] = &[
    "CREATE TABLE countersign.mine (a integer)",
    "CREATE TABLE public.mine (a integer)",
    "CREATE SCHEMA mine",
    "CREATE FUNCTION countersign.mine() RETURNS integer LANGUAGE sql AS 'SELECT 1'",
    "CREATE EXTENSION file_fdw",
    "CREATE ROLE mine",
    "ALTER TABLE r1 DISABLE ROW LEVEL SECURITY",
    "ALTER TABLE r1 NO FORCE ROW LEVEL SECURITY",
    "ALTER TABLE r1 OWNER TO CURRENT_USER",
    "CREATE POLICY mine ON r1 USING (true)",
    "DROP POLICY tenant ON r1",
    "DROP TABLE r1",
    "TRUNCATE r1",
    "CREATE INDEX ON r1 (c1)",
    "CREATE TRIGGER mine BEFORE INSERT ON r1 FOR EACH ROW EXECUTE FUNCTION suppress_redundant_updates_trigger()",
    "SET ROLE countersign_schema",
    "SET ROLE postgres",
    "SET SESSION AUTHORIZATION postgres",
    "ALTER ROLE CURRENT_USER BYPASSRLS",
    "ALTER ROLE CURRENT_USER SUPERUSER",
    "ALTER ROLE CURRENT_USER SET countersign.tenant = '00000000-0000-7000-8000-000000000001'",
    "GRANT countersign_schema TO CURRENT_USER",
    "GRANT pg_read_all_data TO CURRENT_USER",
    "SET session_replication_role = replica",
    "SET log_statement = 'all'",
    "COPY r1 TO '/tmp/countersign-mine'",
    "COPY r1 TO PROGRAM 'cat'",
    "COPY r1 FROM '/etc/passwd'",
    "SELECT pg_read_file('PG_VERSION')",
    "SELECT pg_ls_dir('.')",
    "SELECT lo_import('/etc/passwd')",
    "SELECT rolpassword FROM pg_authid",
    "SELECT pg_reload_conf()",
    "SELECT pg_switch_wal()",
    "SELECT pg_create_physical_replication_slot('mine')",
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'postgres'",
];

#[tokio::test(flavor = "multi_thread")]
#[ignore = "starts a database; a step of `cargo xtask test` runs it"]
async fn a_service_takes_no_more_than_it_has() -> Result<()> {
    let server = Arc::new(prepared().await?);
    // Somebody's session for the last of them to end.
    let held = Arc::clone(&server);
    let session = tokio::task::spawn_blocking(move || held.sql("postgres", "SELECT pg_sleep(8)"));
    for service in Service::ALL {
        let pool = pool(&server, service)?;
        for attempt in IN_VAIN {
            let mut transaction = pool.begin(Scope::Tenant(tenant(1))).await?;
            match transaction.run(attempt).await {
                // Insufficient privilege; or an object that this role may not even know of.
                Err(PgError::Refused { state }) if ["42501", "42P01", "42704"].contains(&state.as_str()) => {}
                other => anyhow::bail!("the {service}: {attempt}: {other:?}"),
            }
        }
        // It fails rather than showing more.
        for table in tables_of(&server, &role_of(service))? {
            let mut transaction = pool.begin(Scope::Tenant(tenant(1))).await?;
            transaction.run("SET LOCAL row_security = off").await?;
            let text: Arc<str> = format!("SELECT 1::bigint FROM {table} LIMIT 1").into();
            let answer = transaction.query(&text, &[]).await;
            let is_secured = secured(&server)?.contains(&table);
            ensure!(answer.is_err() == is_secured, "the {service}: {table} with row security off: {answer:?}");
        }
        // What others do is not shown.
        let mut transaction = pool.begin(Scope::Service).await?;
        let text: Arc<str> =
            "SELECT count(*) FROM pg_stat_activity WHERE usename <> current_user AND query LIKE '%pg_sleep%'".into();
        let seen: i64 = transaction.query(&text, &[]).await?.first().context("no row")?.try_get(0)?;
        ensure!(seen == 0, "the {service} sees others' statements");
    }
    session.await??;
    Ok(())
}

/// Which tables a role may read.
fn tables_of(server: &Postgres, role: &str) -> Result<Vec<String>> {
    rows(
        server,
        &format!(
            "SELECT relname FROM pg_class WHERE relnamespace = '{SCHEMA}'::regnamespace AND relkind = 'r' \
             AND has_table_privilege('{role}', oid, 'SELECT')"
        ),
    )
}

fn secured(server: &Postgres) -> Result<Vec<String>> {
    rows(
        server,
        &format!("SELECT relname FROM pg_class WHERE relnamespace = '{SCHEMA}'::regnamespace AND relrowsecurity"),
    )
}

fn pool(server: &Postgres, service: Service) -> Result<Arc<Pool>> {
    let identity: Identity = server.identity(service)?;
    Ok(Pool::new(server.settings()?, identity))
}

fn tenant(number: u128) -> TenantId {
    TenantId::from_u128((0x7 << 76) | number)
}
