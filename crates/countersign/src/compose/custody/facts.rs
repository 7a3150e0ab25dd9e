//! Facts and keys in a backup: rows as they are sealed, in pieces that stay the same where no row of them changes.

use countersign_authority::SealedRow;

use crate::problem::Problem;

/// Pieces end here at the latest.
const PIECE_BYTES: usize = 512 << 10;

/// Facts that are in no backup: the keys that tokens are signed by. After a restore there are new ones, so that no token from
/// before is good any more, whatever was revoked since the backup was made.
const NOT_KEPT: [i16; 1] = [9];

/// Rows in pieces.
pub(super) fn pieces(rows: Vec<SealedRow>) -> Result<Vec<Vec<u8>>, Problem> {
    let (mut pieces, mut piece, mut bytes) = (Vec::new(), Vec::new(), 0usize);
    for row in rows.into_iter().filter(|row| !NOT_KEPT.contains(&row.kind)) {
        bytes = bytes.saturating_add(row.body.len()).saturating_add(row.id.len());
        // About every sixty-fourth row ends a piece, and always the same rows do.
        let ends = row.id.last().is_some_and(|last| last % 64 == 0) || bytes >= PIECE_BYTES;
        piece.push(row);
        if ends {
            pieces.push(encode(&std::mem::take(&mut piece))?);
            bytes = 0;
        }
    }
    if !piece.is_empty() {
        pieces.push(encode(&piece)?);
    }
    Ok(pieces)
}

fn encode(rows: &[SealedRow]) -> Result<Vec<u8>, Problem> {
    postcard::to_allocvec(rows).map_err(|_| Problem::failed("facts can't be written"))
}

/// What a piece has.
pub(super) fn rows(piece: &[u8]) -> Result<Vec<SealedRow>, Problem> {
    match postcard::take_from_bytes(piece) {
        Ok((rows, [])) => Ok(rows),
        _ => Err(Problem::failed("control facts hold what this program does not know")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_of_one_row_changes_one_piece() {
        let row = |number: u16| SealedRow {
            kind: 3,
            id: number.to_be_bytes().to_vec(),
            body: vec![u8::try_from(number % 251).unwrap(); 100],
        };
        let mut all: Vec<SealedRow> = (0..1000).map(row).collect();
        all.push(SealedRow { kind: 9, ..row(7) });
        let before = pieces(all.clone()).unwrap();
        assert!(before.len() > 5);
        let back: Vec<SealedRow> = before.iter().flat_map(|piece| rows(piece).unwrap()).collect();
        assert_eq!(back, all.iter().filter(|row| row.kind != 9).cloned().collect::<Vec<_>>());
        all.get_mut(500).unwrap().body = vec![1];
        let after = pieces(all).unwrap();
        assert_eq!(after.iter().filter(|piece| !before.contains(piece)).count(), 1);
        assert!(rows(b"\xff\xff").is_err());
    }
}
