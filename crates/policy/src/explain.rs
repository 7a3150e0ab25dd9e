//! Cedar's validation errors in the words of record types.

use cedar_policy::ValidationError;
use countersign_model::Sensitivity;
use countersign_model::control::ControlAction;
use countersign_model::request::Action;
use miette::Diagnostic;

use crate::schema::ANY_ACTION;
use crate::vocabulary::Vocabulary;

/// What is wrong, and the nearest name that would be right.
pub(crate) fn explain(error: &ValidationError, statement: &str, vocabulary: &Vocabulary) -> String {
    let written = written(error, statement);
    let explained = match error {
        ValidationError::InvalidEnumEntity(_) => unknown_member(written, vocabulary),
        ValidationError::UnrecognizedActionId(_) => unknown_action(written, vocabulary),
        ValidationError::UnsafeOptionalAttributeAccess(_) => unguarded(written),
        _ => None,
    };
    if let Some(explained) = explained {
        return explained;
    }
    let text = error.to_string();
    let prefix = format!("for policy `{}`", error.policy_id());
    let text = text.strip_prefix(&prefix).map_or(text.as_str(), |rest| rest.trim_start_matches([',', ':', ' ']));
    match error.help() {
        Some(help) => format!("{text}; {help}"),
        None => text.to_owned(),
    }
}

/// The text that the error points at.
fn written<'a>(error: &ValidationError, statement: &'a str) -> &'a str {
    let label = error.labels().and_then(|mut labels| labels.next());
    let span = label.map_or(0..0, |label| label.offset()..label.offset().saturating_add(label.len()));
    statement.get(span).unwrap_or_default()
}

/// `Customer::Field::"compny"` and `Class::"persnal"`: which there are, and which was meant.
fn unknown_member(written: &str, vocabulary: &Vocabulary) -> Option<String> {
    let (type_name, id) = written.rsplit_once("::")?;
    let id = id.trim().trim_matches('"');
    let (what, known): (String, Vec<&str>) = match type_name.trim() {
        "Class" => ("class of fields".to_owned(), Sensitivity::ALL.iter().map(|one| one.as_str()).collect()),
        of_type => {
            let namespace = of_type.strip_suffix("::Field")?;
            let (_, words) = vocabulary.find(namespace)?;
            (format!("field of {namespace}"), words.fields.keys().map(String::as_str).collect())
        }
    };
    Some(format!("there is no {what} \"{id}\"; {}", hint(id, &known)))
}

/// `Customer::Action::"raed"`.
fn unknown_action(written: &str, vocabulary: &Vocabulary) -> Option<String> {
    let (type_name, id) = written.rsplit_once("::")?;
    let id = id.trim().trim_matches('"');
    let namespace = type_name.trim().strip_suffix("::Action")?;
    let on_records = Action::ALL.iter().map(|action| action.as_str());
    let known: Vec<&str> = match namespace {
        "Control" => ControlAction::ALL.iter().map(|action| action.as_str()).collect(),
        "Data" => on_records.chain([ANY_ACTION]).collect(),
        of_type => vocabulary.find(of_type).map(|_| on_records.collect())?,
    };
    Some(format!("there is no action \"{id}\" in {namespace}; {}", hint(id, &known)))
}

/// `resource.region`, where there may be none.
fn unguarded(written: &str) -> Option<String> {
    let (of, attribute) = written.rsplit_once('.')?;
    Some(format!("`{written}` may have no value; ask first, with `{of} has {attribute} && …`"))
}

/// The nearest known word, or all of them.
pub(crate) fn hint(id: &str, known: &[&str]) -> String {
    let distance = |name: &&&str| strsim::damerau_levenshtein(name, id);
    match known.iter().min_by_key(distance) {
        Some(nearest) if distance(&nearest) <= 3 => format!("did you mean \"{nearest}\"?"),
        _ => format!("there are {}", known.join(", ")),
    }
}
