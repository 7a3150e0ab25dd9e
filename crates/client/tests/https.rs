//! The client of one server: HTTP/2 over TLS, and nothing that was not asked for.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use countersign_client::{Action, ForwardLayer, Https, HttpsError, Trusted};
use http::header::{AUTHORIZATION, LOCATION};
use http::{HeaderMap, Request, Response};
use http_body_util::{BodyExt as _, Empty};
use hyper::body::Incoming;
use support::{Countersign, Network};
use tower::{ServiceExt as _, service_fn};
use tower_layer::Layer as _;

type Body = Empty<Bytes>;

fn get(url: &str) -> Request<Body> {
    Request::get(url).body(Body::new()).unwrap()
}

#[tokio::test]
async fn a_redirect_is_given_to_the_caller_and_not_followed() {
    let network = Network::new();
    let countersign = Countersign::start(&network).await;
    let reached = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&reached);
    let elsewhere = service_fn(move |_: Request<Incoming>| {
        count.fetch_add(1, Ordering::SeqCst);
        std::future::ready(Ok::<_, Infallible>(Response::new(Body::new())))
    });
    let (elsewhere, _) = network.serve(elsewhere).await;
    let target = elsewhere.clone();
    let redirects = service_fn(move |request: Request<Incoming>| {
        assert!(request.headers().contains_key(AUTHORIZATION));
        let response = Response::builder().status(307).header(LOCATION, target.clone());
        std::future::ready(Ok::<_, Infallible>(response.body(Body::new()).unwrap()))
    });
    let (redirects, _) = network.serve(redirects).await;

    let forward = ForwardLayer::new(Trusted::new([&redirects]).unwrap());
    let client = forward.layer(Https::<Body>::new(&redirects, network.ca()).unwrap());
    let login = countersign.login();
    let headers: HeaderMap =
        [(AUTHORIZATION, format!("Bearer {}", login.token()).parse().unwrap())].into_iter().collect();
    let caller = countersign.authority.authenticate(&headers).await.unwrap();
    assert!(caller.may(Action::Read, "customer", &["company"]).await.unwrap());
    let answer = caller.scope(client.oneshot(get(&redirects))).await.unwrap();
    assert_eq!((answer.status().as_u16(), answer.headers()[LOCATION].to_str().unwrap()), (307, &*elsewhere));
    assert_eq!(reached.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn one_server_of_one_authority_and_no_other() {
    let network = Network::new();
    let hello = service_fn(async |_: Request<Incoming>| Ok::<_, Infallible>(Response::new("hello".to_owned())));
    let (url, _) = network.serve(hello).await;
    let client = Https::<Body>::new(&url, network.ca()).unwrap();
    let body = client.send(get(&url)).await.unwrap().into_body().collect().await.unwrap().to_bytes();
    assert_eq!(body, "hello");
    for other in ["https://127.0.0.1:1/", "http://127.0.0.1/", "/path", &url.replace("https://", "https://user@")] {
        assert!(matches!(client.send(get(other)).await, Err(HttpsError::OtherServer)), "{other}");
    }
    let strangers = Https::<Body>::new(&url, Network::new().ca()).unwrap();
    assert!(matches!(strangers.send(get(&url)).await, Err(HttpsError::Connect(_))));
    for bad in ["http://127.0.0.1:1", "https://127.0.0.1/x", "127.0.0.1:1", ""] {
        assert!(matches!(Https::<Body>::new(bad, network.ca()), Err(HttpsError::Url)), "{bad}");
    }
    assert!(matches!(Https::<Body>::new(&url, "no certificate"), Err(HttpsError::Authority)));
}

#[tokio::test]
async fn a_connection_that_was_closed_is_opened_again() {
    let network = Network::new();
    let connections = Arc::new(AtomicUsize::new(0));
    let hello = service_fn(async |_: Request<Incoming>| Ok::<_, Infallible>(Response::new(Body::new())));
    let (url, serving) = network.serve(hello).await;
    let client = Https::<Body>::new(&url, network.ca()).unwrap();
    client.send(get(&url)).await.unwrap();
    serving.abort();
    let _ended = serving.await;
    // Whether the closing is heard of before or after the next request was sent, it does not get an answer.
    assert!(client.send(get(&url)).await.is_err());
    let address = url.trim_start_matches("https://").to_owned();
    let listener = tokio::net::TcpListener::bind(address).await.unwrap();
    let count = Arc::clone(&connections);
    tokio::spawn(async move {
        while listener.accept().await.is_ok() {
            count.fetch_add(1, Ordering::SeqCst);
        }
    });
    assert!(client.send(get(&url)).await.is_err());
    assert_eq!(connections.load(Ordering::SeqCst), 1, "it was not opened again");
}
