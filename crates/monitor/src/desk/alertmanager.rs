//! Alertmanager, by its API of version 2: `POST /api/v2/alerts`.

use std::sync::Arc;

use async_trait::async_trait;
use countersign_model::UnixMs;
use countersign_outbound::address::Url;
use countersign_outbound::fetch::{Ask, Content, Outbound};
use serde_json::{Value, json};
use zeroize::Zeroizing;

use super::sink::{Notification, Sink, SinkFailure};
use super::view::rfc3339;
use crate::alert::Level;

/// Posts alerts to Alertmanager, which groups and routes them.
pub struct Alertmanager {
    /// Its base URL with `/api/v2/alerts` after it.
    pub url: Url,
    /// An `Authorization` field, where it wants one.
    pub authorization: Option<Zeroizing<String>>,
    /// Certificate authorities, in PEM, that are trusted for this besides the platform's.
    pub ca_pem: Option<Arc<str>>,
    /// What calls.
    pub outbound: Arc<dyn Outbound>,
}

#[async_trait]
impl Sink for Alertmanager {
    fn kind(&self) -> &'static str {
        "alertmanager"
    }

    fn wants_resolved(&self) -> bool {
        true
    }

    async fn deliver(&self, notification: &Notification, now: UnixMs) -> Result<(), SinkFailure> {
        let body = json!(alerts(notification, now)).to_string().into_bytes();
        let ask = Ask {
            ca_pem: self.ca_pem.clone(),
            authorization: self.authorization.clone(),
            ..Ask::post(self.url.clone(), Content::json(body))
        };
        let answered = self.outbound.call(ask).await?;
        match answered.status {
            200..=299 => Ok(()),
            status => Err(SinkFailure::of_status(status)),
        }
    }
}

/// An alert is its labels there, so one that got worse is another: the one before is over.
fn alerts(notification: &Notification, now: UnixMs) -> Vec<Value> {
    let own = one(notification, notification.alert.level, notification.until);
    let before = notification.level_before.map(|level| one(notification, level, now));
    before.into_iter().chain([own]).collect()
}

fn one(notification: &Notification, level: Level, until: UnixMs) -> Value {
    let alert = &notification.alert;
    let starts = alert.first.min(until);
    json!({
        "labels": {
            "alertname": alert.title,
            "rule": alert.rule,
            "severity": level.as_str(),
            "about": alert.about,
            "tenant": alert.tenant.map(|tenant| tenant.to_string()).unwrap_or_default(),
            "alert": alert.id.to_string(),
            "job": "countersign",
        },
        "annotations": {
            "summary": alert.title,
            "count": alert.count.to_string(),
            "suppressed": notification.suppressed.to_string(),
            "requests": alert.requests.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "),
        },
        "startsAt": rfc3339(starts),
        "endsAt": rfc3339(until),
        "generatorURL": notification.link,
    })
}
