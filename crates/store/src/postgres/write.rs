//! Making a batch: all of its statements in one go, then the commit.
//!
//! Each batch has an id that is stored with it (`written`). A commit whose answer was lost is asked for again by that id:
//! storing it a second time waits for the first attempt, if that is still under way, and then either collides with it or
//! does not.
//!
//! INVARIANT references-hold, although each statement sees its own moment: whoever makes a reference locks what it points
//! at (`FOR KEY SHARE`) after the change; whoever removes that has it locked since the removal, and looks for references
//! after it. Whichever comes second waits for the first to be over and sees what it did.

use std::sync::Arc;

use countersign_crypto::Tag;
use countersign_model::{FieldId, RecordId, TenantId, TypeId, UnixMs};
use countersign_postgres::{Done, Outcome, PgError, Pool, Row, Scope, Step, ToSql, Transaction};
use uuid::Uuid;

use super::epoch::{self, Hold};
use super::failure::{damaged, fault};
use super::history::FORGET;
use super::once;
use super::replacing::Replacing;
use super::sql::Text;
use super::stepwise;
use super::types::Types;
use crate::batch::{Batch, Rejected, Requirement, SealedChange};
use crate::error::StoreError;
use crate::seals::needs_epoch;

pub(super) type Verdict = Result<(), Rejected>;

/// Why an attempt ended early.
pub(super) enum Ended {
    /// What the database met.
    Database(PgError),
    /// What the batch itself has, or what was found stored.
    Store(StoreError),
    /// The tenant is at an older epoch, which has to be raised.
    Behind,
}

impl From<PgError> for Ended {
    fn from(error: PgError) -> Self {
        Self::Database(error)
    }
}

impl From<StoreError> for Ended {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

/// One batch on its way.
pub(super) struct Writing<'a> {
    pub(super) pool: &'a Arc<Pool>,
    pub(super) types: &'a Types,
    pub(super) replacing: &'a Replacing,
    pub(super) tenant: TenantId,
    pub(super) id: Uuid,
    pub(super) batch: &'a Batch,
    /// Whether what was before a change is kept.
    pub(super) keeps: bool,
}

impl Writing<'_> {
    /// Makes the batch, trying again what was not done, until it is known how it came out or patience is over.
    pub(super) async fn make(&self) -> Result<Verdict, StoreError> {
        let mut pace = self.pool.pace();
        // A commit of this batch was asked for and not answered.
        let mut doubt = false;
        // It is not simply made: a step at a time says why.
        let mut stepwise = false;
        let mut hold = Hold::Shared;
        loop {
            if let Err(busy) = self.replacing.over(self.tenant).await {
                return Err(if doubt { StoreError::Unknown } else { busy });
            }
            let made = if stepwise { stepwise::attempt(self, hold).await.map(Some) } else { self.attempt(hold).await };
            match made {
                Ok(Some(verdict)) => return Ok(verdict),
                Ok(None) => {
                    stepwise = true;
                    continue;
                }
                Err(Ended::Behind) => hold = Hold::Alone,
                Err(Ended::Store(error)) => return Err(if doubt { StoreError::Unknown } else { error }),
                Err(Ended::Database(error)) => {
                    doubt |= error == PgError::Unknown;
                    // While in doubt, an earlier attempt may be what is waited for.
                    let again = error.is_retryable() || doubt && matches!(error, PgError::Unknown | PgError::TimedOut);
                    if !(again && pace.wait().await) {
                        return Err(if doubt { StoreError::Unknown } else { fault(error) });
                    }
                }
            }
        }
    }

    /// Everything at once. `None` if it can't be made like that.
    async fn attempt(&self, hold: Hold) -> Result<Option<Verdict>, Ended> {
        let mut steps = vec![self.note(hold)];
        let asks = needs_epoch(self.batch);
        steps.push(hold.at(self.tenant, self.batch.epoch));
        let once = self.batch.once.iter().flat_map(|once| once::notes(self.tenant, once));
        steps.extend(once);
        for change in &self.batch.changes {
            steps.push(self.change(change)?);
        }
        for required in &self.batch.requires {
            steps.push(self.required(required)?);
        }
        steps.extend(self.forgets());
        let mut transaction = self.pool.begin(Scope::Tenant(self.tenant)).await?;
        let mut done = transaction.together(&steps).await?.into_iter();
        if touched(done.next())? == 0 {
            // With all that was sent after it: a record that was made then may have been deleted since.
            transaction.roll_back().await?;
            return self.confirm().await.map(Some);
        }
        let found = epoch::answer(&done.next().unwrap_or(Err(PgError::Lost))?.rows);
        if found != Ok(self.batch.epoch) && (asks || found.is_err()) {
            transaction.roll_back().await?;
            return self.elsewhere(found?).map(Some);
        }
        if self.batch.once.is_some() {
            touched(done.next())?;
            if touched(done.next())? == 0 {
                transaction.roll_back().await?;
                return Ok(Some(Err(Rejected::Done)));
            }
        }
        for _ in &self.batch.changes {
            match touched(done.next()) {
                Ok(1) => {}
                Ok(_) | Err(PgError::Unique { .. }) => {
                    transaction.roll_back().await?;
                    return Ok(None);
                }
                Err(error) => return Err(error.into()),
            }
        }
        for (place, required) in self.batch.requires.iter().enumerate() {
            let rows = done.next().unwrap_or(Err(PgError::Lost))?.rows;
            if let Err(rejected) = verdict(place, required, &rows)? {
                transaction.roll_back().await?;
                return Ok(Some(Err(rejected)));
            }
        }
        if let Some(forgot) = done.next() {
            forgot?;
        }
        commit(transaction).await?;
        Ok(Some(Ok(())))
    }

    /// Where no history is kept: since when all is known.
    pub(super) fn forgets(&self) -> Option<Step<'_>> {
        let forgets = !self.keeps && self.batch.forgets();
        forgets.then(|| Step {
            text: FORGET.into(),
            params: vec![Box::new(self.tenant.uuid()), Box::new(time(self.batch.at))],
        })
    }

    /// The batch's id, stored with it, under the tenant's lock.
    pub(super) fn note(&self, hold: Hold) -> Step<'_> {
        let text = format!(
            "INSERT INTO written (tenant, id, at) SELECT $1::uuid, $2::uuid, now() FROM {}($3) ON CONFLICT DO NOTHING",
            hold.function()
        );
        let lock = epoch::lock(self.tenant);
        Step { text: text.into(), params: vec![Box::new(self.tenant.uuid()), Box::new(self.id), Box::new(lock)] }
    }

    /// The tenant is at another epoch.
    pub(super) const fn elsewhere(&self, found: u32) -> Result<Verdict, Ended> {
        if found < self.batch.epoch { Err(Ended::Behind) } else { Ok(Err(Rejected::Epoch)) }
    }

    /// The batch was made by an earlier attempt. That one may have been committed without the standbys; this commit, which
    /// comes after it and of which nothing else is a part, is confirmed by them.
    pub(super) async fn confirm(&self) -> Result<Verdict, Ended> {
        let text: Arc<str> = "UPDATE written SET at = now() WHERE tenant = $1 AND id = $2".into();
        let mut transaction = self.pool.begin(Scope::Tenant(self.tenant)).await?;
        if transaction.execute(&text, &[&self.tenant.uuid(), &self.id]).await? == 0 {
            // Another server is the primary now, and does not have it.
            transaction.roll_back().await?;
            return Err(PgError::Contention.into());
        }
        commit(transaction).await?;
        Ok(Ok(()))
    }

    /// Removes ids of batches that nobody asks for any more, some at a time and while nobody waits. That it fails is no
    /// harm.
    pub(super) fn purge(&self) {
        let text: Arc<str> = "DELETE FROM written WHERE tenant = $1 AND id IN (SELECT id FROM written \
             WHERE tenant = $1 AND at < now() - interval '24 hours' ORDER BY at LIMIT 1000 FOR UPDATE SKIP LOCKED)"
            .into();
        let (pool, tenant) = (Arc::clone(self.pool), self.tenant);
        tokio::spawn(async move {
            let mut transaction = pool.begin(Scope::Tenant(tenant)).await?;
            transaction.execute(&text, &[&tenant.uuid()]).await?;
            transaction.commit().await
        });
    }

    /// The statement of a change.
    pub(super) fn change<'b>(&self, change: &'b SealedChange) -> Result<Step<'b>, StoreError> {
        let mut params: Vec<Box<dyn ToSql + Sync + Send + 'b>> = vec![Box::new(self.tenant.uuid())];
        let at = time(self.batch.at);
        let (record_type, text) = match change {
            SealedChange::Insert { record_type, record, cells, tags } => {
                let fields = self.types.layout.record_type(*record_type)?;
                params.push(Box::new(record.uuid()));
                params.push(Box::new(at));
                for field in (0..=u8::MAX).map(FieldId).take(fields.len()) {
                    let cell = cells.iter().find(|(named, _)| *named == field);
                    params.push(Box::new(cell.map(|(_, cell)| cell.as_slice())));
                }
                for field in fields.indexed() {
                    let tag = tags.iter().find(|(named, _)| *named == field);
                    params.push(Box::new(tag.map(|(_, tag)| tag.0.as_slice())));
                }
                (record_type, Text::Insert(*record_type))
            }
            SealedChange::Update { record_type, record, version, cells, tags } => {
                params.push(Box::new(record.uuid()));
                params.push(Box::new(number(*version)));
                params.push(Box::new(at));
                for (_, cell) in cells {
                    params.push(Box::new(cell.as_deref()));
                }
                for (_, tag) in tags {
                    params.push(Box::new(tag.as_ref().map(|tag| tag.0.as_slice())));
                }
                let names = cells.iter().map(|(field, _)| *field).collect();
                let tagged = tags.iter().map(|(field, _)| *field).collect();
                (record_type, Text::Update(*record_type, names, tagged, self.keeps))
            }
            SealedChange::Delete { record_type, record, version } => {
                params.push(Box::new(record.uuid()));
                params.push(Box::new(number(*version)));
                if self.keeps {
                    params.push(Box::new(at));
                }
                (record_type, Text::Delete(*record_type, self.keeps))
            }
        };
        Ok(Step { text: self.types.text(*record_type, text)?, params })
    }

    /// The statement of a requirement.
    pub(super) fn required<'b>(&self, required: &'b Requirement) -> Result<Step<'b>, StoreError> {
        match required {
            Requirement::Exists { record_type, field, tags } => {
                self.by_tag(*record_type, Text::Held(*record_type, *field), tags)
            }
            Requirement::Absent { record_type, field, tags } => {
                self.by_tag(*record_type, Text::Holder(*record_type, *field), tags)
            }
        }
    }

    /// A statement about who has one of these tags.
    pub(super) fn by_tag<'b>(&self, record_type: TypeId, text: Text, tags: &'b [Tag]) -> Result<Step<'b>, StoreError> {
        let tags: Vec<&[u8]> = tags.iter().map(|tag| tag.0.as_slice()).collect();
        let params: Vec<Box<dyn ToSql + Sync + Send + 'b>> = vec![Box::new(self.tenant.uuid()), Box::new(tags)];
        Ok(Step { text: self.types.text(record_type, text)?, params })
    }
}

fn touched(done: Option<Result<Done, PgError>>) -> Result<u64, PgError> {
    Ok(done.unwrap_or(Err(PgError::Lost))?.touched)
}

/// Whether a requirement holds, by what its statement found.
pub(super) fn verdict(requirement: usize, required: &Requirement, rows: &[Row]) -> Result<Verdict, StoreError> {
    Ok(match (required, rows.first()) {
        (Requirement::Exists { .. }, None) => Err(Rejected::Missing { requirement }),
        (Requirement::Absent { .. }, Some(row)) => Err(Rejected::Present { requirement, existing: holder(row)? }),
        _ => Ok(()),
    })
}

/// The record that a row of [`Text::Holder`] names.
pub(super) fn holder(row: &Row) -> Result<RecordId, StoreError> {
    let existing: Uuid = row.try_get(0).map_err(damaged)?;
    Ok(RecordId::from_bytes(*existing.as_bytes()))
}

pub(super) async fn commit(transaction: Transaction) -> Result<(), PgError> {
    match transaction.commit().await? {
        Outcome::Committed => Ok(()),
        // A statement had failed without anybody noticing: nothing was done.
        Outcome::RolledBack => Err(PgError::Contention),
    }
}

/// A time as it is stored; one that does not fit is the last that does.
pub(super) fn time(at: UnixMs) -> i64 {
    i64::try_from(at.0).unwrap_or(i64::MAX)
}

/// No record has a version that the database can't hold, so one that is too large matches none.
pub(super) fn number(version: u64) -> i64 {
    i64::try_from(version).unwrap_or(-1)
}
