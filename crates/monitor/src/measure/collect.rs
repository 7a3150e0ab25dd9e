//! Asking all services how they are.

use std::sync::Arc;
use std::time::Duration;

use countersign_model::Clock;
use countersign_services::{ServiceStatus, Statuses};
use futures_util::future::join_all;
use serde_json::{Value, json};
use tokio::time::timeout;

use super::points::points;
use super::text::{Format, render};

/// How long a service has to say how it is.
const ASK_TIME: Duration = Duration::from_secs(2);

/// A service, and how it is.
#[derive(Debug, Clone)]
pub struct Known {
    /// By which name it is known: `gateway`, or `gateway/a` where there are several.
    pub name: String,
    /// How it is; `None` if it could not be asked.
    pub status: Option<ServiceStatus>,
}

impl Known {
    /// Whether it takes part: it can be asked, decides, and its ledger takes records.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.status.as_ref().is_some_and(|status| status.is_ready && status.ledger_is_writable)
    }
}

/// Whether each of them is ready. Of none, nobody knows.
#[must_use]
pub fn is_ready(all: &[Known]) -> bool {
    !all.is_empty() && all.iter().all(Known::is_ready)
}

/// Asks all services how they are.
#[derive(Clone)]
pub struct Collector {
    statuses: Arc<dyn Statuses>,
    clock: Arc<dyn Clock>,
}

impl Collector {
    /// Asks these.
    #[must_use]
    pub fn new(statuses: Arc<dyn Statuses>, clock: Arc<dyn Clock>) -> Self {
        Self { statuses, clock }
    }

    /// How they all are; they are asked at the same time, and have two seconds.
    pub async fn ask(&self) -> Vec<Known> {
        let asked = self.statuses.all().into_iter().map(|(name, report)| async move {
            let status = timeout(ASK_TIME, report.status()).await.ok().and_then(Result::ok);
            Known { name, status }
        });
        join_all(asked).await
    }

    /// What they all measure, as text.
    pub async fn text(&self, format: Format) -> String {
        render(&points(&self.ask().await, self.clock.now()), format)
    }

    /// The same as a JSON document, with how each service is, for whoever asks by way of the gateway.
    pub async fn document(&self) -> Value {
        let (all, now) = (self.ask().await, self.clock.now());
        let services: Vec<Value> = all.iter().map(service).collect();
        let text = render(&points(&all, now), Format::Prometheus);
        json!({ "format": Format::Prometheus.content_type(), "text": text, "services": services })
    }

    /// The time, by the clock that offsets are counted against.
    #[must_use]
    pub fn clock(&self) -> &Arc<dyn Clock> {
        &self.clock
    }
}

/// How one service is.
fn service(known: &Known) -> Value {
    let Some(status) = &known.status else { return json!({ "name": known.name, "is_ready": false }) };
    let kms: serde_json::Map<_, _> = status.kms.iter().map(|(name, is_up)| (name.clone(), json!(is_up))).collect();
    json!({
        "name": known.name,
        "is_ready": known.is_ready(),
        "started": status.started.0,
        "epoch": status.epoch,
        "facts_age_ms": status.facts_age_ms,
        "ledger_records": status.ledger_records,
        "ledger_lag": status.ledger_records.saturating_sub(status.ledger_integrated),
        "ledger_cosignatures": status.ledger_cosigned,
        "ledger_is_writable": status.ledger_is_writable,
        "certificate_expires": status.certificate_expires.map(|expires| expires.0),
        "kms": kms,
    })
}

#[async_trait::async_trait]
impl crate::desk::Metrics for Collector {
    async fn document(&self) -> Value {
        Self::document(self).await
    }
}
