use async_trait::async_trait;
use countersign_services::{AddCheckpoint, LogFailure};

use super::*;
use crate::people::tests::{call, read};
use crate::tests::House;

/// A log with one checkpoint of 300 records, and a witness that it takes.
struct OneLog;

#[async_trait]
impl Log for OneLog {
    async fn keys(&self) -> Result<[String; 2], LogFailure> {
        Ok(["here/log/store/a+aabbccdd+AQ==".to_owned(), "here/log/store/a+00112233+BA==".to_owned()])
    }

    async fn checkpoint(&self) -> Result<String, LogFailure> {
        Ok("here/log/store/a\n300\nroot\n\n— a note\n".to_owned())
    }

    async fn tile(&self, name: TileName) -> Result<Vec<u8>, LogFailure> {
        match (name.level, name.index, name.width) {
            (0, 0, 256) => Ok(vec![7; 8192]),
            (0, 1, 44) => Ok(vec![8; 44 * 32]),
            _ => Err(LogFailure::NotFound),
        }
    }

    async fn cosign(&self, _: &str, _: &AddCheckpoint) -> Result<String, LogFailure> {
        Err(LogFailure::NotTaken)
    }

    async fn cosigned(&self, size: u64, _: &str, lines: &str) -> Result<(), LogFailure> {
        match (size, lines) {
            (300, "good") => Ok(()),
            (300, _) => Err(LogFailure::NotTaken),
            _ => Err(LogFailure::NotFound),
        }
    }
}

async fn public() -> (House, Public) {
    let logs: Vec<(LogName, Arc<dyn Log>)> = vec![(LogName("store/a".to_owned()), Arc::new(OneLog))];
    let House { authority, guard, dir, clock, registry, ledgers, store, operator } = House::new().await;
    let authority = Arc::into_inner(authority).unwrap().with_logs(Arc::new(logs));
    let authority = authority.expecting_witnesses(["expected".to_owned()]);
    let house = House { authority: Arc::new(authority), guard, dir, clock, registry, ledgers, store, operator };
    let public = Public::new(house.authority.clone(), house.guard.clone());
    (house, public)
}

async fn get(public: &Public, path: &str) -> PublicReply {
    let mut call = call(path, &json!(null));
    (call.method, call.body, call.content_type) = ("GET".into(), Vec::new(), None);
    public.answer(call).await
}

fn cached(reply: &PublicReply) -> &str {
    let found = reply.headers.iter().find(|(name, _)| name == "cache-control");
    found.map_or("", |(_, value)| value.as_str())
}

#[tokio::test]
async fn logs_are_listed_and_read_by_everybody() {
    let (_house, public) = public().await;
    let list = get(&public, "/v1/log").await;
    assert_eq!(cached(&list), "public, max-age=1");
    let expected = json!({ "logs": [{
        "name": "store/a",
        "origin": "here/log/store/a",
        "key": "here/log/store/a+aabbccdd+AQ==",
        "witness": "here/log/store/a+00112233+BA==",
    }] });
    assert_eq!(read(&list), (200, expected));
    let note = get(&public, "/v1/log/store/a/checkpoint").await;
    assert_eq!((note.status, cached(&note)), (200, "public, max-age=1"));
    assert!(note.body.starts_with(b"here/log/store/a\n300\n"));
    let tile = get(&public, "/v1/log/store/a/tile/0/000").await;
    assert_eq!((tile.status, tile.body.len()), (200, 8192));
    assert_eq!(cached(&tile), "public, max-age=31536000, immutable");
    assert_eq!(get(&public, "/v1/log/store/a/tile/0/001.p/44").await.body.len(), 44 * 32);
}

#[tokio::test]
async fn what_is_no_tile_is_not_there() {
    let (_house, public) = public().await;
    for path in [
        "/v1/log/",
        "/v1/log/store",
        "/v1/log/store/a",
        "/v1/log/store/a/",
        "/v1/log/store/b/checkpoint",
        "/v1/log/store/a/checkpoint/",
        "/v1/log/store/a/tile/entries/000",
        "/v1/log/store/a/tile/data/000",
        "/v1/log/store/a/tile/0/002",
        "/v1/log/store/a/tile/0/0",
        "/v1/log/store/a/tile/0/x000/000",
        "/v1/log/store/a/tile/8/000",
        "/v1/log/store/a/tile/0/001.p/0",
        "/v1/log/store/a/tile/0/001.p/256",
        "/v1/log/store/a/tile/0/../../checkpoint",
    ] {
        let reply = get(&public, path).await;
        assert_eq!((reply.status, cached(&reply)), (404, "no-store"), "{path}");
    }
    let long = format!("/v1/log/store/a/tile/0/{}000", "x001/".repeat(20));
    assert_eq!(get(&public, &long).await.status, 404);
    let mut asked = call("/v1/log/store/a/checkpoint", &json!(null));
    (asked.method, asked.body, asked.query) = ("GET".into(), Vec::new(), Some("a=1".into()));
    assert_eq!(public.answer(asked).await.status, 400);
    let wrong = public.answer(call("/v1/log/store/a/checkpoint", &json!({}))).await;
    assert_eq!(wrong.status, 405);
    assert_eq!(get(&public, "/v1/log/store/a/cosignature").await.status, 405);
}

#[tokio::test]
async fn a_witness_s_cosignature_is_taken_if_it_is_good() {
    let (_house, public) = public().await;
    let path = "/v1/log/store/a/cosignature";
    let post = async |body: Value| read(&public.answer(call(path, &body)).await);
    let good = |key: &str| json!({ "size": 300, "key": key, "lines": "good" });
    assert_eq!(post(good("w")).await, (200, json!({ "log": "store/a", "size": 300 })));
    assert_eq!(post(json!({ "size": 300, "key": "w", "lines": "bad" })).await.0, 400);
    assert_eq!(post(json!({ "size": 299, "key": "w", "lines": "good" })).await.0, 404);
    for bad in [
        json!({}),
        json!({ "size": -1, "key": "w", "lines": "" }),
        json!({ "size": 1, "key": "w", "lines": "", "x": 1 }),
    ] {
        assert_eq!(post(bad).await.0, 400);
    }
    assert_eq!(post(json!({ "size": 300, "key": "w".repeat(513), "lines": "good" })).await.0, 400);
    // Whoever brings ever new keys does not keep the services' own from being taken.
    for number in 1..WITNESSES_MAX {
        assert_eq!(post(good(&format!("w{number}"))).await.0, 200);
    }
    assert_eq!(post(good("one too many")).await.0, 429);
    assert_eq!(post(good("w")).await.0, 200);
    // Nor those that the deployment expects.
    assert_eq!(post(good("expected")).await.0, 200);
}
