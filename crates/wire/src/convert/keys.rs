//! Released keys and counts of what is opened with them.

use std::sync::Arc;

use countersign_crypto::{FieldKeys, FieldSecrets, SecretKey};
use countersign_model::{Opened, TenantId};
use countersign_services::{Keyring, SealGrant, SealPurpose, Use};
use zeroize::Zeroizing;

use super::{Malformed, field_id, fields_in, fields_out, sixteen, type_id};
use crate::pb;

const OPEN: u32 = 1;
const SEAL: u32 = 2;
const TAG: u32 = 4;

pub(crate) fn keyring_out(ring: &Keyring) -> pb::ReleaseReply {
    let keys = ring.iter().map(|(record_type, field, slot)| {
        let secrets = slot.keys.secrets();
        let uses = [(slot.uses.open, OPEN), (slot.uses.seal, SEAL), (slot.uses.tag, TAG)];
        pb::FieldKey {
            record_type: record_type.0.into(),
            field: field.0.into(),
            uses: uses.into_iter().filter(|(used, _)| *used).fold(0, |all, (_, one)| all | one),
            epoch: secrets.epoch,
            cell: secrets.cell.expose().to_vec(),
            tag: secrets.tag.expose().to_vec(),
        }
    });
    pb::ReleaseReply { tenant: ring.tenant().as_bytes().to_vec(), keys: keys.collect() }
}

pub(crate) fn keyring_in(reply: pb::ReleaseReply) -> Result<Keyring, Malformed> {
    let mut ring = Keyring::new(TenantId::from_bytes(sixteen(&reply.tenant)?));
    for key in reply.keys {
        if key.uses & !(OPEN | SEAL | TAG) != 0 {
            return Err(Malformed);
        }
        let uses = Use { open: key.uses & OPEN != 0, seal: key.uses & SEAL != 0, tag: key.uses & TAG != 0 };
        let secrets = FieldSecrets { cell: secret_in(key.cell)?, tag: secret_in(key.tag)?, epoch: key.epoch };
        let keys = Arc::new(FieldKeys::from_secrets(secrets));
        ring.add(type_id(key.record_type)?, field_id(key.field)?, keys, uses);
    }
    Ok(ring)
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
