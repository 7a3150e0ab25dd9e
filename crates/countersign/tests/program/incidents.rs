//! Breaches on the command line.

use crate::bench::Bench;

/// The drill holds what the thief read against what the audit logs say, record by record, and fails if they differ.
#[test]
fn the_drill_goes_from_theft_to_notices() {
    let bench = Bench::empty();
    let drill = bench.run(&["incident", "drill"]).expect(0);
    for step in [
        "is stolen",
        "the thief reads 19 customer, 6 invoice",
        "the monitor alerts: ",
        "is opened: northwind",
        "the stolen token is refused",
        "# Notice of a data breach",
        "record by record, the notice has what the thief read: 25 of 25",
        "it is acknowledged",
        " s  in all",
    ] {
        assert!(drill.out.contains(step), "{step}\n{}", drill.out);
    }
    println!("{}", drill.out.lines().filter(|line| line.contains(" s  ")).collect::<Vec<_>>().join("\n"));
}

#[test]
fn an_incident_names_one_culprit() {
    let bench = Bench::empty();
    let id = "0190b6c2-3f5e-7abc-8def-0123456789ab";
    for wrong in [
        &["incident", "open", "--since", "1h"][..],
        &["incident", "open", "--since", "1h", "--token", id, "--session", id],
        &["incident", "open", "--token", id],
        &["incident", "open", "--since", "soon", "--token", id],
        &["incident", "open", "--since", "1h", "--service", "printer"],
        &["incident", "open", "--since", "1h", "--principal", "nancy"],
    ] {
        bench.run(wrong).expect(2);
    }
}
