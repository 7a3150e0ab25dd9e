//! Access tokens: minting, verifying, narrowing, and whether one was revoked.
//!
//! Tokens are JSON Web Tokens in the profile of RFC 9068 (`typ: at+jwt`), signed with Ed25519 and nothing else,
//! so that a service in any language can verify them against the published key set. They live at most
//! [`MAX_LIFETIME_MS`], whatever they say themselves. A narrowed token is the result of a token exchange
//! (RFC 8693) and says what is left in `authorization_details` (RFC 9396). A token can be bound to a key (`cnf`,
//! RFC 7800), whose proof is asked for where requests come in, and can name one actor (`act`).
//!
//! This crate does not decide what a caller may do and does not know who exists: that is for policy and for the
//! guard. That the holder of a bound token proves its key is asked
//! where requests come in ([`Verified::check_possession`]), and each proof is good once ([`ReplayWindow`]). It holds no revocation list either; it answers whether one given to it names a token.
//!
//! What a token says and what was verified are two types. [`Unverified`] can be shown to its holder;
//! only a [`Verifier`] makes a [`Verified`], and everything that grants access asks for one.
//!
//! ```
//! use std::sync::Arc;
//! use countersign_crypto::{SystemEntropy, jws};
//! use countersign_model::{SessionId, TenantId, UnixMs, UserId};
//! use countersign_token::{Minter, Verifier};
//!
//! let (now, entropy) = (UnixMs::from_seconds(1_800_000_000), SystemEntropy);
//! let key = Arc::new(jws::SigningKey::generate(&entropy)?);
//! let keys = jws::VerifyingKeys::new(vec![key.public_jwk().clone()])?;
//! let minter = Minter::new("https://here", "https://here", key);
//! let verifier = Verifier::new("https://here", "https://here", keys, 1000);
//!
//! let (user, tenant) = (UserId::new(now, &entropy), TenantId::new(now, &entropy));
//! let session = SessionId::new(now, &entropy);
//! let minted = minter.mint(user, tenant, session, 3_600_000, now, &entropy)?;
//! assert_eq!(verifier.verify(minted.token(), now)?.user(), user);
//! assert!(verifier.verify(minted.token(), minted.expires()).is_err());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod binding;
mod claims;
mod introspection;
mod mint;
mod possession;
mod presented;
mod replay;
mod unverified;
mod verified;
mod verify;

pub use binding::Binding;
pub use introspection::Introspection;
pub use mint::{MintError, Minted, Minter};
pub use possession::{Evidence, NotProved, ProofOf};
pub use presented::Presented;
pub use replay::{Replay, ReplayWindow};
pub use unverified::Unverified;
pub use verified::Verified;
pub use verify::{TokenError, Verifier};

/// The longest life of a token, from the login it comes from to its expiry: 12 hours.
///
/// INVARIANT twelve-hours: held when a token is minted, when it is narrowed, and at every verification.
pub const MAX_LIFETIME_MS: u64 = 12 * 3600 * 1000;

/// How far a token's issue time may lie in the future, for clocks that disagree. Expiry gets no such grace.
pub const CLOCK_SKEW_MS: u64 = 60 * 1000;

/// The longest token that is looked at, in bytes.
pub const MAX_TOKEN_BYTES: usize = countersign_crypto::jws::MAX_BYTES;

/// The `typ` of a token's header (RFC 9068, section 2.1).
pub const TOKEN_TYPE: &str = "at+jwt";

/// The longest purpose, in bytes.
pub const MAX_PURPOSE_BYTES: usize = 256;

#[cfg(test)]
mod tests;
