//! Commands that work on a deployment's folder and not through a service, for the audit log.
//!
//! A server that runs has the ledger; so such a command leaves what it did in the file `commands` beside it, durable
//! before the command begins, and the server takes it from there into the ledger. INVARIANT no-record-no-command.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::sync::Arc;
use std::time::Duration;

use countersign_audit::{AuditError, AuditSink, Body, Record, Service, Verdict};
use countersign_model::{Clock, Entropy, RequestId, UnixMs};
use serde::{Deserialize, Serialize};

use crate::deployment::Deployment;
use crate::problem::{Exit, Problem};

/// How often a server looks for commands.
const LOOK: Duration = Duration::from_secs(1);
/// The longest command that is taken; what is longer was not written by this program.
const LINE_MAX_BYTES: usize = 16 * 1024;

/// What a command did, as a line of the file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Entry {
    time: u64,
    /// The account on this machine that it ran as.
    account: u32,
    /// The command with its arguments, secrets left out.
    command: String,
    /// `None` before it begins.
    result: Option<String>,
}

/// A command that is on record as begun.
#[must_use]
pub struct Begun<'a> {
    deployment: &'a Deployment,
    entry: Entry,
}

/// Puts on record that a command begins, with its arguments and no secret.
///
/// # Errors
/// If that can't be written: the command must not be carried out.
pub fn begin<'a>(deployment: &'a Deployment, clock: &dyn Clock, command: String) -> Result<Begun<'a>, Problem> {
    let account = rustix::process::getuid().as_raw();
    let entry = Entry { time: clock.now().0, account, command, result: None };
    write(deployment, &entry)?;
    Ok(Begun { deployment, entry })
}

impl Begun<'_> {
    /// Puts on record how it ended, and passes that on.
    ///
    /// # Errors
    /// The command's own; or that its end can't be written.
    pub fn end<T>(self, outcome: Result<T, Problem>) -> Result<T, Problem> {
        // A problem's text may name files, and nothing secret; its kind says enough.
        let result = match &outcome {
            Ok(_) => "done".to_owned(),
            Err(problem) => format!("failed, exit status {}", problem.exit as u8),
        };
        let written = write(self.deployment, &Entry { result: Some(result), ..self.entry });
        let value = outcome?;
        written.map(|()| value)
    }
}

fn write(deployment: &Deployment, entry: &Entry) -> Result<(), Problem> {
    let path = deployment.commands();
    let append = || -> io::Result<()> {
        let mut file = OpenOptions::new().create(true).append(true).mode(0o600).open(&path)?;
        file.lock()?;
        let mut line = serde_json::to_vec(entry)?;
        line.push(b'\n');
        file.write_all(&line)?;
        file.sync_all()
    };
    append().map_err(|error| {
        let message = format!("the command can't be put on record in {}: {}", path.display(), error.kind());
        Problem::new(Exit::Failed, message).next("nothing is done without a record; make the folder writable")
    })
}

/// Takes what commands have left into a ledger, for as long as it is polled.
pub(crate) async fn follow(
    deployment: Deployment,
    sink: Arc<dyn AuditSink>,
    service: Service,
    (clock, entropy): (Arc<dyn Clock>, Arc<dyn Entropy>),
) {
    loop {
        if let Err(error) = take(&deployment, &*sink, service, (&*clock, &*entropy)).await {
            tracing::error!(%error, "commands could not be put on record");
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// Why commands are not in the ledger yet. They stay where they are.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NotTaken {
    #[error("the file of commands can't be read or changed ({})", .0.kind())]
    File(#[from] io::Error),
    #[error(transparent)]
    Ledger(#[from] AuditError),
}

/// Takes what is there now. What was in the ledger already when a process died is there twice.
pub(crate) async fn take(
    deployment: &Deployment,
    sink: &dyn AuditSink,
    service: Service,
    (clock, entropy): (&dyn Clock, &dyn Entropy),
) -> Result<(), NotTaken> {
    let file = match OpenOptions::new().read(true).write(true).open(deployment.commands()) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error.into()),
    };
    if file.metadata()?.len() == 0 {
        return Ok(());
    }
    file.lock()?;
    for line in read(&file)?.lines() {
        sink.append(record(line, service, clock.now(), entropy)).await?;
    }
    // Whoever waits for the lock appends to what is empty then.
    file.set_len(0)?;
    file.sync_all()?;
    Ok(())
}

fn read(mut file: &File) -> io::Result<String> {
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn record(line: &str, service: Service, now: UnixMs, entropy: &dyn Entropy) -> Record {
    let read = Some(line).filter(|line| line.len() <= LINE_MAX_BYTES).and_then(|line| serde_json::from_str(line).ok());
    let (time, verdict, detail) = match read {
        Some(Entry { time, account, command, result }) => {
            let (verdict, result) = match result {
                None => (Verdict::Intent, "begun".to_owned()),
                Some(result) if result == "done" => (Verdict::Changed, result),
                Some(result) => (Verdict::Failed, result),
            };
            (UnixMs(time), verdict, format!("{command}: {result}; account {account} of the machine"))
        }
        // Somebody wrote into the file, or a disk did: that is worth a record too.
        None => (now, Verdict::Failed, "a command's record can't be read".to_owned()),
    };
    Record {
        time,
        request: RequestId::new(time, entropy),
        service,
        door: None,
        verdict,
        tenant: None,
        tally: None,
        body: Body { action: "command".to_owned(), detail: Some(detail), ..Body::default() },
    }
}

#[cfg(test)]
mod tests;
