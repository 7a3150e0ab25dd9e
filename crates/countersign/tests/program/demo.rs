//! The demo: made, told, served, and served again.

use crate::bench::{Bench, Served};

#[test]
fn the_demo_tells_its_story_and_a_second_start_serves_what_the_first_one_stored() {
    tells_its_story_and_starts_again(&[]);
}

#[test]
fn four_processes_tell_the_same_story_and_start_again() {
    tells_its_story_and_starts_again(&["--apart"]);
}

fn tells_its_story_and_starts_again(more: &[&str]) {
    let bench = Bench::empty();
    let arguments = [&["demo", "--listen", "127.0.0.1:0"], more].concat();
    let demo = || Served::start(bench.command(&arguments));
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

    // Somebody of the story leaves: it can't be told to its end any more, and all the same the demo serves.
    bench.run(&["--as", "andrew@northwind", "user", "remove", "nancy@northwind"]).expect(0);
    let second = demo();
    let told = second.told.join("\n");
    assert!(told.contains("opened as it was left"), "{told}");
    assert_eq!(bench.run(&["--as", "andrew@northwind", "get", "customer", "--count"]).expect(0).out.trim(), "92");
    assert_eq!(second.stop(), 0);
}

#[test]
fn a_demo_that_was_killed_while_loading_goes_on_at_the_next_start() {
    let bench = Bench::empty();
    let demo = || bench.command(&["demo", "--listen", "127.0.0.1:0"]);
    let mut killed = 0;
    for after_ms in [150, 500, 900] {
        let mut child = demo().spawn().unwrap();
        std::thread::sleep(std::time::Duration::from_millis(after_ms));
        child.kill().unwrap();
        child.wait().unwrap();
        if !bench.dir().join("countersign.toml").exists() {
            // Killed inside init: what it left is named, and nothing is stored there yet.
            let _not_there_perhaps = std::fs::remove_dir_all(bench.dir());
        } else if bench.dir().join("demo.loading").exists() {
            killed += 1;
        }
    }
    let served = Served::start(demo());
    for (tenant, invoices) in [("chinook", "412"), ("northwind", "830")] {
        let admin = format!("andrew@{tenant}");
        assert_eq!(bench.run(&["--as", &admin, "get", "invoice", "--count"]).expect(0).out.trim(), invoices);
    }
    assert!(!bench.dir().join("demo.loading").exists(), "killed {killed} times");
    assert_eq!(served.stop(), 0);
}

#[test]
fn a_demo_without_a_folder_makes_one_of_its_own_and_takes_a_free_port() {
    let bench = Bench::empty();
    let start = |address: &str| {
        let mut command = crate::bench::program(&["demo"]);
        command.env("XDG_DATA_HOME", bench.path("data"));
        if !address.is_empty() {
            command.args(["--listen", address]);
        }
        Served::start(command)
    };
    let first = start("127.0.0.1:0");
    assert!(first.told[0].ends_with("countersign/demo-1"), "{}", first.told[0]);
    let second = start("");
    assert!(second.told[0].ends_with("countersign/demo-2"), "{}", second.told[0]);
    let third = start("");
    assert_ne!(second.url, third.url, "the usual port is taken once at most");
}
