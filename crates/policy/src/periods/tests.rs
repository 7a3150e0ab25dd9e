use super::*;

fn file(text: &str) -> PolicyFile {
    PolicyFile { name: "keys.toml".to_owned(), text: text.to_owned() }
}

#[test]
fn says_what_the_file_says_and_else_what_holds_by_default() {
    let files = [file("deployment_days = 30\ntenant_days = 90\nseals_max = 1_000\n")];
    let periods = KeyPeriods::of(&files);
    assert_eq!(periods, KeyPeriods { deployment_days: 30, tenant_days: 90, seals_max: 1_000, ..KeyPeriods::default() });
    assert_eq!(KeyPeriods::of(&[]), KeyPeriods::default());
}

#[test]
fn names_the_line_of_what_is_wrong() {
    let mut problems = Vec::new();
    let wrong = [file("tenant_day = 90\nfield_days = 0\nseals_max = 5_000_000_000\nother_days = 1\n")];
    KeyPeriods::read(&wrong, &mut problems);
    problems.sort();
    let lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
    assert_eq!(lines.len(), 4, "{lines:?}");
    for (line, text) in lines.iter().enumerate() {
        assert!(text.contains(&format!("keys.toml:{}:", line + 1)), "{text}");
    }
    let mut problems = Vec::new();
    KeyPeriods::read(&[file(""), file("")], &mut problems);
    assert_eq!(problems.len(), 1);
}
