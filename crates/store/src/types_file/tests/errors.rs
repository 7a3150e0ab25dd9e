//! Every message, as its reader sees it.

use super::*;

/// A type with one more field after its key; the field begins at line 3, column 1.
fn field(declaration: &str) -> String {
    format!("[types.a.fields]\nid = {{ kind = \"text\", class = \"public\" }}\n{declaration}\n")
}

#[test]
fn each_error_says_where_what_and_what_was_meant() {
    let cases = [
        // The file.
        ("a =".into(), "line 1, column 4: this is not TOML: string values must be quoted, expected literal string"),
        ("\n[types.a".into(), "line 2, column 9: this is not TOML: unclosed table, expected `]`"),
        ("[type.a.fields]".into(), "line 1, column 2: unknown key `type` in the file; did you mean `types`?"),
        ("[zzz]".into(), "line 1, column 2: unknown key `zzz` in the file"),
        ("types = 3".into(), "line 1, column 9: expected a table"),
        ("[[types]]\na = 1".into(), "line 1, column 1: expected a table"),
        ("[types.a.fields]\n[types.a.fields]".into(), "line 2, column 10: `fields` is declared twice"),
        // Types.
        ("[types.Customer]".into(), "line 1, column 8: `Customer` is not a name: a name is a lower-case letter followed by at most 62 lower-case letters, digits, '_' or '-'"),
        ("[types.a]\nkey = 'id'".into(), "line 1, column 8: type `a` has no fields: add a table `[types.a.fields]`"),
        ("[types.a]\nfield.id = 1".into(), "line 2, column 1: unknown key `field` in a type; did you mean `fields`?"),
        ("[types.control.fields]".into(), "line 1, column 8: a type can't be called `control`: policies use that name for managing the deployment"),
        (
            "types.a-b.fields.id = { kind = 'text', class = 'public' }\ntypes.a_b.fields.id = { kind = 'text', class = 'public' }".into(),
            "line 2, column 7: types `a-b` and `a_b` differ only in `-` and `_`, which policies can't tell apart",
        ),
        (wide("a", 129), "line 130, column 1: type `a` has more than 128 fields"),
        // Keys.
        ("types.a.fields.no = { kind = 'text', class = 'public' }".into(), "line 1, column 7: type `a` has no field `id`: add one, or say which field identifies a record with `key = \"…\"`"),
        (field("[types.a]\nkey = 'di'"), "line 4, column 7: type `a` has no field `di`; did you mean `id`?"),
        (field("[types.a]\nkey = 1"), "line 4, column 7: expected the name of a field, in quotes"),
        (
            "types.a.fields.id = { kind = 'text', class = 'public', required = false }".into(),
            "line 1, column 67: field `id` identifies a record, so it can't have `required = false`",
        ),
        (
            "types.a.fields.id = { kind = 'text', class = 'public', unique = false }".into(),
            "line 1, column 65: field `id` identifies a record, so it can't have `unique = false`",
        ),
        ("types.a.fields.id = { kind = 'json', class = 'public' }".into(), "line 1, column 16: field `id` is of kind json, which can't be a key, unique, indexed or a reference"),
        (
            "types.a.fields.id = { references = 'b', class = 'public' }\ntypes.b.fields.id = { references = 'a', class = 'public' }".into(),
            "line 1, column 16: the key of type `a` refers to itself, directly or through other types",
        ),
        // Fields.
        (field("id = { kind = \"text\", class = \"public\" }"), "line 3, column 1: `id` is declared twice"),
        (field("b = 'text'"), "line 3, column 5: expected a table such as { kind = \"text\", class = \"internal\" }"),
        (field("b = { class = 'public' }"), "line 3, column 1: field `b` does not say what it holds: add `kind = \"…\"`"),
        (field("b = { kind = 'text' }"), "line 3, column 1: field `b` does not say how sensitive it is: add `class = \"…\"`"),
        (field("b = { kind = 'string', class = 'public' }"), "line 3, column 14: unknown kind `string`; the kinds are text, integer, decimal, boolean, date, timestamp, uuid, json, bytes"),
        (field("b = { kind = 'integr', class = 'public' }"), "line 3, column 14: unknown kind `integr`; the kinds are text, integer, decimal, boolean, date, timestamp, uuid, json, bytes; did you mean `integer`?"),
        (field("b = { kind = 5, class = 'public' }"), "line 3, column 14: expected a kind in quotes, such as \"text\""),
        (field("b = { kind = 'text', class = 'Personal' }"), "line 3, column 30: unknown class `Personal`; the classes are public, internal, personal, financial, secret; did you mean `personal`?"),
        (field("b = { kind = 'text', class = 'public', requird = true }"), "line 3, column 40: unknown key `requird` in a field; did you mean `required`?"),
        (field("b = { kind = 'text', class = 'public', required = 'yes' }"), "line 3, column 51: expected true or false, without quotes"),
        (field("b = { kind = 'text', class = 'public', index = true }"), "line 3, column 48: expected \"exact\""),
        (field("b = { kind = 'text', class = 'public', index = 'range' }"), "line 3, column 48: unknown index `range`; the one there is, is `exact`"),
        (field("b = { kind = 'json', class = 'public', unique = true }"), "line 3, column 1: field `b` is of kind json, which can't be a key, unique, indexed or a reference"),
        (field("order = { kind = 'text', class = 'public' }"), "line 3, column 1: a field can't be called `order`: it is a word of the query language"),
        (field("tenant = { kind = 'text', class = 'public' }"), "line 3, column 1: a field can't be called `tenant`: policies use that name for the tenant that a record belongs to"),
        (field("'größe' = { kind = 'text', class = 'public' }"), "line 3, column 1: `größe` is not a name: a name is a lower-case letter followed by at most 62 lower-case letters, digits, '_' or '-'"),
        (field("\"b\\u001b[31m\" = { kind = 'text', class = 'public' }"), "line 3, column 1: `b\\u{1b}[31m` is not a name: a name is a lower-case letter followed by at most 62 lower-case letters, digits, '_' or '-'"),
        // References.
        (field("b = { references = 'aa', class = 'public' }"), "line 3, column 20: no type is called `aa`; did you mean `a`?"),
        (field("b = { references = 'zebra', class = 'public' }"), "line 3, column 20: no type is called `zebra`"),
        (field("b = { kind = 'integer', references = 'a', class = 'public' }"), "line 3, column 14: field `b` is of kind integer, but the key of `a`, to which it refers, is of kind text"),
        (
            field("b_id = { references = 'a', class = 'public' }\nb = { kind = 'text', class = 'public' }"),
            "line 4, column 1: field `b` would be taken for the record that `b_id` refers to; policies call that `b`",
        ),
        // Principals.
        ("[principal]\nname = 'text'".into(), "line 2, column 1: a principal's attribute can't be called `name`: every principal has one"),
        ("[principal]\nborn = 'date'".into(), "line 2, column 8: a principal's attribute is text, integer or boolean, so that policies can compare with it, not date"),
        ("[principal]\nborn = 'dat'".into(), "line 2, column 8: unknown kind `dat`; the kinds are text, integer, decimal, boolean, date, timestamp, uuid, json, bytes; did you mean `date`?"),
    ];
    let mut wrong = Vec::new();
    for (text, expected) in cases {
        let text: String = text;
        let message = parse(&text).expect_err(&text).to_string();
        if message != expected {
            wrong.push(format!("{text}\n  expected: {expected}\n  is:       {message}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn columns_count_characters_and_long_words_are_cut() {
    let error = parse(&field("b = { kind = 'text', class = 'öffentlich' , x = 1 }")).unwrap_err();
    assert_eq!((error.line(), error.column()), (3, 30));
    let error = parse("ä = 1\nb = 2").unwrap_err();
    assert_eq!((error.line(), error.column(), error.nearest()), (1, 1, None));
    let long = "x".repeat(5000);
    let error = parse(&field(&format!("{long} = 1"))).unwrap_err();
    assert!(error.message().len() < 300 && error.message().contains('…'));
}

#[test]
fn what_is_too_large_or_too_deep_is_refused() {
    assert!(parse(&" ".repeat(MAX_BYTES + 1)).unwrap_err().message().contains("longer than"));
    assert!(parse(&format!("a = {}", "[".repeat(100_000))).is_err());
    assert!(parse("a = \"\0\"").is_err());
    let many: String =
        (0..=MAX_TYPES).map(|n| format!("types.t{n}.fields.id={{kind='text',class='public'}}\n")).collect();
    assert_eq!(
        parse(&many).unwrap_err().to_string(),
        format!("line {}, column 7: more than 1000 types", MAX_TYPES + 1)
    );
}

/// A chain of keys that each refer to the next is followed, not walked again for each field.
#[test]
fn a_long_chain_of_keys_is_resolved() {
    let link = |n: usize| format!("types.t{n}.fields.id={{references='t{}',class='public'}}\n", n + 1);
    let mut chain: String = (0..MAX_TYPES - 1).map(link).collect();
    chain.push_str(&format!("types.t{}.fields.id={{kind='integer',class='public'}}\n", MAX_TYPES - 1));
    let types = parse(&chain).unwrap();
    assert!(types.types.iter().all(|one| one.fields[0].kind == Kind::Integer));
}
