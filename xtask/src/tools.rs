//! Programs that the checks need besides Rust and a C compiler, all from Debian's packages.

use anyhow::{Result, bail};

use crate::process::{command, have, run};
use crate::steps::Outcome;

/// A program, and the Debian package that brings it.
struct Tool {
    /// Its names, the usual one first.
    programs: &'static [&'static str],
    package: &'static str,
    used_for: &'static str,
}

const TOOLS: &[Tool] = &[
    Tool { programs: &["python3"], package: "python3", used_for: "the Python client suite, sslyze, sigma-cli" },
    Tool { programs: &["node"], package: "nodejs", used_for: "the Node.js client suite, the OpenID provider" },
    Tool { programs: &["npm"], package: "npm", used_for: "installing them" },
    Tool { programs: &["curl"], package: "curl", used_for: "the documented commands" },
    Tool { programs: &["ssh-keygen"], package: "openssh-client", used_for: "login with keys made elsewhere" },
    Tool { programs: &["sqlite3"], package: "sqlite3", used_for: "looking into a stopped deployment" },
    Tool { programs: &["softhsm2-util"], package: "softhsm2", used_for: "keys in a PKCS#11 token" },
    // Debian's package has it without the ending.
    Tool { programs: &["testssl.sh", "testssl"], package: "testssl.sh", used_for: "scanning the ports" },
    Tool { programs: &["tcpdump"], package: "tcpdump", used_for: "listening to what goes between processes" },
    Tool { programs: &["faketime"], package: "faketime", used_for: "giving a process a wrong clock" },
    Tool { programs: &["promtool"], package: "prometheus", used_for: "reading measures as Prometheus does" },
    Tool { programs: &["prometheus-alertmanager"], package: "prometheus-alertmanager", used_for: "taking alerts" },
    // Debian's package has the server's programs in a folder of their own; this one is in the search path.
    Tool { programs: &["pg_lsclusters"], package: "postgresql", used_for: "the database backend" },
    Tool { programs: &["patronictl"], package: "patroni", used_for: "failing over" },
    Tool { programs: &["etcd"], package: "etcd-server", used_for: "failing over" },
    Tool { programs: &["ip"], package: "iproute2", used_for: "data centres as network namespaces" },
    Tool { programs: &["strings"], package: "binutils", used_for: "looking into a stopped deployment" },
];

/// Installs what is missing when it may, and otherwise names the command that would.
pub fn check() -> Result<Outcome> {
    let mut missing: Vec<&str> = Vec::new();
    for tool in TOOLS {
        let there = tool.programs.iter().any(|program| have(program));
        println!("{:<22} {} ({})", tool.programs.join(" or "), if there { "there" } else { "missing" }, tool.used_for);
        if !there {
            missing.push(tool.package);
        }
    }
    if have("python3") && !python_makes_environments() {
        println!("python3 can't make virtual environments");
        missing.push("python3-venv");
    }
    if missing.is_empty() {
        return Ok(Outcome::Passed);
    }
    if !is_root() || !have("apt-get") {
        bail!("missing: run `sudo apt-get install --yes {}`", missing.join(" "));
    }
    run(command("apt-get").args(["update", "--quiet"]))?;
    run(command("apt-get")
        .env("DEBIAN_FRONTEND", "noninteractive")
        .args(["install", "--yes", "--quiet", "--no-install-recommends"])
        .args(&missing))?;
    Ok(Outcome::Passed)
}

/// Debian's python3 comes without the part of `venv` that brings pip.
fn python_makes_environments() -> bool {
    command("python3").args(["-c", "import venv, ensurepip"]).output().is_ok_and(|output| output.status.success())
}

fn is_root() -> bool {
    command("id").arg("-u").output().is_ok_and(|output| output.stdout.trim_ascii() == b"0")
}
