//! What somebody reached, found from the ledger: for whoever has to answer a breach.

use std::collections::HashMap;
use std::sync::Arc;

use countersign_crypto::SealKey;
use countersign_model::{RequestId, SessionId, Tally, TenantId, TokenId, UnixMs, UserId};
use serde::{Deserialize, Serialize};

use super::lookup::Candidates;
use super::terms::{self, Term};
use super::{Ledger, Position};
use crate::codec::{self, Leaf};
use crate::error::AuditError;
use crate::record::{Access, Service, Verdict};
use crate::tally::Signal;

/// Whose doings an incident asks about: every record that names one of these tokens, sessions, users or tenants.
/// Where all lists are empty, every record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Selector {
    /// Done with one of these tokens.
    pub tokens: Vec<TokenId>,
    /// Done with one of these logins.
    pub sessions: Vec<SessionId>,
    /// Done by one of these users, or on their behalf.
    pub users: Vec<UserId>,
    /// Done to one of these tenants.
    pub tenants: Vec<TenantId>,
    /// Not before this moment.
    pub since: UnixMs,
    /// Not at or after this moment; `None` is until now.
    pub until: Option<UnixMs>,
    /// Only after this position: to go on where an earlier answer ended.
    pub after: Option<Position>,
    /// At most so many. 10,000 by default.
    pub limit: usize,
}

impl Default for Selector {
    fn default() -> Self {
        let (tokens, sessions, users, tenants) = <_>::default();
        Self { tokens, sessions, users, tenants, since: UnixMs(0), until: None, after: None, limit: 10_000 }
    }
}

/// One record, as far as it can be read without the key of the tenant whose it is, and what it was about where that key
/// is at hand.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exposure {
    /// Its place in the ledger.
    pub position: Position,
    /// When the service decided.
    pub time: UnixMs,
    /// The request.
    pub request: RequestId,
    /// Whose data it was about.
    pub tenant: Option<TenantId>,
    /// What was decided, or came of it.
    pub verdict: Verdict,
    /// Who says so.
    pub service: Service,
    /// Who did what. `None` in records that were written before there was any.
    pub signal: Option<Signal>,
    /// What the request came to. `None` where nothing was released or changed.
    pub tally: Option<Tally>,
    /// The records and fields. `None` where the key of the tenant is not at hand.
    pub accesses: Option<Vec<Access>>,
}

impl Selector {
    fn takes(&self, exposure: &Exposure) -> bool {
        let in_time = exposure.time >= self.since && self.until.is_none_or(|until| exposure.time < until);
        in_time && (self.is_everybody() || self.names(exposure))
    }

    fn terms(&self) -> Vec<Term> {
        let users = self.users.iter().map(|user| terms::user(*user));
        let sessions = self.sessions.iter().map(|session| terms::session(*session));
        self.tokens.iter().map(|token| terms::token(*token)).chain(users).chain(sessions).collect()
    }

    fn is_everybody(&self) -> bool {
        let Self { tokens, sessions, users, tenants, .. } = self;
        tokens.is_empty() && sessions.is_empty() && users.is_empty() && tenants.is_empty()
    }

    fn names(&self, exposure: &Exposure) -> bool {
        let of_tenant = exposure.tenant.is_some_and(|tenant| self.tenants.contains(&tenant));
        of_tenant
            || exposure.signal.as_ref().is_some_and(|signal| {
                let user = [signal.user, signal.on_behalf_of].into_iter().flatten();
                signal.token.is_some_and(|token| self.tokens.contains(&token))
                    || signal.session.is_some_and(|session| self.sessions.contains(&session))
                    || user.into_iter().any(|user| self.users.contains(&user))
            })
    }
}

impl Ledger {
    /// The durable records that a selector asks for, whoever they belong to, oldest first. Needs the service's own
    /// key; what the records were about is told where the tenant's key is at hand. Reads the disk.
    ///
    /// # Errors
    /// [`AuditError::NoKey`], [`AuditError::Unreadable`], [`AuditError::Damaged`].
    pub fn exposures(&self, selector: &Selector) -> Result<Vec<Exposure>, AuditError> {
        let mut found = Vec::new();
        let mut keys = KeysAtHand { ledger: self, known: HashMap::new() };
        let own = self.keys.audit_key(None)?;
        let mut plain = Vec::new();
        let segments = self.index.read().segments(Some(selector.since), selector.until);
        for segment in segments {
            let (records, sparse) = self.named_in(segment, selector)?;
            if records.is_empty() {
                continue;
            }
            let mut reader = self.reader(segment, true)?.sparse(sparse);
            for (position, offset) in records {
                if found.len() >= selector.limit {
                    return Ok(found);
                }
                let damaged = || AuditError::Damaged(position);
                let leaf = reader.leaf(offset)?.ok_or_else(damaged)?;
                let Leaf { header, tally, body } = Leaf::parse(leaf).ok_or_else(damaged)?;
                let (tally, signal) = match tally {
                    None => (None, None),
                    Some(sealed) => sealed.open_tally(&own, &mut plain).ok_or_else(damaged)?,
                };
                let (time, request, tenant) = (header.time, header.request, header.tenant);
                let (verdict, service) = (header.verdict, header.service);
                let found_here =
                    Exposure { position, time, request, tenant, verdict, service, signal, tally, accesses: None };
                if !selector.takes(&found_here) {
                    continue;
                }
                let accesses = match keys.of(header.key_owner(), body.epoch()) {
                    None => None,
                    Some(key) => {
                        if !body.open_into(key, &mut plain) {
                            return Err(damaged());
                        }
                        let record = codec::decode(header, None, &plain).ok_or_else(damaged)?;
                        Some(record.body.accesses)
                    }
                };
                found.push(Exposure { accesses, ..found_here });
            }
        }
        Ok(found)
    }

    /// The records of a segment that a selector may mean, ascending, and whether they are few of it.
    fn named_in(&self, segment: u32, selector: &Selector) -> Result<(Vec<(Position, u32)>, bool), AuditError> {
        let terms = selector.terms();
        let candidates = match terms.is_empty() {
            true => Candidates::All,
            false => self.candidates_of_any(segment, terms)?,
        };
        let (index, after) = (self.index.read(), selector.after);
        let everything = 0..index.records(segment);
        if selector.is_everybody() {
            return Ok((index.at_places(segment, None, after, everything), false));
        }
        let owners = selector.tenants.iter().map(|tenant| Some(*tenant));
        let mut records: Vec<_> =
            owners.flat_map(|owner| index.at_places(segment, Some(owner), after, everything.clone())).collect();
        let mut sparse = records.is_empty();
        match candidates {
            Candidates::At(places) => records.extend(index.at_places(segment, None, after, places)),
            Candidates::All if selector.terms().is_empty() => {}
            Candidates::All => {
                sparse = false;
                records.extend(index.at_places(segment, None, after, everything));
            }
        }
        records.sort_unstable();
        records.dedup();
        Ok((records, sparse))
    }
}

/// The keys of tenants that have been asked for, and whether they were at hand.
struct KeysAtHand<'a> {
    ledger: &'a Ledger,
    known: HashMap<(Option<TenantId>, u32), Option<Arc<SealKey>>>,
}

impl KeysAtHand<'_> {
    fn of(&mut self, owner: Option<TenantId>, epoch: u32) -> Option<&SealKey> {
        let ask = || self.ledger.keys.audit_key_at(owner, epoch).ok();
        let asked = self.known.entry((owner, epoch)).or_insert_with(ask);
        asked.as_deref()
    }
}
