use super::*;

const OLD: &str = r#"
    [principal]
    employee = "integer"

    [types.customer.fields]
    id      = { kind = "text", class = "internal" }
    company = { kind = "text", required = true, class = "internal" }
    email   = { kind = "text", class = "personal", index = "exact" }
    vat     = { kind = "text", class = "internal", unique = true }

    [types.invoice.fields]
    id          = { kind = "integer", class = "internal" }
    customer_id = { references = "customer", class = "internal" }
    total       = { kind = "decimal", class = "financial" }
"#;

/// Merges the old file, changed by replacing text, into the old one.
fn merged(replace: &[(&str, &str)], occupied: bool) -> Result<(RecordTypes, Vec<String>), Vec<String>> {
    let old = parse(OLD).unwrap();
    let mut text = OLD.to_owned();
    for (from, to) in replace {
        assert!(text.contains(from), "{from}");
        text = text.replace(from, to);
    }
    let new = parse(&text).unwrap();
    match merge_knowing(&old, &new, |_| occupied) {
        Ok((types, changes)) => Ok((types, changes.iter().map(ToString::to_string).collect())),
        Err(losses) => Err(losses.iter().map(ToString::to_string).collect()),
    }
}

#[test]
fn nothing_new_changes_nothing() {
    let old = parse(OLD).unwrap();
    assert_eq!(merge(&old, &old).unwrap(), (old.clone(), vec![]));
    assert_eq!(merge(&RecordTypes::default(), &old).unwrap().0, old);
    let (_, changes) = merge(&RecordTypes::default(), &old).unwrap();
    let shown: Vec<String> = changes.iter().map(ToString::to_string).collect();
    assert_eq!(
        shown,
        ["new type customer with 4 fields", "new type invoice with 3 fields", "new attribute employee of principals"]
    );
}

#[test]
fn ids_stay_whatever_the_order_of_the_new_file() {
    let old = parse(OLD).unwrap();
    let new = parse(
        r#"
        [types.product.fields]
        id   = { kind = "integer", class = "public" }
        name = { kind = "text", required = true, class = "public" }
        [types.invoice.fields]
        product_id  = { references = "product", class = "internal" }
        total       = { kind = "decimal", class = "financial" }
        customer_id = { references = "customer", class = "internal" }
        id          = { kind = "integer", class = "internal" }
        [types.customer.fields]
        phone   = { kind = "text", class = "personal" }
        vat     = { kind = "text", class = "internal", unique = true }
        email   = { kind = "text", class = "personal", index = "exact" }
        company = { kind = "text", required = true, class = "internal" }
        id      = { kind = "text", class = "internal" }
        [principal]
        region   = "text"
        employee = "integer"
        "#,
    )
    .unwrap();
    let (types, changes) = merge(&old, &new).unwrap();
    for (id, known) in old.iter() {
        let merged = types.record_type(id).unwrap();
        assert_eq!((&merged.name, merged.key), (&known.name, known.key));
        assert_eq!(merged.fields[..known.fields.len()], known.fields[..]);
    }
    let (product, _) = types.find("product").unwrap();
    let (_, invoice) = types.find("invoice").unwrap();
    let (place, reference) = invoice.find("product_id").unwrap();
    assert_eq!((product, place.0, reference.references), (TypeId(2), 3, Some(product)));
    let shown: Vec<String> = changes.iter().map(ToString::to_string).collect();
    assert_eq!(
        shown,
        [
            "customer.phone: new field",
            "invoice.product_id: new field",
            "new type product with 2 fields",
            "new attribute region of principals",
        ]
    );
    assert_eq!(merge(&types, &new).unwrap(), (types, vec![]), "applying the file again changes nothing");
}

#[test]
fn what_breaks_no_record_is_allowed() {
    let cases = [
        (("required = true, ", ""), "customer.company: required → optional"),
        ((", unique = true", ""), "customer.vat: unique → not unique, no longer indexed"),
        ((", unique = true", ", index = \"exact\""), "customer.vat: unique → not unique"),
        ((", index = \"exact\"", ""), "customer.email: no longer indexed"),
        (("\"financial\"", "\"secret\""), "invoice.total: financial → secret"),
        (
            ("references = \"customer\"", "kind = \"text\""),
            "invoice.customer_id: reference to customer → no reference, no longer indexed",
        ),
    ];
    for (replace, expected) in cases {
        assert_eq!(merged(&[replace], true).unwrap().1, [expected]);
    }
}

#[test]
fn what_would_lose_or_break_records_is_refused_whole() {
    let email = "email   = { kind = \"text\", class = \"personal\", index = \"exact\" }";
    let add = |field: &str| format!("{email}\n{field}");
    let cases: [(&str, &str, &[&str]); 8] = [
        (
            email,
            "",
            &["customer.email: missing from the new file; fields are never removed, as their values would be lost"],
        ),
        (
            "kind = \"decimal\"",
            "kind = \"text\"",
            &["invoice.total: was decimal and can't become text, as values are stored"],
        ),
        (
            "class = \"financial\"",
            "required = true, class = \"financial\"",
            &[
                "invoice.total: an optional field can't become required while there are records, as some may have no value",
            ],
        ),
        (
            "class = \"financial\"",
            "unique = true, class = \"financial\"",
            &["invoice.total: a field can't become unique while there are records, as some may have equal values"],
        ),
        (
            "class = \"financial\"",
            "index = \"exact\", class = \"financial\"",
            &["invoice.total: an index can't be added while there are records, as their values are not in it"],
        ),
        (
            email,
            &add("fax = { kind = \"text\", required = true, class = \"personal\" }"),
            &["customer.fax: a new field can't be required while there are records, as they have no value for it"],
        ),
        (
            "customer_id = { references = \"customer\"",
            "customer_id = { kind = \"integer\", references = \"invoice\"",
            &[
                "invoice.customer_id: was text and can't become integer, as values are stored",
                "invoice.customer_id: what a field refers to can't change while there are records, as they may refer to nothing",
            ],
        ),
        (
            "employee = \"integer\"",
            "employee = \"text\"",
            &["principal.employee: was integer and can't become text, as users may have values for it"],
        ),
    ];
    for (from, to, expected) in cases {
        assert_eq!(merged(&[(from, to)], true).unwrap_err(), expected);
    }
    // Another key: the old one is no longer required, the new one becomes so.
    let losses =
        merged(&[("[types.customer.fields]", "[types.customer]\nkey = \"vat\"\n[types.customer.fields]")], true);
    assert_eq!(
        losses.unwrap_err(),
        [
            "customer.vat: an optional field can't become required while there are records, as some may have no value",
            "customer.vat: the key can't change while there are records",
        ]
    );
    // Everything is listed at once.
    let losses = merged(&[("email ", "mail "), ("employee =", "clerk =")], true).unwrap_err();
    assert_eq!(
        losses,
        [
            "customer.email: missing from the new file; fields are never removed, as their values would be lost",
            "principal.employee: missing from the new file; attributes are never removed, as users may have values for them",
        ]
    );
    let losses = merge(&parse(OLD).unwrap(), &RecordTypes::default()).unwrap_err();
    assert_eq!(
        losses[0].to_string(),
        "customer: missing from the new file; types are never removed, as their records would be lost"
    );
    assert_eq!(losses.len(), 3);
}

#[test]
fn without_records_only_removal_is_refused() {
    let email = "email   = { kind = \"text\", class = \"personal\", index = \"exact\" }";
    assert!(merged(&[(email, "")], false).is_err());
    let (types, changes) = merged(
        &[
            ("class = \"financial\"", "required = true, unique = true, class = \"financial\""),
            ("company = { kind = \"text\"", "company = { kind = \"json\""),
            ("[types.invoice.fields]", "[types.invoice]\nkey = \"total\"\n[types.invoice.fields]"),
        ],
        false,
    )
    .unwrap();
    assert_eq!(
        changes,
        [
            "customer.company: text → json",
            "invoice.id: required → optional, unique → not unique, no longer indexed",
            "invoice.total: optional → required, not unique → unique, now indexed",
            "invoice: total is the key now",
        ]
    );
    assert_eq!(types.types[1].key.0, 2);
}

#[test]
fn records_are_asked_about_only_where_it_matters_and_once() {
    let old = parse(OLD).unwrap();
    let mut asked = Vec::new();
    let harmless = parse(&OLD.replace("required = true, ", "")).unwrap();
    merge_knowing(&old, &harmless, |id| {
        asked.push(id);
        true
    })
    .unwrap();
    assert_eq!(asked, []);
    let harmful = OLD.replace("class = \"financial\"", "unique = true, required = true, class = \"financial\"");
    let harmful = parse(&harmful).unwrap();
    let losses = merge_knowing(&old, &harmful, |id| {
        asked.push(id);
        true
    });
    assert_eq!((losses.unwrap_err().len(), asked), (2, vec![TypeId(1)]));
}

#[test]
fn a_type_can_grow_to_the_most_fields_and_no_further() {
    let old = parse(&wide("a", 128)).unwrap();
    let text = wide("a", 128).replace("f127 ", "other ");
    let losses = merge(&old, &parse(&text).unwrap()).unwrap_err();
    assert_eq!(losses[0].reason, Reason::FieldRemoved);
    let few = parse(&wide("a", 3)).unwrap();
    assert_eq!(merge(&few, &old).unwrap().0.types[0].fields.len(), 128);
}
