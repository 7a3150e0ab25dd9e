//! Making a batch one change at a time, to say what is wrong with it. If meanwhile nothing is, it is made.

use std::sync::Arc;

use countersign_crypto::Tag;
use countersign_model::{FieldId, RecordId, TypeId};
use countersign_postgres::{Done, PgError, Scope, Step, ToSql, Transaction};

use super::epoch::{Hold, answer};
use super::once;
use super::sql::Text;
use super::write::{Ended, Verdict, Writing, commit, holder, number, verdict};
use crate::batch::{Rejected, SealedChange};
use crate::error::StoreError;
use crate::layout::Index;
use crate::seals::needs_epoch;

pub(super) async fn attempt(writing: &Writing<'_>, hold: Hold) -> Result<Verdict, Ended> {
    let mut transaction = writing.pool.begin(Scope::Tenant(writing.tenant)).await?;
    if run(&mut transaction, &writing.note(hold)).await?.touched == 0 {
        transaction.roll_back().await?;
        return writing.confirm().await;
    }
    let at = hold.at(writing.tenant, writing.batch.epoch);
    let found = answer(&run(&mut transaction, &at).await?.rows);
    if found != Ok(writing.batch.epoch) && (needs_epoch(writing.batch) || found.is_err()) {
        transaction.roll_back().await?;
        return writing.elsewhere(found?);
    }
    let mut touched = 1;
    for step in writing.batch.once.iter().flat_map(|once| once::notes(writing.tenant, once)) {
        touched = run(&mut transaction, &step).await?.touched;
    }
    if touched == 0 {
        transaction.roll_back().await?;
        return Ok(Err(Rejected::Done));
    }
    let mut stepping = Stepping { writing, transaction };
    for (place, change) in writing.batch.changes.iter().enumerate() {
        if let Err(rejected) = stepping.change(place, change).await? {
            stepping.transaction.roll_back().await?;
            return Ok(Err(rejected));
        }
    }
    for (place, required) in writing.batch.requires.iter().enumerate() {
        let step = writing.required(required)?;
        let rows = run(&mut stepping.transaction, &step).await?.rows;
        if let Err(rejected) = verdict(place, required, &rows)? {
            stepping.transaction.roll_back().await?;
            return Ok(Err(rejected));
        }
    }
    if let Some(step) = writing.forgets() {
        run(&mut stepping.transaction, &step).await?;
    }
    commit(stepping.transaction).await?;
    Ok(Ok(()))
}

async fn run(transaction: &mut Transaction, step: &Step<'_>) -> Result<Done, PgError> {
    let mut done = transaction.together(std::slice::from_ref(step)).await?;
    done.pop().unwrap_or(Err(PgError::Lost))
}

struct Stepping<'a> {
    writing: &'a Writing<'a>,
    transaction: Transaction,
}

impl Stepping<'_> {
    async fn change(&mut self, place: usize, change: &SealedChange) -> Result<Verdict, Ended> {
        let stale = Err(Rejected::Stale { change: place });
        match change {
            SealedChange::Delete { .. } => {}
            SealedChange::Insert { record_type, record, tags, .. } => {
                if self.make(change).await? == 1 {
                    return Ok(Ok(()));
                }
                let tags = tags.iter().map(|(field, tag)| (*field, *tag)).collect();
                if let Some((field, existing)) = self.taken(*record_type, *record, tags).await? {
                    return Ok(Err(Rejected::Unique { change: place, field, existing }));
                }
                if self.version(*record_type, *record).await?.is_some() {
                    return Ok(stale);
                }
                // What was in the way has gone.
                return Err(PgError::Contention.into());
            }
            SealedChange::Update { record_type, record, version, tags, .. } => {
                if self.version(*record_type, *record).await? != Some(number(*version)) {
                    return Ok(stale);
                }
                let tags = tags.iter().filter_map(|(field, tag)| tag.map(|tag| (*field, tag))).collect();
                if let Some((field, existing)) = self.taken(*record_type, *record, tags).await? {
                    return Ok(Err(Rejected::Unique { change: place, field, existing }));
                }
            }
        }
        match self.make(change).await {
            Ok(1) => Ok(Ok(())),
            Ok(_) => Ok(stale),
            // Taken since it was looked for.
            Err(Ended::Database(PgError::Unique { .. })) => Err(PgError::Contention.into()),
            Err(error) => Err(error),
        }
    }

    async fn make(&mut self, change: &SealedChange) -> Result<u64, Ended> {
        let step = self.writing.change(change)?;
        Ok(run(&mut self.transaction, &step).await?.touched)
    }

    /// The first of these fields that is unique and whose tag another record has.
    async fn taken(
        &mut self,
        record_type: TypeId,
        record: RecordId,
        mut tags: Vec<(FieldId, Tag)>,
    ) -> Result<Option<(FieldId, RecordId)>, Ended> {
        let fields = self.writing.types.layout.record_type(record_type)?;
        tags.retain(|(field, _)| fields.index(*field) == Some(Index::Unique));
        tags.sort_unstable_by_key(|(field, _)| *field);
        for (field, tag) in tags {
            let step =
                self.writing.by_tag(record_type, Text::Holder(record_type, field), std::slice::from_ref(&tag))?;
            let rows = run(&mut self.transaction, &step).await?.rows;
            let Some(row) = rows.first() else { continue };
            let existing = holder(row)?;
            if existing != record {
                return Ok(Some((field, existing)));
            }
        }
        Ok(None)
    }

    /// The version that a record has and keeps until the transaction is over.
    async fn version(&mut self, record_type: TypeId, record: RecordId) -> Result<Option<i64>, Ended> {
        let text: Arc<str> = self.writing.types.text(record_type, Text::Version(record_type))?;
        let params: Vec<Box<dyn ToSql + Sync + Send>> =
            vec![Box::new(self.writing.tenant.uuid()), Box::new(record.uuid())];
        let rows = run(&mut self.transaction, &Step { text, params }).await?.rows;
        let version = rows.first().map(|row| row.try_get(0)).transpose();
        Ok(version.map_err(|_| StoreError::Damaged)?)
    }
}
