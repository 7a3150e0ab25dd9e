//! A service's own side of workload identity: its key, its certificate, and getting the next one in time.
//!
//! [`join()`] makes a key and gets the first certificate for it. [`Folder`] keeps the two, and nothing else that is
//! secret, in files that only the program's user can read. [`Agent`] holds them while the service runs: it renews at
//! half of the certificate's life, with a new key each time, and swaps the
//! [`CertificateSlot`](countersign_crypto::tls::CertificateSlot) from which new connections take it.
//!
//! What it is not: it speaks no protocol (an [`Issuer`] does, in the crate `wire` over mutual TLS), and it decides
//! nothing about others: whose certificate counts, `countersign_crypto::tls` and the facts decide.
//!
//! ```
//! # use std::sync::Arc;
//! # use async_trait::async_trait;
//! # use countersign_crypto::x509::{CertificateAuthority, CertificateRequest, Issued};
//! # use countersign_crypto::{SystemEntropy, x509};
//! # use countersign_identity::{Agent, AgentParts, Folder, Ask, IssueFailure, Issuer, Proof, join};
//! # use countersign_model::{Clock, clock::SystemClock};
//! # struct Authority(CertificateAuthority);
//! # #[async_trait]
//! # impl Issuer for Authority {
//! #     async fn issue(&self, _: Ask<'_>, request: &CertificateRequest) -> Result<Issued, IssueFailure> {
//! #         let id = "spiffe://countersign/keys/a".parse().unwrap();
//! #         let issued = self.0.issue_workload(request, &id, &[], SystemClock.now(), 3_300_000).unwrap();
//! #         let ca_pem = self.0.ca_pem().to_owned();
//! #         Ok(Issued { id, chain_der: issued.chain_der, expires: issued.expires, ca_pem })
//! #     }
//! # }
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let dir = tempfile::tempdir()?;
//! # let authority = Authority(CertificateAuthority::generate("example", SystemClock.now(), 10)?);
//! # let text = x509::JoinToken::generate(&SystemEntropy, authority.0.ca_sha256()).expose();
//! let folder = Folder::open(&dir.path().join("identity"), Arc::new(SystemEntropy))?;
//! let held = match folder.load()?.filter(|held| held.is_valid(SystemClock.now())) {
//!     Some(held) => held,
//!     None => join(&authority, &Proof::Token(text.parse()?), "keys", "127.0.0.1:8471", &SystemClock).await?,
//! };
//! let agent = Agent::new(held, AgentParts {
//!     folder: Some(folder),
//!     platform_token: None,
//!     clock: Arc::new(SystemClock),
//!     entropy: Arc::new(SystemEntropy),
//! })?;
//! let slot = agent.slot(); // for `tls::mutual_server_config` and `tls::mutual_client_config`
//! // tokio::spawn(async move { agent.run(&wire).await });
//! # assert_eq!(agent.id().role(), "keys");
//! # Ok(())
//! # }
//! ```

mod agent;
mod folder;
mod held;
mod issuer;

pub use agent::{Agent, AgentParts, Moment};
pub use folder::{Folder, FolderError, FolderFault};
pub use held::{Held, Known, NotIssued, certify, join};
pub use issuer::{Ask, IssueFailure, Issuer, Proof};
