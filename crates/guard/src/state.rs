use std::sync::Arc;

use arc_swap::ArcSwap;
use countersign_model::facts::Facts;
use countersign_policy::Policies;

/// Facts of one epoch and the policies compiled from them. A request is decided under exactly one.
#[derive(Clone)]
pub struct State {
    /// The facts.
    pub facts: Arc<Facts>,
    /// Compiled from `facts.types` and `facts.policies`.
    pub policies: Arc<Policies>,
}

/// Where the newest [`State`] is found. The authority publishes; guards load.
pub struct FactsCell(ArcSwap<State>);

impl FactsCell {
    /// A cell that holds this state.
    #[must_use]
    pub fn new(state: State) -> Self {
        Self(ArcSwap::from_pointee(state))
    }

    /// The newest state.
    #[must_use]
    pub fn load(&self) -> Arc<State> {
        self.0.load_full()
    }

    /// Replaces the state; the next request is decided under it.
    pub fn publish(&self, state: State) {
        self.0.store(Arc::new(state));
    }
}
