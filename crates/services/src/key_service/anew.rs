//! What requests do to the keys of tenants.

use countersign_guard::Judgement;
use countersign_keys::{KeyError, TenantKeys};
use countersign_model::control::{Control, DEFAULT_KMS};
use countersign_model::custody::{KeyControl, KeyScope};
use countersign_model::incident::IncidentControl;
use countersign_model::query::Judged;
use countersign_model::{Entropy, FieldId, Name, TenantId, TypeId};

/// What a request has done to a tenant's keys.
pub(super) enum Anew {
    Rewrap,
    RewrapBy(Name),
    Rotate,
    RotateField(TypeId, FieldId),
    Destroy { epoch: u32 },
}

impl Anew {
    /// Whose, by name, and what; `None` for a request that does nothing to a tenant's keys.
    pub(super) fn of(judgement: &Judgement) -> Option<(Option<&Name>, Self)> {
        let Judged::Control(control) = &judgement.judged else { return None };
        Some(match control {
            Control::TenantRewrap { tenant, kms } => {
                (tenant.as_ref(), kms.clone().map_or(Self::Rewrap, Self::RewrapBy))
            }
            // To contain a breach, the keys concerned are wrapped anew. Who wraps them stays.
            Control::Incident(IncidentControl::Contain { .. }) => (None, Self::Rewrap),
            Control::Keys(KeyControl::Rotate { scope }) => match scope {
                KeyScope::Deployment => (None, Self::Rewrap),
                KeyScope::Tenant(tenant) => (Some(tenant), Self::Rotate),
                KeyScope::Field { tenant, record_type, field } => {
                    let (id, known) = judgement.state.facts.types.find(record_type)?;
                    (Some(tenant), Self::RotateField(id, known.find(field)?.0))
                }
            },
            Control::Keys(KeyControl::Destroy { tenant, epoch }) => (Some(tenant), Self::Destroy { epoch: *epoch }),
            _ => return None,
        })
    }

    pub(super) fn make(&self, keys: &TenantKeys, entropy: &dyn Entropy, tenant: TenantId) -> Result<Vec<u8>, KeyError> {
        match self {
            Self::Rewrap => keys.rewrap(entropy, tenant),
            Self::RewrapBy(kms) => keys.rewrap_by(named(Some(kms)), entropy, tenant),
            Self::Rotate => keys.rotate(entropy, tenant),
            Self::RotateField(record_type, field) => keys.rotate_field(tenant, *record_type, *field),
            Self::Destroy { epoch } => keys.destroy(tenant, *epoch),
        }
    }
}

/// The provider that a request means by that name.
pub(super) fn named(name: Option<&Name>) -> Option<&Name> {
    name.filter(|name| name.as_str() != DEFAULT_KMS)
}
