//! A whole transaction in one round trip.

use futures_util::future::{Either, join3, ready};
use tokio::time::Instant;

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
        self.enter()?;
        self.forget_warning();
        let opening = self.opens();
        let (client, timeout) = self.client();
        let asked = Instant::now();
        // Polled in this order, so sent in this order.
        let work = join3(
            opening
                .as_deref()
                .map_or_else(|| Either::Left(ready(Ok(()))), |sql| Either::Right(client.batch_execute(sql))),
            in_order(steps.iter().zip(&statements).map(|(step, statement)| run(client, statement, step))),
            client.simple_query("COMMIT"),
        );
        let (opened, done, ended) = tokio::time::timeout(timeout, work).await.map_err(|_| PgError::Unknown)?;
        let done = opened.and_then(|()| done.into_iter().collect::<Result<Vec<_>, _>>());
        let done = match done {
            Ok(done) => self.leave(Ok(done))?,
            Err(error) => {
                // The server has said why it took all back; or nothing was heard, of the commit either.
                let said = error.as_db_error().is_some();
                let error = self.leave(Err::<(), _>(PgError::from(error)));
                if said && ended.is_ok() {
                    self.taken_back();
                }
                return Err(if said { error.err().unwrap_or(PgError::Unknown) } else { PgError::Unknown });
            }
        };
        for (one, statement) in done.iter().zip(&statements) {
            self.note(Some(one), statement);
        }
        self.committed(asked, ended.map(drop))?;
        Ok(done)
    }
}
