use std::collections::BTreeMap;

use countersign_model::{Field, FieldId, Kind, Name, RecordType, RecordTypes, Sensitivity, TypeId};

fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

fn field(text: &str, kind: Kind, required: bool, references: Option<u16>) -> Field {
    let references = references.map(TypeId);
    let (unique, indexed, class) = (false, false, Sensitivity::Internal);
    Field { name: name(text), kind, required, unique, indexed, references, class }
}

#[test]
fn the_schema_of_two_types_reads_as_documented() {
    let employee = vec![
        field("id", Kind::Integer, true, None),
        field("reports_to", Kind::Integer, false, Some(0)),
        field("born", Kind::Date, false, None),
    ];
    let customer = vec![
        field("id", Kind::Text, true, None),
        field("first-name", Kind::Text, false, None),
        field("rep_id", Kind::Integer, false, Some(0)),
        field("in", Kind::Boolean, true, None),
        field("tenant", Kind::Text, true, None),
    ];
    let types = RecordTypes {
        types: vec![
            RecordType { name: name("employee"), key: FieldId(0), fields: employee },
            RecordType { name: name("good_customer"), key: FieldId(0), fields: customer },
        ],
        principal: BTreeMap::from([(name("employee"), Kind::Integer), (name("since"), Kind::Date)]),
    };
    let expected = r#"// Generated from the record types.

entity Tenant;
entity Role;
entity Class enum ["public", "internal", "personal", "financial", "secret"];
entity User in [Role] {
  tenant: Tenant,
  name: String,
  employee?: Long,
};

namespace Data {
  action "any";
  action read, create, update, delete in ["any"];
}

namespace Control {
  action manage_tenants, manage_services, read_types, manage_types, read_policies, manage_policies, read_users, manage_users, manage_provider, revoke_tokens, introspect_tokens, use_own_token, read_audit, manage_contacts, read_access, request_access, decide_access, break_glass, read_alerts, manage_alerts, read_metrics, manage_incidents, read_notices, manage_keys, manage_backups, erase
    appliesTo { principal: [User], resource: [Tenant] };
}

namespace Employee {
  entity Record {
    id: Long,
    reports_to?: Long,
    reports_to_record?: Employee::Record,
    tenant: Tenant,
  };
  entity Field enum ["id", "reports_to", "born"];
"#;
    let text = super::schema_text(&types).unwrap();
    assert!(text.starts_with(expected), "{text}");
    let record = r#"  entity Record {
    "first-name"?: String,
    id: String,
    "in": Bool,
    rep?: Employee::Record,
    rep_id?: Long,
    tenant: Tenant,
  };
  entity Field enum ["id", "first-name", "rep_id", "in", "tenant"];
  action read in [Data::Action::"read"]
    appliesTo { principal: [User], resource: [Record], context: { field: Field, class: Class } };
"#;
    assert!(text.contains(record), "{text}");
    assert!(cedar_policy::Schema::from_cedarschema_str(&text).is_ok());
}
