//! Associated data: what a sealed value is bound to without containing it.

use countersign_model::{FieldId, RecordId, TenantId, TypeId};

const INLINE_BYTES: usize = 128;

/// A label and parts, each preceded by its length (u32, big-endian), so that no two different lists of parts
/// give the same bytes. Also the form of every key derivation's context.
///
/// Built on the stack up to 128 bytes, which covers the associated data of a cell.
pub struct Aad(Bytes);

enum Bytes {
    Inline { buffer: [u8; INLINE_BYTES], used: usize },
    Heap(Vec<u8>),
}

impl Aad {
    /// Begins with a label that names the use and its version, such as `cell.1`.
    #[must_use]
    pub fn new(label: &'static str) -> Self {
        let mut aad = Self(Bytes::Inline { buffer: [0; INLINE_BYTES], used: 0 });
        aad.push(label.as_bytes());
        aad
    }

    /// Appends a part. Parts longer than 4 GiB don't occur; their length saturates.
    #[must_use]
    pub fn part(mut self, bytes: &[u8]) -> Self {
        self.push(bytes);
        self
    }

    /// The encoding.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        match &self.0 {
            Bytes::Inline { buffer, used } => buffer.get(..*used).unwrap_or(buffer),
            Bytes::Heap(bytes) => bytes,
        }
    }

    /// Inlined, so that parts of known length become plain stores: this runs for every cell.
    #[inline(always)]
    fn push(&mut self, bytes: &[u8]) {
        let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_be_bytes();
        if let Bytes::Inline { buffer, used } = &mut self.0 {
            let middle = used.saturating_add(length.len());
            let end = middle.saturating_add(bytes.len());
            if let Some((head, tail)) = buffer.get_mut(*used..end).and_then(|space| space.split_at_mut_checked(4)) {
                head.copy_from_slice(&length);
                tail.copy_from_slice(bytes);
                *used = end;
                return;
            }
        }
        self.push_to_heap(length, bytes);
    }

    #[cold]
    fn push_to_heap(&mut self, length: [u8; 4], bytes: &[u8]) {
        let mut heap = match std::mem::replace(&mut self.0, Bytes::Heap(Vec::new())) {
            Bytes::Inline { buffer, used } => buffer.get(..used).unwrap_or(&buffer).to_vec(),
            Bytes::Heap(heap) => heap,
        };
        heap.extend_from_slice(&length);
        heap.extend_from_slice(bytes);
        self.0 = Bytes::Heap(heap);
    }
}

/// What every cell is bound to: a cell moved to another tenant, type, field or record doesn't open.
#[must_use]
pub fn cell_aad(tenant: TenantId, record_type: TypeId, field: FieldId, record: RecordId) -> Aad {
    let mut aad = Aad::new("cell.1");
    aad.push(tenant.as_bytes());
    aad.push(&record_type.0.to_be_bytes());
    aad.push(&[field.0]);
    aad.push(record.as_bytes());
    aad
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moving_a_boundary_between_parts_changes_the_bytes() {
        let one = Aad::new("l").part(b"ab").part(b"c");
        let other = Aad::new("l").part(b"a").part(b"bc");
        let joined = Aad::new("l").part(b"abc");
        let label = Aad::new("lab").part(b"c");
        let all = [one.as_bytes(), other.as_bytes(), joined.as_bytes(), label.as_bytes()];
        for (i, left) in all.iter().enumerate() {
            assert!(all.iter().skip(i + 1).all(|right| left != right));
        }
    }

    #[test]
    fn growing_past_the_stack_keeps_every_byte() {
        let mut aad = Aad::new("label");
        let mut expected = b"\0\0\0\x05label".to_vec();
        for size in [0usize, 1, 50, 60, 13, 200, 3] {
            let part = vec![size as u8; size];
            aad = aad.part(&part);
            expected.extend_from_slice(&(size as u32).to_be_bytes());
            expected.extend_from_slice(&part);
            assert_eq!(aad.as_bytes(), expected);
        }
    }

    #[test]
    fn a_cell_stays_on_the_stack() {
        let aad = cell_aad(TenantId::from_u128(1), TypeId(2), FieldId(3), RecordId::from_u128(4));
        assert!(matches!(aad.0, Bytes::Inline { used: 61, .. }));
    }
}
