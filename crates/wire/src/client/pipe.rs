//! Calls that are many and small, gathered into streams that stay.

use std::collections::HashMap;
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body::Frame;
use parking_lot::{Mutex, RwLock};
use tokio::sync::{Mutex as AsyncMutex, mpsc, oneshot};
use tokio::time::Instant;
use tonic::Streaming;

use super::channel::{Channel, framed};
use crate::convert::failure::failure_in;
use crate::failure::{CallRefused, Failed};
use crate::pb::pipe_answer::Answer;
use crate::pb::pipe_call::Call;
use crate::{deadline, pb};

/// How many calls go into one frame at most.
const TOGETHER_MAX: usize = 64;
/// How often a call of which nothing was sent is tried, and how often a stream is opened for it.
const TRIES: usize = 8;
/// Before a stream is tried to be opened again.
const PAUSE: Duration = Duration::from_millis(20);

/// What a call gives.
pub(crate) enum Reply {
    Released(pb::ReleaseReply),
    Counted,
    Rows(Vec<pb::SealedRow>),
}

/// Streams to one service.
pub(crate) struct Pipes {
    channel: Channel,
    slots: Arc<Slots>,
    opening: AsyncMutex<()>,
    turn: AtomicUsize,
    places: AtomicU64,
}

struct Slots(Vec<RwLock<Option<Arc<Pipe>>>>);

/// One stream.
struct Pipe {
    calls: mpsc::UnboundedSender<(u64, Bytes)>,
    waiting: Arc<Mutex<Waiting>>,
    leaving: Arc<AtomicBool>,
    /// Of its connection.
    is_over: Arc<AtomicBool>,
}

/// Who waits for which answer.
#[derive(Default)]
struct Waiting {
    calls: HashMap<u64, Waiter>,
    is_closed: bool,
}

struct Waiter {
    answer: oneshot::Sender<Outcome>,
    is_sent: bool,
    rows: Vec<pb::SealedRow>,
    rows_max: usize,
}

enum Outcome {
    Done(Result<Reply, Failed>),
    /// Nothing of it was sent.
    Unsent,
}

impl Pipes {
    pub(crate) fn new(channel: Channel) -> Self {
        let count = channel.settings().connections.max(1);
        Self {
            slots: Arc::new(Slots((0..count).map(|_| RwLock::default()).collect())),
            opening: AsyncMutex::default(),
            turn: AtomicUsize::new(0),
            places: AtomicU64::new(1),
            channel,
        }
    }

    pub(crate) const fn channel(&self) -> &Channel {
        &self.channel
    }

    /// Makes a call, and waits for its answer for as long as the request may take. Who stops waiting tells the other
    /// end. It is sent again only if nothing of it was sent.
    pub(crate) async fn call(&self, call: Call, rows_max: usize) -> Result<Reply, Failed> {
        let _flight = self.channel.place()?;
        let deadline = deadline::current();
        let left = deadline.saturating_duration_since(Instant::now()).as_millis();
        let place = self.places.fetch_add(1, Ordering::Relaxed);
        let timeout_ms = u32::try_from(left).unwrap_or(u32::MAX).max(1);
        let message = framed(&pb::PipeCall { place, timeout_ms, call: Some(call) })?;
        for _ in 0..TRIES {
            let pipe = self.pipe(deadline).await?;
            let Some((awaited, answered)) = pipe.send(place, message.clone(), rows_max) else { continue };
            match tokio::time::timeout_at(deadline, answered).await {
                Ok(Ok(Outcome::Done(result))) => {
                    awaited.is_answered();
                    return result;
                }
                Ok(Ok(Outcome::Unsent)) => {}
                // It was sent, and nobody knows what came of it.
                Ok(Err(_)) => return Err(Failed::Unavailable),
                Err(_) => return Err(Failed::Call(CallRefused::Late)),
            }
        }
        Err(Failed::Unavailable)
    }

    /// A stream that takes calls, in turn.
    async fn pipe(&self, deadline: Instant) -> Result<Arc<Pipe>, Failed> {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let index = turn.checked_rem(self.slots.0.len()).unwrap_or_default();
        if let Some(pipe) = self.slots.good(index) {
            return Ok(pipe);
        }
        // One makes it, and the others take another meanwhile, if there is one.
        let _opening = match self.opening.try_lock() {
            Ok(opening) => opening,
            Err(_) => {
                let others = 0..self.slots.0.len();
                if let Some(pipe) = others.into_iter().find_map(|other| self.slots.good(other)) {
                    return Ok(pipe);
                }
                let opening = tokio::time::timeout_at(deadline, self.opening.lock()).await;
                opening.map_err(|_| Failed::Call(CallRefused::Late))?
            }
        };
        if let Some(pipe) = self.slots.good(index) {
            return Ok(pipe);
        }
        let pipe = tokio::time::timeout_at(deadline, self.open(index, deadline)).await;
        pipe.unwrap_or(Err(Failed::Call(CallRefused::Late)))
    }

    /// Opens a stream. Until it is there nothing goes into it, so that this may be tried again.
    async fn open(&self, index: usize, deadline: Instant) -> Result<Arc<Pipe>, Failed> {
        let mut tried = 0usize;
        let (calls, waiting, (answers, is_over)) = loop {
            let (calls, queue) = mpsc::unbounded_channel();
            let waiting = Arc::new(Mutex::new(Waiting::default()));
            let outgoing = Drain { queue, together: Vec::new(), waiting: Arc::clone(&waiting) };
            tried = tried.saturating_add(1);
            match self.channel.pipe(outgoing, deadline).await? {
                Some(opened) => break (calls, waiting, opened),
                // There will be another connection.
                None if tried < TRIES => tokio::time::sleep(PAUSE).await,
                None => return Err(Failed::Unavailable),
            }
        };
        let leaving = Arc::new(AtomicBool::new(false));
        let pipe = Arc::new(Pipe { calls, waiting: Arc::clone(&waiting), leaving: Arc::clone(&leaving), is_over });
        if let Some(slot) = self.slots.0.get(index) {
            *slot.write() = Some(Arc::clone(&pipe));
        }
        tokio::spawn(read(answers, waiting, leaving, Arc::downgrade(&self.slots)));
        Ok(pipe)
    }
}

impl Slots {
    fn good(&self, index: usize) -> Option<Arc<Pipe>> {
        let pipe = self.0.get(index)?.read();
        pipe.as_ref().filter(|pipe| pipe.is_good()).map(Arc::clone)
    }

    /// Lets go of streams that take no more calls; they end once those that they have are answered.
    fn clear(&self) {
        for slot in &self.0 {
            let mut slot = slot.write();
            if slot.as_ref().is_some_and(|pipe| !pipe.is_good()) {
                *slot = None;
            }
        }
    }
}

impl Pipe {
    fn is_good(&self) -> bool {
        !self.leaving.load(Ordering::Relaxed) && !self.is_over.load(Ordering::Relaxed) && !self.calls.is_closed()
    }

    /// Sends a call; `None` if the stream takes none any more.
    fn send(
        self: Arc<Self>,
        place: u64,
        message: Bytes,
        rows_max: usize,
    ) -> Option<(Awaited, oneshot::Receiver<Outcome>)> {
        let (answer, answered) = oneshot::channel();
        {
            let mut waiting = self.waiting.lock();
            if waiting.is_closed {
                return None;
            }
            waiting.calls.insert(place, Waiter { answer, is_sent: false, rows: Vec::new(), rows_max });
        }
        let awaited = Awaited { pipe: self, place };
        if awaited.pipe.calls.send((place, message)).is_err() {
            awaited.is_answered();
            return None;
        }
        Some((awaited, answered))
    }
}

/// A call that is waited for. Dropped, the other end is told that nobody does any more.
struct Awaited {
    pipe: Arc<Pipe>,
    place: u64,
}

impl Awaited {
    /// There is nothing to tell.
    fn is_answered(&self) {
        self.pipe.waiting.lock().calls.remove(&self.place);
    }
}

impl Drop for Awaited {
    fn drop(&mut self) {
        let was_waiting = self.pipe.waiting.lock().calls.remove(&self.place).is_some();
        if was_waiting {
            let cancel = pb::PipeCall { place: self.place, timeout_ms: 0, call: Some(Call::Cancel(pb::Empty {})) };
            if let Ok(cancel) = framed(&cancel) {
                let _ = self.pipe.calls.send((0, cancel));
            }
        }
    }
}

impl Waiting {
    /// Nobody is answered any more. Those of whom nothing was sent are told so, and the others by being dropped.
    fn close(&mut self) {
        self.is_closed = true;
        for (_, waiter) in self.calls.drain() {
            if !waiter.is_sent {
                let _ = waiter.answer.send(Outcome::Unsent);
            }
        }
    }

    /// Gives an answer to whoever waits for it.
    fn take(&mut self, place: u64, answer: Answer) {
        let (result, more) = match answer {
            Answer::Released(reply) => (Ok(Reply::Released(reply)), None),
            Answer::Counted(pb::Empty {}) => (Ok(Reply::Counted), None),
            Answer::Failure(failure) => (Err(failure_in(failure)), None),
            Answer::Rows(chunk) => (Ok(Reply::Rows(Vec::new())), Some((chunk, false))),
            Answer::LastRows(chunk) => (Ok(Reply::Rows(Vec::new())), Some((chunk, true))),
            Answer::Leaving(pb::Empty {}) => return,
        };
        let result = match (more, self.calls.get_mut(&place)) {
            (_, None) => return,
            (None, Some(_)) => result,
            (Some((chunk, last)), Some(waiter)) => {
                waiter.rows.extend(chunk.rows);
                match (waiter.rows.len() <= waiter.rows_max, last) {
                    (true, false) => return,
                    (true, true) => Ok(Reply::Rows(std::mem::take(&mut waiter.rows))),
                    // More than was asked for: not believed.
                    (false, _) => Err(Failed::Unavailable),
                }
            }
        };
        if let Some(waiter) = self.calls.remove(&place) {
            let _ = waiter.answer.send(Outcome::Done(result));
        }
    }
}

/// Gives answers to those who wait, until the stream ends.
async fn read(
    mut answers: Streaming<pb::PipeAnswer>,
    waiting: Arc<Mutex<Waiting>>,
    leaving: Arc<AtomicBool>,
    slots: Weak<Slots>,
) {
    while let Ok(Some(pb::PipeAnswer { place, answer: Some(answer) })) = answers.message().await {
        if matches!(answer, Answer::Leaving(_)) {
            leaving.store(true, Ordering::Relaxed);
            if let Some(slots) = slots.upgrade() {
                slots.clear();
            }
        } else {
            waiting.lock().take(place, answer);
        }
    }
    leaving.store(true, Ordering::Relaxed);
    waiting.lock().close();
    if let Some(slots) = slots.upgrade() {
        slots.clear();
    }
}

/// The calls on their way out, as many in a frame as there are.
pub(crate) struct Drain {
    queue: mpsc::UnboundedReceiver<(u64, Bytes)>,
    together: Vec<(u64, Bytes)>,
    waiting: Arc<Mutex<Waiting>>,
}

impl http_body::Body for Drain {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let Self { queue, together, waiting } = &mut *self;
        let count = ready!(queue.poll_recv_many(context, together, TOGETHER_MAX));
        {
            let mut waiting = waiting.lock();
            for (place, _) in &*together {
                if let Some(waiter) = waiting.calls.get_mut(place) {
                    waiter.is_sent = true;
                }
            }
        }
        let frame = match count {
            0 => return Poll::Ready(None),
            1 => together.pop().map(|(_, message)| message).unwrap_or_default(),
            _ => {
                let length = together.iter().map(|(_, message)| message.len()).fold(0, usize::saturating_add);
                let mut frame = BytesMut::with_capacity(length);
                for (_, message) in together.drain(..) {
                    frame.extend_from_slice(&message);
                }
                frame.freeze()
            }
        };
        Poll::Ready(Some(Ok(Frame::data(frame))))
    }
}

impl Drop for Drain {
    /// What still waits here is never sent. What was sent may still be answered.
    fn drop(&mut self) {
        self.queue.close();
        let mut waiting = self.waiting.lock();
        waiting.is_closed = true;
        let unsent = waiting.calls.extract_if(|_, waiter| !waiter.is_sent);
        for (_, waiter) in unsent {
            let _ = waiter.answer.send(Outcome::Unsent);
        }
    }
}
