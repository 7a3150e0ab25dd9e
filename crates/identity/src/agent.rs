//! Renewing in time, for as long as the service runs.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use countersign_crypto::spiffe::SpiffeId;
use countersign_crypto::tls::CertificateSlot;
use countersign_crypto::x509::{Issued, WorkloadKey};
use countersign_model::{Clock, Entropy, UnixMs};
use parking_lot::Mutex;
use tokio::sync::watch;
use zeroize::Zeroizing;

use crate::folder::{Folder, FolderError};
use crate::held::{Held, Known, NotIssued, ask, hold};
use crate::issuer::{Ask, Issuer, Proof};

/// The longest that the clock is not looked at while waiting, so that a machine that slept, or whose clock was set,
/// renews soon after.
const LOOK_MS: u64 = 1000;

/// The longest pause between tries.
const PAUSE_MAX_MS: u64 = 30_000;

/// The shortest.
const PAUSE_MIN_MS: u64 = 100;

/// The longest that the authority may take to answer.
const ANSWER_MS: u64 = 10_000;

/// The longest platform's token that is read.
const PLATFORM_TOKEN_MAX_BYTES: usize = 16 * 1024;

/// What an [`Agent`] is made of.
pub struct AgentParts {
    /// Where key and certificate are kept; `None` keeps them in memory only.
    pub folder: Option<Folder>,
    /// Where the platform puts its token for this service, if it does: with it the service joins again by itself when
    /// its certificate could not be renewed in time. The platform has to give it the name that it had.
    pub platform_token: Option<PathBuf>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Spreads renewals.
    pub entropy: Arc<dyn Entropy>,
}

/// Tells certificates that followed one another apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moment {
    /// How many there were before it.
    pub renewals: u64,
    /// When this one expires.
    pub expires: UnixMs,
}

/// Holds a service's key and certificate while it runs.
pub struct Agent {
    id: SpiffeId,
    known: Known,
    slot: Arc<CertificateSlot>,
    parts: AgentParts,
    life: Mutex<Life>,
    /// The platform's token was for another service: asking again would make one more of them each time.
    is_another: AtomicBool,
    changed: watch::Sender<Moment>,
}

/// The life of the present certificate.
#[derive(Clone, Copy)]
struct Life {
    since: UnixMs,
    expires: UnixMs,
}

impl Life {
    const fn length_ms(self) -> u64 {
        self.expires.since(self.since)
    }

    /// Half of it, 5 % more or less, so that services that began together don't ask together.
    fn renewal(self, entropy: &dyn Entropy) -> UnixMs {
        let permille = 450_u64.saturating_add(spread(entropy, 100));
        self.since.plus_ms(self.length_ms().saturating_mul(permille) / 1000)
    }
}

/// A random number below `limit`, which is small.
fn spread(entropy: &dyn Entropy, limit: u64) -> u64 {
    let mut random = [0u8; 8];
    entropy.fill(&mut random);
    u64::from_be_bytes(random).checked_rem(limit).unwrap_or_default()
}

impl Agent {
    /// An agent for this identity. Keeps it in the folder first, if there is one.
    ///
    /// # Errors
    /// [`FolderError`] if it can't be kept.
    pub fn new(held: Held, parts: AgentParts) -> Result<Self, FolderError> {
        if let Some(folder) = &parts.folder {
            folder.save(&held)?;
        }
        let (expires, life) = (held.expires(), Life { since: held.since, expires: held.expires() });
        let (changed, _) = watch::channel(Moment { renewals: 0, expires });
        let Held { id, known, slot, .. } = held;
        Ok(Self { id, known, slot, parts, life: Mutex::new(life), is_another: AtomicBool::new(false), changed })
    }

    /// The service's name. It stays the same.
    #[must_use]
    pub const fn id(&self) -> &SpiffeId {
        &self.id
    }

    /// What is known of the authority.
    #[must_use]
    pub const fn known(&self) -> &Known {
        &self.known
    }

    /// Where new connections take the certificate from.
    #[must_use]
    pub fn slot(&self) -> Arc<CertificateSlot> {
        Arc::clone(&self.slot)
    }

    /// When the present certificate expires.
    #[must_use]
    pub fn expires(&self) -> UnixMs {
        self.life.lock().expires
    }

    /// Whether the present certificate is still good.
    #[must_use]
    pub fn is_valid(&self) -> bool {
        self.parts.clock.now() < self.expires()
    }

    /// Says when there is a new certificate: connections made with an older one should be replaced before it expires.
    #[must_use]
    pub fn renewals(&self) -> watch::Receiver<Moment> {
        self.changed.subscribe()
    }

    /// Renews for ever. Ends when it is dropped; a renewal that is under way is then lost, and nothing else.
    pub async fn run(&self, issuer: &dyn Issuer) {
        loop {
            let life = *self.life.lock();
            self.wait_until(life.renewal(&*self.parts.entropy)).await;
            self.renew_at_last(issuer, life).await;
        }
    }

    /// Renews now.
    ///
    /// # Errors
    /// [`NotIssued`]; the present certificate stays.
    pub async fn renew(&self, issuer: &dyn Issuer) -> Result<UnixMs, NotIssued> {
        self.replace(issuer, Ask::Renew).await
    }

    /// Tries until it works, in pauses that grow from a hundredth to a tenth of a certificate's life.
    async fn renew_at_last(&self, issuer: &dyn Issuer, life: Life) {
        let longest = (life.length_ms() / 10).clamp(PAUSE_MIN_MS, PAUSE_MAX_MS);
        let mut pause = (life.length_ms() / 100).clamp(PAUSE_MIN_MS, longest);
        loop {
            let outcome = match self.replace(issuer, Ask::Renew).await {
                Err(error) => self.join_again(issuer).await.unwrap_or(Err(error)),
                done => done,
            };
            match outcome {
                Ok(_) => return,
                Err(error) if self.is_valid() => tracing::warn!(%error, "the certificate could not be renewed yet"),
                Err(error) => tracing::error!(%error, "the certificate has expired and could not be renewed"),
            }
            let jitter = spread(&*self.parts.entropy, (pause / 4).max(1));
            self.wait_until(self.parts.clock.now().plus_ms(pause.saturating_add(jitter))).await;
            pause = pause.saturating_mul(2).min(longest);
        }
    }

    /// A new start with the platform's token, for whoever has one and no certificate that counts any more.
    async fn join_again(&self, issuer: &dyn Issuer) -> Option<Result<UnixMs, NotIssued>> {
        let may = !self.is_valid() && !self.is_another.load(Ordering::Relaxed);
        let path = self.parts.platform_token.as_ref().filter(|_| may)?;
        let proof = Proof::Platform(read_token(path)?);
        let outcome = self.replace(issuer, Ask::Join { proof: &proof, role: self.id.role() }).await;
        self.is_another.store(outcome == Err(NotIssued::Wrong), Ordering::Relaxed);
        Some(outcome)
    }

    async fn replace(&self, issuer: &dyn Issuer, what: Ask<'_>) -> Result<UnixMs, NotIssued> {
        let answer = tokio::time::timeout(Duration::from_millis(ANSWER_MS), ask(issuer, what)).await;
        let (key, issued) = answer.map_err(|_| NotIssued::Unavailable)??;
        self.take(&key, issued)
    }

    /// From now on the new certificate is shown, if it is the same service's.
    fn take(&self, key: &WorkloadKey, issued: Issued) -> Result<UnixMs, NotIssued> {
        let clock = &*self.parts.clock;
        let held = hold(key, issued, self.known.clone(), clock)?;
        if held.id != self.id {
            return Err(NotIssued::Wrong);
        }
        self.slot.replace(&held.certificate).map_err(|_| NotIssued::Wrong)?;
        // Kept after it is in use: that a disk is full must not end the service. Until the next renewal a restart
        // would then begin with the one before.
        if let Some(Err(error)) = self.parts.folder.as_ref().map(|folder| folder.save(&held)) {
            tracing::error!(%error, "the renewed certificate is in use but could not be kept");
        }
        let expires = held.expires();
        *self.life.lock() = Life { since: held.since, expires };
        self.changed.send_modify(|moment| {
            *moment = Moment { renewals: moment.renewals.saturating_add(1), expires };
        });
        tracing::info!(id = %self.id, "the certificate was renewed");
        Ok(expires)
    }

    async fn wait_until(&self, moment: UnixMs) {
        loop {
            let left_ms = moment.since(self.parts.clock.now());
            if left_ms == 0 {
                return;
            }
            tokio::time::sleep(Duration::from_millis(left_ms.min(LOOK_MS))).await;
        }
    }
}

/// The token as the platform keeps it in a file, which it replaces by itself.
fn read_token(path: &std::path::Path) -> Option<Zeroizing<String>> {
    let text = std::fs::read_to_string(path).map(Zeroizing::new);
    let text = text.inspect_err(|error| tracing::error!(%error, "the platform's token can't be read")).ok()?;
    (text.len() <= PLATFORM_TOKEN_MAX_BYTES).then(|| Zeroizing::new(text.trim().to_owned()))
}

impl fmt::Debug for Agent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Agent").field("id", &self.id).field("expires", &self.expires()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
