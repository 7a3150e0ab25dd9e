//! `countersign backup …`

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};
use countersign_authority::rfc3339;
use countersign_model::{Name, RequestId, UnixMs};
use http::Method;
use serde_json::{Value, json};

use super::audit::moment;
use super::context::{Context, Unnamed, identifier};
use super::help;
use super::relocate::with_authority;
use crate::client::Client;
use crate::compose::custody::whole;
use crate::config::Provider;
use crate::problem::{Exit, Problem};
use crate::progress::Progress;
use crate::query::Query;
use crate::relocate::Goal;
use crate::table::Output;
use crate::transport::Ask;

/// How often a job is asked how far it is.
const LOOK: Duration = Duration::from_millis(250);

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Back the deployment up into a repository, while it is used.
    #[command(after_help = help::BACKUP_CREATE)]
    Create {
        /// The repository: NAME of a section [backup.NAME] of the configuration.
        repository: Name,
        /// Only this tenant.
        #[arg(long, value_name = "TENANT")]
        tenant: Option<Name>,
        /// Leave it to go on in the server, and print the job.
        #[arg(long)]
        detach: bool,
    },
    /// List the backups in a repository, each held against what the deployment knows of it.
    #[command(after_help = help::BACKUP_LIST)]
    List {
        /// The repository.
        repository: Name,
    },
    /// Restore a backup into a scratch deployment, open every cell of it, and compare it with what it should be.
    #[command(after_help = help::BACKUP_VERIFY)]
    Verify {
        /// The repository.
        repository: Name,
        /// The backup, as `backup list` shows it; the newest, if not given.
        #[arg(long, value_name = "ID")]
        backup: Option<String>,
        /// Leave it to go on in the server, and print the job.
        #[arg(long)]
        detach: bool,
    },
    /// Remove a backup, and what it alone has.
    #[command(after_help = help::BACKUP_REMOVE)]
    Remove {
        /// The repository.
        repository: Name,
        /// The backup, as `backup list` shows it.
        #[arg(required_unless_present = "forget")]
        backup: Option<String>,
        /// Only forget what is known of it, or of every backup in the repository: it is gone for good.
        #[arg(long)]
        forget: bool,
    },
    /// Restore a whole deployment into an empty folder; with --tenant, one tenant into a deployment that runs.
    #[command(after_help = help::BACKUP_RESTORE)]
    Restore(Box<Restore>),
    /// List work in the background: backups, trials and restores.
    #[command(after_help = "Examples:\n  countersign --dir ./deployment backup jobs")]
    Jobs,
    /// End a job where it is.
    #[command(after_help = "Examples:\n  countersign --dir ./deployment backup cancel JOB")]
    Cancel {
        /// The job, as `backup jobs` shows it.
        #[arg(value_parser = identifier::<RequestId>)]
        job: RequestId,
    },
}

#[derive(Debug, Args)]
pub(super) struct Restore {
    /// Where the backup is: a folder, or "s3://BUCKET/PREFIX"; with --tenant, the NAME of a section [backup.NAME].
    #[arg(long, value_name = "PLACE", required_unless_present = "to")]
    from: Option<String>,
    /// The backup, as `backup list` shows it; the newest whole one, or the newest that has the tenant, if not given.
    #[arg(long, value_name = "ID", requires = "from")]
    backup: Option<String>,
    /// The SHA-256 of its manifest, as `backup create` has said it: nothing else is restored, whoever had the repository since.
    #[arg(long, value_name = "SHA256", requires = "backup", conflicts_with = "tenant")]
    manifest: Option<String>,
    /// Put this tenant back, in the deployment that runs. Without this a whole deployment is made in DIR.
    #[arg(long, value_name = "TENANT")]
    tenant: Option<Name>,
    /// To this moment: a timestamp (RFC 3339), or so long ago, such as 90m, 12h or 3d. Without --from, from the change
    /// history that the store keeps.
    #[arg(long, value_name = "WHEN", value_parser = moment, requires = "tenant")]
    to: Option<UnixMs>,
    /// Leave it to go on in the server, and print the job.
    #[arg(long, requires = "tenant")]
    detach: bool,
    /// The database that a whole deployment goes into, which has to be empty: "postgres://HOST/DATABASE", without user or
    /// password. Without this it goes into DIR.
    #[arg(long, value_name = "ADDRESS", conflicts_with_all = ["tenant", "to"])]
    postgres: Option<Goal>,
    /// The file of the certificate authority that the database's certificate is of; the deployment's own, if not given.
    #[arg(long, value_name = "FILE", requires = "postgres")]
    server_ca: Option<PathBuf>,
    #[command(flatten)]
    kms: Kms,
    #[command(flatten)]
    store: ObjectStore,
}

#[derive(Debug, Args)]
struct Kms {
    /// Where the key lives that wrapped every other: "file", "passphrase" or "pkcs11", as in `init`.
    #[arg(long, value_name = "PROVIDER", value_enum, default_value = "file", help_heading = "The key that wraps")]
    kms: Provider,
    /// The folder with the copy of the key: kms.key, what is beside it with names that begin so, and kms.own. They are
    /// copied.
    #[arg(long, value_name = "DIR", help_heading = "The key that wraps")]
    kms_from: Option<PathBuf>,
    /// The PKCS#11 module: the vendor's shared library.
    #[arg(long, value_name = "FILE", help_heading = "The key that wraps")]
    module: Option<PathBuf>,
    /// The token's label.
    #[arg(long, value_name = "LABEL", help_heading = "The key that wraps")]
    token: Option<String>,
    /// The label of the key in the token.
    #[arg(long, value_name = "LABEL", default_value = "countersign", help_heading = "The key that wraps")]
    key: String,
    /// A file with the token's PIN, readable by its owner alone; or set COUNTERSIGN_PIN.
    #[arg(long, value_name = "FILE", help_heading = "The key that wraps")]
    pin_file: Option<PathBuf>,
}

#[derive(Debug, Args)]
struct ObjectStore {
    /// The object store's address, such as "https://storage:9000".
    #[arg(long, value_name = "URL", help_heading = "An object store")]
    endpoint: Option<String>,
    /// Its region.
    #[arg(long, value_name = "REGION", default_value = "us-east-1", help_heading = "An object store")]
    region: String,
    /// A file with the access key's id on its first line and its secret on the second, readable by its owner alone; or set
    /// COUNTERSIGN_S3_KEY and COUNTERSIGN_S3_SECRET.
    #[arg(long, value_name = "FILE", help_heading = "An object store")]
    credentials_file: Option<PathBuf>,
}

pub(super) async fn run(context: &Context, command: Command) -> Result<(), Problem> {
    if let Command::Restore(restore) = command {
        return match restore.tenant.clone() {
            Some(tenant) => restore_tenant(context, &restore, &tenant).await,
            None => restore_whole(context, &restore).await,
        };
    }
    let client = context.client(Unnamed::Operator).await?;
    match command {
        Command::Create { repository, tenant, detach } => {
            let body = json!({ "repository": repository, "tenant": tenant });
            begin(context, &client, "/v1/backups", &body, detach).await.map_err(|problem| unknown(problem, &repository))
        }
        Command::Verify { repository, backup, detach } => {
            let body = json!({ "repository": repository, "backup": backup });
            begin(context, &client, "/v1/backups/verification", &body, detach).await
        }
        Command::Remove { repository, backup, forget } => {
            let body = json!({ "repository": repository, "backup": backup, "forget": forget });
            begin(context, &client, "/v1/backups/removal", &body, false).await
        }
        Command::List { repository } => {
            let mut query = Query::new("/v1/backups".to_owned());
            query.add("repository", repository.as_str());
            let listed = client.get(query.text()).await.map_err(|problem| unknown(problem, &repository))?;
            list(context, &listed)
        }
        Command::Jobs => {
            let jobs = client.get("/v1/jobs").await?;
            let columns = &["id", "kind", "state", "phase", "done", "total", "begun", "by", "said"];
            context.rows(columns, &jobs, &jobs)
        }
        Command::Cancel { job } => {
            let answer = client.json(Ask::new(Method::DELETE, format!("/v1/jobs/{job}"))).await?;
            context.show(&answer)
        }
        Command::Restore(_) => Ok(()),
    }
}

/// What to do about a repository that the deployment does not know.
fn unknown(problem: Problem, repository: &Name) -> Problem {
    let is_none = problem.exit == Exit::NotFound;
    let next = format!("a repository is a section [backup.{repository}] of countersign.toml: docs/backups.md");
    if is_none { problem.or_next(next) } else { problem }
}

/// Begins a job, and watches it unless it shall go on alone.
async fn begin(context: &Context, client: &Client, path: &str, body: &Value, detach: bool) -> Result<(), Problem> {
    let job = client.put(Method::POST, path, body).await?;
    if detach {
        return context.show(&job);
    }
    let id = text(&job, "id").to_owned();
    let path = format!("/v1/jobs/{id}");
    let mut bar = Bar { context, phase: String::new(), bar: None };
    let job = loop {
        let job = client.get(&path).await?;
        if text(&job, "state") != "running" {
            break job;
        }
        bar.show(&job);
        tokio::time::sleep(LOOK).await;
    };
    bar.end();
    match text(&job, "state") {
        "done" => context.show(&job),
        state => {
            let said = job.get("said").and_then(Value::as_str).unwrap_or("nothing is known of why");
            let exit = if text(&job, "fault") == "unavailable" { Exit::Unavailable } else { Exit::Failed };
            Err(Problem::new(exit, format!("{} {state}: {said}", text(&job, "kind"))))
        }
    }
}

async fn restore_tenant(context: &Context, restore: &Restore, tenant: &Name) -> Result<(), Problem> {
    let client = context.client(Unnamed::Operator).await?;
    let mut backup = restore.backup.clone();
    if let (Some(from), None) = (&restore.from, &backup) {
        backup = Some(newest(&client, from, tenant).await?);
    }
    let to = restore.to.map(rfc3339);
    let body = json!({ "tenant": tenant, "repository": restore.from, "backup": backup, "to": to });
    begin(context, &client, "/v1/backups/restoration", &body, restore.detach).await
}

/// The newest good backup that has the tenant.
async fn newest(client: &Client, repository: &str, tenant: &Name) -> Result<String, Problem> {
    let tenants = client.get("/v1/tenants").await?;
    let all = tenants.as_array().map(Vec::as_slice).unwrap_or_default();
    let id = all.iter().find(|one| text(one, "name") == tenant.as_str()).map(|one| text(one, "id").to_owned());
    let id = id.ok_or_else(|| Problem::new(Exit::NotFound, format!("there is no tenant {tenant}")))?;
    let mut query = Query::new("/v1/backups".to_owned());
    query.add("repository", repository);
    let listed = client.get(query.text()).await?;
    let backups = listed.get("backups").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let fits = |one: &&Value| text(one, "state") == "good" && [id.as_str(), ""].contains(&text(one, "tenant"));
    let found = backups.iter().find(fits).map(|one| text(one, "id").to_owned());
    found.ok_or_else(|| Problem::new(Exit::NotFound, format!("no good backup in {repository} has {tenant}")))
}

async fn restore_whole(context: &Context, restore: &Restore) -> Result<(), Problem> {
    let Some(from) = &restore.from else { return Err(Problem::usage("no place is named to restore from")) };
    let dir = context.one_dir(None)?;
    let database = restore.postgres.clone().filter(|goal| *goal != Goal::Embedded);
    let database = database.map(|goal| with_authority(goal, restore.server_ca.as_deref())).transpose()?;
    let Kms { kms, kms_from, module, token, key, pin_file } = &restore.kms;
    let wanted = whole::Wanted {
        place: whole::Place {
            from: from.clone(),
            endpoint: restore.store.endpoint.clone(),
            region: restore.store.region.clone(),
            credentials_file: restore.store.credentials_file.clone(),
        },
        backup: restore.backup.clone(),
        manifest: restore.manifest.clone(),
        kms: whole::Kms {
            provider: *kms,
            folder: kms_from.clone(),
            module: module.clone(),
            token: token.clone(),
            key: key.clone(),
            pin_file: pin_file.clone(),
        },
        database,
    };
    let mut bar = Bar { context, phase: String::new(), bar: None };
    let restored = whole::restore(&dir, wanted, &mut |phase, done, total| bar.reached(phase, done, total)).await;
    bar.end();
    let restored = restored?;
    if context.output() == Output::Json {
        return context.terminal.line(&restored.to_json().to_string());
    }
    let dir = dir.display();
    context
        .terminal
        .line(&format!("restored {} records of {} tenants into {dir}", restored.records, restored.tenants))?;
    for line in restored.notes {
        context.terminal.note(&line);
    }
    context.terminal.note(&format!("next: countersign serve {dir}"));
    Ok(())
}

fn list(context: &Context, answer: &Value) -> Result<(), Problem> {
    let backups = answer.get("backups").unwrap_or(&Value::Null);
    context.rows(&["id", "at", "state", "tenant", "records", "bytes", "verified", "problem"], backups, answer)?;
    let all = backups.as_array().map(Vec::as_slice).unwrap_or_default();
    let bad = all.iter().filter(|one| text(one, "state") != "good").count();
    if bad > 0 {
        return Err(Problem::failed(format!("{bad} of {} backups are not what this deployment made", all.len())));
    }
    Ok(())
}

fn text<'a>(object: &'a Value, key: &str) -> &'a str {
    object.get(key).and_then(Value::as_str).unwrap_or_default()
}

/// A bar for each phase.
struct Bar<'a> {
    context: &'a Context,
    phase: String,
    bar: Option<Progress>,
}

impl Bar<'_> {
    fn show(&mut self, job: &Value) {
        let number = |key| job.get(key).and_then(Value::as_u64).unwrap_or_default();
        self.reached(text(job, "phase"), number("done"), number("total"));
    }

    fn reached(&mut self, phase: &str, done: u64, total: u64) {
        if self.phase != phase {
            self.end();
            phase.clone_into(&mut self.phase);
            self.bar = Some(Progress::new(self.context.terminal, phase, (total > 0).then_some(total)));
        }
        if let Some(bar) = &mut self.bar {
            bar.reached(done);
        }
    }

    fn end(&mut self) {
        self.phase.clear();
        if let Some(bar) = self.bar.take() {
            bar.done();
        }
    }
}
