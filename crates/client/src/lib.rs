//! For other people's services: take the caller's token from a request, verify it, ask what the caller may do, and
//! send the same token on.
//!
//! A service that uses this crate has no power of its own. It acts for whoever calls it, with the token that came
//! with the call, and so does the next service down the line, until the last one asks Countersign for records and
//! gets exactly those that the first caller may see.
//!
//! ```no_run
//! use countersign_client::{Action, Authority, Caller, CountersignLayer, ForwardLayer, Https, Trusted};
//! use http::{Request, Response};
//! use http_body_util::Empty;
//! use tower_layer::Layer;
//! use tower_service::Service;
//!
//! # async fn start() -> Result<(), Box<dyn std::error::Error>> {
//! let ca = std::fs::read_to_string("ca.pem")?;
//! let countersign = Authority::builder("https://countersign.internal:8443", &ca)?.connect().await?;
//!
//! // Incoming: whatever this layer lets through has a `Caller` among its extensions.
//! let incoming = CountersignLayer::new(countersign);
//! // Outgoing: the caller's token, to this one server and to nobody else.
//! let trusted = Trusted::new(["https://orders.internal:8443"])?;
//! let orders = Https::<Empty<bytes::Bytes>>::new("https://orders.internal:8443", &ca)?;
//! let orders = ForwardLayer::new(trusted).layer(orders);
//!
//! # use countersign_client::BoxError;
//! async fn handler<B>(request: Request<B>) -> Result<Response<String>, BoxError> {
//!     let caller: &Caller = request.extensions().get().ok_or("the layer is missing")?;
//!     if !caller.may(Action::Read, "invoice", &["total"]).await? {
//!         return Ok(Response::builder().status(403).body(String::new())?);
//!     }
//!     Ok(Response::new(format!("token {}", caller.token())))
//! }
//! # Ok(())
//! # }
//! ```
//!
//! Everything is an ordinary [tower](https://docs.rs/tower) layer over [`http::Request`], so it fits servers and
//! clients made with axum, hyper or tonic alike; nothing here names any of the three.
//!
//! # What is checked, and when
//!
//! Each request's token is verified with Countersign's public keys: signature, type, issuer, audience, and that it
//! lives no longer than twelve hours (RFC 9068). The keys are fetched again every minute, and at once when a token
//! names one that is not known yet. If they can't be, tokens are refused ten minutes later.
//!
//! A signature can't tell that a token was revoked. [`CountersignLayer`] and [`Caller::may`] therefore ask Countersign
//! about the token, and remember the answer for at most five seconds ([`Builder::remember`]): INVARIANT
//! revoked-is-refused, a token is refused by every service no later than that after Countersign refuses it.
//!
//! # What this crate is not
//!
//! It doesn't decide which *records* a caller may see. Policies can set conditions on records, and only Countersign
//! has the records: read them there, with the caller's token. It obtains no tokens either, and holds none but the
//! caller's, for as long as the request lasts.
//!
//! Follows RFC 6750 (bearer tokens), RFC 8414 (metadata), RFC 7517 (key sets) and RFC 9068 (token profile).

mod authority;
mod builder;
mod caller;
mod forward;
mod https;
mod keys;
mod layer;
mod limits;
mod permissions;
mod refused;
mod trusted;

pub use authority::Authority;
pub use builder::{Builder, ConnectError};
pub use caller::Caller;
pub use forward::{Forward, ForwardError, ForwardLayer};
pub use https::{Https, HttpsError};
pub use layer::{CountersignLayer, CountersignService};
pub use limits::{Action, Limits};
pub use permissions::{Permission, Permissions, Records};
pub use refused::{Reason, Refused};
pub use trusted::{NotAnOrigin, Trusted};

/// Any error, as tower's services give it.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

#[cfg(test)]
mod tests;
