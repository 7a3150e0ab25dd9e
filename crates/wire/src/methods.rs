//! Every call there is, and who may make it. What is not here can't be called.

use countersign_crypto::tls::Peer;

/// How a call ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lasts {
    /// By its deadline.
    Briefly,
    /// With its connection: it follows something.
    Following,
}

/// Whom a call is taken from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Callers {
    /// Services in these roles, by their certificates.
    Roles(&'static [&'static str]),
    /// Any service of the deployment.
    Services,
    /// Anybody, also without a certificate.
    Anybody,
}

/// One call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Method {
    pub(crate) path: &'static str,
    pub(crate) callers: Callers,
    pub(crate) lasts: Lasts,
}

const fn method(path: &'static str, roles: &'static [&'static str]) -> Method {
    Method { path, callers: Callers::Roles(roles), lasts: Lasts::Briefly }
}

const fn following(path: &'static str, roles: &'static [&'static str]) -> Method {
    Method { path, callers: Callers::Roles(roles), lasts: Lasts::Following }
}

const GATEWAY: &str = "gateway";
const KEYS: &str = "keys";
const STORE: &str = "store";
const AUTHORITY: &str = "authority";
const MONITOR: &str = "monitor";

pub(crate) const PIPE: Method = following("/countersign.v1.Pipe/Calls", &[GATEWAY, STORE, AUTHORITY]);
/// The calls that go through [`PIPE`], each with its own callers; as paths they lead nowhere.
pub(crate) const RELEASE: Method = method("/countersign.v1.Pipe/Calls/release", &[GATEWAY, AUTHORITY]);
pub(crate) const COUNT: Method = method("/countersign.v1.Pipe/Calls/count", &[STORE]);
pub(crate) const READ_FEW: Method = method("/countersign.v1.Pipe/Calls/read", &[GATEWAY, AUTHORITY]);
pub(crate) const SEAL_KEY: Method = method("/countersign.v1.Keys/SealKey", &[GATEWAY, STORE, AUTHORITY]);
pub(crate) const NEW_TENANT_KEY: Method = method("/countersign.v1.Keys/NewTenantKey", &[AUTHORITY]);
pub(crate) const REWRAP_TENANT_KEY: Method = method("/countersign.v1.Keys/RewrapTenantKey", &[AUTHORITY]);
pub(crate) const ISSUED_EPOCH: Method = method("/countersign.v1.Keys/IssuedEpoch", &[STORE]);
pub(crate) const READ: Method = method("/countersign.v1.Records/Read", &[GATEWAY, AUTHORITY]);
pub(crate) const HISTORY: Method = method("/countersign.v1.Records/History", &[GATEWAY]);
pub(crate) const WRITE: Method = method("/countersign.v1.Records/Write", &[GATEWAY]);
pub(crate) const DONE: Method = method("/countersign.v1.Records/Done", &[GATEWAY]);
pub(crate) const CREATE_TENANT: Method = method("/countersign.v1.Records/CreateTenant", &[AUTHORITY]);
pub(crate) const ANY_RECORDS: Method = method("/countersign.v1.Records/AnyRecords", &[AUTHORITY]);
pub(crate) const QUERY: Method = method("/countersign.v1.Trail/Query", &[AUTHORITY]);
pub(crate) const EXPOSURES: Method = method("/countersign.v1.Trail/Exposures", &[AUTHORITY]);
pub(crate) const PROVE: Method = method("/countersign.v1.Trail/Prove", &[AUTHORITY]);
pub(crate) const TALLIES: Method = following("/countersign.v1.Trail/Tallies", &[AUTHORITY, MONITOR]);
pub(crate) const LOG_KEYS: Method = method("/countersign.v1.Log/Keys", &[AUTHORITY, MONITOR]);
pub(crate) const LOG_CHECKPOINT: Method = method("/countersign.v1.Log/Checkpoint", &[AUTHORITY, MONITOR]);
pub(crate) const LOG_TILE: Method = method("/countersign.v1.Log/Tile", &[AUTHORITY, MONITOR]);
pub(crate) const LOG_COSIGN: Method = method("/countersign.v1.Log/Cosign", &[AUTHORITY]);
pub(crate) const LOG_COSIGNED: Method = method("/countersign.v1.Log/Cosigned", &[AUTHORITY]);
pub(crate) const STATUS: Method = method("/countersign.v1.Report/Status", &[AUTHORITY, MONITOR]);
pub(crate) const WATCH: Method = method("/countersign.v1.Watch/Watch", &[AUTHORITY]);
pub(crate) const CONTROL: Method = method("/countersign.v1.Authority/Control", &[GATEWAY]);
pub(crate) const PUBLIC: Method = method("/countersign.v1.Authority/Public", &[GATEWAY]);
pub(crate) const FACTS: Method = following("/countersign.v1.Authority/Facts", &[GATEWAY, KEYS, STORE, MONITOR]);
pub(crate) const JOIN: Method =
    Method { path: "/countersign.v1.Authority/Join", callers: Callers::Anybody, lasts: Lasts::Briefly };
pub(crate) const RENEW: Method = method("/countersign.v1.Authority/Renew", &[GATEWAY, KEYS, STORE, MONITOR]);

const fn open(path: &'static str, lasts: Lasts) -> Method {
    Method { path, callers: Callers::Services, lasts }
}

/// All that can be called.
pub(crate) const METHODS: [Method; 31] = [
    PIPE,
    READ,
    HISTORY,
    WRITE,
    DONE,
    SEAL_KEY,
    NEW_TENANT_KEY,
    REWRAP_TENANT_KEY,
    ISSUED_EPOCH,
    CREATE_TENANT,
    ANY_RECORDS,
    QUERY,
    EXPOSURES,
    PROVE,
    TALLIES,
    LOG_KEYS,
    LOG_CHECKPOINT,
    LOG_TILE,
    LOG_COSIGN,
    LOG_COSIGNED,
    STATUS,
    WATCH,
    CONTROL,
    PUBLIC,
    FACTS,
    JOIN,
    RENEW,
    open("/grpc.health.v1.Health/Check", Lasts::Briefly),
    open("/grpc.health.v1.Health/List", Lasts::Briefly),
    open("/grpc.health.v1.Health/Watch", Lasts::Following),
    open("/grpc.reflection.v1.ServerReflection/ServerReflectionInfo", Lasts::Following),
];

/// The call of that path.
pub(crate) fn find(path: &str) -> Option<&'static Method> {
    METHODS.iter().find(|method| method.path == path)
}

impl Method {
    /// Whether whoever is at the other end may make this call.
    pub(crate) fn takes(&self, peer: Option<&Peer>) -> bool {
        match (self.callers, peer) {
            (Callers::Anybody, _) | (Callers::Services, Some(_)) => true,
            (Callers::Roles(roles), Some(peer)) => roles.contains(&peer.id.role()),
            (Callers::Roles(_) | Callers::Services, None) => false,
        }
    }

    /// The name of the service in the path.
    pub(crate) fn service(&self) -> &'static str {
        self.path.trim_start_matches('/').split('/').next().unwrap_or_default()
    }
}
