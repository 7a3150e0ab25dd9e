//! Sending.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use countersign_outbound::address::Url;
use countersign_outbound::fetch::{Ask, Content, Fetcher, Outbound};
use prost::Message;
use tokio::time::Instant;
use zeroize::Zeroizing;

use super::convert;
use super::tracer::{Outcome, Span, Tracer};
use crate::measure::{Collector, points};

/// How long spans wait at most before they are sent.
const SPANS_EVERY: Duration = Duration::from_secs(1);

/// The most spans in one message.
const BATCH_MAX: usize = 1024;

/// How often a message is tried that the collector does not take for now.
const TRIES: u32 = 3;

/// Header fields that the collector wants, such as an API key. They are not shown.
#[derive(Clone, Default)]
pub struct Headers {
    authorization: Option<Zeroizing<String>>,
    others: Vec<(&'static str, String)>,
}

/// The text is not header fields.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected lines such as \"name: value\", at most 16, with names of lower-case letters, digits and '-'")]
pub struct HeadersError;

impl Headers {
    /// The most of them.
    const MAX: usize = 16;

    /// From lines such as `name: value`. Empty lines and those that begin with `#` are left out.
    ///
    /// # Errors
    /// [`HeadersError`], which does not repeat any of the text.
    pub fn parse(text: &str) -> Result<Self, HeadersError> {
        let mut headers = Self::default();
        let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
        for line in lines {
            let (name, value) = line.split_once(':').ok_or(HeadersError)?;
            let (name, value) = (name.trim().to_ascii_lowercase(), value.trim().to_owned());
            let is_name = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
            let is_value = value.bytes().all(|byte| byte.is_ascii_graphic() || byte == b' ');
            if !is_name || !is_value || headers.others.len() >= Self::MAX {
                return Err(HeadersError);
            }
            if name == "authorization" {
                headers.authorization = Some(Zeroizing::new(value));
            } else {
                // A few words, once for a process.
                headers.others.push((String::leak(name), value));
            }
        }
        Ok(headers)
    }
}

impl fmt::Debug for Headers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Headers(..)")
    }
}

/// Where a collector is, and how it is spoken to.
#[derive(Debug, Clone)]
pub struct Collecting {
    base: String,
    allow: String,
    /// Certificate authorities, in PEM, that are trusted for it besides the platform's.
    pub ca_pem: Option<Arc<str>>,
    /// What it wants in each request's head.
    pub headers: Headers,
    /// How often measures are sent.
    pub measures_every: Duration,
}

impl Collecting {
    /// The collector at this base address, to which `/v1/traces` and `/v1/metrics` are added; `None` unless it is an
    /// `https` URL, or an `http` one of a loopback address.
    #[must_use]
    pub fn at(base: &str) -> Option<Self> {
        let url = Url::parse(base).filter(|url| !url.has_query())?;
        let is_here = ["127.0.0.1", "::1", "localhost"].contains(&url.host());
        let base = base.trim_end_matches('/').to_owned();
        (url.is_tls() || is_here).then(|| Self {
            base,
            allow: url.host_and_port(),
            ca_pem: None,
            headers: Headers::default(),
            measures_every: Duration::from_secs(15),
        })
    }

    fn ask(&self, path: &str, bytes: Vec<u8>) -> Option<Ask> {
        let url = Url::parse(&format!("{}{path}", self.base))?;
        let content = Content { media_type: "application/x-protobuf", bytes: Zeroizing::new(bytes) };
        Some(Ask {
            ca_pem: self.ca_pem.clone(),
            authorization: self.headers.authorization.clone(),
            fields: self.headers.others.clone(),
            ..Ask::post(url, content)
        })
    }
}

/// Sends the spans and the measures of one process.
pub struct Exporter {
    collecting: Collecting,
    tracer: Arc<Tracer>,
    collector: Collector,
    instance: String,
    outbound: Arc<dyn Outbound>,
}

impl Exporter {
    /// Sends what `tracer` has, and what the services that `collector` asks measure: those of this process only, as each
    /// process sends its own. `instance` is the process's name.
    #[must_use]
    pub fn new(collecting: Collecting, tracer: Arc<Tracer>, collector: Collector, instance: &str) -> Self {
        let outbound = Arc::new(Fetcher::new([collecting.allow.clone()]));
        Self { collecting, tracer, collector, instance: instance.to_owned(), outbound }
    }

    /// Sends for ever.
    pub async fn run(self) {
        let mut measured = Instant::now();
        let mut failing = false;
        loop {
            self.tracer.enough(SPANS_EVERY).await;
            let mut went = self.send_spans().await;
            if measured.elapsed() >= self.collecting.measures_every {
                measured = Instant::now();
                went &= self.send_measures().await;
            }
            if went == failing {
                match failing {
                    false => tracing::warn!("the OpenTelemetry collector takes nothing; spans are dropped"),
                    true => tracing::info!("the OpenTelemetry collector takes spans again"),
                }
                failing = !went;
            }
        }
    }

    /// Sends the spans that wait. Returns whether the collector took them.
    pub async fn send_spans(&self) -> bool {
        let mut all = true;
        for batch in self.tracer.take().chunks(BATCH_MAX) {
            let message = convert::traces(batch, &self.instance).encode_to_vec();
            // A collector that has not taken one is not there for the others.
            let went = all && self.send("/v1/traces", message).await;
            let outcome = if went { Outcome::Exported } else { Outcome::Failed };
            batch.iter().for_each(|span: &Span| self.tracer.count(span.seen.service, outcome));
            all &= went;
        }
        all
    }

    /// Sends the measures as they are now. Returns whether the collector took them.
    pub async fn send_measures(&self) -> bool {
        let known = self.collector.ask().await;
        let now = self.collector.clock().now();
        self.send("/v1/metrics", convert::metrics(&points(&known, now), now).encode_to_vec()).await
    }

    /// Sends a message; again, where the protocol says that it may be sent again.
    async fn send(&self, path: &str, message: Vec<u8>) -> bool {
        let mut wait = Duration::from_millis(200);
        for attempt in 1..=TRIES {
            let Some(ask) = self.collecting.ask(path, message.clone()) else { return false };
            match self.outbound.call(ask).await {
                Ok(answered) if (200..300).contains(&answered.status) => return true,
                Ok(answered) if ![429, 502, 503, 504].contains(&answered.status) => {
                    tracing::debug!(status = answered.status, path, "the OpenTelemetry collector refused a message");
                    return false;
                }
                Ok(_) | Err(_) if attempt == TRIES => return false,
                Ok(_) | Err(_) => {}
            }
            tokio::time::sleep(wait).await;
            wait = wait.saturating_mul(2);
        }
        false
    }
}
