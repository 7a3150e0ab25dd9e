//! The policies in force.

use std::collections::HashSet;
use std::sync::Arc;

use countersign_model::control::PolicyFile;
use countersign_policy::{Policies, schema_text};

use super::Done;
use crate::answer::{ControlAnswer, PoliciesAnswer};
use crate::authority::Authority;
use crate::error::ControlFailure;

/// The most that all policy files together may have, in bytes.
const POLICY_BYTES_MAX: usize = 4 << 20;

/// The most policy files.
const POLICY_FILES_MAX: usize = 1000;

/// The longest name of a policy file, in bytes.
const FILE_NAME_BYTES_MAX: usize = 200;

impl Authority {
    pub(super) fn policies_read(&self) -> Done {
        let state = self.registry.latest();
        Done::looked(ControlAnswer::Policies(PoliciesAnswer {
            files: Some((*state.facts.policies).clone()),
            schema: schema_text(&state.facts.types).ok(),
            roles: state.policies.roles().iter().cloned().collect(),
            applied: None,
        }))
    }

    /// Puts these policies in place of all that are in force. They are checked first, and compiled once.
    pub(super) async fn policies_apply(&self, files: Vec<PolicyFile>, dry_run: bool) -> Result<Done, ControlFailure> {
        check_bounds(&files)?;
        let mut change = self.registry.begin().await;
        let types = Arc::clone(&change.facts().types);
        // Compiling takes long enough to be in the way of others.
        let compile = move || Policies::compile(&types, &files).map(|policies| (policies, files));
        let compiled = tokio::task::spawn_blocking(compile).await;
        let compiled = compiled.map_err(|_| ControlFailure::Unavailable("policy engine"))?;
        let (policies, files) = compiled.map_err(ControlFailure::Policies)?;
        let (count, roles) = (files.len() as u64, policies.roles().iter().cloned().collect());
        if !dry_run {
            change.set_policies(files, policies)?;
            change.commit().await?;
            // Cryptoperiods and limits may be others now.
            if let Some(keeper) = &self.keeper {
                keeper.wake();
            }
        }
        let answer = PoliciesAnswer { files: None, schema: None, roles, applied: Some(!dry_run) };
        Ok(Done {
            answer: ControlAnswer::Policies(answer),
            affected: (!dry_run).then_some(count),
            detail: None,
            made: None,
            accesses: Vec::new(),
        })
    }
}

fn check_bounds(files: &[PolicyFile]) -> Result<(), ControlFailure> {
    let invalid = |field: String, expected: String| Err(ControlFailure::Invalid { field, expected });
    if files.len() > POLICY_FILES_MAX {
        return invalid("policies".into(), format!("at most {POLICY_FILES_MAX} files"));
    }
    let bytes = files.iter().map(|file| file.text.len()).fold(0, usize::saturating_add);
    if bytes > POLICY_BYTES_MAX {
        return invalid("policies".into(), format!("at most {POLICY_BYTES_MAX} bytes in all"));
    }
    let mut names = HashSet::new();
    for (index, file) in files.iter().enumerate() {
        let is_plain =
            !file.name.is_empty() && file.name.len() <= FILE_NAME_BYTES_MAX && !file.name.chars().any(char::is_control);
        if !is_plain {
            let expected = format!("1 to {FILE_NAME_BYTES_MAX} bytes without control characters");
            return invalid(format!("name of policy file {}", index.saturating_add(1)), expected);
        }
        if !names.insert(file.name.as_str()) {
            return invalid(format!("policy file '{}'", file.name), "each name once".into());
        }
    }
    Ok(())
}
