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
