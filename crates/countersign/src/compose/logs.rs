//! Ledgers as transparency logs: their names, and the keys that they sign with.

use std::sync::Arc;

use countersign_audit::ledger::storage::Storage;
use countersign_audit::{Ledger, LogParts};
use countersign_crypto::note::{LOG_SIGN, LOG_WITNESS, NoteKey};
use countersign_model::Service;
use countersign_services::{LedgerLog, Log};
use countersign_tlog::{Signer, VerifierKey};

use super::Base;
use super::absent::Absent;
use crate::problem::Problem;

/// A service's instance where it is the only one of its role.
pub(super) const FIRST: &str = "first";
/// More than a log has keys.
const KEYS_BYTES_MAX: usize = 65_536;

/// The name of a service's log, and of the service as a witness, in the whole world: the issuer's host, and a path that
/// the deployment's services differ by.
fn origin(issuer: &str, service: Service, instance: &str) -> String {
    let host = issuer.split_once("://").map_or(issuer, |(_, rest)| rest);
    let host = host.trim_end_matches('/');
    format!("{host}/log/{service}/{instance}")
}

/// The name that a log has already: it stays with its log, whatever the service is called when it joins again. The
/// first of its keys is its own (C2SP signed-note, "verifier keys").
fn kept_name(storage: &dyn Storage) -> Option<String> {
    let file = storage.open("log/keys").ok()?;
    let size = usize::try_from(file.size().ok()?).ok().filter(|size| *size <= KEYS_BYTES_MAX)?;
    let mut bytes = vec![0; size];
    file.read_exact_at(&mut bytes, 0).ok()?;
    let key: VerifierKey = std::str::from_utf8(&bytes).ok()?.lines().next()?.parse().ok()?;
    Some(key.name().to_owned())
}

/// What makes a service's ledger a log. `key` gives the service's own keys by their labels.
pub(super) fn log_parts(
    base: &Base,
    storage: &dyn Storage,
    (service, instance): (Service, &str),
    key: impl Fn(&'static str) -> NoteKey,
) -> Result<LogParts, Problem> {
    let name = kept_name(storage).unwrap_or_else(|| origin(&base.config.tokens.issuer, service, instance));
    let unfit = |_| {
        Problem::usage(format!("\"{name}\" can't be the name of a log"))
            .next("set [tokens] issuer to a URL without spaces and without '+'")
    };
    let signer = Signer::log(&name, key(LOG_SIGN)).map_err(unfit)?;
    let witness = Signer::witness(&name, key(LOG_WITNESS)).map_err(unfit)?;
    Ok(LogParts { signer, witness, clock: Arc::clone(&base.clock) })
}

/// The log over a ledger, as others ask for it.
pub(super) fn log_of(ledger: &Arc<Ledger>) -> Arc<dyn Log> {
    match LedgerLog::of(ledger) {
        Some(log) => Arc::new(log),
        None => Arc::new(Absent),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_is_named_by_its_issuer_and_its_place() {
        let named = |issuer| origin(issuer, Service::Store, "a");
        assert_eq!(named("https://127.0.0.1:8443"), "127.0.0.1:8443/log/store/a");
        assert_eq!(named("https://data.example/countersign/"), "data.example/countersign/log/store/a");
    }
}
