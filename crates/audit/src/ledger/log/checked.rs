//! Text files that end with a check of themselves, so that no byte of them changes unseen:
//! `check <SHA-256 of everything before, the first 16 bytes in hexadecimal>`.

use std::fmt::Write as _;

use countersign_crypto::sha256;

const CHECK: &str = "check ";
const CHECK_BYTES: usize = 16;

/// The text with its check.
pub(super) fn sealed(mut text: String) -> String {
    let digest = sha256(text.as_bytes());
    text.push_str(CHECK);
    for byte in digest.iter().take(CHECK_BYTES) {
        let _ = write!(text, "{byte:02x}");
    }
    text.push('\n');
    text
}

/// The text before its check, if that is right.
pub(super) fn opened(bytes: &[u8]) -> Option<&str> {
    let text = std::str::from_utf8(bytes).ok()?;
    let (content, _) = text.split_at_checked(text.rfind(CHECK)?)?;
    (sealed(content.to_owned()) == text).then_some(content)
}
