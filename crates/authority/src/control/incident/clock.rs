//! Reminders before a clock runs out.

use countersign_audit::{Body, Record, Service, Verdict};
use countersign_guard::Refusal;
use countersign_model::facts::OPERATORS;
use countersign_model::{IncidentId, RequestId};
use countersign_services::Mail;

use super::fact::IncidentFact;
use crate::authority::Authority;
use crate::error::ControlFailure;
use crate::time::rfc3339;

/// The action of a reminder's record.
const REMINDER: &str = "incident_clock";

impl Authority {
    /// Puts a reminder on record, and mails it to the operators, for each clock of an incident that is about to run out or
    /// has. Each is reminded of once before and once after. To be called every minute or so.
    ///
    /// # Errors
    /// [`ControlFailure`] if the facts or the records can't be written; the rest comes at the next call.
    pub async fn remind_of_incidents(&self) -> Result<(), ControlFailure> {
        let now = self.registry.clock().now();
        for (id, fact) in self.registry.incidents() {
            let due: Vec<(String, String)> = self
                .breach
                .clocks
                .running(fact.opened, now)
                .into_iter()
                .filter(|clock| clock.is_due || clock.is_over)
                .map(|running| {
                    let (clock, over) = (running.clock, running.is_over);
                    let key = format!("{}{}", clock.name, if over { ":over" } else { "" });
                    let how = if clock.hours == 0 {
                        "without undue delay".to_owned()
                    } else if over {
                        format!("ran out at {}", rfc3339(running.ends))
                    } else {
                        format!("runs out at {}", rfc3339(running.ends))
                    };
                    (key, format!("incident {id}: {} {how}; to {}; {}", clock.name, clock.to, clock.source))
                })
                .filter(|(key, _)| !fact.reminded.contains(key))
                .collect();
            if !due.is_empty() {
                self.remind(id, &fact, due).await?;
            }
        }
        Ok(())
    }

    async fn remind(
        &self,
        id: IncidentId,
        fact: &IncidentFact,
        due: Vec<(String, String)>,
    ) -> Result<(), ControlFailure> {
        let now = self.registry.clock().now();
        let epoch = self.facts().epoch;
        for (_, said) in &due {
            let record = Record {
                time: now,
                request: RequestId::new(now, self.registry.entropy()),
                service: Service::Authority,
                door: None,
                verdict: Verdict::Changed,
                tenant: None,
                tally: None,
                body: Body {
                    action: REMINDER.to_owned(),
                    epoch,
                    detail: Some(super::super::describe::shortened(said.clone())),
                    ..Body::default()
                },
            };
            self.audit.append(record).await.map_err(|_| Refusal::AuditUnavailable)?;
        }
        let operators =
            self.facts().tenant_names.iter().find(|(name, _)| name.as_str() == OPERATORS).map(|(_, id)| *id);
        let to = operators.and_then(|id| self.registry.contacts(id)).map(|contacts| contacts.emails.clone());
        if let (Some(mailer), Some(to)) = (&self.breach.mailer, to.filter(|to| !to.is_empty())) {
            let said: Vec<&str> = due.iter().map(|(_, said)| said.as_str()).collect();
            let mail = Mail {
                to,
                subject: format!("Incident {id}: {} clocks", due.len()),
                text: format!("{}\n\nOpened at {} by {}.\n", said.join("\n"), rfc3339(fact.opened), fact.by),
                attachments: Vec::new(),
            };
            // It is on record, which alerts; a mail that can't be sent is no reason to say it again.
            mailer.send(&mail).await.unwrap_or_default();
        }
        self.update_incident(id, |fact| fact.reminded.extend(due.into_iter().map(|(key, _)| key))).await.map(drop)
    }
}
