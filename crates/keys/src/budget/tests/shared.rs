//! In a database, by several processes together.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use countersign_model::Service;
use countersign_postgres::{CORE, Pool, Scope, Settings, migrate};
use countersign_testkit::{DATABASE, Postgres};
use parking_lot::Mutex;

use super::*;

/// A server with the tables. Whoever opens it again is another process.
pub(super) struct Database(Arc<Mutex<Postgres>>);

impl Database {
    pub(super) fn start() -> Self {
        let server = Postgres::start().unwrap();
        let owner = Blocking::start(server.settings().unwrap(), server.owner().unwrap()).unwrap();
        owner.run(|pool| async move { migrate(&pool, &[CORE, BUDGET]).await }).unwrap();
        Self(Arc::new(Mutex::new(server)))
    }

    fn settings(&self) -> Settings {
        let mut settings = self.0.lock().settings().unwrap();
        settings.connections = 2;
        settings
    }

    fn database(&self) -> Arc<Blocking> {
        Blocking::start(self.settings(), self.0.lock().identity(Service::Keys).unwrap()).unwrap()
    }

    fn sql(&self, sql: &str) -> String {
        self.0.lock().sql(DATABASE, sql).unwrap()
    }
}

impl Place for Database {
    fn open(&self, now: UnixMs) -> Budgets {
        Budgets::shared(self.database(), now).unwrap()
    }
}

/// One that gives up soon.
fn impatient(database: &Database) -> Budgets {
    let mut shared = Shared::open(database.database(), NOW).unwrap();
    shared.be_patient_for(Duration::from_millis(50));
    Budgets { backing: Backing::Shared(shared) }
}

fn limited(principal: u128, limit: u64) -> [Charge; 1] {
    let limits = BudgetLimits { per_token: u64::MAX, per_principal: limit, per_hour: limit };
    [Charge { principal: user(principal), limits }]
}

#[test]
fn the_suite() {
    let database = Arc::new(Database::start());
    each_in(|| {
        database.sql("TRUNCATE countersign.budget, countersign.budget_owner");
        Box::new(Database(Arc::clone(&database.0)))
    });
}

#[test]
fn four_processes_of_sixteen_threads_spend_nearly_all_and_never_more() {
    const LIMIT: u64 = 50_000;
    let database = Database::start();
    let all: Vec<Budgets> = (0..4).map(|_| database.open(NOW)).collect();
    let (got, asked, wrote) = (AtomicU64::new(0), AtomicU64::new(0), AtomicU64::new(0));
    let began = Instant::now();
    std::thread::scope(|scope| {
        for thread in 0..64u128 {
            let (budgets, got, asked, wrote) = (&all[thread as usize % 4], &got, &asked, &wrote);
            scope.spawn(move || {
                for round in 0.. {
                    let (token, charges, cells) = (token(thread), limited(1, LIMIT), 1 + round % 40);
                    asked.fetch_add(1, Ordering::SeqCst);
                    let done = budgets.spend_now(token, &charges, cells, NOW).map(|done| done.map_err(Into::into));
                    let done = done.unwrap_or_else(|| {
                        wrote.fetch_add(1, Ordering::SeqCst);
                        budgets.spend(token, &charges, cells, NOW)
                    });
                    match done {
                        Ok(()) => got.fetch_add(cells, Ordering::SeqCst),
                        Err(BudgetError::Spent(_)) => return,
                        Err(error) => panic!("{error}"),
                    };
                }
            });
        }
    });
    let (got, asked, wrote) = (got.into_inner(), asked.into_inner(), wrote.into_inner());
    let took = began.elapsed();
    println!("{got} of {LIMIT} cells in {asked} asks, {wrote} of them not from memory, in {took:?}");
    assert!((LIMIT * 97 / 100..=LIMIT).contains(&got), "{got}");
    let seen: u64 = database.sql("SELECT sum(used) FROM countersign.budget WHERE kind = 2").parse().unwrap();
    assert!((got..=LIMIT).contains(&seen), "{seen}");
    for budgets in &all {
        budgets.close().unwrap();
    }
    let seen: u64 = database.sql("SELECT sum(used) FROM countersign.budget WHERE kind = 2").parse().unwrap();
    assert_eq!(seen, got, "what was not used was given back");
    let seen: u64 = database.sql("SELECT sum(used) FROM countersign.budget WHERE kind = 1").parse().unwrap();
    assert_eq!(seen, got);
    // So all of it can be used.
    all[0].spend(token(1), &limited(1, LIMIT), LIMIT - got, NOW).unwrap();
    for budgets in &all {
        assert_eq!(spent(budgets.spend(token(1), &limited(1, LIMIT), 1, NOW)).0, BudgetKind::PerPrincipal);
    }
}

#[test]
fn small_limits_are_exact_over_all_of_them_and_a_lowered_one_holds_at_once() {
    let database = Database::start();
    let all = [database.open(NOW), database.open(NOW)];
    for turn in 0..10 {
        all[turn % 2].spend(token(turn as u128), &limited(1, 100), 10, NOW).unwrap();
    }
    for budgets in &all {
        assert_eq!(spent(budgets.spend(token(1), &limited(1, 100), 1, NOW)).0, BudgetKind::PerPrincipal);
    }
    // The second has spent ten thousand of which the first, with some set aside, knows nothing.
    all[0].spend(token(1), &limited(2, 100_000), 10, NOW).unwrap();
    all[1].spend(token(1), &limited(2, 100_000), 10_000, NOW).unwrap();
    assert_eq!(all[0].spend_now(token(1), &limited(2, 100_000), 10, NOW), Some(Ok(())));
    assert_eq!(spent(all[0].spend(token(1), &limited(2, 9_000), 10, NOW)).0, BudgetKind::PerPrincipal);
}

#[test]
fn a_crash_costs_what_was_set_aside_and_gives_nothing() {
    let database = Database::start();
    let (mut released, mut crashes) = (0, 0);
    for turn in 0..10 {
        let budgets = database.open(NOW);
        for _ in 0..turn {
            budgets.spend(token(1), &limited(1, 10_000), 7, NOW).unwrap();
            released += 7;
        }
        crashes += 1;
        // Without being closed.
        drop(budgets);
    }
    let after = used(&database.open(NOW), token(1), user(1), NOW);
    assert!((released..=released + crashes * 100).contains(&after.principal), "{after:?} {released}");
    // Once its step is over, what is left of it is given back with the next portion.
    let budgets = database.open(NOW);
    let before = used(&budgets, token(2), user(2), NOW);
    let mut now = NOW;
    for _ in 0..20 {
        budgets.spend(token(2), &limited(2, 10_000), 1, now).unwrap();
        now = now.plus_ms(5 * MINUTE_MS);
    }
    let sum = || database.sql("SELECT sum(used) FROM countersign.budget WHERE owner::text LIKE '%2' AND kind = 2");
    assert_eq!((before, sum()), (Used::default(), "120".to_owned()));
    budgets.close().unwrap();
    assert_eq!(sum(), "20");
}

#[test]
fn without_the_database_what_is_set_aside_can_be_spent_and_no_more() {
    let database = Database::start();
    let budgets = impatient(&database);
    budgets.spend(token(1), &limited(1, 10_000), 1, NOW).unwrap();
    database.sql("ALTER SYSTEM SET listen_addresses = ''");
    database.0.lock().restart("INT").unwrap();
    for _ in 0..100 {
        assert_eq!(budgets.spend_now(token(1), &limited(1, 10_000), 1, NOW), Some(Ok(())));
    }
    let began = Instant::now();
    assert_eq!(budgets.spend_now(token(1), &limited(1, 10_000), 1, NOW), None);
    assert!(began.elapsed() < Duration::from_secs(1));
    for number in 1..3 {
        let refused = budgets.spend(token(number), &limited(number, 10_000), 1, NOW);
        assert!(matches!(refused, Err(BudgetError::Database(_))), "{refused:?}");
    }
    database.sql("ALTER SYSTEM SET listen_addresses = '127.0.0.1'");
    database.0.lock().restart("INT").unwrap();
    budgets.spend(token(1), &limited(1, 10_000), 1, NOW).unwrap();
    assert!(used(&budgets, token(1), user(1), NOW).principal >= 102);
}

#[test]
fn a_server_that_crashes_again_and_again_makes_nobody_spend_more() {
    const LIMIT: u64 = 40_000;
    let database = Database::start();
    let all: Vec<Budgets> = (0..2).map(|_| database.open(NOW)).collect();
    let got = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for thread in 0..8u128 {
            let (budgets, got) = (&all[thread as usize % 2], &got);
            scope.spawn(move || {
                loop {
                    match budgets.spend(token(thread), &limited(1, LIMIT), 5, NOW) {
                        Ok(()) => got.fetch_add(5, Ordering::SeqCst),
                        Err(BudgetError::Spent(_)) => return,
                        Err(error) => panic!("{error}"),
                    };
                    std::thread::sleep(Duration::from_micros(300));
                }
            });
        }
        for _ in 0..3 {
            std::thread::sleep(Duration::from_millis(200));
            database.0.lock().restart("QUIT").unwrap();
        }
    });
    let (got, after) = (got.into_inner(), used(&all[0], token(1), user(1), NOW).principal);
    println!("{got} of {LIMIT} cells over three crashes; {after} counted");
    assert!(got <= after && after <= LIMIT, "{got} {after}");
    assert!(got >= LIMIT * 90 / 100, "{got}");
}

#[test]
fn what_is_past_its_window_is_removed() {
    let database = Database::start();
    let budgets = database.open(NOW);
    for number in 0..50 {
        budgets.spend(token(number), &limited(number, 10_000), 1, NOW).unwrap();
    }
    let rows =
        || database.sql("SELECT (SELECT count(*) FROM countersign.budget), count(*) FROM countersign.budget_owner");
    assert_eq!(rows(), "100|100");
    budgets.spend(token(1), &limited(1, 10_000), 1, NOW.plus_ms(13 * HOUR_MS)).unwrap();
    assert_eq!(rows(), "2|2");
    drop(database.open(NOW.plus_ms(26 * HOUR_MS)));
    assert_eq!(rows(), "0|0");
}

#[test]
fn nobody_but_the_key_service_sees_them() {
    let database = Database::start();
    database.open(NOW).spend(token(1), &limited(1, 10_000), 1, NOW).unwrap();
    let look: Arc<str> = "SELECT count(*) FROM budget".into();
    for service in Service::ALL.into_iter().filter(|service| *service != Service::Keys) {
        let identity = database.0.lock().identity(service).unwrap();
        let other = Blocking::start(database.settings(), identity).unwrap();
        let look = Arc::clone(&look);
        let refused =
            other.run(|pool: Arc<Pool>| async move { pool.begin(Scope::Service).await?.read(&look, &[]).await });
        assert_eq!(refused.err(), Some(PgError::Refused { state: "42501".into() }), "{service}");
    }
    // The tables' owner sees no row of them.
    let owner = Blocking::start(database.settings(), database.0.lock().owner().unwrap()).unwrap();
    let rows =
        owner.run(|pool: Arc<Pool>| async move { pool.begin(Scope::Service).await?.read(&look, &[]).await }).unwrap();
    assert_eq!(rows[0].get::<_, i64>(0), 0);
}

#[test]
fn without_the_tables_it_does_not_begin() {
    let server = Postgres::start().unwrap();
    let owner = Blocking::start(server.settings().unwrap(), server.owner().unwrap()).unwrap();
    owner.run(|pool| async move { migrate(&pool, &[CORE]).await }).unwrap();
    let database = Blocking::start(server.settings().unwrap(), server.identity(Service::Keys).unwrap()).unwrap();
    assert!(matches!(Budgets::shared(database, NOW).err(), Some(PgError::Refused { .. })));
}
