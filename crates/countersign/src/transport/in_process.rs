//! The same router that the server has, called in this process, with the deployment's lock held meanwhile.

use axum::Router;
use axum::body::Body;
use http_body_util::BodyExt;
use tower::ServiceExt;

use super::{Ask, Reply};
use crate::deployment::Lock;
use crate::problem::{Exit, Problem};

/// A deployment opened by this process.
pub struct InProcess {
    router: Router,
    _lock: Option<Lock>,
}

impl InProcess {
    /// Answers from this router. The lock is given back when this is dropped.
    #[must_use]
    pub const fn new(router: Router, lock: Option<Lock>) -> Self {
        Self { router, _lock: lock }
    }

    pub(super) async fn send(&self, ask: Ask) -> Result<Reply, Problem> {
        let request = ask.header(http::header::HOST, "localhost").build(Body::from)?;
        let Ok(response) = self.router.clone().oneshot(request).await;
        let (head, body) = response.into_parts();
        let broken = |_| Problem::new(Exit::Failed, "the answer broke off");
        let body = body.collect().await.map_err(broken)?.to_bytes();
        Ok(Reply { status: head.status, headers: head.headers, body })
    }
}
