//! `[server]`

use std::net::{Ipv4Addr, SocketAddr};

use super::section::section;
use super::setting::{Names, Whole};

section! {
    /// Where the server listens, and how patient it is with connections.
    Server = "server" {
        /// Address and port for HTTPS. There is no unencrypted port.
        listen: SocketAddr = SocketAddr::from((Ipv4Addr::LOCALHOST, 8443));
        /// Host names and IP addresses that clients reach the server by; its certificate is good for these.
        names: Names = Names(["localhost", "127.0.0.1", "::1"].map(str::to_owned).to_vec());
        /// How long a server certificate lives, in hours; it is reissued at half of that. Never over 12.
        certificate_hours: Whole<1, 12> = Whole::new(12);
        /// Whether clients are asked for a certificate, which they need not have: tokens can be bound to it (RFC 8705).
        /// Browsers ask people which of theirs to show.
        client_certificates: bool = false;
        /// Connections at a time; more are closed at once.
        connections: Whole<1, 1_000_000> = Whole::new(1024);
        /// Requests at a time on one HTTP/2 connection.
        streams: Whole<1, 100_000> = Whole::new(128);
        /// Time for a TLS handshake, in milliseconds.
        handshake_ms: Whole<100, 600_000> = Whole::new(10_000);
        /// Time from a request's first byte to the end of its headers, in milliseconds.
        header_ms: Whole<100, 600_000> = Whole::new(10_000);
        /// Time for the rest of a request, in milliseconds.
        request_ms: Whole<100, 3_600_000> = Whole::new(30_000);
        /// How long a connection may stay without a request, in milliseconds.
        idle_ms: Whole<100, 3_600_000> = Whole::new(60_000);
        /// How long requests under way may take to finish when the server is told to stop, in milliseconds.
        drain_ms: Whole<0, 600_000> = Whole::new(10_000);
    }
}
