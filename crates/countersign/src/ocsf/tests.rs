use super::*;

fn record(action: &str, verdict: &str) -> Value {
    json!({
        "position": 7, "time": "2026-07-01T09:30:00.123Z", "request": "0190b6c2-3f5e-7abc-8def-0123456789ab",
        "service": "gateway", "door": "http", "verdict": verdict, "user": "nancy",
        "user_id": "0190b6c2-3f5e-7abc-8def-0123456789ac", "session": "0190b6c2-3f5e-7abc-8def-0123456789ad",
        "token": "0190b6c2-3f5e-7abc-8def-0123456789ae", "action": action, "epoch": 3, "accesses": [],
    })
}

#[test]
fn a_read_is_datastore_activity_and_holds_names_only() {
    let mut read = record("read", "released");
    read["accesses"] = json!([{ "type": "customer", "fields": ["phone"], "filter_fields": ["country"], "records": 2,
        "record_ids": ["0190b6c2-3f5e-7abc-8def-0123456789af"], "rows": 2 }]);
    let event = event(&read, "northwind");
    assert_eq!((&event["class_uid"], &event["type_uid"]), (&json!(6005), &json!(600_501)));
    assert_eq!((&event["status_id"], &event["severity_id"]), (&json!(1), &json!(1)));
    assert_eq!(event["time"], json!(1_782_898_200_123_i64));
    assert_eq!(event["table"]["name"], "customer");
    assert_eq!(event["metadata"]["uid"], "gateway:7");
    assert_eq!(event["metadata"]["tenant_uid"], "northwind");
    let seen: Vec<&str> =
        event["observables"].as_array().unwrap().iter().filter_map(|one| one["value"].as_str()).collect();
    assert_eq!(seen, ["nancy", "customer.phone", "customer.country", "customer/0190b6c2-3f5e-7abc-8def-0123456789af"]);
}

#[test]
fn each_kind_of_request_has_its_class() {
    for (action, verdict, class, activity, status) in [
        ("create", "changed", 6005, 6, 1),
        ("delete", "refused", 6005, 7, 2),
        ("login", "changed", 3002, 1, 1),
        ("login", "refused", 3002, 1, 2),
        ("use_own_token", "changed", 3003, 1, 1),
        ("decide_access", "changed", 3003, 1, 1),
        ("read_audit", "released", 6003, 2, 1),
        ("manage_users", "intent", 6003, 3, 99),
        ("join_service", "changed", 6003, 99, 1),
    ] {
        let event = event(&record(action, verdict), "northwind");
        assert_eq!(event["class_uid"], class, "{action}");
        assert_eq!(event["activity_id"], activity, "{action}");
        assert_eq!(event["status_id"], status, "{action}");
        assert_eq!(event["type_uid"], class * 100 + activity, "{action}");
        assert_eq!(event["category_uid"], if class > 6000 { 6 } else { 3 });
    }
}

#[test]
fn refusals_are_graver_where_they_tell_more() {
    let mut refused = record("read", "refused");
    refused["reason"] = "not_permitted".into();
    assert_eq!(event(&refused, "northwind")["severity_id"], 2);
    refused["reason"] = "other_tenant".into();
    assert_eq!(event(&refused, "northwind")["severity_id"], 3);
    assert_eq!(event(&refused, "northwind")["status_code"], "other_tenant");
}

/// Whoever was never established is still somebody, as the schema wants.
#[test]
fn nobody_is_somebody() {
    let mut nobody = record("login", "refused");
    for name in ["user", "user_id", "session", "token"] {
        nobody.as_object_mut().unwrap().remove(name);
    }
    assert_eq!(event(&nobody, "northwind")["user"], json!({ "name": "unknown" }));
}
