use std::collections::BTreeMap;
use std::fmt;

use bytes::Bytes;
use countersign_model::{Service, UnixMs};

use crate::error::ApplyError;
use crate::manifest::Manifest;
use crate::part::{Index, PART_BYTES_MAX, Part, PartId};

/// About how many bytes one message carries; a longer part travels alone.
const MESSAGE_BYTES: usize = 512 * 1024;

/// The most bytes of one message besides its framing: what a receiver's limit must allow.
pub const MESSAGE_BYTES_MAX: usize = PART_BYTES_MAX + Index::BYTES_MAX + countersign_crypto::jws::MAX_BYTES;

/// The most bytes of a whole update: about three million users.
const UPDATE_BYTES_MAX: usize = 1 << 30;

/// What decisions need to know at one epoch, encoded and signed.
#[derive(Clone)]
pub struct Snapshot {
    pub(crate) manifest: Manifest,
    pub(crate) text: String,
    pub(crate) contents: std::sync::Arc<Contents>,
}

/// What stays the same when a snapshot is only signed anew.
pub(crate) struct Contents {
    pub(crate) index: Index,
    pub(crate) index_bytes: Bytes,
    pub(crate) parts: BTreeMap<PartId, Bytes>,
}

impl Snapshot {
    /// The epoch of the facts.
    #[must_use]
    pub const fn epoch(&self) -> u64 {
        self.manifest.epoch
    }

    /// When it was signed.
    #[must_use]
    pub const fn issued(&self) -> UnixMs {
        self.manifest.issued
    }

    /// Which parts it has, those included that not every service is given.
    #[must_use]
    pub fn index(&self) -> &Index {
        &self.contents.index
    }

    /// What a service with this role lacks that has the snapshot with the index `have` (an empty one if it has none).
    #[must_use]
    pub fn update_since(&self, have: &Index, service: Service) -> Update {
        let Contents { index, index_bytes, parts } = &*self.contents;
        let lacks = |id: &PartId| id.kind().is_for(service) && have.digest(*id) != index.digest(*id);
        let parts: Vec<Part> = parts
            .iter()
            .filter(|(id, _)| lacks(id))
            .map(|(id, bytes)| Part { id: *id, bytes: bytes.clone() })
            .collect();
        let same = have == index;
        Update { manifest: self.text.clone(), index: (!same).then(|| index_bytes.clone()), parts }
    }

    /// As [`Self::update_since`], cut into messages of a size that can be sent.
    #[must_use]
    pub fn messages_since(&self, have: &Index, service: Service) -> Vec<Message> {
        self.update_since(have, service).into_messages()
    }
}

impl fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Snapshot")
            .field("epoch", &self.epoch())
            .field("issued", &self.issued())
            .field("parts", &self.contents.index.len())
            .finish()
    }
}

impl Index {
    /// Of these parts, those that a service of this role is given.
    pub(crate) fn of_service(&self, service: Service) -> Self {
        let mut own = self.clone();
        own.retain(|id| id.kind().is_for(service));
        own
    }
}

/// What one service needs to come to a snapshot from the one it has.
#[derive(Clone)]
pub struct Update {
    /// The signed manifest, in compact form.
    pub manifest: String,
    /// The encoded index; `None` if the receiver has that very one.
    pub index: Option<Bytes>,
    /// The parts that the receiver lacks.
    pub parts: Vec<Part>,
}

/// A piece of an update.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Message {
    /// In the first message of an update, and in no other.
    pub manifest: Option<String>,
    /// In the first message, if anywhere.
    pub index: Option<Bytes>,
    /// Some of the parts.
    pub parts: Vec<Part>,
    /// Whether the update is complete with this message.
    pub last: bool,
}

impl Update {
    /// How many bytes of content it has.
    #[must_use]
    pub fn len_bytes(&self) -> usize {
        let parts = self.parts.iter().map(|part| part.bytes.len());
        parts.chain(self.index.as_ref().map(Bytes::len)).fold(self.manifest.len(), usize::saturating_add)
    }

    /// Cuts it into messages.
    #[must_use]
    pub fn into_messages(self) -> Vec<Message> {
        let mut messages = Vec::new();
        let mut message = Message { manifest: Some(self.manifest), index: self.index, ..Message::default() };
        let mut bytes = 0usize;
        for part in self.parts {
            if !message.parts.is_empty() && bytes.saturating_add(part.bytes.len()) > MESSAGE_BYTES {
                messages.push(std::mem::take(&mut message));
                bytes = 0;
            }
            bytes = bytes.saturating_add(part.bytes.len());
            message.parts.push(part);
        }
        message.last = true;
        messages.push(message);
        messages
    }
}

impl fmt::Debug for Update {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Update").field("index", &self.index.is_some()).field("parts", &self.parts.len()).finish()
    }
}

/// Puts messages together again. One for each stream.
#[derive(Debug, Default)]
pub struct Gathering {
    update: Option<Update>,
    bytes: usize,
}

impl Gathering {
    /// Takes the next message and gives the update that it completes, if it does.
    ///
    /// # Errors
    /// [`ApplyError::Messages`] if it doesn't continue what came before, [`ApplyError::TooLarge`]. The stream is
    /// of no use any more then.
    pub fn add(&mut self, message: Message) -> Result<Option<Update>, ApplyError> {
        let update = match (message.manifest, self.update.take()) {
            (Some(manifest), None) => {
                self.bytes = 0;
                Update { manifest, index: message.index, parts: message.parts }
            }
            (None, Some(mut update)) if message.index.is_none() => {
                update.parts.extend(message.parts);
                update
            }
            _ => return Err(ApplyError::Messages),
        };
        let too_many = update.parts.len() > Index::LEN_MAX;
        // Of the whole so far: cheap, as messages are large and few.
        self.bytes = update.len_bytes();
        if too_many
            || self.bytes > UPDATE_BYTES_MAX
            || update.parts.iter().any(|part| part.bytes.len() > PART_BYTES_MAX)
        {
            return Err(ApplyError::TooLarge);
        }
        if message.last {
            return Ok(Some(update));
        }
        self.update = Some(update);
        Ok(None)
    }
}
