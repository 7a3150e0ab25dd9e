//! The door on the real guard, engine and authority, with the trading example.

use crate::support::{Got, House};
use countersign_model::UnixMs;
use serde_json::{Value, json};

const NOW: UnixMs = UnixMs(1_800_000_000_000);

async fn house() -> House {
    House::trading(NOW, &["employee", "customer"]).await
}

fn ids(got: &Got) -> Vec<String> {
    let text = |row: &Value| match &row["id"] {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    got.json().as_array().into_iter().flatten().map(text).collect()
}

#[tokio::test]
async fn reading_under_each_role() {
    let house = house().await;
    let path = "/rest/v1/customer?country=eq.Brazil&order=id";
    let mut keys = Vec::new();
    for role in ["admin", "support", "accountant", "analyst"] {
        let token = house.login(role, "northwind").await;
        let got = house.ask("GET", path).token(&token).send().await.ok();
        assert_eq!(ids(&got), ["COMMI", "FAMIA", "GOURL", "HANAR", "QUEDE", "QUEEN", "RICAR", "TRADH", "WELLI"]);
        assert_eq!(got.header("content-range"), "0-8/*");
        keys.push(got.json()[0].as_object().unwrap().len());
    }
    assert_eq!(keys, [13, 11, 3, 7]);
    let chinook = house.login("accountant", "chinook").await;
    let got = house.ask("GET", path).token(&chinook).send().await.ok();
    assert_eq!(ids(&got), ["1", "10", "11", "12", "13"]);
    let auditor = house.login("auditor", "northwind").await;
    assert_eq!(house.ask("GET", path).token(&auditor).send().await.no(), (403, "42501".into()));
    let rep = house.login("rep", "northwind").await;
    let own = house.ask("GET", "/rest/v1/customer?select=id,support_rep_id").token(&rep).send().await.ok();
    assert!(own.json().as_array().unwrap().iter().all(|row| row["support_rep_id"] == 4));
}

/// INVARIANT hidden-is-absent
#[tokio::test]
async fn what_may_not_be_seen_and_what_is_not_there_are_one_answer() {
    let house = house().await;
    let token = house.login("accountant", "northwind").await;
    let mut answers = std::collections::BTreeSet::new();
    for path in [
        "/rest/v1/customer?select=email",
        "/rest/v1/customer?select=no_such_field",
        "/rest/v1/customer?email=eq.a",
        "/rest/v1/customer?order=email",
        "/rest/v1/customer?select=id,employee(id)",
        "/rest/v1/customer?select=id,nothing(id)",
        "/rest/v1/employee",
        "/rest/v1/no_such_type",
        "/rest/v1/No%20Type",
    ] {
        let got = house.ask("GET", path).token(&token).send().await;
        assert_eq!(got.status, 403, "{path}");
        answers.insert(got.body);
    }
    for tenant in ["chinook", "nobody"] {
        let got = house.ask("GET", "/rest/v1/customer").token(&token).header("accept-profile", tenant).send().await;
        assert_eq!(got.status, 403);
        answers.insert(got.body);
    }
    assert_eq!(answers.len(), 1, "{answers:?}");
    let own = house.ask("GET", "/rest/v1/customer?limit=1").token(&token).header("accept-profile", "northwind");
    own.send().await.ok();
}

#[tokio::test]
async fn filters_forms_and_counts() {
    let house = house().await;
    let token = house.login("admin", "northwind").await;
    let get = async |path: &str| {
        house.ask("GET", &format!("/rest/v1/customer?select=id&order=id&{path}")).token(&token).send().await
    };
    for (filter, expected) in [
        ("id=in.(ALFKI,%22ANTON%22,NOBODY)", "ALFKI ANTON"),
        ("id=in.()", ""),
        ("company=like.A*&country=eq.Mexico", "ANATR ANTON"),
        ("company=ilike.*FUTTER*", "ALFKI"),
        ("or=(id.eq.ALFKI,and(country.eq.Mexico,city.neq.%22M%C3%A9xico%20D.F.%22))", "ALFKI"),
        ("region=is.null&country=eq.Germany&id=lte.BLAUS", "ALFKI BLAUS"),
        ("id=gte.W&not.or=(id.eq.WOLZA,country.eq.USA)", "WANDK WARTH WELLI WILMK"),
        ("id=like(any).{ALF*,*TON}", "ALFKI ANTON"),
        ("id=eq.ALFKI&support_rep_id=isdistinct.1", "ALFKI"),
    ] {
        let got = get(filter).await.ok();
        assert_eq!(ids(&got).join(" "), expected, "{filter}");
    }
    let counted = house.ask("GET", "/rest/v1/customer?select=id&limit=2").token(&token).header("prefer", "count=exact");
    let got = counted.send().await;
    assert_eq!((got.status, got.header("content-range")), (206, "0-1/91"));
    let beyond = house.ask("GET", "/rest/v1/customer?offset=92").token(&token).header("prefer", "count=exact");
    assert_eq!(beyond.send().await.no(), (416, "PGRST103".into()));
    let head = house.ask("HEAD", "/rest/v1/customer").token(&token).header("prefer", "count=planned").send().await;
    assert_eq!((head.status, head.header("content-range"), head.body.as_str()), (200, "0-90/91", ""));
    let object = "application/vnd.pgrst.object+json";
    let one =
        house.ask("GET", "/rest/v1/customer?select=name:company&id=eq.ALFKI").token(&token).header("accept", object);
    assert_eq!(one.send().await.body, r#"{"name":"Alfreds Futterkiste"}"#);
    let none = house.ask("GET", "/rest/v1/customer?id=eq.NOBODY").token(&token).header("accept", object).send().await;
    assert_eq!(none.no(), (406, "PGRST116".into()));
    let csv = house.ask("GET", "/rest/v1/customer?select=id,city,region&id=eq.ALFKI").token(&token);
    assert_eq!(csv.header("accept", "text/csv").send().await.body, "id,city,region\nALFKI,Berlin,\n");
    for (bad, code) in [("select=id&support_rep_id=eq.x", "22P02"), ("id=over.1", "PGRST100"), ("limit=x", "PGRST100")]
    {
        let got = house.ask("GET", &format!("/rest/v1/customer?{bad}")).token(&token).send().await;
        assert_eq!(got.no(), (400, code.into()), "{bad}");
    }
}

#[tokio::test]
async fn pages_by_cursor() {
    let house = house().await;
    let (admin, support) = (house.login("admin", "northwind").await, house.login("support", "northwind").await);
    let path = "/rest/v1/customer?select=id,country&order=country.desc,city&limit=20";
    let (mut all, mut cursor) = (Vec::new(), String::new());
    loop {
        let more = if cursor.is_empty() { String::new() } else { format!("&cursor={cursor}") };
        let got = house.ask("GET", &format!("{path}{more}")).token(&admin).send().await.ok();
        all.extend(ids(&got));
        if got.header("countersign-cursor").is_empty() {
            break;
        }
        cursor = got.header("countersign-cursor").to_owned();
        assert!(all.len() < 200);
    }
    let whole = house.ask("GET", &path.replace("&limit=20", "")).token(&admin).send().await.ok();
    assert_eq!(all, ids(&whole));
    assert_eq!(all.len(), 91);
    // Somebody else's.
    let got = house.ask("GET", &format!("{path}&cursor={cursor}")).token(&support).send().await;
    assert_eq!(got.no(), (400, "34000".into()));
}

#[tokio::test]
async fn making_changing_and_removing() {
    let house = house().await;
    let token = house.login("admin", "northwind").await;
    let representation = ("prefer", "return=representation");
    let send = async |method: &str, path: &str, prefer: &str, body: Value| {
        house.ask(method, path).token(&token).header("prefer", prefer).body(body.to_string()).send().await
    };
    let made =
        send("POST", "/rest/v1/customer?select=id,company", representation.1, json!({"id": "NEW", "company": "N"}))
            .await;
    assert_eq!((made.status, made.body.as_str()), (201, r#"[{"id":"NEW","company":"N"}]"#));
    let again = send("POST", "/rest/v1/customer", "", json!({"id": "NEW"})).await;
    assert_eq!(again.no(), (409, "23505".into()));
    let merged =
        send("POST", "/rest/v1/customer", "resolution=merge-duplicates", json!([{"id": "NEW", "city": "X"}])).await;
    assert_eq!(merged.status, 200, "{}", merged.body);
    let ignored = send(
        "POST",
        "/rest/v1/customer",
        "resolution=ignore-duplicates",
        json!([{"id": "NEW", "city": "Y"}, {"id": "NEW2", "city": "Z"}]),
    )
    .await;
    assert_eq!(ignored.status, 201, "{}", ignored.body);
    let got = house.ask("GET", "/rest/v1/customer?select=company,city&id=eq.NEW").token(&token).send().await;
    assert_eq!(got.body, r#"[{"company":"N","city":"X"}]"#);

    let none = send("POST", "/rest/v1/customer", "", json!([])).await;
    assert_eq!(none.status, 201, "{}", none.body);
    for (body, code) in [
        (json!({"company": "without id"}), "23502"),
        (json!({"id": "BAD", "support_rep_id": 999}), "23503"),
        (json!({"id": "BAD", "support_rep_id": "x"}), "22P02"),
        (json!([{"id": "BAD"}, {"id": null}]), "23502"),
    ] {
        let got = send("POST", "/rest/v1/customer", "", body.clone()).await;
        assert_eq!(got.no().1, code, "{body}: {}", got.body);
    }
    assert_eq!(send("POST", "/rest/v1/customer", "", json!({"id": "BAD", "nothing": 1})).await.no().0, 403);

    let changed =
        send("PATCH", "/rest/v1/customer?id=eq.NEW&select=city", representation.1, json!({"city": "Q"})).await;
    assert_eq!(
        (changed.status, changed.body.as_str(), changed.header("content-range")),
        (200, r#"[{"city":"Q"}]"#, "0-0/*")
    );
    let too_many =
        send("PATCH", "/rest/v1/customer?country=eq.Brazil", "handling=strict,max-affected=2", json!({"city": "Q"}))
            .await;
    assert_eq!(too_many.no(), (400, "PGRST124".into()));
    let nobody = send("PATCH", "/rest/v1/customer?id=eq.NOBODY", representation.1, json!({"city": "Q"})).await;
    assert_eq!((nobody.status, nobody.body.as_str()), (200, "[]"));
    let removed = send("DELETE", "/rest/v1/customer?id=in.(NEW,NEW2)", "count=exact", json!({})).await;
    assert_eq!((removed.status, removed.header("content-range")), (204, "*/2"));
    let still = send("DELETE", "/rest/v1/employee?id=eq.4", "", json!({})).await;
    assert_eq!(still.no(), (409, "23503".into()));

    let support = house.login("support", "northwind").await;
    let patch =
        |body: Value| house.ask("PATCH", "/rest/v1/customer?id=eq.ALFKI").token(&support).body(body.to_string()).send();
    assert_eq!(patch(json!({"phone": "1"})).await.status, 204);
    assert_eq!(patch(json!({"address": "1"})).await.no(), (403, "42501".into()));
}

#[tokio::test]
async fn embedding() {
    let house = house().await;
    let token = house.login("admin", "northwind").await;
    let invoice = json!([
        {"id": 1, "customer_id": "ALFKI", "invoice_date": "2026-01-01", "total": 1.25},
        {"id": 2, "customer_id": "ALFKI", "invoice_date": "2026-01-02", "total": "2.50"},
        {"id": 3, "customer_id": "ANTON", "invoice_date": "2026-01-03", "total": 10}
    ]);
    house.ask("POST", "/rest/v1/invoice").token(&token).body(invoice.to_string()).send().await.ok();
    for (query, expected) in [
        (
            "customer?select=company,invoice(total)&id=eq.ALFKI&invoice.order=total.desc",
            "[{\"company\":\"Alfreds Futterkiste\",\"invoice\":[{\"total\":2.50},\n {\"total\":1.25}]}]",
        ),
        (
            "customer?select=id,invoice!inner(id)&invoice.total=gt.2&order=id",
            "[{\"id\":\"ALFKI\",\"invoice\":[{\"id\":2}]},\n {\"id\":\"ANTON\",\"invoice\":[{\"id\":3}]}]",
        ),
        ("invoice?select=id,to:customer(company)&id=eq.3", r#"[{"id":3,"to":{"company":"Antonio Moreno Taquería"}}]"#),
        (
            "customer?select=id,invoice(id)&id=eq.ALFKI&invoice.limit=1&invoice.offset=1&invoice.order=id",
            r#"[{"id":"ALFKI","invoice":[{"id":2}]}]"#,
        ),
        ("customer?select=id,rep:employee(last_name)&id=eq.ALFKI", r#"[{"id":"ALFKI","rep":{"last_name":"Peacock"}}]"#),
    ] {
        let got = house.ask("GET", &format!("/rest/v1/{query}")).token(&token).send().await;
        assert_eq!((got.status, got.body.as_str()), (200, expected), "{query}");
    }
}

#[tokio::test]
async fn tokens_end_when_they_should() {
    let house = house().await;
    let token = house.login("admin", "northwind").await;
    let whoami = house.ask("GET", "/v1/token").token(&token).send().await.ok().json();
    assert_eq!(whoami["user"], "admin");
    let exchange = json!({
        "grant_type": "urn:ietf:params:oauth:grant-type:token-exchange",
        "expires_in": 600,
        "authorization_details": [{"type": "countersign", "actions": ["read"], "datatypes": ["customer"], "fields": ["company"]}],
    });
    let narrow = house.ask("POST", "/v1/token").token(&token).body(exchange.to_string()).send().await.ok().json();
    assert_eq!(narrow["issued_token_type"], "urn:ietf:params:oauth:token-type:access_token");
    let narrow = narrow["access_token"].as_str().unwrap().to_owned();
    let got = house.ask("GET", "/rest/v1/customer?limit=1&order=company").token(&narrow).send().await.ok();
    assert_eq!(got.json()[0].as_object().unwrap().keys().collect::<Vec<_>>(), ["company"]);
    let write = house.ask("DELETE", "/rest/v1/customer?company=eq.x").token(&narrow).send().await;
    assert_eq!(write.no().0, 403);

    house.ask("POST", "/v1/token/revoke").token(&narrow).send().await.ok();
    let revoked = house.ask("GET", "/rest/v1/customer").token(&narrow).send().await;
    assert_eq!(revoked.no(), (401, "PGRST303".into()));
    house.clock.advance_ms(3_600_000);
    let expired = house.ask("GET", "/rest/v1/customer").token(&token).send().await;
    assert_eq!(expired.no(), (401, "PGRST303".into()));
    assert!(expired.header("www-authenticate").contains("invalid_token"));
    let nobody = house.ask("GET", "/rest/v1/customer").send().await;
    assert_eq!(nobody.no(), (401, "PGRST302".into()));
}

#[tokio::test]
async fn managing() {
    let house = house().await;
    let (operator, admin) = (house.operator().await, house.login("admin", "northwind").await);
    let tenants = house.ask("GET", "/v1/tenants").token(&operator).send().await.ok().json();
    assert_eq!(tenants.as_array().unwrap().len(), 3);
    assert_eq!(house.ask("GET", "/v1/tenants").token(&admin).send().await.no(), (403, "42501".into()));
    let taken = house.ask("POST", "/v1/tenants").token(&operator).body(r#"{"name":"chinook"}"#).send().await;
    assert_eq!(taken.no(), (409, "42710".into()));
    let users = house.ask("GET", "/v1/users").token(&admin).send().await.ok().json();
    assert_eq!(users.as_array().unwrap().len(), 6);
    let nobody = house.ask("DELETE", "/v1/users/nobody").token(&admin).send().await;
    assert_eq!(nobody.no(), (404, "42704".into()));
    let policy =
        json!({"files": [{"name": "a.cedar", "text": "permit (principal, action == Nothing);"}], "dry_run": true});
    let bad = house.ask("PUT", "/v1/policies").token(&operator).body(policy.to_string()).send().await;
    assert_eq!(bad.no(), (400, "42601".into()));
    assert!(bad.body.contains("a.cedar"), "{}", bad.body);
    let lost = house.ask("PUT", "/v1/types?dry_run=true").token(&operator).header("content-type", "text/plain");
    let lost = lost.body("[types.customer.fields]\nid = { kind = \"text\", class = \"internal\" }\n").send().await;
    assert_eq!(lost.no().0, 409, "{}", lost.body);

    let before = house.ask("GET", "/rest/v1/customer?id=eq.ALFKI&select=id").token(&admin).send().await.ok();
    let request = before.header("countersign-request");
    let audit = house.ask("GET", &format!("/v1/audit?request={request}")).token(&admin).send().await.ok().json();
    assert_eq!(audit["records"][0]["request"], request);
    assert_eq!(audit["records"][0]["verdict"], "released");
    let saw = house.ask("GET", "/v1/audit?record=customer/ALFKI&limit=5").token(&admin).send().await.ok().json();
    assert!(!saw["records"].as_array().unwrap().is_empty());
    let jwks = house.ask("GET", "/v1/jwks.json").send().await.ok().json();
    assert_eq!(jwks["keys"][0]["kty"], "OKP");
}
