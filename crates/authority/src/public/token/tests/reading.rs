//! Bodies of token requests, read strictly: what was meant as a limit is one, or there is no token.

use countersign_model::Name;

use super::super::*;

const FORM: Option<&str> = Some("application/x-www-form-urlencoded");

fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

fn exchange(media: Option<&str>, body: &str) -> Result<Exchange, Trouble> {
    read_exchange(Source::read(media, body)?)
}

/// What whoever sent it is told.
fn said(trouble: Trouble) -> String {
    String::from_utf8(trouble.reply(true).body).unwrap()
}

#[test]
fn an_exchange_is_the_same_as_json_and_as_a_form() {
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
    for (media, body) in [(None, &json), (Some("application/json"), &json), (FORM, &form)] {
        let read = exchange(media, body).unwrap_or_else(|trouble| panic!("{body}: {}", said(trouble)));
        assert_eq!((read.subject.as_deref(), &read.control), (Some("t"), &expected));
        assert!(read.actor.is_none() && read.holder.is_none());
    }
    let least = exchange(None, &format!(r#"{{"grant_type":"{GRANT}"}}"#)).unwrap_or_else(|_| panic!());
    assert_eq!(least.control, Control::Narrow { narrowing: Narrowing::default(), lifetime_ms: None });
}

#[test]
fn a_misspelt_limit_gives_no_token() {
    for (members, at_least) in [
        (r#","authorisation_details":[]"#, "unknown"),
        (r#","scope":"read""#, "scope"),
        (r#","audience":"x""#, "audience"),
        (r#","resource":"x""#, "resource"),
        (r#","requested_token_type":"refresh""#, "token type"),
        (r#","authorization_details":[{"type":"payment"}]"#, "type"),
        (r#","authorization_details":[{"actions":["read"]}]"#, "type"),
        (r#","authorization_details":[{"type":"countersign","action":["read"]}]"#, "unknown"),
        (r#","authorization_details":[{"type":"countersign","actions":["write"]}]"#, "actions"),
        (r#","authorization_details":[{"type":"countersign","fields":"company"}]"#, "fields"),
        (r#","authorization_details":[{"type":"countersign","datatypes":["A"]}]"#, "datatypes"),
        (r#","authorization_details":[{"type":"countersign"},{"type":"countersign"}]"#, "one object"),
        (r#","authorization_details":{"type":"countersign"}"#, "authorization_details"),
        (r#","authorization_details":[{"type":"countersign","fields":["a"],"fields":["b"]}]"#, "twice"),
        (r#","expires_in":"10""#, "expires_in"),
        (r#","expires_in":-1"#, "expires_in"),
        (r#","dpop_jkt":"AAAA""#, "dpop_jkt"),
    ] {
        let read = exchange(None, &format!(r#"{{"grant_type":"{GRANT}"{members}}}"#));
        let told = said(read.err().expect(members));
        assert!(told.contains(at_least), "{members}: {told}");
    }
    // Details that close the list around them don't become members of their own.
    for smuggled in ["[],%22expires_in%22:9", "[]}", "[],%22authorization_details%22:[]"] {
        let body = format!("grant_type={GRANT}&authorization_details={smuggled}");
        assert!(exchange(FORM, &body).is_err(), "{smuggled}");
    }
}

#[test]
fn what_is_revoked_is_one_thing() {
    let read = |body: &str| read_revocation(Source::read(None, body)?);
    let control = |body: &str| read(body).map(|revocation| revocation.control).map_err(said);
    let own = |session| Ok(Control::RevokeOwn { session });
    assert_eq!((control(""), control("{}")), (own(false), own(false)));
    assert_eq!(control(r#"{"session":true}"#), own(true));
    assert_eq!(control(r#"{"user":"nancy"}"#), Ok(Control::Revoke(Revoke::Person(name("nancy")))));
    let id = "0190b6c2-3f5e-7abc-8def-0123456789ab";
    let token = control(&format!(r#"{{"token_id":"{id}"}}"#));
    assert_eq!(token, Ok(Control::Revoke(Revoke::Token(id.parse().unwrap()))));
    let session = control(&format!(r#"{{"session_id":"{id}"}}"#));
    assert_eq!(session, Ok(Control::Revoke(Revoke::Session(id.parse().unwrap()))));
    let with_hint = read(r#"{"token":"t","token_type_hint":"access_token"}"#).unwrap_or_else(|_| panic!());
    assert_eq!(with_hint.token.as_deref(), Some("t"));
    for wrong in [
        r#"{"user":"a","session":true}"#.to_owned(),
        r#"{"user":"a","token":"t"}"#.to_owned(),
        format!(r#"{{"user":"a","token_id":"{id}"}}"#),
        r#"{"token_id":"x"}"#.to_owned(),
        r#"{"person":"x"}"#.to_owned(),
    ] {
        assert!(control(&wrong).is_err(), "{wrong}");
    }
    // Of a form only the token: it is what RFC 7009 has.
    let form = |body| read_revocation(Source::read(FORM, body)?);
    assert_eq!(form("token=t").unwrap_or_else(|_| panic!()).token.as_deref(), Some("t"));
    assert!(form("user=nancy").is_err());
    assert!(form("token=a&token=b").is_err());
}

#[test]
fn one_token_only() {
    let header = || Some(Bearer::new("a".to_owned()));
    let of = |found: Result<Option<Bearer>, Trouble>| found.ok().flatten().map(|bearer| bearer.as_str().to_owned());
    assert_eq!(of(one_token(header(), None)).as_deref(), Some("a"));
    assert_eq!(of(one_token(None, Some("b".into()))).as_deref(), Some("b"));
    assert_eq!(of(one_token(header(), Some("a".into()))).as_deref(), Some("a"));
    assert!(one_token(header(), Some("b".into())).is_err(), "which of the two would it be?");
    assert!(matches!(one_token(None, None), Ok(None)));
}
