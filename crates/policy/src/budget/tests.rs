use super::*;

fn file(text: &str) -> PolicyFile {
    PolicyFile { name: "budget.toml".into(), text: text.into() }
}

fn read(text: &str) -> Result<Budgets, String> {
    let mut problems = Vec::new();
    let budgets = Budgets::read(&[file(text)], &mut problems);
    problems.sort();
    let problems: Vec<String> = problems.iter().map(ToString::to_string).collect();
    if problems.is_empty() { Ok(budgets) } else { Err(problems.join("\n")) }
}

fn user(kind: UserKind, roles: &[&str]) -> User {
    User {
        tenant: countersign_model::TenantId::from_u128(1),
        name: Name::new("somebody").unwrap(),
        roles: roles.iter().map(|role| Name::new(role).unwrap()).collect(),
        attributes: BTreeMap::new(),
        ssh_keys: vec![],
        changed: countersign_model::UnixMs(0),
        kind,
        external: None,
        expires: None,
    }
}

const TEXT: &str = "
# Cells of sealed fields.
[people]
per_hour = 1_000
per_token = 0x1000

[agents]
per_hour = 10

[roles.support]
per_hour = 500

[roles.exporter]
per_hour = 9_000
per_principal = 100

[roles.nobody-has-it]
";

#[test]
fn without_a_file_there_are_defaults() {
    let budgets = Budgets::read(&[], &mut Vec::new());
    assert_eq!(budgets, Budgets::default());
    assert_eq!(budgets, read("").unwrap());
    assert_eq!(budgets.of(&user(UserKind::Person, &["admin"])), DEFAULT);
    assert_eq!(budgets.of(&user(UserKind::Service, &[])), DEFAULT);
    assert_eq!(budgets.of(&user(UserKind::Agent, &[])), DEFAULT_AGENTS);
    assert_eq!(DEFAULT.min(DEFAULT_AGENTS), DEFAULT_AGENTS);
}

#[test]
fn the_kind_says_what_no_role_says_and_the_smallest_role_counts() {
    let budgets = read(TEXT).unwrap();
    let of = |kind, roles: &[&str]| {
        let limits = budgets.of(&user(kind, roles));
        (limits.per_token, limits.per_principal, limits.per_hour)
    };
    let default = DEFAULT.per_principal;
    assert_eq!(of(UserKind::Person, &[]), (4096, default, 1000));
    assert_eq!(of(UserKind::Person, &["auditor"]), (4096, default, 1000));
    assert_eq!(of(UserKind::Person, &["support"]), (4096, default, 500));
    assert_eq!(of(UserKind::Person, &["exporter"]), (4096, 100, 9000));
    assert_eq!(of(UserKind::Person, &["exporter", "support"]), (4096, 100, 500));
    assert_eq!(of(UserKind::Person, &["support", "exporter"]), (4096, 100, 500));
    assert_eq!(of(UserKind::Agent, &[]), (1_000_000, 1_000_000, 10));
    assert_eq!(of(UserKind::Service, &[]).2, DEFAULT.per_hour);
}

#[test]
fn mistakes_are_told_with_their_place() {
    for (text, expected) in [
        (
            "[people]\nper_day = 5",
            "budget.toml:2:1: there is no limit \"per_day\"; there are per_token, per_principal, per_hour",
        ),
        ("[people]\n\n  per_hours = 5", "budget.toml:3:3: there is no limit \"per_hours\"; did you mean \"per_hour\"?"),
        ("[agent]\nper_hour = 5", "budget.toml:1:2: there is no table \"agent\"; did you mean \"agents\"?"),
        ("per_hour = 5", "budget.toml:1:1: there is no table \"per_hour\"; there are people, services, agents, roles"),
        ("people = 5", "budget.toml:1:1: people is a table of limits: per_token, per_principal, per_hour"),
        (
            "[people]\nper_hour = \"5\"",
            "budget.toml:2:12: per_hour is a whole number of cells, 0 or more, without quotes",
        ),
        ("[people]\nper_hour = -1", "budget.toml:2:12: per_hour is a whole number of cells, 0 or more, without quotes"),
        (
            "[people]\nper_hour = 1.5",
            "budget.toml:2:12: per_hour is a whole number of cells, 0 or more, without quotes",
        ),
        (
            "[people]\nper_hour = true",
            "budget.toml:2:12: per_hour is a whole number of cells, 0 or more, without quotes",
        ),
        ("[roles]\nsupport = 5", "budget.toml:2:1: support is a table of limits: per_token, per_principal, per_hour"),
        ("roles = 5", "budget.toml:1:1: [roles.NAME] is a table for each role"),
        (
            "[roles.Support]\nper_hour = 5",
            "budget.toml:1:8: no role can have the name \"Support\": a name is a lower-case letter followed by at most 62 lower-case letters, digits, '_' or '-'",
        ),
    ] {
        assert_eq!(read(text).unwrap_err(), expected);
    }
    assert_eq!(read("[a]\n[b]").unwrap_err().lines().count(), 2);
    for text in [
        "[people",
        "[people]\nper_hour = 1\nper_hour = 2",
        "[people]\n[people]",
        "[people]\nper_hour = 99999999999999999999",
    ] {
        assert!(read(text).unwrap_err().starts_with("budget.toml:"), "{text}");
    }
}

#[test]
fn one_file_and_no_other() {
    let mut problems = Vec::new();
    let other = PolicyFile { name: "more-budget.toml".into(), text: String::new() };
    let cedar = PolicyFile { name: "budget.cedar".into(), text: "not TOML".into() };
    Budgets::read(&[cedar, file(TEXT), other], &mut problems);
    let told: Vec<String> = problems.iter().map(ToString::to_string).collect();
    assert_eq!(told, ["more-budget.toml:1:1: there can be one file of budgets, and budget.toml is one already"]);
}
