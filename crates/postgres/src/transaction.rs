//! One transaction.

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use countersign_model::TenantId;
use futures_util::future::{join, join3};
use tokio::time::Instant;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Row, Statement};

use crate::error::PgError;
use crate::pipeline::in_order;
use crate::pool::Lent;

/// Whose rows a transaction may see. Row security is keyed to it; without it no row of any tenant is seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// One tenant's.
    Tenant(TenantId),
    /// No tenant's: tables that belong to services rather than tenants.
    Service,
}

/// What a transaction is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A few statements, each of which sees a moment of its own.
    Usual,
    /// Reads alone, all of the moment of the first, for as long as it takes.
    Snapshot,
    /// As usual, for as long as it takes.
    Lasting,
}

impl Kind {
    /// One that lasts may be idle for ten minutes, while whoever reads or fills it does something else.
    const fn begins(self) -> &'static str {
        match self {
            Self::Usual => "BEGIN",
            Self::Snapshot => {
                "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SET LOCAL idle_in_transaction_session_timeout = 600000"
            }
            Self::Lasting => "BEGIN; SET LOCAL idle_in_transaction_session_timeout = 600000",
        }
    }
}

/// A statement's text and its parameters.
pub type Question<'a> = (&'a Arc<str>, &'a [&'a (dyn ToSql + Sync)]);

/// How a transaction came out that was tried in one go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Committed, and confirmed by the synchronous standbys.
    Committed,
    /// The server took it back because a statement in it had failed.
    RolledBack,
}

/// A transaction on a connection of its own. Dropped before [`Self::commit`] or [`Self::roll_back`] has ended, it is not
/// committed, and the connection is closed.
///
/// Isolation is the server's own (read committed on PostgreSQL): one statement sees one moment. Only of one that
/// [`crate::Pool::begin_snapshot`] began all statements see the same.
pub struct Transaction {
    lent: Lent,
    scope: Scope,
    kind: Kind,
    begun: bool,
    /// A statement was sent and its answer is awaited, or is no longer.
    busy: bool,
    /// A statement failed, so that the server takes all of it back.
    failed: bool,
    /// It changed something, so that its commit is one that standbys confirm.
    changed: bool,
}

impl Transaction {
    pub(crate) const fn new(lent: Lent, scope: Scope, kind: Kind) -> Self {
        Self { lent, scope, kind, begun: false, busy: false, failed: false, changed: false }
    }

    /// What begins it: for this transaction alone, so that the connection forgets it at its end.
    fn opening(&self) -> String {
        match self.scope {
            // Hexadecimal digits and hyphens.
            Scope::Tenant(tenant) => {
                let begins = self.kind.begins();
                format!("{begins}; SELECT set_config('countersign.tenant', '{}', true)", tenant.uuid())
            }
            Scope::Service => self.kind.begins().to_owned(),
        }
    }

    /// What has to be sent first, if it has not begun yet. Begun from now on.
    pub(crate) fn opens(&mut self) -> Option<String> {
        let opening = (!self.begun).then(|| self.opening());
        self.begun = true;
        opening
    }

    /// The connection, and how long to wait for an answer.
    pub(crate) fn client(&self) -> (&Client, Duration) {
        (&self.lent.connection.client, self.lent.pool.settings.answer_timeout)
    }

    /// Something is about to be sent. Not if somebody stopped waiting for what was sent before: nobody knows then what the
    /// server makes of it.
    pub(crate) const fn enter(&mut self) -> Result<(), PgError> {
        if self.busy {
            return Err(PgError::Lost);
        }
        self.busy = true;
        Ok(())
    }

    /// It was answered.
    pub(crate) fn leave<T>(&mut self, answered: Result<T, PgError>) -> Result<T, PgError> {
        self.busy = false;
        if let Err(error) = &answered {
            self.failed = true;
            // Also a prepared statement whose tables have changed: it is prepared anew on another connection.
            if *error == PgError::Lost {
                self.lent.connection.spoil();
            }
        }
        answered
    }

    /// It changed something.
    pub(crate) const fn note_change(&mut self) {
        self.changed = true;
    }

    pub(crate) async fn statement(&mut self, text: &Arc<str>) -> Result<Statement, PgError> {
        let timeout = self.lent.pool.settings.answer_timeout;
        self.enter()?;
        let made = tokio::time::timeout(timeout, self.lent.connection.statement(text)).await;
        self.leave(made.unwrap_or(Err(PgError::Lost)))
    }

    /// Runs one statement and gives its rows.
    ///
    /// # Errors
    /// [`PgError`]; after one, nothing but [`Self::roll_back`] is of use.
    pub async fn query(&mut self, text: &Arc<str>, params: &[&(dyn ToSql + Sync)]) -> Result<Vec<Row>, PgError> {
        let statement = self.statement(text).await?;
        self.enter()?;
        let opening = self.opens();
        let (client, timeout) = self.client();
        let work = async {
            let Some(opening) = opening else { return client.query(&statement, params).await };
            // Both are sent before the first is answered.
            let (opened, rows) = join(client.batch_execute(&opening), client.query(&statement, params)).await;
            opened.and(rows)
        };
        let rows = within(timeout, work).await;
        self.leave(rows)
    }

    /// Runs one statement and says how many rows it touched.
    ///
    /// # Errors
    /// As [`Self::query`].
    pub async fn execute(&mut self, text: &Arc<str>, params: &[&(dyn ToSql + Sync)]) -> Result<u64, PgError> {
        let statement = self.statement(text).await?;
        self.enter()?;
        let opening = self.opens();
        let (client, timeout) = self.client();
        let work = async {
            let Some(opening) = opening else { return client.execute(&statement, params).await };
            let (opened, touched) = join(client.batch_execute(&opening), client.execute(&statement, params)).await;
            opened.and(touched)
        };
        let touched = within(timeout, work).await;
        self.changed |= touched.as_ref().is_ok_and(|touched| *touched > 0) && statement.columns().is_empty();
        self.leave(touched)
    }

    /// Runs statements without parameters or rows: what makes tables.
    ///
    /// # Errors
    /// As [`Self::query`].
    pub async fn run(&mut self, text: &str) -> Result<(), PgError> {
        self.enter()?;
        let opening = self.opens();
        let (client, timeout) = self.client();
        let work = async {
            if let Some(opening) = opening {
                client.batch_execute(&opening).await?;
            }
            client.batch_execute(text).await
        };
        // Each statement has its time.
        let patience = self.lent.pool.settings.statement_timeout.saturating_mul(4).saturating_add(timeout);
        let done = within(patience, work).await;
        self.leave(done)
    }

    /// One statement that only reads, begun and ended in the same round trip.
    ///
    /// # Errors
    /// As [`Self::query`].
    pub async fn read(self, text: &Arc<str>, params: &[&(dyn ToSql + Sync)]) -> Result<Vec<Row>, PgError> {
        let mut rows = self.read_each(&[(text, params)]).await?;
        Ok(rows.pop().unwrap_or_default())
    }

    /// Several statements that only read, begun and ended in the same round trip. Each sees a moment of its own.
    ///
    /// # Errors
    /// As [`Self::query`]; if one fails, none is answered.
    pub async fn read_each(mut self, each: &[Question<'_>]) -> Result<Vec<Vec<Row>>, PgError> {
        let mut statements = Vec::with_capacity(each.len());
        for (text, _) in each {
            statements.push(self.statement(text).await?);
        }
        self.enter()?;
        let opening = self.opening();
        let (client, timeout) = self.client();
        let work = async {
            let asked = each.iter().zip(&statements).map(|((_, params), statement)| client.query(statement, params));
            let (opened, rows, ended) = join3(
                client.batch_execute(&opening),
                in_order(asked),
                // Nothing was changed, so there is nothing to commit; after an error it ends the transaction all the same.
                client.batch_execute("ROLLBACK"),
            )
            .await;
            opened?;
            ended?;
            Ok(rows)
        };
        // Without an end nobody uses it again.
        let rows = within(timeout, work).await?;
        let rows = rows.into_iter().collect::<Result<Vec<_>, _>>().map_err(PgError::from);
        let rows = self.leave(rows);
        let timely = self.is_timely();
        self.lent.give_back();
        if timely { rows } else { Err(PgError::Lost) }
    }

    /// Whether the answer came while the server's proof could still be believed. If this process was stopped in between, it
    /// may be as old as that.
    fn is_timely(&self) -> bool {
        let settings = &self.lent.pool.settings;
        self.lent.connection.is_proven(settings.proof_max.saturating_add(settings.answer_timeout))
    }

    /// Makes it durable, on the synchronous standbys too. One in which a statement failed is taken back.
    ///
    /// # Errors
    /// [`PgError::Unknown`] if the answer was lost. Anything else: nothing was done.
    pub async fn commit(self) -> Result<Outcome, PgError> {
        if self.failed {
            return self.roll_back().await.map(|()| Outcome::RolledBack);
        }
        if !self.begun {
            self.lent.give_back();
            return Ok(Outcome::Committed);
        }
        // Not asked for.
        if self.busy || self.lent.connection.client.is_closed() {
            return Err(PgError::Lost);
        }
        self.forget_warning();
        let asked = Instant::now();
        let (client, timeout) = self.client();
        let said = tokio::time::timeout(timeout, client.simple_query("COMMIT")).await.map_err(|_| PgError::Unknown)?;
        self.committed(asked, said.map(drop))?;
        Ok(Outcome::Committed)
    }

    /// The server took all of it back by itself, and said so.
    pub(crate) fn taken_back(self) {
        self.lent.give_back();
    }

    /// What was said of an earlier commit is over.
    pub(crate) fn forget_warning(&self) {
        self.lent.connection.take_warning();
    }

    /// What came of a commit that was asked for at `asked`.
    pub(crate) fn committed(mut self, asked: Instant, said: Result<(), tokio_postgres::Error>) -> Result<(), PgError> {
        match said {
            Err(error) => match PgError::from(error) {
                known @ (PgError::Contention | PgError::Unique { .. }) => Err(known),
                _ => Err(PgError::Unknown),
            },
            // It is committed on one machine that may be lost.
            Ok(()) if self.lent.connection.take_warning() => Err(PgError::Unknown),
            Ok(()) => {
                if self.changed {
                    self.lent.connection.note_proof(asked);
                }
                self.lent.give_back();
                Ok(())
            }
        }
    }

    /// Takes it back.
    ///
    /// # Errors
    /// [`PgError::Lost`]; it is taken back all the same. Also if what was read in it may be from the past.
    pub async fn roll_back(self) -> Result<(), PgError> {
        if self.busy {
            return Err(PgError::Lost);
        }
        if self.begun {
            let (client, timeout) = self.client();
            within(timeout, client.batch_execute("ROLLBACK")).await?;
        }
        let timely = self.is_timely();
        self.lent.give_back();
        if timely { Ok(()) } else { Err(PgError::Lost) }
    }
}

/// An answer, or none in time.
pub(crate) async fn within<T>(
    limit: Duration,
    work: impl Future<Output = Result<T, tokio_postgres::Error>>,
) -> Result<T, PgError> {
    tokio::time::timeout(limit, work).await.map_err(|_| PgError::Lost)?.map_err(PgError::from)
}

impl fmt::Debug for Transaction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Transaction").field("scope", &self.scope).finish_non_exhaustive()
    }
}
