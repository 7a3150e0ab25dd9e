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
        connection.prepare("SELECT name FROM sqlite_schema WHERE name GLOB '[rihj][0-9]*' ORDER BY 1").unwrap();
    names.query_map([], |row| row.get(0)).unwrap().collect::<Result<_, _>>().unwrap()
}

#[test]
fn a_file_follows_its_types_step_by_step() {
    let mut connection = fresh();
    assert!(is_current(&connection, &layout("")).unwrap());
    let steps: [(&str, &str, &[&str]); 6] = [
        ("u-", "u-", &["h0", "i0id", "i0x0", "j0id", "j0until", "j0x0", "r0"]),
        ("u-", "u-", &["h0", "i0id", "i0x0", "j0id", "j0until", "j0x0", "r0"]),
        ("ui", "ui", &["h0", "i0id", "i0x0", "i0x1", "j0id", "j0until", "j0x0", "r0"]),
        (
            "uu-/u",
            "uu-/u",
            &[
                "h0", "h1", "i0id", "i0x0", "i0x1", "i1id", "i1x0", "j0id", "j0until", "j0x0", "j0x1", "j1id",
                "j1until", "j1x0", "r0", "r1",
            ],
        ),
        (
            "u-i/ui",
            "u-i/ui",
            &[
                "h0", "h1", "i0id", "i0x0", "i0x2", "i1id", "i1x0", "i1x1", "j0id", "j0until", "j0x0", "j1id",
                "j1until", "j1x0", "r0", "r1",
            ],
        ),
        // A program that was started with fewer types takes nothing away.
        (
            "ui",
            "uii/ui",
            &[
                "h0", "h1", "i0id", "i0x0", "i0x1", "i0x2", "i1id", "i1x0", "i1x1", "j0id", "j0until", "j0x0", "j1id",
                "j1until", "j1x0", "r0", "r1",
            ],
        ),
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
    connection
        .execute(
            "INSERT INTO h0 (id, version, at, until, c0, c1, c2, x0, x1, x2) VALUES (x'00', 1, 1, 2, 1, 2, 3, 4, 5, 6)",
            [],
        )
        .unwrap();
}

/// A file as the program before this one made it is brought up to date, with what is in it.
#[test]
fn the_format_before_is_brought_up_to_date() {
    let mut connection = fresh();
    connection
        .execute_batch(
            "CREATE TABLE r0 (seq INTEGER PRIMARY KEY, id BLOB NOT NULL, version INTEGER NOT NULL, c0 BLOB, c1 BLOB, x0 BLOB);
             CREATE UNIQUE INDEX i0id ON r0 (id);
             CREATE UNIQUE INDEX i0x0 ON r0 (x0);
             INSERT INTO r0 (id, version, c0, x0) VALUES (x'07', 3, x'01', x'02');
             UPDATE meta SET value = 'u-' WHERE name = 'layout';
             PRAGMA user_version = 1;",
        )
        .unwrap();
    check_format(&connection).unwrap();
    assert!(!is_current(&connection, &layout("u-")).unwrap());
    migrate(&mut connection, &layout("ui/u")).unwrap();
    check_format(&connection).unwrap();
    assert!(is_current(&connection, &layout("ui/u")).unwrap());
    let row = connection.query_row("SELECT version, at, c0, x1 FROM r0", [], |row| {
        Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?, row.get::<_, Vec<u8>>(2)?, row.get::<_, Option<Vec<u8>>>(3)?))
    });
    assert_eq!(row.unwrap(), (3, 0, vec![1], None));
    connection
        .execute("INSERT INTO h0 (id, version, at, until, c1, x1) VALUES (x'07', 1, 0, 1, x'', x'')", [])
        .unwrap();
    connection
        .execute("INSERT INTO h1 (id, version, at, until, c0, x0) VALUES (x'07', 1, 0, 1, x'', x'')", [])
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
    assert_eq!(schema(&connection), ["h0", "i0id", "i0x0", "i0x1", "j0id", "j0until", "j0x0", "r0"]);
}

#[test]
fn only_our_files_of_known_formats_are_taken() {
    let connection = Connection::open_in_memory().unwrap();
    assert_eq!(check_format(&connection), Err(StoreError::Damaged), "an empty file is nobody's");
    initialise(&connection).unwrap();
    check_format(&connection).unwrap();
    connection.execute_batch("PRAGMA user_version = 3").unwrap();
    assert_eq!(check_format(&connection), Err(StoreError::NewerFormat { found: 3, known: 2 }));
    connection.execute_batch("PRAGMA user_version = 1; PRAGMA application_id = 7").unwrap();
    assert_eq!(check_format(&connection), Err(StoreError::Damaged));
}
