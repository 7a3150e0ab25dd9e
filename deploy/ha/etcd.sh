#!/bin/sh
# etcd of {{name}}, made by `countersign ha render`. Its certificates are read again for each connection. From outside only
# the other members are let in, by their certificates' name: the clients' port is on this machine's own loopback, for
# Patroni beside it, because whoever writes there decides who is the primary.
exec {{etcd_program}} \
  --name {{name}} \
  --data-dir {{data}}/etcd/data \
  --listen-client-urls https://127.0.0.1:{{etcd_client_port}} \
  --advertise-client-urls https://127.0.0.1:{{etcd_client_port}} \
  --listen-peer-urls https://{{address}}:{{etcd_peer_port}} \
  --initial-advertise-peer-urls https://{{address}}:{{etcd_peer_port}} \
  --initial-cluster {{etcd_cluster}} \
  --initial-cluster-token {{cluster}} \
  --initial-cluster-state "${ETCD_STATE:-new}" \
  --heartbeat-interval {{heartbeat_ms}} \
  --election-timeout {{election_ms}} \
  --auto-compaction-mode periodic \
  --auto-compaction-retention 1h \
  --client-cert-auth \
  --cert-file {{config}}/etcd/node.pem \
  --key-file {{config}}/etcd/node.pem \
  --trusted-ca-file {{config}}/etcd/ca.pem \
  --peer-client-cert-auth \
  --peer-cert-allowed-cn {{member}} \
  --peer-cert-file {{config}}/etcd/node.pem \
  --peer-key-file {{config}}/etcd/node.pem \
  --peer-trusted-ca-file {{config}}/etcd/ca.pem
