//! Answers from a service's own ledger.

use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use countersign_audit::{Ledger, Position};
use countersign_model::{RequestId, UnixMs};
use countersign_services::Trail;
use futures_util::{Stream, StreamExt as _, stream};
use serde::Serialize;
use tonic::{Request, Response, Status};

use super::admission::{Admission, caller};
use super::leaving;
use crate::convert::sixteen;
use crate::convert::trail::{entry_out, owners_in, plain_in, plain_out, query_in, record_out};
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
    type ExposuresStream = Chunks<pb::ExposureChunk>;
    type ProveStream = Chunks<pb::ProvedChunk>;
    type TalliesStream = Chunks<pb::TallyChunk>;

    async fn query(&self, request: Request<pb::TrailQueryRequest>) -> Result<Response<Self::QueryStream>, Status> {
        let (_, extensions, message) = request.into_parts();
        let trail = self.trail.as_ref().ok_or(Failed::Call(CallRefused::NotHere))?;
        let caller = caller(&extensions)?;
        let accepted = self.admission.accept(&caller, message.call).await?;
        let asked = query_in(message.query).and_then(|query| Ok((query, owners_in(message.owners)?)));
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

    async fn exposures(
        &self,
        request: Request<pb::ExposuresRequest>,
    ) -> Result<Response<Self::ExposuresStream>, Status> {
        let (_, extensions, message) = request.into_parts();
        let trail = self.trail.as_ref().ok_or(Failed::Call(CallRefused::NotHere))?;
        let caller = caller(&extensions)?;
        let accepted = self.admission.accept(&caller, message.call).await?;
        let selector = self.admission.understood(&caller, &accepted, plain_in(&message.selector)).await?;
        let exposures = trail.exposures(&accepted.call(), &selector).await.map_err(Failed::from)?;
        Ok(Response::new(chunks(exposures, |exposures| pb::ExposureChunk { exposures })))
    }

    async fn prove(&self, request: Request<pb::ProveRequest>) -> Result<Response<Self::ProveStream>, Status> {
        let (_, extensions, message) = request.into_parts();
        let trail = self.trail.as_ref().ok_or(Failed::Call(CallRefused::NotHere))?;
        let caller = caller(&extensions)?;
        let accepted = self.admission.accept(&caller, message.call).await?;
        let asked = owners_in(message.owners).and_then(|owners| Ok((owners, sixteen(&message.request)?)));
        let (owners, request) = self.admission.understood(&caller, &accepted, asked).await?;
        let request = RequestId::from_bytes(request);
        let proved = trail.prove(&accepted.call(), &owners, request).await.map_err(Failed::from)?;
        Ok(Response::new(chunks(proved, |proved| pb::ProvedChunk { proved })))
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
        let following = Following { ledger, after: from, is_all: false, said: Instant::now() };
        let following = stream::unfold(Some(following), next_tallies).take_until(leaving(&extensions)?);
        Ok(Response::new(Box::pin(following)))
    }
}

/// A list in chunks, each of its elements as postcard.
fn chunks<T, C>(list: Vec<T>, chunk: impl Fn(Vec<Vec<u8>>) -> C + Send + 'static) -> Chunks<C>
where
    T: Serialize + Send + 'static,
{
    let mut list = list.into_iter();
    let next = move || {
        let part: Result<Vec<_>, _> = list.by_ref().take(CHUNK_ROWS).map(|one| plain_out(&one)).collect();
        match part {
            Ok(part) if part.is_empty() => None,
            Ok(part) => Some(Ok(chunk(part))),
            Err(_) => Some(Err(Failed::Damaged.to_status())),
        }
    };
    Box::pin(stream::iter(std::iter::from_fn(next)))
}

/// Somebody who follows a ledger.
struct Following {
    ledger: Arc<Ledger>,
    after: Option<Position>,
    /// Everything that was recorded until a second ago has been given, which is to be said.
    is_all: bool,
    /// When that was said last.
    said: Instant,
}

/// How often it is said, by a chunk without any tally.
const SAID: Duration = Duration::from_millis(500);

/// How long new tallies are left to gather.
const GATHER: Duration = Duration::from_millis(200);

/// The next tallies, once there are any, or that those before were all. An error ends the stream.
async fn next_tallies(following: Option<Following>) -> Option<(Result<pb::TallyChunk, Status>, Option<Following>)> {
    let mut following = following?;
    let mut news = following.ledger.follow();
    loop {
        if following.is_all && following.said.elapsed() >= SAID {
            (following.is_all, following.said) = (false, Instant::now());
            return Some((Ok(pb::TallyChunk { entries: Vec::new() }), Some(following)));
        }
        news.mark_unchanged();
        let (reading, after) = (Arc::clone(&following.ledger), following.after);
        // Reading files is no work for the threads that answer.
        let read = tokio::task::spawn_blocking(move || reading.tallies_to_now(after, CHUNK_ROWS)).await;
        let Ok(Ok((entries, is_all))) = read else { return Some((Err(Failed::Damaged.to_status()), None)) };
        following.is_all = is_all;
        if let Some((last, _)) = entries.last() {
            following.after = Some(*last);
            let entries = entries.into_iter().map(entry_out).collect();
            return Some((Ok(pb::TallyChunk { entries }), Some(following)));
        }
        if let Ok(changed) = tokio::time::timeout(SAID, news.changed()).await {
            changed.ok()?;
            // Many at a time cost little; a moment later is soon enough.
            tokio::time::sleep(GATHER).await;
        }
    }
}
