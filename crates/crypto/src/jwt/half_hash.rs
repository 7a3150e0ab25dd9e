//! Hashes by which an id token names what came with it (OpenID Connect Core, section 3.1.3.6).

use aws_lc_rs::digest;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;

use super::{Algorithm, Compact, MAX_BYTES};
use crate::json;

/// Whether `hash` is the left half of the digest of `named`, with the hash function of the signature of `token`: what
/// `at_hash` and `c_hash` are. The token has to be verified already, as its own header says which function that is.
#[must_use]
pub fn is_half_hash(token: &str, named: &str, hash: &str) -> bool {
    #[derive(Deserialize)]
    struct Header {
        alg: String,
    }
    let Ok(parts) = Compact::split(token, MAX_BYTES) else { return false };
    let Some(Header { alg }) = json::parse(&parts.header) else { return false };
    let function = match Algorithm::named(&alg) {
        Some(Algorithm::Rs256 | Algorithm::Ps256 | Algorithm::Es256) => &digest::SHA256,
        Some(Algorithm::Es384) => &digest::SHA384,
        Some(Algorithm::EdDsa) => &digest::SHA512,
        None => return false,
    };
    let digest = digest::digest(function, named.as_bytes());
    let (left, _) = digest.as_ref().split_at(digest.as_ref().len() / 2);
    crate::same_bytes(URL_SAFE_NO_PAD.encode(left).as_bytes(), hash.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of OpenID Connect Core, appendix A.3 and A.4.
    #[test]
    fn the_examples_of_the_specification() {
        let token = format!("{}.{}.{}", URL_SAFE_NO_PAD.encode(r#"{"kid":"1e9gdk7","alg":"RS256"}"#), "e30", "AA");
        let access_token = "jHkWEdUXMU1BwAsC4vtUsZwnNvTIxEl0z9K3vx5KF0Y";
        assert!(is_half_hash(&token, access_token, "77QmUPtjPfzWtF2AnpK9RQ"));
        assert!(!is_half_hash(&token, "another", "77QmUPtjPfzWtF2AnpK9RQ"));
        let code = "Qcb0Orv1zh30vL1MPRsbm-diHiMwcLyZvn1arpZv-Jxf_11jnpEX3Tgfvk";
        assert!(is_half_hash(&token, code, "LDktKdoQak3Pk0cnXxCltA"));
        assert!(!is_half_hash("rubbish", code, "LDktKdoQak3Pk0cnXxCltA"));
    }
}
