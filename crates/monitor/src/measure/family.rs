//! Every measure there is.

/// What kind of number a measure is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Only grows, from 0 when the service starts.
    Counter,
    /// Goes up and down.
    Gauge,
    /// How many were at most so much.
    Histogram,
}

impl Kind {
    /// The word that both text formats use.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

/// A measure: a name with a number for each combination of labels.
#[derive(Debug, PartialEq, Eq)]
pub struct Family {
    /// Its name, by the conventions of Prometheus: with its unit, and `_total` if it is a counter.
    pub name: &'static str,
    /// What kind of number.
    pub kind: Kind,
    /// The labels besides `service` and `instance`, which all have.
    pub labels: &'static [&'static str],
    /// What it says.
    pub help: &'static str,
}

macro_rules! families {
    ($($id:ident = $name:literal, $kind:ident, [$($label:literal),*], $help:literal;)*) => {
        $(
            #[doc = $help]
            pub(super) static $id: Family =
                Family { name: concat!("countersign_", $name), kind: Kind::$kind, labels: &[$($label),*], help: $help };
        )*

        /// Every measure, in the order in which they are written.
        pub static FAMILIES: &[&Family] = &[$(&$id),*];
    };
}

families! {
    UP = "up", Gauge, [], "1 if the service said how it is, 0 if it could not be asked.";
    READY = "ready", Gauge, [], "1 if the service decides, 0 if it refuses everything.";
    BUILD = "build_info", Gauge, ["version"], "Always 1; the label is the release that the service is.";
    STARTED = "start_time_seconds", Gauge, [], "When the service started, in seconds since 1970.";
    CLOCK = "clock_offset_seconds", Gauge, [],
        "By how much the service's clock is ahead of the clock of who asks it.";
    REQUESTS = "requests_total", Counter, ["door", "action", "verdict"],
        "Requests that came to an end at the service, by what came of them.";
    REFUSALS = "refusals_total", Counter, ["door", "action", "reason"], "Requests refused or failed, by the reason.";
    DURATION = "request_duration_seconds", Histogram, ["door", "action"],
        "From when the service's guard was asked until the request's record was written.";
    TOKEN_AGE = "token_age_seconds", Histogram, [],
        "How old tokens were when they were used, at the service where the request came in.";
    ROWS = "released_rows_total", Counter, [], "Rows of which sealed cells left the store.";
    CELLS = "released_cells_total", Counter, [], "Cells that left the store; at keys, those counted against budgets.";
    EPOCH = "facts_epoch", Gauge, [], "The epoch of the facts that the service decides by.";
    FACTS_AGE = "facts_age_seconds", Gauge, [], "How long ago the authority vouched for those facts.";
    RECORDS = "ledger_records", Gauge, [], "Durable records of the service's ledger.";
    LAG = "ledger_lag_records", Gauge, [], "Durable records that the ledger's newest checkpoint does not cover yet.";
    COSIGNED = "ledger_cosignatures", Gauge, [], "How many witnesses cosigned the ledger's newest checkpoint.";
    WRITABLE = "ledger_writable", Gauge, [], "1 if the ledger takes records; a service whose ledger doesn't, refuses.";
    APPEND = "ledger_append_duration_seconds", Histogram, [], "How long it took until a record was durable.";
    APPEND_FAILED = "ledger_append_failures_total", Counter, [], "Records that could not be written.";
    CERTIFICATE = "certificate_expiry_timestamp_seconds", Gauge, [],
        "When the service's certificate ends, in seconds since 1970; it is renewed at half of its life.";
    KMS = "kms_up", Gauge, ["provider"], "1 if the key management service of that name answers.";
    SPANS = "spans_total", Counter, ["outcome"],
        "Spans for the OpenTelemetry collector: exported, dropped because too many waited, or failed.";
}
