//! The services behind the gateway: what they do for a request, and the traits by which they are called.
//!
//! Each call carries the user's token and the whole request, and each callee judges them again by a guard of its
//! own, under the same epoch: in one process these are function calls, apart they are remote calls of the same
//! traits. A service puts its own verdict on record, with a count that the others' must equal.
//!
//! What this is not: it opens no cell and knows no protocol. The engine brings keys and cells together; the wire
//! carries the calls.

mod call;
mod front;
mod key_service;
mod keyring;
mod log;
mod mail;
mod reach;
pub mod reseal;
mod status;
mod store_service;
mod trail;
mod watch;

pub use countersign_keys::LiveKeys;

pub use call::{Call, KmsFailure, ServiceFailure};
pub use front::{ControlFault, ControlRefused, ControlReply, Front, PublicCall, PublicReply};
pub use key_service::{KeyRelease, KeyService, KeyServiceParts, SealGrant, SealPurpose};
pub use keyring::{CellError, Keyring, Slot};
pub use log::{AddCheckpoint, LedgerLog, Log, LogFailure, LogName, Logs, TileName};
pub use mail::{Attachment, Mail, MailFailure, Mailer};
pub use reach::{Reach, Use};
pub use status::{Report, ServiceStatus, Statuses};
pub use store_service::{Records, Required, StoreService, erase_records};
pub use trail::{LedgerTrail, Proved, Trail, TrailPage, Trails, Unlock};
pub use watch::Watch;
