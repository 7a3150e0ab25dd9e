//! The key service, elsewhere.

use async_trait::async_trait;
use countersign_guard::Bearer;
use countersign_model::{Opened, Service, TenantId};
use countersign_services::{Call, KeyRelease, Keyring, SealGrant, SealPurpose, ServiceFailure};

use super::channel::Channel;
use super::outgoing::call_out;
use super::pipe::{Pipes, Reply};
use crate::convert::keys::{grant_in, keyring_in, opened_out, purpose_out};
use crate::failure::Failed;
use crate::pb::pipe_call::Call as CallPart;
use crate::{deadline, methods, pb};

/// Calls the key service over a channel.
pub struct RemoteKeys {
    pipes: Pipes,
}

impl RemoteKeys {
    /// The key service at the other end.
    #[must_use]
    pub fn new(channel: Channel) -> Self {
        Self { pipes: Pipes::new(channel) }
    }

    /// As [`KeyRelease::release`], saying more about why not.
    ///
    /// # Errors
    /// [`Failed`].
    pub async fn try_release(&self, call: &Call<'_>) -> Result<Keyring, Failed> {
        let call = Some(call_out(self.pipes.channel(), call)?);
        self.release_message(pb::ReleaseRequest { call }).await
    }

    pub(crate) async fn release_message(&self, message: pb::ReleaseRequest) -> Result<Keyring, Failed> {
        match self.pipes.call(CallPart::Release(message), 0).await? {
            Reply::Released(reply) => keyring_in(reply).map_err(|_| Failed::Unavailable),
            Reply::Counted | Reply::Rows(_) => Err(Failed::Unavailable),
        }
    }

    /// As [`KeyRelease::count`], saying more about why not.
    ///
    /// # Errors
    /// [`Failed`].
    pub async fn try_count(&self, call: &Call<'_>, opened: &[Opened]) -> Result<(), Failed> {
        let call = Some(call_out(self.pipes.channel(), call)?);
        let count = pb::Count { call, opened: opened.iter().map(opened_out).collect() };
        match self.pipes.call(CallPart::Count(count), 0).await? {
            Reply::Counted => Ok(()),
            Reply::Released(_) | Reply::Rows(_) => Err(Failed::Unavailable),
        }
    }

    /// As [`KeyRelease::issued_epoch`], saying more about why not.
    ///
    /// # Errors
    /// [`Failed`].
    pub async fn try_issued_epoch(&self, call: &Call<'_>) -> Result<u32, Failed> {
        let message = pb::IssuedEpochRequest { call: Some(call_out(self.pipes.channel(), call)?) };
        let reply: pb::IssuedEpochReply = self.pipes.channel().unary(&methods::ISSUED_EPOCH, &message).await?;
        Ok(reply.epoch)
    }

    /// As [`KeyRelease::seal_key`], saying more about why not.
    ///
    /// # Errors
    /// [`Failed`].
    pub async fn try_seal_key(&self, bearer: &Bearer, purpose: SealPurpose) -> Result<SealGrant, Failed> {
        let message = pb::SealKeyRequest { token: bearer.as_str().to_owned(), purpose: purpose_out(purpose).into() };
        let reply = self.pipes.channel().unary(&methods::SEAL_KEY, &message).await?;
        grant_in(reply).map_err(|_| Failed::Unavailable)
    }

    /// As [`KeyRelease::new_tenant_key`], saying more about why not.
    ///
    /// # Errors
    /// [`Failed`].
    pub async fn try_new_tenant_key(&self, call: &Call<'_>, tenant: TenantId) -> Result<Vec<u8>, Failed> {
        let call = Some(call_out(self.pipes.channel(), call)?);
        let message = pb::NewTenantKeyRequest { call, tenant: tenant.as_bytes().to_vec() };
        let reply: pb::NewTenantKeyReply = self.pipes.channel().unary(&methods::NEW_TENANT_KEY, &message).await?;
        Ok(reply.wrapped)
    }

    /// As [`KeyRelease::rewrap_tenant_key`], saying more about why not.
    ///
    /// # Errors
    /// [`Failed`].
    pub async fn try_rewrap_tenant_key(&self, call: &Call<'_>, tenant: TenantId) -> Result<Vec<u8>, Failed> {
        let call = Some(call_out(self.pipes.channel(), call)?);
        let message = pb::RewrapTenantKeyRequest { call, tenant: tenant.as_bytes().to_vec() };
        let reply: pb::RewrapTenantKeyReply = self.pipes.channel().unary(&methods::REWRAP_TENANT_KEY, &message).await?;
        Ok(reply.wrapped)
    }
}

#[async_trait]
impl KeyRelease for RemoteKeys {
    async fn release(&self, call: &Call<'_>) -> Result<Keyring, ServiceFailure> {
        Ok(deadline::within(call.deadline, self.try_release(call)).await?)
    }

    async fn issued_epoch(&self, call: &Call<'_>) -> Result<u32, ServiceFailure> {
        Ok(deadline::within(call.deadline, self.try_issued_epoch(call)).await?)
    }

    async fn count(&self, call: &Call<'_>, opened: &[Opened]) -> Result<(), ServiceFailure> {
        Ok(deadline::within(call.deadline, self.try_count(call, opened)).await?)
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
        Ok(deadline::within(call.deadline, self.try_new_tenant_key(call, tenant)).await?)
    }

    async fn rewrap_tenant_key(&self, call: &Call<'_>, tenant: TenantId) -> Result<Vec<u8>, ServiceFailure> {
        Ok(deadline::within(call.deadline, self.try_rewrap_tenant_key(call, tenant)).await?)
    }
}
