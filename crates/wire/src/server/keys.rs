//! The key service's receiving end.

use std::sync::Arc;

use countersign_guard::Bearer;
use countersign_guard::Refusal;
use countersign_model::{Service, TenantId};
use countersign_services::KeyRelease;
use futures_util::future::join_all;
use tonic::{Extensions, Request, Response, Status};

use super::admission::{Accepted, Admission, caller};
use crate::codec;
use crate::convert::failure::failure_out;
use crate::convert::keys::{grant_out, keyring_out, opened_in, purpose_in};
use crate::convert::sixteen;
use crate::failure::{CallRefused, Failed};
use crate::pb;
use crate::pb::keys_server::Keys;

pub(crate) struct KeysEnd {
    pub(crate) keys: Arc<dyn KeyRelease>,
    pub(crate) admission: Arc<Admission>,
}

#[tonic::async_trait]
impl Keys for KeysEnd {
    async fn release(&self, request: Request<pb::ReleaseRequest>) -> Result<Response<pb::ReleaseReply>, Status> {
        let (_, extensions, message) = request.into_parts();
        let accepted = self.admission.accept(&extensions, message.call).await?;
        let ring = self.keys.release(&accepted.call()).await.map_err(Failed::from)?;
        Ok(Response::new(keyring_out(&ring)))
    }

    async fn count_batch(
        &self,
        request: Request<pb::CountBatchRequest>,
    ) -> Result<Response<pb::CountBatchReply>, Status> {
        let (_, extensions, message) = request.into_parts();
        let counts = message.counts.into_iter().map(|count| self.count(&extensions, count));
        Ok(Response::new(pb::CountBatchReply { results: join_all(counts).await }))
    }

    async fn seal_key(&self, request: Request<pb::SealKeyRequest>) -> Result<Response<pb::SealKeyReply>, Status> {
        let (_, extensions, message) = request.into_parts();
        let caller = caller(&extensions)?;
        let Ok(purpose) = purpose_in(message.purpose) else {
            return Err(self.admission.refuse(&caller, CallRefused::Malformed, None).await);
        };
        let role = caller.peer.as_deref().and_then(|peer| peer.id.role().parse::<Service>().ok());
        let Some(role) = role else {
            return Err(self.admission.refuse(&caller, CallRefused::Role, None).await);
        };
        if message.token.is_empty() {
            return Err(Failed::Refused(Refusal::NoToken).to_status());
        }
        let bearer = Bearer::new(message.token);
        let grant = self.keys.seal_key(&bearer, role, purpose).await.map_err(Failed::from)?;
        Ok(Response::new(grant_out(&grant)))
    }

    async fn new_tenant_key(
        &self,
        request: Request<pb::NewTenantKeyRequest>,
    ) -> Result<Response<pb::NewTenantKeyReply>, Status> {
        let (_, extensions, message) = request.into_parts();
        let accepted = self.admission.accept(&extensions, message.call).await?;
        let Ok(tenant) = sixteen(&message.tenant) else {
            let asked = Some((&accepted.request, accepted.epoch));
            return Err(self.admission.refuse(&caller(&extensions)?, CallRefused::Malformed, asked).await);
        };
        let tenant = TenantId::from_bytes(tenant);
        let wrapped = self.keys.new_tenant_key(&accepted.call(), tenant).await.map_err(Failed::from)?;
        Ok(Response::new(pb::NewTenantKeyReply { wrapped }))
    }
}

impl KeysEnd {
    /// One of a batch: what is wrong with one says nothing about the others.
    async fn count(&self, extensions: &Extensions, count: pb::Count) -> pb::CountResult {
        let failure = match self.counted(extensions, count).await {
            Ok(()) => None,
            Err(status) => Some(failure_out(&Failed::of_status(&status))),
        };
        pb::CountResult { failure }
    }

    async fn counted(&self, extensions: &Extensions, count: pb::Count) -> Result<(), Status> {
        let accepted: Accepted = self.admission.accept(extensions, codec::decode(count.call)).await?;
        let opened: Result<Vec<_>, _> = count.opened.into_iter().map(opened_in).collect();
        let Ok(opened) = opened else {
            let asked = Some((&accepted.request, accepted.epoch));
            return Err(self.admission.refuse(&caller(extensions)?, CallRefused::Malformed, asked).await);
        };
        Ok(self.keys.count(&accepted.call(), &opened).await.map_err(Failed::from)?)
    }
}
