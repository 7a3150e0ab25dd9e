#!/bin/sh
# New certificates for PostgreSQL, Patroni and etcd of {{name}}, from the authority's folder on this machine. A timer runs it
# every four hours; they last for twelve. etcd reads its own with each connection, Patroni and PostgreSQL when told to.
set -eu
{{countersign_program}} --dir {{authority}} ha certificates {{config}}/inventory.toml {{name}} --to {{config}}
# Not there yet when the first ones are made.
systemctl reload countersign-patroni.service || true
