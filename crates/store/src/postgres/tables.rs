//! Tables, and bringing them up to the record types in force while others use them.
//!
//! The role that services have owns nothing; all of this is done as `countersign_schema`, by the authority. Each step can
//! be done again, so that one that was cut off is simply done again from the start; what the tables are is written into
//! `layout` last.
//!
//! - A column is added without a value, which rewrites nothing.
//! - INVARIANT tag-with-cell is a check of the table's own, so that a writer that does not know yet of an index that was just
//!   added is refused. It is added without a look at the rows (`NOT VALID`) and validated afterwards, while others read and
//!   write. A field that is newly indexed has no cells yet (`types_file::merge_knowing`); if it has, the validation fails, and
//!   the tables are made what they were.
//! - The index of a table that is there is built while others write (`CONCURRENTLY`).
//! - What needs a table to itself for a moment lets others pass ([`TableChange`]).

use std::fmt::Write as _;
use std::sync::Arc;

use countersign_postgres::{Migration, PgError, Pool, Scope, TableChange};

use crate::layout::{Index, Layout, TypeLayout};

/// The tables that do not depend on record types.
pub const RECORDS: Migration = Migration {
    part: "records",
    steps: &["
        CREATE TABLE layout (one boolean PRIMARY KEY CHECK (one), version bigint NOT NULL, types text NOT NULL);
        INSERT INTO layout VALUES (true, 0, '');
        ALTER TABLE layout ENABLE ROW LEVEL SECURITY;
        ALTER TABLE layout FORCE ROW LEVEL SECURITY;
        CREATE POLICY own ON layout USING (current_user IN ('countersign_store', 'countersign_schema'));
        GRANT SELECT ON layout TO countersign_store;

        CREATE TABLE tenant (tenant uuid PRIMARY KEY);
        ALTER TABLE tenant ENABLE ROW LEVEL SECURITY;
        ALTER TABLE tenant FORCE ROW LEVEL SECURITY;
        CREATE POLICY own ON tenant USING (current_user = 'countersign_store');
        GRANT SELECT, INSERT ON tenant TO countersign_store;

        CREATE TABLE written (tenant uuid NOT NULL, id uuid NOT NULL, at timestamptz NOT NULL, PRIMARY KEY (tenant, id));
        CREATE INDEX written_at ON written (tenant, at);
        ALTER TABLE written ENABLE ROW LEVEL SECURITY;
        ALTER TABLE written FORCE ROW LEVEL SECURITY;
        CREATE POLICY tenant ON written
            USING (tenant = nullif(current_setting('countersign.tenant', true), '')::uuid)
            WITH CHECK (tenant = nullif(current_setting('countersign.tenant', true), '')::uuid);
        GRANT SELECT, INSERT, UPDATE, DELETE ON written TO countersign_store;

        CREATE TABLE once (tenant uuid NOT NULL, id bytea NOT NULL, at bigint NOT NULL, request bytea NOT NULL,
            answer bytea NOT NULL, PRIMARY KEY (tenant, id));
        CREATE INDEX once_at ON once (tenant, at);
        ALTER TABLE once ENABLE ROW LEVEL SECURITY;
        ALTER TABLE once FORCE ROW LEVEL SECURITY;
        CREATE POLICY tenant ON once
            USING (tenant = nullif(current_setting('countersign.tenant', true), '')::uuid)
            WITH CHECK (tenant = nullif(current_setting('countersign.tenant', true), '')::uuid);
        GRANT SELECT, INSERT, UPDATE (at), DELETE ON once TO countersign_store;
    ", KEY_EPOCHS, PAST, ERASURE],
};

/// A tenant that is erased is not there any more.
const ERASURE: &str = "GRANT DELETE ON tenant TO countersign_store;";

/// Times of changes, and what records were before them.
const PAST: &str = "
        CREATE TABLE past (tenant uuid PRIMARY KEY, since bigint NOT NULL);
        ALTER TABLE past ENABLE ROW LEVEL SECURITY;
        ALTER TABLE past FORCE ROW LEVEL SECURITY;
        CREATE POLICY tenant ON past
            USING (tenant = nullif(current_setting('countersign.tenant', true), '')::uuid)
            WITH CHECK (tenant = nullif(current_setting('countersign.tenant', true), '')::uuid);
        GRANT SELECT, INSERT, UPDATE (since), DELETE ON past TO countersign_store;
        ALTER TABLE layout ADD COLUMN past_since bigint NOT NULL DEFAULT 0;
        UPDATE layout SET past_since = extract(epoch FROM now()) * 1000 WHERE types <> '';
        DO $$
        DECLARE t record;
                f record;
        BEGIN
            FOR t IN SELECT table_name::text AS r, substr(table_name, 2) AS n FROM information_schema.tables
                     WHERE table_schema = 'countersign' AND table_name ~ '^r[0-9]+$' LOOP
                EXECUTE format('ALTER TABLE %I ADD COLUMN at bigint NOT NULL DEFAULT 0', t.r);
                EXECUTE format('GRANT UPDATE (at) ON %I TO countersign_store', t.r);
                EXECUTE format('CREATE TABLE h%s (LIKE %I, until bigint NOT NULL, PRIMARY KEY (tenant, id, version))',
                    t.n, t.r);
                EXECUTE format('CREATE INDEX j%suntil ON h%s (tenant, until)', t.n, t.n);
                EXECUTE format('ALTER TABLE h%s ENABLE ROW LEVEL SECURITY', t.n);
                EXECUTE format('ALTER TABLE h%s FORCE ROW LEVEL SECURITY', t.n);
                EXECUTE format('CREATE POLICY tenant ON h%s
                    USING (tenant = nullif(current_setting(''countersign.tenant'', true), '''')::uuid)
                    WITH CHECK (tenant = nullif(current_setting(''countersign.tenant'', true), '''')::uuid)', t.n);
                EXECUTE format('GRANT SELECT, INSERT, UPDATE, DELETE ON h%s TO countersign_store', t.n);
                FOR f IN SELECT substr(i.relname, length(t.n) + 3) AS field FROM pg_index x
                         JOIN pg_class i ON i.oid = x.indexrelid
                         WHERE x.indrelid = t.r::regclass AND x.indisunique AND NOT x.indisprimary LOOP
                    EXECUTE format('CREATE INDEX j%sx%s ON h%s (tenant, x%s, id)', t.n, f.field, t.n, f.field);
                END LOOP;
            END LOOP;
        END $$;
";

/// The key epochs that tenants are at, and what their keys have sealed.
const KEY_EPOCHS: &str = "
        CREATE TABLE key_epoch (tenant uuid PRIMARY KEY, epoch bigint NOT NULL, progress bytea);
        ALTER TABLE key_epoch ENABLE ROW LEVEL SECURITY;
        ALTER TABLE key_epoch FORCE ROW LEVEL SECURITY;
        CREATE POLICY tenant ON key_epoch
            USING (tenant = nullif(current_setting('countersign.tenant', true), '')::uuid)
            WITH CHECK (tenant = nullif(current_setting('countersign.tenant', true), '')::uuid);
        GRANT SELECT, INSERT, UPDATE (epoch, progress), DELETE ON key_epoch TO countersign_store;

        CREATE TABLE seal_count (tenant uuid NOT NULL, type integer NOT NULL, field integer NOT NULL,
            epoch bigint NOT NULL, sealed bigint NOT NULL, PRIMARY KEY (tenant, type, field, epoch));
        ALTER TABLE seal_count ENABLE ROW LEVEL SECURITY;
        ALTER TABLE seal_count FORCE ROW LEVEL SECURITY;
        CREATE POLICY tenant ON seal_count
            USING (tenant = nullif(current_setting('countersign.tenant', true), '')::uuid)
            WITH CHECK (tenant = nullif(current_setting('countersign.tenant', true), '')::uuid);
        GRANT SELECT, INSERT, UPDATE (sealed), DELETE ON seal_count TO countersign_store;
    ";

/// The layout of the tables, and its version.
pub(super) async fn stored(pool: &Arc<Pool>) -> Result<(i64, Layout), PgError> {
    let text: Arc<str> = "SELECT version, types FROM layout".into();
    let rows = pool.patiently(async || pool.begin(Scope::Service).await?.read(&text, &[]).await).await?;
    let row = rows.first().ok_or(PgError::Damaged)?;
    let layout = Layout::parse(row.try_get(1)?).map_err(|_| PgError::Damaged)?;
    Ok((row.try_get(0)?, layout))
}

/// Brings the tables up to `wanted`. `pool` is that of their owner.
pub(super) async fn bring(pool: &Arc<Pool>, wanted: &Layout) -> Result<(), PgError> {
    let write: Arc<str> = "UPDATE layout SET version = version + 1, types = $2 WHERE version = $1".into();
    loop {
        let (version, old) = stored(pool).await?;
        let new = old.grown_to(wanted);
        if new == old {
            return Ok(());
        }
        let steps = Steps::between(&old, &new);
        TableChange::new(pool).run(&steps.together).await?;
        if let Err(error) = pool.alone(&steps.alone).await {
            if matches!(error, PgError::Refused { .. } | PgError::Unique { .. }) {
                // Records stand against it. They go on as before; that this fails too is told by the next attempt.
                let back = Steps::between(&new, &old);
                TableChange::new(pool).run(&back.together).await?;
                pool.alone(&back.alone).await?;
            }
            return Err(error);
        }
        let types = new.to_text();
        let mut transaction = pool.begin(Scope::Service).await?;
        let written = transaction.execute(&write, &[&version, &types]).await?;
        match transaction.commit().await {
            Ok(_) if written == 1 => return Ok(()),
            // Somebody else was faster, and perhaps made something else of it; or it was us, unheard.
            Ok(_) | Err(PgError::Unknown) => {}
            Err(error) => return Err(error),
        }
    }
}

/// What turns tables of one layout into those of another.
struct Steps {
    /// In one transaction.
    together: String,
    /// After that, each by itself.
    alone: Vec<String>,
}

impl Steps {
    fn between(old: &Layout, new: &Layout) -> Self {
        let mut steps = Self { together: String::new(), alone: Vec::new() };
        let nothing = TypeLayout::default();
        for (place, record_type) in new.types().iter().enumerate() {
            let known = old.types().get(place);
            if known.is_none() {
                steps.push(format_args!(
                    "CREATE TABLE IF NOT EXISTS r{place} (
                         tenant uuid NOT NULL, id uuid NOT NULL, version bigint NOT NULL, at bigint NOT NULL DEFAULT 0,
                         PRIMARY KEY (tenant, id));
                     CREATE TABLE IF NOT EXISTS h{place} (
                         tenant uuid NOT NULL, id uuid NOT NULL, version bigint NOT NULL, at bigint NOT NULL,
                         until bigint NOT NULL, PRIMARY KEY (tenant, id, version));
                     CREATE INDEX IF NOT EXISTS j{place}until ON h{place} (tenant, until);
                     ALTER TABLE h{place} ENABLE ROW LEVEL SECURITY;
                     ALTER TABLE h{place} FORCE ROW LEVEL SECURITY;
                     DROP POLICY IF EXISTS tenant ON h{place};
                     CREATE POLICY tenant ON h{place}
                         USING (tenant = nullif(current_setting('countersign.tenant', true), '')::uuid)
                         WITH CHECK (tenant = nullif(current_setting('countersign.tenant', true), '')::uuid);
                     GRANT SELECT, INSERT, UPDATE, DELETE ON h{place} TO countersign_store;
                     ALTER TABLE r{place} ENABLE ROW LEVEL SECURITY;
                     ALTER TABLE r{place} FORCE ROW LEVEL SECURITY;
                     DROP POLICY IF EXISTS tenant ON r{place};
                     CREATE POLICY tenant ON r{place}
                         USING (tenant = nullif(current_setting('countersign.tenant', true), '')::uuid)
                         WITH CHECK (tenant = nullif(current_setting('countersign.tenant', true), '')::uuid);
                     GRANT SELECT, INSERT, DELETE ON r{place} TO countersign_store;
                     GRANT UPDATE (version, at) ON r{place} TO countersign_store;"
                ));
            }
            let before = known.unwrap_or(&nothing);
            for (field, &index) in record_type.fields().iter().enumerate() {
                let was = before.fields().get(field).copied();
                if was != Some(index) {
                    steps.field((place, field), was, index, known.is_none());
                }
            }
        }
        steps
    }

    /// `fresh`: nobody knows of the table yet.
    fn field(&mut self, (place, field): (usize, usize), was: Option<Index>, index: Index, fresh: bool) {
        if was.is_none() {
            self.push(format_args!(
                "ALTER TABLE r{place} ADD COLUMN IF NOT EXISTS c{field} bytea;
             ALTER TABLE h{place} ADD COLUMN IF NOT EXISTS c{field} bytea;
             GRANT UPDATE (c{field}) ON r{place} TO countersign_store;"
            ));
        }
        // Of another kind, or left half built by a step that was cut off.
        self.push(format_args!("DROP INDEX IF EXISTS i{place}x{field}; DROP INDEX IF EXISTS j{place}x{field};"));
        if index == Index::None {
            // Its check goes with it.
            for table in ['r', 'h'] {
                self.push(format_args!("ALTER TABLE {table}{place} DROP COLUMN IF EXISTS x{field};"));
            }
            return;
        }
        self.push(format_args!(
            "ALTER TABLE r{place} ADD COLUMN IF NOT EXISTS x{field} bytea;
             ALTER TABLE h{place} ADD COLUMN IF NOT EXISTS x{field} bytea;
             GRANT UPDATE (x{field}) ON r{place} TO countersign_store;
             ALTER TABLE r{place} DROP CONSTRAINT IF EXISTS k{place}x{field};
             ALTER TABLE r{place} ADD CONSTRAINT k{place}x{field} CHECK ((c{field} IS NULL) = (x{field} IS NULL)) NOT VALID;"
        ));
        // Records of one tag lie in the index in the order of their ids, so that a page of them is one short walk.
        let (unique, columns) = match index {
            Index::Unique => ("UNIQUE ", format!("tenant, x{field}")),
            Index::Plain | Index::None => ("", format!("tenant, x{field}, id")),
        };
        let online = if fresh { "" } else { "CONCURRENTLY " };
        let create = format!("CREATE {unique}INDEX {online}i{place}x{field} ON r{place} ({columns})");
        let validate = format!("ALTER TABLE r{place} VALIDATE CONSTRAINT k{place}x{field}");
        if fresh {
            self.push(format_args!("{create};\n{validate};"));
        } else {
            self.alone.extend([validate, create]);
        }
        // What was is found by the tags of unique fields, as a key is one: each more costs a write.
        if index == Index::Unique {
            let create = format!("CREATE INDEX {online}j{place}x{field} ON h{place} (tenant, x{field}, id)");
            if fresh { self.push(format_args!("{create};")) } else { self.alone.push(create) }
        }
    }

    fn push(&mut self, statement: std::fmt::Arguments<'_>) {
        // Writing to a string can't fail.
        let _ = self.together.write_fmt(statement);
        self.together.push('\n');
    }
}
