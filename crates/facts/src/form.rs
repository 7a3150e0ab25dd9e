//! What the parts look like as bytes: the byte 1, then the Postcard form of these types, in this order.
//!
//! They are types of their own so that a change elsewhere can't change the format unseen. A user's SSH keys and
//! identity at a provider are left out: only the authority needs them.

use std::collections::BTreeMap;

use countersign_crypto::jws::PublicJwk;
use countersign_model::control::PolicyFile;
use countersign_model::facts::{Tenant, User, UserKind};
use countersign_model::{
    FieldSet, Kind, Name, RecordTypes, Service, SessionId, TenantId, TokenId, UnixMs, UserId, Value,
};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::contacts::Emails;
use crate::directory::{ServiceEntry, removed_are_valid, services_are_valid};
use crate::error::{ApplyError, PublishError};
use crate::part::{Encoded, PART_BYTES_MAX, PartKind};
use crate::wrapped::WrappedKey;

const FORMAT: u8 = 1;

pub(crate) fn encode(kind: PartKind, form: &impl Serialize) -> Result<Encoded, PublishError> {
    let bytes = postcard::to_extend(form, vec![FORMAT]).map_err(|_| PublishError::TooLarge(kind))?;
    if bytes.len() > PART_BYTES_MAX { Err(PublishError::TooLarge(kind)) } else { Ok(Encoded::of(bytes)) }
}

/// Lengths in the bytes are not believed beyond what the bytes can hold: Postcard reads element by element.
pub(crate) fn decode<T: DeserializeOwned>(kind: PartKind, bytes: &[u8]) -> Result<T, ApplyError> {
    let malformed = ApplyError::Malformed(kind);
    let Some((&FORMAT, body)) = bytes.split_first() else { return Err(malformed) };
    match postcard::take_from_bytes(body) {
        Ok((form, [])) => Ok(form),
        _ => Err(malformed),
    }
}

/// Something that is kept under an id, in a bucket with others.
pub(crate) trait Key: Ord + Clone {
    /// The last byte of its id.
    fn bucket(&self) -> u8;
}

const fn last_of(id: &[u8; 16]) -> u8 {
    let [.., last] = id;
    *last
}

impl Key for TenantId {
    fn bucket(&self) -> u8 {
        last_of(self.as_bytes())
    }
}

impl Key for UserId {
    fn bucket(&self) -> u8 {
        last_of(self.as_bytes())
    }
}

/// What was revoked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub(crate) enum Revoked {
    Token(TenantId, TokenId),
    Session(TenantId, SessionId),
    User(UserId),
}

impl Key for Revoked {
    fn bucket(&self) -> u8 {
        match self {
            Self::Token(_, id) => last_of(id.as_bytes()),
            Self::Session(_, id) => last_of(id.as_bytes()),
            Self::User(id) => last_of(id.as_bytes()),
        }
    }
}

/// How a value looks in a bucket.
pub(crate) trait Entry: Sized {
    const KIND: PartKind;
    type Key: Key + Serialize + DeserializeOwned;
    type Form: Serialize + DeserializeOwned;

    fn to_form(&self) -> Self::Form;
    /// `None` if the form is not one that [`Self::to_form`] makes.
    fn from_form(form: Self::Form) -> Option<Self>;
}

impl Entry for Tenant {
    const KIND: PartKind = PartKind::Tenants;
    type Key = TenantId;
    type Form = (Name, UnixMs);

    fn to_form(&self) -> Self::Form {
        let Self { name, created } = self;
        (name.clone(), *created)
    }

    fn from_form((name, created): Self::Form) -> Option<Self> {
        Some(Self { name, created })
    }
}

#[derive(Serialize, Deserialize)]
pub(crate) struct UserForm {
    tenant: TenantId,
    name: Name,
    kind: UserKind,
    roles: Vec<Name>,
    attributes: Vec<(Name, Kind, Vec<u8>)>,
    changed: UnixMs,
    expires: Option<UnixMs>,
}

impl Entry for User {
    const KIND: PartKind = PartKind::Users;
    type Key = UserId;
    type Form = UserForm;

    fn to_form(&self) -> UserForm {
        let Self { tenant, name, kind, roles, attributes, changed, expires, ssh_keys: _, external: _ } = self;
        let attribute = |(name, value): (&Name, &Value)| Some((name.clone(), value.kind()?, value.to_bytes()));
        UserForm {
            tenant: *tenant,
            name: name.clone(),
            kind: *kind,
            roles: roles.clone(),
            attributes: attributes.iter().filter_map(attribute).collect(),
            changed: *changed,
            expires: *expires,
        }
    }

    fn from_form(form: UserForm) -> Option<Self> {
        let count = form.attributes.len();
        let attribute = |(name, kind, bytes): (Name, Kind, Vec<u8>)| {
            Value::from_bytes(kind, &bytes).ok().map(|value| (name, value))
        };
        let attributes: BTreeMap<_, _> = form.attributes.into_iter().map(attribute).collect::<Option<_>>()?;
        (attributes.len() == count).then_some(Self {
            tenant: form.tenant,
            name: form.name,
            roles: form.roles,
            attributes,
            ssh_keys: Vec::new(),
            changed: form.changed,
            kind: form.kind,
            external: None,
            expires: form.expires,
        })
    }
}

impl Entry for UnixMs {
    const KIND: PartKind = PartKind::Revocations;
    type Key = Revoked;
    type Form = Self;

    fn to_form(&self) -> Self {
        *self
    }

    fn from_form(form: Self) -> Option<Self> {
        Some(form)
    }
}

/// The longest wrapped key. Providers add names and versions of keys to the 65 bytes that ours has.
const WRAPPED_BYTES_MAX: usize = 8 * 1024;

impl Entry for WrappedKey {
    const KIND: PartKind = PartKind::Wrapped;
    type Key = TenantId;
    type Form = Vec<u8>;

    fn to_form(&self) -> Vec<u8> {
        self.0.to_vec()
    }

    fn from_form(form: Vec<u8>) -> Option<Self> {
        (form.len() <= WRAPPED_BYTES_MAX).then(|| Self(form.into()))
    }
}

/// The most addresses of a tenant, and the longest.
const EMAILS_MAX: usize = 64;
const EMAIL_BYTES_MAX: usize = 320;

impl Entry for Emails {
    const KIND: PartKind = PartKind::Contacts;
    type Key = TenantId;
    type Form = Vec<String>;

    fn to_form(&self) -> Vec<String> {
        self.0.to_vec()
    }

    fn from_form(form: Vec<String>) -> Option<Self> {
        let are_short = form.len() <= EMAILS_MAX && form.iter().all(|email| email.len() <= EMAIL_BYTES_MAX);
        are_short.then(|| Self(form.into()))
    }
}

/// Encodes one bucket.
pub(crate) fn encode_bucket<'a, E: Entry + 'a>(
    entries: impl Iterator<Item = (&'a E::Key, &'a E)>,
) -> Result<Encoded, PublishError>
where
    E::Key: 'a,
{
    let forms: Vec<(&E::Key, E::Form)> = entries.map(|(key, entry)| (key, entry.to_form())).collect();
    encode(E::KIND, &forms)
}

/// Reads what [`encode_bucket`] wrote: in order, each key once, and none that belongs in another bucket.
pub(crate) fn decode_bucket<E: Entry>(bucket: u8, bytes: &[u8]) -> Result<Vec<(E::Key, E)>, ApplyError> {
    let malformed = ApplyError::Malformed(E::KIND);
    let forms: Vec<(E::Key, E::Form)> = decode(E::KIND, bytes)?;
    let in_order = forms.is_sorted_by(|(one, _), (next, _)| one < next);
    if forms.is_empty() || !in_order || forms.iter().any(|(key, _)| key.bucket() != bucket) {
        return Err(malformed);
    }
    forms.into_iter().map(|(key, form)| E::from_form(form).map(|entry| (key, entry)).ok_or(malformed)).collect()
}

pub(crate) fn encode_types(types: &RecordTypes) -> Result<Encoded, PublishError> {
    if !types_are_sound(types) {
        return Err(PublishError::Invalid(PartKind::Types));
    }
    encode(PartKind::Types, types)
}

pub(crate) fn decode_types(bytes: &[u8]) -> Result<RecordTypes, ApplyError> {
    let types: RecordTypes = decode(PartKind::Types, bytes)?;
    if types_are_sound(&types) { Ok(types) } else { Err(ApplyError::Contradiction(PartKind::Types)) }
}

/// Whether ids in the types name something.
fn types_are_sound(types: &RecordTypes) -> bool {
    let known = |target| types.record_type(target).is_some();
    types.types.len() <= usize::from(u16::MAX)
        && types.iter().all(|(_, one)| {
            one.fields.len() <= FieldSet::MAX
                && one.field(one.key).is_some()
                && one.iter().all(|(_, field)| field.references.is_none_or(known))
        })
}

pub(crate) fn encode_policies(files: &[PolicyFile]) -> Result<Encoded, PublishError> {
    encode(PartKind::Policies, &files)
}

pub(crate) fn decode_policies(bytes: &[u8]) -> Result<Vec<PolicyFile>, ApplyError> {
    decode(PartKind::Policies, bytes)
}

pub(crate) fn encode_token_keys(keys: &[PublicJwk]) -> Result<Encoded, PublishError> {
    encode(PartKind::TokenKeys, &keys)
}

pub(crate) fn decode_token_keys(bytes: &[u8]) -> Result<Vec<PublicJwk>, ApplyError> {
    decode(PartKind::TokenKeys, bytes)
}

#[derive(Serialize, Deserialize)]
struct ServiceForm {
    id: String,
    service: u8,
    address: String,
}

/// As in audit records.
const fn service_number(service: Service) -> u8 {
    match service {
        Service::Gateway => 1,
        Service::Keys => 2,
        Service::Store => 3,
        Service::Authority => 4,
        Service::Monitor => 5,
    }
}

/// `services` in order of their ids.
pub(crate) fn encode_services(services: &[ServiceEntry]) -> Result<Encoded, PublishError> {
    if !services_are_valid(services) {
        return Err(PublishError::Invalid(PartKind::Services));
    }
    let form = |entry: &ServiceEntry| ServiceForm {
        id: entry.id.clone(),
        service: service_number(entry.service),
        address: entry.address.clone(),
    };
    encode(PartKind::Services, &services.iter().map(form).collect::<Vec<_>>())
}

pub(crate) fn decode_services(bytes: &[u8]) -> Result<Vec<ServiceEntry>, ApplyError> {
    let malformed = ApplyError::Malformed(PartKind::Services);
    let forms: Vec<ServiceForm> = decode(PartKind::Services, bytes)?;
    let entry = |form: ServiceForm| {
        let service = Service::ALL.into_iter().find(|service| service_number(*service) == form.service)?;
        Some(ServiceEntry { id: form.id, service, address: form.address })
    };
    let services = forms.into_iter().map(entry).collect::<Option<Vec<_>>>().ok_or(malformed)?;
    if services_are_valid(&services) { Ok(services) } else { Err(malformed) }
}

/// `removed` in order.
pub(crate) fn encode_removed(removed: &[String]) -> Result<Encoded, PublishError> {
    if !removed_are_valid(removed) {
        return Err(PublishError::Invalid(PartKind::Removed));
    }
    encode(PartKind::Removed, &removed)
}

pub(crate) fn decode_removed(bytes: &[u8]) -> Result<Vec<String>, ApplyError> {
    let removed: Vec<String> = decode(PartKind::Removed, bytes)?;
    if removed_are_valid(&removed) { Ok(removed) } else { Err(ApplyError::Malformed(PartKind::Removed)) }
}
