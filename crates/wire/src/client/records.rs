//! The store, elsewhere.

use async_trait::async_trait;
use countersign_model::{TenantId, TypeId};
use countersign_services::{Call, Records, ServiceFailure};
use countersign_store::{Batch, Rejected, Scan, SealedRow};
use tonic::Streaming;

use super::channel::{Again, Channel};
use super::outgoing::call_out;
use crate::convert::records::{batch_out, rejected_in, row_in, scan_out};
use crate::failure::{CallRefused, Failed};
use crate::{deadline, methods, pb};

/// Calls the store over a channel.
pub struct RemoteRecords {
    channel: Channel,
}

impl RemoteRecords {
    /// The store at the other end.
    #[must_use]
    pub const fn new(channel: Channel) -> Self {
        Self { channel }
    }

    /// As [`Records::read`], saying more about why not.
    ///
    /// # Errors
    /// [`Failed`].
    pub async fn try_read(&self, call: &Call<'_>, scan: &Scan) -> Result<Vec<SealedRow>, Failed> {
        let message = pb::ReadRecordsRequest { call: Some(call_out(&self.channel, call)?), scan: Some(scan_out(scan)) };
        let until = deadline::current();
        let work = async {
            let chunks = self.channel.streaming(&methods::READ, Again::IfRefused, &message).await?;
            gather(chunks, scan.limit).await
        };
        tokio::time::timeout_at(until, work).await.unwrap_or(Err(Failed::Call(CallRefused::Late)))
    }

    /// As [`Records::write`], saying more about why not. Once it is sent, it may have been made whatever this says.
    ///
    /// # Errors
    /// [`Failed`].
    pub async fn try_write(&self, call: &Call<'_>, batch: Batch) -> Result<Result<(), Rejected>, Failed> {
        let call = Some(call_out(&self.channel, call)?);
        let (changes, requires) = batch_out(batch);
        let message = pb::WriteRecordsRequest { call, changes, requires };
        let reply: pb::WriteRecordsReply = self.channel.unary(&methods::WRITE, Again::IfUnsent, &message).await?;
        match reply.rejected {
            None => Ok(Ok(())),
            Some(rejected) => rejected_in(rejected).map(Err).map_err(|_| Failed::Unavailable),
        }
    }
}

/// All rows, and no more than were asked for.
async fn gather(mut chunks: Streaming<pb::RowChunk>, rows_max: usize) -> Result<Vec<SealedRow>, Failed> {
    let mut rows = Vec::new();
    while let Some(chunk) = chunks.message().await.map_err(|status| Failed::of_status(&status))? {
        if rows.len().saturating_add(chunk.rows.len()) > rows_max {
            return Err(Failed::Unavailable);
        }
        for row in chunk.rows {
            rows.push(row_in(row).map_err(|_| Failed::Unavailable)?);
        }
    }
    Ok(rows)
}

#[async_trait]
impl Records for RemoteRecords {
    async fn read(&self, call: &Call<'_>, scan: &Scan) -> Result<Vec<SealedRow>, ServiceFailure> {
        Ok(self.try_read(call, scan).await?)
    }

    async fn write(&self, call: &Call<'_>, batch: Batch) -> Result<Result<(), Rejected>, ServiceFailure> {
        Ok(self.try_write(call, batch).await?)
    }

    async fn create_tenant(&self, call: &Call<'_>, tenant: TenantId) -> Result<(), ServiceFailure> {
        let call = Some(call_out(&self.channel, call)?);
        let message = pb::CreateTenantRequest { call, tenant: tenant.as_bytes().to_vec() };
        let _: pb::Empty = self.channel.unary(&methods::CREATE_TENANT, Again::IfUnsent, &message).await?;
        Ok(())
    }

    async fn any_records(&self, call: &Call<'_>, record_type: TypeId) -> Result<bool, ServiceFailure> {
        let call = Some(call_out(&self.channel, call)?);
        let message = pb::AnyRecordsRequest { call, record_type: record_type.0.into() };
        let reply: pb::AnyRecordsReply = self.channel.unary(&methods::ANY_RECORDS, Again::IfRefused, &message).await?;
        Ok(reply.any)
    }
}
