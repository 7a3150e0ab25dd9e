//! Why a key management service does not work at present, in words for the operator.

use std::path::PathBuf;

use crate::guarded_file::FileFault;

/// Why a key management service does not work at present, and what the operator does about it.
///
/// Every one of these ends by itself when the cause does: nothing has to be restarted, except where it says so.
#[derive(Debug, thiserror::Error)]
pub enum Outage {
    /// It does not answer.
    #[error("it does not answer")]
    NoAnswer,
    /// Earlier calls have not come back.
    #[error("earlier calls to it have not come back yet")]
    Busy,
    /// The PKCS#11 module doesn't load.
    #[error("the PKCS#11 module {} can't be used ({why}); check the path and that its package is installed", path.display())]
    Module {
        /// The shared library.
        path: PathBuf,
        /// What the loader or the module said.
        why: String,
    },
    /// No slot has the token.
    #[error("no slot of the PKCS#11 module has a token labelled {token:?}; connect it")]
    TokenAbsent {
        /// The token's label.
        token: String,
    },
    /// More than one slot has a token of that label.
    #[error("more than one token is labelled {token:?}; give each a label of its own")]
    TokenAmbiguous {
        /// The token's label.
        token: String,
    },
    /// There is no PIN to log in with.
    #[error("PIN file {}: {fault}", path.display())]
    PinFile {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        fault: FileFault,
    },
    /// The token refused the PIN. The same PIN is never tried a second time, because that locks tokens.
    #[error(
        "the token {token:?} refused the PIN; this PIN is not tried again, so that the token doesn't lock: \
         put the right one where the PIN comes from (a PIN file is read again by itself, anything else needs a restart)"
    )]
    PinRefused {
        /// The token's label.
        token: String,
    },
    /// One more wrong PIN locks the token, so none is tried.
    #[error(
        "the token {token:?} locks at the next wrong PIN, so it is not tried here: log in once with the vendor's own tool"
    )]
    PinLastTry {
        /// The token's label.
        token: String,
    },
    /// The token is locked.
    #[error("the token {token:?} is locked after wrong PINs; its security officer has to unlock it")]
    PinLocked {
        /// The token's label.
        token: String,
    },
    /// The token doesn't have the mechanism.
    #[error("the token {token:?} can't encrypt with CKM_AES_GCM")]
    Mechanism {
        /// The token's label.
        token: String,
    },
    /// The token has no key of that label.
    #[error("the token {token:?} has no AES-256 key labelled {key:?}")]
    KeyAbsent {
        /// The token's label.
        token: String,
        /// The key's label.
        key: String,
    },
    /// The key exists already; a key is never replaced.
    #[error("the token {token:?} already has a key labelled {key:?}; choose another label, or use that key")]
    KeyExists {
        /// The token's label.
        token: String,
        /// The key's label.
        key: String,
    },
    /// The key could be read out of the token.
    #[error(
        "the key labelled {key:?} on token {token:?} is not fit: it must be AES-256, sensitive, never extractable, \
         and carry its version in CKA_ID"
    )]
    KeyUnfit {
        /// The token's label.
        token: String,
        /// The key's label.
        key: String,
    },
    /// The token or the way to it failed during a call.
    #[error("the token {token:?} failed ({why}); it is logged in to again when it is back")]
    Lost {
        /// The token's label.
        token: String,
        /// The PKCS#11 function and return value.
        why: String,
    },
}
