//! `[services]`

use std::net::SocketAddr;

use super::section::section;
use super::setting::{Roles, Text, Whole};

section! {
    /// Which services this process is, and how it finds the others. In one process they call each other as functions;
    /// apart they speak gRPC over mutual TLS 1.3, each with a certificate of its own, and each verifies every token.
    Services = "services" {
        /// "all", or some of "authority", "gateway", "keys", "store" and "monitor", with commas between.
        run: Roles = Roles::all();
        /// Where the authority takes calls from other services, such as "10.0.0.5:8444"; empty where it runs here. Where
        /// one of several can be the authority, all of their addresses, with commas between.
        authority: Text = Text::empty();
        /// Where this process takes calls from other services. Not used by a process that is all services.
        listen: SocketAddr = SocketAddr::from(([127, 0, 0, 1], 8444));
        /// The host and port under which other services reach that address; empty if it is the same.
        advertise: Text = Text::empty();
        /// This service's name among those of its role; empty leaves it to the authority when the service joins.
        name: Text = Text::empty();
        /// A file with the platform's identity token, such as a Kubernetes service account token, to join with in place
        /// of a join token; empty if there is none.
        platform_token: Text = Text::empty();
        /// The authority's certificate (its ca.pem), to join with a platform's token; empty where a join token is used,
        /// which names it.
        authority_ca: Text = Text::empty();
        /// A file with rules for platforms whose identity tokens let services join, as docs/workloads.md describes; empty if
        /// services join with join tokens alone.
        platforms: Text = Text::empty();
        /// How long the authority makes services' certificates last, in milliseconds: an hour at most. They are renewed
        /// at half of that.
        certificate_ms: Whole<5_000, 3_600_000> = Whole::new(3_300_000);
        /// How old the facts that this process decides by may be, in milliseconds, when the authority can't be reached:
        /// past it every request is refused. The authority vouches for them every five seconds.
        facts_age_ms: Whole<10_000, 600_000> = Whole::new(30_000);
    }
}
