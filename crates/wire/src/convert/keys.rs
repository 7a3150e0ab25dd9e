//! Released keys and counts of what is opened with them.

use std::sync::Arc;

use countersign_crypto::{FieldKeys, FieldSecrets, SecretKey};
use countersign_model::{Opened, TenantId};
use countersign_services::{Keyring, LiveKeys, SealGrant, SealPurpose, Use};
use zeroize::Zeroizing;

use super::{Malformed, field_id, fields_in, fields_out, sixteen, type_id};
use crate::pb;

const OPEN: u32 = 1;
const SEAL: u32 = 2;
const TAG: u32 = 4;

pub(crate) fn keyring_out(ring: &Keyring) -> pb::ReleaseReply {
    let keys = ring.iter().flat_map(|(record_type, field, slot)| {
        let uses = [(slot.uses.open, OPEN), (slot.uses.seal, SEAL), (slot.uses.tag, TAG)];
        let uses = uses.into_iter().filter(|(used, _)| *used).fold(0, |all, (_, one)| all | one);
        slot.keys.iter().map(move |keys| {
            let secrets = keys.secrets();
            pb::FieldKey {
                record_type: record_type.0.into(),
                field: field.0.into(),
                uses,
                epoch: secrets.epoch,
                cell: secrets.cell.expose().to_vec(),
                tag: secrets.tag.expose().to_vec(),
            }
        })
    });
    pb::ReleaseReply { tenant: ring.tenant().as_bytes().to_vec(), keys: keys.collect(), epoch: ring.epoch() }
}

pub(crate) fn keyring_in(reply: pb::ReleaseReply) -> Result<Keyring, Malformed> {
    let mut ring = Keyring::new(TenantId::from_bytes(sixteen(&reply.tenant)?), reply.epoch);
    let mut rest = reply.keys.into_iter().peekable();
    while let Some(key) = rest.next() {
        if key.uses & !(OPEN | SEAL | TAG) != 0 {
            return Err(Malformed);
        }
        let uses = Use { open: key.uses & OPEN != 0, seal: key.uses & SEAL != 0, tag: key.uses & TAG != 0 };
        let of = (key.record_type, key.field, key.uses);
        let mut keys = vec![field_key_in(key)?];
        while let Some(older) = rest.next_if(|next| (next.record_type, next.field, next.uses) == of) {
            keys.push(field_key_in(older)?);
        }
        let keys = Arc::new(LiveKeys::new(keys, reply.epoch).ok_or(Malformed)?);
        ring.add(type_id(of.0)?, field_id(of.1)?, keys, uses);
    }
    Ok(ring)
}

fn field_key_in(key: pb::FieldKey) -> Result<Arc<FieldKeys>, Malformed> {
    let secrets = FieldSecrets { cell: secret_in(key.cell)?, tag: secret_in(key.tag)?, epoch: key.epoch };
    Ok(Arc::new(FieldKeys::from_secrets(secrets)))
}

/// Wipes the copy that it is given.
fn secret_in(bytes: Vec<u8>) -> Result<SecretKey, Malformed> {
    let bytes = Zeroizing::new(bytes);
    SecretKey::from_slice(&bytes).ok_or(Malformed)
}

pub(crate) fn opened_out(opened: &Opened) -> pb::Opened {
    pb::Opened { record_type: opened.record_type.0.into(), fields: Some(fields_out(opened.fields)), rows: opened.rows }
}

pub(crate) fn opened_in(opened: pb::Opened) -> Result<Opened, Malformed> {
    Ok(Opened { record_type: type_id(opened.record_type)?, fields: fields_in(opened.fields), rows: opened.rows })
}

pub(crate) const fn purpose_out(purpose: SealPurpose) -> pb::SealPurpose {
    match purpose {
        SealPurpose::Cursor => pb::SealPurpose::Cursor,
        SealPurpose::Audit => pb::SealPurpose::Audit,
    }
}

pub(crate) fn purpose_in(purpose: i32) -> Result<SealPurpose, Malformed> {
    match pb::SealPurpose::try_from(purpose) {
        Ok(pb::SealPurpose::Cursor) => Ok(SealPurpose::Cursor),
        Ok(pb::SealPurpose::Audit) => Ok(SealPurpose::Audit),
        Ok(pb::SealPurpose::Unspecified) | Err(_) => Err(Malformed),
    }
}

pub(crate) fn grant_out(grant: &SealGrant) -> pb::SealKeyReply {
    pb::SealKeyReply {
        tenant: grant.tenant.as_bytes().to_vec(),
        secret: grant.secret.expose().to_vec(),
        epoch: grant.epoch,
    }
}

pub(crate) fn grant_in(reply: pb::SealKeyReply) -> Result<SealGrant, Malformed> {
    Ok(SealGrant {
        tenant: TenantId::from_bytes(sixteen(&reply.tenant)?),
        secret: secret_in(reply.secret)?,
        epoch: reply.epoch,
    })
}
