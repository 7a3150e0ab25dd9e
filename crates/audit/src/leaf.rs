//! What a stored record says to whoever has no key: enough to check a proof without a deployment.

use countersign_model::{RequestId, TenantId, UnixMs};

use crate::codec::Leaf;
use crate::record::{Service, Verdict};

/// The part of a leaf that is in clear. Associated data of what is sealed in it, so it can't be another's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LeafHeader {
    /// Whose record it is.
    pub service: Service,
    /// How the request ended, or that it began.
    pub verdict: Verdict,
    /// When it was written.
    pub time: UnixMs,
    /// Of which request.
    pub request: RequestId,
    /// Whose data it is about, if it is a tenant's.
    pub tenant: Option<TenantId>,
}

impl LeafHeader {
    /// Reads the header of a stored record; `None` if the bytes are none of a known version.
    #[must_use]
    pub fn read(leaf: &[u8]) -> Option<Self> {
        let header = Leaf::parse(leaf)?.header;
        let (service, verdict, time, request, tenant) =
            (header.service, header.verdict, header.time, header.request, header.tenant);
        Some(Self { service, verdict, time, request, tenant })
    }
}
