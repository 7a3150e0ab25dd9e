//! Texts of `--help`: examples for every command, and what exit codes mean.

mod audit;
mod data;
mod database;

use clap::Command;

pub(super) use self::audit::*;
pub(super) use self::data::*;
pub(super) use self::database::*;

pub(super) const EXIT_CODES: &str = "\
Exit codes:
  0  done
  1  something went wrong here or inside the server
  2  the command line or the configuration is not right
  3  refused: no token, or one that may not do this (HTTP 401, 403)
  4  what was named is not there (HTTP 404), or nothing is on record
  5  input that is not valid, or that conflicts with what is there (HTTP 400, 409)
  6  the server can't be reached or can't answer now (HTTP 429, 503)";

pub(super) const LONG: &str = "\
Begin with:
  countersign demo                                 everything, with two example companies
  countersign init ./deployment                    an empty deployment
  countersign serve ./deployment

Which deployment, as whom:
  --dir DIR names a deployment on this machine. If its server runs, commands go to it
  over HTTPS; if not, they open the deployment themselves. Commands that manage it are
  the operator's (DIR/keys/operator@operators) unless --as or COUNTERSIGN_TOKEN says
  otherwise. COUNTERSIGN_URL, COUNTERSIGN_CA and COUNTERSIGN_TOKEN name a deployment
  elsewhere and the token to come with, and COUNTERSIGN_PROOF_KEY the file of the key
  that it is bound to, if it is. --as goes before COUNTERSIGN_TOKEN, and --dir before
  COUNTERSIGN_URL. NO_COLOR turns colours off.

Exit codes:
  0  done
  1  something went wrong here or inside the server
  2  the command line or the configuration is not right
  3  refused: no token, or one that may not do this (HTTP 401, 403)
  4  what was named is not there (HTTP 404), or nothing is on record
  5  input that is not valid, or that conflicts with what is there (HTTP 400, 409)
  6  the server can't be reached or can't answer now (HTTP 429, 503)";

pub(super) const DEMO: &str = "\
Examples:
  countersign demo
  countersign demo --apart
  countersign --dir ./demo demo --listen 127.0.0.1:9443

Without --dir a fresh folder is made under $XDG_DATA_HOME/countersign (or \
~/.local/share/countersign). A folder that has a deployment is opened and served as it is.";

pub(super) const INIT: &str = "\
Examples:
  countersign init ./deployment
  countersign init ./deployment --kms passphrase
  countersign init ./deployment --kms pkcs11 --module /usr/lib/softhsm/libsofthsm2.so \\
    --token house --pin-file pin
  countersign init ./authority --services authority --wire-listen 0.0.0.0:8444
  countersign init ./store --services store --authority authority.example:8444 \\
    --wire-listen 0.0.0.0:8444 --advertise store.example:8444

docs/apart.md shows how services run apart, step by step.";

pub(super) const KMS: &str = "\
Examples:
  countersign --dir ./deployment kms status
  countersign --dir ./deployment kms rotate
  countersign --dir ./deployment kms rewrap --tenant northwind";

pub(super) const KMS_ROTATE: &str = "\
Runs on the folder of the key service. Where the authority is in another folder, the keys are wrapped again \
with `countersign kms rewrap` there, by way of a gateway (--url) while it is served. Keep every version of the key: what an older one wrapped before, such as \
copies of the folder, opens with that one alone.

Examples:
  countersign --dir ./deployment kms rotate
  countersign --dir ./deployment kms rotate --kms northwind-hsm";

pub(super) const KMS_REWRAP: &str = "\
Examples:
  countersign --dir ./deployment kms rewrap
  countersign --dir ./deployment kms rewrap --tenant northwind";

pub(super) const KMS_PASSPHRASE: &str = "\
Asks for the old and the new one, unless they are in COUNTERSIGN_PASSPHRASE and COUNTERSIGN_NEW_PASSPHRASE.

Examples:
  countersign --dir ./deployment kms passphrase";

pub(super) const SERVE: &str = "\
Prints `ready https://ADDRESS` on standard output when it serves, and `ready SERVICE ADDRESS` for each \
service that takes calls from others. Ctrl-C or SIGTERM stops it: requests under way are finished first. \
Log lines go to standard error.

Examples:
  countersign serve ./deployment
  countersign serve ./deployment --listen 0.0.0.0:8443
  countersign serve ./store --join-token store.join";

pub(super) const TENANT: &str = "\
Examples:
  countersign --dir ./deployment tenant add northwind
  countersign --dir ./deployment tenant add southwind --kms southwind-hsm
  countersign --dir ./deployment tenant list --output csv";

pub(super) const USER: &str = "\
Examples:
  countersign --dir ./deployment user add andrew@northwind --ssh-key andrew.pub --role admin
  export COUNTERSIGN_TOKEN=$(countersign --dir ./deployment login andrew@northwind)
  countersign --dir ./deployment user add nancy@northwind --ssh-key nancy.pub --role accountant
  countersign user add janet@northwind --ssh-key janet.pub --role rep --attribute employee=3
  countersign --dir ./deployment user list --tenant northwind
  countersign --dir ./deployment --as andrew@northwind user remove nancy@northwind

The operator adds the first user of a tenant. From then on the tenant's own people look after it.";

pub(super) const USER_ADD: &str = "\
Examples:
  countersign --dir ./deployment user add andrew@northwind --ssh-key andrew.pub --role admin
  countersign --dir ./deployment --as andrew@northwind user add janet@northwind \\
    --ssh-key janet.pub --role rep --attribute employee=3";

pub(super) const SCHEMA: &str = "\
Examples:
  countersign --dir ./deployment schema apply types.toml --dry-run
  countersign --dir ./deployment schema apply types.toml
  countersign --dir ./deployment schema show";

pub(super) const POLICY: &str = "\
Examples:
  countersign --dir ./deployment policy apply policies/ --dry-run
  countersign --dir ./deployment policy apply policies/
  countersign --dir ./deployment policy show";

pub(super) const GET: &str = "\
Examples:
  countersign --dir ./deployment --as nancy@northwind get customer --where country=eq.Brazil
  countersign get customer --select id,company --order company --limit 10
  countersign get customer --select 'company,invoice(total)' --where 'id=in.(ALFKI,ANATR)' --output json
  countersign get invoice --where total=gte.1000 --count";

pub(super) const HISTORY: &str = "\
Each state is judged as a row of its own, by what you may see today: what you may not see of it is empty, and states in \
which you may see nothing are left out. States that look the same to you are one. @from and @until say when it was so; \
@ended that nothing that you may see came after it: the record was deleted, or got another key, or is not for you.

Examples:
  countersign --dir ./deployment --as nancy@northwind history customer/ALFKI
  countersign history customer/ALFKI --select company,country --limit 5 --output json";

pub(super) const LOGIN: &str = "\
Prints the token alone on standard output. It dies after 12 hours at most. The SSH key is --key, \
else DIR/keys/USER@TENANT, else one that ssh-agent has. The key never leaves this machine: it signs \
a text that the server gives.

What is printed is good for whoever has it, as curl and other clients can't prove more than that. With \
--bind it is good only together with a proof by the key in that file with each request (DPoP, RFC 9449), \
which this program makes. Commands that log in by themselves, with --as, always bind over the network.

Examples:
  export COUNTERSIGN_TOKEN=$(countersign --dir ./deployment login nancy@northwind)
  countersign login nancy@northwind --key ~/.ssh/id_ed25519 --for 1h
  export COUNTERSIGN_TOKEN=$(countersign login --sso northwind)
  export COUNTERSIGN_PROOF_KEY=~/.countersign-proof.key
  export COUNTERSIGN_TOKEN=$(countersign login nancy@northwind --bind $COUNTERSIGN_PROOF_KEY)";

pub(super) const PROVIDER: &str = "\
Examples:
  COUNTERSIGN_CLIENT_SECRET=$(cat secret) countersign --dir ./deployment --as andrew@northwind \\
    provider set provider.toml
  countersign --dir ./deployment --as andrew@northwind provider show
  countersign login --sso northwind

A provider file:
  issuer = \"https://login.northwind.example/realms/staff\"
  client_id = \"countersign\"
  redirect_uris = [\"https://app.northwind.example/back\"]
  scopes = [\"profile\", \"groups\"]
  role_claim = \"groups\"
  [roles]
  Accounting = \"accountant\"
  Sales = \"rep\"

Each tenant has at most one, for its own people. docs/sign-on.md says what each setting is.";

pub(super) const TOKEN: &str = "\
Examples:
  countersign token inspect
  countersign token narrow --read-only --type customer --fields company,country --for 10m
  countersign token narrow --for 1h --purpose 'quarterly report'
  countersign token revoke
  countersign token revoke --user nancy";

pub(super) const NARROW: &str = "\
Prints the new token alone on standard output.

Examples:
  countersign token narrow --read-only --type customer --fields company,country --for 10m
  countersign token narrow --for 1h --purpose 'quarterly report'
  COUNTERSIGN_TOKEN=$(countersign token narrow --read-only) ./report.sh";

pub(super) const REVOKE: &str = "\
Without an option, the token that the command comes with.

Examples:
  countersign token revoke
  countersign token revoke --session
  countersign token revoke --user nancy";

pub(super) const SERVICE: &str = "\
Examples:
  countersign --dir ./authority service invite store > store.join
  countersign --dir ./authority service list
  countersign --dir ./authority service remove store/store-1

Once the authority is served, a gateway answers these: add --url https://GATEWAY. docs/apart.md shows all of it, \
step by step.";

pub(super) const SERVICE_INVITE: &str = "\
Prints the join token alone on standard output. Whoever has it can become that service: give it \
only to the machine that shall be it.

Examples:
  countersign --dir ./authority service invite store > store.join
  countersign serve ./store --join-token store.join";

pub(super) const ACCESS: &str = "\
No operator sees a tenant's records by default. docs/access.md describes how access is asked for, given and ended.

Examples:
  countersign --dir ./deployment access request northwind --role support --reason 'ticket 4711' --for 1h
  countersign --dir ./deployment --as andrew@northwind access approve GRANT";

pub(super) const ACCESS_REQUEST: &str = "\
The tenant sees the request, with your name and the reason, in its audit log and with `access list`.

Examples:
  countersign --dir ./deployment access request northwind --role support --reason 'ticket 4711' --for 1h
  countersign --dir ./deployment access request northwind --role support --reason 'their admin is out of reach' --for 30m \
--break-glass";

pub(super) const METRICS: &str = "\
docs/monitoring.md lists the measures, and says how Prometheus reads them at the monitor's own port.

Examples:
  countersign --dir ./deployment metrics
  countersign --dir ./deployment metrics | grep refusals";

pub(super) const STATUS: &str = "\
Ends with 6 unless every service decides and can write its audit log.

Examples:
  countersign --dir ./deployment status
  countersign --dir ./deployment status --output json";

pub(super) const ALERT: &str = "\
docs/monitoring.md describes alerts, and the sections [alerts] and [alerts.NAME] of countersign.toml whom to tell.

Examples:
  countersign --dir ./deployment alert list
  countersign --dir ./deployment alert test";

pub(super) const ALERT_LIST: &str = "\
Examples:
  countersign --dir ./deployment alert list
  countersign --dir ./deployment alert list --all --limit 1000 --output json";

pub(super) const ALERT_SILENCE: &str = "\
Examples:
  countersign --dir ./deployment alert silence 'Budget spent' --for 4h --reason 'the yearly export, ticket 4711'";

pub(super) const BACKUP: &str = "\
Repositories are sections [backup.NAME] of the configuration: folders, or object stores that speak S3. Everything in them is \
sealed, and of no use without the key management service; keep a copy of its key elsewhere (docs/backups.md).

Examples:
  countersign --dir ./deployment backup create nightly
  countersign --dir ./deployment backup verify nightly";

pub(super) const BACKUP_CREATE: &str = "\
Consistent, and while everything goes on. What is in the repository already is not written again. One that was cut off goes \
on where it was when it is begun again.

Examples:
  countersign --dir ./deployment backup create nightly
  countersign --dir ./deployment backup create nightly --tenant chinook";

pub(super) const BACKUP_LIST: &str = "\
States: good; missing (the deployment made it, and it is not there); unknown (it is there, and the deployment did not make it \
or has forgotten it); swapped (what is there is not what was made under that id); damaged.

Examples:
  countersign --dir ./deployment backup list nightly";

pub(super) const BACKUP_VERIFY: &str = "\
Every chunk is read and every cell is opened; counts and digests are held against the manifest, and records that have not \
changed since against what is stored now. The scratch deployment is removed afterwards.

Examples:
  countersign --dir ./deployment backup verify nightly
  countersign --dir ./deployment backup verify nightly --backup ID";

pub(super) const BACKUP_REMOVE: &str = "\
What is known of it goes, and the backup with every chunk that no other has. With --forget nothing is looked for: the \
repository is gone for good, and what was erased is not looked for in it any more.

Examples:
  countersign --dir ./deployment backup remove nightly ID
  countersign --dir ./deployment backup remove old-disk --forget";

pub(super) const BACKUP_RESTORE: &str = "\
A whole deployment needs the backup and the key management service, and nothing else: DIR must not exist, or be empty. Give \
the copy of kms.key and what lies beside it with --kms-from. What is damaged, cut off, put in another order or swapped by an \
older one is named, and nothing is restored. What was erased since stays erased.

Examples:
  countersign --dir ./new backup restore --from /mnt/backups --kms-from /mnt/safe
  countersign --dir ./new backup restore --from /mnt/backups --kms-from /mnt/safe --postgres postgres://db.example/countersign
  countersign --dir ./deployment backup restore --tenant chinook --from nightly
  countersign --dir ./deployment backup restore --tenant chinook --to 2h";

pub(super) const TENANT_CONTACTS: &str = "\
Whoever is named here gets mail when there is a notice of a breach, or an alert for the tenant: numbers and a link, never \
content. --none takes all addresses away.

Examples:
  countersign --dir ./deployment --as andrew@northwind tenant contacts
  countersign --dir ./deployment --as andrew@northwind tenant contacts --email privacy@northwind.example --language de
  countersign --dir ./deployment tenant contacts --email operators@example.com";

pub(super) const COMPLETIONS: &str = "\
Examples:
  countersign completions bash > ~/.local/share/bash-completion/completions/countersign
  countersign completions zsh > ~/.zfunc/_countersign
  countersign completions fish > ~/.config/fish/completions/countersign.fish";

/// The help of the program and of every command below it, one after the other.
pub(super) fn reference(mut program: Command) -> String {
    program = program.term_width(100);
    program.build();
    let mut page = String::new();
    let long = program.render_long_help().to_string();
    page.push_str(&format!("## countersign\n\n```text\n{}\n```\n", trimmed(&long)));
    for command in program.get_subcommands().filter(|command| command.get_name() != "help") {
        append(&mut page, command, "countersign");
    }
    page
}

fn append(page: &mut String, command: &Command, before: &str) {
    let name = format!("{before} {}", command.get_name());
    // Options that every command has are told once.
    let mut shown = command.clone().term_width(100).bin_name(&name).mut_args(|argument| {
        let general = argument.get_help_heading() == Some("Which deployment, as whom");
        let hidden = general || argument.is_hide_set();
        argument.hide(hidden)
    });
    let help = shown.render_help().to_string();
    page.push_str(&format!("\n## {name}\n\n```text\n{}\n```\n", trimmed(&help)));
    for below in command.get_subcommands().filter(|below| below.get_name() != "help") {
        append(page, below, &name);
    }
}

fn trimmed(text: &str) -> String {
    text.lines().map(str::trim_end).collect::<Vec<_>>().join("\n").trim_end().to_owned()
}

pub(super) const KEYS: &str = "\
Values are sealed under keys of their field, these under their tenant's key, and that is wrapped by the key management \
service. How long each is used is policy (docs/keys.md).

Examples:
  countersign --dir ./deployment keys list
  countersign --dir ./deployment keys rotate chinook --wait
  countersign --dir ./deployment keys status";

pub(super) const KEYS_LIST: &str = "\
Of a field, each epoch is a row as long as values may be sealed under it. A key that has sealed three quarters of its limit is \
rotated by the service itself.

Examples:
  countersign --dir ./deployment keys list
  countersign --dir ./deployment keys list --tenant chinook";

pub(super) const KEYS_STATUS: &str = "\
Keys that records are being sealed from are `resealing`, with how many records were looked at and sealed again since this process \
began. A `retired` key has nothing stored under it, but opens audit records and backups of its time, until it is destroyed.

Examples:
  countersign --dir ./deployment keys status
  countersign --dir ./deployment keys status --tenant chinook";

pub(super) const KEYS_ROTATE: &str = "\
Nobody has to stop: the new key is in force at once, and what is stored is sealed again in the background, after a restart too. \
Where services run apart, only --deployment is possible.

Examples:
  countersign --dir ./deployment keys rotate chinook --wait
  countersign --dir ./deployment keys rotate chinook --field customer.email
  countersign --dir ./deployment keys rotate --deployment";

pub(super) const KEYS_DESTROY: &str = "\
Refused while anything stored may be sealed under it. Audit records of the tenant, and backups, that were made before it was \
rotated away can't be opened any more, by anybody.

Examples:
  countersign --dir ./deployment keys destroy chinook --epoch 1 --confirm chinook";

pub(super) const ERASE: &str = "\
What is erased does not come back: every restore heeds the receipt, which is in the ledger and with the backups.

Examples:
  countersign --dir ./deployment --as andrew@northwind erase record customer/ALFKI
  countersign --dir ./deployment erase tenant northwind --confirm northwind
  countersign --dir ./deployment erase list";

pub(super) const ERASE_RECORD: &str = "\
Its row, its tags, every earlier state and every answer that names it go; that it was there, by its id, stays on record. As with \
deleting, nothing may refer to it. It takes the action `erase` and the right to delete every record of the type.

Examples:
  countersign --dir ./deployment --as andrew@northwind erase record customer/ALFKI";

pub(super) const ERASE_TENANT: &str = "\
Its keys are destroyed in the key management service first, and with them every copy of its data wherever that is; then \
everything that is stored of it goes. What stays is sealed records of what was done, which nobody can open any more.

Examples:
  countersign --dir ./deployment erase tenant northwind --confirm northwind";

pub(super) const ERASE_PROVE: &str = "\
Looks into the store, its history and tags, what is known of users and tenants, keys, the key management service, views of the \
ledgers, and every repository of backups. Exit status 1 if anything of it can be read.

Examples:
  countersign --dir ./deployment erase prove 0190b6c2-3f5e-7abc-8def-0123456789ab";
