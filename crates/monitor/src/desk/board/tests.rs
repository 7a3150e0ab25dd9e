use countersign_crypto::SystemEntropy;
use countersign_model::{SilenceId, TenantId, UserId};

use super::*;

const NOW: UnixMs = UnixMs(1_780_000_000_000);
const MINUTE: u64 = 60_000;

fn settings() -> Settings {
    Settings {
        repeat_ms: 60 * MINUTE,
        quiet_ms: 240 * MINUTE,
        rule_per_minute: 10,
        all_per_minute: 60,
        link: "https://localhost:8443".to_owned(),
    }
}

fn board_of(kept: Option<&[u8]>) -> Board {
    let target = |name: &str, level, wants_resolved| Target { name: name.to_owned(), level, wants_resolved };
    let targets = vec![target("hook", Level::Low, true), target("mail", Level::High, false)];
    Board::new(kept, settings(), targets, true, Arc::new(SystemEntropy), NOW).unwrap()
}

fn board() -> Board {
    board_of(None)
}

fn alert(rule: &str, about: &str, level: Level) -> Alert {
    Alert {
        id: AlertId::new(NOW, &SystemEntropy),
        rule: rule.to_owned(),
        title: format!("title of {rule}"),
        level,
        tenant: None,
        about: about.to_owned(),
        first: NOW,
        last: NOW,
        count: 1,
        requests: vec![RequestId::new(NOW, &SystemEntropy)],
        tells_tenant: false,
    }
}

fn who() -> Who {
    let (request, user) = (RequestId::new(NOW, &SystemEntropy), UserId::new(NOW, &SystemEntropy));
    Who { request, user, name: "root@operators".to_owned() }
}

/// Delivers everything that is due, and says what arrived where.
fn arrived(board: &mut Board, now: UnixMs) -> Vec<(String, Notification)> {
    let mut all = Vec::new();
    loop {
        let due = board.take_due(now);
        if due.is_empty() {
            return all;
        }
        for (sink, notification) in due {
            board.settle(&sink, &notification, Ok(()), now);
            all.push((sink, notification));
        }
    }
}

fn causes(board: &mut Board, now: UnixMs) -> Vec<(String, Cause, u64)> {
    arrived(board, now).into_iter().map(|(sink, one)| (sink, one.cause, one.alert.count)).collect()
}

fn actions(board: &Board) -> Vec<String> {
    board.happenings().into_iter().map(|happening| happening.action).collect()
}

#[test]
fn the_same_thing_is_told_once_until_it_gets_worse_or_goes_on() {
    let mut board = board();
    board.raise(alert("r", "user=1", Level::Low), NOW);
    assert_eq!(causes(&mut board, NOW), [("hook".to_owned(), Cause::Raised, 1)]);
    for _ in 0..5 {
        board.raise(alert("r", "user=1", Level::Low), NOW);
    }
    assert_eq!(causes(&mut board, NOW), []);
    board.raise(alert("r", "user=1", Level::High), NOW);
    let told = arrived(&mut board, NOW);
    assert_eq!(told.len(), 2);
    assert!(told.iter().all(|(_, one)| one.cause == Cause::Escalated && one.level_before == Some(Level::Low)));
    let later = NOW.plus_ms(61 * MINUTE);
    board.raise(alert("r", "user=1", Level::Low), later);
    assert_eq!(causes(&mut board, later), [("hook", Cause::Repeated, 8), ("mail", Cause::Repeated, 8)].map(own));
    assert_eq!(board.alerts().count(), 1);
    // Another thing is another alert; so is the same after it was over.
    board.raise(alert("r", "user=2", Level::Low), later);
    let over = later.plus_ms(241 * MINUTE);
    board.raise(alert("r", "user=1", Level::Low), over);
    assert_eq!(board.alerts().count(), 3);
}

fn own((sink, cause, count): (&str, Cause, u64)) -> (String, Cause, u64) {
    (sink.to_owned(), cause, count)
}

#[test]
fn the_same_alert_seen_again_counts_once() {
    let mut board = board();
    let one = alert("r", "", Level::Low);
    board.raise(one.clone(), NOW);
    let mut again = board_of(Some(&board.to_bytes()));
    again.raise(one.clone(), NOW);
    assert_eq!(again.alert(one.id).unwrap().alert.count, 1);
}

#[test]
fn what_comes_too_fast_is_counted_and_told_with_the_next() {
    let mut board = board();
    for about in 0..15 {
        board.raise(alert("r", &format!("user={about}"), Level::Low), NOW);
    }
    assert_eq!(arrived(&mut board, NOW).len(), 10);
    board.tick(NOW);
    assert_eq!(arrived(&mut board, NOW).len(), 0);
    let later = NOW.plus_ms(6_001);
    board.tick(later);
    let told = arrived(&mut board, later);
    assert_eq!((told.len(), told[0].1.suppressed), (1, 4));
    // They are told of with that number, and stay in the list.
    board.tick(later.plus_ms(MINUTE));
    assert_eq!(arrived(&mut board, later).len(), 0);
    assert_eq!(board.alerts().count(), 15);
}

#[test]
fn all_rules_together_are_limited_but_for_what_is_critical() {
    let mut board = board();
    for rule in 0..70 {
        board.raise(alert(&format!("r{rule}"), "", Level::Low), NOW);
    }
    assert_eq!(arrived(&mut board, NOW).len(), 60);
    board.raise(alert("worst", "", Level::Critical), NOW);
    assert_eq!(arrived(&mut board, NOW).len(), 2);
}

#[test]
fn a_storm_is_bounded() {
    let mut board = board();
    let template = alert("r", "", Level::High);
    let began = std::time::Instant::now();
    for number in 0..100_000u64 {
        let now = NOW.plus_ms(number / 100);
        let id = AlertId::from_u128(u128::from(number));
        board.raise(Alert { id, about: format!("user={number}"), ..template.clone() }, now);
    }
    println!("100,000 raises in {:?}", began.elapsed());
    assert_eq!(board.alerts().count(), PER_RULE_MAX + 1);
    let others = board.alerts().find(|standing| standing.alert.about == OTHERS).unwrap();
    assert_eq!(others.alert.count, 100_000 - PER_RULE_MAX as u64);
    assert!(board.happenings().len() < 200, "{}", board.happenings().len());
    assert!(arrived(&mut board, NOW.plus_ms(1_000)).len() < 30);
    assert!(board.to_bytes().len() < 400_000, "{}", board.to_bytes().len());
    // Storms of many rules, too.
    for rule in 0..100 {
        for about in 0..100 {
            board.raise(alert(&format!("r{rule}"), &about.to_string(), Level::Low), NOW.plus_ms(2_000));
        }
    }
    assert!(board.alerts().count() <= ALERTS_MAX);
    assert!(board.to_bytes().len() < 8_000_000, "{}", board.to_bytes().len());
}

#[test]
fn what_is_kept_silent_is_kept_and_not_told() {
    let mut board = board();
    let silence = |about: Option<&str>| Silence {
        id: SilenceId::new(NOW, &SystemEntropy),
        rule: "title of r".to_owned(),
        about: about.map(str::to_owned),
        since: NOW,
        until: NOW.plus_ms(10 * MINUTE),
        reason: "being worked on".to_owned(),
        by: "root@operators".to_owned(),
        kept: 0,
    };
    let one = silence(Some("user=1"));
    board.silence(one.clone(), &who(), NOW).unwrap();
    board.raise(alert("r", "tenant=7,user=1", Level::High), NOW);
    board.raise(alert("r", "tenant=7,user=10", Level::Low), NOW);
    assert_eq!(causes(&mut board, NOW), [own(("hook", Cause::Raised, 1))]);
    assert_eq!(board.silences().next().unwrap().kept, 1);
    // When it is over, what goes on is told.
    let later = NOW.plus_ms(11 * MINUTE);
    board.tick(later);
    assert_eq!(board.silences().count(), 0);
    board.raise(alert("r", "tenant=7,user=1", Level::High), later);
    assert_eq!(causes(&mut board, later), [("hook", Cause::Raised, 2), ("mail", Cause::Raised, 2)].map(own));
    board.silence(silence(None), &who(), later).unwrap();
    let id = board.silences().next().unwrap().id;
    board.unsilence(id, &who(), later).unwrap();
    assert!(board.unsilence(id, &who(), later).is_none());
    assert_eq!(actions(&board).iter().filter(|action| action.starts_with("alert_silence")).count(), 2);
}

/// INVARIANT tenants-are-told.
#[test]
fn a_tenant_is_told_whatever_operators_want() {
    let mut board = board();
    let tenant = TenantId::new(NOW, &SystemEntropy);
    let silence = Silence {
        id: SilenceId::new(NOW, &SystemEntropy),
        rule: "glass".to_owned(),
        about: None,
        since: NOW,
        until: NOW.plus_ms(MINUTE),
        reason: "nothing to see here".to_owned(),
        by: "root@operators".to_owned(),
        kept: 0,
    };
    board.silence(silence, &who(), NOW).unwrap();
    let broken = Alert { tenant: Some(tenant), tells_tenant: true, ..alert("glass", "grant=1", Level::Critical) };
    board.raise(broken.clone(), NOW);
    board.acknowledge(broken.id, "nothing".to_owned(), &who(), NOW).unwrap();
    let told = arrived(&mut board, NOW);
    assert_eq!(told.len(), 1);
    assert_eq!((told[0].0.as_str(), told[0].1.tenant()), (TENANTS, Some(tenant)));
    let of_tenant = board.happenings().iter().filter(|happening| happening.tenant == Some(tenant)).count();
    assert_eq!(of_tenant, 3, "raised, acknowledged and delivered are in the tenant's own log");
    // Each time, whoever saw to it.
    board.raise(Alert { id: AlertId::new(NOW, &SystemEntropy), ..broken.clone() }, NOW);
    assert_eq!(arrived(&mut board, NOW).len(), 1);
    // Past the most alerts of a rule, too.
    for number in 0..200 {
        let tenant = Some(TenantId::from_u128(number));
        let about = format!("grant={number}");
        board.raise(Alert { tenant, tells_tenant: true, ..alert("glass", &about, Level::Critical) }, NOW);
    }
    assert_eq!(arrived(&mut board, NOW).into_iter().filter(|(sink, _)| sink == TENANTS).count(), 200);
}

#[test]
fn what_somebody_saw_to_is_resolved_and_stays_quiet_for_a_while() {
    let mut board = board();
    let one = alert("r", "user=1", Level::High);
    board.raise(one.clone(), NOW);
    arrived(&mut board, NOW);
    board.acknowledge(one.id, "a drill".to_owned(), &who(), NOW).unwrap();
    assert!(board.acknowledge(AlertId::from_u128(1), String::new(), &who(), NOW).is_none());
    assert_eq!(causes(&mut board, NOW), [own(("hook", Cause::Resolved, 1))]);
    board.raise(alert("r", "user=1", Level::High), NOW.plus_ms(MINUTE));
    assert_eq!(causes(&mut board, NOW), []);
    board.raise(alert("r", "user=1", Level::Critical), NOW.plus_ms(MINUTE));
    assert_eq!(causes(&mut board, NOW).len(), 2, "worse than what somebody saw");
    board.acknowledge(one.id, "again".to_owned(), &who(), NOW).unwrap();
    arrived(&mut board, NOW);
    let later = NOW.plus_ms(61 * MINUTE);
    board.raise(alert("r", "user=1", Level::High), later);
    assert_eq!(causes(&mut board, later), [("hook", Cause::Raised, 1), ("mail", Cause::Raised, 1)].map(own));
}

#[test]
fn what_did_not_arrive_is_there_after_a_restart_and_tried_ever_more_rarely() {
    let mut board = board();
    board.raise(alert("r", "user=1", Level::Low), NOW);
    let fails = |board: &mut Board, now| {
        let due = board.take_due(now);
        for (sink, notification) in &due {
            board.settle(sink, notification, Err(SinkFailure::Busy(503)), now);
        }
        due.len()
    };
    let (mut now, mut attempts) = (NOW, 0);
    while now < NOW.plus_ms(60 * MINUTE) {
        attempts += fails(&mut board, now);
        now = now.plus_ms(500);
    }
    assert!((10..40).contains(&attempts), "{attempts} attempts in an hour");
    assert_eq!(actions(&board), ["alert", "alert_delivery"], "one failure on record, not each");
    let mut again = board_of(Some(&board.to_bytes()));
    let later = now.plus_ms(6 * MINUTE);
    assert_eq!(causes(&mut again, later), [own(("hook", Cause::Raised, 1))]);
    assert_eq!(actions(&again).len(), 3);
    // A sink that is gone keeps nobody waiting.
    let none = Board::new(Some(&board.to_bytes()), settings(), Vec::new(), false, Arc::new(SystemEntropy), NOW);
    assert!(none.unwrap().take_due(later).is_empty());
}

#[test]
fn what_a_receiver_refuses_is_given_up_and_stands_in_nobodys_way() {
    let mut board = board();
    let bad = alert("bad", "", Level::Low);
    board.raise(bad.clone(), NOW);
    board.raise(alert("good", "", Level::Low), NOW);
    let (mut now, mut good) = (NOW, 0);
    for _ in 0..200 {
        for (sink, notification) in board.take_due(now) {
            let is_bad = notification.alert.id == bad.id;
            good += u32::from(!is_bad);
            board.settle(&sink, &notification, if is_bad { Err(SinkFailure::Status(400)) } else { Ok(()) }, now);
        }
        now = now.plus_ms(10_000);
    }
    assert_eq!((good, board.outbox().standing("hook").0), (1, 0));
    assert!(board.happenings().iter().any(|happening| happening.detail.contains("given up")));
}

#[test]
fn a_full_line_keeps_what_is_worst() {
    let mut board = board();
    let mut all = settings();
    (all.rule_per_minute, all.all_per_minute) = (1_000_000, 1_000_000);
    board = Board::new(Some(&board.to_bytes()), all, board.targets, true, Arc::new(SystemEntropy), NOW).unwrap();
    for rule in 0..30 {
        for about in 0..50 {
            let level = if rule == 0 { Level::High } else { Level::Low };
            board.raise(alert(&format!("r{rule}"), &about.to_string(), level), NOW);
        }
    }
    let (waiting, lost, _) = board.outbox().standing("hook");
    assert_eq!((waiting, lost), (crate::desk::outbox::WAITING_MAX, 500));
    let told = arrived(&mut board, NOW);
    assert_eq!(told.iter().filter(|(sink, one)| sink == "hook" && one.alert.level == Level::High).count(), 50);
    assert!(told.iter().any(|(_, one)| one.lost == 500));
}

/// Whoever can cause alerts of little weight can't use up the tenant's attention before the one that counts.
#[test]
fn what_a_tenant_hears_of_often_drowns_nothing_else() {
    let mut board = board();
    let tenant = Some(TenantId::from_u128(7));
    let told = |rule: &str, about: &str, level| Alert { tenant, tells_tenant: true, ..alert(rule, about, level) };
    for number in 0..100 {
        board.raise(told("access", &format!("grant={number}"), Level::Low), NOW);
    }
    board.raise(told("glass", "grant=100", Level::Critical), NOW);
    let arrived = arrived(&mut board, NOW);
    let of_tenant = arrived.iter().filter(|(sink, _)| sink == TENANTS);
    assert!(of_tenant.clone().any(|(_, notification)| notification.alert.rule == "glass"), "{arrived:?}");
    assert!(of_tenant.count() < 30, "and yet it is limited");
}
