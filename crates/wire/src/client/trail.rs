//! Another service's audit records.

use async_trait::async_trait;
use countersign_audit::{LedgerQuery, Position, TallyEntry};
use countersign_model::{TenantId, UnixMs};
use countersign_services::{Call, ServiceFailure, Trail, TrailPage};
use tonic::Streaming;

use super::channel::Channel;
use super::outgoing::call_out;
use crate::convert::trail::{entry_in, query_out, record_in};
use crate::failure::{CallRefused, Failed};
use crate::{deadline, methods, pb};

/// Reads a service's ledger over a channel.
pub struct RemoteTrail {
    channel: Channel,
}

impl RemoteTrail {
    /// The ledger of the service at the other end.
    #[must_use]
    pub const fn new(channel: Channel) -> Self {
        Self { channel }
    }

    /// As [`Trail::query`], saying more about why not.
    ///
    /// # Errors
    /// [`Failed`].
    pub async fn try_query(
        &self,
        call: &Call<'_>,
        owners: &[Option<TenantId>],
        query: &LedgerQuery,
    ) -> Result<TrailPage, Failed> {
        let message = pb::TrailQueryRequest {
            call: Some(call_out(&self.channel, call)?),
            query: Some(query_out(query)),
            owners: owners
                .iter()
                .map(|owner| pb::Owner { tenant: owner.map(|tenant| tenant.as_bytes().to_vec()) })
                .collect(),
        };
        let until = deadline::current();
        let work = async {
            let mut chunks: Streaming<pb::RecordChunk> = self.channel.streaming(&methods::QUERY, &message).await?;
            let mut page = TrailPage::default();
            while let Some(chunk) = chunks.message().await.map_err(|status| Failed::of_status(&status))? {
                page.size = chunk.size;
                if page.records.len().saturating_add(chunk.records.len()) > query.limit {
                    return Err(Failed::Unavailable);
                }
                for record in chunk.records {
                    page.records.push(record_in(record).map_err(|_| Failed::Unavailable)?);
                }
            }
            Ok(page)
        };
        tokio::time::timeout_at(until, work).await.unwrap_or(Err(Failed::Call(CallRefused::Late)))
    }

    /// Follows the tallies after a position, or from the first on.
    ///
    /// # Errors
    /// [`Failed`].
    pub async fn tallies(&self, after: Option<Position>) -> Result<TallyStream, Failed> {
        self.follow(pb::TalliesRequest { after: after.map(|after| after.0), since: None }).await
    }

    /// Follows the tallies from a moment on: how somebody begins who has no position yet, and no use for what is old.
    ///
    /// # Errors
    /// [`Failed`].
    pub async fn tallies_since(&self, since: UnixMs) -> Result<TallyStream, Failed> {
        self.follow(pb::TalliesRequest { after: None, since: Some(since.0) }).await
    }

    async fn follow(&self, message: pb::TalliesRequest) -> Result<TallyStream, Failed> {
        let chunks = self.channel.streaming(&methods::TALLIES, &message).await?;
        Ok(TallyStream { chunks })
    }
}

/// Tallies as they become durable.
pub struct TallyStream {
    chunks: Streaming<pb::TallyChunk>,
}

impl TallyStream {
    /// The next ones, in order; waits until there are any. `None` if the service ended the stream: follow anew.
    ///
    /// # Errors
    /// [`Failed`]; the stream is of no use any more then.
    pub async fn next(&mut self) -> Result<Option<Vec<(Position, TallyEntry)>>, Failed> {
        match self.chunks.message().await {
            Ok(Some(chunk)) => {
                let entries: Result<_, _> = chunk.entries.into_iter().map(entry_in).collect();
                entries.map(Some).map_err(|_| Failed::Unavailable)
            }
            Ok(None) => Ok(None),
            Err(status) => Err(Failed::of_status(&status)),
        }
    }
}

#[async_trait]
impl Trail for RemoteTrail {
    async fn query(
        &self,
        call: &Call<'_>,
        owners: &[Option<TenantId>],
        query: &LedgerQuery,
    ) -> Result<TrailPage, ServiceFailure> {
        Ok(deadline::within(call.deadline, self.try_query(call, owners, query)).await?)
    }
}
