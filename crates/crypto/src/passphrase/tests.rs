use argon2::{AssociatedData, ParamsBuilder};

use super::*;

/// RFC 9106, section 5.3.
#[test]
fn the_vector_of_the_rfc() {
    let mut params = ParamsBuilder::new();
    params.m_cost(32).t_cost(3).p_cost(4).output_len(32).data(AssociatedData::new(&[4; 12]).unwrap());
    let params = params.build().unwrap();
    let argon2 = Argon2::new_with_secret(&[3; 8], Algorithm::Argon2id, Version::V0x13, params).unwrap();
    let mut tag = [0; 32];
    fill(&argon2, &[1; 32], &[2; 16], &mut tag).unwrap();
    assert_eq!(hex::encode(tag), "0d640df58d78766c08c037a34a8b53c9d01ef0452d75b65eb52520e96b01e659");
}

/// Computed with the reference implementation: `argon2 <salt> -id -t 3 -k 65536 -p 4 -l 32 -r`.
#[test]
fn the_same_passphrase_and_salt_give_the_same_key_and_others_another() {
    let key = |passphrase: &[u8], salt: u8| {
        *key_from_passphrase(passphrase, &[salt; SALT_BYTES], PassphraseCost::RFC_9106).unwrap().expose()
    };
    let one = key(b"correct horse battery staple", b's');
    assert_eq!(hex::encode(one), "d9fe526af55a136b0141433aaf59a8590ac81b5f684873ecaebc77f598fefdd4");
    assert_ne!(one, key(b"correct horse battery stapl", b's'));
    assert_ne!(one, key(b"correct horse battery staple", b't'));
}

#[test]
fn what_is_weaker_than_recommended_or_exhausts_the_machine_is_refused() {
    let good = PassphraseCost::RFC_9106;
    for cost in [
        PassphraseCost { memory_kib: 1 << 30, ..good },
        PassphraseCost { memory_kib: u32::MAX, ..good },
        PassphraseCost { memory_kib: 64 * 1024 - 1, ..good },
        PassphraseCost { memory_kib: 0, ..good },
        PassphraseCost { passes: 2, ..good },
        PassphraseCost { passes: u32::MAX, ..good },
        PassphraseCost { lanes: 0, ..good },
        PassphraseCost { lanes: 17, ..good },
    ] {
        assert_eq!(key_from_passphrase(b"p", &[0; SALT_BYTES], cost).err(), Some(CostOutOfBounds), "{cost:?}");
    }
}
