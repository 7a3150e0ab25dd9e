//! `[server]`

use std::net::{Ipv4Addr, SocketAddr};

use super::section::section;
use super::setting::{Names, Whole};

section! {
    /// Where the server listens, and the names that its certificate is good for.
    Server = "server" {
        /// Address and port for HTTPS. There is no unencrypted port.
        listen: SocketAddr = SocketAddr::from((Ipv4Addr::LOCALHOST, 8443));
        /// Host names and IP addresses that clients reach the server by.
        names: Names = Names(["localhost", "127.0.0.1", "::1"].map(str::to_owned).to_vec());
        /// How long a server certificate lives, in hours; it is reissued at half of that. Never over 12.
        certificate_hours: Whole<1, 12> = Whole::new(12);
        /// How long requests under way may take to finish when the server is told to stop, in milliseconds.
        drain_ms: Whole<0, 600_000> = Whole::new(5000);
    }
}
