//! Audit records as events of the Open Cybersecurity Schema Framework (OCSF) 1.5.
//!
//! One event a record. What was read or changed is a Datastore Activity (6005), a login an Authentication (3002), a
//! token made from another or access given an Authorize Session (3003), everything else that manages a deployment an API
//! Activity (6003). Types, fields and identifiers, never values: the records hold none.
//!
//! The client's address is not on record, so an event's source is the door by which the request came.

use serde_json::{Map, Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// The version of the schema.
pub const VERSION: &str = "1.5.0";

const INFORMATIONAL: u8 = 1;
const LOW: u8 = 2;
const MEDIUM: u8 = 3;

/// Refusals that tell of more than a mistake.
const SUSPICIOUS: [&str; 5] = ["other_tenant", "revoked", "bad_proof", "no_fellow", "differs"];

/// Which class of event a record is, and which activity of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Datastore(u8),
    Authentication(u8),
    Authorize(u8),
    Api(u8),
}

impl Kind {
    fn of(action: &str, has_accesses: bool) -> Self {
        match action {
            "read" => Self::Datastore(1),
            "create" => Self::Datastore(6),
            "update" => Self::Datastore(2),
            "delete" => Self::Datastore(7),
            _ if has_accesses => Self::Datastore(99),
            "login" => Self::Authentication(1),
            "use_own_token" | "request_access" | "decide_access" | "break_glass" | "end_access" => Self::Authorize(1),
            _ if action.starts_with("read_") || action.starts_with("introspect_") => Self::Api(2),
            _ if action.starts_with("manage_") || action.starts_with("revoke_") => Self::Api(3),
            _ => Self::Api(99),
        }
    }

    const fn class(self) -> (u32, u8, u8) {
        match self {
            Self::Datastore(activity) => (6005, 6, activity),
            Self::Authentication(activity) => (3002, 3, activity),
            Self::Authorize(activity) => (3003, 3, activity),
            Self::Api(activity) => (6003, 6, activity),
        }
    }
}

fn text<'a>(record: &'a Value, name: &str) -> Option<&'a str> {
    record.get(name)?.as_str()
}

fn list<'a>(value: &'a Value, name: &str) -> impl Iterator<Item = &'a Value> {
    value.get(name).and_then(Value::as_array).into_iter().flatten()
}

/// Only what is there.
fn object(members: impl IntoIterator<Item = (&'static str, Option<Value>)>) -> Value {
    let there = members.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?)));
    Value::Object(there.collect())
}

/// The event of one record, as `GET /v1/audit` gives records. `tenant` is the tenant that it was read for.
#[must_use]
pub fn event(record: &Value, tenant: &str) -> Value {
    let action = text(record, "action").unwrap_or_default();
    let has_accesses = list(record, "accesses").next().is_some();
    let kind = Kind::of(action, has_accesses);
    let (class, category, activity) = kind.class();
    let mut event = Map::new();
    let mut put = |name: &str, value: Value| drop(event.insert(name.to_owned(), value));
    put("class_uid", class.into());
    put("category_uid", category.into());
    put("activity_id", activity.into());
    if activity == 99 {
        put("activity_name", action.into());
    }
    put("type_uid", class.saturating_mul(100).saturating_add(activity.into()).into());
    put("time", time(record).into());
    put("severity_id", severity(record).into());
    let (status, status_id) = match text(record, "verdict") {
        Some("released" | "changed") => ("Success", 1),
        Some("refused" | "failed") => ("Failure", 2),
        Some("unknown") => ("Unknown", 0),
        _ => ("Intent", 99),
    };
    put("status", status.into());
    put("status_id", status_id.into());
    if let Some(reason) = text(record, "reason") {
        put("status_code", reason.into());
    }
    if let Some(detail) = text(record, "detail") {
        put("message", detail.into());
    }
    put("metadata", metadata(record, tenant));
    put("observables", observables(record));
    put("unmapped", unmapped(record));
    let service = text(record, "service").unwrap_or("unknown");
    let source = json!({ "svc_name": text(record, "door").unwrap_or(service) });
    match kind {
        Kind::Datastore(_) => {
            put("actor", actor(record));
            put("src_endpoint", source);
            put("database", json!({ "name": tenant, "type_id": 99, "type": "Countersign" }));
            if let Some(name) = list(record, "accesses").find_map(|access| text(access, "type")) {
                put("table", json!({ "name": name }));
                put("type_id", 3.into());
            } else {
                put("type_id", 1.into());
            }
        }
        Kind::Authentication(_) => {
            put("user", user(record));
            put("service", json!({ "name": "countersign" }));
            put("session", session(record));
            put("src_endpoint", source);
        }
        Kind::Authorize(_) => {
            put("user", user(record));
            put("session", session(record));
            put("privileges", json!([text(record, "detail").unwrap_or(action)]));
            put("src_endpoint", source);
        }
        Kind::Api(_) => {
            put("actor", actor(record));
            put("src_endpoint", source);
            let request = text(record, "request").map(|request| json!({ "uid": request }));
            let service = Some(json!({ "name": service }));
            put("api", object([("operation", Some(action.into())), ("request", request), ("service", service)]));
        }
    }
    Value::Object(event)
}

fn time(record: &Value) -> i64 {
    let moment = text(record, "time").and_then(|time| OffsetDateTime::parse(time, &Rfc3339).ok());
    let ms = moment.map(|moment| moment.unix_timestamp_nanos().div_euclid(1_000_000));
    ms.and_then(|ms| i64::try_from(ms).ok()).unwrap_or_default()
}

fn severity(record: &Value) -> u8 {
    match (text(record, "verdict"), text(record, "reason")) {
        (_, Some(reason)) if SUSPICIOUS.contains(&reason) => MEDIUM,
        (Some("refused" | "failed" | "unknown"), _) => LOW,
        _ if text(record, "action") == Some("break_glass") => MEDIUM,
        _ => INFORMATIONAL,
    }
}

/// Service and place are the event's identifier: who gets it twice can tell.
fn metadata(record: &Value, tenant: &str) -> Value {
    let service = text(record, "service").unwrap_or("unknown");
    let position = record.get("position").and_then(Value::as_u64).unwrap_or_default();
    object([
        ("version", Some(VERSION.into())),
        (
            "product",
            Some(json!({
                "name": "Countersign",
                "vendor_name": "Countersign",
                "version": env!("CARGO_PKG_VERSION"),
            })),
        ),
        ("uid", Some(format!("{service}:{position}").into())),
        ("log_name", Some(service.into())),
        ("sequence", Some(position.into())),
        ("correlation_uid", text(record, "request").map(Value::from)),
        ("tenant_uid", Some(tenant.into())),
        ("original_time", text(record, "time").map(Value::from)),
    ])
}

fn user(record: &Value) -> Value {
    let member = |name| text(record, name).map(Value::from);
    match (member("user"), member("user_id")) {
        (None, None) => json!({ "name": "unknown" }),
        (name, uid) => object([("name", name), ("uid", uid)]),
    }
}

fn session(record: &Value) -> Value {
    let member = |name| text(record, name).map(Value::from);
    object([("uid", member("session")), ("credential_uid", member("token"))])
}

fn actor(record: &Value) -> Value {
    let invoked_by = text(record, "on_behalf_of").map(Value::from);
    object([("user", Some(user(record))), ("session", Some(session(record))), ("invoked_by", invoked_by)])
}

/// What to look for in many events: the person, and each field of each type.
fn observables(record: &Value) -> Value {
    let mut found = Vec::new();
    if let Some(name) = text(record, "user") {
        found.push(json!({ "name": "user.name", "type_id": 4, "type": "User Name", "value": name }));
    }
    for access in list(record, "accesses") {
        let Some(record_type) = text(access, "type") else { continue };
        for (members, what) in [("fields", "field"), ("filter_fields", "filter_field")] {
            for field in list(access, members).filter_map(Value::as_str) {
                let value = format!("{record_type}.{field}");
                found.push(
                    json!({ "name": what, "type_id": 38, "type": "Resource Details Object: name", "value": value }),
                );
            }
        }
        for id in list(access, "record_ids").filter_map(Value::as_str) {
            let value = format!("{record_type}/{id}");
            found.push(json!({ "name": "record", "type_id": 10, "type": "Resource UID", "value": value }));
        }
    }
    Value::Array(found)
}

/// What the schema has no place for.
fn unmapped(record: &Value) -> Value {
    let names = ["verdict", "reason", "action", "purpose", "door", "on_behalf_of", "epoch", "affected", "accesses"];
    object(names.map(|name| (name, record.get(name).cloned())))
}

#[cfg(test)]
mod tests;
