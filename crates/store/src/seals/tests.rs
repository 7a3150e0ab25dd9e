use super::*;

fn key(field: u8) -> CellKey {
    CellKey { record_type: TypeId(1), field: FieldId(field), epoch: 1 }
}

fn needs(counts: &[(u8, u64)]) -> Needs {
    Needs(counts.iter().map(|(field, count)| (key(*field), *count)).collect())
}

#[test]
fn blocks_grow_with_use_and_are_taken_together() {
    let mut blocks = Blocks::default();
    let wanted = blocks.take(&needs(&[(0, 1), (1, 100)]), SEALS_MAX).unwrap_err();
    assert_eq!(wanted, [Wanted { key: key(0), least: 1, most: 64 }, Wanted { key: key(1), least: 100, most: 100 }]);
    blocks.add(key(0), 64);
    assert_eq!(blocks.take(&needs(&[(0, 1), (1, 100)]), SEALS_MAX).unwrap_err(), [wanted[1]], "nothing was taken");
    blocks.add(key(1), 100);
    blocks.take(&needs(&[(0, 1), (1, 100)]), SEALS_MAX).unwrap();
    let wanted = blocks.take(&needs(&[(0, 63), (1, 30)]), SEALS_MAX).unwrap_err();
    assert_eq!(wanted, [Wanted { key: key(1), least: 30, most: 130 }]);
    for _ in 0..40 {
        blocks.add(key(1), 65_536);
        blocks.take(&needs(&[(1, 65_536)]), SEALS_MAX).unwrap();
    }
    assert_eq!(blocks.take(&needs(&[(1, 1)]), SEALS_MAX).unwrap_err()[0].most, 65_536);
    assert_eq!(Blocks::default().take(&needs(&[(1, 1)]), 160).unwrap_err()[0].most, 10, "a sixteenth of the limit");
    assert_eq!(Blocks::default().take(&needs(&[(1, 1)]), 3).unwrap_err()[0].most, 1);
}

#[test]
fn grants_end_at_the_limit() {
    let wanted = Wanted { key: key(0), least: 5, most: 10 };
    assert_eq!(wanted.grant(0, 100), Some(10));
    assert_eq!(wanted.grant(93, 100), Some(7));
    assert_eq!(wanted.grant(95, 100), Some(5));
    assert_eq!(wanted.grant(96, 100), None);
    assert_eq!(wanted.grant(200, 100), None);
    assert!(is_near(75, 100) && !is_near(74, 100) && is_near(3, 4) && is_near(1, 1));
}

#[tokio::test]
async fn whoever_waits_is_told_of_each_key_once() {
    let nearing = Nearing::default();
    let tenant = |number| TenantId::from_u128((0x7_u128 << 76) | number);
    nearing.note(tenant(1), key(1));
    nearing.note(tenant(2), key(1));
    nearing.note(tenant(1), key(2));
    nearing.note(tenant(1), key(1));
    let told = [(tenant(1), [key(1), key(2)].into()), (tenant(2), [key(1)].into())];
    assert_eq!(nearing.wait().await, told.into());
    let quiet = tokio::time::timeout(std::time::Duration::from_millis(20), nearing.wait()).await;
    assert!(quiet.is_err());
    nearing.note(tenant(2), key(1));
    assert_eq!(nearing.wait().await, [(tenant(2), [key(1)].into())].into());
}
