//! Who may do what, decided by Cedar policies and turned into plans.
//!
//! Policies are Cedar text, checked against a schema that is generated from the record types. A [`Plan`] says for
//! one caller, action and record type which fields may be used on which rows; it is computed once and evaluated
//! natively for each row. Everything is denied that no policy permits, and every doubt is a refusal.
//!
//! This crate knows nothing of tokens, requests or stored data: who the caller is has been established before,
//! and the records that a plan is applied to are those of the caller's own tenant.
//!
//! ```
//! use countersign_model::control::PolicyFile;
//! use countersign_model::RecordTypes;
//! use countersign_policy::Policies;
//!
//! let text = r#"permit (principal in Role::"admin", action == Control::Action::"read_audit", resource);"#;
//! let files = [PolicyFile { name: "admin.cedar".into(), text: text.into() }];
//! let policies = Policies::compile(&RecordTypes::default(), &files).unwrap();
//! assert!(policies.roles().iter().any(|role| role.as_str() == "admin"));
//! ```
//!
//! How policies are written is in `docs/policies.md`; the language is specified at <https://docs.cedarpolicy.com>.

mod budget;
mod compile;
mod condition;
mod control;
mod entities;
mod error;
mod explain;
mod fold;
mod periods;
mod plan;
mod schema;
mod slice;
mod statements;
mod vocabulary;

use std::collections::BTreeSet;
use std::sync::Arc;

use cedar_policy::Schema;
use countersign_model::budget::BudgetLimits;
use countersign_model::control::{ControlAction, PolicyFile};
use countersign_model::facts::{Principal, User};
use countersign_model::request::Action;
use countersign_model::{Name, Plan, RecordTypes, TypeId};

pub use error::{PolicyError, PolicyFault, Problem};
pub use periods::KeyPeriods;
pub use schema::schema_text;

/// The policies that every deployment has, as Cedar text.
pub const BUILT_IN: &str = include_str!("builtin.cedar");

/// Policies that were checked against the record types, ready to decide. Immutable.
pub struct Policies {
    vocabulary: vocabulary::Vocabulary,
    schema: Schema,
    slices: slice::Slices,
    roles: BTreeSet<Name>,
    budgets: budget::Budgets,
}

impl Policies {
    /// Checks policy files against the record types, together with the policies that every deployment has. A file
    /// whose name ends in [`PolicyFile::BUDGET`] holds budgets, in [`PolicyFile::KEYS`] cryptoperiods, any other Cedar text.
    ///
    /// # Errors
    /// [`PolicyError`] with every problem, each with file, line and column: text that is not Cedar, fields and
    /// actions that don't exist, comparisons that make no sense, policies that can never apply, and conditions
    /// that can't be turned into a plan.
    pub fn compile(types: &RecordTypes, files: &[PolicyFile]) -> Result<Self, PolicyError> {
        with_room(|| compile::compile(types, files))
    }

    /// What `caller` may do with records of a type in its own tenant. With an actor, what both may: the same fields of
    /// the same rows, with the policies asked about each for itself.
    ///
    /// # Errors
    /// [`PolicyFault`] if it can't be decided; the request must then be refused.
    pub fn plan(&self, caller: &Principal, action: Action, record_type: TypeId) -> Result<Plan, PolicyFault> {
        let plan = |of: &Principal| plan::plan(self, of, action, record_type, of.tenant_name.as_str());
        with_room(|| match actor(caller) {
            None => plan(caller),
            Some(actor) => Ok(plan(caller)?.intersect(&plan(&actor)?)),
        })
    }

    /// Whether `caller` may do this, in the tenant of that name (its own, unless the request names another). With an
    /// actor, whether both may.
    ///
    /// # Errors
    /// [`PolicyFault`] if it can't be decided; the request must then be refused.
    pub fn control(&self, caller: &Principal, action: ControlAction, tenant: &Name) -> Result<bool, PolicyFault> {
        let may = |of: &Principal| control::control(self, of, action, tenant);
        with_room(|| match actor(caller) {
            None => may(caller),
            Some(actor) => Ok(may(caller)? && may(&actor)?),
        })
    }

    /// How many cells `caller` may open at most. With an actor, the smaller of both in each limit.
    #[must_use]
    pub fn budget(&self, caller: &Principal) -> BudgetLimits {
        let own = self.budget_of(&caller.facts);
        caller.actor.as_ref().map_or(own, |actor| own.min(self.budget_of(&actor.facts)))
    }

    /// How many cells one user may open, for whomever: what is counted against, as what a person opened with their
    /// own hands is no reason to stop the agent that acts for them, as long as both are within their own limits.
    #[must_use]
    pub fn budget_of(&self, user: &User) -> BudgetLimits {
        self.budgets.of(user)
    }

    /// The roles that policies name. A user with any other role gains nothing by it.
    #[must_use]
    pub const fn roles(&self) -> &BTreeSet<Name> {
        &self.roles
    }
}

/// Whoever acts for the caller, as a caller of its own.
fn actor(caller: &Principal) -> Option<Principal> {
    let actor = caller.actor.as_ref()?;
    Some(Principal { user: actor.user, facts: Arc::clone(&actor.facts), actor: None, ..caller.clone() })
}

/// Runs with stack enough for the deepest policy that [`statements`] lets through, with room to spare.
fn with_room<T>(run: impl FnOnce() -> T) -> T {
    const STACK_BYTES: usize = 64 * 1024 * 1024;
    stacker::maybe_grow(STACK_BYTES / 2, STACK_BYTES, run)
}

impl std::fmt::Debug for Policies {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Policies").field("roles", &self.roles).finish_non_exhaustive()
    }
}
