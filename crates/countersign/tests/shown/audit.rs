//! No record, no release: on a full disk for the audit log, nothing leaves and nothing changes. And what is on record
//! stays there.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use countersign_testkit::Server;
use serde_json::{Value, json};

use crate::{Layout, program, whole_and_apart};

whole_and_apart!(when_the_audit_log_can_not_grow_nothing_leaves);

fn when_the_audit_log_can_not_grow_nothing_leaves(layout: Layout) -> Result<()> {
    let (deployment, server) = layout.start()?;
    let token = deployment.login("andrew@northwind")?;
    server.stop()?;

    // No file may grow past a little more than the longest audit file has now: to the process that is a full disk,
    // for root too. Ignoring the signal makes the write fail, as a full disk does, rather than the process end.
    let audits = layout.folders(&deployment).into_iter().map(|folder| longest_file(&folder.join("audit")));
    let longest = audits.collect::<Result<Vec<_>>>()?.into_iter().max().context("no folder")?;
    let blocks = longest / 512 + 48;
    let mut limited = Command::new("sh");
    let line = format!("trap '' XFSZ; ulimit -f {blocks}; exec \"$0\" \"$@\"");
    limited.arg("-c").arg(line).arg(program());
    match layout {
        Layout::Whole => limited.arg("serve").arg(deployment.dir()),
        Layout::Apart => limited.arg("--dir").arg(deployment.dir()).args(["demo", "--apart"]),
    };
    limited.args(["--listen", "127.0.0.1:0"]);
    let server = Server::start(limited, deployment.ca_file(), &deployment.log())?;
    let client = server.client()?.with_token(&token);
    let path = "/rest/v1/customer?select=id,company&limit=20";
    let mut released = 0;
    let refusal = loop {
        let answer = client.get(path)?;
        match answer.status {
            200 => released += 1,
            _ => break answer,
        }
        if released > 20_000 {
            bail!("the audit log never filled up");
        }
    };
    assert_eq!(refusal.status, 503, "{}", refusal.text());
    assert!(!refusal.text().contains("company"), "{}", refusal.text());
    // And it stays so, for reads and writes.
    assert_eq!(client.get(path)?.status, 503);
    assert_eq!(client.post("/rest/v1/customer", &json!({"id": "FULL", "company": "x"}))?.status, 503);
    server.kill()?;

    // With room again, everything works, and the refused write changed nothing.
    let server = layout.again(&deployment)?;
    let client = server.client()?.with_token(&token);
    assert_eq!(client.get("/rest/v1/customer?select=id&id=eq.FULL")?.rows()?.len(), 0);
    println!("{released} reads were released until the disk was full, none after that");
    server.stop()
}

/// A ledger's whole folder is put back to what it once was: nothing in it tells, and the other services' files do.
#[test]
#[ignore = "starts a demo; a step of `cargo xtask test` runs it"]
fn an_older_copy_of_a_ledger_is_told_by_the_other_services() -> Result<()> {
    let (deployment, server) = crate::demo()?;
    server.stop()?;
    let gateway = deployment.dir().join("audit").join("gateway");
    let older = tempfile::tempdir()?;
    copy(&gateway, older.path())?;
    let server = deployment.serve()?;
    let token = deployment.login("andrew@northwind")?;
    for _ in 0..20 {
        let client = server.client()?.with_token(&token);
        client.get("/rest/v1/customer?select=id,company&limit=20")?.rows()?;
    }
    // Until all have seen the log as long as it is.
    let began = Instant::now();
    loop {
        let reports: Value = serde_json::from_str(&deployment.run(&["audit", "verify", "--output", "json"])?)?;
        let confirmed =
            |report: &Value| report["confirmed_up_to"] == report["records"] && report["confirmed"] == json!(4);
        if reports.as_array().context("no list")?.iter().all(confirmed) {
            println!("{reports}");
            break;
        }
        anyhow::ensure!(began.elapsed() < Duration::from_secs(60), "not confirmed: {reports}");
        std::thread::sleep(Duration::from_millis(500));
    }
    server.stop()?;
    std::fs::remove_dir_all(&gateway)?;
    copy(older.path(), &gateway)?;
    let alone = gateway.to_str().context("a folder whose name is no text")?;
    deployment.run(&["audit", "verify", alone])?;
    let told = match deployment.run(&["audit", "verify"]) {
        Err(told) => told.to_string(),
        Ok(reports) => bail!("nothing was told: {reports}"),
    };
    assert!(told.contains("ended with exit status: 1") && told.contains("has seen"), "{told}");
    println!("{told}");
    Ok(())
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    std::fs::create_dir_all(to)?;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let to = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &to)?;
        } else {
            std::fs::copy(entry.path(), &to)?;
        }
    }
    Ok(())
}

fn longest_file(folder: &Path) -> Result<u64> {
    let mut longest = 0;
    for entry in std::fs::read_dir(folder).with_context(|| folder.display().to_string())? {
        let entry = entry?;
        let length = if entry.file_type()?.is_dir() { longest_file(&entry.path())? } else { entry.metadata()?.len() };
        longest = longest.max(length);
    }
    Ok(longest)
}
