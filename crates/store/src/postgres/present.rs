//! Tenants that are still there.
//!
//! INVARIANT removed-stays-removed: whoever stores anything of a tenant has a lock of it, shared, from before it looks whether
//! the tenant is there until its commit: batches, rewinds, replacements and changes of the epoch the tenant's lock
//! ([`super::epoch`]), everything else the one here, as it may go on beside a replacement by the same program. A removal takes
//! both alone, in that order, and removes the tenant's own row; what others stored until then it finds, and who comes later
//! finds no tenant.

use countersign_model::TenantId;
use countersign_postgres::{PgError, Step, Transaction};

use super::epoch::{Hold, lock};

/// What a database never answers: the tenant is gone.
pub(super) const GONE: &str = "gone";

/// The lock of whoever stores without the tenant's own.
const fn beside(lock: i64) -> i64 {
    !lock
}

fn takes(hold: Hold, lock: i64) -> Step<'static> {
    Step { text: format!("SELECT {}($1)", hold.function()).into(), params: vec![Box::new(lock)] }
}

/// Takes the tenant's lock, then looks whether there is such a tenant.
pub(super) async fn enter(transaction: &mut Transaction, tenant: TenantId, hold: Hold) -> Result<(), PgError> {
    locked(transaction, tenant, takes(hold, lock(tenant))).await
}

/// The same for what goes on beside those who have the tenant's lock.
pub(super) async fn enter_beside(transaction: &mut Transaction, tenant: TenantId) -> Result<(), PgError> {
    locked(transaction, tenant, takes(Hold::Shared, beside(lock(tenant)))).await
}

async fn locked(transaction: &mut Transaction, tenant: TenantId, takes: Step<'_>) -> Result<(), PgError> {
    let looks = Step { text: "SELECT 1 FROM tenant WHERE tenant = $1".into(), params: vec![Box::new(tenant.uuid())] };
    let mut found = false;
    for done in transaction.together(&[takes, looks]).await? {
        found = !done?.rows.is_empty();
    }
    if found { Ok(()) } else { Err(PgError::Refused { state: GONE.into() }) }
}

/// Waits for whoever stores something of the tenant, and removes the tenant's own row.
pub(super) async fn leave(transaction: &mut Transaction, tenant: TenantId) -> Result<(), PgError> {
    let removes = Step { text: "DELETE FROM tenant WHERE tenant = $1".into(), params: vec![Box::new(tenant.uuid())] };
    let steps = [takes(Hold::Alone, lock(tenant)), takes(Hold::Alone, beside(lock(tenant))), removes];
    for done in transaction.together(&steps).await? {
        done?;
    }
    Ok(())
}
