use countersign_audit::Position;
use countersign_crypto::SystemEntropy;
use countersign_model::clock::SystemClock;
use parking_lot::Mutex;

use super::*;

#[derive(Default)]
struct Kept {
    records: Mutex<Vec<Record>>,
    is_full: std::sync::atomic::AtomicBool,
}

#[async_trait::async_trait]
impl AuditSink for Kept {
    async fn append(&self, record: Record) -> Result<Position, AuditError> {
        if self.is_full.load(std::sync::atomic::Ordering::SeqCst) {
            return Err(AuditError::Unavailable);
        }
        self.records.lock().push(record);
        Ok(Position(0))
    }
}

fn place() -> (tempfile::TempDir, Deployment) {
    let dir = tempfile::tempdir().unwrap();
    let deployment = Deployment::at(dir.path());
    (dir, deployment)
}

fn details(kept: &Kept) -> Vec<(Verdict, String)> {
    kept.records.lock().iter().map(|one| (one.verdict, one.body.detail.clone().unwrap())).collect()
}

async fn taken(deployment: &Deployment, kept: &Kept) -> Result<(), NotTaken> {
    take(deployment, kept, Service::Authority, (&SystemClock, &SystemEntropy)).await
}

#[tokio::test]
async fn a_command_is_on_record_before_and_after() {
    let (_dir, deployment) = place();
    let kept = Kept::default();
    taken(&deployment, &kept).await.unwrap();
    let begun = begin(&deployment, &SystemClock, "kms rotate default".into()).unwrap();
    // The file has its own and is for its owner alone.
    let mode = std::os::unix::fs::MetadataExt::mode(&std::fs::metadata(deployment.commands()).unwrap());
    assert_eq!(mode & 0o777, 0o600);
    begun.end(Ok(())).unwrap();
    let failed = begin(&deployment, &SystemClock, "kms create theirs".into()).unwrap();
    assert!(failed.end::<()>(Err(Problem::new(Exit::Unavailable, "the token is gone"))).is_err());
    taken(&deployment, &kept).await.unwrap();
    taken(&deployment, &kept).await.unwrap();
    let details = details(&kept);
    let verdicts: Vec<_> = details.iter().map(|(verdict, _)| *verdict).collect();
    assert_eq!(verdicts, [Verdict::Intent, Verdict::Changed, Verdict::Intent, Verdict::Failed], "each once");
    assert!(details[1].1.starts_with("kms rotate default: done"), "{details:?}");
    assert!(details[3].1.contains("exit status 6") && !details[3].1.contains("gone"), "{details:?}");
}

#[tokio::test]
async fn what_the_ledger_does_not_take_stays() {
    let (_dir, deployment) = place();
    let kept = Kept::default();
    begin(&deployment, &SystemClock, "kms rotate default".into()).unwrap().end(Ok(())).unwrap();
    kept.is_full.store(true, std::sync::atomic::Ordering::SeqCst);
    assert!(taken(&deployment, &kept).await.is_err());
    kept.is_full.store(false, std::sync::atomic::Ordering::SeqCst);
    taken(&deployment, &kept).await.unwrap();
    assert_eq!(details(&kept).len(), 2);
}

#[tokio::test]
async fn a_line_that_is_none_is_a_record_all_the_same() {
    let (_dir, deployment) = place();
    let kept = Kept::default();
    std::fs::write(deployment.commands(), b"\xff{\n").unwrap();
    taken(&deployment, &kept).await.unwrap();
    assert_eq!(details(&kept), [(Verdict::Failed, "a command's record can't be read".to_owned())]);
}

#[test]
fn without_a_record_nothing_is_done() {
    let dir = tempfile::tempdir().unwrap();
    let gone = Deployment::at(dir.path().join("nowhere"));
    assert!(begin(&gone, &SystemClock, "kms rotate default".into()).is_err());
}
