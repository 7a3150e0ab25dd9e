#!/bin/sh
# What Patroni runs once, on the first primary of a new cluster: the database, and roles that own nothing and have no
# password. Made by `countersign ha render`.
set -eu
psql={{postgres_programs}}/psql
run() { "$psql" --host {{data}}/postgres/socket --port {{postgres_port}} --username postgres --no-psqlrc --quiet \
  --set ON_ERROR_STOP=1 "$@"; }
run --dbname postgres --command 'CREATE DATABASE {{database}}'
run --dbname {{database}} --file {{config}}/setup.sql
