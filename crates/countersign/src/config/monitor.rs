//! `[monitor]`

// The comments are what the configuration file says, where addresses stand in quotation marks.
#![allow(rustdoc::bare_urls)]

use super::section::section;
use super::setting::{Names, Text, Whole};

section! {
    /// What the deployment's services measure, where it can be read, and to which collector it is sent. The listener is
    /// the monitor's; what is sent to a collector is sent by each process for itself.
    Monitor = "monitor" {
        /// Address and port for /metrics, /healthz and /readyz, by HTTPS, such as "127.0.0.1:9464"; empty is none.
        listen: Text = Text::empty();
        /// Host names and IP addresses that this port is reached by; its certificate is good for these. Where services
        /// run apart, it is what the authority's configuration says that counts.
        names: Names = Names(["localhost", "127.0.0.1", "::1"].map(str::to_owned).to_vec());
        /// Whether everybody who reaches the port may read the measures, without a token. They hold no data, but tell how
        /// busy the deployment is, and with what.
        open_metrics: bool = false;
        /// The OpenTelemetry collector, such as "https://collector.example:4318"; "http" only on this machine. Spans and
        /// measures go there by OTLP over HTTP; empty is nowhere.
        otlp: Text = Text::empty();
        /// A file of header fields that the collector wants, one "name: value" a line, such as an API key.
        otlp_headers: Text = Text::empty();
        /// A file of certificate authorities, in PEM, that are trusted for the collector besides the platform's.
        otlp_ca: Text = Text::empty();
        /// How often measures are sent to the collector, in seconds.
        otlp_measures_seconds: Whole<1, 3600> = Whole::new(15);
        /// One in so many requests is traced: the same ones at every service that has the same number here.
        trace_one_in: Whole<1, 1_000_000> = Whole::new(1);
        /// For how long the field classes that a role reads are taken for what it is there for, in hours from its first
        /// request on; after that a new one is an alert.
        learning_hours: Whole<0, 8_760> = Whole::new(168);
    }
}
