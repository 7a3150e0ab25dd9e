//! What tests of the whole program share: a deployment in a temporary folder, its server as a child process, and a
//! small HTTPS client that speaks exactly what it is told to.
//!
//! It is not for production code: nothing that ships depends on it, and it waits and blocks as tests may.
//!
//! ```no_run
//! use countersign_testkit::Deployment;
//! let deployment = Deployment::temporary(std::path::Path::new("target/debug/countersign"))?;
//! let server = deployment.demo()?;
//! let nancy = server.client()?.with_token(&deployment.login("nancy@northwind")?);
//! assert_eq!(nancy.get("/rest/v1/customer?select=id&limit=1")?.status, 200);
//! server.stop()?;
//! # anyhow::Ok(())
//! ```

mod client;
mod deployment;
mod http1;
mod mail;
mod moto;
pub mod oidc;
mod postgres;
mod proxy;
mod server;
mod webhook;

pub use client::Client;
pub use deployment::Deployment;
pub use http1::{Request, Response};
pub use mail::{MailServer, MailTls};
pub use moto::ObjectStore;
pub use postgres::{Certified, DATABASE, Postgres};
pub use proxy::Proxy;
pub use server::Server;
pub use webhook::{Hook, Receiver};
