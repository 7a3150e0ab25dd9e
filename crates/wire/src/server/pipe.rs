//! Calls that come together in one stream. Each is a call of its own: accepted or refused for itself, with a deadline
//! of its own, and dropped when its caller stops waiting.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use countersign_crypto::spiffe::SpiffeId;
use countersign_services::{KeyRelease, Records};
use futures_util::{Stream, stream};
use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::task::AbortHandle;
use tokio::time::Instant;
use tonic::{Request, Response, Status, Streaming};

use super::Leaving;
use super::admission::{Admission, Caller, caller};
use super::records::chunks;
use crate::convert::failure::failure_out;
use crate::convert::keys::{keyring_out, opened_in};
use crate::convert::records::scan_in;
use crate::failure::{CallRefused, Failed};
use crate::methods::{self, Method};
use crate::pb::pipe_answer::Answer;
use crate::pb::pipe_call::Call;
use crate::pb::pipe_server::Pipe;
use crate::{deadline, pb, received};

/// How many answers may wait to be sent on one stream, before work on it waits.
const ANSWERS_MAX: usize = 256;

pub(crate) struct PipeEnd(pub(crate) Arc<Behind>);

/// What is behind all streams.
pub(crate) struct Behind {
    pub(crate) keys: Option<Arc<dyn KeyRelease>>,
    pub(crate) records: Option<Arc<dyn Records>>,
    pub(crate) admission: Arc<Admission>,
    pub(crate) in_flight: Arc<Semaphore>,
    pub(crate) is_removed: Arc<dyn Fn(&SpiffeId) -> bool + Send + Sync>,
}

#[tonic::async_trait]
impl Pipe for PipeEnd {
    type CallsStream = Pin<Box<dyn Stream<Item = Result<pb::PipeAnswer, Status>> + Send>>;

    async fn calls(&self, request: Request<Streaming<pb::PipeCall>>) -> Result<Response<Self::CallsStream>, Status> {
        let (_, extensions, calls) = request.into_parts();
        let caller = caller(&extensions)?;
        let leaving = extensions.get::<Leaving>().cloned().ok_or(Failed::Unavailable)?;
        let (answers, mut waiting) = mpsc::channel(ANSWERS_MAX);
        let one = One { behind: Arc::clone(&self.0), caller, answers, begun: Mutex::default() };
        tokio::spawn(Arc::new(one).run(calls, leaving));
        Ok(Response::new(Box::pin(stream::poll_fn(move |context| waiting.poll_recv(context)))))
    }
}

/// One stream.
struct One {
    behind: Arc<Behind>,
    caller: Caller,
    answers: mpsc::Sender<Result<pb::PipeAnswer, Status>>,
    /// Calls under way, by their places.
    begun: Mutex<HashMap<u64, AbortHandle>>,
}

impl One {
    async fn run(self: Arc<Self>, mut calls: Streaming<pb::PipeCall>, mut leaving: Leaving) {
        let mut said = false;
        let whole = loop {
            tokio::select! {
                call = calls.message() => match call {
                    Ok(Some(call)) => self.begin(call).await,
                    // The caller has ended the stream, and waits for the answers that are left.
                    Ok(None) => break true,
                    Err(_) => break false,
                },
                () = leaving.said(), if !said => {
                    said = true;
                    self.answer(0, Answer::Leaving(pb::Empty {})).await;
                }
                () = self.answers.closed() => break false,
            }
        };
        if !whole {
            // Nobody waits any more.
            for (_, work) in self.begun.lock().drain() {
                work.abort();
            }
        }
    }

    async fn begin(self: &Arc<Self>, call: pb::PipeCall) {
        let place = call.place;
        match call.call {
            Some(Call::Cancel(pb::Empty {})) => {
                if let Some(work) = self.begun.lock().remove(&place) {
                    work.abort();
                }
            }
            Some(call_part) => match Arc::clone(&self.behind.in_flight).try_acquire_owned() {
                Ok(flight) => {
                    let one = Arc::clone(self);
                    let timeout = Duration::from_millis(call.timeout_ms.into()).min(deadline::CALL_MAX);
                    // Held while it is put there, so that it is there before it can be done.
                    let mut begun = self.begun.lock();
                    let work = tokio::spawn(async move { one.work(place, call_part, timeout, flight).await });
                    begun.insert(place, work.abort_handle());
                }
                Err(_) => self.refuse(place, method_of(&call_part), CallRefused::Busy).await,
            },
            None => self.refuse(place, &methods::PIPE, CallRefused::Malformed).await,
        }
    }

    async fn work(&self, place: u64, call: Call, timeout: Duration, flight: OwnedSemaphorePermit) {
        let now = Instant::now();
        let until = now.checked_add(timeout).unwrap_or(now);
        let work = deadline::within(until, self.done(place, call));
        let answer = match tokio::time::timeout_at(until, work).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(failed)) => Answer::Failure(failure_out(&failed)),
            Err(_) => Answer::Failure(failure_out(&Failed::Call(CallRefused::Late))),
        };
        self.answer(place, answer).await;
        self.begun.lock().remove(&place);
        drop(flight);
    }

    async fn done(&self, place: u64, call: Call) -> Result<Answer, Failed> {
        let behind = &*self.behind;
        let caller = Caller { method: method_of(&call), ..self.caller.clone() };
        let admission = &behind.admission;
        if caller.peer.as_deref().is_none_or(|peer| (behind.is_removed)(&peer.id)) {
            return Err(admission.refuse(&caller, CallRefused::Removed, None).await);
        }
        if !caller.method.takes(caller.peer.as_deref()) {
            return Err(admission.refuse(&caller, CallRefused::Role, None).await);
        }
        match (call, &behind.keys, &behind.records) {
            (Call::Release(message), Some(keys), _) => {
                let accepted = admission.accept(&caller, message.call).await?;
                let ring = keys.release(&accepted.call()).await?;
                Ok(Answer::Released(keyring_out(&ring)))
            }
            (Call::Count(message), Some(keys), _) => {
                let accepted = admission.accept(&caller, message.call).await?;
                let opened: Result<Vec<_>, _> = message.opened.into_iter().map(opened_in).collect();
                let opened = admission.understood(&caller, &accepted, opened).await?;
                keys.count(&accepted.call(), &opened).await?;
                Ok(Answer::Counted(pb::Empty {}))
            }
            (Call::Read(message), _, Some(records)) => {
                let accepted = admission.accept(&caller, message.call).await?;
                let scan = admission.understood(&caller, &accepted, scan_in(message.scan)).await?;
                let call = accepted.call();
                let read = records.read(&call, &scan);
                let rows = received::answering(&accepted.request, accepted.raw.clone(), read).await?;
                let mut chunks = chunks(rows).peekable();
                while let Some(chunk) = chunks.next() {
                    if chunks.peek().is_none() {
                        return Ok(Answer::LastRows(chunk));
                    }
                    self.answer(place, Answer::Rows(chunk)).await;
                }
                Ok(Answer::LastRows(pb::RowChunk::default()))
            }
            _ => Err(admission.refuse(&caller, CallRefused::NotHere, None).await),
        }
    }

    async fn refuse(&self, place: u64, method: &'static Method, why: CallRefused) {
        let caller = Caller { method, ..self.caller.clone() };
        let failed = self.behind.admission.refuse(&caller, why, None).await;
        self.answer(place, Answer::Failure(failure_out(&failed))).await;
    }

    /// Waits while the caller does not read; if it is gone, nobody is told.
    async fn answer(&self, place: u64, answer: Answer) {
        let _ = self.answers.send(Ok(pb::PipeAnswer { place, answer: Some(answer) })).await;
    }
}

const fn method_of(call: &Call) -> &'static Method {
    match call {
        Call::Release(_) => &methods::RELEASE,
        Call::Count(_) => &methods::COUNT,
        Call::Read(_) => &methods::READ_FEW,
        Call::Cancel(_) => &methods::PIPE,
    }
}
