//! PROPERTY: a body is read whole or refused whole: every row has each name once, no more rows than the bound, and the
//! JSON form of a value is JSON. A refusal never repeats a value.

use countersign_door_http::Limits;
use countersign_door_http::rest::body::{media, rows};
use countersign_model::request::Input;

use crate::signature;

/// Pieces of bodies.
pub const WORDS: &[&str] = &[
    "{\"id\":1}",
    "[{",
    "}]",
    "},{",
    "\"company\":",
    "null",
    "1e999",
    "-0.0",
    "\"\\u0000\"",
    "\"\\ud800\"",
    "[[[[",
    "{\"a\":",
    ",",
    "id,company\n",
    "\"a\"\"b\"",
    "\r\n",
    "\u{feff}",
    "canary7391",
    "\"canary7391\"",
];

const CANARY: &str = "canary7391";

/// Runs the target: the first byte chooses the media type.
pub fn run(data: &[u8]) -> u64 {
    let Some((first, body)) = data.split_first() else { return 0 };
    let content_type = if *first == b'c' { "text/csv" } else { "application/json" };
    let limits = Limits { rows: 50, fields: 20, ..Limits::default() };
    let media = media(Some(content_type)).expect("a media type that is supported");
    match rows(media, body, &limits) {
        Ok(read) => {
            assert!(read.rows.len() <= limits.rows, "more rows than the bound");
            for row in &read.rows {
                assert!(row.len() <= limits.fields, "more fields than the bound");
                for (index, (name, input)) in row.iter().enumerate() {
                    assert!(!row.iter().skip(index + 1).any(|(other, _)| other == name), "a name twice");
                    match input {
                        Input::Json(json) => {
                            let parsed = serde_json::from_str::<&serde_json::value::RawValue>(json);
                            assert!(parsed.is_ok(), "a value that is not JSON");
                        }
                        Input::Text(text) => assert!(!text.contains('\0'), "a NUL"),
                        Input::Null => {}
                    }
                }
            }
            signature::of(&format!("{content_type} {} {}", read.single, read.rows.len().min(2)))
        }
        Err(problem) => {
            let said = problem.to_string();
            assert!(!said.contains(CANARY), "a refusal shows what was sent: {said}");
            signature::of(&format!("{content_type} {said}"))
        }
    }
}
