//! Tokens from tokens (RFC 8693), and what tokens are worth (RFC 7662).

use countersign_guard::{Permit, Refusal, Settlement};
use countersign_model::control::Control;
use countersign_model::facts::UserKind;
use countersign_model::query::Judged;
use countersign_model::request::Narrowing;
use countersign_token::{Binding, Introspection, MintError, Minted, Presented, Verified};
use std::sync::Arc;

use crate::answer::NewToken;
use crate::authority::Authority;
use crate::control::describe_narrowing;
use crate::error::ControlFailure;
use crate::time::rfc3339;

impl Authority {
    /// A token that may do no more than the subject's, for whoever holds that and, where there is an actor, the actor's
    /// as well: then the new token says that the actor acts for the subject, and never reaches further than either.
    ///
    /// Both permits are for the same [`Control::Narrow`] request. The new token is bound to `binding`, which the caller
    /// has proved or, where it only narrows its own token, may choose. On record, for both, before it is given out.
    ///
    /// # Errors
    /// [`ControlFailure`].
    pub async fn exchange(
        &self,
        subject: Permit,
        actor: Option<Permit>,
        binding: Option<Binding>,
    ) -> Result<NewToken, ControlFailure> {
        let Judged::Control(Control::Narrow { narrowing, lifetime_ms }) = subject.judged() else {
            return Err(ControlFailure::NotControl);
        };
        let asked = describe_narrowing(narrowing, *lifetime_ms);
        let outcome = self.exchanged(&subject, actor.as_ref(), narrowing, *lifetime_ms, binding).await;
        let said = |about: Option<String>| {
            let token = outcome.as_ref().ok().map(|new| format!("token {}", new.id));
            let parts = [Some(asked.clone()), about, token];
            parts.into_iter().flatten().collect::<Vec<_>>().join("; ")
        };
        let failed = outcome.as_ref().err().map(ControlFailure::reason);
        let made = outcome.as_ref().ok().map(|new| new.id);
        let whose = |permit: &Permit| {
            let principal = permit.principal();
            format!("{} with token {}", principal.facts.name, principal.token)
        };
        let of_subject = said(actor.as_ref().map(|actor| format!("actor {}", whose(actor))));
        if let Some(actor) = actor {
            let detail = Some(said(Some(format!("acts for {}", whose(&subject)))));
            actor.settle(Settlement { failed, detail, made, ..Settlement::default() }).await?;
        }
        subject.settle(Settlement { failed, detail: Some(of_subject), made, ..Settlement::default() }).await?;
        outcome
    }

    async fn exchanged(
        &self,
        subject: &Permit,
        actor: Option<&Permit>,
        narrowing: &Narrowing,
        lifetime_ms: Option<u64>,
        binding: Option<Binding>,
    ) -> Result<NewToken, ControlFailure> {
        let minter = self.signing.minter(&self.registry).await?.bound_to(binding);
        let now = self.registry.clock().now();
        let parent = self.good_token(subject)?;
        let minted = match actor {
            None => minter.narrow(&parent, narrowing, lifetime_ms, now, self.registry.entropy())?,
            // The guard would refuse a token in which a person acts.
            Some(actor) if actor.principal().facts.kind == UserKind::Person => return Err(MintError::Parties.into()),
            Some(actor) => {
                let actor = self.good_token(actor)?;
                minter.exchange(&parent, &actor, narrowing, lifetime_ms, now, self.registry.entropy())?
            }
        };
        Ok(self.new_token(minted, binding.or(parent.binding().copied())))
    }

    /// The token itself, verified here again rather than taken from what others concluded.
    pub(crate) fn good_token(&self, permit: &Permit) -> Result<Arc<Verified>, ControlFailure> {
        let verified = self.verifier().verify_presented(permit.bearer().presented(), self.registry.clock().now());
        let verified = verified.map_err(Refusal::Token)?;
        if verified.revoked_by(&self.facts().revocations) {
            return Err(Refusal::Revoked.into());
        }
        Ok(verified)
    }

    pub(crate) fn new_token(&self, minted: Minted, binding: Option<Binding>) -> NewToken {
        let (id, expires) = (minted.id(), minted.expires());
        NewToken {
            access_token: minted.into_token(),
            issued_token_type: "urn:ietf:params:oauth:token-type:access_token",
            token_type: Binding::scheme(binding.as_ref()),
            expires_in: expires.since(self.registry.clock().now()) / 1000,
            expires: rfc3339(expires),
            id,
        }
    }

    /// What a token is worth, for somebody of the same tenant who may ask. Of all others it is said to be worth
    /// nothing, whatever it is. On record before the answer.
    ///
    /// # Errors
    /// [`ControlFailure`].
    pub async fn introspect(&self, permit: Permit, token: &Presented) -> Result<Introspection, ControlFailure> {
        let Judged::Control(Control::Introspect) = permit.judged() else { return Err(ControlFailure::NotControl) };
        let now = self.registry.clock().now();
        let verifier = self.verifier();
        let verified = verifier.verify_presented(token, now).ok();
        let own = verified.filter(|verified| verified.tenant() == permit.principal().tenant);
        let detail = own.as_ref().map(|verified| format!("token {}", verified.token()));
        let said = own.map_or(Introspection::INACTIVE, |verified| verifier.introspect(&verified, &self.facts(), now));
        permit.settle(Settlement { detail, ..Settlement::default() }).await?;
        Ok(said)
    }
}
