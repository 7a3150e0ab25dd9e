//! PROPERTY: a types file that is accepted can be applied over itself without any change or loss, and one that is
//! refused is refused with a place inside the file.

use countersign_store::types_file::{merge, parse};

use crate::signature;

/// Words of types files.
pub const WORDS: &[&str] = &[
    "[types.customer]\n",
    "[types.customer.fields]\n",
    "[principal]\n",
    "kind = \"text\"",
    "kind = \"decimal\"",
    "required = true",
    "unique = true",
    "index = \"exact\"",
    "references = \"customer\"",
    "class = \"personal\"",
    "key = \"id\"",
    "{ ",
    " }",
    ", ",
    "\n",
];

/// Runs the target.
pub fn run(data: &[u8]) -> u64 {
    let Ok(text) = std::str::from_utf8(data) else { return 0 };
    match parse(text) {
        Ok(types) => {
            for (_, record_type) in types.iter() {
                assert!(record_type.field(record_type.key).is_some(), "a key that is no field");
                for (_, field) in record_type.iter() {
                    let target = field.references.map(|target| types.record_type(target));
                    assert!(!matches!(target, Some(None)), "a reference to a type that is not there");
                    assert!(!field.unique || field.indexed, "unique without an index");
                }
            }
            let (merged, changes) = merge(&types, &types).expect("a file applied over itself loses nothing");
            assert!(changes.is_empty(), "a file applied over itself changes something");
            assert_eq!(merged, types);
            signature::of(&format!("{} types", types.types.len().min(3)))
        }
        Err(error) => {
            let lines = text.lines().count().saturating_add(1);
            assert!((1..=lines).contains(&error.line()), "line {} of {lines}", error.line());
            assert!(error.column() >= 1);
            signature::of(&error.message())
        }
    }
}
