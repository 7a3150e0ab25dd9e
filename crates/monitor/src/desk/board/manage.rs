//! What people do about alerts.

use countersign_audit::Verdict;
use countersign_model::{AlertId, SilenceId, UnixMs};

use super::kept::{Acknowledgement, Silence, Who, of, said};
use super::{Board, SILENCES_MAX};
use crate::desk::sink::{Cause, Notification};

impl Board {
    /// Says that somebody has seen to an alert. `None` if there is no such alert.
    pub(crate) fn acknowledge(&mut self, id: AlertId, note: String, who: &Who, now: UnixMs) -> Option<()> {
        let standing = self.kept.alerts.get_mut(&id)?;
        let detail = format!("{}: {note}", said(&standing.alert));
        let was_open = standing.acknowledged.replace(Acknowledgement { at: now, by: who.name.clone(), note }).is_none();
        standing.is_held = false;
        let (alert, was_told) = (standing.alert.clone(), standing.told.is_some());
        if was_open && let Some(count) = self.per_rule.get_mut(&alert.rule) {
            *count = count.saturating_sub(1);
        }
        let happening = self.happening(now, "alert_acknowledgement", Verdict::Changed, &alert, detail);
        self.push(of(happening, who));
        if was_told {
            let resolved = self.notification(alert, Cause::Resolved, now);
            let resolved = Notification { until: now, ..resolved };
            for target in &self.targets {
                let was_waiting = self.kept.outbox.withdraw(&target.name, id);
                if target.wants_resolved && !was_waiting && resolved.alert.level >= target.level {
                    self.kept.outbox.push(&target.name, resolved.clone());
                }
            }
        }
        self.changed();
        Some(())
    }

    /// Keeps a rule silent. `None` if there are too many silences.
    pub(crate) fn silence(&mut self, silence: Silence, who: &Who, now: UnixMs) -> Option<()> {
        if self.kept.silences.len() >= SILENCES_MAX {
            return None;
        }
        let about = silence.about.as_ref().map(|about| format!(" about {about}")).unwrap_or_default();
        let seconds = silence.until.since(now) / 1_000;
        let detail = format!("{}: {}{about} for {seconds} s: {}", silence.id, silence.rule, silence.reason);
        self.push(of(self.plain(now, "alert_silence", detail), who));
        self.kept.silences.insert(silence.id, silence);
        self.changed();
        Some(())
    }

    /// Ends a silence. `None` if there is no such silence.
    pub(crate) fn unsilence(&mut self, id: SilenceId, who: &Who, now: UnixMs) -> Option<Silence> {
        let silence = self.kept.silences.remove(&id)?;
        let detail = format!("{id}: {}; kept silent {} times", silence.rule, silence.kept);
        self.push(of(self.plain(now, "alert_unsilence", detail), who));
        self.changed();
        Some(silence)
    }
}
