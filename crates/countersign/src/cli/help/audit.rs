//! Texts of `--help` about the audit log, and about breaches.

pub(crate) const AUDIT: &str = "\
Examples:
  countersign --dir ./deployment --as robert@northwind audit tail --follow
  countersign --dir ./deployment --as robert@northwind audit who-saw customer/ALFKI
  countersign --dir ./deployment --as robert@northwind audit by nancy --since 7d
  countersign --dir ./deployment --as robert@northwind audit receipt 0190b6c2-3f5e-7abc-8def-0123456789ab";

pub(crate) const WHO_SAW: &str = "\
Reading a field includes searching and sorting by it. Exits with 4 if nobody on record did.

Examples:
  countersign --dir ./deployment --as robert@northwind audit who-saw customer/ALFKI
  countersign --dir ./deployment --as robert@northwind audit who-saw customer/ALFKI --field phone --since 7d";

pub(crate) const BY: &str = "\
Examples:
  countersign --dir ./deployment --as robert@northwind audit by nancy --since 2h
  countersign --dir ./deployment --as robert@northwind audit by root@operators";

pub(crate) const AUDIT_SESSION: &str = "\
Examples:
  countersign --dir ./deployment --as robert@northwind audit session 0190b6c2-3f5e-7abc-8def-0123456789ab";

pub(crate) const PROVE: &str = "\
Whoever has the file can check it without the deployment: countersign audit check FILE. The records are \
sealed as they are stored; time, request, service, verdict and tenant are in clear.

Examples:
  countersign --dir ./deployment --as robert@northwind audit prove 0190b6c2-3f5e-7abc-8def-0123456789ab -o proof.json";

pub(crate) const CHECK: &str = "\
Verifies that each record in the file of `countersign audit prove` is in its service's log: the path from its hash to \
the root, and the signature under the root. Says which records they are, by what is in clear in them, and what is taken \
on trust. Without --key that is the logs' keys, which stand in the file: compare them with those that the deployment \
shows at /v1/log, or that a witness has pinned.

Examples:
  countersign audit check proof.json
  countersign audit check proof.json \\
    --key data.example/log/store/first+1a2b3c4d+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k";

pub(crate) const VERIFY: &str = "\
Derives everything again: each record's check, its hash, the level files of the log, the root, the \
signatures, and what the services have seen of each other's logs. Changes nothing, and needs neither a key \
nor the deployment to stand still. Names the first record that doesn't fit and exits with 1. Records taken \
off the end are noticed by whoever has seen more: other services in the same folder, and witnesses whose \
files --witnessed names. Ledgers that are in the deployment's database are read there, as the services whose \
certificates can be had in this folder.

Examples:
  countersign --dir ./deployment audit verify
  countersign audit verify ./deployment/audit/gateway --witnessed witness.json";

pub(crate) const EXPORT: &str = "\
Examples:
  countersign --dir ./deployment --as robert@northwind audit export --from now --follow
  countersign --dir ./deployment --as robert@northwind audit export --to events.ndjson --state events.state
  countersign --dir ./deployment --as robert@northwind audit export --to https://siem.example/in --state siem.state --follow";

pub(crate) const TAIL: &str = "\
Shows what the gateway and the authority recorded, and every refusal. The key service and the store \
have records of each request too, which --all-services adds, and `audit receipt` shows side by side.

Examples:
  countersign --dir ./deployment --as robert@northwind audit tail --follow
  countersign --dir ./deployment --as robert@northwind audit tail --all-services -n 100";

pub(crate) const RECEIPT: &str = "\
Gateway, key service and store each record every request in a ledger of their own. Exits with 1 if \
the records are incomplete or differ. The request's id is in the header Countersign-Request of its \
answer and in `audit tail`, whole with --output json.

Examples:
  countersign --dir ./deployment --as robert@northwind audit receipt 0190b6c2-3f5e-7abc-8def-0123456789ab";

pub(crate) const WITNESS: &str = "\
Needs no token. A log that has signed two histories, shows less than before or comes with another key is refused: \
said on standard error at every look, posted to the webhook, and the end of --once with exit code 5 (1 if a log could \
not be verified). It stays refused until --forget takes it out of the state, which never moves back by itself. \
With --listen the witness also answers C2SP tlog-witness's add-checkpoint for the logs that it follows, by plain \
HTTP on this machine only: put a server with TLS before it to have it reached from elsewhere.

Examples:
  countersign witness --url https://data.example:8443 --ca ca.pem --state witness.json
  countersign witness --url https://data.example:8443 --ca ca.pem --state witness.json \\
    --log store/first --once
  countersign witness --url https://data.example:8443 --ca ca.pem --state witness.json \\
    --every 1m --listen 127.0.0.1:8099 --webhook https://alerts.example/witness
  countersign witness --state witness.json --forget store/first";

pub(crate) const INCIDENT: &str = "\
docs/incidents.md says what to do on the day, in order, and what the numbers mean.

Examples:
  countersign --dir ./deployment incident open --token 0190b6c2-3f5e-7abc-8def-0123456789ab --since 12h
  countersign --dir ./deployment incident list
  countersign incident drill";

pub(crate) const INCIDENT_OPEN: &str = "\
Asks the audit log of every service, once, and shows what it came to: tenants, types, fields and numbers. Which \
records is told to the tenants concerned alone. The clocks start now. Each tenant concerned has it on record that \
operators looked.

Examples:
  countersign --dir ./deployment incident open --token 0190b6c2-3f5e-7abc-8def-0123456789ab --since 12h
  countersign --dir ./deployment incident open --session 0190b6c2-3f5e-7abc-8def-0123456789ab --since 2026-07-01T09:30:00Z
  countersign --dir ./deployment incident open --principal nancy@northwind --since 3d --until 1d
  countersign --dir ./deployment incident open --service gateway/a --since 2h
  countersign --dir ./deployment incident open --key northwind --since 30d";

pub(crate) const INCIDENT_CONTAIN: &str = "\
Can be run again: what was done is not done twice, and what failed is tried again. Then it looks once more at what was \
reached, so that nothing between opening and containing is left out.

Examples:
  countersign --dir ./deployment incident contain INCIDENT";

pub(crate) const INCIDENT_NOTICES: &str = "\
The text is in the tenant's language where there is a template for it (DIR/templates/notice.LANG.md), and in English \
otherwise. Which records are concerned is not in it: the tenant's admin gets them with `notice read`.

Examples:
  countersign --dir ./deployment incident notices INCIDENT
  countersign --dir ./deployment incident notices INCIDENT --send";

pub(crate) const INCIDENT_DRILL: &str = "\
Makes a demo in a folder of its own and removes it afterwards. Fails if what the audit logs say is not, record by record, \
what the thief read.

Examples:
  countersign incident drill
  countersign incident drill --keep ./drill";

pub(crate) const NOTICE: &str = "\
Examples:
  countersign --dir ./deployment --as andrew@northwind notice list
  countersign --dir ./deployment --as andrew@northwind notice read INCIDENT --file notice.json
  countersign --dir ./deployment --as andrew@northwind notice ack INCIDENT";

pub(crate) const NOTICE_READ: &str = "\
Examples:
  countersign --dir ./deployment --as andrew@northwind notice read INCIDENT
  countersign --dir ./deployment --as andrew@northwind notice read INCIDENT --file notice.json";
