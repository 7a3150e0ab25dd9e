//! Rows of an NDJSON file: one JSON object a line. Empty lines are skipped.

use std::fmt;
use std::io::BufRead;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::check::{Checker, Given};
use super::{Bad, Row};
use crate::problem::Problem;

pub(super) struct JsonRows<'c, 'a, R> {
    reader: R,
    line: u64,
    checker: &'c mut Checker<'a>,
    name: String,
}

impl<'c, 'a, R: BufRead> JsonRows<'c, 'a, R> {
    pub(super) fn open(reader: R, name: &str, checker: &'c mut Checker<'a>) -> Self {
        Self { reader, line: 0, checker, name: name.to_owned() }
    }

    fn judge(&mut self, bytes: &[u8]) -> Row {
        let line = self.line;
        let bad = |column: Option<String>, expected: &str| Bad {
            line,
            column,
            expected: expected.to_owned(),
            original: [bytes, b"\n"].concat(),
        };
        let text = std::str::from_utf8(bytes).map_err(|error| {
            let column = error.valid_up_to().saturating_add(1).to_string();
            bad(Some(column), "expected UTF-8")
        })?;
        let Pairs(pairs) = serde_json::from_str(text)
            .map_err(|error| bad(Some(error.column().to_string()), "expected one JSON object on the line"))?;
        let given = pairs.iter().map(|(name, raw)| (name.as_str(), Given::Json(raw)));
        match self.checker.row(line, given) {
            Ok(good) => Ok(good),
            Err(fault) => Err(bad(fault.field, &fault.expected)),
        }
    }
}

impl<R: BufRead> Iterator for JsonRows<'_, '_, R> {
    type Item = Result<Row, Problem>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let mut bytes = Vec::new();
            self.line = self.line.saturating_add(1);
            match self.reader.read_until(b'\n', &mut bytes) {
                Ok(0) => return None,
                Ok(_) => {
                    let row = bytes.trim_ascii();
                    if !row.is_empty() {
                        return Some(Ok(self.judge(row)));
                    }
                }
                Err(error) => return Some(Err(Problem::failed(format!("{} can't be read: {error}", self.name)))),
            }
        }
    }
}

/// The fields of an object in their order, doubles included, so that a double is found rather than merged.
struct Pairs(Vec<(String, Box<RawValue>)>);

impl<'de> Deserialize<'de> for Pairs {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Fields;
        impl<'de> Visitor<'de> for Fields {
            type Value = Pairs;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Pairs, A::Error> {
                let mut pairs = Vec::new();
                while let Some(pair) = map.next_entry()? {
                    pairs.push(pair);
                }
                Ok(Pairs(pairs))
            }
        }
        deserializer.deserialize_map(Fields)
    }
}
