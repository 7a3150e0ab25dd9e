//! `[kms.NAME]`

use super::keys::Provider;
use super::section::section;
use super::setting::Text;

section! {
    /// A key management service besides the deployment's own, for tenants who bring their own key: `countersign tenant
    /// add TENANT --kms NAME`. NAME is lower-case letters, digits, '_' and '-', and not "default". There may be any number
    /// of these sections.
    Kms = "kms.NAME" {
        /// Where the key lives: "file" is kms-NAME.key in this folder; "passphrase" and "pkcs11" as in the section keys, with
        /// COUNTERSIGN_PASSPHRASE_NAME and COUNTERSIGN_PIN_NAME.
        provider: Provider = Provider::File;
        /// The PKCS#11 module, for provider "pkcs11". Its code runs in this process.
        module: Text = Text::empty();
        /// The token's label.
        token: Text = Text::empty();
        /// The label of the key in the token.
        key: Text = Text::of("countersign");
        /// A file with the token's PIN as its one line, readable by its owner alone.
        pin_file: Text = Text::empty();
    }
}
