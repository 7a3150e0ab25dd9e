//! Logging in with an SSH key.

use countersign_model::request::Door;
use countersign_services::{PublicCall, PublicReply};
use countersign_token::{Binding, Minted};
use serde_json::json;

use super::reply::{self, Trouble};
use super::{Public, json_body};
use crate::login::Login;

impl Public {
    /// `{"user", "tenant"}`: a text to sign.
    pub(super) fn challenge(&self, call: &PublicCall) -> Result<PublicReply, Trouble> {
        let mut fields = json_body(call)?;
        let (user, tenant) = (fields.name("user")?, fields.name("tenant")?);
        fields.finish("user, tenant")?;
        let challenge = self.authority.challenge(&user, &tenant);
        Ok(reply::json(200, &json!({ "id": challenge.id, "text": challenge.text, "expires": challenge.expires })))
    }

    /// `{"user", "tenant", "id", "signature", "expires_in"?}`: a token.
    pub(super) async fn login(&self, call: &PublicCall) -> Result<PublicReply, Trouble> {
        let mut fields = json_body(call)?;
        let (user, tenant) = (fields.name("user")?, fields.name("tenant")?);
        let (challenge, signature) = (fields.text("id")?, fields.text("signature")?);
        let lifetime_ms = fields.number("expires_in")?.map(|seconds| seconds.saturating_mul(1000));
        fields.finish("user, tenant, id, signature, expires_in")?;
        let binding = self.proven_key(call)?;
        let door = Some(Door::Http);
        let login = Login { request: call.request, door, user, tenant, challenge, signature, lifetime_ms };
        let minted = self.authority.login_bound(login, binding).await?;
        Ok(self.grant(minted, binding))
    }

    /// RFC 6749, section 5.1.
    pub(super) fn grant(&self, minted: Minted, binding: Option<Binding>) -> PublicReply {
        let expires_in = minted.expires().since(self.now()) / 1000;
        let token_type = Binding::scheme(binding.as_ref());
        let access_token = minted.into_token();
        reply::json(200, &json!({ "access_token": access_token, "token_type": token_type, "expires_in": expires_in }))
    }
}
