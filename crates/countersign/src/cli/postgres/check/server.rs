//! Whether the database's servers can be reached at all, and what they show: told apart, because a pool only says that
//! none can be used.

use std::sync::Arc;
use std::time::Duration;

use countersign_crypto::tls::{CertificateSlot, ServerName, TlsConnector, postgres_client_config};
use countersign_postgres::Settings;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::{Finding, State};

/// The message with which a client asks for TLS: its length, and 1234 and 5679 ("SSLRequest").
const SSL_REQUEST: [u8; 8] = [0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x2f];
const PATIENCE: Duration = Duration::from_secs(5);

/// Each server of the address.
pub(super) async fn reach(settings: &Settings, slot: &Arc<CertificateSlot>) -> Vec<Finding> {
    let mut found = Vec::new();
    let mut reached = false;
    for (host, port) in &settings.hosts {
        let place = format!("{host}:{port}");
        let tried = tokio::time::timeout(PATIENCE, shake(settings, slot, (host, *port))).await;
        match tried.unwrap_or_else(|_| Err("no answer in time".to_owned())) {
            Ok(()) => {
                reached = true;
                found.push(Finding::new(State::Right, "reached", format!("{place}, by TLS")));
            }
            Err(why) => found.push(Finding::new(State::Wrong, "reached", format!("{place}: {why}"))),
        }
    }
    if reached {
        // One that is down is what the others are there for.
        for finding in found.iter_mut().filter(|finding| finding.state == State::Wrong) {
            finding.state = State::Note;
        }
    }
    found
}

async fn shake(settings: &Settings, slot: &Arc<CertificateSlot>, place: (&str, u16)) -> Result<(), String> {
    let mut stream = TcpStream::connect(place).await.map_err(|error| format!("can't be reached ({})", error.kind()))?;
    let broken = |_| "ends the connection".to_owned();
    stream.write_all(&SSL_REQUEST).await.map_err(broken)?;
    match stream.read_u8().await.map_err(broken)? {
        b'S' => {}
        b'N' => return Err("has no TLS: ssl = on, ssl_cert_file and ssl_key_file in postgresql.conf".to_owned()),
        _ => return Err("does not speak PostgreSQL's protocol".to_owned()),
    }
    let config = postgres_client_config(&settings.server_ca_pem, slot);
    let config =
        config.map_err(|_| "the file of its certificate authority is not one certificate in PEM".to_owned())?;
    let name = ServerName::try_from(place.0.to_owned()).map_err(|_| "is not a host's name".to_owned())?;
    let connected = TlsConnector::from(config).connect(name, stream).await;
    connected.map(drop).map_err(|_| {
        format!(
            "shows no valid certificate for {}: make one with `postgres certificate {}`, or say whose it is in [postgres] \
             server_ca",
            place.0, place.0
        )
    })
}
