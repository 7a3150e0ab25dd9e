//! From a file to a database and back.

use super::super::files::shape;
use super::*;

fn rows(home: &Home) -> String {
    sql(home, "SELECT kind, id, md5(body) FROM countersign.control ORDER BY kind, id")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn there_and_back_row_by_row() {
    let house = House::new().await;
    let admin = house.tenant("northwind").await;
    house.person("northwind", &admin, "nancy", "accountant").await;
    let token = house.token("andrew", "northwind", &admin).await;
    let target = Home::postgres().await;
    let bootstrap = target.path().join("bootstrap");
    let carried = house.registry.carry_to(target.place()).await.unwrap();
    assert_eq!(carried.rows.to_string(), sql(&target, "SELECT count(*) FROM countersign.control"));
    assert!(bootstrap.exists());
    // Nothing changes where it came from.
    let late = Control::Revoke(Revoke::Token(TokenId::from_u128(9)));
    let waiting = house.ask(&token, late.clone());
    assert!(tokio::time::timeout(Duration::from_millis(200), waiting).await.is_err());
    drop(carried);
    // What an interrupted try left is replaced, as often as it takes.
    house.ask(&token, late).await.unwrap();
    let first = rows(&target);
    drop(house.registry.carry_to(target.place()).await.unwrap());
    assert_ne!(rows(&target), first);

    // The other place is the same deployment.
    let parts = || RegistryParts { kms: kms(house.dir.path()).into(), ..target.parts(&house.clock) };
    let moved = Registry::open(parts()).unwrap();
    assert_eq!(shape(&moved), shape(&house.registry));
    assert_eq!(moved.ca_pem(), house.registry.ca_pem());
    // Nobody writes over it while it is at work, nor with what is older.
    let error = house.registry.carry_to(target.place()).await.err().unwrap();
    assert!(matches!(error, RegistryError::InUse), "{error}");
    revoke(&moved, 1).await.unwrap();
    let newest = shape(&moved);
    drop(moved);
    let error = house.registry.carry_to(target.place()).await.err().unwrap();
    assert!(matches!(error, RegistryError::NotEmpty), "{error}");

    let moved = Registry::open(parts()).unwrap();
    let back = Home::file();
    let carried = moved.carry_to(back.place()).await.unwrap();
    // What was left behind is nobody's.
    moved.clear(&carried).await.unwrap();
    drop((carried, moved));
    assert!(matches!(Registry::open(parts()), Err(RegistryError::Empty)));
    let parts = RegistryParts { kms: kms(house.dir.path()).into(), ..back.parts(&house.clock) };
    assert_eq!(shape(&Registry::open(parts).unwrap()), newest);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_written_over_another_deployment() {
    let there = House::new_in(Home::postgres().await).await;
    let before = rows(&there.dir);
    let House { dir, registry, authority, ledgers, store, guard, .. } = there;
    drop((registry, authority, ledgers, store, guard));
    let here = House::new().await;
    let error = here.registry.carry_to(dir.place()).await.err().unwrap();
    assert!(matches!(error, RegistryError::NotEmpty), "{error}");
    assert_eq!(rows(&dir), before);
    // Nor over a file.
    let file = House::new().await;
    let error = here.registry.carry_to(file.dir.place()).await.err().unwrap();
    assert!(matches!(error, RegistryError::Exists(_)), "{error}");
}
