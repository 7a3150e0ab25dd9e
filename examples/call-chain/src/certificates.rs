//! Certificates for the services, from an authority of their own. Yours come from where your other ones come from.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use anyhow::{Context as _, Result};
use countersign_crypto::tls::CertificateSlot;
use countersign_crypto::x509::{CertificateAuthority, MAX_SERVER_LIFETIME_MS, ServerCertificate};
use countersign_model::Clock as _;
use countersign_model::clock::SystemClock;

const SERVICES: [&str; 4] = ["front", "orders", "records", "partner"];

/// Makes them. The authority's key is not kept: for new certificates, there is a new authority.
pub fn make(dir: &Path) -> Result<()> {
    std::fs::create_dir_all(dir).with_context(|| dir.display().to_string())?;
    let now = SystemClock.now();
    let authority = CertificateAuthority::generate("call-chain", now, 1)?;
    for service in SERVICES {
        let names = ["localhost".to_owned(), "127.0.0.1".to_owned()];
        let certificate = authority.issue_server(&names, now, MAX_SERVER_LIFETIME_MS)?;
        let der = certificate.chain_der.first().context("no certificate")?;
        write(&dir.join(format!("{service}.crt")), der)?;
        write(&dir.join(format!("{service}.key")), &certificate.key_pkcs8_der)?;
    }
    write(&dir.join("ca.pem"), authority.ca_pem().as_bytes())
}

/// For nobody else to read.
fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600);
    let written = options.open(path).and_then(|mut file| file.write_all(bytes));
    written.with_context(|| path.display().to_string())
}

/// The authority that the services trust among themselves.
pub fn authority(dir: &Path) -> Result<String> {
    let path = dir.join("ca.pem");
    std::fs::read_to_string(&path).with_context(|| path.display().to_string())
}

/// What a service presents.
pub fn of(dir: &Path, service: &str) -> Result<std::sync::Arc<CertificateSlot>> {
    let read = |extension: &str| {
        let path = dir.join(format!("{service}.{extension}"));
        std::fs::read(&path).with_context(|| path.display().to_string())
    };
    let certificate = ServerCertificate {
        chain_der: vec![read("crt")?],
        key_pkcs8_der: read("key")?.into(),
        expires: SystemClock.now().plus_ms(MAX_SERVER_LIFETIME_MS),
    };
    Ok(CertificateSlot::new(&certificate)?)
}
