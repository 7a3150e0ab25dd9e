//! A transparency log in the forms of C2SP: Merkle tree (RFC 6962), tiles (tlog-tiles), checkpoints (tlog-checkpoint),
//! signed notes (signed-note), cosignatures (tlog-cosignature), witnesses (tlog-witness), proofs (tlog-proof).
//!
//! What this is not: it reads and writes nothing. Whoever uses it brings hashes and keeps tiles.
