//! Keys as operators see them.

use countersign_keys::{KeySet, wrapped_version};
use countersign_model::facts::Facts;
use countersign_model::{FieldId, Name, RecordTypes, TypeId, UnixMs};
use countersign_policy::KeyPeriods;
use countersign_services::reseal::ResealStatus;
use countersign_store::SealCount;
use serde_json::{Value, json};

use crate::time::rfc3339;

const DAY_MS: u64 = 24 * 60 * 60 * 1000;

/// What the policies say of how long keys are used.
pub(super) fn periods(facts: &Facts) -> KeyPeriods {
    KeyPeriods::of(&facts.policies)
}

/// By what the age of keys is judged.
pub(super) struct Lives<'a> {
    pub(super) now: UnixMs,
    pub(super) types: &'a RecordTypes,
    pub(super) periods: KeyPeriods,
}

impl Lives<'_> {
    pub(super) fn deployment(&self, made: UnixMs, wrapped: &[u8]) -> Value {
        let version = wrapped_version(wrapped).map_or(0, |version| version.0);
        let mut row = self.row("deployment", made, Some(self.periods.deployment_days), "current");
        put(&mut row, "wrapped_by_version", version.into());
        row
    }

    pub(super) fn tenant(
        &self,
        rows: &mut Vec<Value>,
        name: &Name,
        created: UnixMs,
        set: &KeySet,
        counts: Option<&[SealCount]>,
        (progress, left): (Option<ResealStatus>, u64),
    ) {
        let work = |row: &mut Value| {
            if let Some(progress) = progress {
                put(row, "seen", progress.seen.into());
                put(row, "resealed", progress.resealed.into());
                put(row, "pass", progress.pass.into());
            }
            if left > 0 {
                put(row, "unopened", left.into());
            }
        };
        let born = |made: UnixMs| if made.0 == 0 { created } else { made };
        let newest = set.seal_epoch();
        let live: Vec<u32> = set.live().map(|one| one.first_epoch).collect();
        for one in set.generations() {
            let state = match one {
                one if one.is_destroyed() => "destroyed",
                one if one.first_epoch == newest => "current",
                one if live.contains(&one.first_epoch) => "resealing",
                _ => "retired",
            };
            let period = (state == "current").then_some(self.periods.tenant_days);
            let mut row = self.row("tenant", born(one.made), period, state);
            put(&mut row, "tenant", name.as_str().into());
            put(&mut row, "epoch", one.first_epoch.into());
            if state == "resealing" {
                work(&mut row);
            }
            rows.push(row);
        }
        for (type_id, record_type) in self.types.iter() {
            for (field_id, field) in record_type.iter() {
                let place = (type_id, field_id);
                for (nth, epoch) in set.epochs(type_id, field_id).into_iter().enumerate() {
                    let made = born(made(set, place, epoch));
                    let state = if nth == 0 { "current" } else { "resealing" };
                    let period = (nth == 0).then_some(self.periods.field_days);
                    let key = format!("{}.{}", record_type.name, field.name);
                    let mut row = self.row(&key, made, period, state);
                    put(&mut row, "tenant", name.as_str().into());
                    put(&mut row, "epoch", epoch.into());
                    if nth > 0 {
                        work(&mut row);
                    }
                    if let Some(counts) = counts {
                        let same = |one: &&SealCount| {
                            (one.key.record_type, one.key.field, one.key.epoch) == (type_id, field_id, epoch)
                        };
                        let count = counts.iter().find(same);
                        put(&mut row, "sealed", count.map_or(0, |one| one.sealed).into());
                        put(&mut row, "limit", count.map_or(self.periods.seals_max, |one| one.limit).into());
                    }
                    rows.push(row);
                }
            }
        }
    }

    fn row(&self, key: &str, made: UnixMs, period: Option<u32>, state: &str) -> Value {
        let age = self.now.0.saturating_sub(made.0) / DAY_MS;
        let left = period.map(|days| i64::from(days).saturating_sub(i64::try_from(age).unwrap_or(i64::MAX)));
        json!({
            "key": key,
            "made": rfc3339(made),
            "age_days": age,
            "period_days": period,
            "left_days": left,
            "state": state,
        })
    }
}

/// When the keys of a field in an epoch were made: with the field's own rotation, or with the tenant's key.
fn made(set: &KeySet, (record_type, field): (TypeId, FieldId), epoch: u32) -> UnixMs {
    let own = set.fields().iter().find(|one| (one.record_type, one.field, one.epoch) == (record_type, field, epoch));
    let with = || set.generation_of(epoch).map(|one| one.made);
    own.map(|one| one.made).or_else(with).unwrap_or_default()
}

fn put(row: &mut Value, name: &str, value: Value) {
    if let Some(row) = row.as_object_mut() {
        row.insert(name.to_owned(), value);
    }
}
