//! Whom the monitor tells of alerts.

use std::sync::Arc;

use countersign_audit::AuditSink;
use countersign_crypto::SealKey;
use countersign_monitor::desk::{Contacts, DeskParts, Settings};

use super::Base;
use crate::problem::Problem;

/// Where tenants' e-mail addresses come from.
pub(super) type ContactsOf = Arc<dyn Contacts>;

/// What the desk of alerts is made of, as the configuration says.
pub(super) fn desk(
    base: &Base,
    audit: Arc<dyn AuditSink>,
    key: Arc<SealKey>,
    _contacts: Option<ContactsOf>,
) -> Result<DeskParts, Problem> {
    let alerts = &base.config.alerts;
    let link = alerts.link.get().unwrap_or(&base.config.tokens.issuer).to_owned();
    let settings = Settings {
        repeat_ms: alerts.repeat_ms.number(),
        quiet_ms: alerts.quiet_ms.number(),
        rule_per_minute: alerts.rule_per_minute.number(),
        all_per_minute: alerts.all_per_minute.number(),
        link,
    };
    let (clock, entropy) = (Arc::clone(&base.clock), Arc::clone(&base.entropy));
    Ok(DeskParts { settings, sinks: Vec::new(), tenants: None, audit, key, clock, entropy })
}
