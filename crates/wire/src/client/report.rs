//! How another service is.

use async_trait::async_trait;
use countersign_services::{LogFailure, Report, ServiceStatus};

use super::channel::Channel;
use crate::convert::report::status_in;
use crate::failure::Failed;
use crate::{methods, pb};

/// Asks a service over a channel.
pub struct RemoteReport {
    channel: Channel,
}

impl RemoteReport {
    /// The service at the other end.
    #[must_use]
    pub const fn new(channel: Channel) -> Self {
        Self { channel }
    }

    /// As [`Report::status`], saying more about why not.
    ///
    /// # Errors
    /// [`Failed`].
    pub async fn try_status(&self) -> Result<ServiceStatus, Failed> {
        let reply = self.channel.unary(&methods::STATUS, &pb::StatusRequest {}).await?;
        status_in(reply).map_err(|_| Failed::Unavailable)
    }
}

#[async_trait]
impl Report for RemoteReport {
    async fn status(&self) -> Result<ServiceStatus, LogFailure> {
        self.try_status().await.map_err(|_| LogFailure::Unavailable)
    }
}
