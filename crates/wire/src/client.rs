//! The calling end: the services' traits, spoken over a [`Channel`].

mod authority;
mod body;
pub(crate) mod channel;
mod facts;
mod keys;
mod lane;
mod log;
mod monitor;
mod outgoing;
mod pipe;
mod records;
mod report;
mod trail;

pub use self::authority::{RemoteFront, RemoteIssuer};
pub use self::channel::{Channel, ChannelParts, ChannelSettings};
pub use self::facts::FactsStream;
pub use self::keys::RemoteKeys;
pub use self::log::RemoteLog;
pub use self::monitor::RemoteWatch;
pub use self::records::RemoteRecords;
pub use self::report::RemoteReport;
pub use self::trail::{RemoteTrail, TallyStream};
