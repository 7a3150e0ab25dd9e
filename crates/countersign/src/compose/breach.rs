//! How breaches are answered: templates, clocks, mail, and the reminders before a clock runs out.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use countersign_authority::{Authority, BreachRules};
use countersign_incident::Clocks;
use countersign_services::Mailer;
use tokio::task::JoinHandle;

use super::{Base, cant};
use crate::problem::{Problem, io};

/// How often is looked whether a clock is about to run out.
const EVERY: Duration = Duration::from_secs(20);

/// The texts of notices and the clocks: the program's, with those in the deployment's folder in their place. A file there
/// that can't be used is told when the deployment is opened and not on the day.
pub(super) fn rules(base: &Base, mailer: Option<Arc<dyn Mailer>>) -> Result<BreachRules, Problem> {
    let dir = base.deployment.dir();
    let mut rules = BreachRules::embedded().map_err(|error| cant("the texts of notices", &error))?;
    rules.mailer = mailer;
    let clocks = dir.join("rules").join("clocks.toml");
    if clocks.exists() {
        let text = std::fs::read_to_string(&clocks).map_err(io("read", &clocks))?;
        rules.clocks = Clocks::parse(&text).map_err(|error| wrong(&clocks, &error))?;
    }
    let templates = dir.join("templates");
    if !templates.exists() {
        return Ok(rules);
    }
    for entry in std::fs::read_dir(&templates).map_err(io("read", &templates))? {
        let path = entry.map_err(io("read", &templates))?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let language = |kind: &str| name.strip_prefix(kind)?.strip_suffix(".md").filter(|tag| !tag.contains('.'));
        let (notice, mail) = (language("notice."), language("mail."));
        if notice.or(mail).is_none() {
            continue;
        }
        let text = std::fs::read_to_string(&path).map_err(io("read", &path))?;
        if let Some(language) = notice {
            rules.templates.add_notice(language, &text).map_err(|error| wrong(&path, &error))?;
        }
        if let Some(language) = mail {
            rules.templates.add_mail(language, &text).map_err(|error| wrong(&path, &error))?;
        }
    }
    Ok(rules)
}

fn wrong(path: &Path, error: &dyn std::fmt::Display) -> Problem {
    Problem::usage(format!("{}: {error}", path.display()))
}

/// Reminds of clocks, as long as the authority is served.
pub(super) fn reminders(authority: &Arc<Authority>) -> JoinHandle<()> {
    let authority = Arc::clone(authority);
    tokio::spawn(async move {
        loop {
            if let Err(error) = authority.remind_of_incidents().await {
                tracing::error!(%error, "a clock that runs out could not be put on record");
            }
            tokio::time::sleep(EVERY).await;
        }
    })
}
