//! `[alerts]` and `[alerts.NAME]`

// The comments are what the configuration file says, where addresses stand in quotation marks.
#![allow(rustdoc::bare_urls)]

use countersign_monitor::Level;
use toml::de::DeValue;

use super::section::section;
use super::setting::{Setting, Text, Whole, choice, quoted};
use super::sso::Places;

section! {
    /// Alerts: how often somebody is told of what goes on. Whom to tell is in sections of their own, [alerts.NAME].
    Alerts = "alerts" {
        /// After how long an alert that goes on is told again, in milliseconds.
        repeat_ms: Whole<1_000, 604_800_000> = Whole::new(3_600_000);
        /// After how long without an event an alert is over, in milliseconds; longer than repeat_ms, or it ends in between.
        quiet_ms: Whole<1_000, 2_592_000_000> = Whole::new(14_400_000);
        /// How many notifications a minute one rule may cause. What comes besides is counted and told with the next.
        rule_per_minute: Whole<1, 1_000> = Whole::new(10);
        /// How many notifications a minute all rules may cause. Critical alerts are not held back by it.
        all_per_minute: Whole<1, 10_000> = Whole::new(60);
        /// What links in notifications begin with; empty takes the deployment's URL.
        link: Text = Text::empty();
        /// Hosts with ports, such as "alertmanager.internal.example:9093", that may be called although their addresses
        /// are not public ones, and without encryption where the URL says http.
        allow: Places = Places(Vec::new());
    }
}

choice! {
    /// What takes alerts.
    SinkKind {
        /// Signed JSON to a URL.
        Webhook = "webhook",
        /// Prometheus Alertmanager.
        Alertmanager = "alertmanager",
        /// E-mail.
        Smtp = "smtp",
    }
}

section! {
    /// One that is told of alerts. NAME is lower-case letters, digits, '_' and '-'. There may be any number of these
    /// sections; without any, alerts are only listed by `countersign alert list`.
    AlertSink = "alerts.NAME" {
        /// "webhook" posts JSON that is signed by the Standard Webhooks specification; "alertmanager" posts to
        /// Alertmanager's API of version 2; "smtp" sends e-mail by the server of the section mail.
        kind: SinkKind = SinkKind::Webhook;
        /// The least level that it is told of: "informational", "low", "medium", "high" or "critical".
        level: Level = Level::Low;
        /// Where to post; for Alertmanager its base URL, such as "https://alertmanager.example:9093".
        url: Text = Text::empty();
        /// A file with the webhook's secret, whsec_ and 24 to 64 bytes in base64, readable by its owner alone; without one
        /// the secret is in COUNTERSIGN_WEBHOOK_SECRET_NAME.
        secret_file: Text = Text::empty();
        /// A file with what is sent in the Authorization field, such as "Bearer …", readable by its owner alone; empty if
        /// there is none.
        authorization_file: Text = Text::empty();
        /// A file with certificate authorities in PEM that are trusted besides the platform's; empty if there is none.
        ca_file: Text = Text::empty();
        /// E-mail addresses, for kind "smtp".
        to: Addresses = Addresses(Vec::new());
    }
}

impl Setting for Level {
    fn expected() -> String {
        "one of \"informational\", \"low\", \"medium\", \"high\", \"critical\"".to_owned()
    }

    fn read(value: &DeValue<'_>) -> Option<Self> {
        value.as_str()?.parse().ok()
    }

    fn write(&self) -> String {
        quoted(self.as_str())
    }
}

/// E-mail addresses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Addresses(pub Vec<String>);

impl Setting for Addresses {
    fn expected() -> String {
        "a list of e-mail addresses such as [\"oncall@example.com\"]".to_owned()
    }

    fn read(value: &DeValue<'_>) -> Option<Self> {
        let address = |text: &str| countersign_outbound::mail::is_address(text).then(|| text.to_owned());
        let addresses = value.as_array()?.iter().map(|item| address(item.get_ref().as_str()?));
        addresses.collect::<Option<_>>().map(Self)
    }

    fn write(&self) -> String {
        let addresses: Vec<String> = self.0.iter().map(|address| quoted(address)).collect();
        format!("[{}]", addresses.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::Config;

    #[test]
    fn who_is_told_has_sections_below_alerts() {
        let read = |text: &str| Config::parse(Path::new("c.toml"), text).map_err(|error| error.to_string());
        let text = "[alerts]\nrepeat_ms = 60000\n[alerts.oncall]\nlevel = \"high\"\n[alerts.mail]\nkind = \"smtp\"\n\
                    to = [\"ops@example.com\"]\n";
        let config = read(text).unwrap();
        assert_eq!(config.alerts.repeat_ms.number(), 60_000);
        let kinds: Vec<_> = config.sinks.iter().map(|(name, sink)| (name.as_str(), sink.kind, sink.level)).collect();
        assert_eq!(kinds, [("mail", SinkKind::Smtp, Level::Low), ("oncall", SinkKind::Webhook, Level::High)]);
        assert_eq!(read(&config.to_text()).unwrap(), config);
        assert!(read("[alerts.Bad]\n").unwrap_err().contains("[alerts.Bad]"));
        assert!(read("[alerts.a]\nlevle = \"high\"\n").unwrap_err().contains("did you mean level?"));
        assert!(read("[alerts.a]\nto = [\"nobody\"]\n").unwrap_err().contains("e-mail addresses"));
    }
}
