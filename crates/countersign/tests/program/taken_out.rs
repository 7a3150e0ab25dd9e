//! A tenant's data taken out, and brought into another tenant.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::bench::{Bench, POLICIES, Ran, TYPES, is_private};
use crate::on_postgres::moved;

const ALL_KINDS: &str = r#"
[types.thing.fields]
id      = { kind = "integer", class = "internal" }
name    = { kind = "text", class = "internal", unique = true }
price   = { kind = "decimal", class = "financial" }
good    = { kind = "boolean", class = "internal" }
day     = { kind = "date", class = "internal" }
moment  = { kind = "timestamp", class = "internal" }
other   = { kind = "uuid", class = "internal" }
data    = { kind = "json", class = "internal" }
bytes   = { kind = "bytes", class = "internal" }
part_of = { references = "thing", class = "internal" }
owner   = { references = "maker", class = "internal" }

[types.maker]
key = "code"
[types.maker.fields]
code = { kind = "text", class = "internal" }
best = { references = "thing", class = "internal" }
"#;

/// Text that CSV, JSON, filters and terminals could each take for something else.
const AWKWARD: &str = "a,\"b\"\r\nc\n;\\'\\\\ \u{feff}NULL \u{202e}\u{1b}[2J 😀 Grüße \u{7f} in.(x)";

fn things() -> (String, String) {
    let thing = |id: i64, rest: Value| {
        let mut row = serde_json::json!({ "id": id });
        row.as_object_mut().unwrap().extend(rest.as_object().unwrap().clone());
        format!("{row}\n")
    };
    let mut things = String::new();
    things +=
        &thing(-9_223_372_036_854_775_808, serde_json::json!({ "name": AWKWARD, "data": "text", "bytes": "AP8=" }));
    things += "{\"id\":1,\"name\":\"\",\"price\":0.10,\"good\":false,\"day\":\"2024-02-29\",\
        \"moment\":\"2026-07-01T09:30:00.000001Z\",\"other\":\"0190b6c2-3f5e-7abc-8def-0123456789ab\",\
        \"data\":{\"a\":[1,2.5,\"x\\ny\",null,{}]},\"bytes\":\"\"}\n";
    things += "{\"id\":2,\"name\":\"NULL\",\"price\":-7922816251426433759354395033.5,\"data\":[]}\n";
    things += "{\"id\":3,\"name\":\" blank \",\"price\":0.0000000000000000000000000001}\n";
    for id in 4..40 {
        things += &thing(id, serde_json::json!({ "name": format!("thing {id}"), "part_of": null }));
    }
    let makers = format!(
        "{}\n{}\n",
        serde_json::json!({ "code": AWKWARD, "best": 1 }),
        serde_json::json!({ "code": "M", "best": 39 })
    );
    (things, makers)
}

/// References that go upwards, to a record itself, and round.
fn links(bench: &Bench) {
    let upsert = |name: &str, record_type: &str, text: String| {
        let file = bench.file(name, text);
        bench.run(&["--as", "ann@acme", "import", record_type, &file, "--upsert"]).expect(0);
    };
    let mut up = String::new();
    for id in 4..40 {
        let (part_of, owner) = (if id == 39 { 39 } else { id + 1 }, if id % 2 == 0 { "M" } else { AWKWARD });
        up += &format!("{}\n", serde_json::json!({ "id": id, "part_of": part_of, "owner": owner }));
    }
    upsert("up.ndjson", "thing", up);
}

fn person(bench: &Bench, user: &str, role: &str, by: &str) {
    let key = bench.keygen(user);
    bench.run(&["--as", by, "user", "add", user, "--ssh-key", &key, "--role", role]).expect(0);
}

fn filled() -> Bench {
    let bench = Bench::ready();
    let types = bench.file("types.toml", format!("{TYPES}{ALL_KINDS}"));
    bench.run(&["schema", "apply", &types]).expect(0);
    let (things, makers) = things();
    let (things, makers) = (bench.file("things.ndjson", things), bench.file("makers.ndjson", makers));
    bench.run(&["--as", "ann@acme", "import", "thing", &things]).expect(0);
    bench.run(&["--as", "ann@acme", "import", "maker", &makers]).expect(0);
    links(&bench);
    let customers = bench.file("customers.csv", "id,company,country,since\nA1,Alpha,Peru,2020-01-02\nB2,Beta,,\n");
    bench.run(&["--as", "ann@acme", "import", "customer", &customers]).expect(0);
    bench
}

fn tenant(bench: &Bench, name: &str) {
    bench.run(&["tenant", "add", name]).expect(0);
    person(bench, &format!("ann@{name}"), "admin", "operator@operators");
}

fn export(bench: &Bench, user: &str, to: &str, more: &[&str]) -> Ran {
    bench.run(&[&["--as", user, "export", "--to", to], more].concat())
}

fn lines(file: PathBuf) -> BTreeSet<String> {
    std::fs::read_to_string(file).unwrap().lines().map(str::to_owned).collect()
}

fn manifest(folder: &str) -> Value {
    serde_json::from_slice(&std::fs::read(Path::new(folder).join("manifest.json")).unwrap()).unwrap()
}

#[track_caller]
fn same_data(one: &str, other: &str, types: &[&str]) {
    for name in types {
        let file = |folder: &str| Path::new(folder).join(format!("{name}.ndjson"));
        assert_eq!(lines(file(one)), lines(file(other)), "{name}");
    }
}

fn there_and_back(bench: &Bench, round: &str) {
    let types = ["customer", "maker", "thing"];
    let (first, csv_only) = (bench.path(&format!("first{round}")), bench.path(&format!("csv{round}")));
    export(bench, "ann@acme", &first, &["--page", "7"]).expect(0);
    export(bench, "ann@acme", &csv_only, &["--format", "csv"]).expect(0);
    let counts: Vec<u64> =
        manifest(&first)["types"].as_array().unwrap().iter().map(|one| one["rows"].as_u64().unwrap()).collect();
    assert_eq!(counts.iter().sum::<u64>(), 44);
    // What the store is makes no difference to what the files are written in.
    let both = [(&first, "one"), (&csv_only, "two")];
    for (from, name) in both.into_iter().take(if round.is_empty() { 2 } else { 1 }) {
        let into = format!("{name}{round}");
        tenant(bench, &into);
        let ann = format!("ann@{into}");
        let import = |more: &[&str]| bench.run(&[&["--as", &ann, "import", from], more].concat());
        assert!(import(&["--dry-run"]).expect(0).err.contains("44 records of 3 types could be imported"));
        let ran = import(&["--batch", "5"]).expect(0);
        assert!(ran.err.contains("thing: 40 records") && ran.err.contains(&format!("into {into}")), "{}", ran.err);
        // Nothing is there twice, and nothing that somebody changed since is set back.
        bench
            .run_with_input(&["--as", &ann, "import", "customer", "-", "--upsert"], "id,company\nA1,Changed\n")
            .expect(0);
        let again = import(&[]).expect(0);
        assert!(again.err.contains("thing: 0 records; 40 were there already"), "{}", again.err);
        let changed =
            bench.run(&["--as", &ann, "get", "customer", "--where", "company=eq.Changed", "--count"]).expect(0);
        assert_eq!(changed.out.trim(), "1");
        import(&["--upsert"]).expect(0);
        let back = bench.path(&format!("back-{into}"));
        export(bench, &ann, &back, &[]).expect(0);
        same_data(&first, &back, &types);
    }
}

#[test]
fn what_is_taken_out_comes_back_whole() {
    let bench = filled();
    there_and_back(&bench, "");
    let folder = bench.path("first");
    for entry in std::fs::read_dir(&folder).unwrap() {
        assert!(is_private(&entry.unwrap().path()));
    }
    let about = manifest(&folder);
    assert_eq!((&about["tenant"], &about["user"]), (&"acme".into(), &"ann".into()));
    assert_eq!(about["types"].as_array().unwrap().iter().find(|one| one["name"] == "thing").unwrap()["records"], "all");
    // On record like any read.
    let seen = bench.run(&["--as", "ann@acme", "audit", "who-saw", "customer/A1", "--output", "json"]).expect(0);
    assert!(seen.out.contains("company"), "{}", seen.out);
    let _server = moved(&bench);
    there_and_back(&bench, "-moved");
    same_data(&folder, &bench.path("first-moved"), &["customer", "maker", "thing"]);
}

#[test]
fn what_was_damaged_is_named_and_nothing_is_imported() {
    let bench = filled();
    let folder = bench.path("out");
    export(&bench, "ann@acme", &folder, &[]).expect(0);
    tenant(&bench, "fresh");
    let import = |from: &str| bench.run(&["--as", "ann@fresh", "import", from]);
    let path = Path::new(&folder).join("thing.ndjson");
    let whole = std::fs::read(&path).unwrap();
    let mut flipped = whole.clone();
    flipped[20] ^= 1;
    let longer = [whole.as_slice(), b"{}\n"].concat();
    for (content, says) in [
        (Some(flipped), "was changed"),
        (Some(whole[..whole.len() - 1].to_vec()), "is cut off"),
        (Some(longer), "is longer"),
        (None, "is missing"),
    ] {
        match content {
            Some(content) => std::fs::write(&path, content).unwrap(),
            None => std::fs::remove_file(&path).unwrap(),
        }
        let refused = import(&folder).expect(5);
        assert!(refused.err.contains("thing.ndjson") && refused.err.contains(says), "{}", refused.err);
    }
    std::os::unix::fs::symlink("/etc/hostname", &path).unwrap();
    assert_ne!(import(&folder).code, 0);
    std::fs::remove_file(&path).unwrap();
    std::fs::write(&path, &whole).unwrap();
    // A manifest that leads elsewhere, and one that is cut off.
    let file = Path::new(&folder).join("manifest.json");
    let text = std::fs::read_to_string(&file).unwrap();
    for (changed, says) in [
        (text.replace("\"thing.ndjson\"", "\"../thing.ndjson\""), "no export writes"),
        (text.replace("\"thing.ndjson\"", "\"/etc/passwd\""), "no export writes"),
        (text.replace("\"version\": 1", "\"version\": 2"), "another format or version"),
        (text[..text.len() / 2].to_owned(), "damaged"),
    ] {
        std::fs::write(&file, changed).unwrap();
        let refused = import(&folder).expect(5);
        assert!(refused.err.contains(says), "{}", refused.err);
    }
    std::fs::write(&file, text).unwrap();
    for record_type in ["customer", "thing", "maker"] {
        let count = bench.run(&["--as", "ann@fresh", "get", record_type, "--count"]).expect(0);
        assert_eq!(count.out.trim(), "0", "{record_type}");
    }
    // Types that can't take it.
    let other = Bench::ready();
    let refused = other.run(&["--as", "ann@acme", "import", &folder]).expect(5);
    assert!(refused.err.contains("there is no thing") && refused.err.contains("schema apply"), "{}", refused.err);
    import(&folder).expect(0);
}

#[test]
fn whoever_may_see_less_takes_less_out_and_learns_of_no_more() {
    let bench = filled();
    let more = "@id(\"reader\") permit (principal in Role::\"reader\", action == Customer::Action::\"read\", resource)\n\
        when { context.field in [Customer::Field::\"id\", Customer::Field::\"phone\"] };\n\
        @id(\"types\") permit (principal in Role::\"reader\", action == Control::Action::\"read_types\", resource);";
    let policies = bench.file("policies.cedar", format!("{POLICIES}{more}"));
    bench.run(&["policy", "apply", &policies]).expect(0);
    person(&bench, "rita@acme", "reader", "ann@acme");

    let carls = bench.path("carl");
    let ran = export(&bench, "carl@acme", &carls, &[]).expect(0);
    let said = format!("{}{}", ran.err, manifest(&carls));
    for hidden in ["phone", "since", "thing", "maker", "price"] {
        assert!(!said.contains(hidden), "{hidden}: {said}");
    }
    assert!(!Path::new(&carls).join("types.toml").exists());
    let rows = std::fs::read_to_string(Path::new(&carls).join("customer.csv")).unwrap();
    assert_eq!(rows, "id,company,country\r\nA1,Alpha,Peru\r\nB2,Beta,\r\n");

    let ritas = bench.path("rita");
    export(&bench, "rita@acme", &ritas, &[]).expect(0);
    let about = manifest(&ritas);
    assert_eq!(about["types"][0]["fields"], serde_json::json!(["id", "phone"]));
    assert_eq!(about["types"][0]["withheld"], serde_json::json!(["company", "country", "since"]));
    assert_eq!(about["withheld"], serde_json::json!(["thing", "maker"]));
    // It can't be brought back without what is required.
    tenant(&bench, "fresh");
    let refused = bench.run(&["--as", "ann@fresh", "import", &ritas]).expect(5);
    assert!(refused.err.contains("customer.company is a required field"), "{}", refused.err);

    for (wrong, code) in [("thing", 3), ("nothing", 3)] {
        let refused = export(&bench, "carl@acme", &bench.path("none"), &["--types", wrong]).expect(code);
        assert!(refused.err.contains(&format!("no record type {wrong} that you may read")), "{}", refused.err);
    }
    assert!(export(&bench, "ann@acme", &carls, &[]).expect(5).err.contains("complete export already"));
    bench.file("mine", "x");
    let beside = Path::new(&carls).parent().unwrap().display().to_string();
    assert!(export(&bench, "ann@acme", &beside, &[]).expect(5).err.contains("not empty"));
}

#[test]
fn a_spent_budget_is_said_and_the_same_command_goes_on() {
    let bench = Bench::ready();
    let rows: String = (0..40).map(|number| format!("C{number},Company {number}\n")).collect();
    let file = bench.file("rows.csv", format!("id,company\n{rows}"));
    bench.run(&["--as", "ann@acme", "import", "customer", &file]).expect(0);
    let budget = |cells: u64| {
        let limits = ["per_token", "per_principal", "per_hour"].map(|name| format!("{name} = {cells}\n")).concat();
        let budget = bench.file("budget.toml", format!("[people]\n{limits}"));
        let policies = bench.file("policies.cedar", POLICIES);
        bench.run(&["policy", "apply", &policies, &budget]).expect(0);
    };
    budget(120);
    let folder = bench.path("out");
    let types = ["--types", "customer", "--page", "10"];
    let stopped = export(&bench, "ann@acme", &folder, &types).expect(6);
    assert!(stopped.err.contains("0 of 1 types are complete, and of customer 20 records are there"), "{}", stopped.err);
    assert!(stopped.err.contains("run the same command again"), "{}", stopped.err);
    assert!(bench.run(&["--as", "ann@acme", "import", &folder]).expect(5).err.contains("interrupted"));
    budget(1_000_000);
    // Another wish is another folder's.
    assert_eq!(export(&bench, "ann@acme", &folder, &[]).code, 5);
    export(&bench, "ann@acme", &folder, &types).expect(0);
    assert_eq!(manifest(&folder)["types"][0]["rows"], 40);
    let path = |name: &str| Path::new(&folder).join(name);
    assert_eq!(lines(path("customer.ndjson")).len(), 40);
    assert_eq!(std::fs::read_to_string(path("customer.csv")).unwrap().lines().count(), 41);
    let left: Vec<_> = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(left.iter().all(|name| !name.to_string_lossy().contains(".part")), "{left:?}");
}
