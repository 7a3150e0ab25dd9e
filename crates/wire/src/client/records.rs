//! The store, elsewhere.

use async_trait::async_trait;
use countersign_model::{TenantId, TypeId};
use countersign_services::{Call, Records, ServiceFailure};
use countersign_store::{Access, Batch, Done, Rejected, Scan, SealedRow, SealedState, StateScan};
use tonic::Streaming;

use super::channel::Channel;
use super::outgoing::call_out;
use super::pipe::{Pipes, Reply};
use crate::convert::Malformed;
use crate::convert::records::{batch_out, once_in, rejected_in, row_in, scan_out, state_in, states_out};
use crate::failure::{CallRefused, Failed};
use crate::pb::pipe_call::Call as CallPart;
use crate::{deadline, methods, pb};

/// Calls the store over a channel.
pub struct RemoteRecords {
    pipes: Pipes,
}

/// Scans by at most this many ids or tags go with other calls; longer ones have a stream of their own, so that they
/// hold up nobody else.
const FEW: usize = 256;

impl RemoteRecords {
    /// The store at the other end.
    #[must_use]
    pub fn new(channel: Channel) -> Self {
        Self { pipes: Pipes::new(channel) }
    }

    /// As [`Records::read`], saying more about why not.
    ///
    /// # Errors
    /// [`Failed`].
    pub async fn try_read(&self, call: &Call<'_>, scan: &Scan) -> Result<Vec<SealedRow>, Failed> {
        let call = Some(call_out(self.pipes.channel(), call)?);
        let message = pb::ReadRecordsRequest { call, scan: Some(scan_out(scan)) };
        let is_short = match &scan.access {
            Access::Records(records) => records.len() <= FEW,
            Access::Tags { tags, .. } => tags.len() <= FEW,
            Access::All => false,
        };
        if is_short {
            return match self.pipes.call(CallPart::Read(message), scan.limit).await? {
                Reply::Rows(rows) => rows.into_iter().map(|row| row_in(row).map_err(|_| Failed::Unavailable)).collect(),
                Reply::Released(_) | Reply::Counted => Err(Failed::Unavailable),
            };
        }
        let until = deadline::current();
        let work = async {
            let chunks = self.pipes.channel().streaming(&methods::READ, &message).await?;
            gather(chunks, scan.limit, row_in).await
        };
        tokio::time::timeout_at(until, work).await.unwrap_or(Err(Failed::Call(CallRefused::Late)))
    }

    /// As [`Records::history`], saying more about why not.
    ///
    /// # Errors
    /// [`Failed`].
    pub async fn try_history(&self, call: &Call<'_>, scan: &StateScan) -> Result<Vec<SealedState>, Failed> {
        let call = Some(call_out(self.pipes.channel(), call)?);
        let (states, after_version) = states_out(scan);
        let message = pb::HistoryRequest { call, scan: Some(states), after_version };
        let until = deadline::current();
        let work = async {
            let chunks = self.pipes.channel().streaming(&methods::HISTORY, &message).await?;
            gather(chunks, scan.limit, state_in).await
        };
        tokio::time::timeout_at(until, work).await.unwrap_or(Err(Failed::Call(CallRefused::Late)))
    }

    /// As [`Records::write`], saying more about why not.
    ///
    /// # Errors
    /// [`Failed`]; [`Failed::Unknown`] if it was sent and nobody said what came of it.
    pub async fn try_write(&self, call: &Call<'_>, batch: Batch) -> Result<Result<(), Rejected>, Failed> {
        let call = Some(call_out(self.pipes.channel(), call)?);
        let message = batch_out(call, batch);
        let reply: pb::WriteRecordsReply = self.pipes.channel().change(&methods::WRITE, &message).await?;
        match reply.rejected {
            None => Ok(Ok(())),
            Some(rejected) => rejected_in(rejected).map(Err).map_err(|_| Failed::Unknown),
        }
    }

    /// As [`Records::done`], saying more about why not.
    ///
    /// # Errors
    /// [`Failed`].
    pub async fn try_done(&self, call: &Call<'_>, id: [u8; 32]) -> Result<Option<Done>, Failed> {
        let call = Some(call_out(self.pipes.channel(), call)?);
        let message = pb::DoneRequest { call, key: id.to_vec() };
        let reply: pb::DoneReply = self.pipes.channel().unary(&methods::DONE, &message).await?;
        let once = reply.once.map(once_in).transpose().map_err(|_| Failed::Unavailable)?;
        Ok(once.map(|once| once.done))
    }
}

/// All rows, and no more than were asked for.
async fn gather<T>(
    mut chunks: Streaming<pb::RowChunk>,
    rows_max: usize,
    read: fn(pb::SealedRow) -> Result<T, Malformed>,
) -> Result<Vec<T>, Failed> {
    let mut rows = Vec::new();
    while let Some(chunk) = chunks.message().await.map_err(|status| Failed::of_status(&status))? {
        if rows.len().saturating_add(chunk.rows.len()) > rows_max {
            return Err(Failed::Unavailable);
        }
        for row in chunk.rows {
            rows.push(read(row).map_err(|_| Failed::Unavailable)?);
        }
    }
    Ok(rows)
}

#[async_trait]
impl Records for RemoteRecords {
    async fn read(&self, call: &Call<'_>, scan: &Scan) -> Result<Vec<SealedRow>, ServiceFailure> {
        Ok(deadline::within(call.deadline, self.try_read(call, scan)).await?)
    }

    async fn history(&self, call: &Call<'_>, scan: &StateScan) -> Result<Vec<SealedState>, ServiceFailure> {
        Ok(deadline::within(call.deadline, self.try_history(call, scan)).await?)
    }

    async fn write(&self, call: &Call<'_>, batch: Batch) -> Result<Result<(), Rejected>, ServiceFailure> {
        Ok(deadline::within(call.deadline, self.try_write(call, batch)).await?)
    }

    async fn done(&self, call: &Call<'_>, id: [u8; 32]) -> Result<Option<Done>, ServiceFailure> {
        Ok(deadline::within(call.deadline, self.try_done(call, id)).await?)
    }

    async fn create_tenant(&self, call: &Call<'_>, tenant: TenantId) -> Result<(), ServiceFailure> {
        let carried = Some(call_out(self.pipes.channel(), call)?);
        let message = pb::CreateTenantRequest { call: carried, tenant: tenant.as_bytes().to_vec() };
        let made = self.pipes.channel().unary(&methods::CREATE_TENANT, &message);
        let _: pb::Empty = deadline::within(call.deadline, made).await?;
        Ok(())
    }

    async fn any_records(&self, call: &Call<'_>, record_type: TypeId) -> Result<bool, ServiceFailure> {
        let carried = Some(call_out(self.pipes.channel(), call)?);
        let message = pb::AnyRecordsRequest { call: carried, record_type: record_type.0.into() };
        let asked = self.pipes.channel().unary(&methods::ANY_RECORDS, &message);
        let reply: pb::AnyRecordsReply = deadline::within(call.deadline, asked).await?;
        Ok(reply.any)
    }
}
