//! HTTPS for an axum router.

use std::path::Path;

use anyhow::Result;
use axum::Router;
use countersign_crypto::tls::{TlsAcceptor, server_config};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpListener;

use crate::certificates;

/// Serves for as long as the process lives.
pub async fn serve(listener: TcpListener, router: Router, tls: &Path, name: &str) -> Result<()> {
    let acceptor = TlsAcceptor::from(server_config(&certificates::of(tls, name)?)?);
    loop {
        let (stream, _) = listener.accept().await?;
        let (acceptor, service) = (acceptor.clone(), TowerToHyperService::new(router.clone()));
        tokio::spawn(async move {
            // Whoever doesn't speak TLS, or goes away, is no concern of the others.
            if let Ok(stream) = acceptor.accept(stream).await {
                let _gone = Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), service).await;
            }
        });
    }
}
