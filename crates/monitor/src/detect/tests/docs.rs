//! What the documentation says of rules and fields is what there is. `UPDATE_PAGES=1` writes it.

use std::fmt::Write as _;
use std::path::Path;

use crate::enrich::fields::FIELDS;
use crate::sigma::{RuleSet, Source};

#[test]
fn the_documentation_has_every_rule_and_every_field() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/monitoring.md");
    let page = std::fs::read_to_string(&path).unwrap();
    let mut rules = "| alert | level | file |\n|---|---|---|\n".to_owned();
    let set = RuleSet::load(None).unwrap();
    let mut headings: Vec<_> = set.headings().collect();
    headings.sort_by_key(|heading| (std::cmp::Reverse(heading.level), heading.title.clone()));
    for heading in headings {
        let tells = if heading.tells_tenant { "; the tenant is told" } else { "" };
        let (title, level, file) = (&heading.title, heading.level, &heading.file);
        writeln!(rules, "| {title} | {level}{tells} | [{file}](../rules/{file}) |").unwrap();
    }
    let mut fields = "| field | events | what it says |\n|---|---|---|\n".to_owned();
    for field in FIELDS {
        let source = match field.source {
            None => "both",
            Some(Source::Audit) => "audit",
            Some(Source::Status) => "status",
        };
        writeln!(fields, "| `{}` | {source} | {} |", field.name, field.about).unwrap();
    }
    let wanted = with(&with(&page, "rules", &rules), "fields", &fields);
    if std::env::var_os("UPDATE_PAGES").is_some() {
        std::fs::write(&path, &wanted).unwrap();
    } else {
        assert_eq!(page, wanted, "UPDATE_PAGES=1 writes it");
    }
}

/// The page with the text between two marks replaced.
fn with(page: &str, name: &str, text: &str) -> String {
    let (begin, end) = (format!("<!-- {name}: written by"), format!("<!-- {name}: until here -->"));
    let at = page.find(&begin).expect("the first mark");
    let line = at + page[at..].find('\n').unwrap();
    let until = page.find(&end).expect("the last mark");
    format!("{}\n\n{text}\n{}", &page[..line], &page[until..])
}
