use super::*;

fn layout(text: &str) -> Layout {
    Layout::parse(text).unwrap()
}

fn fresh() -> Connection {
    let connection = Connection::open_in_memory().unwrap();
    initialise(&connection).unwrap();
    connection
}

fn schema(connection: &Connection) -> Vec<String> {
    let mut names =
        connection.prepare("SELECT name FROM sqlite_schema WHERE name GLOB '[ri][0-9]*' ORDER BY 1").unwrap();
    names.query_map([], |row| row.get(0)).unwrap().collect::<Result<_, _>>().unwrap()
}

#[test]
fn a_file_follows_its_types_step_by_step() {
    let mut connection = fresh();
    assert!(is_current(&connection, &layout("")).unwrap());
    let steps: [(&str, &str, &[&str]); 6] = [
        ("u-", "u-", &["i0id", "i0x0", "r0"]),
        ("u-", "u-", &["i0id", "i0x0", "r0"]),
        ("ui", "ui", &["i0id", "i0x0", "i0x1", "r0"]),
        ("uu-/u", "uu-/u", &["i0id", "i0x0", "i0x1", "i1id", "i1x0", "r0", "r1"]),
        ("u-i/ui", "u-i/ui", &["i0id", "i0x0", "i0x2", "i1id", "i1x0", "i1x1", "r0", "r1"]),
        // A program that was started with fewer types takes nothing away.
        ("ui", "uii/ui", &["i0id", "i0x0", "i0x1", "i0x2", "i1id", "i1x0", "i1x1", "r0", "r1"]),
    ];
    for (wanted, becomes, tables) in steps {
        migrate(&mut connection, &layout(wanted)).unwrap();
        assert_eq!(stored(&connection).unwrap().to_text(), becomes);
        assert_eq!(schema(&connection), tables);
        assert!(is_current(&connection, &layout(wanted)).unwrap());
    }
    // Every column can be used.
    connection
        .execute("INSERT INTO r0 (id, version, c0, c1, c2, x0, x1, x2) VALUES (x'00', 1, 1, 2, 3, 4, 5, 6)", [])
        .unwrap();
}

#[test]
fn a_step_that_fails_leaves_the_file_as_it_was() {
    let mut connection = fresh();
    migrate(&mut connection, &layout("ui")).unwrap();
    let twins = "INSERT INTO r0 (id, version, x0, x1) VALUES (x'00', 1, x'01', x'07'), (x'01', 1, x'02', x'07')";
    connection.execute(twins, []).unwrap();
    assert_eq!(migrate(&mut connection, &layout("uu/u")), Err(StoreError::Damaged));
    assert_eq!(stored(&connection).unwrap().to_text(), "ui");
    assert_eq!(schema(&connection), ["i0id", "i0x0", "i0x1", "r0"]);
}

#[test]
fn only_our_files_of_known_formats_are_taken() {
    let connection = Connection::open_in_memory().unwrap();
    assert_eq!(check_format(&connection), Err(StoreError::Damaged), "an empty file is nobody's");
    initialise(&connection).unwrap();
    check_format(&connection).unwrap();
    connection.execute_batch("PRAGMA user_version = 2").unwrap();
    assert_eq!(check_format(&connection), Err(StoreError::NewerFormat { found: 2, known: 1 }));
    connection.execute_batch("PRAGMA user_version = 1; PRAGMA application_id = 7").unwrap();
    assert_eq!(check_format(&connection), Err(StoreError::Damaged));
}
