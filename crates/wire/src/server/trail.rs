//! Answers from a service's own ledger.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use countersign_audit::{Ledger, Position};
use countersign_model::UnixMs;
use countersign_services::Trail;
use futures_util::{Stream, StreamExt as _, stream};
use tonic::{Request, Response, Status};

use super::admission::{Admission, caller};
use super::leaving;
use crate::convert::trail::{entry_out, query_in, record_out, tenant_in};
use crate::failure::{CallRefused, Failed};
use crate::pb;
use crate::pb::trail_server::Trail as TrailWire;

/// How many tallies or records go into one chunk.
const CHUNK_ROWS: usize = 256;

pub(crate) struct TrailEnd {
    pub(crate) trail: Option<Arc<dyn Trail>>,
    pub(crate) ledger: Option<Arc<Ledger>>,
    pub(crate) admission: Arc<Admission>,
}

type Chunks<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

#[tonic::async_trait]
impl TrailWire for TrailEnd {
    type QueryStream = Chunks<pb::RecordChunk>;
    type TalliesStream = Chunks<pb::TallyChunk>;

    async fn query(&self, request: Request<pb::TrailQueryRequest>) -> Result<Response<Self::QueryStream>, Status> {
        let (_, extensions, message) = request.into_parts();
        let trail = self.trail.as_ref().ok_or(Failed::Call(CallRefused::NotHere))?;
        let caller = caller(&extensions)?;
        let accepted = self.admission.accept(&caller, message.call).await?;
        let owners: Result<Vec<_>, _> = message.owners.into_iter().map(|owner| tenant_in(owner.tenant)).collect();
        let asked = query_in(message.query).and_then(|query| Ok((query, owners?)));
        let (query, owners) = self.admission.understood(&caller, &accepted, asked).await?;
        let page = trail.query(&accepted.call(), &owners, &query).await.map_err(Failed::from)?;
        let (size, mut records, mut is_first) = (page.size, page.records.into_iter(), true);
        let next = move || {
            let chunk: Result<Vec<_>, _> = records.by_ref().take(CHUNK_ROWS).map(record_out).collect();
            match chunk {
                Ok(records) if records.is_empty() && !std::mem::take(&mut is_first) => None,
                Ok(records) => {
                    is_first = false;
                    Some(Ok(pb::RecordChunk { records, size }))
                }
                Err(_) => Some(Err(Failed::Damaged.to_status())),
            }
        };
        Ok(Response::new(Box::pin(stream::iter(std::iter::from_fn(next)))))
    }

    async fn tallies(&self, request: Request<pb::TalliesRequest>) -> Result<Response<Self::TalliesStream>, Status> {
        let ledger = self.ledger.clone().ok_or(Failed::Call(CallRefused::NotHere))?;
        let (_, extensions, message) = request.into_parts();
        let from = match (message.after, message.since) {
            (Some(after), _) => Some(Position(after)),
            (None, Some(since)) => {
                let reading = Arc::clone(&ledger);
                let found = tokio::task::spawn_blocking(move || reading.before(UnixMs(since))).await;
                found.ok().and_then(Result::ok).ok_or(Failed::Damaged)?
            }
            (None, None) => None,
        };
        let following = stream::unfold(Some((ledger, from)), next_tallies).take_until(leaving(&extensions)?);
        Ok(Response::new(Box::pin(following)))
    }
}

type Following = (Arc<Ledger>, Option<Position>);

/// How long new tallies are left to gather.
const GATHER: Duration = Duration::from_millis(200);

/// The next tallies, once there are any. An error ends the stream.
async fn next_tallies(following: Option<Following>) -> Option<(Result<pb::TallyChunk, Status>, Option<Following>)> {
    let (ledger, after) = following?;
    let mut news = ledger.follow();
    loop {
        news.mark_unchanged();
        let reading = Arc::clone(&ledger);
        // Reading files is no work for the threads that answer.
        let read = tokio::task::spawn_blocking(move || reading.tallies(after, CHUNK_ROWS)).await;
        let Ok(Ok(entries)) = read else { return Some((Err(Failed::Damaged.to_status()), None)) };
        if let Some((last, _)) = entries.last() {
            let following = (ledger, Some(*last));
            let entries = entries.into_iter().map(entry_out).collect();
            return Some((Ok(pb::TallyChunk { entries }), Some(following)));
        }
        news.changed().await.ok()?;
        // Many at a time cost little; a moment later is soon enough.
        tokio::time::sleep(GATHER).await;
    }
}
