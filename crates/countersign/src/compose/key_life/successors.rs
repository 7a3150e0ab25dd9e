//! Other keys in the place of those that have sealed almost all that they may.

use std::collections::BTreeSet;

use countersign_audit::Verdict;
use countersign_model::{FieldId, TenantId, TypeId};
use countersign_store::CellKey;

use super::{DAY_MS, KeyLife, LIMIT_REACHED};

/// So many epochs of a field are in use at the most before the service rotates its keys no further by itself. Each is one
/// more tag to search by, and sealing again uses keys too: where they last for less than all records, there is no end.
const LIVE_MAX: usize = 8;

impl KeyLife {
    /// New keys for each field whose present ones have sealed three quarters of what they may, or are among those that could
    /// not seal what they were asked to.
    pub(super) async fn succeed(&self, tenant: TenantId, noted: &BTreeSet<CellKey>) {
        let Ok(counts) = self.parts.moving.stored.carry.counts(tenant).await else { return };
        let near = counts.iter().filter(|count| count.is_near()).map(|count| count.key);
        let keys: BTreeSet<CellKey> = near.chain(noted.iter().copied()).collect();
        for key in keys {
            let (record_type, field) = (key.record_type, key.field);
            let live = self.set(tenant).map(|set| set.epochs(record_type, field)).unwrap_or_default();
            if live.first() != Some(&key.epoch) {
                continue;
            }
            let sealed = counts.iter().find(|count| count.key == key).map_or(0, |count| count.sealed);
            let limit = self.periods().seals_max;
            if live.len() >= LIVE_MAX {
                self.stop(tenant, (record_type, field), (sealed, limit)).await;
                continue;
            }
            let rotated =
                self.parts.registry.change_keys(tenant, move |keys, _| keys.rotate_field(tenant, record_type, field));
            match rotated.await {
                Ok(set) => {
                    self.stopped.lock().remove(&(tenant, record_type, field));
                    let said = format!(
                        "keys of {} rotated, by the service itself: they have sealed {sealed} of {limit} values; epoch {} from now on",
                        self.name(record_type, field),
                        set.newest(),
                    );
                    tracing::warn!(%tenant, "{said}");
                    self.record(tenant, "key_limit_near", Verdict::Changed, said).await;
                    self.woken.notify_one();
                }
                Err(error) => {
                    tracing::error!(%tenant, %error, "a key that has sealed almost all that it may could not be rotated")
                }
            }
        }
    }

    /// Whether some field of the tenant is left with the keys that it has.
    pub(super) fn is_stopped(&self, tenant: TenantId) -> bool {
        self.stopped.lock().keys().any(|(of, ..)| *of == tenant)
    }

    /// Says, once a day, that somebody has to do something.
    async fn stop(&self, tenant: TenantId, place: (TypeId, FieldId), (sealed, limit): (u64, u64)) {
        let today = self.parts.clock.now().0 / DAY_MS;
        if self.stopped.lock().insert((tenant, place.0, place.1), today) == Some(today) {
            return;
        }
        let said = format!(
            "keys of {} are not rotated by the service itself any more: {LIVE_MAX} epochs are in use, and the newest has \
             sealed {sealed} of {limit} values. Either seals_max is too low for so many records, or they are not sealed \
             again fast enough",
            self.name(place.0, place.1),
        );
        tracing::error!(%tenant, "{said}");
        self.record(tenant, LIMIT_REACHED, Verdict::Failed, said).await;
    }
}
