//! Whom the caller's token may be sent to.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use http::header::{AUTHORIZATION, HeaderValue};
use http::{Request, Uri};

use crate::{Caller, ForwardError};

/// The servers that a service sends its callers' tokens to, and no others.
///
/// INVARIANT token-stays-home: scheme, host and port of where a request goes must be those of one that was named here.
/// Paths, subdomains and other ports don't follow from it.
#[derive(Clone)]
pub struct Trusted(Arc<[Origin]>);

/// A server: scheme, host and port (RFC 6454).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Origin {
    pub tls: bool,
    /// Lower case; an IPv6 address without its brackets.
    pub host: String,
    pub port: u16,
}

/// The text doesn't name a server that a token may be sent to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected https://HOST or https://HOST:PORT, and nothing after it; http:// only to an address of this machine")]
pub struct NotAnOrigin(());

impl Origin {
    /// The server that a URI is at; `None` if it names none, or names a user too.
    pub(crate) fn of(uri: &Uri) -> Option<Self> {
        let tls = match uri.scheme_str()? {
            "https" => true,
            "http" => false,
            _ => return None,
        };
        let authority = uri.authority()?;
        if authority.as_str().contains('@') || authority.host().is_empty() {
            return None;
        }
        // By the text: to `http`, a port that is none is one that isn't there.
        let port = match authority.as_str().strip_prefix(authority.host())? {
            "" if tls => 443,
            "" => 80,
            port => port.strip_prefix(':').filter(|digits| !digits.starts_with('+'))?.parse().ok()?,
        };
        let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_ascii_lowercase();
        Some(Self { tls, host, port })
    }

    /// A whole URL that is nothing but a server.
    pub(crate) fn parse(url: &str) -> Result<Self, NotAnOrigin> {
        let uri: Uri = url.parse().map_err(|_| NotAnOrigin(()))?;
        if !matches!(uri.path(), "" | "/") || uri.query().is_some() || url.contains('#') {
            return Err(NotAnOrigin(()));
        }
        let origin = Self::of(&uri).ok_or(NotAnOrigin(()))?;
        if origin.tls || origin.is_this_machine() { Ok(origin) } else { Err(NotAnOrigin(())) }
    }

    /// By address and not by name: a name can be made to lead elsewhere.
    fn is_this_machine(&self) -> bool {
        self.host.parse().is_ok_and(|address: IpAddr| address.is_loopback())
    }
}

impl Trusted {
    /// The servers at these URLs, such as `https://orders.internal:8443`.
    ///
    /// Unencrypted `http://` is taken only for an address of this machine, such as `http://127.0.0.1:15001`: the usual
    /// place of a proxy that encrypts.
    ///
    /// # Errors
    /// [`NotAnOrigin`] if one of them is not a server's URL.
    pub fn new<I>(urls: I) -> Result<Self, NotAnOrigin>
    where
        I: IntoIterator,
        I::Item: AsRef<str>,
    {
        let origins: Result<Vec<_>, _> = urls.into_iter().map(|url| Origin::parse(url.as_ref())).collect();
        Ok(Self(origins?.into()))
    }

    /// Whether a token may go to that address.
    #[must_use]
    pub fn covers(&self, uri: &Uri) -> bool {
        Origin::of(uri).is_some_and(|origin| self.0.contains(&origin))
    }

    /// Puts the caller's token on a request to one of these servers.
    ///
    /// # Errors
    /// [`ForwardError::Untrusted`] if the request goes elsewhere, [`ForwardError::Occupied`] if it has an
    /// `Authorization` already. The request is unchanged then.
    pub fn authorize<B>(&self, caller: &Caller, request: &mut Request<B>) -> Result<(), ForwardError> {
        if !self.covers(request.uri()) {
            return Err(ForwardError::Untrusted);
        }
        if request.headers().contains_key(AUTHORIZATION) {
            return Err(ForwardError::Occupied);
        }
        request.headers_mut().insert(AUTHORIZATION, caller.header()?);
        Ok(())
    }
}

/// `Bearer` and the token, marked so that HTTP/2 doesn't keep it in its tables and nothing prints it.
pub(crate) fn bearer_header(token: &str) -> Result<HeaderValue, ForwardError> {
    let text = zeroize::Zeroizing::new(format!("Bearer {token}"));
    let mut value = HeaderValue::from_str(&text).map_err(|_| ForwardError::Unsendable)?;
    value.set_sensitive(true);
    Ok(value)
}

impl fmt::Debug for Trusted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let one = |origin: &Origin| {
            format!("{}://{}:{}", if origin.tls { "https" } else { "http" }, origin.host, origin.port)
        };
        f.debug_list().entries(self.0.iter().map(one)).finish()
    }
}

#[cfg(test)]
mod tests;
