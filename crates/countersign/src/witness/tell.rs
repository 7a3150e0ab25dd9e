//! Tells a webhook that a log is refused: when that is seen, and again every hour for as long as it is so.

use std::collections::BTreeMap;

use countersign_model::UnixMs;
use countersign_outbound::address::Url;
use countersign_outbound::fetch::{Ask, Content, Fetcher, Outbound};
use serde_json::json;

use super::Alarm;
use crate::problem::Problem;

/// How long until it is told again.
const AGAIN_MS: u64 = 60 * 60 * 1000;

/// How long until a call that failed is made again.
const RETRY_MS: u64 = 60 * 1000;

/// The webhook of whoever runs the witness.
pub struct Webhook {
    url: Url,
    fetcher: Fetcher,
    /// By log: when it is to be told next.
    due: BTreeMap<String, UnixMs>,
}

impl Webhook {
    /// To that URL. It is named by whoever runs the witness, so it may be on their own network.
    ///
    /// # Errors
    /// If it is not the URL of a webhook.
    pub fn new(url: &str) -> Result<Self, Problem> {
        let url = Url::parse(url).ok_or_else(|| {
            Problem::usage("that is not the address of a webhook")
                .next("give one such as https://alerts.example/witness")
        })?;
        let fetcher = Fetcher::new([url.host_and_port()]);
        Ok(Self { url, fetcher, due: BTreeMap::new() })
    }

    /// Tells of everything that is due. Says what could not be told.
    pub async fn tell(&mut self, witness: &str, alarms: &[(String, Alarm)], now: UnixMs) -> Vec<String> {
        self.due.retain(|name, _| alarms.iter().any(|(log, _)| log == name));
        let mut failed = Vec::new();
        for (log, alarm) in alarms {
            if self.due.get(log).is_some_and(|due| *due > now) {
                continue;
            }
            let body = json!({
                "witness": witness, "log": log, "kind": alarm.kind, "since": alarm.at, "evidence": alarm.evidence,
                "text": format!("log {log} is refused by the witness: {}", alarm.kind),
            });
            let ask = Ask::post(self.url.clone(), Content::json(body.to_string().into_bytes()));
            let told = match self.fetcher.call(ask).await {
                Ok(answered) if (200..300).contains(&answered.status) => Ok(()),
                Ok(answered) => Err(format!("the webhook answered {}", answered.status)),
                Err(error) => Err(format!("the webhook: {error}")),
            };
            self.due.insert(log.clone(), now.plus_ms(if told.is_ok() { AGAIN_MS } else { RETRY_MS }));
            failed.extend(told.err());
        }
        failed
    }
}
