use super::*;
use countersign_model::{Kind, Sensitivity, TypeId};

mod errors;
mod hostile;
mod merging;
mod trading;

#[test]
fn a_file_becomes_types_in_its_order() {
    let types = parse(
        r#"
        [principal]
        employee = "integer"

        [types.zebra]
        key = "code"
        fields.note  = { kind = "text", class = "secret" }
        fields.code  = { kind = "uuid", class = "public" }

        [types.ant.fields]
        id       = { references = "zebra", class = "internal" }
        zebra_id = { references = "zebra", kind = "uuid", required = true, class = "personal" }
        badge    = { kind = "bytes", unique = true, class = "internal" }
        weight   = { kind = "decimal", index = "exact", class = "financial" }
        "#,
    )
    .unwrap();
    assert_eq!(types.principal.get("employee"), Some(&Kind::Integer));
    let names: Vec<&str> = types.types.iter().map(|one| one.name.as_str()).collect();
    assert_eq!(names, ["zebra", "ant"], "ids follow the file, not the alphabet");
    let shown = |type_id: u16| -> Vec<String> {
        let record_type = types.record_type(TypeId(type_id)).unwrap();
        let field = |field: &countersign_model::Field| {
            let flags = [(field.required, " required"), (field.unique, " unique"), (field.indexed, " indexed")];
            let flags: String = flags.iter().filter(|(set, _)| *set).map(|(_, word)| *word).collect();
            let target = field.references.map(|target| format!(" → {}", target.0)).unwrap_or_default();
            format!("{} {} {}{flags}{target}", field.name, field.kind.as_str(), field.class.as_str())
        };
        record_type.fields.iter().map(field).collect()
    };
    assert_eq!(shown(0), ["note text secret", "code uuid public required unique indexed"]);
    assert_eq!(types.types[0].key.0, 1);
    assert_eq!(
        shown(1),
        [
            "id uuid internal required unique indexed → 0",
            "zebra_id uuid personal required indexed → 0",
            "badge bytes internal unique indexed",
            "weight decimal financial indexed",
        ]
    );
    assert_eq!(types.types[1].fields[3].class, Sensitivity::Financial);
}

#[test]
fn an_empty_file_has_no_types_and_a_full_type_has_128_fields() {
    assert_eq!(parse("").unwrap(), RecordTypes::default());
    assert_eq!(parse(&wide("wide", 128)).unwrap().types[0].fields.len(), 128);
}

/// A type with so many fields, its key among them.
fn wide(name: &str, fields: usize) -> String {
    let more: String = (1..fields).map(|n| format!("f{n} = {{ kind = \"text\", class = \"public\" }}\n")).collect();
    format!("[types.{name}.fields]\nid = {{ kind = \"text\", class = \"public\" }}\n{more}")
}
