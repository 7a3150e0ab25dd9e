//! Cursors: where a page ended, sealed, so that the caller carries it and can neither read nor change it.
//!
//! A cursor is bound to the tenant, the user and the query that it came from. It grants nothing: the request that
//! brings it is judged like any other, under the token that comes with it.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use countersign_crypto::{Aad, SealKey};
use countersign_model::request::{After, Read};
use countersign_model::row::Position;
use countersign_model::{Entropy, TenantId, UnixMs, UserId};

use crate::problem::Problem;

/// How long a cursor is good: as long as the longest-lived token.
pub const LIFETIME_MS: u64 = 12 * 3600 * 1000;

/// The longest cursor that is given out, in bytes of its text. Rows whose sort keys need more are paged by offset.
pub const MAX_BYTES: usize = 6 * 1024;

/// The label of the key that cursors are sealed under.
pub const KEY_LABEL: &str = "http.cursor.1";

/// What a cursor belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Binding {
    /// The tenant.
    pub tenant: TenantId,
    /// The user.
    pub user: UserId,
    /// The query, from [`fingerprint`].
    pub query: [u8; 32],
}

impl Binding {
    fn aad(&self) -> Aad {
        Aad::new(KEY_LABEL).part(self.tenant.as_bytes()).part(self.user.as_bytes()).part(&self.query)
    }
}

/// What makes two pages pages of one result: type, select list, filter and order.
#[must_use]
pub fn fingerprint(read: &Read) -> [u8; 32] {
    let parts = (&read.record_type, &read.select, &read.filter, &read.order);
    // Serializing these to memory has no way to fail; if it had, the cursor would fit no query but such.
    countersign_crypto::sha256(&serde_json::to_vec(&parts).unwrap_or_default())
}

/// Seals a position; `None` if it is longer than [`MAX_BYTES`].
#[must_use]
pub fn seal(
    key: &SealKey,
    entropy: &dyn Entropy,
    now: UnixMs,
    binding: &Binding,
    position: &Position,
) -> Option<String> {
    let keys = position.keys.iter().map(countersign_model::Value::to_text).collect();
    let after = After { keys, record: position.record };
    let plain = serde_json::to_vec(&(now, after)).ok()?;
    let text = URL_SAFE_NO_PAD.encode(key.seal(entropy, &binding.aad(), &plain));
    (text.len() <= MAX_BYTES).then_some(text)
}

/// Opens what [`seal`] made for the same binding.
///
/// # Errors
/// [`Problem::Cursor`] whatever is wrong with it.
pub fn open(key: &SealKey, now: UnixMs, binding: &Binding, text: &str) -> Result<After, Problem> {
    if text.len() > MAX_BYTES {
        return Err(Problem::Cursor);
    }
    let sealed = URL_SAFE_NO_PAD.decode(text).map_err(|_| Problem::Cursor)?;
    let plain = key.open(&binding.aad(), &sealed).map_err(|_| Problem::Cursor)?;
    let (made, after): (UnixMs, After) = serde_json::from_slice(&plain).map_err(|_| Problem::Cursor)?;
    if now.since(made) > LIFETIME_MS {
        return Err(Problem::Cursor);
    }
    Ok(after)
}

#[cfg(test)]
mod tests {
    use super::*;
    use countersign_crypto::{SecretKey, SystemEntropy};
    use countersign_model::{RecordId, Value};

    const NOW: UnixMs = UnixMs(1_800_000_000_000);

    fn binding() -> Binding {
        let read = Read { record_type: "customer".into(), ..Read::default() };
        Binding { tenant: TenantId::from_u128(1), user: UserId::from_u128(2), query: fingerprint(&read) }
    }

    #[test]
    fn a_cursor_opens_for_its_own_query_and_caller_only() {
        let key = SealKey::new(&SecretKey::generate(&SystemEntropy));
        let position =
            Position { keys: vec![Value::Text("Futterkiste".into()), Value::Null], record: RecordId::from_u128(9) };
        let text = seal(&key, &SystemEntropy, NOW, &binding(), &position).unwrap();
        assert!(!text.contains("Futter"));
        let after = open(&key, NOW, &binding(), &text).unwrap();
        assert_eq!(after.keys, [Some("Futterkiste".to_owned()), None]);
        assert_eq!(after.record, position.record);

        let other_query = fingerprint(&Read { record_type: "invoice".into(), ..Read::default() });
        for other in [
            Binding { tenant: TenantId::from_u128(3), ..binding() },
            Binding { user: UserId::from_u128(3), ..binding() },
            Binding { query: other_query, ..binding() },
        ] {
            assert_eq!(open(&key, NOW, &other, &text), Err(Problem::Cursor));
        }
        assert_eq!(open(&key, NOW.plus_ms(LIFETIME_MS + 1), &binding(), &text), Err(Problem::Cursor));
        for damaged in ["", "AAAA", "no base64!", text.get(1..).unwrap(), &"A".repeat(MAX_BYTES + 1)] {
            assert_eq!(open(&key, NOW, &binding(), damaged), Err(Problem::Cursor));
        }
    }

    #[test]
    fn a_cursor_that_no_header_could_carry_is_not_made() {
        let key = SealKey::new(&SecretKey::generate(&SystemEntropy));
        let position = Position { keys: vec![Value::Text("x".repeat(MAX_BYTES))], record: RecordId::from_u128(9) };
        assert_eq!(seal(&key, &SystemEntropy, NOW, &binding(), &position), None);
    }
}
