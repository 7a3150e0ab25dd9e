//! Cedar's validation errors in the words of record types.

use cedar_policy::ValidationError;
use miette::Diagnostic;

use crate::vocabulary::Vocabulary;

/// What is wrong, and the nearest name that would be right.
pub(crate) fn explain(error: &ValidationError, statement: &str, vocabulary: &Vocabulary) -> String {
    if let ValidationError::InvalidEnumEntity(_) = error
        && let Some(explained) = unknown_member(&written(error, statement), vocabulary)
    {
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
        "Class" => {
            ("class of fields".to_owned(), countersign_model::Sensitivity::ALL.iter().map(|one| one.as_str()).collect())
        }
        of_type => {
            let namespace = of_type.strip_suffix("::Field")?;
            let (_, words) = vocabulary.find(namespace)?;
            (format!("field of {namespace}"), words.fields.keys().map(String::as_str).collect())
        }
    };
    let nearest = known.iter().min_by_key(|name| strsim::damerau_levenshtein(name, id));
    let hint = match nearest {
        Some(nearest) if strsim::damerau_levenshtein(nearest, id) <= 3 => format!("did you mean \"{nearest}\"?"),
        _ => format!("there are {}", known.join(", ")),
    };
    Some(format!("there is no {what} \"{id}\"; {hint}"))
}
