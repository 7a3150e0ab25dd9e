//! Puts alerts of one rule about one thing together, so that a thousand events in a second are not a thousand alerts.
//!
//! The first is told at once. What comes after it gathers, and is told as one alert every few seconds for as long as it
//! goes on.

use std::collections::HashMap;

use countersign_model::{AlertId, Entropy, UnixMs};
use serde::{Deserialize, Serialize};

use crate::alert::{Alert, REQUESTS_MAX};
use crate::event::Event;
use crate::sigma::{Heading, Matched};

/// How long alerts gather.
const GATHER_MS: u64 = 5_000;
/// For how many rules and things at a time. Past that, alerts are told one by one.
const OPEN_MAX: usize = 20_000;

/// What has been told of lately.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Gather(HashMap<(String, String), Open>);

#[derive(Debug, Serialize, Deserialize)]
struct Open {
    /// By the monitor's clock.
    told: UnixMs,
    /// What has gathered since.
    waits: Option<Alert>,
}

impl Gather {
    /// Takes what a rule found; returns what is to be told at once.
    pub(super) fn take(&mut self, heading: &Heading, matched: Matched, event: &Event, now: UnixMs) -> Option<Alert> {
        let key = (heading.id.clone(), matched.about.clone());
        let Some(open) = self.0.get_mut(&key) else {
            if self.0.len() < OPEN_MAX {
                self.0.insert(key, Open { told: now, waits: None });
            }
            return Some(alert(heading, matched, event));
        };
        let request = Some(event.entry.request).filter(|request| request.as_u128() != 0);
        match &mut open.waits {
            None => {
                // What a correlation counted before was told before.
                let requests = request.into_iter().collect();
                let matched = Matched { count: 1, first: event.entry.time, requests, ..matched };
                open.waits = Some(alert(heading, matched, event));
            }
            Some(waits) => {
                waits.count = waits.count.saturating_add(1);
                waits.last = waits.last.max(event.entry.time);
                if waits.tenant != event.entry.tenant {
                    waits.tenant = None;
                }
                if let Some(request) = request
                    && waits.requests.len() < REQUESTS_MAX
                    && !waits.requests.contains(&request)
                {
                    waits.requests.push(request);
                }
            }
        }
        None
    }

    /// What has gathered for long enough. What has been quiet since is closed.
    pub(super) fn due(&mut self, now: UnixMs) -> Vec<Alert> {
        let mut due = Vec::new();
        self.0.retain(|_, open| {
            // A clock that was set back holds nothing up.
            if now.since(open.told) < GATHER_MS && open.told <= now {
                return true;
            }
            open.told = now;
            let waits = open.waits.take();
            let goes_on = waits.is_some();
            due.extend(waits);
            goes_on
        });
        due
    }
}

fn alert(heading: &Heading, matched: Matched, event: &Event) -> Alert {
    let Matched { about, first, last, count, requests } = matched;
    let place = [heading.id.as_str(), &about, &event.ledger, &event.position.to_string()].join("\n");
    Alert {
        id: AlertId::new(first, &Digest(countersign_crypto::sha256(place.as_bytes()))),
        rule: heading.id.clone(),
        title: heading.title.clone(),
        level: heading.level,
        tenant: event.entry.tenant,
        about,
        first,
        last,
        count,
        requests,
        tells_tenant: heading.tells_tenant,
    }
}

/// An alert's id is made of what it is about, and not by chance: the same events give the same id again.
struct Digest([u8; 32]);

impl Entropy for Digest {
    fn fill(&self, out: &mut [u8]) {
        for (to, from) in out.iter_mut().zip(self.0.iter().cycle()) {
            *to = *from;
        }
    }
}
