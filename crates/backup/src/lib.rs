//! Repositories of backups: sealed chunks and manifests in a folder or an object store.
//!
//! A backup is a list of sections (one for each tenant, one for control facts, one for each ledger and file), each a list of
//! chunks. A chunk is named by a keyed hash of what is in it, so what is there already is not stored again, and sealed: a
//! tenant's under the tenant's own key and then under the repository's backup key, everything else under the latter. A
//! manifest names the chunks of one backup in order, with their lengths and digests, sealed too; its own digest is for the
//! caller to put on record.
//!
//! What it is not: it reads no deployment and fetches no key. Keys are arguments ([`SectionKeys`]), records come from
//! [`countersign_store::carry::Moment`], and what opens the cells in them is nowhere near.
//!
//! INVARIANT whole-or-nothing: [`Reader::verify_all`] reads every chunk of a backup and checks it; whoever restores does that
//! before anything is written. What is wrong has a name: [`Damage`].
//!
//! The format is in `docs/formats.md`, *Backup repositories*.
//!
//! ```no_run
//! # use countersign_backup::*;
//! # use std::sync::Arc;
//! # async fn example(key: countersign_crypto::SecretKey, keys: Arc<dyn SectionKeys>) -> Result<(), BackupError> {
//! let place = Place::folder(std::path::Path::new("/backups"))?;
//! let tools = Tools::system();
//! let repository = Repository::create(place, &key, b"the wrapped key", tools).await?;
//! let mut writer = repository.begin(keys, Arc::new(())).await?;
//! writer.section(Section::Control).await?;
//! writer.chunk(b"facts".to_vec()).await?;
//! let finished = writer.finish(Vec::new()).await?;
//! # Ok(()) }
//! ```

mod bytes;
mod error;
mod lock;
mod manifest;
mod names;
mod place;
mod prune;
mod reader;
mod receipts;
mod repository;
mod s3;
mod seal;
pub mod tenant;
mod writer;

pub use error::{BackupError, Damage, KeysFailed, Unreachable};
pub use manifest::{ChunkEntry, Manifest, SectionEntry, parse_manifest_for_tests};
pub use names::{BackupId, ChunkName, Digest, RepositoryId, Section};
pub use place::Place;
pub use prune::Pruned;
pub use reader::{Reader, SectionReader, Verified};
pub use receipts::ReceiptId;
pub use repository::{Header, Listed, Repository, Tools};
pub use s3::S3;
pub use seal::SectionKeys;
pub use writer::{Finished, Watch, Writer};

/// The most bytes that one chunk may have before it is sealed. Writers cut far below it; only a single record that is larger
/// makes a chunk larger.
pub const CHUNK_MAX: usize = 32 << 20;
/// Where writers cut: not before this.
pub const CHUNK_LEAST: usize = 1 << 20;
/// About this much is in a chunk.
pub const CHUNK_USUAL: usize = 2 << 20;
/// Writers end a chunk here, wherever a cut would be.
pub const CHUNK_MOST: usize = 8 << 20;
