//! Another service's log, and the witness that it is.

use async_trait::async_trait;
use countersign_services::{AddCheckpoint, Log, LogFailure, TileName};

use super::channel::Channel;
use crate::convert::log::{cosign_out, reply_in, tile_out};
use crate::failure::Failed;
use crate::methods::Method;
use crate::{methods, pb};

/// Reads a service's log over a channel, and has the service cosign others'.
pub struct RemoteLog {
    channel: Channel,
}

impl RemoteLog {
    /// The log of the service at the other end.
    #[must_use]
    pub const fn new(channel: Channel) -> Self {
        Self { channel }
    }

    /// Has the call made and says exactly why it was not.
    ///
    /// # Errors
    /// [`Failed`] if the call was not done; what the log itself says is in the outcome.
    pub async fn try_cosign(&self, key: &str, asked: &AddCheckpoint) -> Result<Result<String, LogFailure>, Failed> {
        let reply = self.channel.unary(&methods::LOG_COSIGN, &cosign_out(key, asked)).await?;
        Ok(reply_in(reply).and_then(|[lines]| text(lines)))
    }

    async fn call<const N: usize>(
        &self,
        method: &'static Method,
        message: &impl prost::Message,
    ) -> Result<[Vec<u8>; N], LogFailure> {
        let reply: pb::LogReply = self.channel.unary(method, message).await.map_err(|_| LogFailure::Unavailable)?;
        reply_in(reply)
    }
}

fn text(bytes: Vec<u8>) -> Result<String, LogFailure> {
    String::from_utf8(bytes).map_err(|_| LogFailure::Unavailable)
}

#[async_trait]
impl Log for RemoteLog {
    async fn keys(&self) -> Result<[String; 2], LogFailure> {
        let [log, witness] = self.call(&methods::LOG_KEYS, &pb::LogRequest {}).await?;
        Ok([text(log)?, text(witness)?])
    }

    async fn checkpoint(&self) -> Result<String, LogFailure> {
        let [note] = self.call(&methods::LOG_CHECKPOINT, &pb::LogRequest {}).await?;
        text(note)
    }

    async fn tile(&self, name: TileName) -> Result<Vec<u8>, LogFailure> {
        let [tile] = self.call(&methods::LOG_TILE, &tile_out(name)).await?;
        Ok(tile)
    }

    async fn cosign(&self, key: &str, asked: &AddCheckpoint) -> Result<String, LogFailure> {
        self.try_cosign(key, asked).await.unwrap_or(Err(LogFailure::Unavailable))
    }

    async fn cosigned(&self, size: u64, key: &str, lines: &str) -> Result<(), LogFailure> {
        let message = pb::CosignedRequest { size, key: key.to_owned(), lines: lines.to_owned() };
        let [] = self.call(&methods::LOG_COSIGNED, &message).await?;
        Ok(())
    }
}
