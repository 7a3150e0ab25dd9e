//! Repositories of backups that are not what they were: away, another's, damaged, with receipts or chunks that are missing, or
//! with backups that somebody wants to be rid of.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::bench::{Bench, NOTES, Ran, TYPES, program, run};

const ANN: &str = "ann@acme";

fn world() -> Bench {
    let bench = Bench::ready();
    configure(&bench, &["nightly"]);
    let rows: String = (0..20).map(|number| format!("c{number:02},Alpine Instruments {number},AT\n")).collect();
    let file = bench.file("customers.csv", format!("id,company,country\n{rows}"));
    bench.run(&["--as", ANN, "import", "customer", &file]).expect(0);
    bench
}

/// Has the configuration name these repositories, each a folder of its name.
fn configure(bench: &Bench, names: &[&str]) {
    let config = bench.dir().join("countersign.toml");
    let text = fs::read_to_string(&config).unwrap();
    let rest = text.split("\n[backup.").next().unwrap();
    let sections = names.iter().map(|name| format!("\n[backup.{name}]\nfolder = {:?}\n", bench.path(name)));
    fs::write(&config, format!("{rest}{}", sections.collect::<String>())).unwrap();
}

fn json(ran: &Ran) -> Value {
    serde_json::from_str(&ran.out).unwrap_or_else(|_| panic!("{}\n{}", ran.out, ran.err))
}

fn back_up(bench: &Bench) -> String {
    json(&bench.run(&["backup", "create", "nightly"]).expect(0))["backup"].as_str().unwrap().to_owned()
}

fn erase(bench: &Bench, record: &str) -> Value {
    json(&bench.run(&["--as", ANN, "erase", "record", &format!("customer/{record}")]).expect(0))
}

fn states(bench: &Bench) -> Vec<String> {
    let listed = json(&bench.run(&["backup", "list", "nightly"]));
    listed["backups"].as_array().unwrap().iter().map(|one| one["state"].as_str().unwrap().to_owned()).collect()
}

/// A whole restore of one backup, into a folder of this name.
fn restore(bench: &Bench, name: &str, backup: &str) -> Ran {
    let (dir, from, safe) = (bench.path(name), bench.path("nightly"), bench.dir().display().to_string());
    run(program(&["--dir", &dir, "backup", "restore", "--from", &from, "--kms-from", &safe, "--backup", backup]))
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { found.extend(files(&path)) } else { found.push(path) }
    }
    found
}

/// No disk, an empty one, another one: nobody takes it for a repository without anything in it.
#[test]
fn a_repository_that_is_away_is_no_empty_one() {
    let bench = world();
    let first = back_up(&bench);
    let (folder, away): (PathBuf, PathBuf) = (bench.path("nightly").into(), bench.path("away").into());
    fs::rename(&folder, &away).unwrap();
    let receipt = erase(&bench, "c07");
    let copies = receipt["copies"].as_array().unwrap();
    assert!(
        copies.len() == 1 && copies[0]["failed"].as_str().unwrap().contains("the log of the deployment"),
        "{receipt}"
    );
    let prove = |receipt: &Value| {
        let ran = bench.run(&["--as", ANN, "erase", "prove", receipt["receipt"].as_str().unwrap()]);
        (ran.code, ran.out + &ran.err)
    };
    for is_mounted in [false, true] {
        if is_mounted {
            fs::create_dir(&folder).unwrap();
        }
        assert!(bench.run(&["backup", "create", "nightly"]).expect(6).err.contains("not there"));
        assert!(!folder.join("repository").exists(), "nothing is made in the place of what is away");
        let (code, said) = prove(&receipt);
        assert!(code == 1 && said.contains("could not be looked at"), "{said}");
        assert_eq!(states(&bench), ["missing"]);
    }
    // Another disk.
    configure(&bench, &["nightly", "other"]);
    bench.run(&["backup", "create", "other"]).expect(0);
    fs::remove_dir(&folder).unwrap();
    fs::rename(bench.path("other"), &folder).unwrap();
    assert!(bench.run(&["backup", "create", "nightly"]).expect(6).err.contains("it is the repository"));
    fs::rename(&folder, bench.path("other")).unwrap();
    fs::rename(&away, &folder).unwrap();

    // Back again: what has it is named, and can be removed.
    let second = back_up(&bench);
    assert_eq!(states(&bench), ["good", "good"]);
    let (code, said) = prove(&receipt);
    assert!(code == 1 && said.contains("made before"), "{said}");
    bench.run(&["backup", "remove", "nightly", &first]).expect(0);
    assert!(bench.run(&["backup", "remove", "nightly", &first]).expect(1).err.contains("there is no backup"));
    assert_eq!(states(&bench), ["good"]);
    assert_eq!(prove(&receipt), (0, prove(&receipt).1), "and of the other, which was made after it");
    bench.run(&["backup", "verify", "nightly", "--backup", &second]).expect(0);
    // Chunks that no backup has may be of it, and go with the next one.
    let chunk = files(&folder.join("chunks")).into_iter().next().unwrap();
    let zeros = folder.join("chunks/00");
    fs::create_dir_all(&zeros).unwrap();
    fs::copy(&chunk, zeros.join("00".repeat(16))).unwrap();
    let (code, said) = prove(&receipt);
    assert!(code == 1 && said.contains("in no backup"), "{said}");
    let third = back_up(&bench);
    assert_eq!(prove(&receipt), (0, prove(&receipt).1));
    // Nor what a move has left.
    let left = bench.dir().join("moved-20261101T000000Z");
    fs::create_dir(&left).unwrap();
    let (code, said) = prove(&receipt);
    assert!(code == 1 && said.contains("moved-*"), "{said}");
    fs::remove_dir(left).unwrap();
    // What the configuration names no more can't be looked at, until it is known no more.
    let later = erase(&bench, "c08");
    configure(&bench, &["other"]);
    let (code, said) = prove(&later);
    assert!(code == 1 && said.contains("nightly") && said.contains("does not name"), "{said}");
    bench.run(&["backup", "remove", "nightly", "--forget"]).expect(0);
    assert!(!prove(&later).1.contains("nightly"));
    assert!(folder.join("backups").join(third).exists(), "nothing is removed by forgetting");
    bench.run(&["--as", ANN, "backup", "remove", "other", &first]).expect(3);
}

/// What says that something was erased can't be taken away from a repository, and damage to it keeps no backup from being made.
#[test]
fn receipts_that_are_missing_or_damaged() {
    let bench = world();
    let first = back_up(&bench);
    erase(&bench, "c07");
    erase(&bench, "c08");
    back_up(&bench);
    let receipts = PathBuf::from(bench.path("nightly")).join("receipts");
    let kept = bench.path("kept");
    // All of them, or one that no other names.
    fs::rename(&receipts, &kept).unwrap();
    assert!(restore(&bench, "none", &first).expect(1).err.contains("taken away"));
    fs::create_dir(&receipts).unwrap();
    let mut all = files(kept.as_ref());
    all.sort();
    fs::copy(&all[0], receipts.join(all[0].file_name().unwrap())).unwrap();
    assert!(restore(&bench, "one", &first).expect(1).err.contains("taken away"));
    // Damaged, and one that is none.
    let damaged = receipts.join(all[1].file_name().unwrap());
    fs::write(&damaged, b"nothing").unwrap();
    fs::write(receipts.join("notes.txt"), b"nothing").unwrap();
    assert!(restore(&bench, "damaged", &first).expect(1).err.contains("damaged"));
    back_up(&bench);
    let restored = restore(&bench, "all", &first).expect(0);
    assert!(restored.out.contains("2 records that were erased"), "{}", restored.out);
}

/// A bit of a chunk is another one. Once a trial has found it, the next backup mends it, and what was made before is good again.
#[test]
fn a_damaged_chunk_is_mended_after_a_trial() {
    let bench = world();
    let first = back_up(&bench);
    let all = files(&PathBuf::from(bench.path("nightly")).join("chunks"));
    for path in all {
        let mut bytes = fs::read(&path).unwrap();
        bytes[20] ^= 1;
        fs::write(&path, bytes).unwrap();
    }
    bench.run(&["backup", "verify", "nightly", "--backup", &first]).expect(1);
    assert_eq!(states(&bench), ["damaged"]);
    let second = back_up(&bench);
    bench.run(&["backup", "verify", "nightly", "--backup", &second]).expect(0);
    assert_eq!(states(&bench), ["good", "damaged"]);
    restore(&bench, "restored", &second).expect(0);
}

/// Who names a manifest gets that backup or none, and what a restored deployment has not made itself puts no tenant back in it.
#[test]
fn only_what_is_named_and_known_is_restored() {
    let bench = world();
    let made = json(&bench.run(&["backup", "create", "nightly"]).expect(0));
    let (first, said) = (made["backup"].as_str().unwrap(), made["said"].as_str().unwrap());
    let digest = said.rsplit("manifest ").next().unwrap().get(..64).unwrap();
    let second = back_up(&bench);
    let named = |name: &str, backup: &str| {
        let (dir, from, safe) = (bench.path(name), bench.path("nightly"), bench.dir().display().to_string());
        let whole = ["--dir", &dir, "backup", "restore", "--from", &from, "--kms-from", &safe];
        run(program(&[&whole[..], &["--backup", backup, "--manifest", digest]].concat()))
    };
    assert!(named("other", &second).expect(1).err.contains("was swapped"));
    assert!(!Path::new(&bench.path("other")).exists(), "nothing is left of it");
    named("again", first).expect(0);

    let again = bench.path("again");
    let key = |of: &str| format!("{of}/keys/operator@operators");
    fs::create_dir_all(format!("{again}/keys")).unwrap();
    fs::copy(key(&bench.dir().display().to_string()), key(&again)).unwrap();
    let ask = |arguments: &[&str]| run(program(&[&["--dir", &again], arguments].concat()));
    let listed = json(&ask(&["backup", "list", "nightly"]));
    let unknown = listed["backups"].as_array().unwrap().iter().find(|one| one["id"] == second.as_str()).unwrap();
    assert_eq!(unknown["state"], "unknown", "{listed}");
    let put_back = ["backup", "restore", "--tenant", "acme", "--from", "nightly", "--backup", &second];
    let refused = ask(&put_back).expect(1).err;
    assert!(refused.contains("none that this deployment has made"), "{refused}");
}

/// What was backed up before a type was added is restored as it was, also when a record of that type was erased since.
#[test]
fn a_type_that_came_later_is_in_no_restores_way() {
    let bench = world();
    let first = back_up(&bench);
    let types = bench.file("types.toml", format!("{TYPES}{NOTES}"));
    bench.run(&["schema", "apply", &types]).expect(0);
    let notes = bench.file("notes.csv", "id,words,customer_id\nn1,first words,c07\nn2,other words,c08\n");
    bench.run(&["--as", ANN, "import", "note", &notes]).expect(0);
    json(&bench.run(&["--as", ANN, "erase", "record", "note/n1"]).expect(0));
    erase(&bench, "c09");
    let more = bench.file("more.csv", "id,company,country\nc30,Later,AT\n");
    bench.run(&["--as", ANN, "import", "customer", &more]).expect(0);

    let put_back = ["backup", "restore", "--tenant", "acme", "--from", "nightly", "--backup", &first];
    let said = json(&bench.run(&put_back).expect(0))["said"].as_str().unwrap().to_owned();
    assert!(said.starts_with("0 records put back, 2 deleted") && said.contains("19 were as they are"), "{said}");
    let count =
        |of: &str| bench.run(&["--as", ANN, "get", of, "--output", "csv"]).expect(0).out.lines().skip(1).count();
    assert_eq!((count("note"), count("customer")), (0, 19));
    restore(&bench, "whole", &first).expect(0);
}
