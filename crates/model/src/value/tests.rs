use std::cmp::Ordering;

use serde_json::value::RawValue;

use super::*;

fn raw(text: &str) -> Box<RawValue> {
    RawValue::from_string(text.to_owned()).unwrap()
}

#[test]
fn every_kind_goes_through_text_bytes_and_json_unchanged() {
    for (kind, text) in [
        (Kind::Text, "Łódź \"quoted\""),
        (Kind::Text, ""),
        (Kind::Integer, "-9223372036854775808"),
        (Kind::Decimal, "-0.10"),
        (Kind::Decimal, "7922816251426433759354395033.5"),
        (Kind::Boolean, "true"),
        (Kind::Date, "1948-12-08"),
        (Kind::Timestamp, "2026-07-01T09:30:00.123456Z"),
        (Kind::Uuid, "0190b6c2-3f5e-7abc-8def-0123456789ab"),
        (Kind::Json, r#"{"a":[1,null,"x"]}"#),
        (Kind::Bytes, "AAEC/w=="),
    ] {
        let value = Value::parse(kind, text).unwrap();
        assert_eq!(value.to_text().as_deref(), Some(text), "{kind:?}");
        assert!(Value::from_bytes(kind, &value.to_bytes()).unwrap() == value, "{kind:?}");
        let json = serde_json::to_string(&value).unwrap();
        assert!(Value::from_json(kind, &raw(&json)).unwrap() == value, "{kind:?} through {json}");
    }
}

#[test]
fn decimals_keep_their_places_in_json_and_share_a_tag() {
    let long = Value::from_json(Kind::Decimal, &raw("1.50")).unwrap();
    let short = Value::parse(Kind::Decimal, "1.5").unwrap();
    assert_eq!(serde_json::to_string(&long).unwrap(), "1.50");
    assert_ne!(long.to_bytes(), short.to_bytes());
    assert_eq!(long.to_tag_bytes(), short.to_tag_bytes());
    assert_eq!(long.compare(&short), Some(Ordering::Equal));
}

#[test]
fn wrong_kinds_are_refused_without_repeating_the_value() {
    for (kind, text) in [
        (Kind::Text, "a\0b"),
        (Kind::Integer, "99999999999999999999"),
        (Kind::Integer, "1.0"),
        (Kind::Decimal, "1e999"),
        (Kind::Decimal, "secret"),
        (Kind::Boolean, "yes"),
        (Kind::Date, "2026-02-30"),
        (Kind::Timestamp, "yesterday"),
        (Kind::Uuid, "zzzz"),
        (Kind::Json, r#"{"a":1,"a":2}"#),
        (Kind::Json, r#"[{"b":{"a":1,"a":2}}]"#),
        (Kind::Bytes, "***"),
    ] {
        let error = Value::parse(kind, text).unwrap_err();
        assert!(!error.to_string().contains(text), "{error}");
    }
    assert!(Value::from_json(Kind::Text, &raw("5")).is_err());
    assert!(Value::from_json(Kind::Integer, &raw("[5]")).is_err());
    assert!(Value::from_json(Kind::Text, &raw(r#""\u0000""#)).is_err());
}

#[test]
fn deep_nesting_is_refused_and_does_not_overflow_the_stack() {
    let deep = "[".repeat(100_000);
    assert!(Value::parse(Kind::Json, &deep).is_err());
}

#[test]
fn null_compares_with_nothing() {
    assert_eq!(Value::Null.equals(&Value::Null), None);
    assert_eq!(Value::Null.compare(&Value::Integer(1)), None);
    assert_eq!(Value::Integer(1).compare(&Value::Text("1".into())), None);
}

#[test]
fn debug_shows_the_kind_and_never_the_value() {
    assert_eq!(format!("{:?}", Value::Text("hunter2".into())), "text");
}
