use std::collections::BTreeSet;

use countersign_model::Service;

/// The most services.
const SERVICES_MAX: usize = 10_000;
/// The most removed services.
const REMOVED_MAX: usize = 100_000;
/// The longest SPIFFE id (the SPIFFE ID standard allows 2,048 bytes; ours are short).
const ID_BYTES_MAX: usize = 512;
/// A DNS name of 253 bytes, a colon and a port.
const ADDRESS_BYTES_MAX: usize = 260;

/// A service that runs, and where it can be reached.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct ServiceEntry {
    /// Its SPIFFE id, as its certificate has it.
    pub id: String,
    /// Its role.
    pub service: Service,
    /// Host (a name or an IP address) and port of its wire.
    pub address: String,
}

/// The services of a deployment.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Directory {
    /// Those that run, by their ids.
    pub services: Vec<ServiceEntry>,
    /// The SPIFFE ids of those that were removed. Their certificates are refused although they haven't expired.
    pub removed: BTreeSet<String>,
}

impl Directory {
    /// Those of one role.
    pub fn of(&self, service: Service) -> impl Iterator<Item = &ServiceEntry> {
        self.services.iter().filter(move |entry| entry.service == service)
    }

    /// Whether that service was removed.
    #[must_use]
    pub fn is_removed(&self, id: &str) -> bool {
        self.removed.contains(id)
    }
}

fn is_text(text: &str, bytes_max: usize) -> bool {
    !text.is_empty() && text.len() <= bytes_max && text.bytes().all(|byte| byte.is_ascii_graphic())
}

/// Whether these can be sent: no id twice, in order, nothing of absurd length.
pub(crate) fn services_are_valid(services: &[ServiceEntry]) -> bool {
    let fits = |entry: &ServiceEntry| is_text(&entry.id, ID_BYTES_MAX) && is_text(&entry.address, ADDRESS_BYTES_MAX);
    services.len() <= SERVICES_MAX && services.iter().all(fits) && services.is_sorted_by(|one, next| one.id < next.id)
}

/// As [`services_are_valid`], of removed ids.
pub(crate) fn removed_are_valid(removed: &[String]) -> bool {
    removed.len() <= REMOVED_MAX
        && removed.iter().all(|id| is_text(id, ID_BYTES_MAX))
        && removed.is_sorted_by(|one, next| one < next)
}
