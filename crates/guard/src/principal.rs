//! Who a verified token stands for, under the facts of one epoch.

use std::sync::Arc;

use countersign_model::facts::{Actor, Principal, UserKind};
use countersign_token::{Evidence, ProofOf, Verified};

use crate::guard::Peer;
use crate::refusal::Refusal;
use crate::state::State;

/// The user and whoever acts for them, both of the token's tenant. Only a service or an agent acts for somebody.
pub(crate) fn principal_of(verified: &Verified, state: &State) -> Result<Principal, Refusal> {
    let facts = &state.facts;
    let user_of_tenant = |user| {
        facts.users.get(&user).filter(|known| known.tenant == verified.tenant()).ok_or(Refusal::UnknownPrincipal)
    };
    let user = user_of_tenant(verified.user())?;
    let tenant = facts.tenants.get(&verified.tenant()).ok_or(Refusal::UnknownPrincipal)?;
    let actor = match verified.actor() {
        None => None,
        Some(actor) => {
            let known = user_of_tenant(actor)?;
            if known.kind == UserKind::Person {
                return Err(Refusal::UnknownPrincipal);
            }
            Some(Actor { user: actor, facts: Arc::clone(known) })
        }
    };
    Ok(Principal {
        tenant: user.tenant,
        tenant_name: tenant.name.clone(),
        user: verified.user(),
        facts: Arc::clone(user),
        session: verified.session(),
        token: verified.token(),
        issued: verified.issued(),
        expires: verified.expires(),
        narrowing: Arc::clone(verified.narrowing()),
        actor,
    })
}

impl Peer {
    /// What this end of the connection proves.
    pub(crate) fn evidence(&self) -> Evidence<'_> {
        let proof = self.dpop.as_ref();
        let proof = proof.map(|dpop| ProofOf { proof: &dpop.proof, method: &dpop.method, url: &dpop.url });
        Evidence { certificate: self.certificate, proof }
    }
}
