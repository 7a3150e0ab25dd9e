//! Logs, witnesses, statuses and the monitor, over the wire.

use countersign_audit::{Exposure, LedgerQuery, Position, Selector, Verdict};
use countersign_model::UnixMs;
use countersign_services::{
    AddCheckpoint, Log, LogFailure, Proved, Report, ServiceStatus, TileName, Trail, TrailPage, Watch,
};

use super::*;
use crate::{Failed, RemoteLog, RemoteReport, RemoteTrail, RemoteWatch};

/// A service that says what reached it.
struct Said;

#[async_trait]
impl Log for Said {
    async fn keys(&self) -> Result<[String; 2], LogFailure> {
        Ok(["log".to_owned(), "witness".to_owned()])
    }

    async fn checkpoint(&self) -> Result<String, LogFailure> {
        Err(LogFailure::NotFound)
    }

    async fn tile(&self, name: TileName) -> Result<Vec<u8>, LogFailure> {
        Ok(vec![name.level; usize::from(name.width) * 32])
    }

    async fn cosign(&self, key: &str, asked: &AddCheckpoint) -> Result<String, LogFailure> {
        match asked.old_size {
            0 => Ok(format!("{key} {} {}", asked.proof.len(), asked.checkpoint)),
            size => Err(LogFailure::Contradicts { size }),
        }
    }

    async fn cosigned(&self, size: u64, _: &str, _: &str) -> Result<(), LogFailure> {
        if size == 9 { Ok(()) } else { Err(LogFailure::NotTaken) }
    }
}

#[async_trait]
impl Report for Said {
    async fn status(&self) -> Result<ServiceStatus, LogFailure> {
        Ok(status())
    }
}

#[async_trait]
impl Watch for Said {
    async fn watch(&self, call: &Call<'_>) -> Result<Vec<u8>, ServiceFailure> {
        Ok(format!("{} {} {}", call.caller, call.bearer.as_str(), call.epoch).into_bytes())
    }
}

#[async_trait]
impl Trail for Said {
    async fn query(&self, _: &Call<'_>, _: &[Option<TenantId>], _: &LedgerQuery) -> Result<TrailPage, ServiceFailure> {
        Err(ServiceFailure::Unavailable)
    }

    async fn exposures(&self, _: &Call<'_>, selector: &Selector) -> Result<Vec<Exposure>, ServiceFailure> {
        // More than was asked for, if 7 were.
        let count = if selector.limit == 7 { 8 } else { selector.limit };
        let exposure = Exposure {
            position: Position(4),
            time: selector.since,
            request: RequestId::from_u128(5),
            tenant: selector.tenants.first().copied(),
            verdict: Verdict::Released,
            service: Service::Store,
            signal: None,
            tally: None,
            accesses: None,
        };
        Ok(vec![exposure; count])
    }

    async fn prove(
        &self,
        call: &Call<'_>,
        owners: &[Option<TenantId>],
        request: RequestId,
    ) -> Result<Vec<Proved>, ServiceFailure> {
        if call.caller != Service::Authority || owners != [Some(TENANT), None] {
            return Err(ServiceFailure::Refused(Refusal::Forbidden));
        }
        Ok(vec![proved(request)])
    }
}

fn proved(request: RequestId) -> Proved {
    let leaf = request.as_bytes().to_vec();
    Proved { position: Position(1), leaf, size: 2, proof: vec![[3; 32]], checkpoint: "note".into(), key: "key".into() }
}

fn status() -> ServiceStatus {
    ServiceStatus {
        service: Service::Store,
        now: UnixMs(10),
        started: UnixMs(1),
        epoch: 3,
        facts_age_ms: 20,
        is_ready: true,
        ledger_records: 8,
        ledger_integrated: 7,
        ledger_cosigned: 3,
        ledger_is_writable: true,
        certificate_expires: None,
        kms: vec![("file".to_owned(), true)],
        measures: vec![1, 2],
    }
}

async fn served(deployment: &Deployment) -> Served {
    let said = Arc::new(Said);
    let parts = Parts {
        trail: Some(Arc::clone(&said) as _),
        log: Some(Arc::clone(&said) as _),
        report: Some(Arc::clone(&said) as _),
        watch: Some(said),
        ..Parts::default()
    };
    deployment.serve("store", parts).await
}

#[tokio::test]
async fn logs_are_read_and_witnessed() {
    let deployment = Deployment::new();
    let served = served(&deployment).await;
    let log = RemoteLog::new(deployment.channel("authority", "store", &served.address));
    assert_eq!(log.keys().await, Ok(["log".to_owned(), "witness".to_owned()]));
    assert_eq!(log.checkpoint().await, Err(LogFailure::NotFound));
    let tile = log.tile(TileName { level: 2, index: 5, width: 256 }).await.unwrap();
    assert_eq!(tile, vec![2; 8192]);
    let asked = |old_size| AddCheckpoint { old_size, proof: vec![[7; 32]; 3], checkpoint: "note".into() };
    assert_eq!(log.cosign("key", &asked(0)).await, Ok("key 3 note".to_owned()));
    assert_eq!(log.cosign("key", &asked(5)).await, Err(LogFailure::Contradicts { size: 5 }));
    assert_eq!(log.cosigned(9, "key", "lines").await, Ok(()));
    assert_eq!(log.cosigned(8, "key", "lines").await, Err(LogFailure::NotTaken));
    // Nothing of the kind is a tile or a proof.
    assert_eq!(log.tile(TileName { level: 0, index: 0, width: 0 }).await, Err(LogFailure::Unavailable));
    let long = AddCheckpoint { proof: vec![[7; 32]; 64], ..asked(0) };
    assert_eq!(log.try_cosign("key", &long).await, Err(Failed::Call(CallRefused::Malformed)));
    assert_eq!(served.noted.last().unwrap().2, CallRefused::Malformed);
}

#[tokio::test]
async fn a_monitor_reads_and_changes_nothing() {
    let deployment = Deployment::new();
    let served = served(&deployment).await;
    let log = RemoteLog::new(deployment.channel("monitor", "store", &served.address));
    assert!(log.keys().await.is_ok());
    assert_eq!(log.checkpoint().await, Err(LogFailure::NotFound));
    let asked = AddCheckpoint { old_size: 0, proof: Vec::new(), checkpoint: "note".into() };
    assert_eq!(log.try_cosign("key", &asked).await, Err(Failed::Call(CallRefused::Role)));
    assert_eq!(log.cosigned(9, "key", "lines").await, Err(LogFailure::Unavailable));
    let noted = ("monitor".to_owned(), "/countersign.v1.Log/Cosigned", CallRefused::Role);
    assert_eq!(served.noted.last(), Some(noted));
}

#[tokio::test]
async fn only_the_authority_and_monitors_are_told_how_a_service_is() {
    let deployment = Deployment::new();
    let served = served(&deployment).await;
    for role in ["monitor", "authority"] {
        let report = RemoteReport::new(deployment.channel(role, "store", &served.address));
        assert_eq!(report.status().await, Ok(status()), "{role}");
    }
    for role in ["gateway", "store", "keys"] {
        let report = RemoteReport::new(deployment.channel(role, "store", &served.address));
        assert_eq!(report.try_status().await, Err(Failed::Call(CallRefused::Role)), "{role}");
        let log = RemoteLog::new(deployment.channel(role, "store", &served.address));
        assert_eq!(log.checkpoint().await, Err(LogFailure::Unavailable), "{role}");
        let noted = (role.to_owned(), "/countersign.v1.Log/Checkpoint", CallRefused::Role);
        assert_eq!(served.noted.last(), Some(noted));
    }
}

#[tokio::test]
async fn the_authority_alone_asks_the_monitor() {
    let deployment = Deployment::new();
    let served = served(&deployment).await;
    let (bearer, request) = (bearer(), deployment.request());
    let watch = RemoteWatch::new(deployment.channel("authority", "store", &served.address));
    let answer = watch.watch(&call(&bearer, &request)).await;
    assert_eq!(answer, Ok(b"authority header.claims.signature 42".to_vec()));
    for role in ["gateway", "monitor", "keys", "store"] {
        let watch = RemoteWatch::new(deployment.channel(role, "store", &served.address));
        let refused = watch.try_watch(&call(&bearer, &request)).await;
        assert_eq!(refused, Err(Failed::Call(CallRefused::Role)), "{role}");
    }
}

#[tokio::test]
async fn exposures_and_proofs_come_whole_and_to_the_authority_alone() {
    let deployment = Deployment::new();
    let served = served(&deployment).await;
    let (bearer, request) = (bearer(), deployment.request());
    let trail = RemoteTrail::new(deployment.channel("authority", "store", &served.address));
    let selector = |limit| Selector { tenants: vec![TENANT], since: UnixMs(3), limit, ..Selector::default() };
    for count in [0, 1, 1_000] {
        let exposures = trail.exposures(&call(&bearer, &request), &selector(count)).await.unwrap();
        assert_eq!(exposures.len(), count);
        assert!(exposures.iter().all(|one| (one.tenant, one.time) == (Some(TENANT), UnixMs(3))));
    }
    let more = trail.exposures(&call(&bearer, &request), &selector(7)).await;
    assert_eq!(more, Err(ServiceFailure::Unavailable), "one that gives more than was asked for is not believed");
    let owners = [Some(TENANT), None];
    let found = trail.prove(&call(&bearer, &request), &owners, request.id).await;
    assert_eq!(found, Ok(vec![proved(request.id)]));
    for role in ["gateway", "monitor", "keys", "store"] {
        let trail = RemoteTrail::new(deployment.channel(role, "store", &served.address));
        let refused = Err(Failed::Call(CallRefused::Role));
        assert_eq!(trail.try_exposures(&call(&bearer, &request), &selector(1)).await, refused, "{role}");
        let refused = Err(Failed::Call(CallRefused::Role));
        assert_eq!(trail.try_prove(&call(&bearer, &request), &owners, request.id).await, refused, "{role}");
    }
}
