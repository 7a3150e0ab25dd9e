//! What the services of this process measure: where it is counted, how they say how they are, and where it is shown or
//! sent.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use countersign_audit::Ledger;
use countersign_crypto::tls::CertificateSlot;
use countersign_guard::{FactsCell, Guard};
use countersign_keys::TenantKeys;
use countersign_model::{Clock, Service};
use countersign_monitor::http::{Pages, PagesParts};
use countersign_monitor::measure::{Collector, LedgerState, LocalParts, LocalReport, Watching};
use countersign_monitor::otlp::{Collecting, Exporter, Headers, Tracer};
use countersign_services::{Report, Statuses};
use tokio::task::JoinHandle;

use super::Base;
use crate::config::Config;
use crate::problem::{Problem, io};

/// The name of this process among others of the same services.
fn instance(config: &Config) -> &str {
    config.services.name.get().unwrap_or("first")
}

/// Counters that stand at 0, and spans if a collector wants them.
pub(super) fn watching(config: &Config, clock: &Arc<dyn Clock>) -> Watching {
    let one_in = config.monitor.trace_one_in.number();
    let tracer = || Tracer::new(one_in, instance(config), Arc::clone(clock));
    Watching::new(config.monitor.otlp.get().map(|_| tracer()))
}

/// How a service of this process is: its facts, its ledger, and what else it has.
pub(super) struct Known<'a> {
    pub(super) service: Service,
    pub(super) facts: &'a Arc<FactsCell>,
    pub(super) ledger: &'a Arc<Ledger>,
    pub(super) certificate: Option<Arc<CertificateSlot>>,
    /// The key service's keys; nobody else's.
    pub(super) keys: Option<Arc<TenantKeys>>,
}

/// What says how a service is.
pub(super) fn report(base: &Base, known: Known<'_>) -> Arc<dyn Report> {
    let ledger = Arc::clone(known.ledger);
    let kms = move || {
        let health = known.keys.as_ref().map(|keys| keys.health());
        let providers = health.into_iter().flat_map(|health| health.providers);
        let named = |name: Option<countersign_model::Name>| name.map_or("default".to_owned(), |name| name.to_string());
        providers.map(|one| (named(one.name), one.down.is_none())).collect()
    };
    LocalReport::new(LocalParts {
        service: known.service,
        started: base.started,
        clock: Arc::clone(&base.clock),
        facts: Arc::clone(known.facts),
        watching: base.watching.clone(),
        ledger: Box::new(move || state(&ledger)),
        certificate: known.certificate,
        kms: Box::new(kms),
    })
}

fn state(ledger: &Ledger) -> LedgerState {
    let (records, is_writable) = (ledger.size(), ledger.is_writable());
    match ledger.log().map(|log| log.newest()) {
        Some(newest) => LedgerState { records, integrated: newest.size, cosigned: newest.cosigned, is_writable },
        None => LedgerState { records, integrated: records, cosigned: 0, is_writable },
    }
}

/// Sends spans and measures of the services of this process, if a collector wants them.
pub(super) fn export(base: &Base, here: Vec<(String, Arc<dyn Report>)>) -> Result<Option<JoinHandle<()>>, Problem> {
    let (Some(tracer), Some(base_url)) = (base.watching.tracer(), base.config.monitor.otlp.get()) else {
        return Ok(None);
    };
    let monitor = &base.config.monitor;
    let mut collecting = Collecting::at(base_url).ok_or_else(|| {
        Problem::usage("[monitor] otlp: expected an https URL such as \"https://collector.example:4318\"")
            .next("unencrypted http is for a collector on this machine only")
    })?;
    let read = |path: &str| std::fs::read_to_string(path).map_err(io("read", std::path::Path::new(path)));
    if let Some(path) = monitor.otlp_ca.get() {
        collecting.ca_pem = Some(read(path)?.into());
    }
    if let Some(path) = monitor.otlp_headers.get() {
        let headers = Headers::parse(&read(path)?);
        collecting.headers = headers.map_err(|error| Problem::usage(format!("{path}: {error}")))?;
    }
    collecting.measures_every = Duration::from_secs(monitor.otlp_measures_seconds.number());
    let collector = Collector::new(Arc::new(here), Arc::clone(&base.clock));
    let exporter = Exporter::new(collecting, Arc::clone(tracer), collector, instance(&base.config));
    Ok(Some(tokio::spawn(exporter.run())))
}

/// Where the measures of all services are shown, if anywhere.
pub(super) fn listen(config: &Config) -> Result<Option<SocketAddr>, Problem> {
    let parsed = config.monitor.listen.get().map(|text| text.parse());
    parsed.transpose().map_err(|_| {
        Problem::usage("[monitor] listen: expected an address and port such as \"127.0.0.1:9464\", or \"\" for none")
    })
}

/// Asks all services of the deployment how they are.
pub(super) fn collector(base: &Base, statuses: Arc<dyn Statuses>) -> Collector {
    Collector::new(statuses, Arc::clone(&base.clock))
}

/// What is answered at the monitor's port. The guard is the monitor's own.
pub(super) fn pages(base: &Base, collector: Collector, guard: &Arc<Guard>) -> Arc<Pages> {
    let guard = (!base.config.monitor.open_metrics).then(|| Arc::clone(guard));
    Pages::new(PagesParts { collector, guard, entropy: Arc::clone(&base.entropy) })
}
