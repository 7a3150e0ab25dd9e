//! The key service's receiving end.

use std::sync::Arc;

use countersign_guard::Bearer;
use countersign_model::{Service, TenantId};
use countersign_services::KeyRelease;
use tonic::{Request, Response, Status};

use super::admission::{Admission, caller};
use crate::convert::keys::{grant_out, purpose_in};
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
    async fn seal_key(&self, request: Request<pb::SealKeyRequest>) -> Result<Response<pb::SealKeyReply>, Status> {
        let (_, extensions, message) = request.into_parts();
        let caller = caller(&extensions)?;
        let Ok(purpose) = purpose_in(message.purpose) else {
            return Err(self.admission.refuse(&caller, CallRefused::Malformed, None).await.into());
        };
        let role = caller.peer.as_deref().and_then(|peer| peer.id.role().parse::<Service>().ok());
        let Some(role) = role else {
            return Err(self.admission.refuse(&caller, CallRefused::Role, None).await.into());
        };
        let bearer = Bearer::new(message.token);
        let grant = self.keys.seal_key(&bearer, role, purpose).await.map_err(Failed::from)?;
        Ok(Response::new(grant_out(&grant)))
    }

    async fn new_tenant_key(
        &self,
        request: Request<pb::NewTenantKeyRequest>,
    ) -> Result<Response<pb::NewTenantKeyReply>, Status> {
        let (_, extensions, message) = request.into_parts();
        let caller = caller(&extensions)?;
        let accepted = self.admission.accept(&caller, message.call).await?;
        let tenant = self.admission.understood(&caller, &accepted, sixteen(&message.tenant)).await?;
        let tenant = TenantId::from_bytes(tenant);
        let wrapped = self.keys.new_tenant_key(&accepted.call(), tenant).await.map_err(Failed::from)?;
        Ok(Response::new(pb::NewTenantKeyReply { wrapped }))
    }

    async fn rewrap_tenant_key(
        &self,
        request: Request<pb::RewrapTenantKeyRequest>,
    ) -> Result<Response<pb::RewrapTenantKeyReply>, Status> {
        let (_, extensions, message) = request.into_parts();
        let caller = caller(&extensions)?;
        let accepted = self.admission.accept(&caller, message.call).await?;
        let tenant = self.admission.understood(&caller, &accepted, sixteen(&message.tenant)).await?;
        let tenant = TenantId::from_bytes(tenant);
        let wrapped = self.keys.rewrap_tenant_key(&accepted.call(), tenant).await.map_err(Failed::from)?;
        Ok(Response::new(pb::RewrapTenantKeyReply { wrapped }))
    }

    async fn issued_epoch(
        &self,
        request: Request<pb::IssuedEpochRequest>,
    ) -> Result<Response<pb::IssuedEpochReply>, Status> {
        let (_, extensions, message) = request.into_parts();
        let caller = caller(&extensions)?;
        let accepted = self.admission.accept(&caller, message.call).await?;
        let epoch = self.keys.issued_epoch(&accepted.call()).await.map_err(Failed::from)?;
        Ok(Response::new(pb::IssuedEpochReply { epoch }))
    }
}
