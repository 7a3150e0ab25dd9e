//! Snapshots of what decisions need to know: made and signed by the authority, verified and put in force by every
//! other service.
//!
//! What it is for: the [`Publisher`] turns facts into a [`Snapshot`], and says what a service lacks of it as an
//! [`Update`] or as [`Message`]s; the [`Follower`] verifies updates and publishes the state to its service's guard.
//! What it is not: it moves nothing over a network, stores nothing, and decides nothing.
//!
//! A snapshot is a set of parts. Those that grow with a deployment are split into buckets, so that one change is sent
//! as one small part. The index has every part's SHA-256; the manifest has the index's SHA-256, epoch and time, and is
//! signed (RFC 7515) with the authority's facts key. So a manifest is a few hundred bytes whatever the size, and
//! signing it anew every few seconds is how services learn that what they have is still the newest. The forms are in
//! `docs/formats.md`.
//!
//! The connection that snapshots come through authenticates the authority as well. The signature is there so that
//! nothing between the two, such as a relay or a cache, has to be trusted.
//!
//! ```
//! use std::sync::Arc;
//! use countersign_crypto::{SystemEntropy, jws};
//! use countersign_facts::{Deployment, Directory, Follower, FollowerParts, Publisher, Sources, nothing_known};
//! use countersign_guard::FactsCell;
//! use countersign_model::{Clock, Service, clock::SystemClock, facts::Facts};
//! use countersign_token::Verifier;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let deployment = Deployment { issuer: "https://here".into(), trust_domain: "here".into() };
//! let key = Arc::new(jws::SigningKey::generate(&SystemEntropy)?);
//! let clock: Arc<dyn Clock> = Arc::new(SystemClock);
//!
//! // In the authority:
//! let publisher = Publisher::new(deployment.clone(), Arc::clone(&key), Arc::clone(&clock));
//! let facts = Arc::new(Facts { epoch: 1, policy_epoch: 1, ..Facts::default() });
//! let token_keys = vec![key.public_jwk().clone()];
//! let sources = Sources { facts, token_keys, directory: Arc::default(), wrapped: Arc::default(), contacts: Arc::default() };
//! let snapshot = publisher.publish(&sources)?;
//!
//! // In another service:
//! let facts = Arc::new(FactsCell::following(nothing_known()?, 30_000));
//! let verifier = Arc::new(Verifier::new("https://here", "https://here", jws::VerifyingKeys::new(vec![])?, 100));
//! let keys = vec![key.public_jwk().clone()];
//! let parts = FollowerParts { deployment, service: Service::Store, keys, facts: facts.clone(), verifier, clock, prepare: None };
//! let follower = Follower::new(parts);
//! follower.apply(&snapshot.update_since(&follower.index(), Service::Store))?;
//! assert_eq!(facts.load().facts.epoch, 1);
//! # Ok(())
//! # }
//! ```

mod buckets;
mod contacts;
mod directory;
mod error;
mod follower;
mod form;
mod manifest;
mod merge;
mod part;
mod publisher;
mod snapshot;
mod wrapped;

pub use contacts::SnapshotContacts;
pub use directory::{Directory, ServiceEntry};
pub use error::{ApplyError, PublishError};
pub use follower::{Applied, FUTURE_MAX_MS, Follower, FollowerParts, NotPrepared, Prepare, nothing_known};
pub use manifest::{Deployment, MANIFEST_TYPE};
pub use part::{Digest, Index, PART_BYTES_MAX, Part, PartId, PartKind};
pub use publisher::{Publisher, Sources};
pub use snapshot::{Gathering, MESSAGE_BYTES_MAX, Message, Snapshot, Update};
pub use wrapped::SnapshotKeys;

#[cfg(test)]
mod tests;
