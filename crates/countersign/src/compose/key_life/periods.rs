//! Cryptoperiods: how old keys may get. One that is over stops nothing.

use std::sync::Arc;

use countersign_audit::Verdict;
use countersign_model::facts::OPERATORS;
use countersign_model::{TenantId, UnixMs};

use super::{DAY_MS, KeyLife};

/// From so many days before the end of a cryptoperiod it is said every day.
const WARNED_DAYS: u64 = 7;

/// Its period stands in the operators' own log.
const WRAPPING: &str = "the key that wraps the deployment's";

impl KeyLife {
    /// Puts on record that cryptoperiods are over, or soon will be: the monitor alerts that.
    pub(super) async fn judge_age(&self, tenant: TenantId) {
        let Some(set) = self.set(tenant) else { return };
        let facts = Arc::clone(&self.parts.registry.facts().load().facts);
        let (periods, now) = (self.periods(), self.parts.clock.now());
        let born = facts.tenants.get(&tenant).map(|tenant| tenant.created).unwrap_or_default();
        let age = |made: UnixMs| now.0.saturating_sub(if made.0 == 0 { born.0 } else { made.0 }) / DAY_MS;
        let made_with = |epoch: u32| set.generation_of(epoch).map(|one| one.made).unwrap_or_default();
        let mut keys =
            vec![("the tenant's key".to_owned(), age(made_with(set.seal_epoch())), u64::from(periods.tenant_days))];
        let is_operators = facts.tenants.get(&tenant).is_some_and(|tenant| tenant.name.as_str() == OPERATORS);
        if is_operators {
            let since = self.parts.registry.wrapping_since().unwrap_or_default();
            keys.insert(0, (WRAPPING.to_owned(), age(since), u64::from(periods.deployment_days)));
        }
        for (type_id, record_type) in facts.types.iter() {
            for (field_id, field) in record_type.iter() {
                let Some(epoch) = set.epochs(type_id, field_id).first().copied() else { continue };
                let own = set
                    .fields()
                    .iter()
                    .find(|one| (one.record_type, one.field, one.epoch) == (type_id, field_id, epoch));
                let made = own.map_or_else(|| made_with(epoch), |one| one.made);
                keys.push((format!("{}.{}", record_type.name, field.name), age(made), u64::from(periods.field_days)));
            }
        }
        let over = keys.iter().filter(|(_, age, period)| age >= period);
        let ending = keys.iter().filter(|(_, age, period)| age < period && age.saturating_add(WARNED_DAYS) >= *period);
        for (action, verdict, what, found) in [
            ("key_period_over", Verdict::Failed, "is over", over.collect::<Vec<_>>()),
            ("key_period_ending", Verdict::Intent, "ends within 7 days", ending.collect::<Vec<_>>()),
        ] {
            let Some((first, ..)) = found.first() else { continue };
            let others = found.len().saturating_sub(1);
            self.record(tenant, action, verdict, format!("the cryptoperiod of {first} and {others} others {what}"))
                .await;
        }
    }
}
