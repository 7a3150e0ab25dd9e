//! A token is accepted behind the gateway only together with the certificate of a service that may carry it.

use anyhow::Result;
use countersign_crypto::tls::server_config_with_clients;
use countersign_crypto::x509::CertificateAuthority;
use countersign_guard::{Bearer, Peer, Refusal};
use countersign_model::clock::SystemClock;
use countersign_model::request::{Operation, Read};
use countersign_model::{Clock as _, Service};
use countersign_testkit::{Client, Response};
use countersign_wire::{CallRefused, Failed, RemoteFront, RemoteKeys, RemoteRecords};
use tokio::net::TcpListener;
use tokio::sync::oneshot;

use crate::attacker::{Attacker, without_certificate};
use crate::world::{World, carried, request, shared, token};

/// What comes of a good token and request at the key service and at the store.
async fn tried(world: &World, keys: RemoteKeys, store: RemoteRecords) -> Result<[Option<Failed>; 2]> {
    let andrew = world.login("andrew@northwind").await?;
    let bearer = Bearer::new(token(&andrew).to_owned());
    let (types, epoch) = (world.types().await?, world.epoch().await?);
    let (record_type, _) = types.find("customer").unwrap();
    let scan = countersign_store::Scan {
        record_type,
        access: countersign_store::Access::All,
        cells: countersign_model::FieldSet::EMPTY,
        limit: 10,
        after: None,
    };
    let request = request(Operation::Read(Read { record_type: "customer".into(), ..Read::default() }));
    let call = carried(&bearer, &request, epoch);
    let released = keys.try_release(&call).await.err();
    Ok([released, store.try_read(&call, &scan).await.err()])
}

#[test]
fn with_a_gateways_certificate_it_is() -> Result<()> {
    shared(|world| async move {
        let gateway = Attacker::in_place_of(&world.gateway)?;
        assert_eq!(tried(world, gateway.keys(world), gateway.store(world)).await?, [None, None]);
        Ok(())
    })
}

#[test]
fn without_a_certificate() -> Result<()> {
    shared(|world| async move {
        let keys = RemoteKeys::new(without_certificate(world, &world.keys)?);
        let store = RemoteRecords::new(without_certificate(world, &world.store)?);
        // There is no connection to speak over.
        let unreachable = Some(Failed::Unavailable);
        assert_eq!(tried(world, keys, store).await?, [unreachable.clone(), unreachable]);
        // The authority lets services in that want to join, and for nothing else.
        let front = RemoteFront::new(without_certificate(world, &world.authority)?);
        let andrew = world.login("andrew@northwind").await?;
        let asked = request(Operation::Control(countersign_model::control::Control::WhoAmI));
        let bearer = Bearer::new(token(&andrew).to_owned());
        let refused = front.try_control(Some(&bearer), Peer::default(), &asked).await.err();
        assert_eq!(refused, Some(Failed::Call(CallRefused::Role)));
        Ok(())
    })
}

#[test]
fn with_a_certificate_that_somebody_made() -> Result<()> {
    shared(|world| async move {
        let other = Attacker::self_made(world)?;
        let unreachable = Some(Failed::Unavailable);
        let tried = tried(world, other.keys(world), other.store(world)).await?;
        assert_eq!(tried, [unreachable.clone(), unreachable]);
        let andrew = world.login("andrew@northwind").await?;
        let asked = request(Operation::Control(countersign_model::control::Control::WhoAmI));
        let bearer = Bearer::new(token(&andrew).to_owned());
        let refused = other.front(world).try_control(Some(&bearer), Peer::default(), &asked).await.err();
        assert_eq!(refused, Some(Failed::Unavailable));
        Ok(())
    })
}

/// A bound token that was stolen, at the gateway: for every request, whoever asks.
#[test]
fn at_the_gateway_a_bound_one_is_nothing_without_its_key() -> Result<()> {
    shared(|world| async move {
        use base64::Engine as _;
        use base64::engine::general_purpose::URL_SAFE_NO_PAD;
        let nancy = world.login("nancy@northwind").await?;
        let key = countersign_crypto::dpop::ProofKey::generate(&countersign_crypto::SystemEntropy)?;
        let body = serde_json::json!({
            "grant_type": "urn:ietf:params:oauth:grant-type:token-exchange",
            "subject_token": token(&nancy),
            "dpop_jkt": URL_SAFE_NO_PAD.encode(key.jkt()),
        });
        let granted = nancy.put(http::Method::POST, "/v1/token", &body).await?;
        let bound = countersign::client::Token::granted(&granted)?;
        let thief = nancy.with_token(bound);
        let ask = countersign::transport::Ask::new(http::Method::GET, "/rest/v1/customer?select=company&limit=1");
        let reply = thief.exchange(ask).await?;
        assert_eq!(reply.status, http::StatusCode::UNAUTHORIZED);
        let tenants = [countersign_token::Unverified::read(token(&nancy))?.tenant];
        let record = world.refusal(Service::Gateway, &tenants, crate::world::request_of(&reply)?).await;
        assert_eq!(record.body.reason, Some(Refusal::Unbound.reason()));
        Ok(())
    })
}

/// As above, for one that is bound to a client certificate (RFC 8705), over TLS: the door says to the authority which
/// certificate its connection proved, both where tokens are made and where they are used.
#[test]
fn at_the_gateway_one_of_a_certificate_is_nothing_on_other_connections() -> Result<()> {
    shared(|world| async move {
        let nancy = token(&world.login("nancy@northwind").await?).to_owned();
        let slot = world.gateway.opened.slot(Service::Gateway).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?.to_string();
        let router = world.gateway.opened.router()?.clone();
        let (stop, stopped) = oneshot::channel::<()>();
        let door = countersign_door_http::serve(listener, server_config_with_clients(&slot)?, router, async {
            drop(stopped.await);
        });
        let door = tokio::spawn(door);
        let ca = std::fs::read_to_string(world.folder.ca_pem())?;
        tokio::task::spawn_blocking(move || asked_with_certificates(&Client::new(&address, &ca)?, &ca, &nancy))
            .await??;
        let _ = stop.send(());
        Ok(door.await?)
    })
}

fn asked_with_certificates(client: &Client, ca: &str, unbound: &str) -> Result<()> {
    let showing = || {
        let now = SystemClock.now();
        let own = CertificateAuthority::generate("Of no concern", now, 10)?;
        client.showing(ca, &own.issue_server(&["client".to_owned()], now, 3_600_000)?)
    };
    let (a, b) = (showing()?, showing()?);
    let grant = "urn:ietf:params:oauth:grant-type:token-exchange";
    let exchange = |subject: &str| serde_json::json!({ "grant_type": grant, "subject_token": subject });
    let granted = |answer: Response| {
        assert_eq!(answer.status, 200);
        let document: serde_json::Value = serde_json::from_slice(&answer.body)?;
        anyhow::Ok(document["access_token"].as_str().unwrap_or_default().to_owned())
    };
    let bound = granted(a.post("/v1/token", &exchange(unbound))?)?;
    let narrowed = granted(a.post("/v1/token", &exchange(&bound))?)?;
    for token in [&bound, &narrowed] {
        // The gateway's own guard decides about the one, the authority's about the other.
        for path in ["/rest/v1/customer?select=company&limit=1", "/v1/token"] {
            assert_eq!(a.with_token(token).get(path)?.status, 200, "{path}");
            assert_eq!(b.with_token(token).get(path)?.status, 401, "{path}");
            assert_eq!(client.with_token(token).get(path)?.status, 401, "{path}");
        }
        assert_eq!(b.post("/v1/token", &exchange(token))?.status, 401);
        assert_eq!(client.post("/v1/token", &exchange(token))?.status, 401);
    }
    Ok(())
}
