//! Logins that were begun and wait for the person to come back from their provider.

use std::collections::{BTreeMap, HashMap};

use countersign_crypto::sha256;
use countersign_model::{Entropy, TenantId, UnixMs};
use parking_lot::Mutex;
use zeroize::Zeroizing;

/// How long a person has to log in with the provider.
pub(super) const LOGIN_MS: u64 = 10 * 60 * 1000;

/// The most logins of one tenant that can be begun in a minute. Each makes this server call the tenant's provider.
const PER_MINUTE_MAX: u32 = 300;

const MINUTE_MS: u64 = 60 * 1000;

/// The most logins that wait at all. A new one takes the place of the oldest.
const ALL_MAX: usize = 20_000;

/// A login that was begun.
pub(super) struct Waiting {
    /// The tenant whose provider was asked.
    pub tenant: TenantId,
    /// When that provider's settings were made: other settings, other login.
    pub set: UnixMs,
    /// The first moment at which it is too late.
    pub expires: UnixMs,
    /// Which flow, and what belongs to it.
    pub flow: Flow,
}

/// What has to fit when the person comes back.
pub(super) enum Flow {
    /// Authorization code with PKCE.
    Code {
        /// Where the browser is sent back to.
        redirect_uri: String,
        /// Comes back with the browser.
        state: String,
        /// Comes back in the id token.
        nonce: String,
        /// Proves to the provider that who brings the code is who asked for it (RFC 7636).
        verifier: Zeroizing<String>,
    },
    /// Device (RFC 8628).
    Device {
        /// What is asked for with; a secret.
        device_code: Zeroizing<String>,
        /// How long to wait between two questions.
        interval_ms: u64,
        /// The first moment at which to ask again.
        next: UnixMs,
    },
}

/// 32 random bytes as text: identifiers that are secrets, states, nonces and verifiers.
pub(super) fn secret_text(entropy: &dyn Entropy) -> String {
    let mut bytes = Zeroizing::new([0; 32]);
    entropy.fill(bytes.as_mut());
    hex::encode(bytes.as_ref())
}

/// The logins that wait, oldest first. Kept by the digest of their secret identifiers.
#[derive(Default)]
pub(super) struct Pending(Mutex<Book>);

#[derive(Default)]
struct Book {
    count: u64,
    waiting: BTreeMap<u64, Kept>,
    by_id: HashMap<[u8; 32], u64>,
    /// Since when, and how many since then.
    begun: HashMap<TenantId, (UnixMs, u32)>,
}

struct Kept {
    id: [u8; 32],
    until: UnixMs,
    waiting: Waiting,
}

impl Pending {
    /// Whether another login of this tenant may begin.
    pub(super) fn has_room(&self, tenant: TenantId, now: UnixMs) -> bool {
        self.0.lock().has_room(tenant, now)
    }

    /// Keeps a login, and gives the secret by which whoever began it goes on. `None` if too many were begun.
    pub(super) fn keep(&self, waiting: Waiting, now: UnixMs, entropy: &dyn Entropy) -> Option<String> {
        let id = secret_text(entropy);
        let mut book = self.0.lock();
        if !book.has_room(waiting.tenant, now) {
            return None;
        }
        book.insert(sha256(id.as_bytes()), waiting, now);
        Some(id)
    }

    /// Takes a login out, if `wanted` says that it is the one: it can be finished once, well or badly.
    pub(super) fn take(&self, id: &str, now: UnixMs, wanted: impl FnOnce(&Waiting) -> bool) -> Option<Waiting> {
        let mut book = self.0.lock();
        book.drop_old(now);
        let number = *book.by_id.get(&sha256(id.as_bytes()))?;
        book.waiting.get(&number).filter(|kept| wanted(&kept.waiting))?;
        book.remove(number).filter(|waiting| now < waiting.expires)
    }

    /// Changes a login that goes on waiting.
    pub(super) fn change<T>(&self, id: &str, now: UnixMs, change: impl FnOnce(&mut Waiting) -> T) -> Option<T> {
        let mut book = self.0.lock();
        book.drop_old(now);
        let number = *book.by_id.get(&sha256(id.as_bytes()))?;
        let kept = book.waiting.get_mut(&number).filter(|kept| now < kept.waiting.expires)?;
        Some(change(&mut kept.waiting))
    }
}

impl Book {
    fn has_room(&self, tenant: TenantId, now: UnixMs) -> bool {
        let begun = self.begun.get(&tenant).filter(|(since, _)| now.since(*since) < MINUTE_MS);
        begun.is_none_or(|(_, count)| *count < PER_MINUTE_MAX)
    }

    fn insert(&mut self, id: [u8; 32], waiting: Waiting, now: UnixMs) {
        self.drop_old(now);
        if self.waiting.len() >= ALL_MAX
            && let Some(oldest) = self.waiting.keys().next().copied()
        {
            self.remove(oldest);
        }
        let (since, count) = self.begun.entry(waiting.tenant).or_insert((now, 0));
        if now.since(*since) >= MINUTE_MS {
            (*since, *count) = (now, 0);
        }
        *count = count.saturating_add(1);
        let number = self.count;
        self.count = self.count.wrapping_add(1);
        self.by_id.insert(id, number);
        self.waiting.insert(number, Kept { id, until: now.plus_ms(LOGIN_MS), waiting });
    }

    /// All are kept equally long, so the oldest go first.
    fn drop_old(&mut self, now: UnixMs) {
        while let Some((&oldest, kept)) = self.waiting.iter().next()
            && kept.until <= now
        {
            self.remove(oldest);
        }
    }

    fn remove(&mut self, number: u64) -> Option<Waiting> {
        let Kept { id, waiting, .. } = self.waiting.remove(&number)?;
        self.by_id.remove(&id);
        Some(waiting)
    }
}
