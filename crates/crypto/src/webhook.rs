//! Signed webhook messages by the Standard Webhooks specification, version 1: HMAC-SHA256 over id, time and body.

use std::fmt;

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

/// How a secret begins in its written form.
const PREFIX: &str = "whsec_";

/// How long a secret may be, in bytes, as the specification has it.
const SECRET_BYTES: std::ops::RangeInclusive<usize> = 24..=64;

/// What a receiver and we alone know.
pub struct WebhookKey(hmac::Key);

/// The text is not a secret of the specification's form.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a webhook secret is whsec_ and 24 to 64 bytes in base64")]
pub struct NotAWebhookKey;

impl WebhookKey {
    /// Reads the written form: `whsec_` and the bytes in base64.
    ///
    /// # Errors
    /// [`NotAWebhookKey`].
    pub fn parse(text: &str) -> Result<Self, NotAWebhookKey> {
        let encoded = text.trim().strip_prefix(PREFIX).ok_or(NotAWebhookKey)?;
        let bytes = Zeroizing::new(STANDARD.decode(encoded).map_err(|_| NotAWebhookKey)?);
        if !SECRET_BYTES.contains(&bytes.len()) {
            return Err(NotAWebhookKey);
        }
        Ok(Self(hmac::Key::new(hmac::HMAC_SHA256, &bytes)))
    }

    /// The value of `webhook-signature` for a message: `id` as in `webhook-id`, which has no dot, `seconds` as in
    /// `webhook-timestamp`.
    #[must_use]
    pub fn sign(&self, id: &str, seconds: u64, body: &[u8]) -> String {
        let mut context = hmac::Context::with_key(&self.0);
        context.update(id.as_bytes());
        context.update(b".");
        context.update(seconds.to_string().as_bytes());
        context.update(b".");
        context.update(body);
        format!("v1,{}", STANDARD.encode(context.sign()))
    }
}

/// Without the secret.
impl fmt::Debug for WebhookKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("WebhookKey")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of the Standard Webhooks specification's reference libraries.
    #[test]
    fn signs_as_the_specification_does() {
        let key = WebhookKey::parse("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
        let signature = key.sign("msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, br#"{"test": 2432232314}"#);
        assert_eq!(signature, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[test]
    fn only_secrets_of_the_right_form() {
        let long = STANDARD.encode([7; 65]);
        for bad in
            ["", "whsec_", "whsec_AAAA", "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_!!!!", &format!("whsec_{long}")]
        {
            assert!(WebhookKey::parse(bad).is_err(), "{bad}");
        }
        let key = WebhookKey::parse("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\n").unwrap();
        assert_eq!(format!("{key:?}"), "WebhookKey");
    }
}
