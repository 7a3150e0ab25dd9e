//! What is kept of services and invitations.

use std::collections::BTreeMap;
use std::sync::Arc;

use countersign_crypto::sha256;
use countersign_model::UnixMs;
use serde::{Deserialize, Serialize};

/// A service's role and its name in that role.
pub(crate) type Place = (String, String);

/// A join token that was not used yet. The token can't be made of it.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct InvitationFact {
    pub secret_sha256: [u8; 32],
    pub role: String,
    /// `None`: one is made up.
    pub instance: Option<String>,
    pub expires: UnixMs,
}

/// A service that joined, or one that was removed and whose last certificate may still be valid.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct ServiceFact {
    pub role: String,
    pub instance: String,
    pub joined: UnixMs,
    /// `join token`, `same process`, or the name of the platform's rule.
    pub by: String,
    pub removed: Option<UnixMs>,
}

impl ServiceFact {
    pub(crate) fn place(&self) -> Place {
        (self.role.clone(), self.instance.clone())
    }
}

/// The deployment's name in the names of its services.
#[derive(Serialize, Deserialize)]
pub(crate) struct TrustDomainFact {
    pub trust_domain: String,
}

/// All of these, in memory.
#[derive(Clone)]
pub(crate) struct Roster {
    pub trust_domain: Arc<str>,
    pub invitations: BTreeMap<[u8; 16], InvitationFact>,
    pub services: BTreeMap<Place, ServiceFact>,
}

impl Default for Roster {
    fn default() -> Self {
        Self {
            trust_domain: super::DEFAULT_TRUST_DOMAIN.into(),
            invitations: BTreeMap::new(),
            services: BTreeMap::new(),
        }
    }
}

/// The roles of which a deployment without a database has one service: two would each keep a part of the records, or of the
/// budgets.
const ONLY_ONE: [&str; 2] = ["keys", "store"];

impl Roster {
    /// The service that is there already in a role of which there is one, unless it is `instance` itself.
    pub(super) fn only_one(&self, role: &str, instance: Option<&str>) -> Option<&str> {
        let of_role = self.services.values().filter(|service| service.role == role && service.removed.is_none());
        let mut others = of_role.map(|service| service.instance.as_str()).filter(|other| Some(*other) != instance);
        ONLY_ONE.contains(&role).then(|| others.next()).flatten()
    }
}

/// The key under which a service is stored: a digest, as keys are not sealed. Neither part has a slash.
pub(crate) fn service_key((role, instance): &Place) -> Vec<u8> {
    sha256(format!("{role}/{instance}").as_bytes()).to_vec()
}
