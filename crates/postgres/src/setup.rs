//! What the database's own administrator does once: roles, the schema, and who may sign in as whom.

use std::fmt::Write as _;

use countersign_model::Service;

use crate::settings::{SCHEMA, role_of};

/// The role that owns all tables. Only the authority may be it, and only to change tables.
pub const SCHEMA_ROLE: &str = "countersign_schema";
/// The name of the map in `pg_ident.conf`.
pub const MAP: &str = "countersign";

/// What a superuser runs once in an empty database: roles that own nothing, can't bypass row security and have no
/// password, and the schema. Running it again changes nothing.
#[must_use]
pub fn setup_sql() -> String {
    let mut sql = String::new();
    let roles: Vec<String> = Service::ALL.into_iter().map(role_of).collect();
    for role in roles.iter().map(String::as_str).chain([SCHEMA_ROLE]) {
        let _ = write!(
            sql,
            "DO $$ BEGIN\n  CREATE ROLE {role} LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS NOINHERIT;\n\
             EXCEPTION WHEN duplicate_object THEN NULL; END $$;\n"
        );
    }
    let _ = write!(
        sql,
        "REVOKE ALL ON SCHEMA public FROM PUBLIC;\n\
         CREATE SCHEMA IF NOT EXISTS {SCHEMA} AUTHORIZATION {SCHEMA_ROLE};\n\
         REVOKE ALL ON SCHEMA {SCHEMA} FROM PUBLIC;\n\
         GRANT USAGE ON SCHEMA {SCHEMA} TO {};\n",
        roles.join(", ")
    );
    sql
}

/// Lines for `pg_ident.conf`: each service's certificate, by its common name, is its database role; the authority's is
/// the owner's of the tables too.
#[must_use]
pub fn pg_ident() -> String {
    let mut lines = String::new();
    for service in Service::ALL {
        let _ = writeln!(lines, "{MAP} {service} {}", role_of(service));
    }
    let _ = writeln!(lines, "{MAP} {} {SCHEMA_ROLE}", Service::Authority);
    lines
}

/// Lines for `pg_hba.conf`: services sign in by certificate over TLS from these networks (CIDR), and in no other way.
#[must_use]
pub fn pg_hba(database: &str, networks: &[&str]) -> String {
    let roles: Vec<String> = Service::ALL.into_iter().map(role_of).chain([SCHEMA_ROLE.to_owned()]).collect();
    let roles = roles.join(",");
    let mut lines = String::new();
    for network in networks {
        let _ = writeln!(lines, "hostssl {database} {roles} {network} cert map={MAP}");
    }
    lines
}
