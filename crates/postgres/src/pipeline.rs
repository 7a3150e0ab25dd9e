//! Statements that are sent together.

use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;

use futures_util::StreamExt as _;
use futures_util::future::{join, poll_fn};
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Row, Statement};

use crate::error::PgError;
use crate::transaction::{Transaction, within};

/// One statement of several.
pub struct Step<'a> {
    /// Its text.
    pub text: Arc<str>,
    /// Its parameters.
    pub params: Vec<Box<dyn ToSql + Sync + Send + 'a>>,
}

/// What a statement came to.
#[derive(Debug)]
pub struct Done {
    /// The rows that it gave.
    pub rows: Vec<Row>,
    /// How many rows it touched.
    pub touched: u64,
}

impl Transaction {
    /// Runs statements in their order, all of them sent before the first is answered. What each came to: after the first
    /// that failed, all fail.
    ///
    /// # Errors
    /// As [`Self::query`], for what concerns all of them.
    pub async fn together(&mut self, steps: &[Step<'_>]) -> Result<Vec<Result<Done, PgError>>, PgError> {
        let mut statements = Vec::with_capacity(steps.len());
        for step in steps {
            statements.push(self.statement(&step.text).await?);
        }
        self.enter()?;
        let opening = self.opens();
        let (client, timeout) = self.client();
        let work = async {
            let sent = in_order(steps.iter().zip(&statements).map(|(step, statement)| run(client, statement, step)));
            let Some(opening) = opening else { return Ok(sent.await) };
            let (opened, done) = join(client.batch_execute(&opening), sent).await;
            opened.map(|()| done)
        };
        // Many statements take longer than one.
        let patience = timeout.saturating_mul(u32::try_from(steps.len() / 1000).unwrap_or(1).saturating_add(1));
        let done = within(patience, work).await;
        let done = self.leave(done)?;
        let mut out = Vec::with_capacity(done.len());
        for (one, statement) in done.into_iter().zip(&statements) {
            self.note(one.as_ref().ok(), statement);
            out.push(self.leave(one.map_err(PgError::from)));
        }
        Ok(out)
    }
}

impl Transaction {
    /// What a statement came to.
    pub(crate) fn note(&mut self, done: Option<&Done>, statement: &Statement) {
        if done.is_some_and(|done| done.touched > 0) && statement.columns().is_empty() {
            self.note_change();
        }
    }
}

pub(crate) async fn run(
    client: &Client,
    statement: &Statement,
    step: &Step<'_>,
) -> Result<Done, tokio_postgres::Error> {
    let params = step.params.iter().map(|one| &**one as &(dyn ToSql + Sync));
    let mut stream = pin!(client.query_raw(statement, params).await?);
    let mut rows = Vec::new();
    while let Some(row) = stream.next().await {
        rows.push(row?);
    }
    Ok(Done { rows, touched: stream.rows_affected().unwrap_or(0) })
}

/// Begins every one before it waits for the first. Answers come in the order of the questions.
pub(crate) async fn in_order<T>(all: impl Iterator<Item = impl Future<Output = T>>) -> Vec<T> {
    let mut all: Vec<Pin<Box<_>>> = all.map(Box::pin).collect();
    let mut early = Vec::with_capacity(all.len());
    poll_fn(|context| {
        for one in &mut all {
            early.push(one.as_mut().poll(context));
        }
        Poll::Ready(())
    })
    .await;
    let mut done = Vec::with_capacity(all.len());
    for (one, early) in all.into_iter().zip(early) {
        done.push(match early {
            Poll::Ready(value) => value,
            Poll::Pending => one.await,
        });
    }
    done
}
