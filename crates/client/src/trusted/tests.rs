use super::*;

fn uri(text: &str) -> Uri {
    text.parse().unwrap()
}

#[test]
fn a_token_goes_to_the_servers_that_were_named_and_to_no_other() {
    let trusted =
        Trusted::new(["https://Orders.internal:8443/", "https://a.example", "http://127.0.0.1:15001"]).unwrap();
    for good in [
        "https://orders.internal:8443/customers?x=1",
        "https://ORDERS.INTERNAL:8443",
        "https://a.example/",
        "https://a.example:443/",
        "http://127.0.0.1:15001/x",
    ] {
        assert!(trusted.covers(&uri(good)), "{good}");
    }
    for bad in [
        "https://orders.internal/",
        "https://orders.internal:8444/",
        "http://orders.internal:8443/",
        "https://orders.internal:8443@evil.example/",
        "https://user@orders.internal:8443/",
        "https://orders.internal.evil.example:8443/",
        "https://x.a.example/",
        "https://a.example./",
        "http://a.example/",
        "http://a.example:443/",
        "ws://a.example:443/",
        "https://127.0.0.1:15001/",
        "http://127.0.0.2:15001/",
        "/relative",
    ] {
        assert!(!trusted.covers(&uri(bad)), "{bad}");
    }
    assert!(!Trusted::new([] as [&str; 0]).unwrap().covers(&uri("https://a.example/")));
}

#[test]
fn only_a_servers_url_can_be_trusted() {
    for bad in [
        "",
        "a.example",
        "a.example:443",
        "/",
        "http://a.example",
        "http://localhost:80",
        "http://10.0.0.1",
        "https://a.example/path",
        "https://a.example/?q",
        "https://a.example#f",
        "https://u:p@a.example",
        "https://a.example:",
        "https://a.example:+1",
        "https://a.example:0x1",
        "https://a.example:65536",
        "ftp://a.example",
    ] {
        assert!(Trusted::new([bad]).is_err(), "{bad}");
    }
    assert!(Trusted::new(["http://[::1]:80"]).is_ok());
    // A star is a host of that name, not a pattern.
    if let Ok(star) = Trusted::new(["https://*"]) {
        assert!(!star.covers(&uri("https://a.example/")));
    }
    assert_eq!(format!("{:?}", Trusted::new(["https://a.example"]).unwrap()), r#"["https://a.example:443"]"#);
}

/// Against a rule that looks at the text alone: whatever addresses are put together of, none is covered that doesn't
/// begin with the trusted one, to its end.
#[test]
fn no_spelling_of_another_address_is_covered() {
    const TRUSTED: &str = "https://orders.internal:8443";
    let trusted = Trusted::new([TRUSTED]).unwrap();
    let schemes = ["https://", "HTTPS://", "http://", "https:", "//", "", "ftp://", "https:///"];
    let users = ["", "orders.internal:8443@", "user:pass@", "@", "orders.internal%40", "orders.internal#", "x."];
    let hosts =
        ["orders.internal", "ORDERS.internal", "orders.internal.", "evil.example", "[::1]", "orders%2einternal"];
    let ports = ["", ":8443", ":08443", ":443", ":", ":84430", ":8443:443", ":-8443", ":8443@evil.example"];
    let rests = ["", "/", "/path", "?q", "#f", ".evil.example/", "@evil.example/", "\\@evil.example", "/@evil.example"];
    let mut covered = 0;
    for text in every_way(&[&schemes, &users, &hosts, &ports, &rests]) {
        let Ok(uri) = text.parse::<Uri>() else { continue };
        if !trusted.covers(&uri) {
            continue;
        }
        covered += 1;
        let text = text.to_ascii_lowercase().replace(":08443", ":8443");
        let rest = text.strip_prefix(TRUSTED).unwrap_or_else(|| panic!("{text}"));
        assert!(rest.is_empty() || rest.starts_with(['/', '?', '#']), "{text}");
    }
    assert!(covered >= 10, "{covered}");
}

/// One of each, put together, in every way.
fn every_way(parts: &[&[&str]]) -> Vec<String> {
    parts.iter().fold(vec![String::new()], |begun, part| {
        begun.iter().flat_map(|begun| part.iter().map(move |next| format!("{begun}{next}"))).collect()
    })
}
