//! The record types in force.

use std::collections::HashSet;
use std::sync::Arc;

use countersign_guard::Permit;
use countersign_model::{RecordTypes, Service, TypeId};
use countersign_policy::Policies;
use countersign_services::Call;
use countersign_store::types_file::{self, Change, Loss};

use super::{Done, called};
use crate::answer::{ControlAnswer, TypesAnswer};
use crate::authority::Authority;
use crate::error::ControlFailure;

impl Authority {
    pub(super) fn types_read(&self) -> Done {
        let text = Some(self.registry.types_text().to_string());
        Done::looked(ControlAnswer::Types(TypesAnswer { text, changes: None, applied: None }))
    }

    pub(super) async fn types_apply(
        &self,
        permit: &Permit,
        text: String,
        dry_run: bool,
    ) -> Result<Done, ControlFailure> {
        let wanted = types_file::parse(&text).map_err(ControlFailure::Types)?;
        let mut change = self.registry.begin().await;
        let old = Arc::clone(&change.facts().types);
        let (merged, changes) = self.merge(permit, &old, &wanted).await?;
        let files = Arc::clone(&change.facts().policies);
        // Compiling takes long enough to be in the way of others.
        let compile = move || Policies::compile(&merged, &files).map(|policies| (merged, policies));
        let compiled = tokio::task::spawn_blocking(compile).await;
        let compiled = compiled.map_err(|_| ControlFailure::Unavailable("policy engine"))?;
        let (merged, policies) = compiled.map_err(ControlFailure::PoliciesInForce)?;
        let changes: Vec<String> = changes.iter().map(ToString::to_string).collect();
        let detail = Some(shown(&changes, dry_run));
        if !dry_run {
            change.set_types(text, merged, policies, self.store.clone())?;
            change.commit().await?;
        }
        let affected = (!dry_run).then_some(changes.len() as u64);
        let answer = TypesAnswer { text: None, changes: Some(changes), applied: Some(!dry_run) };
        Ok(Done { answer: ControlAnswer::Types(answer), affected, detail, made: None, accesses: Vec::new() })
    }

    /// Lays the wanted types over the old ones. Whether types have records is asked only where it matters, as
    /// that means a look at every tenant.
    async fn merge(
        &self,
        permit: &Permit,
        old: &RecordTypes,
        wanted: &RecordTypes,
    ) -> Result<(RecordTypes, Vec<Change>), ControlFailure> {
        let losses = match types_file::merge(old, wanted) {
            Ok(merged) => return Ok(merged),
            Err(losses) => losses,
        };
        let named = |loss: &Loss| loss.record_type.as_ref().and_then(|name| old.find(name.as_str())).map(|(id, _)| id);
        let mut empty: HashSet<TypeId> = HashSet::new();
        for id in losses.iter().filter_map(named).collect::<HashSet<_>>() {
            let call = Call::of(permit, Service::Authority);
            if !self.records.any_records(&call, id).await.map_err(called("store"))? {
                empty.insert(id);
            }
        }
        types_file::merge_knowing(old, wanted, |id| !empty.contains(&id)).map_err(ControlFailure::Losses)
    }
}

fn shown(changes: &[String], dry_run: bool) -> String {
    let said = if changes.is_empty() { "no change".to_owned() } else { changes.join("; ") };
    super::describe::shortened(format!("types: {said}{}", super::describe::dry(dry_run)))
}
