//! What a batch may change: no more than its request was judged to.

use countersign_guard::Judgement;
use countersign_model::FieldSet;
use countersign_model::query::Judged;
use countersign_store::{Requirement, SealedChange};

use crate::reach::Reach;

pub(super) fn change_within(change: &SealedChange, judgement: &Judgement, reach: &Reach) -> bool {
    let judged = &judgement.judged;
    let own = match judged {
        Judged::Insert(insertion) => insertion.record_type,
        Judged::Change(change) => change.record_type,
        Judged::Read(_) | Judged::History(_) | Judged::Control(_) => return false,
    };
    // The reach says which fields. That says nothing about a change without any, so the type is compared first.
    let (record_type, permitted, written): (_, _, FieldSet) = match change {
        SealedChange::Insert { record_type, cells, tags, .. } => {
            let written = cells.iter().map(|(field, _)| *field).chain(tags.iter().map(|(field, _)| *field));
            (*record_type, matches!(judged, Judged::Insert(_)), written.collect())
        }
        SealedChange::Update { record_type, cells, tags, .. } => {
            let written = cells.iter().map(|(field, _)| *field).chain(tags.iter().map(|(field, _)| *field));
            let permitted = match judged {
                Judged::Insert(insertion) => insertion.on_conflict.is_some_and(|conflict| conflict.merge),
                Judged::Change(change) => change.set.is_some(),
                Judged::Read(_) | Judged::History(_) | Judged::Control(_) => false,
            };
            (*record_type, permitted, written.collect())
        }
        SealedChange::Delete { record_type, .. } => {
            let permitted = matches!(judged, Judged::Change(change) if change.set.is_none());
            (*record_type, permitted, FieldSet::EMPTY)
        }
    };
    permitted && record_type == own && written.is_subset(reach.sealed(own))
}

pub(super) fn requirement_within(requirement: &Requirement, reach: &Reach) -> bool {
    let (Requirement::Exists { record_type, field, .. } | Requirement::Absent { record_type, field, .. }) = requirement;
    reach.tagged(*record_type).contains(*field)
}
