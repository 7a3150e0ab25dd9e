//! The commands that the documentation shows, in a shell, with curl.

use std::collections::BTreeSet;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use crate::{Layout, program, whole_and_apart};

whole_and_apart!(curl_reads_with_a_token_from_login);

fn curl_reads_with_a_token_from_login(layout: Layout) -> Result<()> {
    let (deployment, server) = layout.start()?;
    for (user, rows) in [("nancy@northwind", 9), ("nancy@chinook", 5)] {
        let line = format!(
            "curl --silent --show-error --fail --cacert {ca} \
             -H \"Authorization: Bearer $({program} --dir {dir} login {user})\" \
             'https://{address}/rest/v1/customer?select=*&country=eq.Brazil'",
            ca = deployment.ca_file().display(),
            program = program().display(),
            dir = deployment.dir().display(),
            address = server.address(),
        );
        let output = Command::new("sh").args(["-c", &line]).output()?;
        ensure!(output.status.success(), "{line}\n{}", String::from_utf8_lossy(&output.stderr));
        let answer: Value = serde_json::from_slice(&output.stdout)?;
        let answer = answer.as_array().context("not a list")?;
        assert_eq!(answer.len(), rows, "{user}");
        for row in answer {
            let names: BTreeSet<&str> = row.as_object().context("not a row")?.keys().map(String::as_str).collect();
            assert_eq!(names, ["company", "country", "id"].into(), "{user}");
        }
    }
    // The certificate is the deployment's own: without it, curl refuses.
    let line = format!("curl --silent https://{}/healthz", server.address());
    let status = Command::new("sh").args(["-c", &line]).status()?;
    assert_eq!(status.code(), Some(60), "curl trusted a certificate that nobody gave it");
    server.stop()
}
