//! A deployment that has moved to PostgreSQL, from the commands of whoever looks after the database to what people see.

use std::path::Path;

use countersign_testkit::{Certified, DATABASE, Postgres};

use crate::bench::{Bench, Served, is_private, program, run};

/// A server that trusts the deployment, as its administrator makes it, without roles and tables.
fn server(bench: &Bench) -> Postgres {
    server_at(bench, "database-tls")
}

/// The same, with its certificate in a folder of this name.
fn server_at(bench: &Bench, name: &str) -> Postgres {
    let out = bench.path(name);
    bench.run(&["postgres", "certificate", "127.0.0.1", "localhost", "--out", &out]).expect(0);
    let path = |name: &str| Path::new(&out).join(name);
    let read = |name: &str| std::fs::read_to_string(path(name)).unwrap();
    assert!(is_private(&path("key.pem")));
    let certified = Certified { ca_pem: read("ca.pem"), certificate_pem: read("cert.pem"), key_pem: read("key.pem") };
    Postgres::start_certified(&certified, "fsync = on").unwrap()
}

/// The same, with roles and without tables: nothing is in it.
pub fn empty(bench: &Bench, name: &str) -> Postgres {
    let server = server_at(bench, name);
    server.sql(DATABASE, &run(program(&["postgres", "sql"])).expect(0).out).unwrap();
    server
}

/// A server, moved to.
pub fn moved(bench: &Bench) -> Postgres {
    let server = server(bench);
    server.sql(DATABASE, &run(program(&["postgres", "sql"])).expect(0).out).unwrap();
    bench.run(&["move", "--to", &server.address()]).expect(0);
    // As the docs have it, once the move is known to be good.
    for entry in std::fs::read_dir(bench.dir()).unwrap() {
        let path = entry.unwrap().path();
        if path.file_name().unwrap().to_string_lossy().starts_with("moved-") {
            std::fs::remove_dir_all(path).unwrap();
        }
    }
    server
}

fn as_ann(bench: &Bench, arguments: &[&str]) -> crate::bench::Ran {
    bench.run(&[&["--as", "ann@acme"], arguments].concat())
}

#[test]
fn what_the_databases_administrator_needs_is_printed() {
    let sql = run(program(&["postgres", "sql"])).expect(0).out;
    assert!(sql.contains("CREATE ROLE countersign_gateway") && sql.contains("NOBYPASSRLS"), "{sql}");
    let ident = run(program(&["postgres", "ident"])).expect(0).out;
    assert!(ident.contains("authority countersign_schema"), "{ident}");
    let hba = run(program(&["postgres", "hba", "--network", "10.0.0.0/8", "--network", "::1/128"])).expect(0).out;
    assert!(hba.contains("hostssl countersign ") && hba.contains(" 10.0.0.0/8 cert map="), "{hba}");
    for wrong in ["10.0.0.0", "10.0.0.0/33", "all", "10.0.0.0/8 trust"] {
        run(program(&["postgres", "hba", "--network", wrong])).expect(2);
    }
    run(program(&["postgres", "hba", "--network", "10.0.0.0/8", "--database", "a all 0.0.0.0/0 trust\n"])).expect(2);
}

#[test]
fn what_is_wrong_with_a_database_is_said() {
    let bench = Bench::ready();
    let none = bench.run(&["postgres", "check"]).expect(2).err;
    assert!(none.contains("--address"), "{none}");
    let server = server(&bench);
    let check = |address: &str| bench.run(&["postgres", "check", "--address", address]);
    let nobody = check("postgres://127.0.0.1:1/countersign").expect(1).out;
    assert!(nobody.contains("can't be reached"), "{nobody}");
    let unready = check(&server.address()).expect(1).out;
    assert!(unready.contains("by TLS") && unready.contains("does not let it in"), "{unready}");

    server.sql(DATABASE, &run(program(&["postgres", "sql"])).expect(0).out).unwrap();
    let ready = check(&server.address()).expect(0).out;
    assert!(ready.contains("by certificate, TLSv1.3") && ready.contains("none but those granted"), "{ready}");
    assert!(!ready.contains("WRONG"), "{ready}");

    server.sql(DATABASE, "ALTER ROLE countersign_store BYPASSRLS; CREATE TABLE public.t (); ALTER TABLE public.t OWNER TO countersign_keys").unwrap();
    let weak = check(&server.address()).expect(1).out;
    assert!(weak.contains("can bypass row security") && weak.contains("1 things"), "{weak}");
    let other = Bench::ready();
    let stranger = other.run(&["postgres", "check", "--address", &server.address()]).expect(1).out;
    assert!(stranger.contains("shows no valid certificate"), "{stranger}");
    // What calls can't be called like a service.
    let out = bench.path("store-tls");
    bench.run(&["postgres", "certificate", "store", "--for", "client", "--out", &out]).expect(2);
    bench.run(&["postgres", "certificate", "replicator", "--for", "client", "--out", &out]).expect(0);
}

#[test]
fn a_deployment_works_on_it_as_before() {
    let bench = Bench::ready();
    let rows = bench.file("customers.csv", "id,company,country\na,Alpha,AT\nb,Beta,BE\n");
    as_ann(&bench, &["import", "customer", &rows]).expect(0);
    let _server = moved(&bench);
    let checked = bench.run(&["postgres", "check"]).expect(0).out;
    assert!(checked.contains("at their versions") && checked.contains("forced on all"), "{checked}");

    // Without a server of ours, commands open it themselves.
    let before = as_ann(&bench, &["get", "customer"]).expect(0).out;
    assert!(before.contains("Alpha") && before.contains("Beta"), "{before}");
    let more = bench.file("more.csv", "id,company,country\nc,Gamma,CH\n");
    let served = bench.serve();
    as_ann(&bench, &["import", "customer", &more]).expect(0);
    let carl = bench.run(&["--as", "carl@acme", "get", "customer"]).expect(0).out;
    assert!(carl.contains("Gamma") && !carl.contains("phone"), "{carl}");
    let trail = as_ann(&bench, &["audit", "by", "carl"]).expect(0).out;
    assert!(trail.contains("customer"), "{trail}");
    bench.run(&["status"]).expect(0);
    assert_eq!(served.stop(), 0);

    // Again, as after a restart; and after the folder has lost what it no longer needs.
    for gone in ["data/control.db", "data/budgets", "data/tenants", "audit"] {
        let path = bench.dir().join(gone);
        let _ = std::fs::remove_dir_all(&path).or_else(|_| std::fs::remove_file(&path));
    }
    let served: Served = bench.serve();
    let all = as_ann(&bench, &["get", "customer"]).expect(0).out;
    assert!(["Alpha", "Beta", "Gamma"].iter().all(|name| all.contains(name)), "{all}");
    let trail = as_ann(&bench, &["audit", "by", "carl"]).expect(0).out;
    assert!(trail.contains("customer"), "{trail}");
    assert_eq!(served.stop(), 0);
}
