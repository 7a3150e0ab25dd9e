//! `[keys]`

use super::section::section;
use super::setting::{Whole, choice};

choice! {
    /// Where the key encryption key lives.
    Provider {
        /// In a file that only its owner can read.
        File = "file",
    }
}

section! {
    /// The key that wraps every tenant's key.
    Keys = "keys" {
        /// Where it lives: "file" is kms.key in this folder, readable by its owner alone.
        provider: Provider = Provider::File;
        /// How many derived field keys are kept in memory, about 1.3 KB each: one for each field in use of each tenant.
        cache: Whole<16, 10_000_000> = Whole::new(100_000);
    }
}
