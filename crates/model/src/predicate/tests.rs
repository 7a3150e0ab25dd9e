use super::*;

struct Record(Vec<Value>);

impl Fields for Record {
    fn value(&self, field: FieldId) -> &Value {
        self.0.get(usize::from(field.0)).unwrap_or(&Value::Null)
    }

    fn via(&self, _: FieldId, _: TypeId, _: &Predicate) -> Option<bool> {
        None
    }
}

const F: FieldId = FieldId(0);

fn field(comparison: Comparison) -> Predicate {
    Predicate::Field(F, comparison)
}

#[test]
fn an_absent_value_is_let_through_by_no_comparison_and_by_no_negation() {
    let absent = Record(vec![Value::Null]);
    let one = Value::Integer(1);
    for comparison in [
        Comparison::Eq(one.clone()),
        Comparison::Neq(one.clone()),
        Comparison::Gt(one.clone()),
        Comparison::Lte(one.clone()),
        Comparison::In(vec![one]),
        Comparison::Like { pattern: "%".into(), fold_case: false },
    ] {
        assert_eq!(field(comparison.clone()).evaluate(&absent), None);
        assert_eq!(field(comparison).not().evaluate(&absent), None);
    }
    assert_eq!(field(Comparison::IsNull).evaluate(&absent), Some(true));
    assert_eq!(field(Comparison::Is(true)).not().evaluate(&absent), Some(true));
}

#[test]
fn unknown_and_false_is_false_unknown_or_true_is_true() {
    let record = Record(vec![Value::Null]);
    let unknown = || field(Comparison::Eq(Value::Integer(1)));
    assert_eq!(Predicate::And(vec![unknown(), Predicate::FALSE]).evaluate(&record), Some(false));
    assert_eq!(Predicate::And(vec![unknown(), Predicate::TRUE]).evaluate(&record), None);
    assert_eq!(Predicate::Or(vec![unknown(), Predicate::TRUE]).evaluate(&record), Some(true));
    assert_eq!(Predicate::Or(vec![unknown(), Predicate::FALSE]).evaluate(&record), None);
}

#[test]
fn like_matches_as_sql_does() {
    for (pattern, text, fold_case, expected) in [
        ("%", "", false, true),
        ("", "", false, true),
        ("", "a", false, false),
        ("a%c", "abbbc", false, true),
        ("a%c", "abbbcd", false, false),
        ("%b%b%", "abxb", false, true),
        ("_é_", "aéb", false, true),
        ("_", "", false, false),
        (r"100\%", "100%", false, true),
        (r"100\%", "1000", false, false),
        ("SÃO%", "São Paulo", true, true),
        ("SÃO%", "São Paulo", false, false),
    ] {
        assert_eq!(like(pattern, text, fold_case), expected, "{pattern} on {text}");
    }
}

#[test]
fn a_hostile_pattern_costs_no_more_than_pattern_times_text() {
    let pattern = "%a".repeat(2_000);
    let text = "a".repeat(1_999);
    assert!(!like(&pattern, &text, false));
}
