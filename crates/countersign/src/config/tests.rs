use super::*;

fn parse(text: &str) -> Result<Config, String> {
    Config::parse(Path::new("countersign.toml"), text).map_err(|error| error.to_string())
}

#[test]
fn what_init_writes_is_what_is_read() {
    let text = Config::default().to_text();
    assert_eq!(parse(&text).unwrap(), Config::default());
    assert_eq!(parse("").unwrap(), Config::default());
    assert!(text.contains("listen = \"127.0.0.1:8443\""), "{text}");
}

#[test]
fn unknown_words_are_refused_with_line_and_nearest() {
    assert_eq!(
        parse("[server]\nlisten = \"127.0.0.1:1\"\n  listn = 3\n").unwrap_err(),
        "countersign.toml:3:3: [server] has no key listn; did you mean listen?"
    );
    assert_eq!(
        parse("\n[sever]\n").unwrap_err(),
        "countersign.toml:2:2: there is no section [sever]; did you mean server?"
    );
    assert_eq!(
        parse("listen = \"127.0.0.1:1\"\n").unwrap_err(),
        "countersign.toml:1:1: listen belongs into a section, such as [server]"
    );
    assert!(parse("[tokens]\nzzz = 1\n").unwrap_err().contains("known are lifetime_ms, issuer"));
}

#[test]
fn bad_values_say_what_is_expected_where() {
    assert_eq!(
        parse("[tokens]\nlifetime_ms = 43200001\n").unwrap_err(),
        "countersign.toml:2:15: [tokens] lifetime_ms: expected a whole number from 60000 to 43200000"
    );
    let wrong = parse("[server]\nclient_certificates = \"yes\"\n").unwrap_err();
    assert!(wrong.ends_with("expected true or false"), "{wrong}");
    assert!(parse("[log]\nformat = \"xml\"\n").unwrap_err().ends_with("expected one of \"text\", \"json\""));
    assert!(parse("[log]\nformat = 3\n").unwrap_err().starts_with("countersign.toml:2:10:"));
    assert!(parse("[server]\nnames = []\n").unwrap_err().contains("a list of host names"));
    assert!(parse("[server\n").unwrap_err().starts_with("countersign.toml:1:"));
    assert!(parse("[limits]\nrows = 1\nrows = 2\n").unwrap_err().starts_with("countersign.toml:3:"));
}

#[test]
fn whole_numbers_keep_their_bounds() {
    assert_eq!(Whole::<1, 12>::new(13).number(), 12);
    assert_eq!(Whole::<1, 12>::new(0).number(), 1);
    assert!(parse("[limits]\nrows = -5\n").is_err());
    assert!(parse("[limits]\nrows = 0x10\n").is_ok());
}

#[test]
fn other_key_management_services_have_sections_with_names() {
    let text = "[kms.acme-hsm]\nprovider = \"pkcs11\"\ntoken = \"acme\"\n[kms.spare]\n";
    let config = parse(text).unwrap();
    let names: Vec<&str> = config.kms.keys().map(Name::as_str).collect();
    assert_eq!(names, ["acme-hsm", "spare"]);
    assert_eq!(config.kms.values().next().unwrap().token.get(), Some("acme"));
    assert_eq!(parse(&config.to_text()).unwrap(), config);
    assert_eq!(
        parse("[kms.acme]\ntokn = 1\n").unwrap_err(),
        "countersign.toml:2:1: [kms.NAME] has no key tokn; did you mean token?"
    );
    assert!(parse("[kms.acme]\nprovider = \"cloud\"\n").unwrap_err().contains("one of \"file\", \"passphrase\""));
    for wrong in ["[kms.default]\n", "[kms.\"Not A Name\"]\n", "[kms]\nacme = 3\n"] {
        assert!(parse(wrong).unwrap_err().contains("expected a section with a name"), "{wrong}");
    }
}
