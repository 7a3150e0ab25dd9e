//! References that could not be set when their records were made, because what they refer to was not there yet.

use std::collections::{BTreeMap, HashMap};

use http::Method;
use serde_json::value::RawValue;

use super::{Checker, Existing, Source, send_once};
use crate::client::Client;
use crate::problem::Problem;
use crate::progress::Progress;
use crate::query::{Query, segment};
use crate::transport::Ask;

/// Keys that one request names: in number, and in bytes as they stand in its address.
const KEYS: usize = 200;
const KEY_BYTES: usize = 6 << 10;
/// Keys that are held before they are sent.
const HELD: usize = 20_000;

/// Sets these fields of the type's records to what the source says, records with the same value together. Unless records
/// are to be changed, only where there is no value yet.
///
/// # Errors
/// What the server said.
pub async fn link(
    client: &Client,
    record_type: &str,
    (key, fields): (&str, &[String]),
    source: &Source,
    checker: &mut Checker<'_>,
    existing: Existing,
    progress: &mut Progress,
) -> Result<(), Problem> {
    let mut linker = Linker { client, record_type, key, existing };
    let mut held: BTreeMap<(&str, String), Vec<String>> = BTreeMap::new();
    let (mut count, mut read) = (0usize, 0u64);
    checker.restart();
    for row in source.rows(checker)? {
        read = read.saturating_add(1);
        let Ok(good) = row? else { continue };
        let cells: HashMap<String, Box<RawValue>> =
            serde_json::from_str(&good.json).map_err(|error| Problem::failed(error.to_string()))?;
        let Some(own) = cells.get(key).map(|raw| text(raw.get())) else { continue };
        for field in fields {
            let Some(value) = cells.get(field).map(|raw| raw.get()).filter(|raw| *raw != "null") else { continue };
            held.entry((field.as_str(), value.to_owned())).or_default().push(own.clone());
            count = count.saturating_add(1);
        }
        if count >= HELD {
            linker.set(&mut held).await?;
            progress.reached(read);
            count = 0;
        }
    }
    linker.set(&mut held).await?;
    progress.reached(read);
    Ok(())
}

struct Linker<'a> {
    client: &'a Client,
    record_type: &'a str,
    key: &'a str,
    existing: Existing,
}

impl Linker<'_> {
    async fn set(&mut self, held: &mut BTreeMap<(&str, String), Vec<String>>) -> Result<(), Problem> {
        for ((field, value), keys) in std::mem::take(held) {
            let mut list = String::new();
            let (mut number, mut bytes) = (0usize, 0usize);
            for key in keys {
                let quoted = quoted(&key);
                bytes = bytes.saturating_add(segment(&quoted).len()).saturating_add(1);
                if number > 0 && (number >= KEYS || bytes > KEY_BYTES) {
                    self.patch(field, &value, &std::mem::take(&mut list)).await?;
                    (number, bytes) = (0, segment(&quoted).len());
                }
                if number > 0 {
                    list.push(',');
                }
                list.push_str(&quoted);
                number = number.saturating_add(1);
            }
            self.patch(field, &value, &list).await?;
        }
        Ok(())
    }

    async fn patch(&self, field: &str, value: &str, list: &str) -> Result<(), Problem> {
        let mut query = Query::new(format!("/rest/v1/{}", self.record_type));
        query.add(self.key, &format!("in.({list})"));
        if self.existing != Existing::Changed {
            query.add(field, "is.null");
        }
        let body = format!("{{{}:{value}}}", serde_json::Value::from(field));
        let ask = Ask::new(Method::PATCH, query.text())
            .body("application/json", body)
            .header(http::HeaderName::from_static("prefer"), "return=minimal");
        let place = format!("{}: the references {field} were not all set", self.record_type);
        send_once(self.client, ask).await.map(drop).map_err(|problem| {
            problem
                .or_next("put it right and run the same command again; what is there is left as it is")
                .during(&place)
        })
    }
}

/// The text of a key as a filter has it.
fn text(raw: &str) -> String {
    if raw.starts_with('"') { serde_json::from_str(raw).unwrap_or_default() } else { raw.to_owned() }
}

/// In double quotes, as a value in a list may stand.
fn quoted(text: &str) -> String {
    let escaped = text.replace('\\', "\\\\").replace('"', "\\\"");
    format!("\"{escaped}\"")
}
