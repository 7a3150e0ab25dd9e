//! `[keys]`

use super::section::section;
use super::setting::{Text, Whole, choice};

choice! {
    /// Where a key encryption key lives.
    Provider {
        /// In a file that only its owner can read.
        File = "file",
        /// In a file that is sealed under a passphrase.
        Passphrase = "passphrase",
        /// In a PKCS#11 token.
        Pkcs11 = "pkcs11",
    }
}

choice! {
    /// Whether keys of their own are made in the key management service for what can be destroyed.
    OwnKeys {
        /// Where no other machine has a copy of the key files.
        Auto = "auto",
        /// Always.
        Always = "always",
    }
}

impl Provider {
    /// The word in the configuration.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::File => "file",
            Self::Passphrase => "passphrase",
            Self::Pkcs11 => "pkcs11",
        }
    }
}

section! {
    /// The key that wraps every tenant's key.
    Keys = "keys" {
        /// Where it lives: "file" is kms.key in this folder, readable by its owner alone; "passphrase" is the same file
        /// sealed under a passphrase, which is asked for at start or stands in COUNTERSIGN_PASSPHRASE, and is never stored;
        /// "pkcs11" is a hardware security module or another PKCS#11 token, which it never leaves.
        provider: Provider = Provider::File;
        /// The PKCS#11 module, for provider "pkcs11": the vendor's shared library. Its code runs in this process.
        module: Text = Text::empty();
        /// The token's label, for provider "pkcs11".
        token: Text = Text::empty();
        /// The label of the key in the token.
        key: Text = Text::of("countersign");
        /// A file with the token's PIN as its one line, readable by its owner alone; without one, the PIN is in
        /// COUNTERSIGN_PIN.
        pin_file: Text = Text::empty();
        /// Whether tenants get keys of their own in kms.own, which can be destroyed one by one, with providers "file" and
        /// "passphrase". "auto": where everything is in this folder, and not where other machines have copies of the key
        /// files, which would lack what is made here. "always": wherever; then the files of kms.own have to be the same
        /// wherever tenants' keys are unwrapped. A PKCS#11 token always has such keys.
        own_keys: OwnKeys = OwnKeys::Auto;
        /// How long an unwrapped key is used, in milliseconds, before the key management service is asked for it again:
        /// for so long requests are served when it is not available, or after it was taken away. 0 asks at every use.
        max_open_ms: Whole<0, 86_400_000> = Whole::new(countersign_keys::MAX_OPEN_MS);
        /// After a rotation: how many records are sealed again under the new keys in a second, at the most. Requests go first:
        /// while they are being served, a twelfth of the time is worked.
        reseal_per_second: Whole<1, 1_000_000> = Whole::new(2_000);
        /// How many derived field keys are kept in memory, about 1.3 KB each: one for each field in use of each tenant.
        cache: Whole<16, 10_000_000> = Whole::new(100_000);
    }
}
