//! An object store that speaks S3: a small one in this process, which answers as told.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use countersign_backup::*;
use http_body_util::{BodyExt as _, Full};
use hyper::body::{Bytes, Incoming};
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;

use crate::setting::*;

/// The bucket's objects, and how the server behaves.
#[derive(Default)]
struct Bucket {
    objects: Mutex<BTreeMap<String, Bytes>>,
    /// So many more requests are answered with 503.
    failing: AtomicUsize,
    /// So many more requests are stored and then not answered.
    mute: AtomicUsize,
    /// So many more are answered late.
    slow: AtomicUsize,
    asked: AtomicUsize,
}

fn take(counter: &AtomicUsize) -> bool {
    counter.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok()
}

fn answer(status: u16, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let body = body.into();
    Response::builder()
        .status(status)
        .header("etag", "\"e\"")
        .header("last-modified", "Sun, 22 Nov 2026 10:00:00 GMT")
        .body(Full::new(body))
        .unwrap()
}

impl Bucket {
    async fn serve(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        let (head, body) = request.into_parts();
        let Ok(body) = body.collect().await else { return answer(400, "") };
        let body = body.to_bytes();
        let authorization = head.headers.get("authorization").map_or("", |value| value.to_str().unwrap());
        if !authorization.starts_with("AWS4-HMAC-SHA256 Credential=good/") {
            return answer(403, "<Error><Code>InvalidAccessKeyId</Code></Error>");
        }
        if take(&self.failing) {
            return answer(503, "<Error><Code>SlowDown</Code></Error>");
        }
        if take(&self.slow) {
            tokio::time::sleep(Duration::from_millis(1500)).await;
        }
        let Some(key) = head.uri.path().strip_prefix("/bucket") else {
            return answer(404, "<Error><Code>NoSuchBucket</Code></Error>");
        };
        let key = key.trim_start_matches('/').to_owned();
        let answered = self.answer(&head, key, body);
        if take(&self.mute) {
            tokio::time::sleep(Duration::from_secs(3600)).await;
        }
        answered
    }

    fn answer(&self, head: &hyper::http::request::Parts, key: String, body: Bytes) -> Response<Full<Bytes>> {
        let mut objects = self.objects.lock();
        match (head.method.clone(), key.is_empty()) {
            (Method::GET, true) => {
                let query = head.uri.query().unwrap_or_default();
                let prefix = query.split('&').find_map(|part| part.strip_prefix("prefix=")).unwrap_or_default();
                let prefix = prefix.replace("%2F", "/");
                let mut list =
                    String::from("<?xml version=\"1.0\"?><ListBucketResult><IsTruncated>false</IsTruncated>");
                for (name, object) in objects.iter().filter(|(name, _)| name.starts_with(&prefix)) {
                    list.push_str(&format!(
                        "<Contents><Key>{name}</Key><Size>{}</Size><ETag>\"e\"</ETag>\
                         <LastModified>2026-11-22T10:00:00.000Z</LastModified></Contents>",
                        object.len()
                    ));
                }
                answer(200, list + "</ListBucketResult>")
            }
            (Method::GET, false) => match objects.get(&key) {
                Some(object) => answer(200, object.clone()),
                None => answer(404, "<Error><Code>NoSuchKey</Code></Error>"),
            },
            (Method::PUT, false) => {
                let new_only = head.headers.get("if-none-match").is_some();
                if new_only && objects.contains_key(&key) {
                    answer(412, "<Error><Code>PreconditionFailed</Code></Error>")
                } else {
                    objects.insert(key, body);
                    answer(200, "")
                }
            }
            (Method::DELETE, false) => {
                objects.remove(&key);
                answer(204, "")
            }
            _ => answer(405, ""),
        }
    }
}

async fn bucket() -> (Arc<Bucket>, S3) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let bucket = Arc::<Bucket>::default();
    let serving = Arc::clone(&bucket);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let bucket = Arc::clone(&serving);
            tokio::spawn(async move {
                let service = hyper::service::service_fn(move |request| {
                    let bucket = Arc::clone(&bucket);
                    async move { Ok::<_, Infallible>(bucket.serve(request).await) }
                });
                let _ =
                    hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
            });
        }
    });
    (bucket, s3(endpoint))
}

fn s3(endpoint: String) -> S3 {
    S3 {
        bucket: "bucket".into(),
        prefix: "first/place".into(),
        endpoint: Some(endpoint),
        region: "us-east-1".into(),
        key_id: "good".into(),
        secret: "secret".to_owned().into(),
        ca_pem: None,
        patience: Duration::from_secs(20),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn goes_in_and_comes_out() {
    let (bucket, s3) = bucket().await;
    let place = s3.place().unwrap();
    let repository = Repository::create(place.clone(), &key(), b"wrapped", Tools::system()).await.unwrap();
    let again = Repository::create(place.clone(), &key(), b"wrapped", Tools::system()).await;
    assert_eq!(again.unwrap_err(), BackupError::Exists);
    let first = write(&repository, keys(), &parts(0)).await.unwrap();
    assert_eq!(read(&repository, keys(), first.manifest.id).await.unwrap(), parts(0));
    assert!(bucket.objects.lock().keys().all(|name| name.starts_with("first/place/")));
    let second = write(&repository, keys(), &parts(0)).await.unwrap();
    assert_eq!(second.new_chunks, 0);
    let header = Header::read(&place).await.unwrap();
    let repository = Repository::open(place, &header, &key(), Tools::system()).unwrap();
    assert_eq!(repository.backups().await.unwrap(), [first.manifest.id, second.manifest.id]);
    let writer = repository.begin(keys(), Arc::new(())).await.unwrap();
    assert!(matches!(repository.prune(&[]).await, Err(BackupError::InUse { .. })));
    drop(writer);
    while repository.prune(&[]).await.is_err() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(bucket.objects.lock().keys().collect::<Vec<_>>(), ["first/place/repository"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn errors_are_tried_again() {
    let (bucket, mut s3) = bucket().await;
    s3.patience = Duration::from_secs(60);
    let repository = Repository::create(s3.place().unwrap(), &key(), b"", Tools::system()).await.unwrap();
    bucket.failing.store(5, Ordering::Relaxed);
    bucket.slow.store(1, Ordering::Relaxed);
    let finished = write(&repository, keys(), &parts(0)).await.unwrap();
    bucket.failing.store(3, Ordering::Relaxed);
    assert_eq!(read(&repository, keys(), finished.manifest.id).await.unwrap(), parts(0));
}

/// A backup that failed because the store was away can be begun again as soon as that is back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lock_that_could_not_be_let_go_is_in_nobodys_way() {
    let (bucket, s3) = bucket().await;
    let repository = Repository::create(s3.place().unwrap(), &key(), b"", Tools::system()).await.unwrap();
    let writer = repository.begin(keys(), Arc::new(())).await.unwrap();
    bucket.mute.store(1, Ordering::Relaxed);
    drop(writer);
    while bucket.mute.load(Ordering::Relaxed) > 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    write(&repository, keys(), &parts(0)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_wrong_with_a_server_is_said() {
    let (bucket, good) = bucket().await;
    let wrong = S3 { key_id: "bad".into(), patience: Duration::from_secs(3), ..good.clone() };
    let refused = Header::read(&wrong.place().unwrap()).await.unwrap_err();
    assert_eq!(refused, Unreachable::Refused.into());
    let refused = Repository::create(wrong.place().unwrap(), &key(), b"", Tools::system()).await.unwrap_err();
    assert_eq!(refused, Unreachable::Refused.into());

    let hasty = S3 { patience: Duration::from_secs(1), ..good.clone() };
    bucket.failing.store(usize::MAX, Ordering::Relaxed);
    let failed = Header::read(&hasty.place().unwrap()).await.unwrap_err();
    assert_eq!(failed, Unreachable::NoAnswer.into());
    bucket.failing.store(0, Ordering::Relaxed);
    bucket.mute.store(usize::MAX, Ordering::Relaxed);
    let failed = Header::read(&hasty.place().unwrap()).await.unwrap_err();
    assert_eq!(failed, Unreachable::NoAnswer.into());
    bucket.mute.store(0, Ordering::Relaxed);

    let nobody = S3 { endpoint: Some("http://127.0.0.1:9".into()), ..hasty.clone() };
    assert_eq!(Header::read(&nobody.place().unwrap()).await.unwrap_err(), Unreachable::NoAnswer.into());
    let plain = S3 { endpoint: Some("http://s3.example".into()), ..hasty.clone() };
    assert_eq!(plain.place().unwrap_err(), Unreachable::Settings.into());
    let other = S3 { bucket: "other".into(), ..hasty };
    let failed = Header::read(&other.place().unwrap()).await.unwrap_err();
    assert_eq!(failed, BackupError::NoRepository);
    assert!(!format!("{good:?}").contains("secret"));
}

/// Against a server that others made.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "starts moto_server; a step of `cargo xtask test` runs it"]
async fn goes_in_and_comes_out_of_another_server() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), Into::into);
    let server = countersign_testkit::ObjectStore::start(&target.join("clients/s3/bin/moto_server")).unwrap();
    let s3 = s3(format!("http://127.0.0.1:{}", server.port()));
    let place = s3.place().unwrap();
    let repository = Repository::create(place.clone(), &key(), b"wrapped", Tools::system()).await.unwrap();
    let again = Repository::create(place, &key(), b"wrapped", Tools::system()).await;
    assert_eq!(again.unwrap_err(), BackupError::Exists);
    let first = write(&repository, keys(), &parts(0)).await.unwrap();
    let second = write(&repository, keys(), &parts(1)).await.unwrap();
    for (finished, salt) in [(&first, 0), (&second, 1)] {
        assert_eq!(read(&repository, keys(), finished.manifest.id).await.unwrap(), parts(salt));
    }
    assert_eq!(write(&repository, keys(), &parts(0)).await.unwrap().new_chunks, 0);
    let writer = repository.begin(keys(), Arc::new(())).await.unwrap();
    assert!(matches!(repository.prune(&[]).await, Err(BackupError::InUse { .. })));
    drop(writer);
    while repository.prune(&[second.manifest.id]).await.is_err() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(read(&repository, keys(), second.manifest.id).await.unwrap(), parts(1));
}
