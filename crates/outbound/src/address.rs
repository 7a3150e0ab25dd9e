//! Where a call outside may go: URLs, and addresses that are nobody's own network.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The longest URL, in bytes.
const URL_MAX_BYTES: usize = 2048;

/// A URL that may be called: `https` or `http`, with a host, and without user information and fragment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Url {
    uri: http::Uri,
    host: String,
    port: u16,
    is_tls: bool,
}

impl Url {
    /// Reads a URL; `None` if it isn't one that may be called. Those without TLS are called only where the operator
    /// allows the host by name.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let is_plain = text.len() <= URL_MAX_BYTES && text.bytes().all(|byte| byte.is_ascii_graphic());
        let is_tls = text.starts_with("https://");
        if !is_plain || !(is_tls || text.starts_with("http://")) || text.contains(['#', '@', '\\']) {
            return None;
        }
        let uri: http::Uri = text.parse().ok()?;
        // The library passes over a port that is none.
        let port = match uri.authority()?.as_str().strip_prefix(uri.host()?)?.strip_prefix(':') {
            None if is_tls => 443,
            None => 80,
            Some(port) => port.parse().ok().filter(|port| *port != 0)?,
        };
        let host = uri.host()?.trim_start_matches('[').trim_end_matches(']').to_ascii_lowercase();
        (!host.is_empty()).then_some(Self { uri, host, port, is_tls })
    }

    /// The host without brackets, in lower case.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port.
    #[must_use]
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// Whether the call is encrypted.
    #[must_use]
    pub const fn is_tls(&self) -> bool {
        self.is_tls
    }

    /// Host and port, as lists of allowed ones name them.
    #[must_use]
    pub fn host_and_port(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }

    /// What stands in the `Host` field.
    #[must_use]
    pub fn authority(&self) -> &str {
        self.uri.authority().map_or("", |authority| authority.as_str())
    }

    /// Path and query, at least `/`.
    #[must_use]
    pub fn path_and_query(&self) -> &str {
        self.uri.path_and_query().map_or("/", |path| path.as_str())
    }

    /// Whether there is a query.
    #[must_use]
    pub fn has_query(&self) -> bool {
        self.uri.query().is_some()
    }
}

impl std::fmt::Display for Url {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.uri.fmt(f)
    }
}

/// A [`Url`] whose calls are encrypted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpsUrl(Url);

impl HttpsUrl {
    /// Reads a URL; `None` if it isn't one that may be called.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Url::parse(text).filter(Url::is_tls).map(Self)
    }
}

impl std::ops::Deref for HttpsUrl {
    type Target = Url;

    fn deref(&self) -> &Url {
        &self.0
    }
}

impl From<HttpsUrl> for Url {
    fn from(url: HttpsUrl) -> Self {
        url.0
    }
}

impl std::fmt::Display for HttpsUrl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// Whether an address is one on the public internet. Everything that is not surely so is not: a provider's name that
/// leads to the deployment's own machine, its network or a cloud's metadata service is how a tenant's settings would
/// make this server fetch what only this server can (server-side request forgery).
#[must_use]
pub fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => is_public_v6(address),
    }
}

/// By IANA's registry of special-purpose addresses (RFC 6890).
const fn is_public_v4(address: Ipv4Addr) -> bool {
    let [a, b, c, _] = address.octets();
    !matches!(
        (a, b, c),
        (0 | 10 | 127 | 224..=255, ..)
            | (100, 64..=127, _)
            | (169, 254, _)
            | (172, 16..=31, _)
            | (192, 0, 0 | 2)
            | (192, 88, 99)
            | (192, 168, _)
            | (198, 18 | 19, _)
            | (198, 51, 100)
            | (203, 0, 113)
    )
}

/// Only what is assigned as global unicast (2000::/3); addresses that carry an IPv4 address are judged by that.
fn is_public_v6(address: Ipv6Addr) -> bool {
    let last_v4 = |high: u16, low: u16| Ipv4Addr::from((u32::from(high) << 16) | u32::from(low));
    match address.segments() {
        // Mapped (::ffff:0:0/96), and translated by NAT64 (64:ff9b::/96).
        [0, 0, 0, 0, 0, 0xffff, high, low] | [0x64, 0xff9b, 0, 0, 0, 0, high, low] => is_public_v4(last_v4(high, low)),
        // 6to4.
        [0x2002, high, low, ..] => is_public_v4(last_v4(high, low)),
        // IETF protocol assignments with Teredo, documentation.
        [0x2001, 0..=0x1ff | 0xdb8, ..] | [0x3fff, 0..=0xfff, ..] => false,
        [first, ..] => first & 0xe000 == 0x2000,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_https_urls() {
        let url = HttpsUrl::parse("https://Login.Example/realm/a?x=1").unwrap();
        assert_eq!((url.host(), url.port(), url.path_and_query()), ("login.example", 443, "/realm/a?x=1"));
        assert_eq!(HttpsUrl::parse("https://[::1]:8443").unwrap().host_and_port(), "[::1]:8443");
        assert_eq!(HttpsUrl::parse("https://[::1]:8443").unwrap().path_and_query(), "/");
        let plain = Url::parse("http://a/x").unwrap();
        assert_eq!((plain.is_tls(), plain.host_and_port().as_str()), (false, "a:80"));
        for bad in [
            "http://a",
            "HTTPS://a",
            "https://",
            "https:///x",
            "https://a#b",
            "https://u@a",
            "https://a:0",
            "https://a:",
            "https://a:99999",
            "https://a b",
            "ftp://a",
            "//a",
            "a",
            "",
            "https://a\\@b",
            "https://é",
        ] {
            assert_eq!(HttpsUrl::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn private_addresses_are_not_public() {
        for bad in [
            "0.0.0.0",
            "0.1.2.3",
            "10.0.0.1",
            "100.64.0.1",
            "127.0.0.1",
            "127.255.255.255",
            "169.254.169.254",
            "172.16.0.1",
            "172.31.255.255",
            "192.0.0.8",
            "192.0.2.1",
            "192.88.99.1",
            "192.168.1.1",
            "198.18.0.1",
            "198.51.100.1",
            "203.0.113.1",
            "224.0.0.1",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::127.0.0.1",
            "::ffff:127.0.0.1",
            "::ffff:169.254.169.254",
            "64:ff9b::a00:1",
            "64:ff9b:1::1",
            "2002:7f00:1::",
            "2001::1",
            "2001:db8::1",
            "3fff::1",
            "fc00::1",
            "fd00:ec2::254",
            "fe80::1",
            "fec0::1",
            "ff02::1",
            "100::1",
            "5f00::1",
        ] {
            assert!(!is_public(bad.parse().unwrap()), "{bad}");
        }
        for good in [
            "1.1.1.1",
            "8.8.8.8",
            "100.63.0.1",
            "100.128.0.1",
            "172.15.0.1",
            "172.32.0.1",
            "192.0.1.1",
            "198.17.0.1",
            "2606:4700::1111",
            "2a00::1",
            "::ffff:8.8.8.8",
            "64:ff9b::808:808",
            "2002:808:808::",
        ] {
            assert!(is_public(good.parse().unwrap()), "{good}");
        }
    }
}
