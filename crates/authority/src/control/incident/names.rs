//! What an incident says by names. It belongs to the tenants whose names they are: it is kept apart for each, under the
//! tenant's own key, and taken out of the incident when the tenant is erased, or somebody of it.

use countersign_model::incident::Culprit;
use countersign_model::{IncidentId, Name, SessionId, TenantId, TokenId};
use serde::{Deserialize, Serialize};

use super::fact::{IncidentFact, NoticeFact, StepFact};

/// What came of a step that has failed, where its words are not kept.
const FAILED: &str = "what it was about was erased";

/// What an incident says of one tenant by names.
#[derive(Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Names {
    culprit: Option<Culprit>,
    /// By their places among the steps.
    steps: Vec<(u32, String, Option<String>)>,
    notice: Option<NoticeFact>,
}

impl IncidentFact {
    /// The tenants of which it says something by names, given what tenants are called.
    pub(crate) fn named(&self, id_of: impl Fn(&Name) -> Option<TenantId>) -> Vec<TenantId> {
        let culprit = match &self.culprit {
            Culprit::Principal { tenant, .. } | Culprit::TenantKey(tenant) => id_of(tenant),
            _ => None,
        };
        let steps = self.steps.iter().filter(|step| says_name(step)).filter_map(|step| step.tenant);
        let mut all: Vec<_> = culprit.into_iter().chain(steps).chain(self.notices.keys().copied()).collect();
        all.sort_unstable();
        all.dedup();
        all
    }

    /// Takes that out for one tenant, which is called `name`. Identifiers and numbers stay.
    pub(crate) fn take_names(&mut self, tenant: TenantId, name: Option<&Name>) -> Names {
        let mut names = Names::default();
        if let Culprit::Principal { tenant: of, .. } | Culprit::TenantKey(of) = &self.culprit
            && Some(of) == name
        {
            names.culprit = Some(std::mem::replace(&mut self.culprit, Culprit::Erased(tenant)));
        }
        for (place, step) in (0_u32..).zip(&mut self.steps) {
            if step.tenant == Some(tenant) && says_name(step) {
                let subject = std::mem::replace(&mut step.subject, tenant.to_string());
                let failed = step.failed.as_mut().map(|failed| std::mem::replace(failed, FAILED.to_owned()));
                names.steps.push((place, subject, failed));
            }
        }
        if let Some(notice) = self.notices.get_mut(&tenant) {
            names.notice = Some(notice.clone());
            notice.text.clear();
            for (_, by) in notice.delivered.iter_mut().chain(&mut notice.acknowledged) {
                *by = tenant.to_string();
            }
        }
        names
    }

    /// Puts back what was taken out.
    pub(crate) fn put_names(&mut self, tenant: TenantId, names: Names) {
        let Names { culprit, steps, notice } = names;
        if let Some(culprit) = culprit {
            self.culprit = culprit;
        }
        for (place, subject, failed) in steps {
            let step = usize::try_from(place).ok().and_then(|place| self.steps.get_mut(place));
            if let Some(step) = step {
                (step.subject, step.failed) = (subject, failed);
            }
        }
        if let Some(notice) = notice {
            self.notices.insert(tenant, notice);
        }
    }
}

/// Whether it was done to something that is not called by an identifier that is made.
fn says_name(step: &StepFact) -> bool {
    step.subject.parse::<TokenId>().is_err() && step.subject.parse::<SessionId>().is_err()
}

/// Under which they are stored.
pub(crate) fn names_key(incident: IncidentId, tenant: TenantId) -> Vec<u8> {
    [*incident.as_bytes(), *tenant.as_bytes()].concat()
}
