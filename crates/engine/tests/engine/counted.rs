//! Three services count what a request opens and changes, each by itself, and come to the same.

#![allow(clippy::unwrap_used, clippy::panic, reason = "what does not fit fails the test")]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::support::*;
use countersign_audit::{Reason, Verdict};
use countersign_engine::{EngineLimits, Failure};
use countersign_model::request::{Delete, Embed, Filter, Insert, OnConflict, Operation, Read, Select, Update};
use countersign_model::{Service, TenantId, TypeId};
use countersign_services::{Call, Records, ServiceFailure};
use countersign_store::{Batch, Rejected, Scan, SealedRow};
use tokio::sync::Semaphore;

fn embed(record_type: &str, fields: &[&str], inner: bool) -> Select {
    Select::Embed(Embed { alias: None, hint: None, inner, read: read(record_type, fields) })
}

fn with_embed(fields: &[&str], inner: Select) -> Vec<Select> {
    let mut columns = select(fields);
    columns.push(inner);
    columns
}

fn product(id: u32) -> Vec<(String, countersign_model::request::Input)> {
    row(&[("id", &id.to_string()), ("name", "\"x\""), ("unit_price", "1"), ("discontinued", "false")])
}

/// One of each kind of request, and whether it opens or changes anything.
fn everything() -> Vec<(&'static str, &'static str, Operation, bool)> {
    let all = Filter::default;
    let with_invoices =
        Read { select: with_embed(&["company"], embed("invoice", &["total"], false)), ..read("customer", &[]) };
    let with_customer =
        Read { select: with_embed(&["total"], embed("customer", &["company"], true)), ..read("invoice", &[]) };
    let own = Read { select: with_embed(&["company"], embed("invoice", &["total"], false)), ..read("customer", &[]) };
    let merge = |field: &str, merge: bool, rows| {
        let on_conflict = Some(OnConflict { field: Some(field.to_owned()), merge });
        let returning = Some(select(&["id", "name"]));
        Operation::Insert(Insert { record_type: "product".into(), rows, on_conflict, returning })
    };
    let renamed = Operation::Update(Update {
        record_type: "invoice".into(),
        set: row(&[("customer_id", "\"C2\"")]),
        filter: eq("customer_id", "C1"),
        max_affected: None,
        returning: Some(with_embed(&["id"], embed("customer", &["company"], false))),
    });
    let removed = Operation::Delete(Delete {
        record_type: "invoice".into(),
        filter: eq("id", "12"),
        max_affected: Some(1),
        returning: Some(with_embed(&["total"], embed("customer", &["company"], false))),
    });
    let too_many = Operation::Delete(Delete {
        record_type: "invoice".into(),
        filter: all(),
        max_affected: Some(2),
        returning: None,
    });
    let by_country =
        Read { filter: eq("country", "Brazil"), order: vec![order("company")], ..read("customer", &["id"]) };
    let dangling =
        row(&[("id", "99"), ("customer_id", "\"NONE\""), ("invoice_date", "\"2026-01-01\""), ("total", "1")]);
    vec![
        ("admin", "read", Operation::Read(read("customer", &[])), true),
        (
            "admin",
            "read by key",
            Operation::Read(Read { filter: eq("id", "C1"), ..read("customer", &["company"]) }),
            true,
        ),
        ("admin", "read without index", Operation::Read(by_country), true),
        ("admin", "read a page", Operation::Read(Read { limit: Some(2), ..read("invoice", &["total"]) }), true),
        ("admin", "count", Operation::Read(Read { count: true, limit: Some(0), ..read("invoice", &["id"]) }), false),
        (
            "admin",
            "read nothing",
            Operation::Read(Read { filter: eq("id", "NOBODY"), ..read("customer", &["id"]) }),
            false,
        ),
        ("admin", "embed down", Operation::Read(with_invoices), true),
        ("admin", "embed up", Operation::Read(with_customer), true),
        ("rep", "read what is one's own", Operation::Read(own), true),
        ("auditor", "refused", Operation::Read(read("customer", &["id"])), false),
        ("admin", "insert", insert("product", vec![product(1), product(2)]), true),
        ("admin", "insert what is there", insert("product", vec![product(2), product(3)]), false),
        ("admin", "insert what refers to nothing", insert("invoice", vec![dangling]), false),
        ("admin", "merge", merge("id", true, vec![product(2), product(3)]), true),
        ("admin", "leave", merge("id", false, vec![product(3), product(4)]), true),
        ("admin", "update", update("customer", &[("phone", "\"1\"")], eq("country", "Brazil")), true),
        ("admin", "update nothing", update("customer", &[("phone", "\"1\"")], eq("id", "NOBODY")), false),
        ("admin", "update and give back", renamed, true),
        ("support", "update what one may not", update("customer", &[("company", "\"x\"")], eq("id", "C1")), false),
        ("admin", "delete and give back", removed, true),
        ("admin", "delete too many", too_many, true),
        ("admin", "delete what is referred to", delete("customer", eq("id", "C2")), true),
        ("admin", "delete", delete("invoice", eq("id", "1")), true),
    ]
}

#[tokio::test]
async fn all_three_count_the_same_of_everything() {
    let stage = Stage::new().await;
    for (who, what, operation, touches) in everything() {
        let request = stage.request(operation);
        let id = request.id;
        let outcome = stage.send(&stage.token(who, ACME), request).await;
        let counted = |service| stage.counted(id, service).filter(|tally| !tally.is_empty());
        let [gateway, keys, store] = [Service::Gateway, Service::Keys, Service::Store].map(counted);
        assert_eq!(gateway.is_some() && store.is_some(), touches, "{what}: {outcome:?}");
        // What is not the key service's to count is how much was written.
        let opened =
            |tally: Option<&countersign_model::Tally>| tally.map(|tally| tally.opened.clone()).unwrap_or_default();
        assert_eq!(opened(gateway.as_ref()), opened(store.as_ref()), "{what}");
        assert_eq!(opened(keys.as_ref()), opened(store.as_ref()), "{what}");
        assert_eq!(gateway.map(|tally| tally.written), store.map(|tally| tally.written), "{what}");
    }
    stage.agree();
}

#[tokio::test]
async fn a_scan_that_is_broken_off_is_counted_as_far_as_it_went() {
    let stage = Stage::with_limits(EngineLimits { scan_rows_max: 6, ..EngineLimits::default() }).await;
    let scan = Read { filter: eq("billing_country", "Norway"), ..read("invoice", &["id"]) };
    let request = stage.request(Operation::Read(scan));
    let id = request.id;
    let refused = stage.send(&stage.token("admin", ACME), request).await.unwrap_err();
    assert!(matches!(refused, Failure::ScanLimit { .. }));
    assert!(stage.counted(id, Service::Gateway).unwrap().cells() > 0);
    stage.agree();
}

#[tokio::test]
async fn what_one_service_leaves_out_is_found() {
    let stage = Stage::new().await;
    let request = stage.request(Operation::Read(read("customer", &["company"])));
    let id = request.id;
    stage.send(&stage.token("admin", ACME), request).await.unwrap();
    let entries = stage.entries(id);
    for left_out in [Service::Gateway, Service::Keys, Service::Store] {
        let rest: Vec<_> = entries.iter().filter(|entry| entry.service != left_out).collect();
        assert_eq!(countersign_audit::reconcile::judge(rest).len(), 1, "without what {left_out} says");
    }
}

/// Stands between a gateway and the store: each read waits for leave after the store has answered it.
struct Held {
    records: Arc<dyn Records>,
    reads: AtomicUsize,
    leave: Semaphore,
}

#[async_trait::async_trait]
impl Records for Held {
    async fn read(&self, call: &Call<'_>, scan: &Scan) -> Result<Vec<SealedRow>, ServiceFailure> {
        let rows = self.records.read(call, scan).await;
        self.reads.fetch_add(1, Ordering::SeqCst);
        self.leave.acquire().await.unwrap().forget();
        rows
    }
    async fn write(&self, call: &Call<'_>, batch: Batch) -> Result<Result<(), Rejected>, ServiceFailure> {
        self.records.write(call, batch).await
    }
    async fn create_tenant(&self, call: &Call<'_>, tenant: TenantId) -> Result<(), ServiceFailure> {
        self.records.create_tenant(call, tenant).await
    }
    async fn any_records(&self, call: &Call<'_>, record_type: TypeId) -> Result<bool, ServiceFailure> {
        self.records.any_records(call, record_type).await
    }
}

#[tokio::test]
async fn a_read_that_nobody_waits_for_ends_and_is_on_record_with_what_it_came_to() {
    let stage = Stage::new().await;
    let held = Arc::new(Held { records: stage.records.clone(), reads: AtomicUsize::new(0), leave: Semaphore::new(0) });
    let gateway = stage.another_gateway(held.clone());
    let select = with_embed(&["company"], embed("invoice", &["total"], false));
    let request = stage.request(Operation::Read(Read { select, ..read("customer", &[]) }));
    let (id, admin) = (request.id, stage.token("admin", ACME));
    let mut reading = Box::pin(gateway.call(&admin, request));
    while held.reads.load(Ordering::SeqCst) == 0 {
        tokio::select! {
            biased;
            answer = &mut reading => panic!("answered without leave: {answer:?}"),
            () = tokio::task::yield_now() => {}
        }
    }
    drop(reading);
    held.leave.add_permits(100);
    for _ in 0..200 {
        if stage.counted(id, Service::Gateway).is_some() {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    assert_eq!(held.reads.load(Ordering::SeqCst), 1, "the embedded records were not asked for any more");
    let [failed] = &stage.recorded(Verdict::Failed)[..] else { panic!("one record of it") };
    assert_eq!((failed.request, failed.body.reason), (id, Some(Reason::Unavailable)));
    let counted = stage.counted(id, Service::Gateway).unwrap();
    assert!(counted.cells() > 0);
    assert_eq!(Some(counted.opened), stage.counted(id, Service::Store).map(|tally| tally.opened));
    stage.agree();
}
