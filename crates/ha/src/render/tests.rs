use super::*;
use crate::{EXAMPLE, Reason};

fn example() -> Inventory {
    Inventory::parse(EXAMPLE).unwrap()
}

fn refused(change: impl Fn(&str) -> String) -> (usize, Reason) {
    let refused = Inventory::parse(&change(EXAMPLE)).map(drop).unwrap_err();
    (refused.line, refused.reason)
}

fn line_of(text: &str) -> usize {
    EXAMPLE.lines().position(|line| line.contains(text)).unwrap().saturating_add(1)
}

#[test]
fn every_word_of_every_template_is_filled_in() {
    let inventory = example();
    let own = inventory.datacentre("frankfurt").unwrap();
    let words = words(&inventory, &own);
    for (name, template) in TEMPLATES {
        let mut rest = *template;
        while let Some((_, after)) = rest.split_once("{{") {
            let (word, after) = after.split_once("}}").unwrap();
            assert!(words.contains_key(word), "{name}: {word}");
            rest = after;
        }
    }
    for file in render(&inventory) {
        assert!(!file.content.contains("{{") && !file.content.contains("}}"), "{}", file.path);
        assert!(!file.content.to_ascii_lowercase().contains("password:"), "{}", file.path);
    }
}

#[test]
fn each_data_centre_has_its_own() {
    let files = render(&example());
    let content = |path: &str| files.iter().find(|file| file.path == path).map(|file| file.content.as_str()).unwrap();
    let patroni = content("amsterdam/patroni.yml");
    for line in [
        "  connect_address: 10.2.0.10:5432",
        "  allowlist: [10.1.0.10, 10.2.0.10, 10.3.0.10]",
        "    synchronous_mode: quorum",
        "    synchronous_mode_strict: true",
        "    synchronous_node_count: 1",
        "    - local all postgres peer",
        "    - hostssl replication replicator 10.3.0.10/32 cert",
        "    - countersign gateway countersign_gateway",
    ] {
        assert!(patroni.lines().any(|own| own == line), "{line}\n{patroni}");
    }
    // Nobody gets in but by certificate, or by the socket as the account itself.
    let rules =
        patroni.lines().map(str::trim).filter(|line| line.starts_with("- host") || line.starts_with("- local "));
    for rule in rules {
        assert!(
            rule.starts_with("- hostssl ") && rule.contains(" cert")
                || rule.contains(" peer")
                || rule.contains("replicator"),
            "{rule}"
        );
    }
    let etcd = content("paris/etcd.sh");
    assert!(
        etcd.contains("frankfurt=https://10.1.0.10:2380,amsterdam=https://10.2.0.10:2380,paris=https://10.3.0.10:2380")
    );
    assert!(etcd.contains("--listen-client-urls https://127.0.0.1:2379"));
    assert!(files.iter().all(|file| file.is_program == file.path.ends_with(".sh")));
    assert_eq!(files.len(), TEMPLATES.len().saturating_add(1).saturating_mul(3));
}

#[test]
fn the_own_server_comes_first() {
    let inventory = example();
    let paris = inventory.datacentre("paris").unwrap();
    let expected = "postgres://10.3.0.10:5432,10.1.0.10:5432,10.2.0.10:5432/countersign";
    assert_eq!(inventory.address_for(&paris), expected);
}

#[test]
fn folders_are_shared_by_nobody_on_one_machine() {
    let text = format!("one_machine = true\n{EXAMPLE}").replace("10.1.0.10", "127.0.0.2");
    let inventory = Inventory::parse(&text).unwrap();
    let paris = inventory.datacentre("paris").unwrap();
    assert_eq!(inventory.folder("/etc/x", &paris), "/etc/x/paris");
}

#[test]
fn what_makes_no_sense_is_refused_with_its_line() {
    let replaced = |from: &'static str, to: &'static str| move |text: &str| text.replacen(from, to, 1);
    let address = line_of("address = \"10.2.0.10\"");
    let (name, network) = (line_of("\"amsterdam\""), line_of("10.2.1.0/24"));
    assert_eq!(refused(replaced("10.2.0.10", "10.1.0.10")), (address, Reason::AddressTaken));
    assert_eq!(refused(replaced("10.2.0.10", "db.example")), (address, Reason::Address));
    assert_eq!(refused(replaced("10.2.0.10", "0.0.0.0")), (address, Reason::Address));
    let own = "127.0.0.1".parse().unwrap();
    assert_eq!(refused(replaced("10.2.0.10", "127.0.0.1")), (address, Reason::OneMachine(own)));
    assert_eq!(refused(replaced("\"amsterdam\"", "\"frankfurt\"")), (name, Reason::NameTaken));
    assert_eq!(refused(replaced("\"amsterdam\"", "\"Amsterdam\"")), (name, Reason::Name));
    assert_eq!(refused(replaced("\"amsterdam\"", "\"gateway\"")), (name, Reason::Name));
    assert_eq!(refused(replaced("10.2.1.0/24", "0.0.0.0/0")), (network, Reason::Network));
    assert_eq!(refused(replaced("patroni = 8008", "patroni = 5432")), (1, Reason::Ports));
    assert_eq!(refused(replaced("\"/usr/bin/etcd\"", "\"/usr/bin/etcd; x\"")), (1, Reason::Path("etcd")));
    assert_eq!(refused(replaced("election_ms = 1000", "election_ms = 200")), (1, Reason::Etcd));
    let (line, reason) = refused(|text| format!("{text}fsync = \"off\"\n"));
    assert_eq!((line, reason), (EXAMPLE.lines().count().saturating_add(1), Reason::Setting("fsync".into())));
    let (line, reason) = refused(replaced("cluster = ", "claster = "));
    assert!(matches!(reason, Reason::Text(_)) && line == line_of("cluster = \"countersign\""), "{line} {reason}");
    let two = |text: &str| {
        let end = text.find("[[datacentre]]\nname = \"paris\"").unwrap();
        text[..end].to_owned()
    };
    let (_, reason) = refused(two);
    assert_eq!(reason, Reason::Count(2));
}
