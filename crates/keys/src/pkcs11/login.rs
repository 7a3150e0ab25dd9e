//! Logging in to a token without ever locking it.

use countersign_crypto::{Aad, sha256};
use cryptoki::error::{Error, RvError};
use cryptoki::session::{Session, UserType};
use cryptoki::slot::Slot;
use cryptoki::types::AuthPin;
use zeroize::Zeroizing;

use super::connection::Fault;
use super::module::{Loaded, Module};
use super::{PinSource, Pkcs11Config};
use crate::guarded_file::{FileFault, read};
use crate::outage::Outage;

const PIN_FILE_BYTES_MAX: u64 = 1024;

/// Logs in, unless that could lock the token.
pub(super) fn log_in(
    session: &Session,
    loaded: &Loaded,
    slot: Slot,
    module: &Module,
    config: &Pkcs11Config,
) -> Result<(), Fault> {
    let token = || config.token.clone();
    let info = loaded.context().get_token_info(slot)?;
    if info.user_pin_locked() {
        return Err(Outage::PinLocked { token: token() }.into());
    }
    if info.user_pin_final_try() {
        return Err(Outage::PinLastTry { token: token() }.into());
    }
    let pin = pin(&config.pin)?;
    let tried = sha256(Aad::new("pin.1").part(config.token.as_bytes()).part(pin.as_bytes()).as_bytes());
    if module.was_refused(&tried) {
        return Err(Outage::PinRefused { token: token() }.into());
    }
    match session.login(UserType::User, Some(&AuthPin::from(pin.as_str()))) {
        Ok(()) | Err(Error::Pkcs11(RvError::UserAlreadyLoggedIn, _)) => Ok(()),
        Err(Error::Pkcs11(RvError::PinIncorrect | RvError::PinInvalid | RvError::PinLenRange, _)) => {
            module.note_refused(tried);
            Err(Outage::PinRefused { token: token() }.into())
        }
        Err(Error::Pkcs11(RvError::PinLocked, _)) => Err(Outage::PinLocked { token: token() }.into()),
        Err(error) => Err(error.into()),
    }
}

fn pin(source: &PinSource) -> Result<Zeroizing<String>, Outage> {
    let path = match source {
        PinSource::Given(pin) => return Ok(pin.clone()),
        PinSource::File(path) => path,
    };
    let fault = |fault| Outage::PinFile { path: path.clone(), fault };
    let bytes = read(path, PIN_FILE_BYTES_MAX).map_err(fault)?;
    let text = std::str::from_utf8(&bytes).map_err(|_| fault(FileFault::NotText))?;
    let line = text.strip_suffix('\n').unwrap_or(text);
    Ok(Zeroizing::new(line.strip_suffix('\r').unwrap_or(line).to_owned()))
}
