//! Every role sees exactly its fields and rows, with the data's own values, in both tenants; and nothing crosses.

use std::collections::BTreeSet;

use anyhow::{Context as _, Result};
use countersign_model::Sensitivity;
use countersign_testkit::{Client, Request};
use serde_json::json;

use crate::data::{self, Row, TYPES};
use crate::{Layout, root, whole_and_apart};

whole_and_apart!(
    every_role_gets_exactly_its_fields_and_rows,
    a_tenant_is_all_that_a_token_reaches,
    narrowed_tokens_are_narrow_and_revoked_ones_end,
    a_second_start_serves_what_the_first_one_stored
);

/// What one role may read of one type: fields and rows. Written from the promise, not from the policies.
struct Grant {
    fields: BTreeSet<String>,
    rows: fn(&Row, &str, &[Row]) -> bool,
}

const ANY: fn(&Row, &str, &[Row]) -> bool = |_, _, _| true;

fn grant(role: &str, record_type: &str) -> Result<Option<Grant>> {
    let text = std::fs::read_to_string(root().join("examples/trading/types.toml"))?;
    let types = countersign_store::types_file::parse(&text)?;
    let (_, found) = types.find(record_type).context("no such type")?;
    let all = || found.iter().map(|(_, field)| field.name.to_string()).collect::<BTreeSet<_>>();
    let without = |hidden: &[&str]| {
        let mut fields = all();
        fields.retain(|field| !hidden.contains(&field.as_str()));
        fields
    };
    let impersonal = || {
        let fields = found.iter().filter(|(_, field)| field.class != Sensitivity::Personal);
        fields.map(|(_, field)| field.name.to_string()).collect::<BTreeSet<_>>()
    };
    let every_row = |fields| Some(Grant { fields, rows: ANY });
    Ok(match (role, record_type) {
        ("admin", _) => every_row(all()),
        ("support", "customer") => every_row(without(&["address", "fax"])),
        ("support", "invoice") => every_row(without(&["total"])),
        ("accountant", "invoice" | "invoice_line") => every_row(all()),
        ("accountant", "customer") => every_row(["id", "company", "country"].map(String::from).into()),
        ("analyst", _) => every_row(impersonal()),
        ("rep", "customer") => {
            Some(Grant { fields: all(), rows: |row, employee, _| row["support_rep_id"] == employee })
        }
        ("rep", "invoice") => Some(Grant {
            fields: all(),
            rows: |row, employee, customers| {
                customers.iter().any(|one| one["id"] == row["customer_id"] && one["support_rep_id"] == employee)
            },
        }),
        _ => None,
    })
}

/// User, role and employee number.
type Person = (&'static str, &'static str, &'static str);

/// Who works where.
const PEOPLE: [(&str, &[Person]); 2] = [
    (
        "chinook",
        &[
            ("andrew", "admin", ""),
            ("michael", "support", ""),
            ("nancy", "accountant", ""),
            ("laura", "analyst", ""),
            ("robert", "auditor", ""),
            ("jane", "rep", "3"),
            ("margaret", "rep", "4"),
            ("steve", "rep", "5"),
        ],
    ),
    (
        "northwind",
        &[
            ("andrew", "admin", ""),
            ("michael", "support", ""),
            ("nancy", "accountant", ""),
            ("laura", "analyst", ""),
            ("robert", "auditor", ""),
            ("janet", "rep", "3"),
            ("margaret", "rep", "4"),
            ("steven", "rep", "5"),
        ],
    ),
];

fn every_role_gets_exactly_its_fields_and_rows(layout: Layout) -> Result<()> {
    let (deployment, server) = layout.start()?;
    let (mut answers, mut values) = (0, 0);
    for (tenant, people) in PEOPLE {
        let customers = data::rows(tenant, "customer")?;
        for (user, role, employee) in people {
            let client = server.client()?.with_token(&deployment.login(&format!("{user}@{tenant}"))?);
            for record_type in TYPES {
                let who = format!("{user}@{tenant} ({role}), {record_type}");
                let Some(grant) = grant(role, record_type)? else {
                    let refused = client.get(&format!("/rest/v1/{record_type}?select=*"))?;
                    assert_eq!(refused.status, 403, "{who}: {}", refused.text());
                    continue;
                };
                let mut file = data::rows(tenant, record_type)?;
                file.retain(|row| (grant.rows)(row, employee, &customers));
                // Brazil's customers by the documented URL, everything else whole, page by page.
                let filter = if record_type == "customer" { "&country=eq.Brazil" } else { "" };
                if record_type == "customer" {
                    file.retain(|row| row["country"] == "Brazil");
                }
                let rows = read_all(&client, &format!("/rest/v1/{record_type}?select=*{filter}"))?;
                answers += 1;
                assert_eq!(rows.len(), file.len(), "{who}: number of rows");
                for row in rows {
                    let row = row.as_object().context("not a row")?.clone();
                    let names: BTreeSet<String> = row.keys().cloned().collect();
                    assert_eq!(names, grant.fields, "{who}: fields");
                    let same = |source: &&Row| row.iter().all(|(name, value)| data::same(&source[name], value));
                    assert!(
                        file.iter().any(|source| same(&source)),
                        "{who}: a row that the data does not have: {row:?}"
                    );
                    values += row.len();
                }
            }
        }
    }
    println!("{answers} answers with {values} values are the data's own");
    server.stop()
}

/// Pages through a list.
fn read_all(client: &Client, path: &str) -> Result<Vec<serde_json::Value>> {
    let mut all = Vec::new();
    loop {
        let page = client.get(&format!("{path}&order=id&limit=500&offset={}", all.len()))?;
        let rows = page.rows().with_context(|| path.to_owned())?;
        let last = rows.len() < 500;
        all.extend(rows);
        if last {
            return Ok(all);
        }
    }
}

fn a_tenant_is_all_that_a_token_reaches(layout: Layout) -> Result<()> {
    let (deployment, server) = layout.start()?;
    let northwind = server.client()?.with_token(&deployment.login("andrew@northwind")?);
    let other = Request::new("GET", "/rest/v1/customer?select=id&limit=1");
    let own = northwind.send(&other.clone().header("Accept-Profile", "northwind"))?;
    assert_eq!(own.status, 200, "{}", own.text());
    let chinook = northwind.send(&other.clone().header("Accept-Profile", "chinook"))?;
    let nobody = northwind.send(&other.header("Accept-Profile", "no-such-tenant"))?;
    assert_eq!(chinook.status, 403);
    assert_eq!(chinook.text(), nobody.text(), "a tenant that exists and one that does not must answer the same");
    // Chinook's customer 1 exists; northwind's ids are letters.
    assert_eq!(northwind.get("/rest/v1/customer?select=id&id=eq.1")?.rows()?.len(), 0);
    server.stop()
}

fn narrowed_tokens_are_narrow_and_revoked_ones_end(layout: Layout) -> Result<()> {
    let (deployment, server) = layout.start()?;
    let token = deployment.login("andrew@northwind")?;
    let narrow = deployment
        .command(&["token", "narrow", "--read-only", "--type", "customer", "--fields", "company,country"])
        .args(["--for", "10m"])
        .env("COUNTERSIGN_TOKEN", &token)
        .output()?;
    assert!(narrow.status.success(), "{}", String::from_utf8_lossy(&narrow.stderr));
    let narrowed = server.client()?.with_token(String::from_utf8(narrow.stdout)?.trim());
    let rows = narrowed.get("/rest/v1/customer?select=*&limit=1")?.rows()?;
    let first = rows.first().and_then(|row| row.as_object()).context("a row")?;
    assert_eq!(first.keys().map(String::as_str).collect::<BTreeSet<_>>(), ["company", "country"].into());
    assert_eq!(narrowed.get("/rest/v1/customer?select=phone&limit=1")?.status, 403);
    assert_eq!(narrowed.get("/rest/v1/invoice?select=id&limit=1")?.status, 403);
    assert_eq!(narrowed.patch("/rest/v1/customer?id=eq.ALFKI", &json!({"company": "x"}))?.status, 403);

    let whole = server.client()?.with_token(&token);
    assert_eq!(whole.get("/rest/v1/customer?select=id&limit=1")?.status, 200);
    let revoke = deployment.command(&["token", "revoke"]).env("COUNTERSIGN_TOKEN", &token).output()?;
    assert!(revoke.status.success(), "{}", String::from_utf8_lossy(&revoke.stderr));
    assert_eq!(whole.get("/rest/v1/customer?select=id&limit=1")?.status, 401, "on the next request");
    server.stop()
}

fn a_second_start_serves_what_the_first_one_stored(layout: Layout) -> Result<()> {
    let (deployment, server) = layout.start()?;
    let token = deployment.login("andrew@northwind")?;
    let client = server.client()?.with_token(&token);
    client.post("/rest/v1/customer", &json!({"id": "AGAIN", "company": "Second Start"}))?.success()?;
    server.stop()?;
    let server = layout.demo(&deployment)?;
    // The token of the first start is good until it expires: the signing key was kept.
    let client = server.client()?.with_token(&token);
    let rows = client.get("/rest/v1/customer?select=company&id=eq.AGAIN")?.rows()?;
    assert_eq!(rows, [json!({"company": "Second Start"})]);
    let counted = client.send(&Request::new("HEAD", "/rest/v1/customer").header("Prefer", "count=exact"))?;
    assert!(counted.header("content-range").is_some_and(|range| range.ends_with("/92")), "loaded twice");
    server.stop()
}
