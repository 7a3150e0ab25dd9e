//! Identifiers that Countersign makes. Those that applications supply are values, sealed like any other.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::clock::{Entropy, UnixMs};

/// A UUID of version 7 (RFC 9562, section 5.7): 48 bits of milliseconds, then 74 random bits.
fn uuid7(now: UnixMs, entropy: &dyn Entropy) -> Uuid {
    let mut random = [0u8; 10];
    entropy.fill(&mut random);
    uuid::Builder::from_unix_timestamp_millis(now.0, &random).into_uuid()
}

macro_rules! uuid_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(Uuid);

        impl $name {
            /// A new identifier, UUIDv7.
            #[must_use]
            pub fn new(now: UnixMs, entropy: &dyn Entropy) -> Self {
                Self(uuid7(now, entropy))
            }

            /// From the 16 bytes that [`Self::as_bytes`] gave.
            #[must_use]
            pub const fn from_bytes(bytes: [u8; 16]) -> Self {
                Self(Uuid::from_bytes(bytes))
            }

            /// The 16 bytes, big-endian.
            #[must_use]
            pub const fn as_bytes(&self) -> &[u8; 16] {
                self.0.as_bytes()
            }

            /// As a number that orders as the bytes do.
            #[must_use]
            pub const fn as_u128(&self) -> u128 {
                self.0.as_u128()
            }

            /// From the number that [`Self::as_u128`] gave.
            #[must_use]
            pub const fn from_u128(number: u128) -> Self {
                Self(Uuid::from_u128(number))
            }

            /// As a UUID.
            #[must_use]
            pub const fn uuid(&self) -> Uuid {
                self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl FromStr for $name {
            type Err = uuid::Error;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                Ok(Self(text.parse()?))
            }
        }
    };
}

uuid_id!(
    /// A subscriber organisation.
    TenantId
);
uuid_id!(
    /// A person, service or agent; unique over all tenants.
    UserId
);
uuid_id!(
    /// One record. Bound into the associated data of each of its cells.
    RecordId
);
uuid_id!(
    /// One request; appears in logs, audit records and response headers.
    RequestId
);
uuid_id!(
    /// One login and all tokens narrowed from it.
    SessionId
);
uuid_id!(
    /// One token (the `jti` claim).
    TokenId
);
uuid_id!(
    /// One operator's access to one tenant, asked for or given.
    GrantId
);
uuid_id!(
    /// One alert.
    AlertId
);
uuid_id!(
    /// One rule kept silent for a time.
    SilenceId
);
uuid_id!(
    /// One breach.
    IncidentId
);

impl RecordId {
    /// `count` identifiers that follow one another by one, starting at a fresh UUIDv7.
    ///
    /// Consecutive numbers keep the audit record of a bulk insert small (RFC 9562, section 6.2, method 2:
    /// the random part is a counter with a random start). The start leaves room, so none wraps into the
    /// version or variant bits.
    #[must_use]
    pub fn batch(now: UnixMs, entropy: &dyn Entropy, count: usize) -> Vec<Self> {
        const TOP_OF_COUNTER: u128 = 1 << 61;
        let start = uuid7(now, entropy).as_u128() & !TOP_OF_COUNTER;
        (0..count as u128).map(|offset| Self(Uuid::from_u128(start.wrapping_add(offset)))).collect()
    }
}

/// A record type's place in [`RecordTypes`](crate::RecordTypes); never reused for another type.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TypeId(pub u16);

/// A field's place in its record type, below [`FieldSet::MAX`](crate::FieldSet::MAX); never reused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct FieldId(pub u8);

#[cfg(test)]
mod tests {
    use super::*;

    struct Ones;
    impl Entropy for Ones {
        fn fill(&self, out: &mut [u8]) {
            out.fill(0xff);
        }
    }

    #[test]
    fn a_batch_counts_up_and_every_member_is_a_version_7_uuid() {
        let ids = RecordId::batch(UnixMs(1_700_000_000_000), &Ones, 5000);
        assert!(ids.windows(2).all(|pair| pair[1].as_u128() == pair[0].as_u128() + 1));
        for id in ids {
            assert_eq!(id.uuid().get_version_num(), 7);
            assert_eq!(id.uuid().get_variant(), uuid::Variant::RFC4122);
        }
    }
}
