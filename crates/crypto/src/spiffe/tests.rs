use super::*;

#[test]
fn a_name_is_read_as_it_is_written() {
    for text in
        ["spiffe://countersign/gateway/a", "spiffe://prod.example.org/keys/keys-1", "spiffe://a_b-c.9/Store/Node_1.eu"]
    {
        let id: SpiffeId = text.parse().unwrap();
        assert_eq!(id.to_string(), text);
        assert_eq!(format!("{id:?}"), text);
        assert_eq!(serde_json::from_str::<SpiffeId>(&serde_json::to_string(&id).unwrap()).unwrap(), id);
    }
    let id: SpiffeId = "spiffe://countersign/gateway/a".parse().unwrap();
    assert_eq!((id.trust_domain(), id.role(), id.instance()), ("countersign", "gateway", "a"));
    let longest = format!("spiffe://{}/{}/{}", "t".repeat(255), "r".repeat(63), "i".repeat(63));
    assert!(longest.parse::<SpiffeId>().is_ok());
}

/// SPIFFE-ID, sections 2.1 to 2.4.
#[test]
fn nothing_else_is_a_name() {
    let bad = |text: &str| text.parse::<SpiffeId>().err();
    for text in [
        "",
        "spiffe://",
        "spiffe://countersign",
        "spiffe://countersign/gateway",
        "spiffe://countersign/gateway/a/b",
        "SPIFFE://countersign/gateway/a",
        "https://countersign/gateway/a",
        "spiffe:/countersign/gateway/a",
        " spiffe://countersign/gateway/a",
    ] {
        assert_eq!(bad(text), Some(SpiffeError::Form), "{text}");
    }
    for domain in ["", "Countersign", "a:443", "user@a", "ä", "a b", "a%2e", &"t".repeat(256)] {
        assert_eq!(bad(&format!("spiffe://{domain}/gateway/a")), Some(SpiffeError::TrustDomain), "{domain}");
    }
    for segment in ["", ".", "..", "a b", "a%20", "a?b", "a#b", "é", "a\0", "a:b", "a@b", &"s".repeat(64)] {
        let text = format!("spiffe://countersign/{segment}/a");
        assert_eq!(bad(&text), Some(SpiffeError::Segment), "{text}");
        let text = format!("spiffe://countersign/gateway/{segment}");
        assert_eq!(bad(&text), Some(SpiffeError::Segment), "{text}");
    }
    assert_eq!(bad("spiffe://countersign/gateway/"), Some(SpiffeError::Segment));
    assert_eq!(bad("spiffe://countersign//a"), Some(SpiffeError::Segment));
    assert_eq!(bad("spiffe://countersign/gateway/a/"), Some(SpiffeError::Form));
}

#[test]
fn what_is_not_a_certificate_names_nobody() {
    for bytes in [&b""[..], b"\x30\x00", &[0xff; 200]] {
        assert_eq!(of_certificate(bytes), Err(SpiffeError::Certificate));
        assert!(validity_of_certificate(bytes).is_err());
    }
}
