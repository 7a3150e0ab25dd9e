//! E-mail: identifiers, numbers and a link.

use std::sync::Arc;

use async_trait::async_trait;
use countersign_model::UnixMs;
use countersign_services::{Mail, Mailer};

use super::sink::{Cause, Contacts, Notification, Sink, SinkFailure};
use super::view::rfc3339;

/// Tells operators.
pub struct OperatorMail {
    /// Their addresses.
    pub to: Vec<String>,
    /// What sends.
    pub mailer: Arc<dyn Mailer>,
}

/// Tells the tenant that an alert is about.
pub struct TenantMail {
    /// Whom to tell.
    pub contacts: Arc<dyn Contacts>,
    /// What sends.
    pub mailer: Arc<dyn Mailer>,
}

#[async_trait]
impl Sink for OperatorMail {
    fn kind(&self) -> &'static str {
        "smtp"
    }

    fn wants_resolved(&self) -> bool {
        false
    }

    async fn deliver(&self, notification: &Notification, _: UnixMs) -> Result<(), SinkFailure> {
        self.mailer.send(&mail(self.to.clone(), notification)).await.map_err(SinkFailure::Mail)
    }
}

#[async_trait]
impl Sink for TenantMail {
    fn kind(&self) -> &'static str {
        "tenants"
    }

    fn wants_resolved(&self) -> bool {
        false
    }

    async fn deliver(&self, notification: &Notification, _: UnixMs) -> Result<(), SinkFailure> {
        let to = notification.tenant().map(|tenant| self.contacts.of(tenant)).unwrap_or_default();
        if to.is_empty() {
            return Err(SinkFailure::Nobody);
        }
        self.mailer.send(&mail(to, notification)).await.map_err(SinkFailure::Mail)
    }
}

fn mail(to: Vec<String>, notification: &Notification) -> Mail {
    let alert = &notification.alert;
    let how = match notification.cause {
        Cause::Raised | Cause::Resolved => "",
        Cause::Repeated => ", again",
        Cause::Escalated => ", worse",
        Cause::Test => ", a test",
    };
    let subject = format!("[countersign] {}: {}{how}", alert.level, alert.title);
    Mail { to, subject, text: text(notification), attachments: Vec::new() }
}

fn text(notification: &Notification) -> String {
    let alert = &notification.alert;
    let mut text = format!("{}\n\n", alert.title);
    let mut line = |name: &str, value: &dyn std::fmt::Display| {
        text.push_str(&format!("{name:<10} {value}\n"));
    };
    line("level", &alert.level);
    line("alert", &alert.id);
    line("rule", &alert.rule);
    if let Some(tenant) = alert.tenant {
        line("tenant", &tenant);
    }
    if !alert.about.is_empty() {
        line("about", &alert.about);
    }
    line("events", &alert.count);
    line("first", &rfc3339(alert.first));
    line("last", &rfc3339(alert.last));
    for request in &alert.requests {
        line("request", request);
    }
    if notification.suppressed > 0 {
        line("besides", &format!("{} alerts of the same rule that nobody was told of", notification.suppressed));
    }
    if notification.lost > 0 {
        line("besides", &format!("{} notifications that could not be delivered", notification.lost));
    }
    text.push('\n');
    text.push_str(&notification.link);
    text.push('\n');
    text
}
