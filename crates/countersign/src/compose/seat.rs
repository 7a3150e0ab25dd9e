//! One service of a process that is not all of them: its certificate, its facts, its guard, its ledger.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use countersign_audit::{AuditSink, Ledger};
use countersign_crypto::jws::VerifyingKeys;
use countersign_crypto::tls::{TlsConnector, join_client_config};
use countersign_crypto::x509::JoinToken;
use countersign_facts::{Deployment as Names, Directory, Follower, FollowerParts, Prepare, nothing_known};
use countersign_guard::{FactsCell, Guard};
use countersign_identity::{Agent, AgentParts, Folder, FolderError, Held, NotIssued, Proof, join};
use countersign_keys::TenantKeys;
use countersign_model::Service;
use countersign_services::{KeyRelease, LedgerTrail, Log, Records, Report, Trail, Unlock};
use countersign_token::Verifier;
use countersign_wire::{Channel, ChannelParts, ChannelSettings, RemoteIssuer, RemoteKeys, RemoteRecords};
use tokio::sync::watch;
use zeroize::Zeroizing;

use super::Base;
use super::fellows::{Here, short};
use super::logs::log_of;
use super::measure::{Known, report};
use super::own_keys::{KeeperKeys, LearnedKeys, Learning};
use super::remote::{Caller, authority_settings, each};
use crate::deployment::private_folder;
use crate::problem::{Exit, Problem, io};

/// A service with all that it decides and speaks by.
pub(super) struct Seat {
    pub(super) service: Service,
    pub(super) agent: Arc<Agent>,
    pub(super) caller: Caller,
    pub(super) verifier: Arc<Verifier>,
    pub(super) guard: Arc<Guard>,
    pub(super) ledger: Arc<Ledger>,
    pub(super) audit: Arc<dyn AuditSink>,
    pub(super) trail: Arc<dyn Trail>,
    pub(super) log: Arc<dyn Log>,
    pub(super) report: Arc<dyn Report>,
    pub(super) facts: Arc<FactsCell>,
    /// Where it learns its tenants' audit keys, if it has them from a key service elsewhere.
    pub(super) learned: Option<Arc<LearnedKeys>>,
}

/// What a [`Seat`] is made of.
pub(super) struct SeatParts {
    pub(super) service: Service,
    pub(super) agent: Arc<Agent>,
    pub(super) directory: watch::Receiver<Arc<Directory>>,
    pub(super) facts: Arc<FactsCell>,
    pub(super) verifier: Arc<Verifier>,
    pub(super) ledger: Arc<Ledger>,
    pub(super) learned: Option<Arc<LearnedKeys>>,
    /// The key service's; nobody else's.
    pub(super) tenant_keys: Option<Arc<TenantKeys>>,
}

impl Seat {
    pub(super) fn new(base: &Base, parts: SeatParts) -> Self {
        let SeatParts { service, agent, directory, facts, verifier, ledger, learned, tenant_keys } = parts;
        let audit = base.sink(&ledger);
        let guard = base.guard(service, &verifier, &facts, &audit);
        let trail = Arc::new(LedgerTrail::new(Arc::clone(&guard), Arc::clone(&ledger)));
        let caller = Caller {
            slot: agent.slot(),
            ca_pem: agent.known().ca_pem.clone(),
            trust_domain: agent.id().trust_domain().to_owned(),
            directory,
            clock: Arc::clone(&base.clock),
            entropy: Arc::clone(&base.entropy),
        };
        let log = log_of(&ledger);
        let certificate = Some(agent.slot());
        let report = report(base, Known { service, facts: &facts, ledger: &ledger, certificate, keys: tenant_keys });
        Self { service, agent, caller, verifier, guard, ledger, audit, trail, log, report, facts, learned }
    }

    /// Its name, which stays.
    pub(super) fn name(&self) -> String {
        short(&self.agent.id().to_string())
    }

    /// The service as the others of its process ask it.
    pub(super) fn here(&self) -> Here {
        let (trail, log, report) = (Arc::clone(&self.trail), Arc::clone(&self.log), Arc::clone(&self.report));
        Here { name: self.name(), trail, log, report }
    }

    /// The key service, as this service calls it: in this process, or elsewhere.
    pub(super) fn keys(&self, base: &Base, here: Option<&Arc<dyn KeyRelease>>) -> Result<Arc<dyn KeyRelease>, Problem> {
        let keys = match here {
            Some(keys) => Arc::clone(keys),
            None => Arc::new(RemoteKeys::new(self.caller.to(Service::Keys)?)),
        };
        let Some(learned) = self.learned.clone() else { return Ok(keys) };
        Ok(Arc::new(self.learning(base, keys, learned)))
    }

    fn learning(&self, base: &Base, keys: Arc<dyn KeyRelease>, learned: Arc<LearnedKeys>) -> Learning {
        let (verifier, clock) = (Arc::clone(&self.verifier), Arc::clone(&base.clock));
        Learning { service: self.service, keys, learned, verifier, clock }
    }

    /// Lets the service open its own records of tenants that it has served nobody of for a while.
    pub(super) fn unlock_trail(&mut self, base: &Base, keeper: Option<&Arc<KeeperKeys>>) -> Result<(), Problem> {
        if self.service == Service::Monitor {
            // It seals all of its records under its own key, and no other is given to it.
            return Ok(());
        }
        let unlock: Arc<dyn Unlock> = match (self.learned.clone(), keeper) {
            (Some(learned), _) => {
                let keys = Arc::new(RemoteKeys::new(self.caller.to(Service::Keys)?));
                Arc::new(self.learning(base, keys, learned))
            }
            (None, Some(keeper)) => Arc::clone(keeper) as Arc<dyn Unlock>,
            (None, None) => return Ok(()),
        };
        let trail = LedgerTrail::new(Arc::clone(&self.guard), Arc::clone(&self.ledger));
        self.trail = Arc::new(trail.unlocked_by(unlock));
        Ok(())
    }

    /// The store, as this service calls it.
    pub(super) fn records(&self, here: Option<&Arc<dyn Records>>) -> Result<Arc<dyn Records>, Problem> {
        match here {
            Some(records) => Ok(Arc::clone(records)),
            None => Ok(Arc::new(RemoteRecords::new(self.caller.to(Service::Store)?))),
        }
    }
}

/// What a service follows of the authority's, in a process that is not the authority.
#[derive(Clone)]
pub(super) struct Following {
    pub(super) facts: Arc<FactsCell>,
    pub(super) verifier: Arc<Verifier>,
    pub(super) follower: Arc<Follower>,
}

impl Following {
    pub(super) fn new(
        base: &Base,
        service: Service,
        trust_domain: &str,
        prepare: Option<Prepare>,
    ) -> Result<Self, Problem> {
        let failed = |error: &dyn std::fmt::Display| Problem::failed(format!("the {service}'s facts: {error}"));
        let tokens = &base.config.tokens;
        let nothing = nothing_known().map_err(|error| failed(&error))?;
        let facts = Arc::new(FactsCell::following(nothing, base.config.services.facts_age_ms.number()));
        let none = VerifyingKeys::new(Vec::new()).map_err(|error| failed(&error))?;
        let (issuer, audience) = (tokens.issuer.clone(), tokens.audience.clone());
        let verifier = Arc::new(Verifier::new(issuer.clone(), audience, none, tokens.cache.size()));
        let follower = Arc::new(Follower::new(FollowerParts {
            deployment: Names { issuer, trust_domain: trust_domain.to_owned() },
            service,
            keys: Vec::new(),
            facts: Arc::clone(&facts),
            verifier: Arc::clone(&verifier),
            clock: Arc::clone(&base.clock),
            prepare,
        }));
        Ok(Self { facts, verifier, follower })
    }
}

/// The identity of a service whose authority is elsewhere: the one that it has, or one that it gets by joining.
pub(super) async fn identity(base: &Base, service: Service) -> Result<Arc<Agent>, Problem> {
    let services = &base.config.services;
    let authority = services.authority.get().ok_or_else(|| {
        Problem::usage(format!("this {service} runs apart from its authority and does not know where that is"))
            .next("set [services] authority = \"HOST:PORT\", or give --authority HOST:PORT")
    })?;
    let path = base.deployment.identity(service);
    let failed = |error: FolderError| Problem::failed(error.to_string());
    if let Some(parent) = path.parent() {
        private_folder(parent)?;
    }
    let folder = Folder::open(&path, Arc::clone(&base.entropy)).map_err(failed)?;
    let platform = services.platform_token.get().map(PathBuf::from);
    let held = match folder.load().map_err(failed)? {
        Some(held) if held.is_valid(base.clock.now()) => held,
        expired => {
            let name = expired.map(|held| held.id().instance().to_owned());
            first(base, service, authority, platform.as_deref(), name.as_deref()).await?
        }
    };
    let (clock, entropy) = (Arc::clone(&base.clock), Arc::clone(&base.entropy));
    let parts = AgentParts { folder: Some(folder), platform_token: platform, clock, entropy };
    Agent::new(held, parts).map(Arc::new).map_err(failed)
}

/// The first certificate. With several join tokens the one that is for this service is used, and the others stay good.
async fn first(
    base: &Base,
    service: Service,
    authority: &str,
    platform: Option<&Path>,
    name: Option<&str>,
) -> Result<Held, Problem> {
    let mut proofs = Vec::new();
    for text in &base.join_tokens {
        let token: JoinToken = text.parse().map_err(|_| {
            Problem::usage("that is not a join token").next("it begins with csj1. and is one line of text")
        })?;
        let ca_sha256 = token.ca_sha256();
        proofs.push((Proof::Token(token), ca_sha256));
    }
    if let (Some(path), true) = (platform, proofs.is_empty()) {
        let text = std::fs::read_to_string(path).map_err(io("read", path))?;
        proofs.push((Proof::Platform(Zeroizing::new(text.trim().to_owned())), base.authority_sha256()?));
    }
    let again = name.map(|name| format!(" --name {name}")).unwrap_or_default();
    let how = format!(
        "ask an operator: countersign service invite {service}{again}; then start this with the token in \
         COUNTERSIGN_JOIN_TOKEN, or in a file with --join-token FILE; it is good once, for ten minutes"
    );
    let mut problem =
        Problem::new(Exit::Refused, format!("this {service} has no valid certificate, and nothing to join with"));
    for (proof, ca_sha256) in proofs {
        let issuer = RemoteIssuer::new(joining(base, authority, ca_sha256)?);
        match join(&issuer, &proof, service.as_str(), authority, &*base.clock).await {
            Ok(held) => return Ok(held),
            Err(error) => problem = not_joined(service, authority, &proof, error),
        }
    }
    Err(problem.or_next(how))
}

/// Why a service could not join, and what to do about it. The authority does not say which it was of what a token may be.
fn not_joined(service: Service, authority: &str, proof: &Proof, error: NotIssued) -> Problem {
    match (error, proof) {
        (NotIssued::Unavailable, _) => Problem::new(
            Exit::Unavailable,
            format!("this {service} could not join: there is no authority at {authority} that answers it"),
        )
        .next(
            "see whether the authority is served, and whether [services] authority (or --authority) is where it takes calls \
             from other services; the join token may be of another deployment, or is still good until it is ten minutes old",
        ),
        (NotIssued::Refused, Proof::Token(_)) => Problem::new(
            Exit::Refused,
            format!(
                "the authority at {authority} does not take this join token: it was used, is older than ten minutes, or is \
                 for another service than a {service}"
            ),
        ),
        (NotIssued::Refused, Proof::Platform(_)) => Problem::new(
            Exit::Refused,
            format!("the authority at {authority} does not take this platform's token for a {service}"),
        )
        .next("see the rules in the file that [services] platforms names at the authority; docs/workloads.md describes them"),
        (error, _) => Problem::new(Exit::Refused, format!("this {service} could not join at {authority}: {error}")),
    }
}

/// A channel to an authority that is known by the digest of its certificate alone.
fn joining(base: &Base, authority: &str, ca_sha256: [u8; 32]) -> Result<Channel, Problem> {
    let tls = join_client_config(ca_sha256, &base.clock);
    let tls = tls.map_err(|error| Problem::failed(format!("the connection to join by: {error}")))?;
    Ok(Channel::new(ChannelParts {
        tls: TlsConnector::from(tls),
        own: None,
        addresses: watch::Sender::new(each(authority)).subscribe(),
        clock: Arc::clone(&base.clock),
        entropy: Arc::clone(&base.entropy),
        settings: ChannelSettings { connections: 1, wait_max: Duration::from_secs(20), ..authority_settings() },
    }))
}
