#![expect(clippy::arithmetic_side_effects, reason = "a test fails by panicking")]

use std::collections::{BTreeMap, BTreeSet};

use countersign_audit::{TallyEntry, Verdict};
use countersign_model::{RequestId, Service, UnixMs};

use super::*;
use crate::enrich::fields::View;
use crate::event::{Event, FieldValue};

const ID: &str = "8ba1f7c9-2a15-4c33-9894-dadcac52b600";
const OTHER: &str = "8ba1f7c9-2a15-4c33-9894-dadcac52b601";

fn rule(detection: &str) -> String {
    format!(
        "title: T\nid: {ID}\nname: base\nlevel: high\nlogsource:\n  product: countersign\n  service: audit\ndetection:\n\
         {detection}\n"
    )
}

fn correlation(body: &str) -> String {
    format!("title: C\nid: {OTHER}\nlevel: high\ncorrelation:\n{body}\n")
}

fn set(text: &str) -> Result<RuleSet, String> {
    RuleSet::of(&[("rule.yml", text)], &[]).map_err(|error| error.to_string())
}

fn event(at_s: u64, fields: &[(&'static str, &str)]) -> Event {
    let value = |text: &str| match (text.parse(), text) {
        (Ok(number), _) => FieldValue::Number(number),
        (_, "true") => FieldValue::Bool(true),
        (_, text) => FieldValue::from(text),
    };
    let fields: BTreeMap<_, _> = fields.iter().map(|(name, text)| (*name, value(text))).collect();
    let entry = TallyEntry {
        request: RequestId::from_u128(u128::from(at_s)),
        service: Service::Gateway,
        verdict: Verdict::Refused,
        tenant: None,
        time: UnixMs::from_seconds(1_780_000_000 + at_s),
        tally: None,
        signal: None,
    };
    Event { entry, ledger: "gateway".to_owned(), position: at_s, fields }
}

fn matches(detection: &str, fields: &[(&'static str, &str)]) -> bool {
    let set = set(&rule(detection)).unwrap();
    let event = event(0, fields);
    set.matching(Source::Audit, &View::new(&event.fields)).count() == 1
}

#[test]
fn selections_match_as_the_standard_says() {
    let either = "  a:\n    reason: [budget, 'no_*']\n    rows|gte: 5\n  condition: a";
    assert!(matches(either, &[("reason", "BUDGET"), ("rows", "5")]));
    assert!(matches(either, &[("reason", "no_token"), ("rows", "6")]));
    assert!(!matches(either, &[("reason", "budget"), ("rows", "4")]), "all fields of a map");
    assert!(!matches(either, &[("reason", "budget")]), "what is not there does not compare");
    let maps = "  a:\n    - reason: budget\n    - action: login\n  condition: a";
    assert!(matches(maps, &[("action", "login")]) && matches(maps, &[("reason", "budget")]));
    let all = "  a:\n    roles|contains|all: [cle, aud]\n  condition: a";
    assert!(matches(all, &[("roles", "clerk,auditor")]) && !matches(all, &[("roles", "clerk")]));
    let null = "  a:\n    user: null\n    token|exists: false\n    session|exists: true\n  condition: a";
    assert!(matches(null, &[("session", "s")]) && !matches(null, &[("session", "s"), ("user", "u")]));
    let cased = "  a:\n    roles|cased: Clerk\n    rows|lt: 3\n    cells|lte: 3\n    cells|gt: 1\n  condition: a";
    assert!(matches(cased, &[("roles", "Clerk"), ("rows", "2"), ("cells", "3")]));
    assert!(!matches(cased, &[("roles", "clerk"), ("rows", "2"), ("cells", "3")]));
    let ends = "  a:\n    action|startswith: break\n    action|endswith: glass\n    operator: true\n  condition: a";
    assert!(matches(ends, &[("action", "break_glass"), ("operator", "true")]));
}

#[test]
fn what_is_outside_the_subset_is_refused_by_name_with_file_and_line() {
    let cases = [
        (rule("  a:\n    reason|re: b.*\n  condition: a"), "rule.yml:10: modifier 're' is not supported"),
        (rule("  a:\n    reason|base64: b\n  condition: a"), "rule.yml:10: modifier 'base64' is not supported"),
        (rule("  a:\n    user_name: b\n  condition: a"), "rule.yml:10: no event has a field 'user_name'"),
        (rule("  a:\n    kms: b\n  condition: a"), "rule.yml:10: no event has a field 'kms'"),
        (rule("  a:\n    - word\n  condition: a"), "rule.yml:10: selection by 'keywords' is not supported"),
        (rule("  a:\n    rows|gt: many\n  condition: a"), "rule.yml:10: 'rows|gt' is not a whole number"),
        (
            rule("  a:\n    rows|gt|lt: 1\n  condition: a"),
            "rule.yml:10: 'rows|gt|lt' is not a field with one comparison",
        ),
        (rule("  a:\n    rows: []\n  condition: a"), "rule.yml:10: 'rows' is not a value or several"),
        (rule("  a: {}\n  condition: a"), "rule.yml:9: 'a' is not a map with something in it"),
        (
            rule("  a:\n    rows: 1\n  timeframe: 5m\n  condition: a"),
            "part of 'detection' 'timeframe' is not supported",
        ),
        (rule("  a:\n    rows: 1\n  condition: a | count() > 5"), "aggregation '|' is not supported"),
        (rule("  a:\n    rows: 1\n  condition: [a, a]"), "form of 'condition' 'list' is not supported"),
        (rule("  a:\n    rows: 1"), "'condition' is missing"),
        (rule("  a:\n    rows: 1\n    rows: 2\n  condition: a"), "rule.yml:11: 'rows' is there twice"),
        (rule("  a: &x\n    rows: 1\n  condition: a"), "YAML's anchors are not supported in rules"),
        (rule("  a:\n    rows: !!int 1\n  condition: a"), "YAML's tags are not supported in rules"),
        (rule("  a:\n    rows: 1\n  condition: a\naction: global"), "attribute 'action' is not supported"),
        (rule("  a:\n    rows: 1\n  condition: a").replace("audit", "sysmon"), "service 'sysmon' is not supported"),
        (rule("  a:\n    rows: 1\n  condition: a").replace("countersign", "windows"), "product 'windows' is not"),
        (rule("  a:\n    rows: 1\n  condition: a").replace(ID, "1"), "rule.yml:2: 'id' is not a UUID"),
        (rule("  a:\n    rows: 1\n  condition: a").replace("level: high\n", ""), "'level' is missing"),
        (rule("  a:\n    rows: 1\n  condition: a").replace("high", "bad"), "'level' is not one of"),
        ("a: [".to_owned(), "not YAML"),
        ("- a".to_owned(), "'a rule' is not a map"),
    ];
    for (text, expected) in cases {
        let error = set(&text).unwrap_err();
        assert!(error.contains(expected), "{error}\nnot: {expected}");
    }
    for deep in [20, 100_000] {
        let error = set(&format!("a: {}1{}", "[".repeat(deep), "]".repeat(deep))).unwrap_err();
        assert!(error.contains("nested too deep") || error.contains("not YAML"), "{error}");
    }
}

#[test]
fn correlations_outside_the_subset_are_refused_too() {
    let base = rule("  a:\n    rows: 1\n  condition: a");
    let usual = "  type: event_count\n  rules: [base]\n  group-by: [user]\n  timespan: 1m\n  condition:\n    gte: 3";
    assert!(set(&format!("{base}---\n{}", correlation(usual))).is_ok());
    let cases = [
        (usual.replace("event_count", "temporal_ordered"), "correlation type 'temporal_ordered' is not supported"),
        (usual.replace("event_count", "value_avg"), "correlation type 'value_avg' is not supported"),
        (usual.replace("gte: 3", "lt: 3"), "correlation condition 'lt' is not supported"),
        (usual.replace("gte: 3", "gte: 3\n    gt: 5"), "'condition' is not one comparison"),
        (usual.replace("gte: 3", "gte: 0"), "'condition' is not a number from 1 to 10000"),
        (usual.replace("1m", "1w"), "'timespan' is not"),
        (usual.replace("1m", "8d"), "'timespan' is not"),
        (usual.replace("[base]", "[nobody]"), "no rule has the name or id 'nobody'"),
        (usual.replace("[user]", "[name]"), "no event has a field 'name'"),
        (usual.replace("event_count", "value_count"), "'field' is missing"),
        (format!("{usual}\n  aliases: {{}}"), "part of 'correlation' 'aliases' is not supported"),
        (format!("{usual}\nlogsource: {{}}"), "attribute of a correlation 'logsource' is not supported"),
    ];
    for (body, expected) in cases {
        let error = set(&format!("{base}---\n{}", correlation(&body))).unwrap_err();
        assert!(error.contains(expected), "{error}\nnot: {expected}");
    }
}

/// Plays events (seconds, user, value of `credential` or number of `rows`) and says at which seconds it matched.
fn play(body: &str, events: &[(u64, &str, &str)]) -> Vec<(u64, String, u64)> {
    let base = rule("  a:\n    user|exists: true\n  condition: a");
    let second = base.replace(ID, "8ba1f7c9-2a15-4c33-9894-dadcac52b602").replace("base", "second");
    let second = second.replace("user|exists", "operator");
    let set = set(&format!("{base}---\n{second}---\n{}", correlation(body))).unwrap();
    let mut windows = Windows::default();
    let mut found = Vec::new();
    for (at, user, value) in events {
        let name = if value.parse::<i64>().is_ok() { "rows" } else { "credential" };
        let mut fields = vec![("user", *user), (name, *value)];
        if *value == "operator" {
            fields.push(("operator", "true"));
        }
        let event = event(*at, &fields);
        let view = View::new(&event.fields);
        let places: Vec<usize> = set.matching(Source::Audit, &view).collect();
        for place in places {
            for (number, correlation) in set.correlations_of(place) {
                if let Some(matched) = windows.take(number, correlation, place, &event, &view) {
                    found.push((*at, matched.about, matched.count));
                }
            }
        }
        windows = Windows::restored(windows.stored(&set), &set);
    }
    found
}

#[test]
fn events_are_counted_by_group_over_a_span() {
    let body = "  type: event_count\n  rules: [base]\n  group-by: [user]\n  timespan: 10s\n  condition:\n    gte: 3";
    let found = play(body, &[(0, "a", "x"), (1, "b", "x"), (2, "a", "x"), (9, "a", "x")]);
    assert_eq!(found, [(9, "user=a".to_owned(), 3)]);
    assert_eq!(play(body, &[(0, "a", "x"), (2, "a", "x"), (10, "a", "x")]), [], "the first is too old");
    assert_eq!(play(body, &[(5, "a", "x"), (4, "a", "x"), (3, "a", "x")]).len(), 1, "a little out of order");
}

#[test]
fn values_are_told_apart_and_summed() {
    let body = "  type: value_count\n  rules: [base]\n  group-by: [user]\n  timespan: 10s\n  condition:\n    gt: 2\n    field: credential";
    let found = play(body, &[(0, "a", "x"), (1, "a", "y"), (2, "a", "x"), (3, "a", "z")]);
    assert_eq!(found, [(3, "user=a".to_owned(), 3)]);
    assert_eq!(play(body, &[(0, "a", "x"), (1, "a", "y"), (2, "b", "z")]), []);
    let body = "  type: value_sum\n  rules: [base]\n  group-by: [user]\n  timespan: 10s\n  condition:\n    gte: 100\n    field: rows";
    assert_eq!(play(body, &[(0, "a", "60"), (1, "a", "39"), (2, "a", "1")]), [(2, "user=a".to_owned(), 3)]);
    assert_eq!(play(body, &[(0, "a", "60"), (10, "a", "60")]), []);
}

#[test]
fn rules_together_within_a_span() {
    let body = "  type: temporal\n  rules: [base, second]\n  group-by: [user]\n  timespan: 10s";
    assert_eq!(play(body, &[(0, "a", "x"), (5, "a", "operator")]).len(), 1);
    assert_eq!(play(body, &[(0, "a", "x"), (1, "a", "x")]), []);
}

#[test]
fn windows_are_bounded_and_forget_what_is_old() {
    let base = rule("  a:\n    user|exists: true\n  condition: a");
    let body = "  type: event_count\n  rules: [base]\n  group-by: [user]\n  timespan: 10s\n  condition:\n    gte: 3";
    let set = set(&format!("{base}---\n{}", correlation(body))).unwrap();
    let mut windows = Windows::default();
    let take = |windows: &mut Windows, at: u64, user: &str| {
        let event = event(at, &[("user", user)]);
        let view = View::new(&event.fields);
        windows.take(0, &set.correlations()[0], 0, &event, &view);
    };
    for user in 0..60_000 {
        take(&mut windows, 0, &format!("u{user}"));
    }
    assert!(windows.groups() <= 50_000);
    take(&mut windows, 10, "late");
    windows.expire(&set);
    assert_eq!(windows.groups(), 1);
}

#[test]
fn a_folder_replaces_adds_and_turns_off() {
    let ours = rule("  a:\n    rows: 1\n  condition: a");
    let ours: &[(&str, &str)] = &[("ours.yml", &ours)];
    let titles = |theirs: &str| {
        let set = RuleSet::of(ours, &[("theirs.yml", theirs)]).unwrap();
        set.headings().map(|heading| heading.title.clone()).collect::<Vec<_>>()
    };
    let theirs = rule("  a:\n    rows: 2\n  condition: a");
    assert_eq!(titles(&theirs.replace("title: T", "title: Mine")), ["Mine"]);
    assert_eq!(titles(&theirs.replace(ID, OTHER).replace("title: T", "title: Mine")), ["T", "Mine"]);
    assert_eq!(titles(&format!("title: T\nid: {ID}\nstatus: deprecated\n")), [""; 0]);
    let twice = RuleSet::of(ours, &[("a.yml", &theirs), ("b.yml", &theirs)]).unwrap_err().to_string();
    assert!(twice.contains("is in a.yml and in b.yml"), "{twice}");
}

#[test]
fn the_rules_that_come_with_the_program_are_those_of_the_folder() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../rules");
    let there: BTreeSet<String> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.ends_with(".yml"))
        .collect();
    let embedded: BTreeSet<String> = embedded::FILES.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(embedded, there);
    let set = RuleSet::load(None).unwrap();
    let ids: BTreeSet<&str> = set.headings().map(|heading| heading.id.as_str()).collect();
    assert_eq!(ids.len(), set.headings().count());
    let dir = tempfile::tempdir().unwrap();
    assert!(RuleSet::load(Some(&dir.path().join("none"))).is_ok());
    std::fs::write(dir.path().join("bad.yml"), "title: T\nbad: 1\n").unwrap();
    let error = RuleSet::load(Some(dir.path())).unwrap_err().to_string();
    assert!(error.ends_with("bad.yml:2: attribute 'bad' is not supported"), "{error}");
}
