//! The key service, elsewhere.

use std::sync::Arc;

use async_trait::async_trait;
use countersign_guard::Bearer;
use countersign_model::{Opened, Service, TenantId};
use countersign_services::{Call, KeyRelease, Keyring, SealGrant, SealPurpose, ServiceFailure};
use prost::Message;

use super::batch::Batcher;
use super::channel::{Again, Channel};
use super::outgoing::call_out;
use crate::convert::keys::{grant_in, keyring_in, opened_out, purpose_out};
use crate::failure::Failed;
use crate::{methods, pb};

/// Calls the key service over a channel.
pub struct RemoteKeys {
    channel: Channel,
    counts: Arc<Batcher>,
}

impl RemoteKeys {
    /// The key service at the other end.
    #[must_use]
    pub fn new(channel: Channel) -> Self {
        Self { counts: Batcher::new(channel.clone()), channel }
    }

    /// As [`KeyRelease::release`], saying more about why not.
    ///
    /// # Errors
    /// [`Failed`].
    pub async fn try_release(&self, call: &Call<'_>) -> Result<Keyring, Failed> {
        let message = pb::ReleaseRequest { call: Some(call_out(&self.channel, call)?) };
        let reply = self.channel.unary(&methods::RELEASE, Again::IfRefused, &message).await?;
        keyring_in(reply).map_err(|_| Failed::Unavailable)
    }

    /// As [`KeyRelease::count`], saying more about why not.
    ///
    /// # Errors
    /// [`Failed`].
    pub async fn try_count(&self, call: &Call<'_>, opened: &[Opened]) -> Result<(), Failed> {
        let call = call_out(&self.channel, call)?.encode_to_vec().into();
        self.counts.count(pb::Count { call, opened: opened.iter().map(opened_out).collect() }).await
    }

    /// As [`KeyRelease::seal_key`], saying more about why not.
    ///
    /// # Errors
    /// [`Failed`].
    pub async fn try_seal_key(&self, bearer: &Bearer, purpose: SealPurpose) -> Result<SealGrant, Failed> {
        let message = pb::SealKeyRequest { token: bearer.as_str().to_owned(), purpose: purpose_out(purpose).into() };
        let reply = self.channel.unary(&methods::SEAL_KEY, Again::IfRefused, &message).await?;
        grant_in(reply).map_err(|_| Failed::Unavailable)
    }

    /// As [`KeyRelease::new_tenant_key`], saying more about why not.
    ///
    /// # Errors
    /// [`Failed`].
    pub async fn try_new_tenant_key(&self, call: &Call<'_>, tenant: TenantId) -> Result<Vec<u8>, Failed> {
        let call = Some(call_out(&self.channel, call)?);
        let message = pb::NewTenantKeyRequest { call, tenant: tenant.as_bytes().to_vec() };
        let reply: pb::NewTenantKeyReply =
            self.channel.unary(&methods::NEW_TENANT_KEY, Again::IfRefused, &message).await?;
        Ok(reply.wrapped)
    }
}

#[async_trait]
impl KeyRelease for RemoteKeys {
    async fn release(&self, call: &Call<'_>) -> Result<Keyring, ServiceFailure> {
        Ok(self.try_release(call).await?)
    }

    async fn count(&self, call: &Call<'_>, opened: &[Opened]) -> Result<(), ServiceFailure> {
        Ok(self.try_count(call, opened).await?)
    }

    async fn seal_key(
        &self,
        bearer: &Bearer,
        _caller: Service,
        purpose: SealPurpose,
    ) -> Result<SealGrant, ServiceFailure> {
        // Who calls is in the certificate.
        Ok(self.try_seal_key(bearer, purpose).await?)
    }

    async fn new_tenant_key(&self, call: &Call<'_>, tenant: TenantId) -> Result<Vec<u8>, ServiceFailure> {
        Ok(self.try_new_tenant_key(call, tenant).await?)
    }
}
