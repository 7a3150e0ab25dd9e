//! Files with something wrong anywhere: never a panic, and what is accepted is sound.

use super::*;

const EXAMPLE: &str = include_str!("../../../../../examples/trading/types.toml");

/// A repeatable sequence of numbers below a bound.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap().checked_rem(bound).unwrap()
    }
}

/// Lines swapped, doubled, dropped; words cut, replaced, moved.
fn disturbed(dice: &mut Dice) -> String {
    const WORDS: [&str; 14] = [
        "id",
        "\"",
        "{",
        "}",
        "=",
        "references",
        "\"customer\"",
        "json",
        "true",
        "[types.customer]",
        "key",
        "\u{1}",
        "é",
        "integer",
    ];
    let mut lines: Vec<String> = EXAMPLE.lines().map(str::to_owned).collect();
    for _ in 0..=dice.below(4) {
        let (one, other) = (dice.below(lines.len()), dice.below(lines.len()));
        match dice.below(6) {
            0 => lines.swap(one, other),
            1 => lines.insert(one, lines[other].clone()),
            2 => drop(lines.remove(one)),
            _ => {
                let mut words: Vec<&str> = lines[one].split(' ').collect();
                let place = dice.below(words.len());
                words[place] = WORDS[dice.below(WORDS.len())];
                lines[one] = words.join(" ");
            }
        }
    }
    lines.join("\n")
}

#[test]
fn whatever_is_wrong_is_an_error_and_what_is_accepted_is_sound() {
    let old = parse(EXAMPLE).unwrap();
    let mut dice = Dice(7);
    let (mut accepted, mut merged_count) = (0, 0);
    for _ in 0..4000 {
        let text = disturbed(&mut dice);
        let types = match parse(&text) {
            Ok(types) => types,
            Err(error) => {
                let lines = text.lines().count() + 1;
                assert!((1..=lines).contains(&error.line()) && error.column() >= 1, "{error}\n{text}");
                assert!(!error.to_string().chars().any(char::is_control), "{error:?}");
                continue;
            }
        };
        accepted += 1;
        check(&types);
        for occupied in [true, false] {
            let Ok((merged, changes)) = merge_knowing(&old, &types, |_| occupied) else { continue };
            merged_count += 1;
            check(&merged);
            assert!(!changes.is_empty() || merged == old);
            for (id, known) in old.iter() {
                let kept = merged.record_type(id).unwrap();
                let names = |one: &countersign_model::RecordType| -> Vec<_> {
                    one.fields.iter().take(known.fields.len()).map(|field| field.name.clone()).collect()
                };
                assert_eq!((&kept.name, names(kept)), (&known.name, names(known)), "ids are for ever");
                assert!(!occupied || kept.fields.iter().zip(&known.fields).all(|(new, old)| new.kind == old.kind));
            }
            assert_eq!(merge_knowing(&merged, &types, |_| true).unwrap().1, [], "applied twice is applied once");
        }
    }
    assert!(accepted > 200 && merged_count > 100, "{accepted} {merged_count}");
}

/// What every other part of the program takes for granted.
fn check(types: &RecordTypes) {
    for record_type in &types.types {
        let key = record_type.field(record_type.key).unwrap();
        assert!(key.required && key.unique);
        for field in &record_type.fields {
            assert!(field.indexed || !(field.unique || field.references.is_some()));
            assert!(field.kind != Kind::Json || !field.indexed);
            if let Some(target) = field.references {
                let target = types.record_type(target).unwrap();
                assert_eq!(target.field(target.key).unwrap().kind, field.kind);
            }
        }
    }
}
