use countersign_model::control::Revoke;
use countersign_model::request::{Action, Narrowing};

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
    assert_eq!(add, Ok(Control::TenantAdd { name: name("chinook") }));
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
    assert_eq!(add("{\"name\":\"a\",\n\"nam\":\"b\"}"), Problem::UnknownKey { line: 2, column: 7, known: "name" });
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

const GRANT: &str = "urn:ietf:params:oauth:grant-type:token-exchange";

#[test]
fn token_exchange_as_json_and_as_a_form() {
    let details =
        r#"[{"type":"countersign","actions":["read"],"datatypes":["customer"],"fields":["company"],"purpose":"p"}]"#;
    let json =
        format!(r#"{{"grant_type":"{GRANT}","subject_token":"t","expires_in":600,"authorization_details":{details}}}"#);
    let encoded = percent_encoding::utf8_percent_encode(details, percent_encoding::NON_ALPHANUMERIC);
    let form = format!(
        "grant_type={}&subject_token=t&subject_token_type=urn%3Aietf%3Aparams%3Aoauth%3Atoken-type%3Aaccess_token\
         &expires_in=600&authorization_details={encoded}",
        GRANT.replace(':', "%3A")
    );
    let narrowing = Narrowing {
        actions: Some(vec![Action::Read]),
        types: Some(vec![name("customer")]),
        fields: Some(vec![name("company")]),
        purpose: Some("p".into()),
    };
    let expected = Control::Narrow { narrowing, lifetime_ms: Some(600_000) };
    for (content_type, body) in
        [("application/json", json.as_str()), ("application/x-www-form-urlencoded", form.as_str())]
    {
        let sent = Sent { content_type: Some(content_type), ..Sent::new(Target::Exchange, body) };
        let read = sent.with(exchange).unwrap_or_else(|problem| panic!("{body}: {problem}"));
        assert_eq!(read.token.as_deref(), Some("t"));
        assert_eq!(read.control, expected);
    }
    let bare = Sent::new(Target::Exchange, r#"{"grant_type":"urn:ietf:params:oauth:grant-type:token-exchange"}"#);
    assert_eq!(
        bare.with(exchange).unwrap().control,
        Control::Narrow { narrowing: Narrowing::default(), lifetime_ms: None }
    );
}

#[test]
fn a_misspelt_limit_gives_no_token() {
    let exchange_of = |members: &str| {
        let body = format!(r#"{{"grant_type":"{GRANT}"{members}}}"#);
        Sent::new(Target::Exchange, &body).with(exchange).err()
    };
    assert_eq!(exchange_of(""), None);
    for (members, at_least) in [
        (r#","authorisation_details":[]"#, "unknown"),
        (r#","scope":"read""#, "scope"),
        (r#","audience":"x""#, "audience"),
        (r#","actor_token":"x""#, "actor_token"),
        (r#","requested_token_type":"refresh""#, "token type"),
        (r#","authorization_details":[{"type":"payment"}]"#, "type"),
        (r#","authorization_details":[{"actions":["read"]}]"#, "type"),
        (r#","authorization_details":[{"type":"countersign","action":["read"]}]"#, "unknown"),
        (r#","authorization_details":[{"type":"countersign","actions":["write"]}]"#, "actions"),
        (r#","authorization_details":[{"type":"countersign","fields":"company"}]"#, "fields"),
        (r#","authorization_details":[{"type":"countersign"},{"type":"countersign"}]"#, "one object"),
        (r#","authorization_details":{"type":"countersign"}"#, "authorization_details"),
        (r#","expires_in":"10""#, "expires_in"),
        (r#","expires_in":-1"#, "expires_in"),
    ] {
        let problem = exchange_of(members).expect(members).to_string();
        assert!(problem.contains(at_least), "{members}: {problem}");
    }
    let other_grant = Sent::new(Target::Exchange, r#"{"grant_type":"password"}"#);
    assert!(matches!(other_grant.with(exchange), Err(Problem::TokenRequest(_))));
    let form =
        |body| Sent { content_type: Some("application/x-www-form-urlencoded"), ..Sent::new(Target::Exchange, body) };
    assert!(matches!(form("grant_type=a&grant_type=b").with(exchange), Err(Problem::Repeated(_))));
    assert!(matches!(form("").with(exchange), Err(Problem::MissingKey("grant_type"))));
    // Details that close the list around them don't become members of their own.
    let smuggled = format!("grant_type={GRANT}&authorization_details=[],%22expires_in%22:9");
    assert!(form(&smuggled).with(exchange).is_err());
}

#[test]
fn revoking() {
    let read = |body: &str| Sent::new(Target::Revoke, body).with(revoke);
    let control = |body: &str| read(body).map(|exchange| exchange.control);
    assert_eq!(control("{}"), Ok(Control::RevokeOwn { session: false }));
    assert_eq!(control(r#"{"session":true}"#), Ok(Control::RevokeOwn { session: true }));
    assert_eq!(read(r#"{"token":"t","token_type_hint":"access_token"}"#).unwrap().token.as_deref(), Some("t"));
    assert_eq!(control(r#"{"user":"nancy"}"#), Ok(Control::Revoke(Revoke::Person(name("nancy")))));
    let id = "0190b6c2-3f5e-7abc-8def-0123456789ab";
    let token = control(&format!(r#"{{"token_id":"{id}"}}"#));
    assert_eq!(token, Ok(Control::Revoke(Revoke::Token(id.parse().unwrap()))));
    let session = control(&format!(r#"{{"session_id":"{id}"}}"#));
    assert_eq!(session, Ok(Control::Revoke(Revoke::Session(id.parse().unwrap()))));
    for wrong in [r#"{"user":"a","session":true}"#, r#"{"user":"a","token":"t"}"#] {
        assert!(matches!(control(wrong), Err(Problem::TokenRequest(_))), "{wrong}");
    }
    assert!(matches!(control(r#"{"token_id":"x"}"#), Err(Problem::WrongValue { key: "token_id", .. })));
    assert!(matches!(control(r#"{"person":"x"}"#), Err(Problem::UnknownKey { .. })));
    let empty = Sent { content_type: None, ..Sent::new(Target::Revoke, "") };
    assert_eq!(empty.with(revoke).unwrap().control, Control::RevokeOwn { session: false });
    let form = Sent { content_type: Some("application/x-www-form-urlencoded"), ..Sent::new(Target::Revoke, "token=t") };
    assert_eq!(form.with(revoke).unwrap().token.as_deref(), Some("t"));
}

#[test]
fn logging_in() {
    let limits = Limits::default();
    assert_eq!(challenge(r#"{"user":"nancy","tenant":"chinook"}"#, &limits), Ok((name("nancy"), name("chinook"))));
    assert!(challenge(r#"{"user":"nancy","tenant":"chinook","password":"x"}"#, &limits).is_err());
    let body = r#"{"user":"nancy","tenant":"chinook","id":"1","signature":"-----BEGIN","expires_in":60}"#;
    let read = login(body, &limits).ok().unwrap();
    assert_eq!((read.id.as_str(), read.lifetime_ms), ("1", Some(60_000)));
    assert!(matches!(
        login(r#"{"user":"nancy","tenant":"a","id":"1"}"#, &limits),
        Err(Problem::MissingKey("signature"))
    ));
}
