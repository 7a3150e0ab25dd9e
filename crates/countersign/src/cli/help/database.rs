//! Texts of `--help` for what has to do with databases.

pub(crate) const MOVE: &str = "\
A server that has the deployment open does the work, and goes on with it if it is stopped and started again; \
this command watches, and may be ended and run again. Requests are answered meanwhile; they wait for a moment \
while it is switched over. What was in the old place stays there until somebody deletes it. docs/postgres.md \
tells what the database needs first.

Examples:
  countersign --dir ./deployment move --to postgres://db1.internal,db2.internal/countersign
  countersign --dir ./deployment move --to postgres://db.internal/countersign --server-ca db-ca.pem
  countersign --dir ./deployment move --to embedded
  countersign --dir ./deployment move --stop";

pub(crate) const HA: &str = "\
Examples:
  countersign ha example > inventory.toml
  countersign ha render inventory.toml --to ./cluster
  countersign --dir ./authority ha certificates inventory.toml frankfurt --to /etc/countersign-ha";

pub(crate) const POSTGRES: &str = "\
Examples:
  countersign postgres sql | psql --dbname countersign
  countersign postgres hba --network 10.0.0.0/8
  countersign postgres ident
  countersign --dir ./deployment postgres certificate db1.internal --out /etc/postgresql/tls
  countersign --dir ./deployment postgres check --address postgres://db1.internal/countersign

docs/postgres.md has the whole way from nothing to a deployment that has moved.";

pub(crate) const POSTGRES_SQL: &str = "\
A superuser, or whoever may make roles and schemas, runs it in the database that is to be used. Running it again changes \
nothing.

Examples:
  createdb countersign
  countersign postgres sql | psql --dbname countersign";

pub(crate) const POSTGRES_HBA: &str = "\
They go before any line that would let the same roles in by something else; then the server is told to read the file \
again: SELECT pg_reload_conf().

Examples:
  countersign postgres hba --network 10.0.0.0/8 --network 127.0.0.1/32
  countersign --dir ./deployment postgres hba --network 10.0.0.0/8";

pub(crate) const POSTGRES_IDENT: &str = "\
Examples:
  countersign postgres ident | sudo tee --append /etc/postgresql/15/main/pg_ident.conf";

pub(crate) const POSTGRES_CERTIFICATE: &str = "\
Works while the deployment is served. What calls others (client, peer) can't have the name of one of Countersign's \
services, so that the database never takes it for one.

Examples:
  countersign --dir ./deployment postgres certificate db1.internal 10.0.0.1 --out /etc/postgresql/tls
  countersign --dir ./deployment postgres certificate replicator --for client --out ./replicator
  countersign --dir ./deployment postgres certificate etcd1.internal --for peer --out ./etcd --hours 6";

pub(crate) const POSTGRES_CHECK: &str = "\
Fails if anything is wrong. Changes nothing.

Examples:
  countersign --dir ./deployment postgres check
  countersign --dir ./deployment postgres check --address postgres://db1.internal,db2.internal/countersign";
