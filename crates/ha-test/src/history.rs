//! Every request of every client with what it was told, and what that comes to.
//!
//! There are registers, each written by one client with numbers that only grow, and records that are made once. So whether
//! an answer is older than another is a comparison of two numbers, and whether a write is lost is a look.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

/// Since the beginning of the run.
pub type Moment = Duration;

/// What a request was about.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Thing {
    /// A register, by its number.
    Register(u32),
    /// A record that is made once, by its maker and a number.
    Record(u32, u32),
}

/// What it did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Act {
    /// Wrote this number.
    Write(i64),
    /// Read.
    Read,
}

/// What the client was told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Told {
    /// It is done.
    Done,
    /// The number there, or that there is nothing.
    Value(Option<i64>),
    /// It is not done. With the status and the code of the problem, or what went wrong before there was one.
    Refused(String),
    /// Nobody knows.
    Unknown(String),
}

/// One request.
#[derive(Debug, Clone)]
pub struct Event {
    /// Who asked.
    pub client: u32,
    /// Through which gateway.
    pub gateway: usize,
    /// What about.
    pub thing: Thing,
    /// What for.
    pub act: Act,
    /// When it was sent.
    pub begun: Moment,
    /// When it was answered.
    pub ended: Moment,
    /// What was answered.
    pub told: Told,
}

/// An answer that should not have been.
#[derive(Debug, Clone)]
pub struct Wrong {
    /// When the request began.
    pub begun: Moment,
    /// What is wrong with it.
    pub kind: Kind,
    /// For a person.
    pub says: String,
}

/// What is wrong with an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// A write was acknowledged and is not there at the end.
    Lost,
    /// A client was told something older than what the same client was told before.
    OlderThanOwn,
    /// A client was told something older than what was acknowledged to anybody before it asked.
    OlderThanAny,
    /// What was read was never written, or somebody was told that it is not done.
    NeverWritten,
}

/// What is there at the end.
pub type End = BTreeMap<Thing, i64>;

/// What a history comes to.
#[derive(Debug, Default)]
pub struct Judged {
    /// Everything that should not be.
    pub wrong: Vec<Wrong>,
    /// Writes of unknown outcome that were done, as the end shows or as somebody read.
    pub unknown_done: usize,
    /// Those that were not, or were written over.
    pub unknown_else: usize,
}

/// Judges a history by itself and by what is there at the end.
#[must_use]
pub fn judge(events: &[Event], end: &End) -> Judged {
    let mut judged = Judged::default();
    let mut by_thing: BTreeMap<&Thing, Vec<&Event>> = BTreeMap::new();
    for event in events {
        by_thing.entry(&event.thing).or_default().push(event);
    }
    for (thing, events) in by_thing {
        one(thing, events, end.get(thing).copied(), &mut judged);
    }
    judged.wrong.sort_by_key(|wrong| wrong.begun);
    judged
}

/// Judges what happened to one thing.
fn one(thing: &Thing, mut events: Vec<&Event>, end: Option<i64>, judged: &mut Judged) {
    events.sort_by_key(|event| event.begun);
    let mut written: HashMap<i64, &Event> = HashMap::new();
    // Acknowledged numbers with when that was, in time's order; numbers grow with it, as one client wrote them.
    let mut acknowledged: Vec<(Moment, i64)> = Vec::new();
    for event in &events {
        if let Act::Write(number) = event.act {
            written.insert(number, event);
            if event.told == Told::Done {
                acknowledged.push((event.ended, number));
            }
        }
    }
    let wrong = |begun, kind, says: String| Wrong { begun, kind, says: format!("{thing:?}: {says}") };
    let mut seen: BTreeSet<i64> = end.into_iter().collect();
    // What each client was told last, with when.
    let mut own: HashMap<u32, Vec<(Moment, i64)>> = HashMap::new();
    for event in &events {
        let number = match (&event.act, &event.told) {
            (Act::Read, Told::Value(value)) => value.unwrap_or(i64::MIN),
            (Act::Write(number), Told::Done) => {
                own.entry(event.client).or_default().push((event.ended, *number));
                continue;
            }
            _ => continue,
        };
        seen.insert(number);
        let before = |list: &[(Moment, i64)]| {
            list.iter().filter(|(ended, _)| *ended < event.begun).map(|(_, number)| *number).max()
        };
        if let Some(newest) = before(&acknowledged).filter(|newest| number < *newest) {
            let says = format!("{number} read at {:?} when {newest} was acknowledged", event.begun);
            judged.wrong.push(wrong(event.begun, Kind::OlderThanAny, says));
        }
        let told = own.entry(event.client).or_default();
        if let Some(newest) = before(told).filter(|newest| number < *newest) {
            let says = format!("{number} read at {:?} when the same client had been told {newest}", event.begun);
            judged.wrong.push(wrong(event.begun, Kind::OlderThanOwn, says));
        }
        told.push((event.ended, number));
        match written.get(&number) {
            Some(write) if matches!(write.told, Told::Refused(_)) => {
                let says = format!("{number} read, which was said not to be done");
                judged.wrong.push(wrong(event.begun, Kind::NeverWritten, says));
            }
            Some(write) if write.begun < event.ended => {}
            None if number == i64::MIN => {}
            _ => judged.wrong.push(wrong(event.begun, Kind::NeverWritten, format!("{number} read"))),
        }
    }
    let last = acknowledged.iter().max_by_key(|(_, number)| *number);
    if let Some((ended, number)) = last.filter(|(_, number)| end.is_none_or(|end| end < *number)) {
        let says = format!("{number}, acknowledged at {ended:?}, is not there; {end:?} is");
        judged.wrong.push(wrong(*ended, Kind::Lost, says));
    }
    if let Some(write) = end.and_then(|end| written.get(&end)).filter(|write| matches!(write.told, Told::Refused(_))) {
        judged.wrong.push(wrong(write.begun, Kind::NeverWritten, format!("{end:?} is there, said not to be done")));
    }
    for (number, write) in written {
        match &write.told {
            Told::Unknown(_) if seen.contains(&number) => judged.unknown_done = judged.unknown_done.saturating_add(1),
            Told::Unknown(_) => judged.unknown_else = judged.unknown_else.saturating_add(1),
            _ => {}
        }
    }
}

/// From `since`, until when nothing of this kind was answered well: the end of the longest wait, and how long that was.
#[must_use]
pub fn longest_wait(mut answered: Vec<Moment>, since: Moment, until: Moment) -> (Moment, Moment) {
    answered.retain(|moment| *moment >= since && *moment <= until);
    answered.sort_unstable();
    answered.push(until);
    let (mut before, mut longest) = (since, (Moment::ZERO, Moment::ZERO));
    for moment in answered {
        let wait = moment.saturating_sub(before);
        if wait > longest.1 {
            longest = (moment.saturating_sub(since), wait);
        }
        before = moment;
    }
    longest
}

#[cfg(test)]
mod tests;
