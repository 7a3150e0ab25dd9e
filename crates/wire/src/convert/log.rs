//! What is asked of a log and of a witness.

use countersign_services::{AddCheckpoint, LogFailure, TileName};

use super::Malformed;
use crate::pb;
use crate::pb::log_fault::Kind;

/// The longest consistency proof: one hash for each bit of a size.
const PROOF_MAX: usize = 63;

pub(crate) fn tile_out(name: TileName) -> pb::TileRequest {
    pb::TileRequest { level: name.level.into(), index: name.index, width: name.width.into() }
}

pub(crate) fn tile_in(message: &pb::TileRequest) -> Result<TileName, Malformed> {
    let level = u8::try_from(message.level).map_err(|_| Malformed)?;
    let width = u16::try_from(message.width).ok().filter(|width| (1..=256).contains(width)).ok_or(Malformed)?;
    Ok(TileName { level, index: message.index, width })
}

pub(crate) fn cosign_out(key: &str, asked: &AddCheckpoint) -> pb::CosignRequest {
    pb::CosignRequest {
        key: key.to_owned(),
        old_size: asked.old_size,
        proof: asked.proof.iter().map(|hash| hash.to_vec()).collect(),
        checkpoint: asked.checkpoint.clone(),
    }
}

pub(crate) fn cosign_in(message: pb::CosignRequest) -> Result<(String, AddCheckpoint), Malformed> {
    let pb::CosignRequest { key, old_size, proof, checkpoint } = message;
    if proof.len() > PROOF_MAX {
        return Err(Malformed);
    }
    let hash = |bytes: Vec<u8>| <[u8; 32]>::try_from(bytes).map_err(|_| Malformed);
    let proof = proof.into_iter().map(hash).collect::<Result<_, _>>()?;
    Ok((key, AddCheckpoint { old_size, proof, checkpoint }))
}

pub(crate) fn reply_out<const N: usize>(outcome: Result<[Vec<u8>; N], LogFailure>) -> pb::LogReply {
    match outcome {
        Ok(parts) => pb::LogReply { parts: parts.into(), fault: None },
        Err(failure) => pb::LogReply { parts: Vec::new(), fault: Some(fault_out(&failure)) },
    }
}

/// What came: exactly so many parts, or why not.
pub(crate) fn reply_in<const N: usize>(reply: pb::LogReply) -> Result<[Vec<u8>; N], LogFailure> {
    match reply.fault {
        Some(fault) => Err(fault_in(&fault)),
        None => reply.parts.try_into().map_err(|_| LogFailure::Unavailable),
    }
}

fn fault_out(failure: &LogFailure) -> pb::LogFault {
    let (kind, size) = match failure {
        LogFailure::NotFound => (Kind::NotFound, 0),
        LogFailure::Unavailable => (Kind::Unavailable, 0),
        LogFailure::Seen { size } => (Kind::Seen, *size),
        LogFailure::Contradicts { size } => (Kind::Contradicts, *size),
        LogFailure::NotTaken => (Kind::NotTaken, 0),
    };
    pb::LogFault { kind: kind.into(), size }
}

fn fault_in(fault: &pb::LogFault) -> LogFailure {
    let size = fault.size;
    match Kind::try_from(fault.kind) {
        Ok(Kind::NotFound) => LogFailure::NotFound,
        Ok(Kind::Seen) => LogFailure::Seen { size },
        Ok(Kind::Contradicts) => LogFailure::Contradicts { size },
        Ok(Kind::NotTaken) => LogFailure::NotTaken,
        Ok(Kind::Unavailable | Kind::Unspecified) | Err(_) => LogFailure::Unavailable,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_come_back_as_they_were() {
        let all = [
            LogFailure::NotFound,
            LogFailure::Unavailable,
            LogFailure::Seen { size: 7 },
            LogFailure::Contradicts { size: 9 },
            LogFailure::NotTaken,
        ];
        for failure in all {
            let reply = reply_out::<1>(Err(failure.clone()));
            assert_eq!(reply_in::<1>(reply), Err(failure));
        }
    }

    #[test]
    fn a_reply_with_another_number_of_parts_is_not_taken() {
        let reply = reply_out(Ok([vec![1], vec![2]]));
        assert_eq!(reply_in::<1>(reply), Err(LogFailure::Unavailable));
        assert_eq!(reply_in::<0>(reply_out(Ok([vec![1]]))), Err(LogFailure::Unavailable));
    }

    #[test]
    fn what_can_not_be_a_tile_or_a_proof_is_malformed() {
        for (level, width) in [(256, 1), (0, 0), (0, 257), (0, 70_000)] {
            assert!(tile_in(&pb::TileRequest { level, index: 0, width }).is_err());
        }
        let name = TileName { level: 1, index: 4, width: 256 };
        assert_eq!(tile_in(&tile_out(name)), Ok(name));
        let proof = |count, bytes| pb::CosignRequest { proof: vec![vec![0; bytes]; count], ..Default::default() };
        assert!(cosign_in(proof(63, 32)).is_ok());
        assert!(cosign_in(proof(64, 32)).is_err());
        assert!(cosign_in(proof(1, 31)).is_err());
    }
}
