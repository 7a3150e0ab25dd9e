//! Webhooks, signed by the Standard Webhooks specification.

use std::sync::Arc;

use async_trait::async_trait;
use countersign_crypto::webhook::WebhookKey;
use countersign_model::UnixMs;
use countersign_outbound::address::Url;
use countersign_outbound::fetch::{Ask, Content, Outbound};
use serde_json::json;
use zeroize::Zeroizing;

use super::sink::{Notification, Sink, SinkFailure};
use super::view::rfc3339;

/// Posts each notification as JSON.
pub struct Webhook {
    /// Where to.
    pub url: Url,
    /// What the receiver verifies with.
    pub key: WebhookKey,
    /// An `Authorization` field, where the receiver wants one.
    pub authorization: Option<Zeroizing<String>>,
    /// Certificate authorities, in PEM, that are trusted for this besides the platform's.
    pub ca_pem: Option<Arc<str>>,
    /// What calls.
    pub outbound: Arc<dyn Outbound>,
}

#[async_trait]
impl Sink for Webhook {
    fn kind(&self) -> &'static str {
        "webhook"
    }

    fn wants_resolved(&self) -> bool {
        true
    }

    async fn deliver(&self, notification: &Notification, now: UnixMs) -> Result<(), SinkFailure> {
        let body = body(notification);
        let (id, seconds) = (notification.id.to_string(), now.seconds());
        let signature = self.key.sign(&id, seconds, &body);
        let ask = Ask {
            ca_pem: self.ca_pem.clone(),
            authorization: self.authorization.clone(),
            fields: vec![
                ("webhook-id", id),
                ("webhook-timestamp", seconds.to_string()),
                ("webhook-signature", signature),
            ],
            ..Ask::post(self.url.clone(), Content::json(body))
        };
        let answered = self.outbound.call(ask).await?;
        match answered.status {
            200..=299 => Ok(()),
            status => Err(SinkFailure::of_status(status)),
        }
    }
}

fn body(notification: &Notification) -> Vec<u8> {
    let alert = &notification.alert;
    let document = json!({
        "type": format!("alert.{}", notification.cause.as_str()),
        "timestamp": rfc3339(notification.queued),
        "data": {
            "alert": alert.id,
            "rule": alert.rule,
            "title": alert.title,
            "level": alert.level,
            "level_before": notification.level_before,
            "tenant": alert.tenant,
            "about": alert.about,
            "first": rfc3339(alert.first),
            "last": rfc3339(alert.last),
            "count": alert.count,
            "requests": alert.requests,
            "suppressed": notification.suppressed,
            "lost": notification.lost,
            "link": notification.link,
        },
    });
    document.to_string().into_bytes()
}
