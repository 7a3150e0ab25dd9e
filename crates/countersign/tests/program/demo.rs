//! The demo: made, told, served, and served again.

use crate::bench::{Bench, Served};

#[test]
fn the_demo_tells_its_story_and_a_second_start_serves_what_the_first_one_stored() {
    let bench = Bench::empty();
    let demo = || Served::start(bench.command(&["demo", "--listen", "127.0.0.1:0"]));
    let first = demo();
    let told = first.told.join("\n");
    assert!(first.told.len() <= 60, "under a screen:\n{told}");
    assert!(told.contains("500 values"), "{told}");
    assert!(told.contains(": 0 found"), "{told}");
    assert!(told.contains("refused: 403"), "{told}");
    assert!(told.contains("nancy, accountant"), "{told}");
    assert!(!told.contains('\u{1b}'), "no colours where nobody looks:\n{told}");

    let brazil = [
        "--as",
        "nancy@northwind",
        "--output",
        "csv",
        "get",
        "customer",
        "--where",
        "country=eq.Brazil",
        "--order",
        "id",
    ];
    let rows = bench.run(&brazil).expect(0).out;
    assert_eq!(rows.lines().next(), Some("id,company,country"), "{rows}");
    assert_eq!(rows.lines().count(), 10, "{rows}");
    let other =
        bench.run(&["--as", "nancy@chinook", "--output", "csv", "get", "customer", "--where", "country=eq.Brazil"]);
    assert_eq!(other.expect(0).out.lines().count(), 6);
    for (tenant, expected) in [("chinook", "59"), ("northwind", "91")] {
        let admin = format!("andrew@{tenant}");
        assert_eq!(bench.run(&["--as", &admin, "get", "customer", "--count"]).expect(0).out.trim(), expected);
    }
    bench
        .run(&["--as", "andrew@northwind", "import", "customer", &bench.file("one.csv", "id,company\nXXXXX,Extra\n")])
        .expect(0);
    assert_eq!(first.stop(), 0);

    let second = demo();
    let told = second.told.join("\n");
    assert!(told.contains("opened as it was left"), "{told}");
    assert_eq!(bench.run(&["--as", "andrew@northwind", "get", "customer", "--count"]).expect(0).out.trim(), "92");
    assert_eq!(second.stop(), 0);
}
