//! What the layer lets through, and how it answers what it doesn't.

use std::convert::Infallible;

use http::header::{CONTENT_TYPE, WWW_AUTHENTICATE};
use http::{Request, Response};
use tower::{ServiceExt as _, service_fn};
use tower_layer::Layer as _;

use super::*;
use crate::CountersignLayer;

/// Sends a request with these headers through the layer. The service answers with the caller's token id.
async fn through(layer: &CountersignLayer, headers: HeaderMap) -> Response<String> {
    let service = service_fn(async |request: Request<()>| {
        assert!(!request.headers().contains_key(AUTHORIZATION), "the token is left where it may be printed");
        let caller: &Caller = request.extensions().get().unwrap();
        assert_eq!(Caller::current().unwrap().token(), caller.token());
        Ok::<_, Infallible>(Response::new(caller.token().to_string()))
    });
    let mut request = Request::new(());
    *request.headers_mut() = headers;
    layer.layer(service).oneshot(request).await.unwrap()
}

fn headers(values: &[&str]) -> HeaderMap {
    values.iter().map(|value| (AUTHORIZATION, HeaderValue::from_str(value).unwrap())).collect()
}

#[tokio::test]
async fn exactly_one_good_bearer_token_is_let_through() {
    let world = World::new().await;
    let layer = CountersignLayer::new(world.authority.clone());
    let login = world.login();
    let token = login.token();
    for good in [format!("Bearer {token}"), format!("bearer {token}"), format!("BEARER {token}")] {
        let answer = through(&layer, headers(&[&good])).await;
        assert_eq!((answer.status(), answer.body().as_str()), (StatusCode::OK, &*login.id().to_string()));
    }
    assert!(Caller::current().is_none());
    let good = format!("Bearer {token}");
    for (bad, status, error) in [
        (&[][..], 401, ""),
        (&["Basic YTpi"], 401, ""),
        (&["DPoP abc"], 401, "invalid_token"),
        (&["Bearer"], 401, "invalid_token"),
        (&["Bearer "], 401, "invalid_token"),
        (&[&format!("Bearer  {token}")], 401, "invalid_token"),
        (&[&format!("Bearer {token} ")], 401, "invalid_token"),
        (&[&format!("Bearer {token},")], 401, "invalid_token"),
        (&[&format!("Bearer {token}, Bearer {token}")], 401, "invalid_token"),
        (&[&format!("Bearer\t{token}")], 401, "invalid_token"),
        (&[token], 401, "invalid_token"),
        (&[&format!("Bearer {token}x")], 401, "invalid_token"),
        (&[&good, &good], 400, "invalid_request"),
        (&[&good, "Basic YTpi"], 400, "invalid_request"),
    ] {
        let answer = through(&layer, headers(bad)).await;
        assert_eq!((answer.status().as_u16(), answer.body().as_str()), (status, ""), "{bad:?}");
        let challenge = answer.headers()[WWW_AUTHENTICATE].to_str().unwrap();
        assert!(challenge.starts_with(r#"Bearer realm="countersign""#), "{challenge}");
        assert_eq!(challenge.contains("error="), !error.is_empty(), "{bad:?}: {challenge}");
        assert!(challenge.contains(error), "{bad:?}: {challenge}");
    }
}

#[tokio::test]
async fn a_revoked_token_is_refused_and_where_nobody_can_tell_too() {
    let world = World::new().await;
    let layer = CountersignLayer::new(world.authority.clone());
    let login = world.login();
    world.say(&login, 401, Value::Null);
    assert_eq!(through(&layer, bearer(login.token())).await.status(), 401);
    let other = world.login();
    world.fake.down.store(true, Ordering::SeqCst);
    let answer = through(&layer, bearer(other.token())).await;
    assert_eq!((answer.status().as_u16(), answer.headers().get(WWW_AUTHENTICATE)), (503, None));
    let offline = layer.without_asking();
    assert_eq!(through(&offline, bearer(other.token())).await.status(), 200);
}

#[tokio::test]
async fn grpc_is_answered_in_its_own_words() {
    let world = World::new().await;
    let layer = CountersignLayer::new(world.authority.clone());
    let grpc = |mut headers: HeaderMap| {
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc+proto"));
        headers
    };
    let status =
        |answer: &Response<String>| answer.headers().get("grpc-status").map(|s| s.to_str().unwrap().to_owned());
    let none = through(&layer, grpc(HeaderMap::new())).await;
    assert_eq!((none.status().as_u16(), status(&none).as_deref()), (200, Some("16")));
    let login = world.login();
    world.fake.down.store(true, Ordering::SeqCst);
    assert_eq!(status(&through(&layer, grpc(bearer(login.token()))).await).as_deref(), Some("14"));
    world.fake.down.store(false, Ordering::SeqCst);
    assert_eq!(status(&through(&layer, grpc(bearer(login.token()))).await), None);
}
