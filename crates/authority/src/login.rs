//! Logging in with a signature by a registered SSH key over a challenge. The other way in is the tenant's identity
//! provider: [`people`](crate::people).

use std::sync::Arc;

use countersign_audit::{Body, Reason, Record, Service, Verdict};
use countersign_crypto::ssh;
use countersign_guard::State;
use countersign_model::facts::User;
use countersign_model::request::Door;
use countersign_model::{Entropy, Name, RequestId, SessionId, TenantId, UnixMs, UserId};
use countersign_token::{Binding, MAX_LIFETIME_MS, MintError, Minted};

use crate::authority::Authority;
use crate::challenge::{Challenge, Pending};
use crate::error::{LoginRefused, RegistryError};

/// What SSH signatures for logins are made for, so that no signature made for anything else logs anybody in.
pub const LOGIN_NAMESPACE: &str = "countersign-login";

/// An answer to a challenge.
#[derive(Clone)]
pub struct Login {
    /// Names this attempt in the audit record.
    pub request: RequestId,
    /// How it arrived.
    pub door: Option<Door>,
    /// Who logs in.
    pub user: Name,
    /// To which tenant.
    pub tenant: Name,
    /// The challenge's id.
    pub challenge: String,
    /// The SSH signature over its text, as `ssh-keygen -Y sign -n countersign-login` makes it.
    pub signature: String,
    /// How long the token shall live; `None` is as long as the deployment gives.
    pub lifetime_ms: Option<u64>,
}

/// What is asked of a token beside whose it is.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Wish {
    /// How long it shall live; `None` is as long as the deployment gives.
    pub lifetime_ms: Option<u64>,
    /// The key that it is bound to.
    pub binding: Option<Binding>,
}

/// What an unknown person's signature is verified with, so that it takes as long to refuse as a known one's.
pub(crate) struct Decoy {
    key: ssh::PublicKey,
    signature: String,
}

const DECOY_TEXT: &[u8] = b"nobody";

impl Decoy {
    pub(crate) fn new(entropy: &dyn Entropy) -> Result<Self, RegistryError> {
        let crypto = |_| RegistryError::Crypto;
        let key = ssh::PrivateKey::generate_ed25519(entropy, "").map_err(crypto)?;
        let signature = ssh::sign(&key, LOGIN_NAMESPACE, DECOY_TEXT).map_err(crypto)?;
        Ok(Self { key: key.public().map_err(crypto)?, signature })
    }

    fn verify(&self) {
        let verified = ssh::verify(&self.key, LOGIN_NAMESPACE, DECOY_TEXT, &self.signature);
        // Only its cost is wanted.
        std::hint::black_box(verified).ok();
    }
}

impl Authority {
    /// A text for `user` of `tenant` to sign. Answers alike for those who don't exist.
    #[must_use]
    pub fn challenge(&self, user: &Name, tenant: &Name) -> Challenge {
        let registry = &self.registry;
        let (now, entropy) = (registry.clock().now(), registry.entropy());
        self.challenges.make(user, tenant, self.signing.audience(), now, entropy)
    }

    /// A token for the first answer to a challenge, if it proves who answers. On record before the token leaves.
    ///
    /// # Errors
    /// [`LoginRefused`]; every reason that lies in the proof is [`LoginRefused::Refused`].
    pub async fn login(&self, login: Login) -> Result<Minted, LoginRefused> {
        self.login_bound(login, None).await
    }

    /// As [`Self::login`], for a token that is bound to a key, which the caller has proved to hold.
    ///
    /// # Errors
    /// [`LoginRefused`].
    pub async fn login_bound(&self, login: Login, binding: Option<Binding>) -> Result<Minted, LoginRefused> {
        // The moment of the login is read before the facts: a revocation that these don't show yet is later.
        let now = self.registry.clock().now();
        let pending = self.challenges.take(&login.challenge, now);
        let state = self.registry.latest();
        let person = find(&state, &login);
        let proven = self.is_proven(&login, pending.as_ref(), person.as_ref(), now);
        let minted = match &proven {
            None => Err(LoginRefused::Refused),
            Some(Proven { user, tenant, .. }) => {
                let (user, tenant) = (*user, *tenant);
                let wish = Wish { lifetime_ms: login.lifetime_ms, binding };
                self.mint(&state, wish, user, tenant, now).await
            }
        };
        let mut record = record_of(&login, &state, person.as_ref(), &minted, now);
        record.body.credential = proven.map(|proven| proven.key);
        self.audit.append(record).await.map_err(|_| LoginRefused::Unavailable)?;
        minted.map(|(minted, _)| minted)
    }

    fn is_proven(
        &self,
        login: &Login,
        pending: Option<&Pending>,
        person: Option<&Person>,
        now: UnixMs,
    ) -> Option<Proven> {
        let pending = pending.filter(|one| one.user == login.user && one.tenant == login.tenant && now < one.expires);
        let text = pending.map_or(DECOY_TEXT, |pending| pending.text.as_bytes());
        let mut proven = None;
        let mut verified = false;
        for line in person.map(|person| person.facts.ssh_keys.as_slice()).unwrap_or_default() {
            let Ok(key) = ssh::PublicKey::parse(line) else { continue };
            match ssh::verify(&key, LOGIN_NAMESPACE, text, &login.signature) {
                Ok(()) => (proven, verified) = (Some(key.fingerprint()), true),
                Err(ssh::SshError::BadSignature) => verified = true,
                Err(_) => {}
            }
        }
        if !verified {
            self.decoy.verify();
        }
        match (pending, person) {
            (Some(_), Some(person)) => Some(Proven { user: person.id, tenant: person.facts.tenant, key: proven? }),
            _ => None,
        }
    }

    /// A token of a new session, for somebody who has proved who they are at the moment `now`.
    pub(crate) async fn mint(
        &self,
        state: &State,
        wish: Wish,
        user: UserId,
        tenant: TenantId,
        now: UnixMs,
    ) -> Result<(Minted, SessionId), LoginRefused> {
        let lifetime_ms = wish.lifetime_ms.unwrap_or(self.login_lifetime_ms);
        if !(1000..=MAX_LIFETIME_MS).contains(&lifetime_ms) {
            return Err(LoginRefused::Lifetime);
        }
        // No token outlives its user.
        let end = state.facts.users.get(&user).and_then(|user| user.expires);
        let lifetime_ms = end.map_or(lifetime_ms, |end| lifetime_ms.min(end.since(now)));
        if lifetime_ms < 1000 {
            return Err(LoginRefused::Refused);
        }
        let minter = self.signing.minter(&self.registry).await.map_err(|_| LoginRefused::Unavailable)?;
        // Who was revoked and logs in again within the same second would get a token that counts as revoked.
        // These facts show the revocation, so this login came after it: it is dated to the next second.
        let revoked = state.facts.revocations.users.get(&user);
        let after_revocation = revoked.map(|at| UnixMs::from_seconds(at.seconds().saturating_add(1)));
        let moment = after_revocation.map_or(now, |earliest| earliest.max(now));
        let session = SessionId::new(now, self.registry.entropy());
        let minted =
            minter.bound_to(wish.binding).mint(user, tenant, session, lifetime_ms, moment, self.registry.entropy());
        minted.map(|minted| (minted, session)).map_err(|error| match error {
            MintError::TooLong | MintError::TooShort => LoginRefused::Lifetime,
            _ => LoginRefused::Unavailable,
        })
    }
}

/// Who it is, and by which key: its fingerprint.
struct Proven {
    user: UserId,
    tenant: TenantId,
    key: String,
}

struct Person {
    id: UserId,
    facts: Arc<User>,
}

fn find(state: &State, login: &Login) -> Option<Person> {
    let tenant = *state.facts.tenant_names.get(&login.tenant)?;
    let id = *state.facts.user_names.get(&(tenant, login.user.clone()))?;
    let facts = Arc::clone(state.facts.users.get(&id)?);
    Some(Person { id, facts })
}

/// The record is the tenant's if there is such a tenant, and the deployment's otherwise.
fn record_of(
    login: &Login,
    state: &State,
    person: Option<&Person>,
    minted: &Result<(Minted, SessionId), LoginRefused>,
    now: UnixMs,
) -> Record {
    let tenant = state.facts.tenant_names.get(&login.tenant).copied();
    let issued = minted.as_ref().ok();
    let reason = match minted {
        Ok(_) => None,
        Err(LoginRefused::Refused) => Some(Reason::BadProof),
        Err(LoginRefused::Lifetime) => Some(Reason::Invalid),
        Err(LoginRefused::Unavailable) => Some(Reason::Unavailable),
    };
    let verdict = match reason {
        None => Verdict::Released,
        Some(Reason::Unavailable) => Verdict::Failed,
        Some(_) => Verdict::Refused,
    };
    Record {
        time: now,
        request: login.request,
        service: Service::Authority,
        door: login.door,
        verdict,
        tenant,
        tally: None,
        body: Body {
            user: person.map(|person| person.id),
            user_name: Some(login.user.to_string()),
            session: issued.map(|(_, session)| *session),
            token: issued.map(|(minted, _)| minted.id()),
            action: "login".to_owned(),
            reason,
            epoch: state.facts.epoch,
            detail: tenant.is_none().then(|| format!("unknown tenant {}", login.tenant)),
            ..Body::default()
        },
    }
}
