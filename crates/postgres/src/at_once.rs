//! A whole transaction in one round trip.

use futures_util::future::{Either, join3, ready};

use crate::error::PgError;
use crate::pipeline::{Done, Step, in_order, run};
use crate::transaction::Transaction;

impl Transaction {
    /// Runs statements in their order and commits them, all sent before the first is answered: begun, done and durable
    /// in one round trip. After a statement that failed the server takes all of them back by itself. So what must hold is
    /// best made a statement that fails where it doesn't.
    ///
    /// # Errors
    /// That of the first statement that failed: nothing was done then. [`PgError::Unknown`] as for [`Self::commit`].
    pub async fn at_once(mut self, steps: &[Step<'_>]) -> Result<Vec<Done>, PgError> {
        // Statements that this connection has not seen are prepared before anything is asked for.
        let mut statements = Vec::with_capacity(steps.len());
        for step in steps {
            statements.push(self.statement(&step.text).await?);
        }
        // What was said of an earlier one is over.
        self.lent.connection.take_warning();
        let opening = self.opens();
        let (client, timeout) = self.client();
        // Polled in this order, so sent in this order.
        let work = join3(
            opening
                .as_deref()
                .map_or_else(|| Either::Left(ready(Ok(()))), |sql| Either::Right(client.batch_execute(sql))),
            in_order(steps.iter().zip(&statements).map(|(step, statement)| run(client, statement, step))),
            client.simple_query("COMMIT"),
        );
        let (opened, done, ended) = tokio::time::timeout(timeout, work).await.map_err(|_| PgError::Unknown)?;
        // The server has said why it took all back; or nothing was heard, of the commit either.
        let failed = |error: tokio_postgres::Error| match error.as_db_error() {
            Some(_) => PgError::from(error),
            None => PgError::Unknown,
        };
        opened.map_err(failed)?;
        let done = done.into_iter().collect::<Result<Vec<_>, _>>().map_err(failed)?;
        ended.map_err(|error| match PgError::from(error) {
            known @ (PgError::Contention | PgError::Unique { .. }) => known,
            _ => PgError::Unknown,
        })?;
        // It is committed on one machine that may be lost.
        if self.lent.connection.take_warning() {
            return Err(PgError::Unknown);
        }
        self.lent.give_back();
        Ok(done)
    }
}
