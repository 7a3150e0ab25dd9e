//! The device flow.

use countersign_audit::{Reason, Verdict};
use serde_json::{Value, json};

use super::World;

impl World {
    pub(super) async fn begin_device(&self) -> Value {
        let (status, begun) = self.post("/v1/login/oidc/device", json!({ "tenant": "northwind" })).await;
        assert_eq!(status, 200, "{begun}");
        begun
    }

    async fn poll(&self, begun: &Value) -> (u16, Value) {
        self.post("/v1/login/oidc/device/poll", json!({ "id": begun["id"] })).await
    }

    /// The word of a poll that gave no token.
    async fn waits(&self, begun: &Value) -> String {
        let (status, said) = self.poll(begun).await;
        assert_eq!(status, 400, "{said}");
        said["error"].as_str().unwrap().to_owned()
    }

    fn later(&self, seconds: u64) {
        self.house.clock.advance_ms(seconds.saturating_mul(1000));
        let now = self.house.now();
        self.fake.says("iat", json!(now.seconds()));
        self.fake.says("exp", json!(now.plus_ms(300_000).seconds()));
    }
}

#[tokio::test]
async fn a_person_logs_in_on_another_device() {
    let world = World::new().await;
    let begun = world.begin_device().await;
    assert_eq!(begun["user_code"], "WDJB-MJHT");
    assert_eq!(begun["verification_uri"], "https://login.northwind.example/device");
    assert_eq!((&begun["interval"], &begun["expires_in"]), (&json!(5), &json!(600)));
    assert!(!begun.to_string().contains("the-device-code"));

    world.fake.answers(Some("authorization_pending"));
    assert_eq!(world.waits(&begun).await, "authorization_pending");
    // Too early: the provider is not even asked, and the interval grows to 10 seconds.
    assert_eq!(world.waits(&begun).await, "slow_down");
    assert_eq!(world.fake.count("/token"), 1);
    world.later(10);
    assert_eq!(world.waits(&begun).await, "authorization_pending");
    world.later(10);
    world.fake.answers(Some("slow_down"));
    assert_eq!(world.waits(&begun).await, "slow_down");
    world.later(14);
    assert_eq!(world.waits(&begun).await, "slow_down");
    assert_eq!(world.fake.count("/token"), 3);
    world.later(60);
    world.fake.answers(None);
    let (status, token) = world.poll(&begun).await;
    assert_eq!(status, 200, "{token}");
    assert_eq!(world.who(&token).await["user"], "margaret");
    let (form, _) = world.fake.last("/token");
    assert!(form.contains("device_code=the-device-code"));
    assert_eq!(world.logins("northwind").last().unwrap().verdict, Verdict::Released);
    // Once.
    assert_eq!(world.poll(&begun).await.0, 401);
}

#[tokio::test]
async fn a_login_that_the_provider_ends_is_over() {
    let world = World::new().await;
    for (word, why) in [
        ("access_denied", "provider: the person said no"),
        ("expired_token", "provider: the device code expired"),
        ("invalid_grant", "provider: it refused the device code"),
    ] {
        let begun = world.begin_device().await;
        world.fake.answers(Some(word));
        assert_eq!(world.poll(&begun).await.0, 401);
        let record = world.logins("northwind").pop().unwrap();
        assert_eq!((record.body.reason, record.body.detail.as_deref()), (Some(Reason::BadProof), Some(why)));
        world.fake.answers(None);
        world.later(60);
        assert_eq!(world.poll(&begun).await.0, 401);
    }
    // An outage is no end.
    let begun = world.begin_device().await;
    world.fake.is_down(true);
    assert_eq!(world.poll(&begun).await.0, 503);
    world.fake.is_down(false);
    world.later(10);
    assert_eq!(world.poll(&begun).await.0, 200);
    // Ten minutes are.
    let begun = world.begin_device().await;
    world.later(600);
    assert_eq!(world.poll(&begun).await.0, 401);
}

#[tokio::test]
async fn what_a_terminal_would_obey_is_not_shown() {
    let world = World::new().await;
    world.fake.publishes("device_authorization_endpoint", Value::Null);
    // Remembered for an hour.
    assert_eq!(world.post("/v1/login/oidc/device", json!({ "tenant": "northwind" })).await.0, 401);
}

#[tokio::test]
async fn a_device_login_is_no_code_login() {
    let world = World::new().await;
    let begun = world.begin_device().await;
    let back = json!({ "id": begun["id"], "code": "c", "state": "s", "iss": world.fake.issuer });
    assert_eq!(world.post("/v1/login/oidc/finish", back).await.0, 401);
    let (id, _) = world.begin().await;
    assert_eq!(world.post("/v1/login/oidc/device/poll", json!({ "id": id })).await.0, 401);
    // Neither ends the other.
    assert_eq!(world.poll(&begun).await.0, 200);
}
