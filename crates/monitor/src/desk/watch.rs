//! Requests about alerts, as the authority passes them on: judged again by the monitor's own guard.

use std::sync::Arc;

use async_trait::async_trait;
use countersign_guard::{Guard, Judgement, Refusal};
use countersign_model::control::Control;
use countersign_model::query::Judged;
use countersign_model::watch::WatchControl;
use countersign_model::{AlertId, Service, SilenceId};
use countersign_services::{Call, ServiceFailure, Watch};
use serde_json::{Value, json};

use super::board::{Silence, Who};
use super::{Desk, view};

/// The longest text of somebody's, in bytes.
const TEXT_MAX_BYTES: usize = 500;
/// The longest silence, in milliseconds: 30 days.
const SILENCE_MAX_MS: u64 = 30 * 86_400_000;
/// How many alerts an answer has if nobody says.
const ALERTS: u64 = 100;

/// Says what the deployment's services measure, as a JSON document.
#[async_trait]
pub trait Metrics: Send + Sync {
    /// The document.
    async fn document(&self) -> Value;
}

#[async_trait]
impl<F: Fn() -> Value + Send + Sync> Metrics for F {
    async fn document(&self) -> Value {
        self()
    }
}

/// What a [`WatchService`] is made of.
pub struct WatchServiceParts {
    /// The monitor's own guard.
    pub guard: Arc<Guard>,
    /// Where alerts are.
    pub desk: Arc<Desk>,
    /// What is measured.
    pub metrics: Arc<dyn Metrics>,
}

/// The monitor behind its own guard.
///
/// What is asked for in vain is answered with `{"error": …}`, for the authority to make an answer of.
pub struct WatchService {
    parts: WatchServiceParts,
}

impl WatchService {
    /// Made of these parts.
    #[must_use]
    pub const fn new(parts: WatchServiceParts) -> Self {
        Self { parts }
    }
}

#[async_trait]
impl Watch for WatchService {
    async fn watch(&self, call: &Call<'_>) -> Result<Vec<u8>, ServiceFailure> {
        let guard = &self.parts.guard;
        if call.caller != Service::Authority {
            guard.note_refusal(&Refusal::Forbidden, call.request, call.epoch).await?;
            return Err(ServiceFailure::Refused(Refusal::Forbidden));
        }
        let judgement = guard.judge_again(call.bearer, call.request, call.epoch).await?;
        let Judged::Control(Control::Watch(control)) = &judgement.judged else {
            guard.note_refusal_of(&Refusal::Forbidden, &judgement, call.request).await?;
            return Err(ServiceFailure::Refused(Refusal::Forbidden));
        };
        let desk = &self.parts.desk;
        let answer = match control {
            WatchControl::Metrics => self.parts.metrics.document().await,
            WatchControl::Test => desk.test().await,
            control => desk.control(control, &who(call, &judgement)),
        };
        if control.is_change() {
            // What somebody did about alerts is written down and on record when they are told that it is done.
            if !desk.save().await {
                return Err(ServiceFailure::Unavailable);
            }
            desk.record().await;
            desk.news.notify_one();
        }
        Ok(answer.to_string().into_bytes())
    }
}

fn who(call: &Call<'_>, judgement: &Judgement) -> Who {
    let principal = &judgement.principal;
    let (user, facts) = principal.acting();
    Who { request: call.request.id, user, name: format!("{}@{}", facts.name, principal.tenant_name) }
}

impl Desk {
    fn control(&self, control: &WatchControl, who: &Who) -> Value {
        match control {
            WatchControl::Alerts { all, limit } => self.alerts(*all, limit.unwrap_or(ALERTS)),
            WatchControl::Alert { alert } => self.alert(*alert),
            WatchControl::Acknowledge { alert, note } => self.acknowledge(*alert, note, who),
            WatchControl::Silence { rule, about, for_ms, reason } => {
                self.silence(rule, about.as_deref(), *for_ms, reason, who)
            }
            WatchControl::Silences => self.board.lock().silences().map(view::silence).collect(),
            WatchControl::Unsilence { silence } => {
                let ended = self.board.lock().unsilence(*silence, who, self.now());
                ended.as_ref().map_or_else(|| absent("silence", silence), view::silence)
            }
            // Answered before.
            WatchControl::Metrics | WatchControl::Test => Value::Null,
        }
    }

    /// The newest `limit`, newest last.
    fn alerts(&self, all: bool, limit: u64) -> Value {
        let (board, now) = (self.board.lock(), self.now());
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let wanted = board.alerts().rev().filter(|standing| all || board.is_open(standing, now));
        let mut alerts: Vec<_> = wanted.take(limit).map(|standing| view::alert(&board, standing, now)).collect();
        alerts.reverse();
        json!({ "alerts": alerts, "sinks": view::sinks(&board) })
    }

    fn alert(&self, id: AlertId) -> Value {
        let (board, now) = (self.board.lock(), self.now());
        board.alert(id).map_or_else(|| absent("alert", &id), |standing| view::alert(&board, standing, now))
    }

    fn acknowledge(&self, id: AlertId, note: &str, who: &Who) -> Value {
        if note.len() > TEXT_MAX_BYTES || note.contains(char::is_control) {
            return invalid("note", "one line of at most 500 bytes");
        }
        let done = self.board.lock().acknowledge(id, note.to_owned(), who, self.now());
        done.map_or_else(|| absent("alert", &id), |()| self.alert(id))
    }

    fn silence(&self, rule: &str, about: Option<&str>, for_ms: u64, reason: &str, who: &Who) -> Value {
        let is_line =
            |text: &str| !text.trim().is_empty() && text.len() <= TEXT_MAX_BYTES && !text.contains(char::is_control);
        if !is_line(rule) {
            return invalid("rule", "a rule's id or title");
        }
        if about.is_some_and(|about| !is_line(about)) {
            return invalid("about", "what the alerts are about, as they say it");
        }
        if !is_line(reason) {
            return invalid("reason", "one line of at most 500 bytes that says why");
        }
        if for_ms == 0 || for_ms > SILENCE_MAX_MS {
            return invalid("for_ms", "a time of at most 30 days");
        }
        let now = self.now();
        let silence = Silence {
            id: SilenceId::new(now, &*self.entropy),
            rule: rule.to_owned(),
            about: about.map(str::to_owned),
            since: now,
            until: now.plus_ms(for_ms),
            reason: reason.to_owned(),
            by: who.name.clone(),
            kept: 0,
        };
        let shown = view::silence(&silence);
        let done = self.board.lock().silence(silence, who, now);
        done.map_or_else(|| invalid("rule", "fewer silences: there are 500"), |()| shown)
    }

    /// Tries every sink at once, each once.
    async fn test(&self) -> Value {
        let notification = self.board.lock().test(self.now());
        let names: Vec<String> = self.board.lock().targets().iter().map(|target| target.name.clone()).collect();
        let (desk, notification) = (self, &notification);
        let attempts = names.iter().map(|name| async move {
            let kind = desk.sinks.get(name).map(|sink| sink.kind());
            let outcome = desk.attempt(name, notification).await;
            let problem = outcome.err().map(|failure| failure.to_string());
            json!({ "sink": name, "kind": kind, "delivered": problem.is_none(), "problem": problem })
        });
        let results: Vec<Value> = futures_util::future::join_all(attempts).await;
        json!({ "alert": notification.alert.id, "sinks": results })
    }
}

fn absent(what: &str, id: &dyn std::fmt::Display) -> Value {
    json!({ "error": { "not_found": what, "name": id.to_string() } })
}

fn invalid(field: &str, expected: &str) -> Value {
    json!({ "error": { "field": field, "expected": expected } })
}
