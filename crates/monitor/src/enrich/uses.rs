//! Which classes of fields each role has read: the first time is worth a look.

use std::collections::HashMap;

use countersign_model::{Name, Sensitivity, TenantId, UnixMs};
use serde::{Deserialize, Serialize};

/// How many roles of tenants are remembered. Past that, those that began to read last are forgotten, and learnt anew.
const ROLES_MAX: usize = 100_000;

/// What roles have read.
#[derive(Debug)]
pub(super) struct Uses {
    roles: HashMap<(TenantId, Name), Use>,
    learning_ms: u64,
}

/// The form in which it is stored.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct StoredUses(Vec<(TenantId, Name, Use)>);

#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
struct Use {
    since: UnixMs,
    /// One bit for each class.
    classes: u8,
}

impl Uses {
    pub(super) fn new(learning_ms: u64) -> Self {
        Self { roles: HashMap::new(), learning_ms }
    }

    /// Of these classes, which the role reads for the first time; none while the role is new.
    pub(super) fn first(
        &mut self,
        tenant: TenantId,
        role: &Name,
        classes: &[Sensitivity],
        now: UnixMs,
    ) -> Vec<Sensitivity> {
        if self.roles.len() >= ROLES_MAX {
            let mut times: Vec<UnixMs> = self.roles.values().map(|one| one.since).collect();
            let middle = times.len().checked_div(2).unwrap_or(0);
            let (_, median, _) = times.select_nth_unstable(middle);
            let median = *median;
            self.roles.retain(|_, one| one.since < median);
        }
        let known = self.roles.entry((tenant, role.clone())).or_insert(Use { since: now, classes: 0 });
        let is_new = now.since(known.since) < self.learning_ms;
        let mut first = Vec::new();
        for class in classes {
            let place = Sensitivity::ALL.iter().position(|one| one == class).unwrap_or_default();
            let bit = u32::try_from(place).ok().and_then(|place| 1u8.checked_shl(place)).unwrap_or(0);
            if known.classes & bit == 0 {
                known.classes |= bit;
                first.push(*class);
            }
        }
        if is_new { Vec::new() } else { first }
    }

    pub(super) fn stored(&self) -> StoredUses {
        StoredUses(self.roles.iter().map(|((tenant, role), one)| (*tenant, role.clone(), *one)).collect())
    }

    pub(super) fn restored(stored: StoredUses, learning_ms: u64) -> Self {
        let roles = stored.0.into_iter().map(|(tenant, role, one)| ((tenant, role), one)).collect();
        Self { roles, learning_ms }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_role_is_there_for_is_learnt_and_what_comes_later_is_told_once() {
        let mut uses = Uses::new(1_000);
        let (tenant, role) = (TenantId::from_u128(1), Name::new("clerk").unwrap());
        let (personal, secret) = (Sensitivity::Personal, Sensitivity::Secret);
        assert_eq!(uses.first(tenant, &role, &[personal], UnixMs(0)), []);
        assert_eq!(uses.first(tenant, &role, &[personal, secret], UnixMs(1_000)), [secret]);
        let mut uses = Uses::restored(uses.stored(), 1_000);
        assert_eq!(uses.first(tenant, &role, &[personal, secret], UnixMs(1_001)), []);
        assert_eq!(uses.first(TenantId::from_u128(2), &role, &[secret], UnixMs(1_002)), [], "a new role");
        let mut uses = Uses::new(0);
        assert_eq!(uses.first(tenant, &role, &[secret], UnixMs(0)), [secret], "nothing is learnt");
    }
}
