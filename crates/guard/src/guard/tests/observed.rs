//! What a guard shows to whoever watches it: each end of a request once, in words of closed lists.

use super::*;
use crate::{Settlement, observe::Unobserved};
use countersign_model::{FieldSet, TypeId};

#[derive(Default)]
struct Seen(Mutex<Vec<Observation>>);

impl Observe for Seen {
    fn observe(&self, seen: &Observation) {
        self.0.lock().unwrap().push(*seen);
    }
}

impl Seen {
    fn only(&self) -> Observation {
        let mut all = self.0.lock().unwrap();
        assert_eq!(all.len(), 1, "each request is seen once: {all:?}");
        all.remove(0)
    }
}

fn watched(records: Records) -> (House, Arc<Seen>) {
    let (mut house, seen) = (House::with(records), Arc::new(Seen::default()));
    house.guard.parts.observe = Arc::clone(&seen) as Arc<dyn Observe>;
    (house, seen)
}

impl House {
    async fn admitted(&self, token: &str, request: Request) -> Permit {
        let bearer = Some(Bearer::new(token.to_owned()));
        self.guard.admit(bearer, &Peer::default(), request).await.expect("it is admitted")
    }
}

#[tokio::test]
async fn each_end_of_a_request_is_seen_once() {
    let (house, seen) = watched(Records::default());
    let clerk = house.token("clerk", "acme");
    house.clock.advance_ms(5_000);

    let asked = request(read(&["id"]));
    let permit = house.admitted(&clerk, asked.clone()).await;
    assert!(seen.0.lock().unwrap().is_empty(), "it has not ended");
    let mut tally = Tally::new(permit.principal().token, 7);
    tally.open(TypeId(0), FieldSet::first(2), 3);
    permit.settle(Settlement { tally: Some(tally.clone()), ..Settlement::default() }).await.unwrap();
    let one = seen.only();
    assert_eq!((one.request, one.service, one.door), (asked.id, Service::Gateway, Some(Door::Http)));
    assert_eq!((one.action, one.verdict, one.reason), ("read", Verdict::Released, None));
    assert_eq!((one.rows, one.cells, one.entry, one.token_age_ms), (3, 6, true, Some(5_000)));

    house.refused(Some(&clerk), request(read(&["secret"]))).await;
    let one = seen.only();
    assert_eq!((one.verdict, one.reason), (Verdict::Refused, Some(Reason::NotPermitted)));
    assert_eq!((one.entry, one.token_age_ms), (true, Some(5_000)));
    house.refused(None, request(read(&["id"]))).await;
    assert_eq!(seen.only().token_age_ms, None, "nobody knows whose it is");

    drop(house.admitted(&clerk, request(read(&["id"]))).await);
    let one = seen.only();
    assert_eq!((one.verdict, one.reason), (Verdict::Failed, None), "nobody brought it to its end");

    let bearer = Bearer::new(clerk);
    let asked = request(read(&["id"]));
    let judgement = house.guard.judge_again(&bearer, &asked, 7).await.unwrap();
    house.guard.countersign(&judgement, &asked, Verdict::Released, Vec::new(), tally).await.unwrap();
    let one = seen.only();
    assert_eq!((one.request, one.verdict, one.cells, one.entry), (asked.id, Verdict::Released, 6, false));
    assert!(house.guard.judge_again(&bearer, &request(read(&["secret"])), 7).await.is_err());
    assert_eq!(seen.only().reason, Some(Reason::NotPermitted));
}

#[tokio::test]
async fn what_could_not_be_recorded_is_seen_as_what_it_came_to() {
    let (house, seen) = watched(Records { failing: true, ..Records::default() });
    let clerk = house.token("clerk", "acme");
    let permit = house.admitted(&clerk, request(read(&["id"]))).await;
    let mut tally = Tally::new(permit.principal().token, 7);
    tally.open(TypeId(0), FieldSet::first(2), 3);
    assert!(permit.settle(Settlement { tally: Some(tally), ..Settlement::default() }).await.is_err());
    let one = seen.only();
    assert_eq!((one.verdict, one.reason, one.rows), (Verdict::Failed, Some(Reason::Unavailable), 0));
    house.refused(None, request(read(&["id"]))).await;
    assert_eq!(seen.only().reason, Some(Reason::Unavailable));
    Unobserved.observe(&one);
}
