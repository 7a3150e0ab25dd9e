//! Another service's audit records.

use async_trait::async_trait;
use countersign_audit::{Exposure, LedgerQuery, Position, Selector, TallyEntry};
use countersign_model::{RequestId, TenantId, UnixMs};
use countersign_services::{Call, Proved, ServiceFailure, Trail, TrailPage};
use prost::{Message, Name};
use serde::de::DeserializeOwned;
use tonic::Streaming;

use super::channel::Channel;
use super::outgoing::call_out;
use crate::convert::trail::{entry_in, owner_out, plain_in, plain_out, query_out, record_in};
use crate::failure::{CallRefused, Failed};
use crate::methods::Method;
use crate::{deadline, methods, pb};

/// The most records that one service has of one request: more than any has.
const PROVED_MAX: usize = 10_000;

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
            owners: owners.iter().map(owner_out).collect(),
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

    /// As [`Trail::exposures`], saying more about why not.
    ///
    /// # Errors
    /// [`Failed`].
    pub async fn try_exposures(&self, call: &Call<'_>, selector: &Selector) -> Result<Vec<Exposure>, Failed> {
        let selector_bytes = plain_out(selector).map_err(|_| Failed::Call(CallRefused::Malformed))?;
        let message = pb::ExposuresRequest { call: Some(call_out(&self.channel, call)?), selector: selector_bytes };
        self.list(&methods::EXPOSURES, &message, selector.limit, |chunk: pb::ExposureChunk| chunk.exposures).await
    }

    /// As [`Trail::prove`], saying more about why not.
    ///
    /// # Errors
    /// [`Failed`].
    pub async fn try_prove(
        &self,
        call: &Call<'_>,
        owners: &[Option<TenantId>],
        request: RequestId,
    ) -> Result<Vec<Proved>, Failed> {
        let message = pb::ProveRequest {
            call: Some(call_out(&self.channel, call)?),
            owners: owners.iter().map(owner_out).collect(),
            request: request.as_bytes().to_vec(),
        };
        self.list(&methods::PROVE, &message, PROVED_MAX, |chunk: pb::ProvedChunk| chunk.proved).await
    }

    /// A list that comes in chunks; one that is longer than was asked for is not believed.
    async fn list<C, T>(
        &self,
        method: &'static Method,
        message: &impl Message,
        limit: usize,
        parts: impl Fn(C) -> Vec<Vec<u8>>,
    ) -> Result<Vec<T>, Failed>
    where
        C: Message + Name + Default + 'static,
        T: DeserializeOwned,
    {
        let until = deadline::current();
        let work = async {
            let mut chunks: Streaming<C> = self.channel.streaming(method, message).await?;
            let mut list = Vec::new();
            while let Some(chunk) = chunks.message().await.map_err(|status| Failed::of_status(&status))? {
                for part in parts(chunk) {
                    if list.len() >= limit {
                        return Err(Failed::Unavailable);
                    }
                    list.push(plain_in(&part).map_err(|_| Failed::Unavailable)?);
                }
            }
            Ok(list)
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
    /// The next ones, in order; waits until there are any. None at all means that those before were everything that was
    /// recorded until a second ago, which is said again and again while it is so. `None` if the service ended the stream: follow anew.
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

    async fn exposures(&self, call: &Call<'_>, selector: &Selector) -> Result<Vec<Exposure>, ServiceFailure> {
        Ok(deadline::within(call.deadline, self.try_exposures(call, selector)).await?)
    }

    async fn prove(
        &self,
        call: &Call<'_>,
        owners: &[Option<TenantId>],
        request: RequestId,
    ) -> Result<Vec<Proved>, ServiceFailure> {
        Ok(deadline::within(call.deadline, self.try_prove(call, owners, request)).await?)
    }
}
