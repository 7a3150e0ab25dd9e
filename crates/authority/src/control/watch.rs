//! Requests to the monitor, which the authority passes on: the monitor's own guard judges them again.

use countersign_guard::Permit;
use countersign_model::Service;
use countersign_services::{Call, ServiceFailure};
use serde::Deserialize;
use serde_json::Value;

use super::{Done, called};
use crate::answer::ControlAnswer;
use crate::authority::Authority;
use crate::error::ControlFailure;

/// The monitor answers in vain.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct InVain {
    error: Fault,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Fault {
    Absent { not_found: String, name: String },
    Wrong { field: String, expected: String },
}

impl Authority {
    /// Has the monitor do what the permit's request asks for.
    pub(super) async fn watch(&self, permit: &Permit, is_change: bool) -> Result<Done, ControlFailure> {
        let watch = self.watch.as_ref().ok_or(ControlFailure::NoMonitor)?;
        let json = match watch.watch(&Call::of(permit, Service::Authority)).await {
            Err(ServiceFailure::Unavailable) => return Err(ControlFailure::NoMonitor),
            answer => answer.map_err(called("monitor"))?,
        };
        let answer: Value = serde_json::from_slice(&json).map_err(|_| ControlFailure::Unavailable("monitor"))?;
        match InVain::deserialize(&answer) {
            Ok(InVain { error: Fault::Absent { not_found, name } }) => {
                let what = if not_found == "silence" { "silence" } else { "alert" };
                Err(ControlFailure::NotFound { what, name })
            }
            Ok(InVain { error: Fault::Wrong { field, expected } }) => Err(ControlFailure::Invalid { field, expected }),
            Err(_) if is_change => Ok(Done::changed(ControlAnswer::Watch(answer))),
            Err(_) => Ok(Done::looked(ControlAnswer::Watch(answer))),
        }
    }
}
