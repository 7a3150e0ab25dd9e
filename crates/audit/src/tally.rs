//! What a ledger tells those who hold the services' ledgers against each other, and those who watch.

use countersign_model::request::Door;
use countersign_model::{RequestId, Service, SessionId, Tally, TenantId, TokenId, UnixMs, UserId};
use serde::{Deserialize, Serialize};

use crate::record::{Reason, Record, Verdict};

/// What a record tells whoever watches: who did what by which way, in identifiers alone. No name, no record and no
/// free text is in it. It is sealed under the service's own key, so that it can be read without any tenant's.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Signal {
    /// Who asked.
    pub user: Option<UserId>,
    /// For whom.
    pub on_behalf_of: Option<UserId>,
    /// The login.
    pub session: Option<SessionId>,
    /// The token.
    pub token: Option<TokenId>,
    /// What was to be done: the word that policies use.
    pub action: String,
    /// Why it was refused or failed.
    pub reason: Option<Reason>,
    /// By which protocol it came.
    pub door: Option<Door>,
    /// The epoch of the facts it was decided under.
    pub epoch: u64,
    /// How many records were changed.
    pub affected: Option<u64>,
    /// The first eight bytes of the SHA-256 of what a login was proved with, or of what a token was made into: tells two
    /// apart and names none.
    pub credential: Option<u64>,
}

impl Signal {
    /// What a record tells.
    #[must_use]
    pub fn of(record: &Record) -> Self {
        let body = &record.body;
        Self {
            user: body.user,
            on_behalf_of: body.on_behalf_of,
            session: body.session,
            token: body.token,
            action: body.action.clone(),
            reason: body.reason,
            door: record.door,
            epoch: body.epoch,
            affected: body.affected,
            credential: body.credential.as_deref().map(Self::digest),
        }
    }

    /// What stands for a credential in [`credential`](Self::credential).
    #[must_use]
    pub fn digest(credential: &str) -> u64 {
        let digest = countersign_crypto::sha256(credential.as_bytes());
        digest.first_chunk().copied().map(u64::from_be_bytes).unwrap_or_default()
    }

    /// The credential in the record of a token that was made from another: the new one, by its identifier.
    #[must_use]
    pub fn made(token: TokenId) -> String {
        format!("token {token}")
    }
}

/// What one record says of a request, without who asked and which records it was about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TallyEntry {
    /// The request.
    pub request: RequestId,
    /// Who says so.
    pub service: Service,
    /// What it decided, or what came of it.
    pub verdict: Verdict,
    /// Whose data it was about.
    pub tenant: Option<TenantId>,
    /// When it decided, by its own clock.
    pub time: UnixMs,
    /// What it came to. `None` in records of requests that were refused, and in those about no data.
    pub tally: Option<Tally>,
    /// Who did what. `None` in records that were written before there was any.
    pub signal: Option<Signal>,
}

impl TallyEntry {
    /// What a record says.
    #[must_use]
    pub fn of(record: &Record) -> Self {
        let Record { time, request, service, door: _, verdict, tenant, tally, body: _ } = record;
        Self {
            request: *request,
            service: *service,
            verdict: *verdict,
            tenant: *tenant,
            time: *time,
            tally: tally.clone(),
            signal: Some(Signal::of(record)),
        }
    }
}
