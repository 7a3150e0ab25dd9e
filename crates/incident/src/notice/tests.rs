use countersign_model::incident::Culprit;
use countersign_model::{Field, FieldSet, Kind, Name, RecordType, RecordTypes, Sensitivity, TokenId, TypeId};

use super::{Facts, Templates};
use crate::radius::{TenantRadius, TypeRadius};

fn types() -> RecordTypes {
    let field = |name: &str, class| Field {
        name: Name::new(name).unwrap(),
        kind: Kind::Text,
        required: false,
        unique: false,
        indexed: false,
        references: None,
        class,
    };
    let fields = vec![field("id", Sensitivity::Internal), field("email", Sensitivity::Personal)];
    let customer = RecordType { name: Name::new("customer").unwrap(), key: countersign_model::FieldId(0), fields };
    RecordTypes { types: vec![customer], ..RecordTypes::default() }
}

fn radius() -> TenantRadius {
    let one = TypeRadius { fields: FieldSet::first(2), records: 12, rows: 15, sealed_rows: 3, ..TypeRadius::default() };
    TenantRadius { requests: 4, refused: 1, types: [(TypeId(0), one)].into(), ..TenantRadius::default() }
}

fn facts<'a>(radius: &'a TenantRadius, types: &'a RecordTypes, culprit: &'a Culprit) -> Facts<'a> {
    Facts {
        incident: "0198".into(),
        tenant: "northwind",
        culprit,
        written: "2026-01-02T00:00:00.000Z".into(),
        opened: "2026-01-01T00:00:00.000Z".into(),
        since: "2025-12-31T00:00:00.000Z".into(),
        until: "2026-01-01T00:00:00.000Z".into(),
        span: Some(["first".into(), "last".into()]),
        radius,
        types,
        steps: &[],
        link: "https://example.com/v1/notices/0198".into(),
        contacts: &[],
    }
}

#[test]
fn the_english_notice_says_what_happened_to_what() {
    let (radius, types, culprit) = (radius(), types(), Culprit::Token(TokenId::from_u128(5)));
    let steps = [("revoked_token", "2026-01-01T01:00:00.000Z".to_owned())];
    let facts = Facts { steps: &steps, ..facts(&radius, &types, &culprit) };
    let templates = Templates::embedded().unwrap();
    let text = templates.notice("en", &facts).unwrap();
    for said in [
        "# Notice of a data breach: incident 0198",
        "To: northwind",
        "An access token was used",
        "4 requests concern you. 1 of them",
        "- read: 12 records, in 15 rows",
        "- personal fields: email",
        "- internal fields: id",
        "- 3 rows left the store encrypted",
        "2026-01-01T01:00:00.000Z: the token was made worthless\n",
        "countersign notice read 0198",
        "Whoever operates this deployment for you: https://example.com/v1/notices/0198",
    ] {
        assert!(text.contains(said), "{said}\n---\n{text}");
    }
    assert!(!text.contains("{{") && !text.contains("\n\n\n"), "{text}");
    let (subject, mail) = templates.mail("en", &facts).unwrap();
    assert_eq!(subject, "Notice of a data breach that concerns northwind: incident 0198");
    assert!(mail.starts_with("To the administrators of northwind\n"), "{mail}");
    assert!(mail.contains("12 records") && mail.contains("https://example.com/v1/notices/0198"), "{mail}");
    // No name of a type or field goes by mail.
    assert!(!mail.contains("customer") && !mail.contains("email:"), "{mail}");
}

#[test]
fn a_tenant_is_told_in_its_language_if_there_is_a_text_for_it() {
    let (radius, types, culprit) = (radius(), types(), Culprit::Token(TokenId::from_u128(5)));
    let facts = facts(&radius, &types, &culprit);
    let mut templates = Templates::embedded().unwrap();
    templates.add_notice("de", "Vorfall {{incident}} bei {{tenant}}: {{records}} Datensätze\n").unwrap();
    let german = "Vorfall 0198 bei northwind: 12 Datensätze\n";
    assert_eq!(templates.notice("de", &facts).unwrap(), german);
    assert_eq!(templates.notice("de-AT", &facts).unwrap(), german);
    assert!(templates.notice("fr", &facts).unwrap().starts_with("# Notice of a data breach"));
    // There is no mail in German, so the English one says it.
    assert!(templates.mail("de", &facts).unwrap().0.starts_with("Notice of"));
}

#[test]
fn a_template_that_names_what_is_not_there_is_refused_when_it_is_read() {
    let mut templates = Templates::embedded().unwrap();
    for wrong in
        ["{{nobody}}", "{{#types}}{{record}}{{/types}}", "{{#token}}{{x}}{{/token}}", "{{^contacts}}{{x}}{{/contacts}}"]
    {
        assert!(templates.add_notice("de", wrong).is_err(), "{wrong}");
    }
}
