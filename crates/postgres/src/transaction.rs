//! One transaction.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use countersign_model::TenantId;
use futures_util::future::{join, join3};
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Row, Statement};

use crate::error::PgError;
use crate::pool::Lent;

/// Whose rows a transaction may see. Row security is keyed to it; without it no row of any tenant is seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// One tenant's.
    Tenant(TenantId),
    /// No tenant's: tables that belong to services rather than tenants.
    Service,
}

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
/// Isolation is the server's own (read committed on PostgreSQL): one statement sees one moment.
pub struct Transaction {
    pub(crate) lent: Lent,
    scope: Scope,
    begun: bool,
}

impl Transaction {
    pub(crate) const fn new(lent: Lent, scope: Scope) -> Self {
        Self { lent, scope, begun: false }
    }

    /// What begins it: for this transaction alone, so that the connection forgets it at its end.
    fn opening(&self) -> String {
        match self.scope {
            // Hexadecimal digits and hyphens.
            Scope::Tenant(tenant) => {
                format!("BEGIN; SELECT set_config('countersign.tenant', '{}', true)", tenant.uuid())
            }
            Scope::Service => "BEGIN".to_owned(),
        }
    }

    pub(crate) async fn statement(&mut self, text: &Arc<str>) -> Result<Statement, PgError> {
        let timeout = self.lent.pool.settings.answer_timeout;
        tokio::time::timeout(timeout, self.lent.connection.statement(text)).await.map_err(|_| PgError::Lost)?
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

    /// Runs one statement and gives its rows.
    ///
    /// # Errors
    /// [`PgError`]; after one, nothing but [`Self::roll_back`] is of use.
    pub async fn query(&mut self, text: &Arc<str>, params: &[&(dyn ToSql + Sync)]) -> Result<Vec<Row>, PgError> {
        let statement = self.statement(text).await?;
        let timeout = self.lent.pool.settings.answer_timeout;
        let (begun, opening) = (self.begun, self.opening());
        self.begun = true;
        let client = &self.lent.connection.client;
        let work = async {
            if begun {
                return client.query(&statement, params).await;
            }
            // Both are sent before the first is answered.
            let (opened, rows) = join(client.batch_execute(&opening), client.query(&statement, params)).await;
            opened.and(rows)
        };
        Ok(tokio::time::timeout(timeout, work).await.map_err(|_| PgError::Lost)??)
    }

    /// Runs one statement and says how many rows it touched.
    ///
    /// # Errors
    /// As [`Self::query`].
    pub async fn execute(&mut self, text: &Arc<str>, params: &[&(dyn ToSql + Sync)]) -> Result<u64, PgError> {
        let statement = self.statement(text).await?;
        let timeout = self.lent.pool.settings.answer_timeout;
        let (begun, opening) = (self.begun, self.opening());
        self.begun = true;
        let client = &self.lent.connection.client;
        let work = async {
            if begun {
                return client.execute(&statement, params).await;
            }
            let (opened, rows) = join(client.batch_execute(&opening), client.execute(&statement, params)).await;
            opened.and(rows)
        };
        Ok(tokio::time::timeout(timeout, work).await.map_err(|_| PgError::Lost)??)
    }

    /// Runs statements without parameters or rows: what makes tables.
    ///
    /// # Errors
    /// As [`Self::query`].
    pub async fn run(&mut self, text: &str) -> Result<(), PgError> {
        let opening = self.opening();
        let client = &self.lent.connection.client;
        if !self.begun {
            client.batch_execute(&opening).await?;
            self.begun = true;
        }
        Ok(client.batch_execute(text).await?)
    }

    /// One statement that only reads, begun and ended in the same round trip.
    ///
    /// # Errors
    /// As [`Self::query`].
    pub async fn read(mut self, text: &Arc<str>, params: &[&(dyn ToSql + Sync)]) -> Result<Vec<Row>, PgError> {
        let statement = self.statement(text).await?;
        let (timeout, opening) = (self.lent.pool.settings.answer_timeout, self.opening());
        let client = &self.lent.connection.client;
        let work = join3(
            client.batch_execute(&opening),
            client.query(&statement, params),
            // Nothing was changed, so there is nothing to commit; after an error it ends the transaction all the same.
            client.batch_execute("ROLLBACK"),
        );
        let (opened, rows, ended) = tokio::time::timeout(timeout, work).await.map_err(|_| PgError::Lost)?;
        opened?;
        ended?;
        self.lent.give_back();
        Ok(rows?)
    }

    /// Makes it durable, on the synchronous standbys too.
    ///
    /// # Errors
    /// [`PgError::Unknown`] if the answer was lost. Anything else: nothing was done.
    pub async fn commit(self) -> Result<Outcome, PgError> {
        if !self.begun {
            self.lent.give_back();
            return Ok(Outcome::Committed);
        }
        // What was said of an earlier one is over.
        self.lent.connection.take_warning();
        let timeout = self.lent.pool.settings.answer_timeout;
        let committing = self.lent.connection.client.simple_query("COMMIT");
        let said = tokio::time::timeout(timeout, committing).await.map_err(|_| PgError::Unknown)?;
        match said {
            Err(error) => match PgError::from(error) {
                known @ (PgError::Contention | PgError::Unique { .. }) => Err(known),
                _ => Err(PgError::Unknown),
            },
            // It is committed on one machine that may be lost.
            Ok(_) if self.lent.connection.take_warning() => Err(PgError::Unknown),
            Ok(_) => {
                self.lent.give_back();
                Ok(Outcome::Committed)
            }
        }
    }

    /// Takes it back.
    ///
    /// # Errors
    /// [`PgError::Lost`]; it is taken back all the same.
    pub async fn roll_back(self) -> Result<(), PgError> {
        if self.begun {
            let timeout = self.lent.pool.settings.answer_timeout;
            let ended = self.lent.connection.client.batch_execute("ROLLBACK");
            tokio::time::timeout(timeout, ended).await.map_err(|_| PgError::Lost)??;
        }
        self.lent.give_back();
        Ok(())
    }
}

impl fmt::Debug for Transaction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Transaction").field("scope", &self.scope).finish_non_exhaustive()
    }
}
