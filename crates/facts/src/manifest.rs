use countersign_crypto::jws::{JwsError, PublicJwk, SigningKey, VerifyingKeys};
use countersign_model::UnixMs;
use serde::{Deserialize, Serialize};

use crate::error::ApplyError;
use crate::part::Digest;

/// The `typ` of a manifest (RFC 7515, section 4.1.9).
pub const MANIFEST_TYPE: &str = "countersign-facts+jwt";

const VERSION: u32 = 2;

/// Whose snapshots: both names are in every manifest, so that one deployment's are refused in another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deployment {
    /// The issuer of its tokens.
    pub issuer: String,
    /// The trust domain of its services' SPIFFE ids.
    pub trust_domain: String,
}

/// What is signed: small, whatever the size of the deployment, so that it can be signed anew every few seconds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Manifest {
    pub(crate) epoch: u64,
    pub(crate) policy_epoch: u64,
    pub(crate) issued: UnixMs,
    pub(crate) index: Digest,
    pub(crate) next_key: Option<PublicJwk>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Claims {
    version: u32,
    iss: String,
    trust_domain: String,
    epoch: u64,
    policy_epoch: u64,
    issued_ms: u64,
    index: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    next_key: Option<PublicJwk>,
}

/// Read before the rest, so that a later version is told from a broken one.
#[derive(Deserialize)]
struct VersionOnly {
    version: u32,
}

impl Manifest {
    pub(crate) fn sign(&self, key: &SigningKey, deployment: &Deployment) -> Result<String, JwsError> {
        let claims = Claims {
            version: VERSION,
            iss: deployment.issuer.clone(),
            trust_domain: deployment.trust_domain.clone(),
            epoch: self.epoch,
            policy_epoch: self.policy_epoch,
            issued_ms: self.issued.0,
            index: hex::encode(self.index),
            next_key: self.next_key.clone(),
        };
        key.sign(MANIFEST_TYPE, &claims)
    }

    /// Verifies with one of `keys` and gives that key too.
    pub(crate) fn verify<'k>(
        text: &str,
        keys: &'k [PublicJwk],
        deployment: &Deployment,
    ) -> Result<(Self, &'k PublicJwk), ApplyError> {
        let mut refused = JwsError::UnknownKey;
        for key in keys {
            let only = VerifyingKeys::new(vec![key.clone()]).map_err(ApplyError::Signature)?;
            match only.verify::<VersionOnly>(MANIFEST_TYPE, text) {
                Ok(VersionOnly { version: VERSION }) => {
                    let claims: Claims = only.verify(MANIFEST_TYPE, text).map_err(ApplyError::Signature)?;
                    return Ok((Self::of(claims, deployment)?, key));
                }
                Ok(_) => return Err(ApplyError::Version),
                Err(JwsError::UnknownKey) => {}
                Err(error) => refused = error,
            }
        }
        Err(ApplyError::Signature(refused))
    }

    fn of(claims: Claims, deployment: &Deployment) -> Result<Self, ApplyError> {
        if claims.iss != deployment.issuer || claims.trust_domain != deployment.trust_domain {
            return Err(ApplyError::OtherDeployment);
        }
        let mut index = Digest::default();
        hex::decode_to_slice(&claims.index, &mut index).map_err(|_| ApplyError::Index)?;
        Ok(Self {
            epoch: claims.epoch,
            policy_epoch: claims.policy_epoch,
            issued: UnixMs(claims.issued_ms),
            index,
            next_key: claims.next_key,
        })
    }
}
