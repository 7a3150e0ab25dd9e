//! What a role sees of the database once it has signed in.

use std::sync::Arc;

use countersign_postgres::{PgError, Pool, Row, SCHEMA, SCHEMA_ROLE, Scope, ToSql, Transaction};

use super::{Finding, State};
use crate::compose::database::TABLES;

/// Versions of PostgreSQL that this is made for.
const VERSIONS: std::ops::RangeInclusive<i32> = 13..=18;

/// Signs in and looks. What is the same for every role is looked at once, and goes to `of_server`.
pub(super) async fn look(
    pool: &Arc<Pool>,
    role: &str,
    of_server: &mut Option<Vec<Finding>>,
) -> Result<Vec<Finding>, PgError> {
    let mut found = Vec::new();
    let mut transaction = pool.begin(Scope::Service).await?;
    let tls = one(
        &mut transaction,
        "SELECT coalesce(version, 'no TLS'), coalesce(client_serial IS NOT NULL, false) \
         FROM pg_catalog.pg_stat_ssl WHERE pid = pg_backend_pid()",
        &[],
    )
    .await?;
    let (version, by_certificate): (String, bool) = (tls.try_get(0)?, tls.try_get(1)?);
    found.push(Finding::of(
        by_certificate,
        "signs in",
        if by_certificate { format!("by certificate, {version}") } else { format!("without a certificate, {version}") },
    ));
    found.push(rights(&mut transaction).await?);
    found.push(owns(&mut transaction, role == SCHEMA_ROLE).await?);
    if of_server.is_none() {
        *of_server = Some(server(&mut transaction).await?);
    }
    if role == SCHEMA_ROLE {
        found.extend(tables(&mut transaction).await?);
    }
    transaction.roll_back().await?;
    Ok(found)
}

async fn one(transaction: &mut Transaction, text: &str, params: &[&(dyn ToSql + Sync)]) -> Result<Row, PgError> {
    transaction.query(&text.into(), params).await?.pop().ok_or(PgError::Damaged)
}

/// Whether it may do more than it should.
async fn rights(transaction: &mut Transaction) -> Result<Finding, PgError> {
    let text = "SELECT rolsuper, rolbypassrls, rolcreaterole, rolcreatedb, rolreplication, \
                    EXISTS (SELECT FROM pg_catalog.pg_auth_members WHERE member = r.oid) \
                FROM pg_catalog.pg_roles r WHERE rolname = current_user";
    let row = one(transaction, text, &[]).await?;
    let mut too_much = Vec::new();
    for (at, what) in [
        "is a superuser",
        "can bypass row security",
        "can make roles",
        "can make databases",
        "can replicate",
        "is a member of another role",
    ]
    .into_iter()
    .enumerate()
    {
        if row.try_get::<_, bool>(at)? {
            too_much.push(what);
        }
    }
    let fine = too_much.is_empty();
    Ok(Finding::of(fine, "rights", if fine { "none but those granted".to_owned() } else { too_much.join(", ") }))
}

/// What it owns: nothing, or the tables of the one schema.
async fn owns(transaction: &mut Transaction, is_owner: bool) -> Result<Finding, PgError> {
    let text = "SELECT \
            (SELECT count(*) FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
                WHERE c.relowner = r.oid AND c.relkind IN ('r', 'p', 'v', 'm') AND n.nspname = $1), \
            (SELECT count(*) FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
                WHERE c.relowner = r.oid AND c.relkind IN ('r', 'p', 'v', 'm') AND n.nspname <> $1) \
            + (SELECT count(*) FROM pg_catalog.pg_namespace WHERE nspowner = r.oid AND nspname <> $1) \
            + (SELECT count(*) FROM pg_catalog.pg_database WHERE datdba = r.oid), \
            EXISTS (SELECT FROM pg_catalog.pg_namespace WHERE nspowner = r.oid AND nspname = $1) \
        FROM pg_catalog.pg_roles r WHERE rolname = current_user";
    let schema = SCHEMA.to_owned();
    let row = one(transaction, text, &[&schema]).await?;
    let (inside, outside, schema): (i64, i64, bool) = (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
    Ok(if is_owner {
        let found = match (schema, outside) {
            (false, _) => format!("not the schema {SCHEMA}: run what `postgres sql` prints"),
            (true, 0) => format!("the schema {SCHEMA} and {inside} tables in it"),
            (true, _) => format!("{outside} things outside the schema {SCHEMA}"),
        };
        Finding::of(schema && outside == 0, "owns", found)
    } else {
        let all = inside.saturating_add(outside).saturating_add(i64::from(schema));
        Finding::of(all == 0, "owns", if all == 0 { "nothing".to_owned() } else { format!("{all} things") })
    })
}

/// The server that was reached, and how it commits.
async fn server(transaction: &mut Transaction) -> Result<Vec<Finding>, PgError> {
    let text = "SELECT current_setting('server_version_num')::int / 10000, current_setting('server_version'), \
                    current_setting('synchronous_commit'), current_setting('synchronous_standby_names'), \
                    current_setting('fsync'), current_setting('full_page_writes'), current_setting('max_connections')";
    let row = one(transaction, text, &[]).await?;
    let major: i32 = row.try_get(0)?;
    let word = |at: usize| row.try_get::<_, String>(at).map_err(PgError::from);
    let (version, commit, standbys) = (word(1)?, word(2)?, word(3)?);
    let (fsync, pages) = (word(4)?, word(5)?);
    let state = if VERSIONS.contains(&major) { State::Right } else { State::Note };
    let mut found = vec![Finding::new(state, "server", format!("PostgreSQL {version}; made for 13 to 18"))];
    let waits = matches!(commit.as_str(), "on" | "remote_apply");
    found.push(match (waits, standbys.is_empty()) {
        (false, _) => Finding::new(
            State::Wrong,
            "commits",
            format!("synchronous_commit = {commit}: what is acknowledged could be lost; set it to on"),
        ),
        (true, true) => {
            Finding::new(State::Note, "commits", "no synchronous standby: what is acknowledged is on this server alone")
        }
        (true, false) => Finding::new(State::Right, "commits", format!("confirmed by {standbys}")),
    });
    let durable = fsync == "on" && pages == "on";
    found.push(Finding::of(durable, "disk", format!("fsync = {fsync}, full_page_writes = {pages}")));
    found.push(Finding::new(State::Note, "connections", format!("{} at most, for everybody together", word(6)?)));
    Ok(found)
}

/// The tables, as their owner sees them.
async fn tables(transaction: &mut Transaction) -> Result<Vec<Finding>, PgError> {
    let text = "SELECT EXISTS (SELECT FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n \
                    ON n.oid = c.relnamespace WHERE n.nspname = $1 AND c.relname = 'migration')";
    let schema = SCHEMA.to_owned();
    if !one(transaction, text, &[&schema]).await?.try_get::<_, bool>(0)? {
        return Ok(vec![Finding::new(State::Note, "tables", "none yet: `countersign move` makes them")]);
    }
    let mut found = Vec::new();
    let rows = transaction.query(&"SELECT part, version FROM migration".into(), &[]).await?;
    let mut at: Vec<(String, i32)> = Vec::new();
    for row in rows {
        at.push((row.try_get(0)?, row.try_get(1)?));
    }
    let (mut right, mut wrong) = (Vec::new(), Vec::new());
    for migration in TABLES {
        let known = i32::try_from(migration.steps.len()).unwrap_or(i32::MAX);
        let version = at.iter().find(|(part, _)| part == migration.part).map_or(0, |(_, version)| *version);
        let text = format!("{} {version}", migration.part);
        if version == known { right.push(text) } else { wrong.push(format!("{text} and not {known}")) }
    }
    found.push(match wrong.is_empty() {
        true => Finding::new(State::Right, "tables", format!("at their versions: {}", right.join(", "))),
        false => Finding::new(
            State::Wrong,
            "tables",
            format!("{}: the authority brings them up to date when it is served", wrong.join(", ")),
        ),
    });
    let text = "SELECT c.relname, c.relrowsecurity AND c.relforcerowsecurity, \
                    EXISTS (SELECT FROM pg_catalog.pg_policy WHERE polrelid = c.oid) \
                FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
                WHERE n.nspname = $1 AND c.relkind IN ('r', 'p') AND EXISTS ( \
                    SELECT FROM pg_catalog.pg_attribute a \
                    WHERE a.attrelid = c.oid AND a.attname = 'tenant' AND NOT a.attisdropped) ORDER BY 1";
    let rows = transaction.query(&text.into(), &[&schema]).await?;
    let (mut forced, mut open) = (0_usize, Vec::new());
    for row in rows {
        let (name, is_forced, has_policy): (String, bool, bool) = (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
        if is_forced && has_policy { forced = forced.saturating_add(1) } else { open.push(name) }
    }
    found.push(match open.is_empty() {
        true => Finding::new(State::Right, "row security", format!("forced on all {forced} tables of tenants' rows")),
        false => Finding::new(State::Wrong, "row security", format!("not forced on {}", open.join(", "))),
    });
    Ok(found)
}
