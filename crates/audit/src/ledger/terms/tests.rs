use super::*;

#[test]
fn conditions_hold_together_where_each_does() {
    assert_eq!(common(vec![vec![5, 1, 3, 3], vec![3, 2, 5]]), [3, 5]);
    assert_eq!(common(vec![vec![9, 1, 1]]), [1, 9]);
    assert_eq!(common(vec![vec![1], vec![]]), Vec::<u32>::new());
}

#[test]
fn an_entry_is_ordered_by_its_term() {
    assert!(entry(1, u32::MAX) < entry(2, 0));
    assert_eq!((term_of(entry(7, 9)), place_of(entry(7, 9))), (7, 9));
}

/// Ids made one after another, and the same id as another kind of thing, have nothing to do with each other.
#[test]
fn terms_are_spread() {
    let mut terms: Vec<Term> = (0..10_000).map(|id| user(UserId::from_u128(id))).collect();
    terms.extend((0..10_000).map(|id| token(TokenId::from_u128(id))));
    terms.sort_unstable();
    terms.dedup();
    assert!(terms.len() >= 19_995, "{}", terms.len());
    let halves = terms.iter().filter(|term| **term < u32::MAX / 2).count();
    assert!((9_000..11_000).contains(&halves), "{halves}");
}
