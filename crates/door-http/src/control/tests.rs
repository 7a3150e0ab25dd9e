use countersign_model::UnixMs;

use super::*;

struct Sent<'a> {
    target: Target,
    segment: &'a str,
    query: &'a str,
    content_type: Option<&'a str>,
    body: &'a str,
}

impl<'a> Sent<'a> {
    const fn new(target: Target, body: &'a str) -> Self {
        Self { target, segment: "", query: "", content_type: Some("application/json"), body }
    }

    fn with<T>(&self, read: impl FnOnce(Incoming<'_>, &Limits) -> Result<T, Problem>) -> Result<T, Problem> {
        let mut headers = HeaderMap::new();
        if let Some(content_type) = self.content_type {
            headers.insert(CONTENT_TYPE, content_type.parse().unwrap());
        }
        let Self { target, segment, query, body, .. } = *self;
        read(Incoming { target, segment, query, headers: &headers, body }, &Limits::default())
    }

    fn lowered(&self) -> Result<Control, Problem> {
        self.with(lower)
    }
}

fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

#[test]
fn control_requests() {
    let body = r#"{"roles":["support"],"attributes":{"employee":7,"region":"emea"},"ssh_keys":["ssh-ed25519 AAAA"]}"#;
    let user = Sent { segment: "nancy", query: "tenant=chinook", ..Sent::new(Target::UserPut, body) };
    let attributes = [(name("employee"), "7".to_owned()), (name("region"), "emea".to_owned())].into();
    let expected = NewUser {
        name: name("nancy"),
        roles: vec![name("support")],
        attributes,
        ssh_keys: vec!["ssh-ed25519 AAAA".into()],
        kind: Default::default(),
    };
    assert_eq!(user.lowered(), Ok(Control::UserPut { tenant: Some(name("chinook")), user: expected }));

    assert_eq!(Sent::new(Target::TenantList, "").lowered(), Ok(Control::TenantList));
    let add = Sent::new(Target::TenantAdd, r#"{"name":"chinook"}"#).lowered();
    assert_eq!(add, Ok(Control::TenantAdd { name: name("chinook"), kms: None }));
    let add = Sent::new(Target::TenantAdd, r#"{"name":"chinook","kms":"theirs"}"#).lowered();
    assert_eq!(add, Ok(Control::TenantAdd { name: name("chinook"), kms: Some(name("theirs")) }));
    let rewrap = |body| Sent::new(Target::TenantRewrap, body).lowered();
    assert_eq!(rewrap("{}"), Ok(Control::TenantRewrap { tenant: None, kms: None }));
    let one = Control::TenantRewrap { tenant: Some(name("chinook")), kms: Some(name("default")) };
    assert_eq!(rewrap(r#"{"tenant":"chinook","kms":"default"}"#), Ok(one));
    assert!(
        matches!(rewrap(r#"{"tenants":"chinook"}"#), Err(Problem::UnknownKey { .. })),
        "not all of them by mistake"
    );
    let file = Sent { content_type: Some("text/plain"), query: "dry_run=true", ..Sent::new(Target::TypesApply, "[t]") };
    assert_eq!(file.lowered(), Ok(Control::TypesApply { text: "[t]".into(), dry_run: true }));
    let json = Sent::new(Target::TypesApply, r#"{"text":"[t]\n","dry_run":false}"#);
    assert_eq!(json.lowered(), Ok(Control::TypesApply { text: "[t]\n".into(), dry_run: false }));
    let policies = Sent::new(Target::PoliciesApply, r#"{"files":[{"name":"a.cedar","text":"x"}]}"#);
    let files = vec![PolicyFile { name: "a.cedar".into(), text: "x".into() }];
    assert_eq!(policies.lowered(), Ok(Control::PoliciesApply { files, dry_run: false }));

    let query = "record=customer/A/B&since=2026-07-01T00:00:00Z&after=12.3&limit=5";
    let audit = Sent { query, ..Sent::new(Target::AuditRead, "") };
    let expected = AuditQuery {
        record: Some(("customer".into(), "A/B".into())),
        request: None,
        since: Some(UnixMs(1_782_864_000_000)),
        after: Some("12.3".into()),
        limit: Some(5),
        ..AuditQuery::default()
    };
    assert_eq!(audit.lowered(), Ok(Control::AuditRead(expected)));
}

#[test]
fn bodies_are_read_strictly() {
    let add = |body| Sent::new(Target::TenantAdd, body).lowered().unwrap_err();
    assert!(matches!(add(""), Problem::Syntax { part: Part::Body, .. }));
    assert_eq!(add("{}"), Problem::MissingKey("name"));
    assert_eq!(add(r#"{"name":null}"#), Problem::MissingKey("name"));
    assert_eq!(add("{\"name\":\"a\",\n\"name\":\"b\"}"), Problem::DuplicateKey { line: 2, column: 6 });
    assert_eq!(add("{\"name\":\"a\",\n\"nam\":\"b\"}"), Problem::UnknownKey { line: 2, column: 7, known: "name, kms" });
    let expected = "a name: a lower-case letter, then lower-case letters, digits, '_' or '-'";
    for wrong in ["{\"name\":\n 5}", "{\"name\":\n \"A\"}", "{\"name\":\n []}"] {
        assert_eq!(add(wrong), Problem::WrongValue { key: "name", line: 2, column: 2, expected });
    }
    assert!(matches!(add(r#"{"name":"a\u0000"}"#), Problem::Nul { .. }));

    let policies = |body| Sent::new(Target::PoliciesApply, body).lowered().unwrap_err();
    let inner = "{\"files\":[{\"name\":\"a\",\"text\":\"x\"},\n {\"name\":\"b\",\n  \"name\":\"c\"}]}";
    assert_eq!(policies(inner), Problem::DuplicateKey { line: 3, column: 8 });
    let unknown = "{\"files\":[\n {\"name\":\"a\",\"text\":\"x\",\"more\":1}]}";
    assert_eq!(policies(unknown), Problem::UnknownKey { line: 2, column: 32, known: "name, text" });
    assert!(matches!(policies(r#"{"files":[1]}"#), Problem::WrongValue { key: "files", .. }));
    assert!(matches!(policies(r#"{"files":{}}"#), Problem::WrongValue { key: "files", .. }));

    let user = |body| Sent { segment: "nancy", ..Sent::new(Target::UserPut, body) }.lowered().unwrap_err();
    for wrong in [r#"{"attributes":{"A":1}}"#, r#"{"attributes":{"a":[1]}}"#, r#"{"attributes":{"a":null}}"#] {
        assert!(matches!(user(wrong), Problem::WrongValue { key: "attributes", .. }), "{wrong}");
    }
    assert!(matches!(user(r#"{"attributes":5}"#), Problem::WrongValue { key: "attributes", .. }));
    assert!(matches!(user(r#"{"roles":["A"]}"#), Problem::WrongValue { key: "roles", .. }));
}

#[test]
fn parameters_are_read_strictly() {
    let users = |query| Sent { query, ..Sent::new(Target::UserList, "") }.lowered();
    assert_eq!(users("tenant=a"), Ok(Control::UserList { tenant: Some(name("a")) }));
    assert!(matches!(users("tenant=a&tenant=b"), Err(Problem::Repeated(_))));
    for wrong in ["tenan=a", "tenant=A", "tenant="] {
        assert!(matches!(users(wrong), Err(Problem::Syntax { part: Part::Query, .. })), "{wrong}");
    }
    for wrong in ["record=customer", "request=5", "since=yesterday", "limit=-1", "limit="] {
        let audit = Sent { query: wrong, ..Sent::new(Target::AuditRead, "") };
        assert!(matches!(audit.lowered(), Err(Problem::Syntax { .. })), "{wrong}");
    }
    let user = Sent { segment: "Nancy", ..Sent::new(Target::UserRemove, "") };
    assert!(matches!(user.lowered(), Err(Problem::Syntax { part: Part::Path, .. })));
}

#[test]
fn services() {
    assert_eq!(Sent::new(Target::ServiceList, "").lowered(), Ok(Control::ServiceList));
    let invite = |body| Sent::new(Target::ServiceInvite, body).lowered();
    let (role, one) = (name("keys"), Some(name("keys-1")));
    let named = invite(r#"{"role":"keys","name":"keys-1"}"#);
    assert_eq!(named, Ok(Control::ServiceInvite { role: role.clone(), name: one }));
    assert_eq!(invite(r#"{"role":"keys"}"#), Ok(Control::ServiceInvite { role: role.clone(), name: None }));
    assert_eq!(invite("{}"), Err(Problem::MissingKey("role")));
    let unknown = invite(r#"{"role":"keys","minutes":60}"#);
    assert!(matches!(unknown, Err(Problem::UnknownKey { known: "role, name", .. })), "{unknown:?}");

    let remove = |query, segment| Sent { query, segment, ..Sent::new(Target::ServiceRemove, "") }.lowered();
    assert_eq!(remove("role=keys", "keys-1"), Ok(Control::ServiceRemove { role, name: name("keys-1") }));
    assert!(matches!(remove("", "keys-1"), Err(Problem::Syntax { part: Part::Query, .. })));
    assert!(matches!(remove("role=Keys", "keys-1"), Err(Problem::Syntax { part: Part::Query, .. })));
    assert!(matches!(remove("role=keys", "Keys"), Err(Problem::Syntax { part: Part::Path, .. })));
}

#[test]
fn identity_providers() {
    assert_eq!(Sent::new(Target::ProviderRead, "").lowered(), Ok(Control::ProviderRead));
    assert_eq!(Sent::new(Target::ProviderRemove, "").lowered(), Ok(Control::ProviderRemove));
    let put = |body: &str| Sent::new(Target::ProviderPut, body).lowered();
    let least = r#"{"issuer":"https://id.example","client_id":"c","role_claim":"groups","roles":{"Sales":"support"}}"#;
    let Ok(Control::ProviderPut(provider)) = put(least) else { panic!() };
    assert_eq!((provider.issuer.as_str(), provider.name_claim.as_str()), ("https://id.example", "preferred_username"));
    assert_eq!(provider.roles, [("Sales".to_owned(), name("support"))].into());
    for wrong in [
        "",
        "{}",
        &least.replace("role_claim", "role_clam"),
        &least.replace(r#""client_id":"c""#, r#""client_id":"c","client_id":"d""#),
        &least.replace(r#""client_id":"c""#, r#""client_id":"c","client_secrets":"d""#),
        &least.replace("support", "Support"),
    ] {
        assert!(matches!(put(wrong), Err(Problem::Syntax { part: Part::Body, .. })), "{wrong}");
    }
    let secret = least.replace(r#""client_id":"c""#, r#""client_id":5,"client_secret":"hush-hush""#);
    assert!(!put(&secret).unwrap_err().to_string().contains("hush"), "a message holds no value");
    let form = Sent { content_type: Some("text/plain"), ..Sent::new(Target::ProviderPut, least) };
    assert_eq!(form.lowered(), Err(Problem::UnsupportedMedia));
}

#[test]
fn receipts() {
    let id = "0190b6c2-3f5e-7abc-8def-0123456789ab";
    let receipt = |segment| Sent { segment, ..Sent::new(Target::Receipt, "") }.lowered();
    assert_eq!(receipt(id), Ok(Control::Receipt { request: id.parse().unwrap() }));
    for wrong in ["", "1", "0190b6c2"] {
        assert!(matches!(receipt(wrong), Err(Problem::Syntax { part: Part::Path, .. })), "{wrong}");
    }
}

#[test]
fn proofs_and_questions() {
    let id = "0190b6c2-3f5e-7abc-8def-0123456789ab";
    let proof = Sent { segment: id, ..Sent::new(Target::Proof, "") }.lowered();
    assert_eq!(proof, Ok(Control::Prove { request: id.parse().unwrap() }));
    let ask = |query: &str| match (Sent { query, ..Sent::new(Target::AuditRead, "") }.lowered()) {
        Ok(Control::AuditRead(query)) => Ok(query),
        Ok(_) => panic!(),
        Err(problem) => Err(problem),
    };
    let asked = ask("record=customer/ALFKI&field=phone&user=nancy&until=2026-07-01T09:30:00Z").unwrap();
    assert_eq!((asked.field.as_deref(), asked.user.as_deref()), (Some("phone"), Some("nancy")));
    assert_eq!(asked.until, Some(countersign_model::UnixMs(1_782_898_200_000)));
    let asked = ask(&format!("session={id}&token={id}")).unwrap();
    assert_eq!((asked.session, asked.token), (Some(id.parse().unwrap()), Some(id.parse().unwrap())));
    for wrong in ["field=phone", "session=1", "token=x", "until=yesterday", "user=a&user=b", "who=nancy"] {
        assert!(ask(wrong).is_err(), "{wrong}");
    }
}

#[test]
fn kinds_of_users() {
    use countersign_model::facts::UserKind;
    let kind = |body| match (Sent { segment: "nancy", ..Sent::new(Target::UserPut, body) }.lowered()) {
        Ok(Control::UserPut { user, .. }) => Ok(user.kind),
        Ok(_) => panic!(),
        Err(problem) => Err(problem),
    };
    assert_eq!(kind("{}"), Ok(UserKind::Person));
    assert_eq!(kind(r#"{"kind":"agent"}"#), Ok(UserKind::Agent));
    assert_eq!(kind(r#"{"kind":"service"}"#), Ok(UserKind::Service));
    assert!(matches!(kind(r#"{"kind":"robot"}"#), Err(Problem::WrongValue { key: "kind", .. })));
}

#[test]
fn operators_access() {
    let id = "01890a5d-ac96-774b-bcce-b302099a8057";
    let grant = id.parse().unwrap();
    let wanted = r#"{"tenant":"northwind","role":"support","reason":"ticket 4711","lifetime_ms":3600000}"#;
    let asked = AccessControl::Request {
        tenant: name("northwind"),
        role: name("support"),
        reason: "ticket 4711".into(),
        lifetime_ms: 3_600_000,
        break_glass: false,
    };
    assert_eq!(Sent::new(Target::AccessRequest, wanted).lowered(), Ok(Control::Access(asked)));
    let decide = |body| Sent { segment: id, ..Sent::new(Target::AccessDecide, body) }.lowered();
    let approved = AccessControl::Decide { grant, approve: true, role: None };
    assert_eq!(decide(r#"{"approve":true}"#), Ok(Control::Access(approved)));
    assert!(decide("{}").is_err() && decide(r#"{"approve":true,"approve":false}"#).is_err());
    let close = |query| Sent { segment: id, query, ..Sent::new(Target::AccessClose, "") }.lowered();
    assert_eq!(close("as=tenant"), Ok(Control::Access(AccessControl::Close { grant, as_tenant: true })));
    assert_eq!(close(""), Ok(Control::Access(AccessControl::Close { grant, as_tenant: false })));
    assert!(close("as=anybody").is_err());
}

#[test]
fn alerts_and_silences() {
    let id = "01890a5d-ac96-774b-bcce-b302099a8057";
    let watch = |sent: Sent<'_>| sent.lowered();
    let list = |query| watch(Sent { query, ..Sent::new(Target::AlertList, "") });
    assert_eq!(list(""), Ok(Control::Watch(WatchControl::Alerts { all: false, limit: None })));
    assert_eq!(list("all=true&limit=7"), Ok(Control::Watch(WatchControl::Alerts { all: true, limit: Some(7) })));
    assert!(list("limit=x").is_err() && list("level=high").is_err());
    let seen_to = watch(Sent { segment: id, ..Sent::new(Target::AlertAcknowledge, r#"{"note":"a drill"}"#) });
    let expected = WatchControl::Acknowledge { alert: id.parse().unwrap(), note: "a drill".into() };
    assert_eq!(seen_to, Ok(Control::Watch(expected)));
    let body = r#"{"rule":"r","for_ms":60000,"reason":"being worked on"}"#;
    let expected =
        WatchControl::Silence { rule: "r".into(), about: None, for_ms: 60_000, reason: "being worked on".into() };
    assert_eq!(watch(Sent::new(Target::SilenceAdd, body)), Ok(Control::Watch(expected)));
    assert!(watch(Sent::new(Target::SilenceAdd, r#"{"rule":"r","for_ms":60000}"#)).is_err());
    assert!(watch(Sent { segment: "x", ..Sent::new(Target::SilenceEnd, "") }).is_err());
}

#[test]
fn backups_and_jobs() {
    let id = "01890a5d-ac96-774b-bcce-b302099a8057";
    let name = |name: &str| countersign_model::Name::new(name).unwrap();
    let put = |target, body| Sent::new(target, body).lowered();
    let ok = |control| Ok(Control::Backup(control));
    let list = Sent { query: "repository=nightly", ..Sent::new(Target::BackupList, "") }.lowered();
    assert_eq!(list, ok(BackupControl::List { repository: name("nightly") }));
    assert!(put(Target::BackupList, "").is_err());
    let created = put(Target::BackupCreate, r#"{"repository":"nightly","tenant":"chinook"}"#);
    assert_eq!(created, ok(BackupControl::Create { repository: name("nightly"), tenant: Some(name("chinook")) }));
    let verified = put(Target::BackupVerify, r#"{"repository":"nightly"}"#);
    assert_eq!(verified, ok(BackupControl::Verify { repository: name("nightly"), backup: None }));
    let body = r#"{"tenant":"chinook","repository":"nightly","backup":"b","to":"2026-07-01T09:30:00Z"}"#;
    let to = Some(countersign_model::UnixMs(1_782_898_200_000));
    let from = Some((name("nightly"), "b".to_owned()));
    let restored = BackupControl::Restore { tenant: name("chinook"), from, to };
    assert_eq!(put(Target::BackupRestore, body), ok(restored));
    for body in [
        r#"{"tenant":"chinook"}"#,
        r#"{"tenant":"chinook","backup":"b","to":"2026-07-01T09:30:00Z"}"#,
        r#"{"tenant":"chinook","repository":"nightly"}"#,
        r#"{"tenant":"chinook","to":"yesterday"}"#,
        r#"{"tenant":"chinook","to":"2026-07-01T09:30:00Z","force":true}"#,
    ] {
        assert!(put(Target::BackupRestore, body).is_err(), "{body}");
    }
    let remove = |backup: Option<&str>, forget| {
        ok(BackupControl::Remove { repository: name("nightly"), backup: backup.map(str::to_owned), forget })
    };
    assert_eq!(put(Target::BackupRemove, r#"{"repository":"nightly","backup":"b"}"#), remove(Some("b"), false));
    assert_eq!(put(Target::BackupRemove, r#"{"repository":"nightly","forget":true}"#), remove(None, true));
    for body in [r#"{"repository":"nightly"}"#, r#"{"repository":"nightly","backup":null}"#, r#"{"backup":"b"}"#] {
        assert!(put(Target::BackupRemove, body).is_err(), "{body}");
    }
    let job = Sent { segment: id, ..Sent::new(Target::JobCancel, "") }.lowered();
    assert_eq!(job, ok(BackupControl::Cancel { job: id.parse().unwrap() }));
}

#[test]
fn erasures() {
    let name = |name: &str| countersign_model::Name::new(name).unwrap();
    let post = |body| Sent::new(Target::ErasureCreate, body).lowered();
    let ok = |control| Ok(Control::Erase(control));
    let record = EraseControl::Record { record_type: "customer".to_owned(), key: "17".to_owned() };
    assert_eq!(post(r#"{"type":"customer","key":"17"}"#), ok(record));
    let (tenant, user) = (Some(name("northwind")), name("nancy"));
    assert_eq!(post(r#"{"user":"nancy"}"#), ok(EraseControl::Principal { tenant: None, user: user.clone() }));
    let elsewhere = post(r#"{"tenant":"northwind","user":"nancy"}"#);
    assert_eq!(elsewhere, ok(EraseControl::Principal { tenant, user }));
    let twice = post(r#"{"tenant":"northwind","confirm":"northwind"}"#);
    assert_eq!(twice, ok(EraseControl::Tenant { tenant: name("northwind") }));
    for body in [
        r#"{"tenant":"northwind"}"#,
        r#"{"tenant":"northwind","user":null}"#,
        r#"{"tenant":"northwind","confirm":"chinook"}"#,
    ] {
        assert!(post(body).is_err(), "{body}");
    }
    for body in ["{}", r#"{"type":"customer"}"#, r#"{"tenant":"northwind","type":"customer","key":"17"}"#] {
        assert!(post(body).is_err(), "{body}");
    }
    let id = "01890a5d-ac96-774b-bcce-b302099a8057";
    let proof = Sent { segment: id, ..Sent::new(Target::ErasureProve, "") }.lowered();
    assert_eq!(proof, ok(EraseControl::Prove { receipt: id.parse().unwrap() }));
}

/// Whoever comes without a good token asks for what the path says, and for nothing that would change anything.
#[test]
fn bare_requests_change_nothing() {
    for route in crate::routes::ROUTES {
        if matches!(route.target, Target::Records | Target::Public | Target::Log | Target::OpenApi | Target::Health) {
            continue;
        }
        let control = bare(route.target);
        let harmless = matches!(
            control,
            Control::WhoAmI
                | Control::TenantList
                | Control::UserList { tenant: None }
                | Control::TypesRead
                | Control::TypesApply { dry_run: true, .. }
                | Control::PoliciesRead
                | Control::PoliciesApply { dry_run: true, .. }
                | Control::ServiceList
                | Control::ProviderRead
                | Control::AuditRead(_)
                | Control::Access(AccessControl::List)
                | Control::Watch(WatchControl::Silences | WatchControl::Metrics)
                | Control::Incident(IncidentControl::List | IncidentControl::Received)
                | Control::ContactsRead
                | Control::Backup(BackupControl::Jobs)
                | Control::Keys(KeyControl::List { tenant: None })
                | Control::Erase(EraseControl::Receipts { tenant: None })
        );
        assert!(harmless, "{} {}", route.method, route.path);
    }
}
