//! The same router that the server has, called in this process, with the deployment's lock held meanwhile.

use std::sync::Arc;

use countersign_guard::Peer;
use http::header::HOST;
use http_body_util::{BodyExt, Full};

use super::{Ask, Reply};
use crate::compose::Opened;
use crate::deployment::Lock;
use crate::problem::Problem;

/// A deployment opened by this process.
pub struct InProcess {
    // Closed before the lock is given back: fields are dropped in this order.
    opened: Arc<Opened>,
    _lock: Option<Lock>,
}

impl InProcess {
    /// Answers from this deployment. The lock is given back when this is dropped.
    #[must_use]
    pub const fn new(opened: Arc<Opened>, lock: Option<Lock>) -> Self {
        Self { opened, _lock: lock }
    }

    /// The first of the server's names.
    pub(super) fn authority(&self) -> Option<String> {
        let name = self.opened.config.server.names.0.first()?;
        Some(if name.contains(':') { format!("[{name}]") } else { name.clone() })
    }

    /// Whether other services of the deployment would be needed, which are not here.
    pub(super) fn is_alone(&self) -> bool {
        !self.opened.config.services.run.is_all()
    }

    pub(super) async fn send(&self, ask: Ask) -> Result<Reply, Problem> {
        let ask = match self.authority() {
            Some(authority) => ask.header(HOST, authority),
            None => ask,
        };
        let request = ask.build(Full::new)?;
        let response = self.opened.router()?.answer(Peer::default(), request).await;
        let (head, body) = response.into_parts();
        let Ok(body) = body.collect().await;
        let body = body.to_bytes();
        Ok(Reply { status: head.status, headers: head.headers, body })
    }
}
