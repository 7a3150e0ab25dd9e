//! New keys for every tenant of a deployment that was restored.
//!
//! INVARIANT seal-limit: how much was sealed under a key after the backup was made is not in the backup, and the deployment
//! that it was made of may be alive and go on sealing. So what is restored seals nothing under the keys of the backup: every
//! tenant gets another key at once, and the records are sealed again under it in the background, as after any rotation.

use std::sync::Arc;

use countersign_authority::Registry;
use countersign_model::TenantId;

use crate::problem::Problem;

/// Tenants whose keys can't be had, and could not be when the backup was made, are given back: they keep what they have.
pub(super) async fn keys(
    registry: &Arc<Registry>,
    is_gone: &(dyn Fn(TenantId) -> bool + Sync),
    without: &[TenantId],
) -> Result<Vec<TenantId>, Problem> {
    let facts = Arc::clone(&registry.facts().load().facts);
    let mut tenants: Vec<TenantId> = facts.tenants.keys().copied().filter(|tenant| !is_gone(*tenant)).collect();
    tenants.sort_unstable();
    let mut kept = Vec::new();
    for tenant in tenants {
        match registry.change_keys(tenant, move |keys, entropy| keys.rotate(entropy, tenant)).await {
            Ok(_) => {}
            Err(_) if without.contains(&tenant) => kept.push(tenant),
            Err(error) => return Err(Problem::failed(format!("tenant {tenant} can't be given a new key: {error}"))),
        }
    }
    Ok(kept)
}
