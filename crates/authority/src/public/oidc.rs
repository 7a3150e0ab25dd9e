//! Logging in with the tenant's identity provider.

use countersign_model::request::Door;
use countersign_services::{PublicCall, PublicReply};
use countersign_token::Binding;
use serde_json::json;
use zeroize::Zeroizing;

use super::reply::{self, Trouble};
use super::{Public, json_body};
use crate::people::{Attempt, CodeReturn, DevicePoll};

fn attempt(call: &PublicCall, lifetime_ms: Option<u64>, binding: Option<Binding>) -> Attempt {
    Attempt { request: call.request, door: Some(Door::Http), lifetime_ms, binding }
}

impl Public {
    /// `{"tenant", "redirect_uri"}`: where to send the person's browser.
    pub(super) async fn oidc_start(&self, call: &PublicCall) -> Result<PublicReply, Trouble> {
        let mut fields = json_body(call)?;
        let (tenant, redirect_uri) = (fields.name("tenant")?, fields.text("redirect_uri")?);
        fields.finish("tenant, redirect_uri")?;
        let begun = self.authority.code_login(&attempt(call, None, None), &tenant, &redirect_uri).await?;
        let document = json!({
            "id": begun.id,
            "authorization_url": begun.authorization_url,
            "expires_in": begun.expires_in,
        });
        Ok(reply::json(200, &document))
    }

    /// `{"id", "code", "state", "iss"?, "expires_in"?}`: a token.
    pub(super) async fn oidc_finish(&self, call: &PublicCall) -> Result<PublicReply, Trouble> {
        let mut fields = json_body(call)?;
        let (id, state) = (fields.text("id")?, fields.text("state")?);
        let (code, iss) = (Zeroizing::new(fields.text("code")?), fields.maybe_text("iss")?);
        let lifetime_ms = fields.number("expires_in")?.map(|seconds| seconds.saturating_mul(1000));
        fields.finish("id, code, state, iss, expires_in")?;
        let binding = self.proven_key(call)?;
        let back = CodeReturn { id, code, state, iss };
        let minted = self.authority.code_return(&attempt(call, lifetime_ms, binding), back).await?;
        Ok(self.grant(minted, binding))
    }

    /// `{"tenant"}`: what the person has to type in, and where.
    pub(super) async fn oidc_device(&self, call: &PublicCall) -> Result<PublicReply, Trouble> {
        let mut fields = json_body(call)?;
        let tenant = fields.name("tenant")?;
        fields.finish("tenant")?;
        let begun = self.authority.device_login(&attempt(call, None, None), &tenant).await?;
        let mut document = json!({
            "id": begun.id,
            "user_code": begun.user_code,
            "verification_uri": begun.verification_uri,
            "interval": begun.interval,
            "expires_in": begun.expires_in,
        });
        if let (Some(uri), Some(members)) = (begun.verification_uri_complete, document.as_object_mut()) {
            members.insert("verification_uri_complete".to_owned(), uri.into());
        }
        Ok(reply::json(200, &document))
    }

    /// `{"id", "expires_in"?}`: a token once the person has logged in (RFC 8628, section 3.5).
    pub(super) async fn oidc_device_poll(&self, call: &PublicCall) -> Result<PublicReply, Trouble> {
        let mut fields = json_body(call)?;
        let id = fields.text("id")?;
        let lifetime_ms = fields.number("expires_in")?.map(|seconds| seconds.saturating_mul(1000));
        fields.finish("id, expires_in")?;
        let binding = self.proven_key(call)?;
        match self.authority.device_poll(&attempt(call, lifetime_ms, binding), &id).await {
            Ok(minted) => Ok(self.grant(minted, binding)),
            Err(wait @ DevicePoll::Pending) => Err(Trouble::device("authorization_pending", wait.to_string())),
            Err(wait @ DevicePoll::SlowDown) => Err(Trouble::device("slow_down", wait.to_string())),
            Err(DevicePoll::Over(refused)) => Err(refused.into()),
        }
    }
}
