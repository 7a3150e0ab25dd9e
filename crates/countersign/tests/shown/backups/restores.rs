//! What comes back is what was there: both companies, every record of every type and every field of it, held against what the
//! admins read before.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use countersign_testkit::{Client, Deployment, Postgres, Server};
use serde_json::json;

use crate::program;

const TYPES: [&str; 5] = ["customer", "employee", "invoice", "invoice_line", "product"];
const TENANTS: [&str; 2] = ["chinook", "northwind"];
/// More than there are of any type.
const ALL: &str = "100000";

#[test]
#[ignore = "starts a demo; a step of `cargo xtask test` runs it"]
fn what_is_restored_is_what_was_there() -> Result<()> {
    restored(false)
}

#[test]
#[ignore = "starts a demo and databases; a step of `cargo xtask test` runs it"]
fn what_is_restored_is_what_was_there_on_postgres() -> Result<()> {
    restored(true)
}

/// What both admins read at one time.
type Companies = [Vec<String>; 2];

fn restored(on_postgres: bool) -> Result<()> {
    let deployment = Deployment::temporary(program())?;
    let server = deployment.demo()?;
    deployment.without_budgets()?;
    server.stop()?;
    let _postgres: Option<Postgres> = on_postgres.then(|| deployment.move_to_postgres_with("")).transpose()?;
    let dir = deployment.dir();
    let repository = dir.with_file_name("repository");
    let config = dir.join("countersign.toml");
    let text = std::fs::read_to_string(&config)?;
    std::fs::write(&config, format!("{text}\n[backup.safe]\nfolder = {:?}\n", repository.display().to_string()))?;
    let server = deployment.serve()?;
    let now = || companies(&dir);
    let restore =
        |more: &[&str]| deployment.run(&[&["backup", "restore", "--tenant", "northwind"], more].concat()).map(drop);

    let [chinook, first] = now()?;
    let sizes: Vec<usize> = [&chinook, &first].iter().map(|company| company.len()).collect();
    ensure!(sizes == [6222, 3162].map(|records| records + TYPES.len()), "read: {sizes:?}");
    let moment = a_moment()?;
    changes(&deployment, &server, "One")?;
    let [_, second] = now()?;
    let [between, _] = now()?;
    deployment.run(&["backup", "create", "safe"])?;
    changes(&deployment, &server, "Two")?;
    let [later, third] = now()?;
    ensure!(first != second && second != third && chinook != between && between != later, "nothing was changed");

    // One tenant, and nothing of the other: to a moment of what the store keeps, back to what is in the backup, and to a moment
    // from there.
    restore(&["--to", &moment])?;
    same("to a moment", now()?, [&later, &first])?;
    restore(&["--from", "safe"])?;
    same("from a backup", now()?, [&later, &second])?;
    restore(&["--from", "safe", "--to", &moment])?;
    same("from a backup, to a moment", now()?, [&later, &first])?;
    for tenant in TENANTS {
        deployment.run(&["--as", &format!("andrew@{tenant}"), "audit", "verify"])?;
    }
    server.stop()?;

    // The whole of it: into an empty folder, and into an empty database.
    let whole = |name: &str, more: &[&str]| -> Result<()> {
        let new = dir.with_file_name(name);
        let mut command = Command::new(program());
        command.arg("--dir").arg(&new).args(["backup", "restore", "--from"]).arg(&repository).args(more);
        let output = command.arg("--kms-from").arg(&dir).stdin(Stdio::null()).env("NO_COLOR", "1").output()?;
        ensure!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stderr));
        for tenant in TENANTS {
            let key = Path::new("keys").join(format!("andrew@{tenant}"));
            std::fs::copy(dir.join(&key), new.join(&key))?;
        }
        same(name, companies(&new)?, [&between, &second])
    };
    whole("folder", &[])?;
    let database = deployment.database_with("")?;
    whole("database", &["--postgres", &database.address()])
}

/// Every record of each company, as CSV with all that its admin may see.
fn companies(dir: &Path) -> Result<Companies> {
    let of = |tenant: &str| -> Result<Vec<String>> {
        let mut all = Vec::new();
        for name in TYPES {
            let mut command = Command::new(program());
            command.arg("--dir").arg(dir).args(["--as", &format!("andrew@{tenant}"), "--output", "csv"]);
            let output = command.args(["get", name, "--limit", ALL]).stdin(Stdio::null()).output()?;
            ensure!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stderr));
            let mut rows: Vec<String> = String::from_utf8(output.stdout)?.lines().map(str::to_owned).collect();
            rows.sort();
            all.extend(rows);
        }
        Ok(all)
    };
    let [one, other] = TENANTS;
    Ok([of(one)?, of(other)?])
}

fn same(what: &str, found: Companies, wanted: [&Vec<String>; 2]) -> Result<()> {
    for ((tenant, found), wanted) in TENANTS.iter().zip(&found).zip(wanted) {
        let first = found.iter().zip(wanted).position(|(one, other)| one != other);
        let lengths = (found.len(), wanted.len());
        ensure!(found == wanted, "{what}: {tenant} is not what it was: {lengths:?}, the first that differs {first:?}");
    }
    println!("{what}: {} rows are what they were", found.iter().map(Vec::len).sum::<usize>());
    Ok(())
}

/// A whole second, with nothing of before or after in it.
fn a_moment() -> Result<String> {
    let wait = || std::thread::sleep(Duration::from_millis(1100));
    wait();
    let output = Command::new("date").args(["-u", "+%Y-%m-%dT%H:%M:%SZ"]).output()?;
    wait();
    Ok(String::from_utf8(output.stdout)?.trim().to_owned())
}

/// Records of every type changed, added, and removed, at both companies.
fn changes(deployment: &Deployment, server: &Server, name: &str) -> Result<()> {
    for tenant in TENANTS {
        let client: Client = server.client()?.with_token(&deployment.login(&format!("andrew@{tenant}"))?);
        client.patch("/rest/v1/customer?country=eq.Germany", &json!({ "city": name }))?.success()?;
        client.patch("/rest/v1/employee?id=lt.5", &json!({ "notes": format!("Note {name}") }))?.success()?;
        client.patch("/rest/v1/product?id=lt.20", &json!({ "unit_price": "12.5", "supplier": name }))?.success()?;
        client.patch("/rest/v1/invoice?billing_country=eq.Germany", &json!({ "billing_city": name }))?.success()?;
        let lines = client.get("/rest/v1/invoice_line?select=id&order=id&limit=20")?.rows()?;
        let ids = lines.iter().map(|line| line["id"].as_str()).collect::<Option<Vec<_>>>().context("no ids")?;
        client.delete(&format!("/rest/v1/invoice_line?id=in.({})", ids.join(",")))?.success()?;
        let id = format!("NEW-{name}");
        client.post("/rest/v1/customer", &json!({ "id": id, "company": format!("New, {name} & Söhne") }))?.success()?;
    }
    Ok(())
}
