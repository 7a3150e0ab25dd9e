//! Plaintext budgets: what is opened is counted by the key service, whichever gateway asks, and stops at the limit.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::arithmetic_side_effects,
    reason = "what does not fit fails the test"
)]

use std::sync::Arc;

use crate::support::*;
use countersign_audit::{Reason, Verdict};
use countersign_engine::{Answer, Failure};
use countersign_guard::{Bearer, Refusal};
use countersign_model::facts::UserKind;
use countersign_model::request::{Embed, Operation, Read, Select, Update};
use countersign_model::{FieldSet, Opened, Service};
use countersign_services::{Call, KeyRelease, ServiceFailure};
use countersign_token::Binding;

const SPENT: Failure = Failure::Refused(Refusal::Budget);

/// Six cells.
fn companies() -> Operation {
    Operation::Read(read("customer", &["company"]))
}

/// One cell.
fn one_company() -> Operation {
    Operation::Read(Read { filter: eq("id", "C1"), ..read("customer", &["company"]) })
}

/// How many cells the key service has counted in all.
fn counted(stage: &Stage) -> u64 {
    let records = stage.behind.records.lock().unwrap();
    let released =
        records.iter().filter(|record| record.service == Service::Keys && record.verdict == Verdict::Released);
    released.filter_map(|record| record.tally.as_ref()).map(countersign_model::Tally::cells).sum()
}

async fn cells_of(stage: &Stage, operation: Operation) -> u64 {
    let before = counted(stage);
    stage.call(&stage.token("accountant", GLOBEX), operation).await.unwrap();
    counted(stage) - before
}

async fn until_refused(mut read: impl AsyncFnMut() -> Result<Answer, Failure>) -> u64 {
    for reads in 0..100 {
        match read().await {
            Ok(answer) => assert_eq!(answer.rows.rows.len(), 6),
            Err(failure) => {
                assert_eq!(failure, SPENT);
                return reads;
            }
        }
    }
    panic!("never refused")
}

#[tokio::test]
async fn reads_stop_at_the_budget_of_the_token_and_the_refusal_is_on_record() {
    let stage = Stage::new().await;
    let each = cells_of(&stage, companies()).await;
    stage.budget(&format!("[people]\nper_token = {}\n", each * 3 + 1));
    stage.forget();
    let token = stage.token("accountant", ACME);
    assert_eq!(until_refused(|| stage.call(&token, companies())).await, 3);
    assert_eq!(counted(&stage), each * 3);

    let [failed] = &stage.recorded(Verdict::Failed)[..] else { panic!("one read failed") };
    assert_eq!((failed.body.reason, failed.tally.as_ref().unwrap().cells()), (Some(Reason::Budget), 0));
    let refusals: Vec<_> = {
        let records = stage.behind.records.lock().unwrap();
        records.iter().filter(|record| record.verdict == Verdict::Refused).cloned().collect()
    };
    let [refusal] = &refusals[..] else { panic!("one refusal: {refusals:?}") };
    assert_eq!((refusal.service, refusal.body.reason), (Service::Keys, Some(Reason::Budget)));
    assert_eq!(refusal.body.user_name.as_deref(), Some("accountant"));
    stage.agree();

    // Another token of the same person has a budget of its own, and other people are as they were.
    stage.call(&stage.token("accountant", ACME), companies()).await.unwrap();
    stage.call(&stage.token("support", ACME), companies()).await.unwrap();
}

#[tokio::test]
async fn new_tokens_and_other_gateways_do_not_make_a_persons_budget_larger() {
    let stage = Stage::new().await;
    let each = cells_of(&stage, companies()).await;
    stage.budget(&format!("[people]\nper_principal = {}\n", each * 4));
    let gateways = [stage.another_gateway(stage.records.clone()), stage.another_gateway(stage.records.clone())];
    let mut turn = 0;
    let reads = until_refused(async || {
        turn += 1;
        let token = stage.token("accountant", ACME);
        gateways[turn % 2].call(&token, stage.request(companies())).await
    });
    assert_eq!(reads.await, 4);
    let token = stage.token("accountant", ACME);
    for gateway in &gateways {
        assert_eq!(gateway.call(&token, stage.request(one_company())).await.unwrap_err(), SPENT);
    }
    stage.call(&stage.token("accountant", GLOBEX), companies()).await.unwrap();
    stage.agree();
}

#[tokio::test]
async fn many_at_once_get_no_more_than_one_after_the_other() {
    let stage = Arc::new(Stage::new().await);
    let each = cells_of(&stage, companies()).await;
    stage.budget(&format!("[people]\nper_token = {}\n", each * 5));
    stage.forget();
    let token = stage.token("accountant", ACME);
    let tasks: Vec<_> = (0..16)
        .map(|_| {
            let (stage, token) = (Arc::clone(&stage), token.clone());
            tokio::spawn(async move { stage.call(&token, companies()).await.is_ok() })
        })
        .collect();
    let mut given = 0;
    for task in tasks {
        given += u64::from(task.await.unwrap());
    }
    assert_eq!((given, counted(&stage)), (5, each * 5));
    stage.agree();
}

/// Gives one person of the tenant another kind.
fn make_agent(stage: &Stage, user: &str) {
    let (id, _) = stage.user_id(user, ACME);
    stage.publish(|facts| {
        let mut users = (*facts.users).clone();
        let mut changed = (**users.get(&id).unwrap()).clone();
        changed.kind = UserKind::Agent;
        users.insert(id, Arc::new(changed));
        facts.users = Arc::new(users);
    });
}

#[tokio::test]
async fn who_acts_for_somebody_spends_the_budgets_of_both() {
    let stage = Stage::new().await;
    let each = cells_of(&stage, companies()).await;
    make_agent(&stage, "support");
    let key = Some(Binding::Jkt([7; 32]));
    let acting = || {
        let (subject, actor) = (stage.token("accountant", ACME), stage.token("support", ACME));
        let (subject, actor) = (stage.verified(&subject), stage.verified(&actor));
        let now = countersign_model::Clock::now(&*stage.clock);
        let minter = stage.minter.bound_to(key);
        let minted =
            minter.exchange(&subject, &actor, &Default::default(), None, now, &countersign_crypto::SystemEntropy);
        minted.unwrap().into_token()
    };
    let call = async |token: &str, operation: Operation| {
        let request = stage.request(operation);
        let permit = stage.guard.admit_proved(Some(Bearer::new(token.to_owned())), key, request).await?;
        stage.engine.execute(permit).await
    };
    // The smaller is the agent's.
    stage.budget(&format!("[people]\nper_principal = {}\n[agents]\nper_principal = {}\n", each * 5, each * 2));
    assert_eq!(until_refused(async || call(&acting(), companies()).await).await, 2);
    // It counted for the person too, who has three left.
    let own = stage.token("accountant", ACME);
    assert_eq!(until_refused(async || stage.call(&own, companies()).await).await, 3);
    // Now the smaller is the person's.
    stage.budget(&format!("[people]\nper_principal = {}\n[agents]\nper_principal = {}\n", each * 5, each * 20));
    assert_eq!(call(&acting(), one_company()).await.unwrap_err(), SPENT);
    let agents_own = stage.token("support", ACME);
    stage.call(&agents_own, companies()).await.unwrap();
    stage.agree();
}

#[tokio::test]
async fn a_change_that_cannot_be_counted_is_not_made() {
    let stage = Stage::new().await;
    stage.budget("[people]\nper_token = 1\n");
    stage.forget();
    let admin = stage.token("admin", ACME);
    let all = update("customer", &[("phone", "\"9\"")], Default::default());
    assert_eq!(stage.call(&admin, all).await.unwrap_err(), SPENT);
    let removal = delete("invoice", eq("customer_id", "C1"));
    assert_eq!(stage.call(&admin, removal).await.unwrap_err(), SPENT);
    assert!(stage.recorded(Verdict::Changed).is_empty());
    stage.agree();
    stage.budget("");
    let changed = Read { filter: eq("phone", "9"), ..read("customer", &["id"]) };
    assert!(stage.call(&admin, Operation::Read(changed)).await.unwrap().rows.rows.is_empty());
}

/// What is given back of a change is read after it, so it can be made and not shown. All services say so.
#[tokio::test]
async fn a_change_that_is_made_and_cannot_be_shown_is_on_record_as_written() {
    let stage = Stage::new().await;
    let change = |returning| {
        Operation::Update(Update {
            record_type: "customer".into(),
            set: row(&[("phone", "\"9\"")]),
            filter: eq("id", "C1"),
            max_affected: None,
            returning,
        })
    };
    let invoices = Select::Embed(Embed { alias: None, hint: None, inner: false, read: read("invoice", &["total"]) });
    let admin = stage.token("admin", GLOBEX);
    let before = counted(&stage);
    stage.call(&admin, change(None)).await.unwrap();
    stage.budget(&format!("[people]\nper_token = {}\n", counted(&stage) - before));
    let request = stage.request(change(Some(vec![invoices])));
    let id = request.id;
    assert_eq!(stage.send(&stage.token("admin", ACME), request).await.unwrap_err(), SPENT);
    for service in [Service::Gateway, Service::Store] {
        assert_eq!(stage.counted(id, service).unwrap().written, 1, "{service}");
    }
    stage.agree();
}

#[tokio::test]
async fn only_the_store_counts_and_nothing_beyond_the_request() {
    let stage = Stage::new().await;
    let bearer = Bearer::new(stage.token("accountant", ACME));
    let request = stage.request(companies());
    let state = stage.cell.load();
    let (record_type, customer) = state.facts.types.find("customer").unwrap();
    let of = |names: &[&str]| {
        let fields: FieldSet = names.iter().map(|name| customer.find(name).unwrap().0).collect();
        Opened { record_type, fields, rows: 1 }
    };
    let count = async |caller: Service, opened: Opened| {
        stage.keys.count(&Call { caller, ..call(&bearer, &request) }, &[opened]).await
    };
    let forbidden = Err(ServiceFailure::Refused(Refusal::Forbidden));
    for caller in [Service::Gateway, Service::Keys, Service::Authority] {
        assert_eq!(count(caller, of(&["company"])).await, forbidden, "{caller}");
    }
    assert_eq!(count(Service::Store, of(&["company", "address"])).await, forbidden);
    assert_eq!(counted(&stage), 0);
    assert_eq!(count(Service::Store, of(&["company"])).await, Ok(()));
    let records = stage.behind.records.lock().unwrap();
    let refusals = records.iter().filter(|record| record.request == request.id && record.verdict == Verdict::Refused);
    assert_eq!(refusals.count(), 4, "each is on record");
}
