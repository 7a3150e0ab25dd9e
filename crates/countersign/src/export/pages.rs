//! Records, a page at a time.

use bytes::Bytes;
use http::header::ACCEPT;
use http::{HeaderName, Method, StatusCode};
use serde_json::Value;
use std::time::Duration;

use super::{TypeEntry, Wish};
use crate::client::Client;
use crate::problem::{Exit, Problem};
use crate::query::Query;
use crate::transport::{Ask, Reply};

const CURSOR: &str = "countersign-cursor";
const PURPOSE: HeaderName = HeaderName::from_static("countersign-purpose");
/// What the server calls a cursor that it did not give for this query, or too long ago.
const NO_CURSOR: &str = "34000";

/// How long to wait before a page is asked for again that nobody answered.
const PAUSES: [Duration; 4] =
    [Duration::from_millis(250), Duration::from_millis(500), Duration::from_secs(1), Duration::from_secs(2)];

/// What a page is asked by.
pub(super) struct Pages<'a> {
    client: &'a Client,
    query: Query,
    purpose: Option<&'a String>,
}

/// One page.
pub(super) struct Page {
    /// A JSON list of records.
    pub(super) body: Bytes,
    /// Where the next one begins, if there may be one.
    pub(super) cursor: Option<String>,
}

/// Why there is no page.
pub(super) struct NoPage {
    pub(super) problem: Problem,
    /// Whether the cursor is the reason.
    pub(super) is_cursor: bool,
}

impl<'a> Pages<'a> {
    /// Every field by its name, so that a change of what the caller may see is a refusal and not other columns.
    pub(super) fn new(client: &'a Client, entry: &TypeEntry, wish: &'a Wish) -> Self {
        let mut query = Query::new(format!("/rest/v1/{}", entry.name));
        let fields: Vec<&str> = entry.fields.iter().map(countersign_model::Name::as_str).collect();
        query.add("select", &fields.join(","));
        if let Some(page) = wish.page {
            query.add("limit", &page.to_string());
        }
        Self { client, query, purpose: wish.purpose.as_ref() }
    }

    /// The page that begins there.
    pub(super) async fn next(&self, cursor: Option<&str>) -> Result<Page, NoPage> {
        let other = |problem| NoPage { problem, is_cursor: false };
        let reply = self.asked(cursor).await.map_err(other)?;
        if !reply.status.is_success() {
            let said: Value = serde_json::from_slice(&reply.body).unwrap_or_default();
            let is_cursor = said.get("code").and_then(Value::as_str) == Some(NO_CURSOR);
            return Err(NoPage { problem: self.client.said_no(&reply), is_cursor });
        }
        let cursor = reply.header(CURSOR).map(str::to_owned);
        Ok(Page { cursor, body: reply.body })
    }

    /// Reading is repeated without harm, so a server that is not there for a moment is no reason to stop.
    async fn asked(&self, cursor: Option<&str>) -> Result<Reply, Problem> {
        let mut query = self.query.clone();
        if let Some(cursor) = cursor {
            query.add("cursor", cursor);
        }
        let mut ask = Ask::new(Method::GET, query.text()).header(ACCEPT, "application/json");
        if let Some(purpose) = self.purpose {
            ask = ask.header(PURPOSE, purpose.clone());
        }
        for pause in PAUSES {
            match self.client.exchange(ask.clone()).await {
                Ok(reply) if is_passing(reply.status) => {}
                Ok(reply) => return Ok(reply),
                Err(problem) if problem.exit != Exit::Unavailable => return Err(problem),
                Err(_) => {}
            }
            tokio::time::sleep(pause).await;
        }
        self.client.exchange(ask).await
    }
}

const fn is_passing(status: StatusCode) -> bool {
    matches!(status.as_u16(), 502..=504)
}
