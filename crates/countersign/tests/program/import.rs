//! Importing: all of a file, or nothing of it, or all but what is collected.

use crate::bench::{Bench, is_private};

const GOOD: &str = "id,company,since\nA1,Alpha,2020-01-02\nB2,Beta,\n";
const BAD: &str = "id,company,since\nA1,Alpha,2020-01-02\nB2,Beta,yesterday\nC3,,2020-01-02\nD4,Delta,2020-01-03\n";

fn count(bench: &Bench) -> String {
    bench.run(&["--as", "ann@acme", "get", "customer", "--count"]).expect(0).out.trim().to_owned()
}

#[test]
fn a_bad_row_names_line_and_column_and_nothing_is_imported() {
    let bench = Bench::ready();
    let file = bench.file("bad.csv", BAD);
    let refused = bench.run(&["--as", "ann@acme", "import", "customer", &file]).expect(5);
    assert!(refused.err.contains("2 rows are not valid"), "{}", refused.err);
    assert!(refused.err.contains("bad.csv: line 3, column 3 (since): expected a date such as"), "{}", refused.err);
    assert!(refused.err.contains("line 4, column 2 (company): a value is required"), "{}", refused.err);
    assert!(refused.err.contains("nothing was imported") && refused.err.contains("--skip-bad"), "{}", refused.err);
    assert!(!refused.err.contains("yesterday"), "a message never has a value: {}", refused.err);
    assert_eq!(count(&bench), "0");
}

#[test]
fn bad_rows_are_collected_as_they_came() {
    let bench = Bench::ready();
    let (file, collected) = (bench.file("bad.csv", BAD), bench.path("collected.csv"));
    let ran = bench.run(&["--as", "ann@acme", "import", "customer", &file, "--skip-bad", &collected]).expect(0);
    assert!(ran.err.contains("imported 2 rows") && ran.err.contains("2 rows are not valid"), "{}", ran.err);
    assert_eq!(std::fs::read_to_string(&collected).unwrap(), "id,company,since\nB2,Beta,yesterday\nC3,,2020-01-02\n");
    assert!(is_private(collected.as_ref()));
    assert_eq!(count(&bench), "2");
    // What is collected is never written over.
    let again = bench.run(&["--as", "ann@acme", "import", "customer", &file, "--skip-bad", &collected, "--upsert"]);
    again.expect(1);
}

#[test]
fn rows_come_from_csv_ndjson_and_standard_input() {
    let bench = Bench::ready();
    let ndjson = bench.file(
        "rows.ndjson",
        "{\"id\":\"N1\",\"company\":\"Nu\"}\n\n{\"id\":\"N2\",\"company\":\"Nu\",\"since\":null}\n",
    );
    bench.run(&["--as", "ann@acme", "import", "customer", &ndjson]).expect(0);
    bench.run_with_input(&["--as", "ann@acme", "import", "customer", "-"], GOOD).expect(0);
    let json = "{\"id\":\"N3\",\"company\":\"Nu\"}";
    bench.run_with_input(&["--as", "ann@acme", "import", "customer", "-", "--format", "ndjson"], json).expect(0);
    assert_eq!(count(&bench), "5");
    let unnamed = bench.file("rows.data", GOOD);
    assert!(bench.run(&["--as", "ann@acme", "import", "customer", &unnamed]).expect(2).err.contains("--format"));
}

#[test]
fn importing_again_is_refused_or_with_upsert_safe() {
    let bench = Bench::ready();
    let file = bench.file("good.csv", GOOD);
    let import = |more: &[&str]| {
        let mut arguments = vec!["--as", "ann@acme", "import", "customer", &file];
        arguments.extend(more);
        bench.run(&arguments)
    };
    assert!(import(&["--dry-run"]).expect(0).err.contains("nothing was"));
    assert_eq!(count(&bench), "0");
    import(&[]).expect(0);
    let again = import(&["--batch", "1"]).expect(5);
    assert!(again.err.contains("line 2 was not stored, 0 rows were"), "{}", again.err);
    import(&["--upsert"]).expect(0);
    assert_eq!(count(&bench), "2");
}

#[test]
fn names_that_do_not_fit_come_with_the_nearest() {
    let bench = Bench::ready();
    let file = bench.file("rows.csv", "id,compny\nA1,Alpha\n");
    let ran = bench.run(&["--as", "ann@acme", "import", "customer", &file]).expect(5);
    assert!(ran.err.contains("line 1, column 2") && ran.err.contains("did you mean company?"), "{}", ran.err);
    let ran = bench.run(&["--as", "ann@acme", "import", "custmer", &file]).expect(4);
    assert!(ran.err.contains("did you mean customer?"), "{}", ran.err);
    // Somebody who may not read the types is judged by the server alone.
    let ran = bench.run(&["--as", "carl@acme", "import", "customer", &file]).expect(3);
    assert!(ran.err.contains("may not read the record types"), "{}", ran.err);
}
