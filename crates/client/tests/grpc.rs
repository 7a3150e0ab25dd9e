//! The same two layers on gRPC: a tonic server behind the one, tonic clients behind the other, two hops.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::sync::Arc;

use countersign_client::{Caller, CountersignLayer, Forward, ForwardLayer, Https, Trusted};
use parking_lot::Mutex;
use support::{Countersign, Network};
use tonic::codec::Streaming;
use tonic::{Code, Request, Response, Status};
use tonic_health::pb::health_client::HealthClient;
use tonic_health::pb::health_server::{Health, HealthServer};
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};
use tower_layer::Layer as _;

/// The transport of a generated client.
type Transport = Forward<Https<tonic::body::Body>>;

/// A service that notes whose call it was, and calls the next one if there is one.
#[derive(Clone)]
struct Hop {
    seen: Arc<Mutex<Vec<String>>>,
    next: Option<HealthClient<Transport>>,
}

#[tonic::async_trait]
impl Health for Hop {
    async fn check(&self, request: Request<HealthCheckRequest>) -> Result<Response<HealthCheckResponse>, Status> {
        let caller: &Caller = request.extensions().get().ok_or_else(|| Status::internal("no caller"))?;
        assert!(!request.metadata().contains_key("authorization"));
        self.seen.lock().push(caller.token().to_string());
        match self.next.clone() {
            Some(mut next) => next.check(request.into_inner()).await,
            None => Ok(Response::new(HealthCheckResponse { status: 1 })),
        }
    }

    type WatchStream = Streaming<HealthCheckResponse>;

    async fn watch(&self, _: Request<HealthCheckRequest>) -> Result<Response<Self::WatchStream>, Status> {
        Err(Status::unimplemented("not here"))
    }
}

fn client(url: &str, ca: &str, trusted: &Trusted) -> HealthClient<Transport> {
    let transport = ForwardLayer::new(trusted.clone()).layer(Https::new(url, ca).unwrap());
    HealthClient::with_origin(transport, url.parse().unwrap())
}

#[tokio::test]
async fn the_same_token_goes_along_grpc_calls() {
    let network = Network::new();
    let countersign = Countersign::start(&network).await;
    let seen = Arc::new(Mutex::new(Vec::new()));
    let layer = CountersignLayer::new(countersign.authority.clone());

    let last = Hop { seen: Arc::clone(&seen), next: None };
    let (last, _) = network.serve(layer.layer(HealthServer::new(last))).await;
    let trusts_last = Trusted::new([&last]).unwrap();
    let first = Hop { seen: Arc::clone(&seen), next: Some(client(&last, network.ca(), &trusts_last)) };
    let (first, _) = network.serve(layer.layer(HealthServer::new(first))).await;

    // Without a token, to somebody who is not trusted with it: refused at the first hop.
    let untrusting = Trusted::new([] as [&str; 0]).unwrap();
    let refused = client(&first, network.ca(), &untrusting).check(HealthCheckRequest::default()).await.unwrap_err();
    assert_eq!((refused.code(), seen.lock().len()), (Code::Unauthenticated, 0));

    let login = countersign.login();
    let mut headers = http::HeaderMap::new();
    headers.insert("authorization", format!("Bearer {}", login.token()).parse().unwrap());
    let caller = countersign.authority.authenticate(&headers).await.unwrap();
    let trusts_first = Trusted::new([&first]).unwrap();
    let mut first = client(&first, network.ca(), &trusts_first);
    let answer = caller.clone().scope(first.check(HealthCheckRequest::default())).await.unwrap();
    assert_eq!(answer.into_inner().status, 1);
    assert_eq!(*seen.lock(), [login.id().to_string(), login.id().to_string()]);

    // From a task of its own, with the caller among the request's extensions.
    let mut request = Request::new(HealthCheckRequest::default());
    request.extensions_mut().insert(caller);
    tokio::spawn(async move { first.check(request).await }).await.unwrap().unwrap();
    assert_eq!(seen.lock().len(), 4);
}
