#!/bin/sh
# Puts the rendered files of {{name}} in their places on its machine, as root: run it in the folder that it is in. The
# accounts `postgres` and `etcd` are those of Debian's packages. Running it again changes nothing but what was rendered anew.
set -eu
install --directory --mode 0755 {{config}} {{data}}
install --directory --mode 0700 --owner postgres --group postgres \
  {{config}}/postgres {{data}}/postgres {{data}}/postgres/socket
install --directory --mode 0700 --owner etcd --group etcd {{config}}/etcd {{data}}/etcd {{data}}/etcd/data
install --mode 0644 patroni.yml setup.sql ../inventory.toml {{config}}/
install --mode 0755 etcd.sh disk.sh after-init.sh renew.sh {{config}}/
if [ "${1:-}" != --without-units ]; then
  install --mode 0644 units/* /etc/systemd/system/
  systemctl daemon-reload
fi
