//! Who is told, and what is held back.

use countersign_audit::{Reason, Verdict};
use countersign_model::{AlertId, TenantId, UnixMs};

use super::kept::{Happening, said};
use super::{Board, TENANTS};
use crate::alert::{Alert, Level};
use crate::desk::sink::{Cause, Notification};

impl Board {
    /// Tells whoever is to be told: the tenant whatever operators want, operators unless it is kept silent or there
    /// are too many.
    pub(super) fn tell(&mut self, id: AlertId, cause: Cause, now: UnixMs) {
        let Some(standing) = self.kept.alerts.get_mut(&id) else { return };
        let alert = standing.alert.clone();
        let before = standing.told.map(|(_, level)| level);
        if let (true, Some(tenant)) = (alert.tells_tenant, alert.tenant) {
            self.tell_tenant(&alert, tenant, cause, now);
        }
        let silence = self.kept.silences.values_mut().find(|silence| silence.until > now && silence.covers(&alert));
        let Some(standing) = self.kept.alerts.get_mut(&id) else { return };
        standing.silenced_by = silence.as_ref().map(|silence| silence.id);
        if let Some(silence) = silence {
            silence.kept = silence.kept.saturating_add(1);
            standing.is_held = false;
            return;
        }
        let is_within =
            self.rule_limits.has(&alert.rule, now) && (alert.level == Level::Critical || self.all_limits.has("", now));
        standing.is_held = !is_within;
        if !is_within {
            self.has_held = true;
            return;
        }
        standing.told = Some((now, alert.level));
        self.rule_limits.take(&alert.rule, now);
        self.all_limits.take("", now);
        let suppressed = self.count_held(&alert.rule);
        let level_before = before.filter(|level| *level != alert.level);
        let notification = Notification { level_before, suppressed, ..self.notification(alert, cause, now) };
        for target in &self.targets {
            if notification.alert.level >= target.level {
                self.kept.outbox.push(&target.name, notification.clone());
            }
        }
    }

    /// How many of the rule's alerts were held back. They count as told with that number, and are in the list.
    pub(super) fn count_held(&mut self, rule: &str) -> u64 {
        if !self.has_held {
            return 0;
        }
        let mut suppressed = 0u64;
        for other in self.kept.alerts.values_mut().filter(|other| other.is_held && other.alert.rule == rule) {
            other.is_held = false;
            suppressed = suppressed.saturating_add(1);
        }
        self.has_held = self.kept.alerts.values().any(|standing| standing.is_held);
        suppressed
    }

    pub(super) fn tell_tenant(&mut self, alert: &Alert, tenant: TenantId, cause: Cause, now: UnixMs) {
        // Each rule for itself: what tells of little must not use up the room of what tells of much.
        let key = format!("{tenant} {}", alert.rule);
        if !self.tells_tenants {
            let detail = format!("{} to the tenant: no mail server is configured", said(alert));
            let reason = Some(Reason::Unavailable);
            self.push(Happening { reason, ..self.happening(now, "alert_delivery", Verdict::Failed, alert, detail) });
        } else if self.tenant_limits.has(&key, now) {
            self.tenant_limits.take(&key, now);
            let notification = self.notification(alert.clone(), cause, now);
            self.kept.outbox.push(TENANTS, notification);
        }
    }

    pub(super) fn notification(&self, alert: Alert, cause: Cause, now: UnixMs) -> Notification {
        Notification {
            id: AlertId::new(now, &*self.entropy),
            cause,
            link: format!("{}/v1/alerts/{}", self.settings.link, alert.id),
            until: alert.last.max(now).plus_ms(self.settings.quiet_ms),
            alert,
            level_before: None,
            suppressed: 0,
            lost: 0,
            queued: now,
        }
    }
}
