//! Breaches, the whole way through: what a stolen token read is what the notice says, record by record.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "what fails here fails a test")]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::Ordering;

use crate::support::{Got, House};
use countersign_authority::rfc3339;
use countersign_model::UnixMs;
use serde_json::{Value, json};

const NOW: UnixMs = UnixMs(1_800_000_000_000);

type Keys = BTreeMap<String, BTreeSet<String>>;

impl House {
    async fn send(&self, method: &str, path: &str, token: &str, body: &Value) -> Got {
        let ask = self.ask(method, path).token(token);
        let ask = if body.is_null() { ask } else { ask.body(body.to_string()) };
        ask.send().await
    }

    async fn id_of(&self, token: &str) -> String {
        self.send("GET", "/v1/token", token, &Value::Null).await.ok().json()["token"].as_str().unwrap().to_owned()
    }

    /// A token made from another.
    async fn narrowed(&self, token: &str, limits: &Value) -> String {
        let mut details = json!({ "type": "countersign" });
        details.as_object_mut().unwrap().extend(limits.as_object().unwrap().clone());
        let body = json!({
            "grant_type": "urn:ietf:params:oauth:grant-type:token-exchange",
            "subject_token": token,
            "subject_token_type": "urn:ietf:params:oauth:token-type:access_token",
            "authorization_details": [details],
        });
        let got = self.send("POST", "/v1/token", token, &body).await.ok().json();
        got["access_token"].as_str().unwrap().to_owned()
    }

    /// The identifiers that Countersign gave to all records of a type, by the keys that people know.
    async fn records(&self, admin: &str, record_type: &str) -> BTreeMap<String, String> {
        let path = format!("/rest/v1/{record_type}?select=id");
        let rows = self.send("GET", &path, admin, &Value::Null).await.ok().json();
        let mut records = BTreeMap::new();
        for row in rows.as_array().unwrap() {
            let key = text(&row["id"]);
            records.insert(key.clone(), self.record(admin, record_type, &key).await);
        }
        records
    }

    async fn record(&self, admin: &str, record_type: &str, key: &str) -> String {
        let path = format!("/v1/audit?record={record_type}/{key}&limit=1");
        let page = self.send("GET", &path, admin, &Value::Null).await.ok().json();
        let accesses = page["records"][0]["accesses"].as_array().unwrap();
        let of_type = accesses.iter().find(|access| access["type"] == record_type).unwrap();
        of_type["record_ids"][0].as_str().unwrap().to_owned()
    }

    async fn open(&self, operator: &str, culprit: &Value, since: UnixMs) -> Value {
        let body = json!({ "culprit": culprit, "since": rfc3339(since) });
        self.send("POST", "/v1/incidents", operator, &body).await.ok().json()
    }

    async fn act(&self, token: &str, id: &str, what: &str, body: &Value) -> Value {
        self.send("POST", &format!("/v1/incidents/{id}/{what}"), token, body).await.ok().json()
    }
}

fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// The keys in rows, and in what is embedded in them under the name of its type.
fn keys(record_type: &str, rows: &Value, found: &mut Keys) {
    let rows = rows.as_array().cloned().unwrap_or_else(|| vec![rows.clone()]);
    for row in rows.iter().filter_map(Value::as_object) {
        if let Some(key) = row.get("id") {
            found.entry(record_type.to_owned()).or_default().insert(text(key));
        }
        for (name, inside) in row.iter().filter(|(_, inside)| inside.is_array() || inside.is_object()) {
            keys(name, inside, found);
        }
    }
}

/// A notice's records, by type.
fn told(notice: &Value, what: &str) -> Keys {
    let types = notice["records"].as_array().unwrap().iter();
    let of_type = |one: &Value| (text(&one["type"]), one[what].as_array().unwrap().iter().map(text).collect());
    types.map(of_type).filter(|(_, ids): &(String, BTreeSet<String>)| !ids.is_empty()).collect()
}

#[tokio::test]
async fn the_radius_is_record_by_record_what_was_read_with_the_stolen_token() {
    let house = House::trading(NOW, &["employee", "customer", "invoice"]).await;
    let admin = house.login("admin", "northwind").await;
    let known: BTreeMap<&str, BTreeMap<String, String>> = BTreeMap::from([
        ("customer", house.records(&admin, "customer").await),
        ("invoice", house.records(&admin, "invoice").await),
    ]);
    house.clock.advance_ms(60_000);
    let since = house.now();

    // What is stolen is not the login's own token but one made from it; from that the thief makes another.
    let root = house.login("admin", "northwind").await;
    let limits = json!({ "actions": ["read", "update"] });
    let stolen = house.narrowed(&root, &limits).await;
    let child = house.narrowed(&stolen, &json!({ "datatypes": ["customer"] })).await;
    let sibling = house.narrowed(&root, &limits).await;
    let token = house.id_of(&stolen).await;

    let mut read = Keys::new();
    let mut rows = 0;
    for (by, path) in [
        (&stolen, "customer?select=id,company&country=eq.Germany"),
        (&stolen, "customer?select=id,company&order=company.desc&limit=7&offset=3"),
        (&stolen, "invoice?select=id,total,customer(id,company)&order=id&limit=9"),
        (&stolen, "customer?select=id,invoice(id,total)&id=eq.ALFKI"),
        (&stolen, "customer?select=id&or=(city.eq.London,country.eq.Mexico)"),
        (&stolen, "customer?select=id&id=in.(ALFKI,ANATR)"),
        (&stolen, "customer?select=id&id=eq.NOBODY"),
        (&child, "customer?select=id,phone&country=eq.France"),
    ] {
        let got = house.send("GET", &format!("/rest/v1/{path}"), by, &Value::Null).await.ok().json();
        keys(path.split('?').next().unwrap(), &got, &mut read);
        rows += 1;
    }
    // Changes, one of which gives back what refers to the record.
    let patch = house.ask("PATCH", "/rest/v1/customer?id=eq.BERGS&select=id,invoice(id)").token(&stolen);
    let patch = patch.header("prefer", "return=representation").body(json!({ "phone": "0" }).to_string());
    let mut given_back = Keys::new();
    keys("customer", &patch.send().await.ok().json(), &mut given_back);
    read.entry("invoice".into()).or_default().extend(given_back["invoice"].clone());
    house.send("PATCH", "/rest/v1/customer?country=eq.Norway", &stolen, &json!({ "fax": "0" })).await.ok();
    // Refused: hidden from the token, unknown, another tenant's.
    for (method, path, profile) in [
        ("DELETE", "/rest/v1/customer?id=eq.ALFKI", None),
        ("GET", "/rest/v1/customer?select=id,nothing", None),
        ("GET", "/rest/v1/nothing", None),
        ("GET", "/rest/v1/customer?select=id", Some("chinook")),
    ] {
        let ask = house.ask(method, path).token(&stolen);
        let ask = profile.into_iter().fold(ask, |ask, profile| ask.header("accept-profile", profile));
        assert!(ask.send().await.status >= 400, "{path}");
    }
    // Nobody's of these is the thief's: the same person's other tokens and logins, and other people's.
    for by in [&root, &sibling, &admin, &house.login("support", "northwind").await] {
        house.send("GET", "/rest/v1/customer?select=id,company&country=eq.USA", by, &Value::Null).await.ok();
    }

    let operator = house.operator().await;
    house.clock.advance_ms(1000);
    let contacts = json!({ "emails": ["privacy@northwind.example"], "language": "en" });
    house.send("PUT", "/v1/contacts", &admin, &contacts).await.ok();
    let incident = house.open(&operator, &json!({ "token": token }), since).await;
    let id = text(&incident["id"]);
    assert_eq!((incident["tenants"].as_u64(), incident["concerned"].as_array().unwrap().len()), (Some(1), 1));
    let northwind = &incident["concerned"][0];
    // One of them failed under other circumstances: it is the other tenant that was asked for.
    assert_eq!(northwind["refused"], 4, "{northwind}");
    let customer = northwind["types"].as_array().unwrap().iter().find(|one| one["type"] == "customer").unwrap();
    assert_eq!(customer["records"].as_u64(), Some(read["customer"].len() as u64));
    assert_eq!(customer["changed"].as_u64(), Some(2), "Bergs and the one in Norway");
    assert!(customer["fields"]["personal"].as_array().unwrap().contains(&json!("phone")), "{customer}");
    assert!(rows > 0 && customer["sealed_rows"].as_u64().unwrap() > 0, "{customer}");

    // Operators are told no record, neither now nor with the drafts.
    let drafted = house.act(&operator, &id, "notices", &json!({})).await;
    let shown = format!("{incident}{drafted}");
    assert!(known.values().flatten().all(|(_, record)| !shown.contains(record)), "a record's id");
    assert!(drafted["notices"][0]["text"].as_str().unwrap().contains("personal fields"), "{drafted}");
    assert_eq!(drafted["notices"][0].get("given"), None);
    // Nothing leaves without being sent.
    assert_eq!(house.send("GET", "/v1/notices", &admin, &Value::Null).await.ok().json(), json!([]));
    let delivery = format!("/v1/notices/{id}/delivery");
    assert_eq!(house.send("POST", &delivery, &admin, &Value::Null).await.status, 404);
    assert!(house.mailbox.taken.lock().unwrap().is_empty());

    let contained = house.act(&operator, &id, "containment", &json!({})).await;
    for (step, one) in contained["steps"].as_array().unwrap().iter().enumerate() {
        assert_eq!(one.get("failed"), None, "{step} {one}");
    }
    assert!(contained["contained"].is_string(), "{contained}");
    for gone in [&stolen, &child] {
        let path = "/rest/v1/customer?limit=1";
        assert_eq!(house.send("GET", path, gone, &Value::Null).await.status, 401);
    }
    house.send("GET", "/rest/v1/customer?select=id&limit=1", &admin, &Value::Null).await.ok();
    // Once more: nothing is done twice, and nothing is lost.
    let again = house.act(&operator, &id, "containment", &json!({})).await;
    assert_eq!(again["steps"], contained["steps"]);

    // The mail server is down first: the notice can be read all the same, and the mail is tried again.
    house.mailbox.is_closed.store(true, Ordering::SeqCst);
    let sent = house.act(&operator, &id, "notices", &json!({ "send": true })).await;
    assert!(sent["notices"][0]["mail"].as_str().unwrap().starts_with("not sent"), "{sent}");
    house.mailbox.is_closed.store(false, Ordering::SeqCst);
    let sent = house.act(&operator, &id, "notices", &json!({ "send": true })).await;
    assert_eq!(sent["notices"][0]["mail"], "sent to 1 addresses");
    house.act(&operator, &id, "notices", &json!({ "send": true })).await;
    {
        let mails = house.mailbox.taken.lock().unwrap();
        assert_eq!(mails.len(), 1, "once");
        assert_eq!(mails[0].to, ["privacy@northwind.example"]);
        assert!(mails[0].text.contains(&format!("/v1/notices/{id}")), "{}", mails[0].text);
        assert!(!mails[0].text.contains("customer") && !mails[0].text.contains("phone"), "{}", mails[0].text);
    }

    // Only the tenant's own admin reads it.
    let chinook = house.login("admin", "chinook").await;
    assert_eq!(house.send("POST", &delivery, &chinook, &Value::Null).await.status, 404);
    let support = house.login("support", "northwind").await;
    assert_eq!(house.send("POST", &delivery, &support, &Value::Null).await.status, 403);
    assert!(house.send("POST", &delivery, &operator, &Value::Null).await.status >= 403);
    let notice = house.send("POST", &delivery, &admin, &Value::Null).await.ok().json();

    let expected: Keys = read
        .iter()
        .map(|(record_type, keys)| {
            (record_type.clone(), keys.iter().map(|key| known[record_type.as_str()][key].clone()).collect())
        })
        .collect();
    assert_eq!(told(&notice, "read"), expected);
    let norwegian = "/rest/v1/customer?select=id&country=eq.Norway";
    let norwegian = house.send("GET", norwegian, &admin, &Value::Null).await.ok().json();
    let mut changed = Keys::new();
    keys("customer", &norwegian, &mut changed);
    changed.get_mut("customer").unwrap().insert("BERGS".into());
    let changed = changed["customer"].iter().map(|key| known["customer"][key].clone()).collect::<BTreeSet<_>>();
    assert_eq!(told(&notice, "changed"), Keys::from([("customer".to_owned(), changed)]));
    let tokens: BTreeSet<_> = notice["requests"].as_array().unwrap().iter().map(|one| text(&one["token"])).collect();
    assert_eq!(tokens.len(), 2, "the stolen token and its child");

    let ack = format!("/v1/notices/{id}/acknowledgement");
    house.send("POST", &ack, &admin, &Value::Null).await.ok();
    let shown = house.send("GET", &format!("/v1/incidents/{id}"), &operator, &Value::Null).await.ok().json();
    assert!(shown["notices"][0]["acknowledged"].as_str().unwrap().ends_with("by admin@northwind"), "{shown}");
    assert_eq!((shown["given"].as_u64(), shown["acknowledged"].as_u64()), (Some(1), Some(1)));
    let clock = shown["clocks"].as_array().unwrap().iter().find(|one| one["clock"] == "gdpr-authority").unwrap();
    assert!(clock["ends"].as_str().unwrap() > shown["opened"].as_str().unwrap(), "{clock}");

    // The tenant's auditor sees that operators looked.
    let auditor = house.login("auditor", "northwind").await;
    let log = house.send("GET", "/v1/audit?limit=10000", &auditor, &Value::Null).await.ok().body;
    for said in ["looked into incident", "contained incident", "notice of incident"] {
        assert!(log.contains(&format!("{said} {id}")), "{said}");
    }
}

#[tokio::test]
async fn a_principal_is_stopped_and_its_keys_log_in_no_more() {
    let house = House::trading(NOW, &["employee", "customer"]).await;
    let support = house.login("support", "northwind").await;
    let since = house.now();
    house.send("GET", "/rest/v1/customer?select=id&country=eq.Brazil", &support, &Value::Null).await.ok();
    let operator = house.operator().await;
    let culprit = json!({ "principal": { "tenant": "northwind", "name": "support" } });
    let incident = house.open(&operator, &culprit, since).await;
    assert_eq!(incident["concerned"][0]["types"][0]["records"], 9, "{incident}");
    let id = text(&incident["id"]);
    let contained = house.act(&operator, &id, "containment", &json!({})).await;
    assert_eq!(contained["steps"][0]["step"], "stopped_principal", "{contained}");
    assert_eq!(house.send("GET", "/rest/v1/customer", &support, &Value::Null).await.status, 401);
    let who = json!({ "user": "support", "tenant": "northwind" });
    house.ask("POST", "/v1/login/challenge").body(who.to_string()).send().await.ok();
    let admin = house.login("admin", "northwind").await;
    let users = house.send("GET", "/v1/users", &admin, &Value::Null).await.ok().json();
    let user = users.as_array().unwrap().iter().find(|user| user["name"] == "support").unwrap();
    assert_eq!(user["ssh_keys"], json!([]));

    let nobody = json!({ "principal": { "tenant": "northwind", "name": "nobody" } });
    let body = json!({ "culprit": nobody, "since": rfc3339(since) });
    assert_eq!(house.send("POST", "/v1/incidents", &operator, &body).await.status, 404);
    let tenants = house.send("POST", "/v1/incidents", &admin, &body).await;
    assert_eq!(tenants.status, 403, "{}", tenants.body);
}

#[tokio::test]
async fn a_key_that_is_out_means_everything_and_is_wrapped_anew() {
    let house = House::trading(NOW, &["employee", "customer"]).await;
    let operator = house.operator().await;
    let incident = house.open(&operator, &json!({ "tenant_key": "northwind" }), NOW).await;
    let northwind = &incident["concerned"][0];
    assert_eq!((&northwind["everything"], &northwind["to_be_told"]), (&json!(true), &json!(true)));
    let id = text(&incident["id"]);
    let contained = house.act(&operator, &id, "containment", &json!({})).await;
    assert_eq!((&contained["steps"][0]["step"], contained["steps"][0].get("failed")), (&json!("rewrapped_key"), None));
    let drafted = house.act(&operator, &id, "notices", &json!({})).await;
    let text = drafted["notices"][0]["text"].as_str().unwrap();
    assert!(text.contains("Everything that is stored for you"), "{text}");
}

#[tokio::test]
async fn of_a_service_every_request_counts_and_what_cant_be_done_is_said() {
    let house = House::trading(NOW, &["employee", "customer"]).await;
    house.clock.advance_ms(1000);
    let since = house.now();
    for tenant in ["northwind", "chinook"] {
        let admin = house.login("admin", tenant).await;
        house.send("GET", "/rest/v1/customer?select=id&limit=3", &admin, &Value::Null).await.ok();
    }
    let operator = house.operator().await;
    let incident = house.open(&operator, &json!({ "service": { "role": "gateway" } }), since).await;
    let records: Vec<_> =
        incident["concerned"].as_array().unwrap().iter().map(|one| &one["types"][0]["records"]).collect();
    assert_eq!(records, [3, 3]);
    let id = text(&incident["id"]);
    let contained = house.act(&operator, &id, "containment", &json!({})).await;
    let steps = contained["steps"].as_array().unwrap();
    assert!(steps[0]["failed"].as_str().unwrap().contains("ROLE/NAME"), "{contained}");
    assert_eq!(contained.get("contained"), None);
    assert_eq!(steps.iter().filter(|step| step["step"] == "ended_session").count(), 2, "{contained}");
    let unknown = json!({ "culprit": { "service": { "role": "printer" } }, "since": rfc3339(since) });
    assert_eq!(house.send("POST", "/v1/incidents", &operator, &unknown).await.status, 400);
}

#[tokio::test]
async fn clocks_are_reminded_of_once_before_and_once_after() {
    let house = House::trading(NOW, &[]).await;
    let operator = house.operator().await;
    let contacts = json!({ "emails": ["oncall@example.com"] });
    house.send("PUT", "/v1/contacts", &operator, &contacts).await.ok();
    let incident = house.open(&operator, &json!({ "tenant_key": "northwind" }), NOW).await;
    let id = text(&incident["id"]);
    let mut said = Vec::new();
    for hours in [0u64, 1, 53, 55, 71, 73] {
        let at = NOW.plus_ms(hours * 3_600_000);
        house.clock.advance_ms(at.since(house.now()));
        house.authority.remind_of_incidents().await.unwrap();
        house.authority.remind_of_incidents().await.unwrap();
        let mails = house.mailbox.taken.lock().unwrap();
        let about = mails.iter().filter(|mail| mail.text.contains(": gdpr-authority ")).count();
        assert!(mails.iter().all(|mail| mail.to == ["oncall@example.com"] && mail.text.contains(&id)));
        said.push(about);
    }
    assert_eq!(said, [0, 0, 0, 1, 1, 2]);
    let operator = house.operator().await;
    let log = house.send("GET", "/v1/audit?limit=10000", &operator, &Value::Null).await.ok().json();
    let reminders = log["records"].as_array().unwrap().iter().filter(|record| record["action"] == "incident_clock");
    let of_clock = reminders.filter(|record| record["detail"].as_str().unwrap().contains(": gdpr-authority "));
    assert_eq!(of_clock.count(), 2);
}

#[tokio::test]
async fn contacts_are_the_tenants_own_and_are_checked() {
    let house = House::trading(NOW, &[]).await;
    let (admin, auditor) = (house.login("admin", "northwind").await, house.login("auditor", "northwind").await);
    let put = async |token: &str, body: Value| house.send("PUT", "/v1/contacts", token, &body).await.status;
    assert_eq!(put(&admin, json!({ "emails": ["a@b.example", "c@d.example"], "language": "pt-BR" })).await, 200);
    for bad in [
        json!({ "emails": ["nobody"] }),
        json!({ "emails": ["a@b.example\r\nBcc: x@y.example"] }),
        json!({ "emails": vec!["a@b.example"; 17] }),
        json!({ "emails": [], "language": "../../etc/passwd" }),
        json!({ "mails": [] }),
    ] {
        assert_eq!(put(&admin, bad.clone()).await, 400, "{bad}");
    }
    assert_eq!(put(&auditor, json!({ "emails": [] })).await, 403);
    let kept = house.send("GET", "/v1/contacts", &admin, &Value::Null).await.ok().json();
    assert_eq!(kept, json!({ "emails": ["a@b.example", "c@d.example"], "language": "pt-BR" }));
    let elsewhere = house.login("admin", "chinook").await;
    let none = house.send("GET", "/v1/contacts", &elsewhere, &Value::Null).await.ok().json();
    assert_eq!(none, json!({ "emails": [], "language": "en" }));
}
