//! `[tokens]`

use super::section::section;
use super::setting::Whole;

section! {
    /// Access tokens (RFC 9068). There is no password and no static key, and no setting that adds one.
    Tokens = "tokens" {
        /// How long a login lasts, in milliseconds. Never over 12 hours, whatever stands here.
        lifetime_ms: Whole<60_000, 43_200_000> = Whole::new(43_200_000);
        /// The URL under which this deployment is known; tokens say that it issued them (the iss claim).
        issuer: String = "https://localhost:8443".to_owned();
        /// The name by which tokens say whom they are for (the aud claim).
        audience: String = "countersign".to_owned();
        /// How many verified tokens are remembered. Expiry and revocation are checked on each use all the same.
        cache: Whole<0, 10_000_000> = Whole::new(50_000);
    }
}
