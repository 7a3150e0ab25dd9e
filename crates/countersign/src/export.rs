//! Taking a tenant's data out: every record that the caller may see, as files in open formats.
//!
//! It asks as any client does, page by page, so every rule, budget and audit record applies. What a folder holds is
//! described by its manifest, which is written last: a folder with a `manifest.json` is complete, one with a
//! `manifest.json.part` is not and says how far it came.

mod files;
mod form;
mod manifest;
mod pages;

use std::path::Path;

use countersign_model::clock::SystemClock;
use countersign_model::{Clock, Name, RecordTypes};
use countersign_store::types_file;
use serde_json::Value;

pub use self::files::hash_file;
pub use self::form::Form;
pub use self::manifest::{FORMAT, FileEntry, MANIFEST, Manifest, Records, TYPES_FILE, TypeEntry, VERSION};

use self::files::Files;
use self::manifest::{Position, State};
use self::pages::Pages;
use crate::client::Client;
use crate::manage;
use crate::problem::{Exit, Problem};
use crate::progress::Progress;
use crate::terminal::Terminal;

/// What to take out, and how.
#[derive(Debug, Clone)]
pub struct Wish {
    /// These types only; all that the caller may read if there are none.
    pub types: Vec<Name>,
    /// What each type is written in.
    pub forms: Vec<Form>,
    /// Records in a page; as many as the server gives for `None`.
    pub page: Option<u32>,
    /// What it is for, on record with every page.
    pub purpose: Option<String>,
}

/// What came of it.
#[derive(Debug)]
pub struct Exported {
    /// What is in the folder.
    pub manifest: Manifest,
    /// SHA-256 of the manifest as it was written, in hexadecimal.
    pub digest: String,
    /// Types that an earlier, interrupted run had finished.
    pub kept: usize,
}

/// Takes out what `wish` says into `folder`, or goes on with what an earlier run left there.
///
/// # Errors
/// What the server said, or what is wrong with the folder. What is done stays, and the same command goes on with it.
pub async fn export(client: &Client, folder: &Path, wish: &Wish, terminal: Terminal) -> Result<Exported, Problem> {
    let scope = Scope::of(client, wish).await?;
    let (files, mut state) = Files::open(folder, &scope.manifest(wish))?;
    let kept = state.manifest.types.len();
    let left = scope.types.iter().filter(|entry| !state.has(&entry.name)).cloned().collect::<Vec<_>>();
    if let Some(text) = &scope.types_text {
        state.manifest.types_file = Some(files.write_whole(TYPES_FILE, text.as_bytes())?);
    }
    files.save(&state)?;
    for entry in left {
        let name = entry.name.clone();
        if let Err(problem) = one_type(client, &files, &mut state, entry, &scope, wish, terminal).await {
            let done = state.manifest.types.len();
            let reached = state.position.as_ref().map_or(0, |position| position.rows);
            let place = format!(
                "{done} of {} types are complete, and of {name} {reached} records are there; nothing of that is lost",
                scope.types.len(),
            );
            let next = "run the same command again: it goes on from there";
            return Err(match problem.exit {
                // The server says what to do about a budget; what to do then is ours to say.
                Exit::Unavailable => problem.or_next("wait").also(next).during(&place),
                _ => problem.or_next(next).during(&place),
            });
        }
    }
    state.manifest.ended = Some(now());
    let digest = files.finish(&state.manifest)?;
    Ok(Exported { manifest: state.manifest, digest, kept })
}

async fn one_type(
    client: &Client,
    files: &Files,
    state: &mut State,
    entry: TypeEntry,
    scope: &Scope,
    wish: &Wish,
    terminal: Terminal,
) -> Result<(), Problem> {
    let kinds = scope.kinds(&entry);
    let resumed = state.position.clone().filter(|position| position.record_type == entry.name);
    let mut began = entry.began.clone();
    let (mut out, mut rows, mut cursor) = match resumed {
        Some(position) => match files.resume(&entry, &wish.forms, &position)? {
            Some(out) => {
                began.clone_from(&position.began);
                (out, position.rows, Some(position.cursor))
            }
            None => (files.begin(&entry, &wish.forms)?, 0, None),
        },
        None => (files.begin(&entry, &wish.forms)?, 0, None),
    };
    let mut progress = Progress::new(terminal, format!("exporting {}", entry.name), None);
    let pages = Pages::new(client, &entry, wish);
    // One that an earlier run was given may be too old by now; one of this run is not.
    let mut is_old = cursor.is_some();
    loop {
        let page = match pages.next(cursor.as_deref()).await {
            Ok(page) => page,
            Err(problem) if is_old && problem.is_cursor => {
                let name = &entry.name;
                terminal.note(&format!("{name}: too much time has passed to go on in the middle; from its beginning"));
                (out, rows, cursor) = (files.begin(&entry, &wish.forms)?, 0, None);
                (began, is_old) = (now(), false);
                continue;
            }
            Err(problem) => {
                progress.done();
                return Err(problem.problem);
            }
        };
        is_old = false;
        let more = out.page(&page.body, &kinds)?;
        rows = rows.saturating_add(more);
        progress.reached(rows);
        cursor = page.cursor.filter(|_| more > 0);
        let Some(next) = &cursor else { break };
        state.position = Some(Position {
            record_type: entry.name.clone(),
            began: began.clone(),
            rows,
            cursor: next.clone(),
            lengths: out.lengths(),
        });
        files.save(state)?;
    }
    progress.done();
    let entry = TypeEntry { rows, began, ended: now(), files: out.finish()?, ..entry };
    state.position = None;
    state.manifest.types.push(entry);
    files.save(state)
}

/// Who takes out what, found out before the first page.
struct Scope {
    issuer: String,
    tenant: Name,
    user: Name,
    actor: Option<Name>,
    types: Vec<TypeEntry>,
    withheld: Vec<Name>,
    types_text: Option<String>,
    record_types: Option<RecordTypes>,
}

impl Scope {
    async fn of(client: &Client, wish: &Wish) -> Result<Self, Problem> {
        let about = client.get("/v1/token").await?;
        let metadata = client.get("/.well-known/oauth-authorization-server").await?;
        let text = |from: &Value, name: &str| from.get(name).and_then(Value::as_str).map(str::to_owned);
        let odd = || Problem::failed("the server's answer does not say whose token this is");
        let named = |name: &str| text(&about, name).and_then(|text| Name::new(&text).ok());
        let types_text = match manage::types_text(client).await {
            Ok(text) => Some(text),
            Err(problem) if problem.exit == Exit::Refused => None,
            Err(problem) => return Err(problem),
        };
        let record_types = types_text.as_deref().map(types_file::parse).transpose();
        let record_types =
            record_types.map_err(|error| Problem::failed(format!("the server's types file can't be read: {error}")))?;
        let mut scope = Self {
            issuer: text(&metadata, "issuer").ok_or_else(odd)?,
            tenant: named("tenant").ok_or_else(odd)?,
            user: named("user").ok_or_else(odd)?,
            actor: named("actor"),
            types: Vec::new(),
            withheld: Vec::new(),
            types_text,
            record_types,
        };
        scope.readable(&about, wish)?;
        Ok(scope)
    }

    /// The types that the caller may read, those that refer to others before those.
    ///
    /// INVARIANT hidden-is-absent: what the caller may not read is named only to whom the types file names it.
    fn readable(&mut self, about: &Value, wish: &Wish) -> Result<(), Problem> {
        let none = serde_json::Map::new();
        let records = about.get("records").and_then(Value::as_object).unwrap_or(&none);
        let wanted = |name: &str| wish.types.is_empty() || wish.types.iter().any(|wanted| wanted.as_str() == name);
        let mut found: Vec<TypeEntry> = Vec::new();
        for (name, actions) in records.iter().filter(|(name, _)| wanted(name)) {
            let (Ok(name), Some(read)) = (Name::new(name), actions.get("read")) else { continue };
            let fields = read.get("fields").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str);
            let fields: Vec<Name> = fields.filter_map(|field| Name::new(field).ok()).collect();
            if !fields.is_empty() {
                let is_whole = read.get("records").and_then(Value::as_str) == Some("all");
                found.push(TypeEntry::new(name, fields, is_whole, now()));
            }
        }
        if let Some(missing) = wish.types.iter().find(|wanted| !found.iter().any(|entry| entry.name == **wanted)) {
            return Err(Problem::new(Exit::Refused, format!("there is no record type {missing} that you may read"))
                .next("see which there are: countersign token inspect"));
        }
        if found.is_empty() {
            return Err(Problem::new(Exit::Refused, "there is nothing that you may read")
                .next("come as somebody else: --as USER@TENANT"));
        }
        if let Some(types) = &self.record_types {
            for entry in &mut found {
                let Some((_, record_type)) = types.find(entry.name.as_str()) else { continue };
                entry.key = record_type.field(record_type.key).map(|key| key.name.clone());
                let hidden = record_type.fields.iter().map(|field| &field.name);
                entry.withheld = hidden.filter(|name| !entry.fields.contains(name)).cloned().collect();
            }
            let all = types.types.iter().map(|record_type| &record_type.name).filter(|name| wanted(name.as_str()));
            self.withheld = all.filter(|name| !found.iter().any(|entry| entry.name == **name)).cloned().collect();
            // Whatever refers goes first, so that what it refers to, which must be there before it, is there after it, too.
            let order = crate::import::order(types, &found.iter().map(|entry| entry.name.clone()).collect::<Vec<_>>());
            found.sort_by_key(|entry| {
                std::cmp::Reverse(order.iter().position(|step| step.record_type == entry.name).unwrap_or(usize::MAX))
            });
        }
        self.types = found;
        Ok(())
    }

    fn kinds(&self, entry: &TypeEntry) -> form::Kinds {
        let record_type = self.record_types.as_ref().and_then(|types| types.find(entry.name.as_str()));
        let kind = |name: &Name| record_type.and_then(|(_, of)| of.find(name.as_str())).map(|(_, field)| field.kind);
        entry.fields.iter().map(|name| (name.to_string(), kind(name))).collect()
    }

    fn manifest(&self, wish: &Wish) -> Manifest {
        Manifest {
            format: FORMAT.to_owned(),
            version: VERSION,
            issuer: self.issuer.clone(),
            tenant: self.tenant.clone(),
            user: self.user.clone(),
            actor: self.actor.clone(),
            began: now(),
            ended: None,
            only: wish.types.clone(),
            forms: wish.forms.clone(),
            types_file: None,
            types: Vec::new(),
            withheld: self.withheld.clone(),
        }
    }
}

fn now() -> String {
    countersign_authority::rfc3339(SystemClock.now())
}

#[cfg(test)]
mod tests;
