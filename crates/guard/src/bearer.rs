use std::fmt;

use countersign_token::Presented;

/// A token as it was presented, verified by nobody yet. It can't be printed, and is wiped when dropped.
pub struct Bearer(Presented);

impl Bearer {
    /// Takes the token out of a request.
    #[must_use]
    pub fn new(token: String) -> Self {
        Self(Presented::new(token))
    }

    /// The token itself, for a callee that verifies it again.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }

    /// For a verifier.
    #[must_use]
    pub const fn presented(&self) -> &Presented {
        &self.0
    }
}

impl fmt::Debug for Bearer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Bearer(..)")
    }
}
