//! The calling end: the services' traits, spoken over a [`Channel`].

mod authority;
mod body;
pub(crate) mod channel;
mod facts;
mod keys;
mod lane;
mod outgoing;
mod pipe;
mod records;
mod trail;

pub use self::authority::{RemoteFront, RemoteIssuer};
pub use self::channel::{Channel, ChannelParts, ChannelSettings};
pub use self::facts::FactsStream;
pub use self::keys::RemoteKeys;
pub use self::records::RemoteRecords;
pub use self::trail::{RemoteTrail, TallyStream};
