//! What is asked of a store and what it gives.

use countersign_crypto::Tag;
use countersign_model::{FieldId, RecordId, UnixMs};
use countersign_store::{
    Access, Batch, Done, Once, Rejected, Requirement, Scan, SealedChange, SealedRow, SealedState, StateScan,
};

use super::{Malformed, field_id, fields_in, fields_out, number, sixteen, sixteens, size, type_id};
use crate::pb;
use crate::pb::rejected::Kind;
use crate::pb::scan::Access as AccessPart;

pub(crate) fn scan_out(scan: &Scan) -> pb::Scan {
    let access = match &scan.access {
        Access::Records(records) => AccessPart::Records(records.iter().flat_map(|record| *record.as_bytes()).collect()),
        Access::Tags { field, tags } => {
            AccessPart::Tags(pb::TagAccess { field: field.0.into(), tags: tags.iter().flat_map(|tag| tag.0).collect() })
        }
        Access::All => AccessPart::All(pb::Empty {}),
    };
    pb::Scan {
        record_type: scan.record_type.0.into(),
        access: Some(access),
        cells: Some(fields_out(scan.cells)),
        limit: number(scan.limit),
        after: scan.after.map(|record| record.as_bytes().to_vec()),
    }
}

pub(crate) fn scan_in(scan: Option<pb::Scan>) -> Result<Scan, Malformed> {
    let scan = scan.ok_or(Malformed)?;
    let access = match scan.access.ok_or(Malformed)? {
        AccessPart::Records(records) => Access::Records(sixteens(&records)?.map(RecordId::from_bytes).collect()),
        AccessPart::Tags(pb::TagAccess { field, tags }) => {
            Access::Tags { field: field_id(field)?, tags: sixteens(&tags)?.map(Tag).collect() }
        }
        AccessPart::All(pb::Empty {}) => Access::All,
    };
    Ok(Scan {
        record_type: type_id(scan.record_type)?,
        access,
        cells: fields_in(scan.cells),
        limit: size(scan.limit)?,
        after: scan.after.map(|record| sixteen(&record).map(RecordId::from_bytes)).transpose()?,
    })
}

pub(crate) fn row_out(row: SealedRow) -> pb::SealedRow {
    pb::SealedRow {
        record: row.record.as_bytes().to_vec(),
        version: row.version,
        cells: row.cells.into_iter().map(cell_out).collect(),
        at: 0,
        until: None,
    }
}

pub(crate) fn row_in(row: pb::SealedRow) -> Result<SealedRow, Malformed> {
    Ok(SealedRow {
        record: RecordId::from_bytes(sixteen(&row.record)?),
        version: row.version,
        cells: row.cells.into_iter().map(cell_in).collect::<Result<_, _>>()?,
    })
}

pub(crate) fn states_out(scan: &StateScan) -> (pb::Scan, u64) {
    let StateScan { record_type, access, cells, limit, after } = scan.clone();
    let scan = Scan { record_type, access, cells, limit, after: after.map(|(record, _)| record) };
    (scan_out(&scan), after.map_or(0, |(_, version)| version))
}

pub(crate) fn states_in(scan: Option<pb::Scan>, version: u64) -> Result<StateScan, Malformed> {
    let Scan { record_type, access, cells, limit, after } = scan_in(scan)?;
    Ok(StateScan { record_type, access, cells, limit, after: after.map(|record| (record, version)) })
}

pub(crate) fn state_out(state: SealedState) -> pb::SealedRow {
    pb::SealedRow { at: state.at.0, until: state.until.map(|until| until.0), ..row_out(state.row) }
}

pub(crate) fn state_in(row: pb::SealedRow) -> Result<SealedState, Malformed> {
    let (at, until) = (UnixMs(row.at), row.until.map(UnixMs));
    Ok(SealedState { row: row_in(row)?, at, until })
}

fn cell_out((field, sealed): (FieldId, Option<Vec<u8>>)) -> pb::Cell {
    pb::Cell { field: field.0.into(), sealed }
}

fn cell_in(cell: pb::Cell) -> Result<(FieldId, Option<Vec<u8>>), Malformed> {
    Ok((field_id(cell.field)?, cell.sealed))
}

fn tag_out((field, tag): (FieldId, Option<Tag>)) -> pb::FieldTag {
    pb::FieldTag { field: field.0.into(), tag: tag.map(|tag| tag.0.to_vec()) }
}

fn tag_in(tag: pb::FieldTag) -> Result<(FieldId, Option<Tag>), Malformed> {
    Ok((field_id(tag.field)?, tag.tag.map(|tag| sixteen(&tag).map(Tag)).transpose()?))
}

/// A new record has no null cells and no tags without content.
fn present<T>((field, content): (FieldId, Option<T>)) -> Result<(FieldId, T), Malformed> {
    Ok((field, content.ok_or(Malformed)?))
}

/// Goes out without whose it is and when: that is the store's to say.
pub(crate) fn batch_out(call: Option<pb::Call>, batch: Batch) -> pb::WriteRecordsRequest {
    pb::WriteRecordsRequest {
        call,
        changes: batch.changes.into_iter().map(change_out).collect(),
        requires: batch.requires.into_iter().map(requirement_out).collect(),
        once: batch.once.map(|once| once_out(&once.id, once.done)),
        epoch: batch.epoch,
    }
}

pub(crate) fn once_out(key: &[u8; 32], done: Done) -> pb::Once {
    pb::Once { key: key.to_vec(), request: done.request.to_vec(), answer: done.answer }
}

pub(crate) fn once_in(once: pb::Once) -> Result<Once, Malformed> {
    if once.answer.len() > ANSWER_BYTES_MAX {
        return Err(Malformed);
    }
    let done = Done { request: thirty_two(&once.request)?, answer: once.answer };
    Ok(Once { id: thirty_two(&once.key)?, at: UnixMs(0), done })
}

/// More than the ids of as many records as one request may make.
const ANSWER_BYTES_MAX: usize = 1024 * 1024;

pub(crate) fn thirty_two(bytes: &[u8]) -> Result<[u8; 32], Malformed> {
    bytes.try_into().map_err(|_| Malformed)
}

pub(crate) fn batch_in(message: pb::WriteRecordsRequest) -> Result<Batch, Malformed> {
    Ok(Batch {
        changes: message.changes.into_iter().map(change_in).collect::<Result<_, _>>()?,
        requires: message.requires.into_iter().map(requirement_in).collect::<Result<_, _>>()?,
        once: message.once.map(once_in).transpose()?,
        at: UnixMs(0),
        epoch: message.epoch,
    })
}

fn change_out(change: SealedChange) -> pb::Change {
    let some = |(field, content)| (field, Some(content));
    match change {
        SealedChange::Insert { record_type, record, cells, tags } => pb::Change {
            kind: pb::ChangeKind::Insert.into(),
            record_type: record_type.0.into(),
            record: record.as_bytes().to_vec(),
            version: 0,
            cells: cells.into_iter().map(some).map(cell_out).collect(),
            tags: tags.into_iter().map(|(field, tag)| tag_out((field, Some(tag)))).collect(),
        },
        SealedChange::Update { record_type, record, version, cells, tags } => pb::Change {
            kind: pb::ChangeKind::Update.into(),
            record_type: record_type.0.into(),
            record: record.as_bytes().to_vec(),
            version,
            cells: cells.into_iter().map(cell_out).collect(),
            tags: tags.into_iter().map(tag_out).collect(),
        },
        SealedChange::Delete { record_type, record, version } => pb::Change {
            kind: pb::ChangeKind::Delete.into(),
            record_type: record_type.0.into(),
            record: record.as_bytes().to_vec(),
            version,
            cells: Vec::new(),
            tags: Vec::new(),
        },
    }
}

fn change_in(change: pb::Change) -> Result<SealedChange, Malformed> {
    let record_type = type_id(change.record_type)?;
    let record = RecordId::from_bytes(sixteen(&change.record)?);
    let version = change.version;
    let cells = change.cells.into_iter().map(cell_in);
    let tags = change.tags.into_iter().map(tag_in);
    Ok(match pb::ChangeKind::try_from(change.kind).map_err(|_| Malformed)? {
        pb::ChangeKind::Unspecified => return Err(Malformed),
        pb::ChangeKind::Insert => SealedChange::Insert {
            record_type,
            record,
            cells: cells.map(|cell| present(cell?)).collect::<Result<_, _>>()?,
            tags: tags.map(|tag| present(tag?)).collect::<Result<_, _>>()?,
        },
        pb::ChangeKind::Update => SealedChange::Update {
            record_type,
            record,
            version,
            cells: cells.collect::<Result<_, _>>()?,
            tags: tags.collect::<Result<_, _>>()?,
        },
        pb::ChangeKind::Delete => SealedChange::Delete { record_type, record, version },
    })
}

fn requirement_out(requirement: Requirement) -> pb::Requirement {
    let (exists, record_type, field, tags) = match requirement {
        Requirement::Exists { record_type, field, tags } => (true, record_type, field, tags),
        Requirement::Absent { record_type, field, tags } => (false, record_type, field, tags),
    };
    let tags = tags.iter().map(|tag| tag.0.to_vec()).collect();
    pb::Requirement { exists, record_type: record_type.0.into(), field: field.0.into(), tags }
}

fn requirement_in(requirement: pb::Requirement) -> Result<Requirement, Malformed> {
    let record_type = type_id(requirement.record_type)?;
    let field = field_id(requirement.field)?;
    let tags = requirement.tags.iter().map(|tag| Ok(Tag(sixteen(tag)?))).collect::<Result<_, _>>()?;
    Ok(if requirement.exists {
        Requirement::Exists { record_type, field, tags }
    } else {
        Requirement::Absent { record_type, field, tags }
    })
}

pub(crate) fn rejected_out(rejected: Rejected) -> pb::Rejected {
    let kind = match rejected {
        Rejected::Unique { change, field, existing } => Kind::Unique(pb::UniqueTaken {
            change: number(change),
            field: field.0.into(),
            existing: existing.as_bytes().to_vec(),
        }),
        Rejected::Missing { requirement } => Kind::MissingRequirement(number(requirement)),
        Rejected::Present { requirement, existing } => Kind::Present(pb::PresentRequirement {
            requirement: number(requirement),
            existing: existing.as_bytes().to_vec(),
        }),
        Rejected::Stale { change } => Kind::StaleChange(number(change)),
        Rejected::Done => Kind::Done(true),
        Rejected::Epoch => Kind::Epoch(true),
        Rejected::Limit => Kind::Limit(true),
    };
    pb::Rejected { kind: Some(kind) }
}

pub(crate) fn rejected_in(rejected: pb::Rejected) -> Result<Rejected, Malformed> {
    Ok(match rejected.kind.ok_or(Malformed)? {
        Kind::Unique(unique) => Rejected::Unique {
            change: size(unique.change)?,
            field: field_id(unique.field)?,
            existing: RecordId::from_bytes(sixteen(&unique.existing)?),
        },
        Kind::MissingRequirement(requirement) => Rejected::Missing { requirement: size(requirement)? },
        Kind::Present(present) => Rejected::Present {
            requirement: size(present.requirement)?,
            existing: RecordId::from_bytes(sixteen(&present.existing)?),
        },
        Kind::StaleChange(change) => Rejected::Stale { change: size(change)? },
        Kind::Done(true) => Rejected::Done,
        Kind::Epoch(true) => Rejected::Epoch,
        Kind::Limit(true) => Rejected::Limit,
        Kind::Done(false) | Kind::Epoch(false) | Kind::Limit(false) => return Err(Malformed),
    })
}
