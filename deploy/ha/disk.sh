#!/bin/sh
# Ends PostgreSQL of {{name}} where it is the primary and its disk is full, so that a standby takes over at once, as when it
# dies. By itself it would stay the primary and refuse what needs room, as long as there is log left to write over.
# Not more than once in ten minutes: where all disks are full, nobody is helped by another primary.
set -u
data={{data}}/postgres/data
# KiB: four segments of the log.
least=65536
has_room() { [ ! -d "$1" ] || [ "$(df --output=avail --block-size=1K "$1" | tail -n 1)" -ge "$least" ]; }
while sleep 1; do
  has_room "$data" && has_room "$data/pg_wal/." && continue
  standbys=$(PGCONNECT_TIMEOUT=3 timeout 5 {{postgres_programs}}/psql --host {{data}}/postgres/socket --port {{postgres_port}} \
    --username postgres --dbname postgres --no-psqlrc --no-align --tuples-only --quiet --command \
    "SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming' AND NOT pg_is_in_recovery()") || continue
  [ "$standbys" -gt 0 ] || continue
  echo "the disk of the primary {{name}} is full: it is ended, so that a standby takes over" >&2
  kill -QUIT "$(head -n 1 "$data/postmaster.pid")"
  sleep 600
done
