//! Sealing and opening a cell beside the bare cipher with the same key, nonce source and associated data.

use std::hint::black_box;
use std::time::Duration;

use anyhow::{Result, anyhow};
use aws_lc_rs::aead::{AES_256_GCM_SIV, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use countersign_crypto::{SealKey, SecretKey, SystemEntropy, TagKey, cell_aad};
use countersign_model::clock::{Entropy as _, SystemClock};
use countersign_model::{Clock as _, FieldId, RecordId, TenantId, TypeId};

use crate::Options;
use crate::report::{Report, Row, Target};
use crate::timing::micros_each;

/// What a cell usually is.
const PLAIN: &[u8] = b"Avda. de la Constituci\xc3\xb3n 2222";

/// Measures.
pub fn measure(options: &Options, report: &mut Report) -> Result<()> {
    let total = Duration::from_millis(if options.quick { 100 } else { 1500 });
    let secret = [7u8; 32];
    let now = SystemClock.now();
    let aad = cell_aad(TenantId::new(now, &SystemEntropy), TypeId(1), FieldId(2), RecordId::new(now, &SystemEntropy));
    let key = SealKey::new(&SecretKey::from_bytes(secret));
    let unbound = UnboundKey::new(&AES_256_GCM_SIV, &secret).map_err(|_| anyhow!("the cipher refused its key"))?;
    let bare = LessSafeKey::new(unbound);
    let bare_aad = aad.as_bytes();

    let mut nonce = [0u8; NONCE_LEN];
    let mut sealed_bare = PLAIN.to_vec();
    let first = Nonce::assume_unique_for_key(nonce);
    bare.seal_in_place_append_tag(first, aws_lc_rs::aead::Aad::from(bare_aad), &mut sealed_bare)
        .map_err(|_| anyhow!("the cipher refused to seal"))?;
    let mut buffer = Vec::with_capacity(128);
    let bare_seal = micros_each(total, || {
        SystemEntropy.fill(&mut nonce);
        buffer.clear();
        buffer.extend_from_slice(PLAIN);
        let nonce = Nonce::assume_unique_for_key(nonce);
        let _ = black_box(bare.seal_in_place_append_tag(nonce, aws_lc_rs::aead::Aad::from(bare_aad), &mut buffer));
    });
    let bare_open = micros_each(total, || {
        buffer.clear();
        buffer.extend_from_slice(&sealed_bare);
        let nonce = Nonce::assume_unique_for_key([0; NONCE_LEN]);
        let _ = black_box(bare.open_in_place(nonce, aws_lc_rs::aead::Aad::from(bare_aad), &mut buffer));
    });
    let sealed = key.seal(&SystemEntropy, &aad, PLAIN);
    let seal = micros_each(total, || {
        black_box(key.seal(&SystemEntropy, black_box(&aad), black_box(PLAIN)));
    });
    let open = micros_each(total, || {
        let _ = black_box(key.open(black_box(&aad), black_box(&sealed)));
    });
    let tag_key = TagKey::new(&SecretKey::from_bytes(secret));
    let tag = micros_each(total, || {
        black_box(tag_key.tag(black_box(PLAIN)));
    });

    let row = |name: &str, figure, limit: Option<f64>, target| Row {
        name: name.into(),
        figure,
        unit: "µs",
        limit: limit.map(|figure| ("bare AES-256-GCM-SIV".into(), figure)),
        target,
        note: format!("{} bytes", PLAIN.len()),
    };
    report.add(row("seal a cell", seal, Some(bare_seal), Target::Unset));
    report.add(row("open a cell", open, Some(bare_open), Target::Under(0.4)));
    report.add(row("tag a value", tag, None, Target::Unset));
    Ok(())
}
