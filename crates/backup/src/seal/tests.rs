use super::*;

fn keys() -> RepositoryKeys {
    RepositoryKeys::new(&SecretKey::from_bytes([1; 32]))
}

fn seal(section: &Section, own: Option<u8>) -> SectionSeal {
    let own = own.map(|byte| (1, SecretKey::from_bytes([byte; 32])));
    SectionSeal::new(&keys(), RepositoryId([4; 16]), section, own)
}

#[test]
fn lengths_are_rounded_up_by_little() {
    assert_eq!(padded(0), 256);
    for length in (0..200_000).step_by(7).chain([1 << 20, (2 << 20) + 1, CHUNK_MAX]) {
        let rounded = padded(length);
        assert!(rounded >= length + 4 && (rounded <= 256 || rounded - length - 4 <= (length + 4) / 8), "{length}");
    }
    let different: std::collections::BTreeSet<_> = ((1 << 20)..(2 << 20)).step_by(101).map(padded).collect();
    assert!(different.len() <= 33, "{}", different.len());
}

#[test]
fn a_chunk_is_always_the_same_and_opens_in_its_place_alone() {
    let tenant = |number| Section::Tenant(TenantId::from_u128((7u128 << 76) | number));
    let (one, other) = (seal(&tenant(1), Some(2)), seal(&tenant(2), Some(2)));
    let name = one.name(b"chunk");
    let sealed = one.seal(&keys(), &name, b"chunk");
    assert_eq!(sealed, one.seal(&keys(), &name, b"chunk"));
    assert_eq!(sealed.len(), sealed_bytes(5, true));
    assert_eq!(one.open(&keys(), &name, &sealed).as_deref(), Some(&b"chunk"[..]));
    assert_ne!(other.name(b"chunk"), name);
    assert_eq!(other.open(&keys(), &name, &sealed), None);
    assert_eq!(seal(&tenant(1), Some(3)).open(&keys(), &name, &sealed), None, "another key of the tenant's");
    assert_eq!(seal(&tenant(1), None).open(&keys(), &name, &sealed), None);
    assert_eq!(one.open(&RepositoryKeys::new(&SecretKey::from_bytes([2; 32])), &name, &sealed), None);
    assert_eq!(one.open(&keys(), &one.name(b"chunks"), &sealed), None);
    // Sealed by whoever has the keys, but under the name of something else.
    assert_eq!(one.open(&keys(), &name, &one.seal(&keys(), &name, b"other")), None);
}
