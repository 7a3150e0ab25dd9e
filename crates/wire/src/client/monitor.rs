//! The monitor, elsewhere.

use async_trait::async_trait;
use countersign_services::{Call, ServiceFailure, Watch};

use super::channel::Channel;
use super::outgoing::call_out;
use crate::failure::Failed;
use crate::{deadline, methods, pb};

/// Calls the monitor over a channel.
pub struct RemoteWatch {
    channel: Channel,
}

impl RemoteWatch {
    /// The monitor at the other end.
    #[must_use]
    pub const fn new(channel: Channel) -> Self {
        Self { channel }
    }

    /// As [`Watch::watch`], saying more about why not.
    ///
    /// # Errors
    /// [`Failed`].
    pub async fn try_watch(&self, call: &Call<'_>) -> Result<Vec<u8>, Failed> {
        let message = pb::WatchRequest { call: Some(call_out(&self.channel, call)?) };
        let reply: pb::WatchReply = self.channel.unary(&methods::WATCH, &message).await?;
        Ok(reply.json)
    }
}

#[async_trait]
impl Watch for RemoteWatch {
    async fn watch(&self, call: &Call<'_>) -> Result<Vec<u8>, ServiceFailure> {
        Ok(deadline::within(call.deadline, self.try_watch(call)).await?)
    }
}
