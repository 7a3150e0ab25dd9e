use std::os::unix::fs::{PermissionsExt, symlink};

use countersign_model::Kind;
use serde_json::value::RawValue;

use super::files::Files;
use super::manifest::{Position, State};
use super::*;

fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

fn wished(user: &str) -> Manifest {
    Manifest {
        format: FORMAT.into(),
        version: VERSION,
        issuer: "https://a.example".into(),
        tenant: name("acme"),
        user: name(user),
        actor: None,
        began: "2026-07-01T09:30:00Z".into(),
        ended: None,
        only: Vec::new(),
        forms: vec![Form::Ndjson, Form::Csv],
        types_file: None,
        types: Vec::new(),
        withheld: Vec::new(),
    }
}

fn customers() -> TypeEntry {
    TypeEntry::new(name("customer"), vec![name("id"), name("note")], true, String::new())
}

fn kinds() -> form::Kinds {
    vec![("id".into(), Some(Kind::Text)), ("note".into(), Some(Kind::Text))]
}

#[test]
fn cells_of_every_kind() {
    let line = |form: Form, kind: Option<Kind>, json: &str| {
        let raw = RawValue::from_string(format!("{{\"a\":{json},\"b\":1}}")).unwrap();
        let mut out = Vec::new();
        form.line(&mut out, &raw, &vec![("a".into(), kind), ("b".into(), None)]).unwrap();
        String::from_utf8(out).unwrap()
    };
    let csv = |kind, json: &str| line(Form::Csv, kind, json).strip_suffix(",1\r\n").unwrap().to_owned();
    assert_eq!(csv(Some(Kind::Text), "null"), "");
    assert_eq!(csv(Some(Kind::Text), r#""""#), "\"\"");
    assert_eq!(csv(Some(Kind::Text), r#""NULL""#), "\"NULL\"");
    assert_eq!(csv(Some(Kind::Text), r#"" x""#), "\" x\"");
    assert_eq!(csv(Some(Kind::Text), r#""a,\"b\"\nc""#), "\"a,\"\"b\"\"\nc\"");
    assert_eq!(csv(Some(Kind::Text), r#""Gr\u00fc\u00dfe 😀""#), "Grüße 😀");
    assert_eq!(csv(Some(Kind::Decimal), "79228162514264337593543950335"), "79228162514264337593543950335");
    assert_eq!(csv(Some(Kind::Decimal), "0.10"), "0.10");
    assert_eq!(csv(Some(Kind::Json), r#""x""#), r#""""x""""#);
    assert_eq!(csv(Some(Kind::Json), r#"{"x":[1]}"#), r#""{""x"":[1]}""#);
    assert_eq!(csv(None, r#""x""#), "x");
    assert_eq!(line(Form::Ndjson, None, "\n1"), "{\"a\": 1,\"b\":1}\n");
}

#[test]
fn what_is_begun_is_gone_on_with_and_nothing_else_is_touched() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path().join("out");
    let (files, mut state) = Files::open(&at, &wished("ann")).unwrap();
    assert_eq!(std::fs::metadata(&at).unwrap().permissions().mode() & 0o777, 0o700);
    files.save(&state).unwrap();
    let entry = customers();
    let mut out = files.begin(&entry, &[Form::Ndjson, Form::Csv]).unwrap();
    out.page(br#"[{"id":"A","note":null}]"#, &kinds()).unwrap();
    let position = Position {
        record_type: entry.name.clone(),
        began: String::new(),
        rows: 1,
        cursor: "c".into(),
        lengths: out.lengths(),
    };
    state.position = Some(position.clone());
    files.save(&state).unwrap();
    // What came after the position was noted is cut off.
    out.page(br#"[{"id":"LOST","note":null}]"#, &kinds()).unwrap();
    drop(out);
    let at_once = Files::open(&at, &wished("ann")).err().unwrap();
    assert!(at_once.to_string().contains("another export"), "{at_once}");
    drop(files);
    // Killed while it noted how far it was.
    std::fs::write(at.join("manifest.json.part.part"), "{").unwrap();

    assert!(Files::open(&at, &wished("bob")).err().unwrap().to_string().contains("somebody else"));
    let (files, State { position, .. }) = Files::open(&at, &wished("ann")).unwrap();
    let position = position.unwrap();
    let mut out = files.resume(&entry, &[Form::Ndjson, Form::Csv], &position).unwrap().unwrap();
    out.page(br#"[{"id":"B","note":""}]"#, &kinds()).unwrap();
    let done = TypeEntry { files: out.finish().unwrap(), rows: 2, ..entry };
    let read = |name: &str| std::fs::read_to_string(at.join(name)).unwrap();
    assert_eq!(read("customer.csv"), "id,note\r\nA,\r\nB,\"\"\r\n");
    assert_eq!(read("customer.ndjson"), "{\"id\":\"A\",\"note\":null}\n{\"id\":\"B\",\"note\":\"\"}\n");
    for file in &done.files {
        assert_eq!(hash_file(&at.join(&file.name), drop).unwrap(), (file.bytes, file.sha256.clone()));
        assert_eq!(std::fs::metadata(at.join(&file.name)).unwrap().permissions().mode() & 0o777, 0o600);
    }
    state.manifest.types = vec![done];
    files.save(&state).unwrap();
    drop(files);
    // A finished type that was changed is taken out again, one that wasn't stays.
    assert_eq!(Files::open(&at, &wished("ann")).unwrap().1.manifest.types.len(), 1);
    std::fs::write(at.join("customer.csv"), "id,note\r\n").unwrap();
    assert_eq!(Files::open(&at, &wished("ann")).unwrap().1.manifest.types.len(), 0);

    std::fs::write(at.join("notes.txt"), "mine").unwrap();
    assert!(Files::open(&at, &wished("ann")).err().unwrap().to_string().contains("notes.txt"));
    std::fs::remove_file(at.join("notes.txt")).unwrap();
    Files::open(&at, &wished("ann")).unwrap().0.finish(&state.manifest).unwrap();
    assert!(Files::open(&at, &wished("ann")).err().unwrap().to_string().contains("complete export already"));
}

#[test]
fn a_folder_that_was_open_to_others_is_so_no_more() {
    let above = tempfile::tempdir().unwrap();
    let at = above.path().join("mine");
    std::fs::create_dir(&at).unwrap();
    std::fs::set_permissions(&at, std::fs::Permissions::from_mode(0o755)).unwrap();
    Files::open(&at, &wished("ann")).unwrap();
    assert_eq!(std::fs::metadata(&at).unwrap().permissions().mode() & 0o777, 0o700);
}

#[test]
fn no_link_is_followed() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path().join("out");
    let victim = folder.path().join("victim");
    std::fs::write(&victim, "precious").unwrap();
    let (files, state) = Files::open(&at, &wished("ann")).unwrap();
    files.save(&state).unwrap();
    for planted in ["customer.csv.part", "customer.ndjson.part", "types.toml.part", "manifest.json.part.part"] {
        symlink(&victim, at.join(planted)).unwrap();
    }
    let position = Position {
        record_type: name("customer"),
        began: String::new(),
        rows: 0,
        cursor: String::new(),
        lengths: vec![0, 0],
    };
    assert!(files.resume(&customers(), &[Form::Ndjson, Form::Csv], &position).unwrap().is_none());
    let mut out = files.begin(&customers(), &[Form::Ndjson, Form::Csv]).unwrap();
    out.page(br#"[{"id":"A","note":null}]"#, &kinds()).unwrap();
    files.write_whole(TYPES_FILE, b"[types]").unwrap();
    files.save(&state).unwrap();
    assert_eq!(std::fs::read_to_string(&victim).unwrap(), "precious");
    symlink(&victim, at.join("customer.csv")).unwrap();
    assert!(hash_file(&at.join("customer.csv"), drop).is_err());
}
