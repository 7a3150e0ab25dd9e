use countersign_tlog::consistency;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::*;

/// Sends a request as it stands and gives status, content type and body.
async fn send(address: std::net::SocketAddr, method: &str, path: &str, body: &str) -> (u16, String, String) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let length = body.len();
    let head = format!("{method} {path} HTTP/1.1\r\nHost: w\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n");
    stream.write_all(format!("{head}{body}").as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    let media = head.lines().find_map(|line| line.strip_prefix("content-type: ")).unwrap_or_default();
    (status, media.to_owned(), body.to_owned())
}

fn asked(levels: &Levels, old_size: u64, size: u64) -> String {
    let proof = consistency(levels, old_size, size).unwrap();
    AddCheckpoint { old_size, proof, checkpoint: checkpoint(&signer(1), levels, size) }.to_text()
}

#[tokio::test(flavor = "multi_thread")]
async fn logs_may_come_by_themselves() {
    let server = Server::new(600);
    server.grows_to(100);
    let mut house = House::new();
    house.look(&server).await;
    let witness = Arc::new(house.witness.take().unwrap());
    let own = witness.verifier();
    let everywhere = Service::on("0.0.0.0:0".parse().unwrap(), witness.clone()).await;
    assert!(everywhere.err().unwrap().to_string().contains("TLS"));
    let service = Service::on("127.0.0.1:0".parse().unwrap(), witness.clone()).await.unwrap();
    let address = service.address();
    let serving = tokio::spawn(service.serve());
    let add = async |body: &str| send(address, "POST", "/add-checkpoint", body).await;
    let levels = history(1, 600);
    let fork = history(2, 600);

    let (status, media, line) = add(&asked(&levels, 100, 300)).await;
    assert_eq!((status, media.as_str()), (200, "text/plain; charset=utf-8"), "{line}");
    let note: Note = checkpoint(&signer(1), &levels, 300).parse().unwrap();
    let [line] = signature_lines(&line).unwrap().try_into().unwrap();
    assert_eq!(own.verify(note.text(), &line).unwrap().at_s, Some(1_800_000_000));
    assert_eq!(witness.kept(NAME).unwrap().seen().size, 300);

    let (status, media, body) = add(&asked(&levels, 100, 400)).await;
    assert_eq!((status, media.as_str(), body.as_str()), (409, "text/x.tlog.size", "300\n"));
    assert_eq!(add(&asked(&levels, 300, 300)).await.0, 200);
    let smaller = AddCheckpoint::from_text(&asked(&levels, 200, 200)).unwrap();
    assert_eq!(add(&AddCheckpoint { old_size: 300, ..smaller }.to_text()).await.0, 400);
    let unproved = AddCheckpoint::from_text(&asked(&levels, 300, 400)).unwrap();
    assert_eq!(add(&AddCheckpoint { proof: Vec::new(), ..unproved }.to_text()).await.0, 422);
    assert!(witness.alarms().is_empty(), "a proof that is none is no fork: anybody can bring one");
    let unknown = asked(&levels, 300, 400).replace(ORIGIN, "data.example/log/other");
    assert_eq!(add(&unknown).await.0, 404);
    let unsigned = Checkpoint::new(ORIGIN, 400, Hash::leaf(b"x")).sign(&signer(2));
    let unsigned = AddCheckpoint { old_size: 300, proof: Vec::new(), checkpoint: unsigned };
    assert_eq!(add(&unsigned.to_text()).await.0, 403);
    for bad in ["", "old 300\n", "old 300\n\nno checkpoint\n"] {
        assert_eq!(add(bad).await.0, 400);
    }
    assert_eq!(add(&"x".repeat(AddCheckpoint::MAX_BYTES + 1)).await.0, 400);
    assert_eq!(send(address, "GET", "/add-checkpoint", "").await.0, 405);
    assert_eq!(send(address, "GET", "/", "").await.0, 404);

    // Whoever watches reads what was cosigned last, under the digest of the origin.
    let hash: String = countersign_crypto::sha256(ORIGIN.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect();
    let (status, _, seen) = send(address, "GET", &format!("/{hash}/checkpoint"), "").await;
    assert_eq!(status, 200);
    let (checkpoint, note) = Checkpoint::open(&seen, &signer(1).verifier()).unwrap();
    assert!(checkpoint.size == 300 && note.verify(&own).is_ok());
    assert_eq!(send(address, "GET", &format!("/{}/checkpoint", "0".repeat(64)), "").await.0, 404);

    // Two roots of one size, both signed, are a fork whoever brings them.
    let mut forked = AddCheckpoint::from_text(&asked(&fork, 300, 300)).unwrap();
    forked.proof.clear();
    assert_eq!(add(&forked.to_text()).await.0, 422);
    assert_eq!(witness.alarms()[0].1.kind, Kind::Fork);
    assert_eq!(add(&asked(&levels, 300, 400)).await.0, 422, "refused from then on");
    serving.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_checkpoints_at_once_one_is_taken() {
    let server = Server::new(600);
    server.grows_to(100);
    let mut house = House::new();
    house.look(&server).await;
    let witness = Arc::new(house.witness.take().unwrap());
    let levels = Arc::new(history(1, 600));
    let mut tasks = tokio::task::JoinSet::new();
    for size in 101..=116 {
        let (witness, levels) = (witness.clone(), levels.clone());
        tasks.spawn_blocking(move || {
            let asked = AddCheckpoint::from_text(&asked(&levels, 100, size)).unwrap();
            witness.cosign(NAME, &signer(1).verifier(), &asked).is_ok()
        });
    }
    let taken = tasks.join_all().await.into_iter().filter(|taken| *taken).count();
    assert_eq!(taken, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_hears_of_it_once_and_again_after_an_hour() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (heard, mut hears) = tokio::sync::mpsc::unbounded_channel();
    let serving = tokio::spawn(async move {
        for status in [500, 200, 200] {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = Vec::new();
            while !request.ends_with(b"}") {
                let mut part = [0; 4096];
                let read = stream.read(&mut part).await.unwrap();
                assert!(read > 0);
                request.extend_from_slice(&part[..read]);
            }
            let answer = format!("HTTP/1.1 {status} x\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
            stream.write_all(answer.as_bytes()).await.unwrap();
            heard.send(String::from_utf8(request).unwrap()).unwrap();
        }
    });
    let mut webhook = Webhook::new(&format!("http://{address}/hook")).unwrap();
    let alarms = [(NAME.to_owned(), Alarm::new(UnixMs::from_seconds(7), Kind::Rollback, "a note"))];
    let now = UnixMs::from_seconds(100);
    assert!(webhook.tell("w", &[], now).await.is_empty());
    assert_eq!(webhook.tell("w", &alarms, now).await, ["the webhook answered 500"]);
    assert!(webhook.tell("w", &alarms, now.plus_ms(1000)).await.is_empty(), "not yet again");
    let retried = now.plus_ms(60_000);
    assert!(webhook.tell("w", &alarms, retried).await.is_empty());
    assert!(webhook.tell("w", &alarms, retried.plus_ms(3_599_000)).await.is_empty());
    assert!(webhook.tell("w", &alarms, retried.plus_ms(3_600_000)).await.is_empty());
    serving.await.unwrap();
    for _ in 0..3 {
        let request = hears.recv().await.unwrap();
        assert!(request.starts_with("POST /hook ") && request.contains(r#""kind":"rollback""#), "{request}");
    }
    assert!(hears.recv().await.is_none());
    assert!(Webhook::new("ftp://x/").is_err());
}
