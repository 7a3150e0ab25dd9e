//! The Cedar schema that policies are checked against, generated from the record types.

use std::fmt::Write as _;

use countersign_model::control::ControlAction;
use countersign_model::request::Action;
use countersign_model::{Kind, RecordTypes, Sensitivity};

use crate::error::PolicyError;
use crate::vocabulary::{Attribute, CALLER_NAME, CALLER_TENANT, TypeWords, Vocabulary};

/// The group of all actions on records.
pub(crate) const ANY_ACTION: &str = "any";

/// The Cedar schema for these record types, for people and for Cedar's own tools.
///
/// # Errors
/// [`PolicyError`] if two types, or a type and Countersign itself, would have the same name in policies.
pub fn schema_text(types: &RecordTypes) -> Result<String, PolicyError> {
    Ok(text(&Vocabulary::new(types).map_err(PolicyError::types)?))
}

pub(crate) fn text(vocabulary: &Vocabulary) -> String {
    let mut out = String::new();
    write_shared(&mut out, vocabulary);
    for (_, words) in vocabulary.iter() {
        write_type(&mut out, vocabulary, words);
    }
    out
}

// Writing to a `String` can't fail, so the results of `write!` are dropped in this file.

fn write_shared(out: &mut String, vocabulary: &Vocabulary) {
    let classes = quoted_list(Sensitivity::ALL.iter().map(|class| class.as_str()));
    let _ = write!(
        out,
        "// Generated from the record types.\n\n\
         entity Tenant;\nentity Role;\nentity Class enum [{classes}];\n\
         entity User in [Role] {{\n  {CALLER_TENANT}: Tenant,\n  {CALLER_NAME}: String,\n"
    );
    for (name, kind) in &vocabulary.caller {
        let _ = writeln!(out, "  {}?: {},", attribute_name(name), cedar_type(*kind));
    }
    let actions = Action::ALL.map(Action::as_str).join(", ");
    let control = ControlAction::ALL.map(ControlAction::as_str).join(", ");
    let _ = write!(
        out,
        "}};\n\nnamespace Data {{\n  action \"{ANY_ACTION}\";\n  action {actions} in [\"{ANY_ACTION}\"];\n}}\n\n\
         namespace Control {{\n  action {control}\n    appliesTo {{ principal: [User], resource: [Tenant] }};\n}}\n"
    );
}

fn write_type(out: &mut String, vocabulary: &Vocabulary, words: &TypeWords) {
    let _ = write!(out, "\nnamespace {} {{\n  entity Record {{\n", words.namespace);
    for (name, attribute) in &words.attributes {
        let (required, cedar) = match attribute {
            Attribute::Tenant => (true, "Tenant".to_owned()),
            Attribute::Field { kind, required, .. } => (*required, cedar_type(*kind).to_owned()),
            Attribute::Reference { target, required, .. } => match vocabulary.words(*target) {
                Some(target) => (*required, format!("{}::Record", target.namespace)),
                None => continue,
            },
        };
        let _ = writeln!(out, "    {}{}: {cedar},", attribute_name(name), if required { "" } else { "?" });
    }
    let mut fields: Vec<_> = words.fields.iter().collect();
    fields.sort_by_key(|(_, id)| **id);
    let fields = quoted_list(fields.iter().map(|(name, _)| name.as_str()));
    let _ = write!(out, "  }};\n  entity Field enum [{fields}];\n");
    for action in Action::ALL {
        let action = action.as_str();
        let _ = write!(
            out,
            "  action {action} in [Data::Action::\"{action}\"]\n    \
             appliesTo {{ principal: [User], resource: [Record], context: {{ field: Field, class: Class }} }};\n"
        );
    }
    out.push_str("}\n");
}

fn quoted_list<'a>(names: impl Iterator<Item = &'a str>) -> String {
    names.map(|name| format!("\"{name}\"")).collect::<Vec<_>>().join(", ")
}

const fn cedar_type(kind: Kind) -> &'static str {
    match kind {
        Kind::Integer => "Long",
        Kind::Boolean => "Bool",
        _ => "String",
    }
}

/// Names of our alphabet need quotes in Cedar if they have a `-` or are one of its words.
fn attribute_name(name: &str) -> String {
    const WORDS: [&str; 9] = ["true", "false", "if", "then", "else", "in", "is", "like", "has"];
    if name.contains('-') || WORDS.contains(&name) { format!("\"{name}\"") } else { name.to_owned() }
}

#[cfg(test)]
mod tests;
