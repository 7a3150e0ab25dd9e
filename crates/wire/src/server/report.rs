//! How a service is.

use std::sync::Arc;

use countersign_services::Report;
use tonic::{Request, Response, Status};

use crate::convert::report::status_out;
use crate::failure::Failed;
use crate::pb;
use crate::pb::report_server::Report as ReportWire;

pub(crate) struct ReportEnd {
    pub(crate) report: Arc<dyn Report>,
}

#[tonic::async_trait]
impl ReportWire for ReportEnd {
    async fn status(&self, _: Request<pb::StatusRequest>) -> Result<Response<pb::StatusReply>, Status> {
        let status = self.report.status().await.map_err(|_| Failed::Unavailable)?;
        Ok(Response::new(status_out(status)))
    }
}
