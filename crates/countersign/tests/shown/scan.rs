//! `testssl.sh` and `sslyze` against every port of a demo apart. What they find above LOW fails, unless it stands in
//! [`INHERENT`] with the reason why it is so.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use crate::processes::{self, Port};
use crate::{Layout, target};

/// A finding that is no fault here.
struct Inherent {
    /// What the scanner calls it.
    id: &'static str,
    /// How its text begins.
    finding: &'static str,
    /// Whether users' port may have it too, and not only those for services.
    at_the_door: bool,
    /// Why it is so.
    why: &'static str,
}

const INHERENT: &[Inherent] = &[
    Inherent {
        id: "cert_trust",
        finding: "certificate does not match supplied URI",
        at_the_door: false,
        why: "a service is known by its SPIFFE ID, whatever its address; callers verify that, a scanner can't",
    },
    Inherent {
        id: "cert_expirationStatus",
        finding: "expires < 30 days (0)",
        at_the_door: true,
        why: "a certificate lives an hour, and is renewed at half of that",
    },
    Inherent {
        id: "cert_notAfter",
        finding: "20",
        at_the_door: true,
        why: "the same, as a date; one in the past is another finding of cert_expirationStatus",
    },
    Inherent {
        id: "cert_revocation",
        finding: "Neither CRL nor OCSP URI provided",
        at_the_door: true,
        why: "the authority is private to the deployment: a removed service is refused by name within a second, and an \
              hour is less than most revocation lists live",
    },
    Inherent {
        id: "engine_problem",
        finding: "No engine or GOST support via engine",
        at_the_door: true,
        why: "about the scanner's own OpenSSL: it can't offer GOST ciphers, which the server does not have",
    },
    Inherent {
        id: "optimal_proto",
        finding: "Your OpenSSL cannot connect to",
        at_the_door: false,
        why: "who has no certificate is hung up on, now and then before openssl(1) is content; the tests that follow say \
              themselves what they found",
    },
    Inherent {
        id: "certificate_path_validation",
        finding: "Certificate path validation failed",
        at_the_door: false,
        why: "sslyze asks for an address in the certificate, and services have SPIFFE IDs; testssl.sh verifies the chain",
    },
];

/// What must have been looked at: a scanner that could not connect finds nothing. (testssl.sh 3.0 tells of SWEET32 under
/// another name where there is only TLS 1.3.)
const LOOKED_AT: &[&str] = &[
    "SSLv2",
    "SSLv3",
    "TLS1",
    "TLS1_1",
    "TLS1_2",
    "TLS1_3",
    "cipherlist_NULL",
    "cipherlist_aNULL",
    "cipherlist_EXPORT",
    "cipherlist_LOW",
    "cipherlist_3DES_IDEA",
    "cipherlist_AVERAGE",
    "cipherlist_STRONG",
    "cert_signatureAlgorithm",
    "cert_keySize",
    "cert_chain_of_trust",
    "heartbleed",
    "CCS",
    "ROBOT",
    "secure_renego",
    "CRIME_TLS",
    "POODLE_SSL",
    "FREAK",
    "DROWN",
    "LOGJAM",
    "BEAST",
    "LUCKY13",
    "RC4",
];

/// How often a port is scanned that the scanner had trouble with.
const TRIES: u32 = 3;

#[test]
#[ignore = "needs the scanners that `cargo xtask test --only scan` installs"]
fn scanners_find_nothing_above_low() -> Result<()> {
    let (deployment, server) = Layout::Apart.start()?;
    let services = processes::services(&server)?;
    let mut used = BTreeSet::new();
    let mut threads = Vec::new();
    let began = Instant::now();
    for process in services {
        for port in process.ports {
            let (ca, folder) = (deployment.ca_file(), deployment.dir());
            let name = format!("{}-{}", process.service, port.number);
            threads.push(std::thread::spawn(move || scan(&name, port, &ca, &folder)));
        }
    }
    assert_eq!(threads.len(), 7, "five services, a door, and a port for measures");
    let mut found = Vec::new();
    for thread in threads {
        let (name, port, findings) = thread.join().map_err(|_| anyhow::anyhow!("a thread panicked"))??;
        println!("  {name}: {} findings", findings.len());
        found.extend(findings.into_iter().filter(Finding::is_above_low).filter(|finding| {
            let known = INHERENT.iter().find(|known| known.is(finding, port));
            used.extend(known.map(|known| (known.id, known.why)));
            known.is_none()
        }));
    }
    for (id, why) in &used {
        println!("  inherent: {id}: {why}");
    }
    println!("  two scanners, seven ports, {:.0?}", began.elapsed());
    ensure!(found.is_empty(), "above LOW:\n{}", found.iter().map(Finding::line).collect::<Vec<_>>().join("\n"));
    server.stop()
}

impl Inherent {
    fn is(&self, finding: &Finding, port: Port) -> bool {
        self.id == finding.id && finding.text.starts_with(self.finding) && (self.at_the_door || !port.is_door)
    }
}

/// One line of a scanner's.
struct Finding {
    place: String,
    id: String,
    severity: String,
    text: String,
}

impl Finding {
    fn is_above_low(&self) -> bool {
        !matches!(self.severity.as_str(), "OK" | "INFO" | "DEBUG" | "LOW")
    }

    fn line(&self) -> String {
        format!("{} {} {}: {}", self.severity, self.place, self.id, self.text)
    }
}

/// What both find at one port.
fn scan(name: &str, port: Port, ca: &Path, folder: &Path) -> Result<(String, Port, Vec<Finding>)> {
    // A warning is about the scan, such as a connection that was not made in time: what it was for is not known then.
    let mut findings = testssl(name, port, ca, folder)?;
    for _ in 1..TRIES {
        let is_known = |finding: &Finding| INHERENT.iter().any(|known| known.is(finding, port));
        if findings.iter().all(|finding| finding.severity != "WARN" || is_known(finding)) {
            break;
        }
        findings = testssl(name, port, ca, folder)?;
    }
    let looked_at: BTreeSet<&str> = findings.iter().map(|finding| finding.id.as_str()).collect();
    let missing: Vec<_> = LOOKED_AT.iter().filter(|id| !looked_at.contains(**id)).collect();
    ensure!(missing.is_empty(), "testssl.sh did not look at {missing:?} of {name}");
    let offers = |id: &str| findings.iter().any(|one| one.id == id && one.text.starts_with("offered"));
    ensure!(offers("TLS1_3"), "testssl.sh did not find TLS 1.3 at {name}");
    ensure!(offers("TLS1_2") == port.is_door, "TLS 1.2 is for ports of users alone, and {name} is otherwise");
    findings.extend(sslyze(name, port, ca, folder)?);
    Ok((name.to_owned(), port, findings))
}

/// `testssl.sh`: protocols, ciphers, forward secrecy, preferences, certificate, vulnerabilities.
fn testssl(name: &str, port: Port, ca: &Path, folder: &Path) -> Result<Vec<Finding>> {
    // Debian's package calls it so.
    let program = ["testssl", "testssl.sh"].into_iter().find(|program| is_there(program)).context("no testssl.sh")?;
    let report = folder.join(format!("testssl-{name}.json"));
    // It does not write over one.
    let _ = std::fs::remove_file(&report);
    let output = Command::new(program)
        .args(["--warnings", "off", "--color", "0", "--quiet", "--ip", "one", "-p", "-s", "-f", "-P", "-S", "-U"])
        .arg("--add-ca")
        .arg(ca)
        .arg("--jsonfile")
        .arg(&report)
        .arg(port.address())
        .stdin(Stdio::null())
        .output()?;
    let text = std::fs::read_to_string(&report)
        .with_context(|| format!("testssl.sh on {name}: {}", String::from_utf8_lossy(&output.stdout)))?;
    let lines: Vec<Value> = serde_json::from_str(&text).context("testssl.sh did not come to an end")?;
    let word = |line: &Value, key: &str| line[key].as_str().unwrap_or_default().to_owned();
    let finding = |line: &Value| Finding {
        place: format!("testssl.sh at {name}"),
        id: word(line, "id"),
        severity: word(line, "severity"),
        text: word(line, "finding"),
    };
    Ok(lines.iter().map(finding).collect())
}

/// `sslyze`: what it tests for by itself, and Mozilla's recommendations: "modern" for services, which is TLS 1.3
/// alone, "intermediate" for users.
fn sslyze(name: &str, port: Port, ca: &Path, folder: &Path) -> Result<Vec<Finding>> {
    let report = folder.join(format!("sslyze-{name}.json"));
    let profile = if port.is_door { "intermediate" } else { "modern" };
    let output = Command::new(target().join("clients/scan/bin/sslyze"))
        .args(["--mozilla_config", profile, "--certinfo_ca_file"])
        .arg(ca)
        .arg("--json_out")
        .arg(&report)
        .arg(port.address())
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output()?;
    let said = String::from_utf8_lossy(&output.stdout);
    let whole: Value = serde_json::from_str(&std::fs::read_to_string(&report).with_context(|| said.to_string())?)?;
    let result = &whole["server_scan_results"][0];
    ensure!(result["scan_status"] == "COMPLETED", "sslyze on {name}: {said}");
    let finding = |id: &str, severity: &str, text: String| Finding {
        place: format!("sslyze at {name}"),
        id: id.to_owned(),
        severity: severity.to_owned(),
        text,
    };
    let (_, compliance) = said.split_once("COMPLIANCE AGAINST").context("sslyze compared with no recommendation")?;
    let is_compliant = compliance.contains("OK - Compliant");
    ensure!(is_compliant || compliance.contains("FAILED - Not compliant"), "sslyze on {name}: {compliance}");
    let lines = compliance.lines().filter_map(|line| line.trim().strip_prefix("* ")?.split_once(": "));
    let mut findings: Vec<Finding> = lines.map(|(id, text)| finding(id, "HIGH", text.to_owned())).collect();
    ensure!(is_compliant == findings.is_empty(), "sslyze on {name}: {compliance}");
    // What each of its tests has to say, and what is no fault.
    let tests = &result["scan_result"];
    let expected = [
        ("tls_compression", "supports_compression", Value::Bool(false)),
        ("openssl_ccs_injection", "is_vulnerable_to_ccs_injection", Value::Bool(false)),
        ("heartbleed", "is_vulnerable_to_heartbleed", Value::Bool(false)),
        ("tls_fallback_scsv", "supports_fallback_scsv", Value::Bool(true)),
        ("robot", "robot_result", Value::from("NOT_VULNERABLE_RSA_NOT_SUPPORTED")),
        ("session_renegotiation", "is_vulnerable_to_client_renegotiation_dos", Value::Bool(false)),
        ("session_renegotiation", "supports_secure_renegotiation", Value::Bool(true)),
        ("tls_extended_master_secret", "supports_ems_extension", Value::Bool(true)),
    ];
    for (test, key, wanted) in expected {
        ensure!(tests[test]["status"] == "COMPLETED", "sslyze on {name}: {test}: {}", tests[test]["error_reason"]);
        let found = &tests[test]["result"][key];
        findings.push(finding(test, if *found == wanted { "OK" } else { "HIGH" }, format!("{key} is {found}")));
    }
    for version in ["ssl_2_0", "ssl_3_0", "tls_1_0", "tls_1_1", "tls_1_2"] {
        let test = format!("{version}_cipher_suites");
        let accepted = tests[&test]["result"]["accepted_cipher_suites"].as_array();
        let accepted = accepted.with_context(|| format!("sslyze on {name}: {test}"))?.len();
        let is_good = accepted == 0 || (port.is_door && version == "tls_1_2");
        findings.push(finding(&test, if is_good { "OK" } else { "HIGH" }, format!("{accepted} are accepted")));
    }
    Ok(findings)
}

fn is_there(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join(program).is_file())
}
