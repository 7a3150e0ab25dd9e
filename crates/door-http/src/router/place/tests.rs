#![allow(clippy::arithmetic_side_effects, reason = "moments of now, and a little later")]

use std::time::Duration;

use super::*;

fn soon() -> Instant {
    Instant::now() + Duration::from_millis(50)
}

fn late() -> Instant {
    Instant::now() + Duration::from_secs(20)
}

#[tokio::test]
async fn a_pause_waits_for_requests_and_holds_those_that_come() {
    let place = Arc::new(Place::new(Arc::new(1)));
    let first = place.enter(soon()).await.unwrap();
    let begun = first.clone();
    let pausing = tokio::spawn({
        let place = Arc::clone(&place);
        async move { place.pause().await }
    });
    drop(first);
    tokio::time::sleep(Duration::from_millis(20)).await;
    assert!(!pausing.is_finished(), "what the request began is not over");
    drop(begun);
    let paused = pausing.await.unwrap();
    assert!(place.enter(soon()).await.is_none(), "it waits as long as it may");
    let waiting = tokio::spawn({
        let place = Arc::clone(&place);
        async move { *place.enter(late()).await.unwrap().backend() }
    });
    let other = Router { place: Arc::new(Place::new(Arc::new(2))), limits: Arc::default() };
    paused.go_on_with(&other).await;
    assert_eq!(waiting.await.unwrap(), 2);
}

#[tokio::test]
async fn a_pause_that_is_given_up_leaves_the_backend() {
    let place = Place::new(Arc::new(1));
    drop(place.pause().await);
    assert_eq!(*place.enter(soon()).await.unwrap().backend(), 1);
    let mut paused = place.pause().await;
    paused.let_go();
    drop(paused);
    assert!(place.enter(soon()).await.is_none(), "there is none any more");
}
