//! What things in a repository are called.

use std::fmt;

use countersign_model::{Entropy, TenantId, UnixMs};

/// The SHA-256 digest of a sealed object.
pub type Digest = [u8; 32];

macro_rules! sixteen {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub [u8; 16]);

        impl $name {
            /// From its 32 hexadecimal digits, lower case.
            #[must_use]
            pub fn parse(text: &str) -> Option<Self> {
                let is_digit = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
                let mut bytes = [0; 16];
                (text.bytes().all(is_digit) && hex::decode_to_slice(text, &mut bytes).is_ok()).then_some(Self(bytes))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&hex::encode(self.0))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self)
            }
        }
    };
}

sixteen! {
    /// A repository; random.
    RepositoryId
}
sixteen! {
    /// A backup: when it was begun, in milliseconds (6 bytes), and 10 random bytes. Later ones are greater.
    BackupId
}
sixteen! {
    /// A chunk: a keyed hash of what is in it, by a key of its section.
    ChunkName
}

impl RepositoryId {
    pub(crate) fn new(entropy: &dyn Entropy) -> Self {
        let mut bytes = [0; 16];
        entropy.fill(&mut bytes);
        Self(bytes)
    }
}

impl BackupId {
    pub(crate) fn new(now: UnixMs, entropy: &dyn Entropy) -> Self {
        let mut bytes = [0; 16];
        entropy.fill(&mut bytes);
        let [_, _, time @ ..] = now.0.to_be_bytes();
        for (byte, time) in bytes.iter_mut().zip(time) {
            *byte = time;
        }
        Self(bytes)
    }

    /// When it was begun.
    #[must_use]
    pub fn at(&self) -> UnixMs {
        let time = self.0.iter().take(6);
        UnixMs(time.fold(0, |ms, byte| (ms << 8) | u64::from(*byte)))
    }
}

/// A part of a backup.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Section {
    /// Facts of the deployment.
    Control,
    /// All that is stored of one tenant.
    Tenant(TenantId),
    /// A ledger, or a file of one. At most [`Section::NAME_BYTES_MAX`] bytes.
    Ledger(String),
    /// Another file. As long.
    File(String),
}

impl Section {
    /// The longest name, in bytes.
    pub const NAME_BYTES_MAX: usize = 255;

    /// One byte for the kind, and the name.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let (kind, name): (u8, &[u8]) = match self {
            Self::Control => (1, &[]),
            Self::Tenant(tenant) => (2, tenant.as_bytes()),
            Self::Ledger(name) => (3, name.as_bytes()),
            Self::File(name) => (4, name.as_bytes()),
        };
        [&[kind], name].concat()
    }

    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let (kind, name) = bytes.split_first()?;
        let text = || {
            let text = std::str::from_utf8(name).ok()?;
            (!text.is_empty() && text.len() <= Self::NAME_BYTES_MAX).then(|| text.to_owned())
        };
        match kind {
            1 => name.is_empty().then_some(Self::Control),
            2 => Some(Self::Tenant(TenantId::from_bytes(name.try_into().ok()?))),
            3 => text().map(Self::Ledger),
            4 => text().map(Self::File),
            _ => None,
        }
    }

    pub(crate) fn is_valid(&self) -> bool {
        Self::decode(&self.encode()).is_some_and(|decoded| decoded == *self)
    }
}

impl fmt::Display for Section {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Control => f.write_str("control facts"),
            Self::Tenant(tenant) => write!(f, "tenant {tenant}"),
            Self::Ledger(name) => write!(f, "ledger {}", name.escape_default()),
            Self::File(name) => write!(f, "file {}", name.escape_default()),
        }
    }
}

impl fmt::Debug for Section {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Section({self})")
    }
}
