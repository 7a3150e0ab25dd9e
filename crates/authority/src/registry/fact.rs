//! What a fact looks like when it is stored, before it is sealed.

use std::collections::BTreeMap;

use countersign_crypto::jws::PublicJwk;
use countersign_model::control::{NewProvider, PolicyFile};
use countersign_model::facts::{ExternalId, Tenant, User, UserKind};
use countersign_model::{Kind as ValueKind, Name, RecordTypes, TenantId, UnixMs, UserId, Value};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::error::RegistryError;

/// What a fact is about. The numbers are stored; they say nothing to whoever has only the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Wrapped by the key management service rather than sealed; everything else is sealed under it.
    DeploymentKey = 0,
    Epoch = 1,
    Tenant = 2,
    User = 3,
    Types = 4,
    Policies = 5,
    RevokedToken = 6,
    RevokedSession = 7,
    RevokedUser = 8,
    SigningKey = 9,
    Certificates = 10,
    Provider = 11,
    Invitation = 12,
    Service = 13,
    TrustDomain = 14,
    FactsKeys = 15,
    Grant = 16,
    Incident = 17,
    Contacts = 18,
    Erasure = 19,
    Backup = 20,
    TenantFactsKey = 21,
    /// What an incident says of one tenant by names: not to be read any more once the tenant was erased.
    IncidentNames = 22,
    /// Since when the deployment's key is wrapped by what wraps it.
    WrappingKey = 23,
}

impl Kind {
    pub(crate) const fn from_number(number: i64) -> Option<Self> {
        Some(match number {
            0 => Self::DeploymentKey,
            1 => Self::Epoch,
            2 => Self::Tenant,
            3 => Self::User,
            4 => Self::Types,
            5 => Self::Policies,
            6 => Self::RevokedToken,
            7 => Self::RevokedSession,
            8 => Self::RevokedUser,
            9 => Self::SigningKey,
            10 => Self::Certificates,
            11 => Self::Provider,
            12 => Self::Invitation,
            13 => Self::Service,
            14 => Self::TrustDomain,
            15 => Self::FactsKeys,
            16 => Self::Grant,
            17 => Self::Incident,
            18 => Self::Contacts,
            19 => Self::Erasure,
            20 => Self::Backup,
            21 => Self::TenantFactsKey,
            22 => Self::IncidentNames,
            23 => Self::WrappingKey,
            _ => return None,
        })
    }

    /// For error messages.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::DeploymentKey => "deployment key",
            Self::Epoch => "epoch",
            Self::Tenant => "tenant",
            Self::User => "user",
            Self::Types => "record types",
            Self::Policies => "policies",
            Self::RevokedToken => "revoked token",
            Self::RevokedSession => "revoked session",
            Self::RevokedUser => "revoked user",
            Self::SigningKey => "signing key",
            Self::Certificates => "certificate authority",
            Self::Provider => "identity provider",
            Self::Invitation => "invitation",
            Self::Service => "service",
            Self::TrustDomain => "trust domain",
            Self::FactsKeys => "facts keys",
            Self::Grant => "grant of access",
            Self::Incident => "incident",
            Self::Contacts => "contacts",
            Self::Erasure => "erasure",
            Self::Backup => "backup",
            Self::TenantFactsKey => "tenant's facts key",
            Self::IncidentNames => "names in an incident",
            Self::WrappingKey => "wrapping key",
        }
    }
}

/// One change of the table. Bodies are wiped: some hold private keys.
pub(crate) enum Write {
    Put { kind: Kind, id: Vec<u8>, body: Zeroizing<Vec<u8>>, owner: Option<TenantId> },
    Delete { kind: Kind, id: Vec<u8> },
}

/// The first byte of every body: the form of its kind's fact.
const fn format(kind: Kind) -> u8 {
    match kind {
        // Format 1 knew neither kinds of users nor identity providers, format 2 no users for a time.
        Kind::User => 3,
        _ => 1,
    }
}

impl Write {
    pub(crate) fn put(kind: Kind, id: &[u8], fact: &impl Serialize) -> Result<Self, RegistryError> {
        // Room for a private key at once, so that none is left behind where the buffer was before it grew.
        let mut body = Vec::with_capacity(1024);
        body.push(format(kind));
        let body = postcard::to_extend(fact, body).map_err(|_| RegistryError::Storage("a fact is too large"))?;
        Ok(Self::Put { kind, id: id.to_vec(), body: Zeroizing::new(body), owner: None })
    }

    /// The same for a fact about a tenant, which is not to be read any more once the tenant was erased.
    pub(crate) fn put_of(owner: TenantId, kind: Kind, id: &[u8], fact: &impl Serialize) -> Result<Self, RegistryError> {
        let mut write = Self::put(kind, id, fact)?;
        if let Self::Put { owner: of, .. } = &mut write {
            *of = Some(owner);
        }
        Ok(write)
    }

    pub(crate) fn delete(kind: Kind, id: &[u8]) -> Self {
        Self::Delete { kind, id: id.to_vec() }
    }
}

/// Reads what [`Write::put`] wrote.
pub(crate) fn read<T: DeserializeOwned>(kind: Kind, id: &[u8], body: &[u8]) -> Result<T, RegistryError> {
    read_format(format(kind), kind, id, body)
}

fn read_format<T: DeserializeOwned>(format: u8, kind: Kind, id: &[u8], body: &[u8]) -> Result<T, RegistryError> {
    let damaged = || damaged(kind, id);
    let (found, body) = body.split_first().ok_or_else(damaged)?;
    if *found != format {
        return Err(damaged());
    }
    match postcard::take_from_bytes(body) {
        Ok((fact, [])) => Ok(fact),
        _ => Err(damaged()),
    }
}

pub(crate) fn damaged(kind: Kind, id: &[u8]) -> RegistryError {
    RegistryError::Damaged { kind: kind.name(), id: hex::encode(id) }
}

#[derive(Serialize, Deserialize)]
pub(crate) struct EpochFact {
    pub epoch: u64,
    pub policy_epoch: u64,
}

#[derive(Serialize, Deserialize)]
pub(crate) struct TenantFact {
    pub tenant: Tenant,
    pub wrapped_key: Vec<u8>,
}

/// A user as format 1 had it: every one a person, none known to an identity provider.
#[derive(Serialize, Deserialize)]
struct UserFormat1 {
    tenant: TenantId,
    name: Name,
    roles: Vec<Name>,
    attributes: Vec<(Name, ValueKind, Vec<u8>)>,
    ssh_keys: Vec<String>,
    changed: UnixMs,
}

impl UserFormat1 {
    /// `None` if an attribute's bytes are not of its kind.
    fn into_user(self) -> Option<User> {
        let attribute = |(name, kind, bytes): (Name, ValueKind, Vec<u8>)| {
            Value::from_bytes(kind, &bytes).ok().map(|value| (name, value))
        };
        Some(User {
            tenant: self.tenant,
            name: self.name,
            roles: self.roles,
            attributes: self.attributes.into_iter().map(attribute).collect::<Option<BTreeMap<_, _>>>()?,
            ssh_keys: self.ssh_keys,
            changed: self.changed,
            kind: UserKind::Person,
            external: None,
            expires: None,
        })
    }
}

/// A user as format 2 had it: every one until it is removed.
#[derive(Serialize, Deserialize)]
struct UserFormat2 {
    first: UserFormat1,
    kind: UserKind,
    external: Option<ExternalId>,
}

impl UserFormat2 {
    fn into_user(self) -> Option<User> {
        let Self { first, kind, external } = self;
        Some(User { kind, external, ..first.into_user()? })
    }
}

/// Reads a user of any format.
pub(crate) fn read_user(id: &[u8], body: &[u8]) -> Result<User, RegistryError> {
    let old = match body.first() {
        Some(1) => read_format::<UserFormat1>(1, Kind::User, id, body)?.into_user(),
        Some(2) => read_format::<UserFormat2>(2, Kind::User, id, body)?.into_user(),
        _ => return read(Kind::User, id, body),
    };
    old.ok_or_else(|| damaged(Kind::User, id))
}

/// The key that facts about a tenant are sealed under, as the key management service wrapped it by a key of its own.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct TenantFactsKeyFact {
    pub wrapped: Vec<u8>,
}

/// The types file as it was applied, and what came of merging it with those before.
#[derive(Default, Serialize, Deserialize)]
pub(crate) struct TypesFact {
    pub text: String,
    pub types: RecordTypes,
}

#[derive(Default, Serialize, Deserialize)]
pub(crate) struct PoliciesFact {
    pub files: Vec<PolicyFile>,
}

#[derive(Serialize, Deserialize)]
pub(crate) struct RevocationFact {
    pub at: UnixMs,
}

/// A private key's bytes: wiped when dropped.
#[derive(Clone)]
pub(crate) struct SecretBytes(pub Zeroizing<Vec<u8>>);

impl Serialize for SecretBytes {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.as_slice().serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for SecretBytes {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Vec::deserialize(deserializer).map(|bytes| Self(Zeroizing::new(bytes)))
    }
}

/// A token signing key. Its private half is gone once it was replaced.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct SigningKeyFact {
    pub created: UnixMs,
    pub retired: Option<UnixMs>,
    pub private: Option<SecretBytes>,
    pub public: PublicJwk,
}

/// The keys that sign snapshots of the facts: the one that does, since when, and the one that will.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct FactsKeysFact {
    pub since: UnixMs,
    pub current: SecretBytes,
    pub next: SecretBytes,
}

#[derive(Serialize, Deserialize)]
pub(crate) struct CertificatesFact {
    pub key: SecretBytes,
    pub certificate: String,
}

/// The identity provider of one tenant, client secret and all.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ProviderFact {
    pub settings: NewProvider,
    pub set: UnixMs,
}

/// An operator's access to a tenant.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct GrantFact {
    pub operator: UserId,
    pub operator_name: Name,
    pub tenant: TenantId,
    pub role: Name,
    pub reason: String,
    pub lifetime_ms: u64,
    pub break_glass: bool,
    pub asked: UnixMs,
    pub state: GrantState,
}

/// What came of it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum GrantState {
    /// Nobody has answered yet.
    Asked,
    /// Given by `by` until a moment: to this user of the tenant.
    Given { by: String, at: UnixMs, until: UnixMs, user: UserId, login: Name },
    /// Refused by `by`, or too old to be answered.
    Refused { by: String, at: UnixMs },
    /// Given, and over: at its end, or ended by `by` before.
    Closed { by: Option<String>, at: UnixMs },
}
