use std::fs;

use super::*;

/// What matters of a state: the witness's key and what it keeps of the log.
fn content(witness: &Witness) -> (String, String, Seen, String, Option<Alarm>) {
    let kept = witness.kept(NAME).unwrap();
    let note = kept.note().unwrap().to_string();
    (witness.verifier().to_string(), kept.key().to_string(), kept.seen(), note, kept.alarm().cloned())
}

/// A state with something in it, closed.
async fn written(with_alarm: bool) -> House {
    let server = Server::new(300);
    server.grows_to(300);
    let mut house = House::new();
    house.look(&server).await;
    if with_alarm {
        server.grows_to(299);
        house.look(&server).await;
    }
    house
}

#[tokio::test]
async fn the_file_is_its_owner_s_and_open_once() {
    let mut house = written(false).await;
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        assert_eq!(fs::metadata(&house.path).unwrap().permissions().mode() & 0o777, 0o600);
    }
    assert!(matches!(open(&house.path), Err(StateError::Busy(_))));
    house.restarted();
    // The name stays what it was.
    drop(house.witness.take());
    let clock = Arc::new(ManualClock::at(UnixMs::from_seconds(1)));
    let named = Witness::open(&house.path, Some("another"), clock.clone(), &SystemEntropy);
    assert!(matches!(named, Err(StateError::Name)));
    let fresh = house.path.with_extension("other");
    assert!(matches!(Witness::open(&fresh, Some("a b"), clock.clone(), &SystemEntropy), Err(StateError::Name)));
    let named = Witness::open(&fresh, Some("witness.example/w1"), clock, &SystemEntropy).unwrap();
    assert_eq!(named.verifier().name(), "witness.example/w1");
}

#[tokio::test]
async fn a_state_whose_bytes_were_changed_is_refused_and_not_made_anew() {
    for with_alarm in [false, true] {
        let mut house = written(with_alarm).await;
        let expected = content(house.witness());
        drop(house.witness.take());
        let good = fs::read(&house.path).unwrap();
        let (mut found, mut harmless) = (0, 0);
        for place in 0..good.len() {
            let mut bad = good.clone();
            bad[place] ^= 1 << (place % 7);
            fs::write(&house.path, &bad).unwrap();
            match open(&house.path) {
                // A space between two parts of JSON may be another.
                Ok(witness) => {
                    assert_eq!(content(&witness), expected, "byte {place}");
                    harmless += 1;
                }
                Err(error) => {
                    assert!(matches!(error, StateError::Damaged { .. }), "{error}");
                    assert_eq!(fs::read(&house.path).unwrap(), bad, "left as it is");
                    found += 1;
                }
            }
        }
        println!("{found} of {} changed bytes found, {harmless} were spaces", good.len());
        assert!(found > good.len() * 3 / 4);
        for length in 0..good.len() - 1 {
            fs::write(&house.path, &good[..length]).unwrap();
            assert!(matches!(open(&house.path), Err(StateError::Damaged { .. })), "cut at {length}");
        }
    }
}

#[tokio::test]
async fn a_state_that_somebody_wrote_is_believed_only_as_far_as_it_is_signed() {
    let mut house = written(false).await;
    drop(house.witness.take());
    let good = fs::read_to_string(&house.path).unwrap();
    let parts: serde_json::Value = serde_json::from_str(&good).unwrap();
    // Another size under the same signatures, with a digest that fits.
    let note = parts["logs"][NAME]["checkpoint"].as_str().unwrap();
    let mut changed = parts.clone();
    changed["logs"][NAME]["checkpoint"] = note.replace("\n300\n", "\n299\n").into();
    let logs: BTreeMap<String, serde_json::Value> = serde_json::from_value(changed["logs"].clone()).unwrap();
    let fields = |log: &serde_json::Value| format!(r#"{{"key":{},"checkpoint":{}}}"#, log["key"], log["checkpoint"]);
    let logs: Vec<String> = logs.iter().map(|(name, log)| format!("{}:{}", json!(name), fields(log))).collect();
    let digested = format!("[1,{},{{{}}}]", changed["key"], logs.join(","));
    changed["digest"] = Hash(countersign_crypto::sha256(digested.as_bytes())).to_string().into();
    fs::write(&house.path, changed.to_string()).unwrap();
    let refused = open(&house.path).err().unwrap();
    assert!(refused.to_string().contains("a log's key or checkpoint"), "{refused}");
}

#[tokio::test]
async fn nothing_is_signed_that_could_not_be_kept() {
    let server = Server::new(300);
    server.grows_to(200);
    let mut house = House::new();
    house.look(&server).await;
    // The file can't be replaced any more: a folder stands where the new one is written.
    let beside = house.path.with_extension("json.new");
    fs::create_dir(&beside).unwrap();
    server.grows_to(300);
    let report = house.look(&server).await;
    assert!(matches!(report.outcome, Outcome::Trouble(_)) && report.size == Some(200), "{report:?}");
    assert!(!server.with(|log| log.cosigned.contains_key(&300)));
    // An alarm that can't be written holds in this process all the same.
    server.grows_to(100);
    house.look(&server).await;
    assert_eq!(refused(&house.look(&server).await), Some(Kind::Rollback));
    fs::remove_dir(&beside).unwrap();
    house.restarted();
    assert_eq!(house.witness().kept(NAME).unwrap().seen().size, 200);
}
