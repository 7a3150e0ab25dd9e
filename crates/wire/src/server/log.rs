//! A service's log, and the witness that it is.

use std::sync::Arc;

use countersign_services::Log;
use tonic::{Request, Response, Status};

use super::admission::{Admission, caller};
use crate::convert::log::{cosign_in, reply_out, tile_in};
use crate::failure::CallRefused;
use crate::pb;
use crate::pb::log_server::Log as LogWire;

pub(crate) struct LogEnd {
    pub(crate) log: Arc<dyn Log>,
    pub(crate) admission: Arc<Admission>,
}

#[tonic::async_trait]
impl LogWire for LogEnd {
    async fn keys(&self, _: Request<pb::LogRequest>) -> Result<Response<pb::LogReply>, Status> {
        let keys = self.log.keys().await;
        Ok(Response::new(reply_out(keys.map(|keys| keys.map(String::into_bytes)))))
    }

    async fn checkpoint(&self, _: Request<pb::LogRequest>) -> Result<Response<pb::LogReply>, Status> {
        let checkpoint = self.log.checkpoint().await;
        Ok(Response::new(reply_out(checkpoint.map(|note| [note.into_bytes()]))))
    }

    async fn tile(&self, request: Request<pb::TileRequest>) -> Result<Response<pb::LogReply>, Status> {
        let Ok(name) = tile_in(request.get_ref()) else { return Err(self.malformed(&request).await) };
        let tile = self.log.tile(name).await;
        Ok(Response::new(reply_out(tile.map(|tile| [tile]))))
    }

    async fn cosign(&self, request: Request<pb::CosignRequest>) -> Result<Response<pb::LogReply>, Status> {
        let Ok((key, asked)) = cosign_in(request.get_ref().clone()) else { return Err(self.malformed(&request).await) };
        let lines = self.log.cosign(&key, &asked).await;
        Ok(Response::new(reply_out(lines.map(|lines| [lines.into_bytes()]))))
    }

    async fn cosigned(&self, request: Request<pb::CosignedRequest>) -> Result<Response<pb::LogReply>, Status> {
        let pb::CosignedRequest { size, key, lines } = request.into_inner();
        let taken = self.log.cosigned(size, &key, &lines).await;
        Ok(Response::new(reply_out(taken.map(|()| []))))
    }
}

impl LogEnd {
    async fn malformed<T: Sync>(&self, request: &Request<T>) -> Status {
        match caller(request.extensions()) {
            Ok(caller) => self.admission.refuse(&caller, CallRefused::Malformed, None).await.into(),
            Err(status) => status,
        }
    }
}
