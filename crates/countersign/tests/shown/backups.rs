//! A repository of backups in the hands of strangers: it shows nothing, and nothing that they do to it gets into a
//! deployment. The real program makes, damages and restores; both companies' data, with history, is in it.

mod restores;

use std::collections::BTreeSet;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use anyhow::{Context as _, Result, ensure};
use countersign_testkit::{Deployment, Server};
use serde_json::json;

use crate::leaks::{self, Needles, hex};
use crate::{Layout, program};

/// Where backups go, and what is configured for it.
struct Kept {
    deployment: Deployment,
    server: Server,
    repository: PathBuf,
    tokens: Vec<String>,
}

impl Kept {
    fn start() -> Result<Self> {
        let (deployment, server) = Layout::Whole.start()?;
        server.stop()?;
        let repository = deployment.dir().with_file_name("repository");
        let config = deployment.dir().join("countersign.toml");
        let text = std::fs::read_to_string(&config)?;
        let section = format!("\n[backup.safe]\nfolder = {:?}\n", repository.display().to_string());
        std::fs::write(&config, text + &section)?;
        let server = deployment.serve()?;
        let tokens = leaks::exercise(&deployment, &server)?;
        let client = server.client()?.with_token(tokens.first().context("no token")?);
        // Something that only the past has.
        for city in ["Formerly Here", "Formerly There", "Now Elsewhere"] {
            client.patch("/rest/v1/customer?id=eq.ALFKI", &json!({ "city": city }))?.success()?;
        }
        Ok(Self { deployment, server, repository, tokens })
    }

    fn backup(&self) -> Result<()> {
        self.deployment.run(&["backup", "create", "safe"]).map(drop)
    }

    /// A copy to do something to.
    fn copy(&self, name: &str) -> Result<PathBuf> {
        let copy = self.deployment.dir().with_file_name(name);
        let _old = std::fs::remove_dir_all(&copy);
        copy_folder(&self.repository, &copy)?;
        Ok(copy)
    }

    /// Makes a deployment of a repository, in a folder that is not there.
    fn restore(&self, from: &Path, more: &[&str]) -> Result<(Output, PathBuf)> {
        let new = self.deployment.dir().with_file_name("restored");
        let _old = std::fs::remove_dir_all(&new);
        let mut command = Command::new(program());
        command.arg("--dir").arg(&new).args(["backup", "restore", "--from"]).arg(from).args(more);
        command.arg("--kms-from").arg(self.deployment.dir()).stdin(Stdio::null()).env("NO_COLOR", "1");
        Ok((command.output()?, new))
    }

    /// That a restore is refused, and that nothing is there afterwards. Gives what was said.
    #[track_caller]
    fn refused(&self, what: &str, from: &Path, more: &[&str]) -> Result<String> {
        let (output, new) = self.restore(from, more)?;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success(), "{what}: restored");
        assert!(output.status.code().is_some_and(|code| code != 101), "{what}: {said}");
        let left = files(&new).unwrap_or_default();
        assert!(left.is_empty(), "{what}: {left:?} is left, and it said {said}");
        println!("{what}: {}", said.lines().next().unwrap_or_default());
        Ok(said)
    }
}

/// Values of the data, who and what is in it, and what opens something: none of it is in any byte or name.
#[test]
#[ignore = "starts a demo; a step of `cargo xtask test` runs it"]
fn a_repository_shows_nothing() -> Result<()> {
    let kept = Kept::start()?;
    kept.backup()?;
    kept.backup()?;
    let mut words = leaks::sample()?;
    words.extend(["Formerly Here", "Formerly There", "Now Elsewhere"].map(String::from));
    let names =
        ["northwind", "chinook", "andrew", "michael", "invoice_line", "contact_name", "postal_code", "accountant"];
    words.extend(names.map(String::from));
    words.extend(kept.tokens.iter().flat_map(|token| token.split('.').skip(1)).map(String::from));
    let key = std::fs::read(kept.deployment.dir().join("kms.key"))?;
    words.push(hex(&key));
    let mut needles: Vec<Vec<u8>> = words.iter().map(|word| word.as_bytes().to_vec()).collect();
    needles.extend(words.iter().map(|word| hex(word).into_bytes()));
    needles.push(key);
    let search = Needles::new(&needles);
    let objects = files(&kept.repository)?;
    let (mut bytes, mut counted) = (0usize, 0usize);
    for object in &objects {
        let content = std::fs::read(object)?;
        let name = object.strip_prefix(&kept.repository)?.display().to_string();
        assert_eq!(search.find(&content), BTreeSet::new(), "{name}");
        assert_eq!(search.find(name.as_bytes()), BTreeSet::new(), "{name}");
        bytes += content.len();
        // What is noise can't be told from noise: every byte is as likely as any other.
        if content.len() >= 8192 {
            counted += 1;
            let entropy = entropy(&content);
            assert!(entropy > 7.95, "{name}: {entropy:.3} bits a byte");
        }
    }
    // Files may have the mode that the process makes files with, as nobody else gets to them.
    let mode = std::fs::metadata(&kept.repository)?.permissions().mode() & 0o777;
    assert_eq!(mode & 0o077, 0, "the repository has mode {mode:o}");
    ensure!(counted > 0, "nothing was long enough to count bytes in");
    assert_eq!(search.find(b"\0northwind\0").len(), 1, "the search finds what is there");
    println!(
        "{} words, {} objects, {bytes} bytes: none occurs; entropy looked at in {counted}",
        needles.len(),
        objects.len()
    );
    kept.server.stop()
}

/// Every object flipped, cut, emptied, taken away, and put in another's place.
#[test]
#[ignore = "starts a demo; a step of `cargo xtask test` runs it"]
fn nothing_that_was_damaged_is_restored() -> Result<()> {
    let kept = Kept::start()?;
    kept.backup()?;
    let old = files(&kept.repository.join("backups"))?;
    let of_old = names(&kept.repository)?;
    let client = kept.server.client()?.with_token(kept.tokens.first().context("no token")?);
    client.patch("/rest/v1/customer?id=eq.ALFKI", &json!({ "city": "Later" }))?.success()?;
    kept.backup()?;
    let manifests = files(&kept.repository.join("backups"))?;
    let new: Vec<&PathBuf> = manifests.iter().filter(|path| !old.contains(path)).collect();
    let (old, new) = (name(old.first().context("no backup")?), name(new.first().context("no second backup")?));
    // What came with the newer backup is part of it.
    let of_new: Vec<String> = names(&kept.repository)?.into_iter().filter(|chunk| !of_old.contains(chunk)).collect();
    ensure!(of_new.len() > 1, "only {} new chunks", of_new.len());

    // A manifest under another's name: the older backup passed off as the newer one, and the other way round.
    let copy = kept.copy("hostile")?;
    let at = |name: &str| copy.join("backups").join(name);
    std::fs::copy(at(&old), at(&new))?;
    kept.refused("the older backup in the newer one's place", &copy, &["--backup", &new])?;
    let copy = kept.copy("hostile")?;
    std::fs::copy(at(&new), at(&old))?;
    kept.refused("the newer backup in the older one's place", &copy, &["--backup", &old])?;

    for kind in ["backups", "chunks", "repository"] {
        let here = |copy: &Path| -> Result<Vec<PathBuf>> {
            Ok(match kind {
                "repository" => vec![copy.join("repository")],
                "backups" => vec![copy.join("backups").join(&new)],
                _ => [0, of_new.len() / 2].map(|at| copy.join("chunks").join(&of_new[at])).to_vec(),
            })
        };
        for place in 0..here(&kept.repository)?.len() {
            for what in ["flipped", "cut off", "emptied", "longer", "missing", "a link", "another's"] {
                if what == "another's" && kind == "repository" {
                    continue;
                }
                let copy = kept.copy("hostile")?;
                let victim = here(&copy)?.get(place).cloned().context("no object")?;
                let content = std::fs::read(&victim)?;
                match what {
                    "flipped" => {
                        let mut content = content;
                        let middle = content.len() / 2;
                        content[middle] ^= 0x10;
                        std::fs::write(&victim, content)?;
                    }
                    "cut off" => std::fs::write(&victim, &content[..content.len() - 1])?,
                    "emptied" => std::fs::write(&victim, b"")?,
                    "longer" => std::fs::write(&victim, [content.as_slice(), b"\0"].concat())?,
                    "missing" => std::fs::remove_file(&victim)?,
                    "a link" => {
                        std::fs::remove_file(&victim)?;
                        symlink("/etc/passwd", &victim)?;
                    }
                    _ => {
                        let others = files(victim.parent().and_then(Path::parent).context("no folder")?)?;
                        let other = others.iter().find(|other| {
                            **other != victim && other.components().count() == victim.components().count()
                        });
                        std::fs::copy(other.context("no other object")?, &victim)?;
                    }
                }
                kept.refused(&format!("{kind} {place}, {what}"), &copy, &["--backup", &new])?;
            }
        }
    }

    // Names that lead elsewhere are no names of backups.
    for id in ["../repository", "..", ".", "/etc/passwd", "a/b", "", "%2e%2e", "backups"] {
        kept.refused(&format!("--backup {id:?}"), &kept.repository, &["--backup", id])?;
    }
    // Without the key nothing opens; with another neither.
    let stranger = kept.deployment.dir().with_file_name("stranger");
    std::fs::create_dir(&stranger)?;
    std::fs::write(stranger.join("kms.key"), [7; 32])?;
    std::fs::set_permissions(stranger.join("kms.key"), std::fs::Permissions::from_mode(0o600))?;
    let restored = kept.deployment.dir().with_file_name("restored");
    let mut command = Command::new(program());
    command.arg("--dir").arg(&restored).args(["backup", "restore", "--from"]).arg(&kept.repository);
    let output = command.arg("--kms-from").arg(&stranger).stdin(Stdio::null()).output()?;
    assert!(!output.status.success(), "restored with another's key");

    // And what nobody touched is restored.
    let (output, new_folder) = kept.restore(&kept.repository, &["--backup", &new])?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(std::fs::metadata(&new_folder)?.mode() & 0o077, 0);
    kept.server.stop()
}

/// Backups at once, and a restore in the middle of one.
#[test]
#[ignore = "starts a demo; a step of `cargo xtask test` runs it"]
fn backups_and_restores_at_once_harm_none() -> Result<()> {
    let kept = Kept::start()?;
    kept.backup()?;
    let spawned = |arguments: &[&str]| {
        let mut command = kept.deployment.command(arguments);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()
    };
    let client = kept.server.client()?.with_token(kept.tokens.first().context("no token")?);
    for round in 0..3 {
        client.patch("/rest/v1/customer?id=eq.ALFKI", &json!({ "city": format!("Round {round}") }))?.success()?;
        let both = [spawned(&["backup", "create", "safe"])?, spawned(&["backup", "create", "safe"])?];
        let (output, _) = kept.restore(&kept.repository, &[])?;
        ensure!(output.status.success(), "beside a backup: {}", String::from_utf8_lossy(&output.stderr));
        let mut good = 0;
        for one in both {
            let output = one.wait_with_output()?;
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            match output.status.code() {
                Some(0) => good += 1,
                // One may be told to wait for the other; nothing else.
                Some(5 | 6) => println!("told to wait: {said}"),
                other => ensure!(false, "{other:?}: {said}"),
            }
        }
        ensure!(good > 0, "neither was made");
    }
    kept.deployment.run(&["backup", "verify", "safe"])?;
    let list = kept.deployment.run(&["backup", "list", "safe", "--output", "json"])?;
    ensure!(!list.contains("\"damaged\"") && !list.contains("\"missing\""), "{list}");
    let (output, _) = kept.restore(&kept.repository, &[])?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    kept.server.stop()
}

/// Bits a byte, were each byte drawn by itself.
fn entropy(content: &[u8]) -> f64 {
    let mut counts = [0u32; 256];
    for byte in content {
        counts[usize::from(*byte)] += 1;
    }
    let length = content.len() as f64;
    let of = |count: &u32| f64::from(*count) / length;
    -counts.iter().filter(|count| **count > 0).map(|count| of(count) * of(count).log2()).sum::<f64>()
}

/// The chunks of a repository.
fn names(repository: &Path) -> Result<Vec<String>> {
    let folder = repository.join("chunks");
    files(&folder)?.iter().map(|chunk| Ok(chunk.strip_prefix(&folder)?.display().to_string())).collect()
}

fn name(path: &Path) -> String {
    path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}

/// Every file, in the order of their names.
fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            found.extend(files(&entry.path())?);
        } else {
            found.push(entry.path());
        }
    }
    found.sort();
    Ok(found)
}

fn copy_folder(from: &Path, to: &Path) -> Result<()> {
    std::fs::create_dir_all(to)?;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let to = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_folder(&entry.path(), &to)?;
        } else {
            std::fs::copy(entry.path(), to)?;
        }
    }
    Ok(())
}
