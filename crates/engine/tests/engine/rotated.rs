//! Keys that rotate: answers are the same, whichever keys records are under, and whenever they change.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "what does not fit fails the test"
)]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::support::*;
use countersign_audit::Verdict;
use countersign_crypto::{SealKey, SecretKey, SystemEntropy, cell_aad};
use countersign_engine::Failure;
use countersign_guard::{Bearer, Refusal};
use countersign_model::request::{Embed, Filter, Insert, OnConflict, Operation, Operator, Read, Select, Update};
use countersign_model::{FieldSet, TenantId, TypeId};
use countersign_services::{Call, Records, ServiceFailure};
use countersign_store::{Access, Batch, Done, Rejected, Scan, SealedChange, SealedRow};

/// Small numbers, always the same.
struct Draw(u64);

impl Draw {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }

    fn customer(&mut self) -> String {
        format!("C{}", 1 + self.below(14))
    }

    fn country(&mut self) -> &'static str {
        ["Brazil", "Norway", "Chile", "Peru"][self.below(4) as usize]
    }
}

fn customer(id: &str, company: &str, country: &str) -> Vec<(String, countersign_model::request::Input)> {
    row(&[
        ("id", &format!("\"{id}\"")),
        ("company", &format!("\"{company}\"")),
        ("contact_name", "\"P\""),
        ("country", &format!("\"{country}\"")),
        ("support_rep_id", "3"),
    ])
}

fn invoice(id: u64, customer: &str) -> Vec<(String, countersign_model::request::Input)> {
    row(&[
        ("id", &id.to_string()),
        ("customer_id", &format!("\"{customer}\"")),
        ("invoice_date", "\"2026-02-02\""),
        ("total", "1.00"),
    ])
}

fn sorted(read: Read) -> Operation {
    Operation::Read(Read { order: vec![order("id")], count: true, ..read })
}

fn with_invoices(filter: Filter) -> Operation {
    let mut columns = select(&["id", "company"]);
    let invoices = Read { order: vec![order("id")], ..read("invoice", &["id", "total"]) };
    columns.push(Select::Embed(Embed { alias: None, hint: None, inner: false, read: invoices }));
    sorted(Read { select: columns, filter, ..read("customer", &[]) })
}

/// What somebody may ask, of every kind.
fn operation(draw: &mut Draw, number: u64) -> Operation {
    let (id, country) = (draw.customer(), draw.country());
    match draw.below(13) {
        0 => sorted(Read { filter: eq("country", country), ..read("customer", &["id", "company", "country"]) }),
        1 => sorted(Read { filter: eq("id", &id), ..read("customer", &["id", "company", "email", "phone"]) }),
        2 => with_invoices(eq("country", country)),
        3 => sorted(Read { filter: test("total", Operator::Gte, "2"), ..read("invoice", &["id", "customer_id"]) }),
        4 => insert("customer", vec![customer(&id, &format!("New {number}"), country)]),
        5 => upsert("customer", vec![customer(&id, &format!("Merged {number}"), country)], true),
        6 => upsert(
            "customer",
            vec![customer(&id, "Left", country), customer(&draw.customer(), "Right", country)],
            false,
        ),
        7 => insert("invoice", vec![invoice(1 + draw.below(30), &id)]),
        8 => delete("customer", eq("id", &id)),
        9 => delete("invoice", eq("customer_id", &id)),
        10 => update("customer", &[("country", &format!("\"{country}\"")), ("fax", "\"+9\"")], eq("id", &id)),
        11 => update("customer", &[("id", &format!("\"{}\"", draw.customer()))], eq("id", &id)),
        _ => Operation::Update(Update {
            record_type: "invoice".into(),
            set: row(&[("customer_id", &format!("\"{id}\""))]),
            filter: eq("customer_id", &draw.customer()),
            max_affected: None,
            returning: Some(select(&["id", "customer_id"])),
        }),
    }
}

/// What came of a request, without what differs between two deployments.
async fn outcome(
    stage: &Stage,
    role: &str,
    operation: Operation,
) -> Result<(Vec<String>, Option<u64>, Option<u64>), Failure> {
    let answer = stage.call(&stage.token(role, ACME), operation).await?;
    let mut texts = all_texts(&answer);
    texts.sort();
    Ok((texts, answer.affected, answer.rows.total))
}

async fn same(seed: u64) {
    let (plain, rotated) = (Stage::new().await, Stage::new().await);
    let (mut draw, mut refused) = (Draw(seed), 0);
    for number in 0..150 {
        match draw.below(12) {
            0 => rotated.rotate(ACME),
            1 => rotated.rotate_field(ACME, "customer", "id"),
            2 => rotated.rotate_field(ACME, "customer", "country"),
            3 => rotated.rotate_field(ACME, "invoice", "customer_id"),
            _ => {}
        }
        let role = ["admin", "admin", "support", "rep"][draw.below(4) as usize];
        let start = draw.0;
        let asked = operation(&mut draw, number);
        let again = operation(&mut Draw(start), number);
        let (one, other) = (outcome(&plain, role, asked).await, outcome(&rotated, role, again).await);
        assert_eq!(one, other, "seed {seed}, request {number} by {role}");
        refused += usize::from(one.is_err());
        assert!(!matches!(one, Err(Failure::Damaged | Failure::Unavailable | Failure::Contention)), "{one:?}");
    }
    assert!(refused > 10 && refused < 120, "{refused}");
    for everything in ["customer", "invoice"] {
        let all = || sorted(read(everything, &["id"]));
        assert_eq!(outcome(&plain, "admin", all()).await, outcome(&rotated, "admin", all()).await);
    }
    plain.agree();
    rotated.agree();
}

#[tokio::test]
async fn answers_are_the_same_whichever_keys_records_are_under() {
    for seed in 0..3 {
        same(seed).await;
    }
}

#[tokio::test]
async fn a_value_that_is_taken_under_an_older_key_is_taken_and_hidden_as_ever() {
    let stage = Stage::new().await;
    stage.rotate(ACME);
    let admin = stage.token("admin", ACME);
    let taken = || insert("customer", vec![customer("C1", "Again", "Chile")]);
    assert_eq!(stage.call(&admin, taken()).await.unwrap_err(), Failure::UniqueTaken { field: Some(name("id")) });
    // Not half of it either.
    let two = insert("customer", vec![customer("N1", "New", "Chile"), customer("C2", "Again", "Chile")]);
    assert_eq!(stage.call(&admin, two).await.unwrap_err(), Failure::UniqueTaken { field: Some(name("id")) });
    let count = sorted(Read { filter: eq("country", "Chile"), ..read("customer", &["id"]) });
    assert_eq!(stage.call(&admin, count).await.unwrap().rows.total, Some(0));
    // Nor by a change of the key.
    let moved = update("customer", &[("id", "\"C1\"")], eq("id", "C6"));
    let refused = stage.call(&admin, moved).await.unwrap_err();
    assert!(matches!(refused, Failure::UniqueTaken { .. } | Failure::StillReferenced), "{refused:?}");
    // To itself it may.
    let same = update("customer", &[("id", "\"C1\""), ("fax", "\"+1\"")], eq("id", "C1"));
    assert_eq!(stage.call(&admin, same).await.unwrap().affected, Some(1));

    // Whoever can't see the record that has it is told nothing, under one key as under two.
    let policies = r#"
        permit (principal in Role::"admin", action in Data::Action::"any", resource);
        permit (principal in Role::"rep", action == Product::Action::"create", resource);
        permit (principal in Role::"rep", action == Product::Action::"read", resource)
            when { resource has name && resource.name == "mine" };
    "#;
    let types = "[principal]\nemployee = \"integer\"\n[types.product.fields]\nid = { kind = \"integer\", class = \"internal\" }\nname = { kind = \"text\", class = \"internal\" }\n";
    let stage = Stage::of(types, policies).await;
    let (admin, rep) = (stage.token("admin", ACME), stage.token("rep", ACME));
    let product = |id: &str, name: &str| insert("product", vec![row(&[("id", id), ("name", &format!("\"{name}\""))])]);
    stage.call(&admin, product("1", "hidden")).await.unwrap();
    stage.call(&admin, product("2", "mine")).await.unwrap();
    let mut before = Vec::new();
    for id in ["1", "2"] {
        before.push(stage.call(&rep, product(id, "mine")).await.unwrap_err());
    }
    stage.rotate(ACME);
    for (id, before) in ["1", "2"].into_iter().zip(before) {
        assert_eq!(stage.call(&rep, product(id, "mine")).await.unwrap_err(), before, "{id}");
    }
    assert_eq!(stage.call(&rep, product("1", "mine")).await.unwrap_err(), Failure::Refused(Refusal::Forbidden));
}

/// Has keys rotate while a request is on its way: before the nth call to the store.
struct Meanwhile {
    stage: Arc<Stage>,
    at: usize,
    calls: AtomicUsize,
    /// What somebody else does with the new keys.
    then: Box<dyn Fn() -> Option<Operation> + Send + Sync>,
}

impl Meanwhile {
    async fn called(&self) {
        if self.calls.fetch_add(1, Ordering::SeqCst) != self.at {
            return;
        }
        self.stage.rotate(ACME);
        if let Some(operation) = (self.then)() {
            self.stage.call(&self.stage.token("admin", ACME), operation).await.unwrap();
        }
    }
}

#[async_trait::async_trait]
impl Records for Meanwhile {
    async fn read(&self, call: &Call<'_>, scan: &Scan) -> Result<Vec<SealedRow>, ServiceFailure> {
        self.called().await;
        self.stage.records.read(call, scan).await
    }
    async fn write(&self, call: &Call<'_>, batch: Batch) -> Result<Result<(), Rejected>, ServiceFailure> {
        self.called().await;
        self.stage.records.write(call, batch).await
    }
    async fn done(&self, call: &Call<'_>, id: [u8; 32]) -> Result<Option<Done>, ServiceFailure> {
        self.stage.records.done(call, id).await
    }
    async fn create_tenant(&self, _: &Call<'_>, _: TenantId) -> Result<(), ServiceFailure> {
        Err(ServiceFailure::Unavailable)
    }
    async fn any_records(&self, _: &Call<'_>, _: TypeId) -> Result<bool, ServiceFailure> {
        Err(ServiceFailure::Unavailable)
    }
}

/// Somebody changes a record and its tags under the new keys, without changing what it says.
fn sealed_anew() -> Option<Operation> {
    let set = [("country", "\"Norway\""), ("id", "\"C1\"")];
    Some(update("customer", &set, eq("id", "C1")))
}

#[tokio::test]
async fn requests_that_a_rotation_overtakes_are_answered_as_if_it_had_come_before() {
    let returning = || Some(select(&["id", "company"]));
    let made = || {
        let rows = vec![customer("C1", "Merged", "Chile")];
        let on_conflict = Some(OnConflict { field: None, merge: true });
        Operation::Insert(Insert { record_type: "customer".into(), rows, on_conflict, returning: returning() })
    };
    let changed = || {
        Operation::Update(Update {
            record_type: "customer".into(),
            set: row(&[("fax", "\"+1\"")]),
            filter: eq("country", "Norway"),
            max_affected: None,
            returning: returning(),
        })
    };
    type Ask<'a> = (&'a dyn Fn() -> Operation, &'a [&'a str]);
    let by_tag = || sorted(Read { filter: eq("id", "C1"), ..read("customer", &["id", "company"]) });
    let by_index = || sorted(Read { filter: eq("country", "Norway"), ..read("customer", &["id"]) });
    let embedded = || with_invoices(eq("id", "C1"));
    let referring = || insert("invoice", vec![invoice(77, "C1")]);
    let asks: [Ask<'_>; 6] = [
        (&by_tag, &["C1|Acme Customer 1"]),
        (&by_index, &["C1", "C3", "C5"]),
        (&embedded, &["C1|Acme Customer 1|[1,1.50;7,7.50]"]),
        (&made, &["C1|Merged"]),
        (&changed, &["C1|Acme Customer 1", "C3|Acme Customer 3", "C5|Acme Customer 5"]),
        (&referring, &[]),
    ];
    for (ask, expected) in asks {
        for at in 0..4 {
            let stage = Arc::new(Stage::new().await);
            let (calls, then) = (AtomicUsize::new(0), Box::new(sealed_anew));
            let meanwhile = Arc::new(Meanwhile { stage: Arc::clone(&stage), at, calls, then });
            let gateway = stage.another_gateway(meanwhile.clone());
            let answer = gateway.call(&stage.token("admin", ACME), stage.request(ask())).await;
            let answer = answer.unwrap_or_else(|failure| panic!("{expected:?} at {at}: {failure:?}"));
            let mut texts = all_texts(&answer);
            texts.sort();
            assert_eq!(texts, expected, "at {at}");
            stage.agree();
        }
    }
}

#[tokio::test]
async fn a_value_can_t_be_taken_twice_by_who_has_the_old_keys_and_who_has_the_new() {
    for at in 0..2 {
        let stage = Arc::new(Stage::new().await);
        let (calls, then) =
            (AtomicUsize::new(0), Box::new(|| Some(insert("customer", vec![customer("N1", "First", "Peru")]))));
        let meanwhile = Arc::new(Meanwhile { stage: Arc::clone(&stage), at, calls, then });
        let gateway = stage.another_gateway(meanwhile);
        let second = insert("customer", vec![customer("N1", "Second", "Peru")]);
        let answer = gateway.call(&stage.token("admin", ACME), stage.request(second)).await;
        let all = sorted(Read { filter: eq("country", "Peru"), ..read("customer", &["company"]) });
        let stored = all_texts(&stage.call(&stage.token("admin", ACME), all).await.unwrap());
        assert_eq!(stored.len(), 1, "{stored:?}");
        let first = stored == ["First"];
        assert_eq!(answer.is_err(), first, "{answer:?}");
    }
}

/// A gateway that was taken over can't keep a tenant's other gateways out by an epoch that nobody has keys of, nor store what
/// nobody will ever open and thereby keep a key in use.
#[tokio::test]
async fn the_store_takes_no_epoch_that_was_not_issued() {
    let stage = Stage::new().await;
    stage.rotate(ACME);
    let token = stage.token("admin", ACME);
    let bearer = Bearer::new(token.clone());
    let state = stage.cell.load();
    let (customer, record_type) = state.facts.types.find("customer").unwrap();
    let (fax, _) = record_type.find("fax").unwrap();
    let changing = || stage.request(update("customer", &[("fax", "\"+1\"")], eq("id", "C1")));
    let request = changing();
    let everybody = Scan { record_type: customer, access: Access::All, cells: FieldSet::EMPTY, limit: 1, after: None };
    let target = stage.records.read(&call(&bearer, &request), &everybody).await.unwrap().remove(0);
    let aad = cell_aad(stage.user_id("admin", ACME).1, customer, fax, target.record);
    let sealed =
        |epoch: u32| Some(SealKey::with_epoch(&SecretKey::from_bytes([1; 32]), epoch).seal(&SystemEntropy, &aad, b"x"));
    let of = |epoch: u32, cell: Option<Vec<u8>>, version: u64| {
        let (record_type, record) = (customer, target.record);
        let change = SealedChange::Update { record_type, record, version, cells: vec![(fax, cell)], tags: vec![] };
        Batch { changes: vec![change], epoch, ..Batch::default() }
    };
    let version = target.version;
    // The newest that was issued is the second.
    for batch in [
        of(3, sealed(2), version),
        of(3, sealed(3), version),
        of(u32::MAX, sealed(2), version),
        of(u32::MAX, None, version),
        // It need not be made to do harm.
        of(u32::MAX, sealed(2), 77),
        of(2, sealed(3), version),
        of(2, sealed(u32::MAX), version),
        of(2, sealed(0), version),
        of(2, Some(b"no cell at all".to_vec()), version),
        of(0, sealed(1), version),
        of(0, Some(b"no cell at all".to_vec()), version),
        Batch { epoch: 3, ..Batch::default() },
    ] {
        let request = changing();
        let refused = stage.records.write(&call(&bearer, &request), batch).await;
        assert_eq!(refused, Err(ServiceFailure::Refused(Refusal::Forbidden)));
        let records = stage.behind.records.lock().unwrap();
        let said = records.iter().any(|record| record.request == request.id && record.verdict == Verdict::Refused);
        assert!(said, "it is on record");
    }
    // Nobody was kept out by it.
    assert_eq!(stage.call(&token, changing().operation).await.unwrap().affected, Some(1));
    stage.rotate_field(ACME, "customer", "fax");
    assert_eq!(stage.call(&token, changing().operation).await.unwrap().affected, Some(1));
}
