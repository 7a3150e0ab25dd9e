//! The monitor's receiving end.

use std::sync::Arc;

use countersign_services::Watch;
use tonic::{Request, Response, Status};

use super::admission::{Admission, caller};
use crate::failure::Failed;
use crate::pb;
use crate::pb::watch_server::Watch as WatchWire;

pub(crate) struct WatchEnd {
    pub(crate) watch: Arc<dyn Watch>,
    pub(crate) admission: Arc<Admission>,
}

#[tonic::async_trait]
impl WatchWire for WatchEnd {
    async fn watch(&self, request: Request<pb::WatchRequest>) -> Result<Response<pb::WatchReply>, Status> {
        let (_, extensions, message) = request.into_parts();
        let caller = caller(&extensions)?;
        let accepted = self.admission.accept(&caller, message.call).await?;
        let watch = Arc::clone(&self.watch);
        // What is changed is put on record, whoever hangs up.
        let done = tokio::spawn(async move { watch.watch(&accepted.call()).await }).await;
        let json = done.map_err(|_| Failed::Unavailable)?.map_err(Failed::from)?;
        Ok(Response::new(pb::WatchReply { json }))
    }
}
