use crate::follower::NotPrepared;
use countersign_crypto::jws::JwsError;

use crate::part::PartKind;

/// Why no snapshot was made. Always ours or the operator's fault, never a follower's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PublishError {
    /// A part is over [`PART_BYTES_MAX`](crate::PART_BYTES_MAX), or can't be written.
    #[error("the {0} are too large for a snapshot")]
    TooLarge(PartKind),
    /// An entry that followers would refuse.
    #[error("the {0} have an entry that no service would take")]
    Invalid(PartKind),
    /// The manifest could not be signed.
    #[error("the snapshot could not be signed")]
    Signing(#[source] JwsError),
    /// There is nothing yet to renew.
    #[error("no snapshot was made yet")]
    NothingYet,
}

/// Why a snapshot was not taken. What was known before stays in force until it is too old.
///
/// Says nothing of what is in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ApplyError {
    /// Ours: the service could not take what is new in it.
    #[error(transparent)]
    NotPrepared(#[from] NotPrepared),
    /// The manifest is not signed by a key that is trusted.
    #[error("the snapshot's signature is not accepted: {0}")]
    Signature(#[source] JwsError),
    /// The manifest is of another version.
    #[error("the snapshot is of a version that is not known here")]
    Version,
    /// It is another deployment's.
    #[error("the snapshot is another deployment's")]
    OtherDeployment,
    /// Not issued after the one in force: an old one, sent again.
    #[error("the snapshot was issued before the one in force")]
    Replayed,
    /// Issued later than [`FUTURE_MAX_MS`](crate::FUTURE_MAX_MS) from now.
    #[error("the snapshot was issued in the future; the clocks of the two machines differ")]
    Future,
    /// Of an earlier epoch than the one in force.
    #[error("the snapshot would take back changes that are in force")]
    Rollback,
    /// What decisions depend on differs although the epoch is the same.
    #[error("the snapshot differs from the one in force without another epoch")]
    SameEpoch,
    /// The index is missing, is not the one that was signed, or can't be read.
    #[error("the snapshot's index is missing or not the one that was signed")]
    Index,
    /// A part that is needed did not come.
    #[error("a part of the snapshot is missing: {0}")]
    Missing(PartKind),
    /// A part's bytes are not those that were signed.
    #[error("a part of the snapshot is not the one that was signed: {0}")]
    Altered(PartKind),
    /// A part that the snapshot doesn't have, that came twice, or that is not for this service.
    #[error("a part came that does not belong here: {0}")]
    Unasked(PartKind),
    /// A part is longer than [`PART_BYTES_MAX`](crate::PART_BYTES_MAX), or the whole is too long.
    #[error("the snapshot is too large")]
    TooLarge,
    /// Messages out of order.
    #[error("the messages are not those of one snapshot")]
    Messages,
    /// A part can't be read.
    #[error("a part of the snapshot can't be read: {0}")]
    Malformed(PartKind),
    /// A part contradicts itself or another.
    #[error("a part of the snapshot contradicts itself or another: {0}")]
    Contradiction(PartKind),
    /// The policies can't be compiled.
    #[error("the snapshot's policies are not valid here")]
    Policies,
}
