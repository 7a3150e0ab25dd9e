//! The `condition` of a detection.

use super::fault::Wrong;

/// How deep parentheses and `not` may be nested.
const DEPTH_MAX: usize = 32;

/// What must hold of the selections. The numbers are their places.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Condition {
    Selection(usize),
    Not(Box<Self>),
    All(Vec<Self>),
    Any(Vec<Self>),
}

impl Condition {
    /// Whether it holds, given which selections do.
    pub(super) fn holds(&self, selection: &impl Fn(usize) -> bool) -> bool {
        match self {
            Self::Selection(place) => selection(*place),
            Self::Not(inner) => !inner.holds(selection),
            Self::All(parts) => parts.iter().all(|part| part.holds(selection)),
            Self::Any(parts) => parts.iter().any(|part| part.holds(selection)),
        }
    }

    /// Reads a condition over selections of these names.
    pub(super) fn read(text: &str, selections: &[&str]) -> Result<Self, Wrong> {
        let spaced = text.replace('(', " ( ").replace(')', " ) ").replace('|', " | ");
        let words: Vec<&str> = spaced.split_whitespace().collect();
        let mut reading = Reading { words: &words, selections, depth: 0 };
        let condition = reading.any()?;
        match reading.words.first() {
            None => Ok(condition),
            Some(&"|") => Err(Wrong::Unsupported { what: "aggregation", name: "|".to_owned() }),
            Some(word) => Err(Wrong::Condition(format!("'{word}' has no place there"))),
        }
    }
}

struct Reading<'a> {
    words: &'a [&'a str],
    selections: &'a [&'a str],
    depth: usize,
}

impl<'a> Reading<'a> {
    fn take(&mut self) -> Option<&'a str> {
        let (first, rest) = self.words.split_first()?;
        self.words = rest;
        Some(first)
    }

    fn take_if(&mut self, word: &str) -> bool {
        let is = self.words.first().is_some_and(|first| first.eq_ignore_ascii_case(word));
        if is {
            self.take();
        }
        is
    }

    fn any(&mut self) -> Result<Condition, Wrong> {
        let mut parts = vec![self.all()?];
        while self.take_if("or") {
            parts.push(self.all()?);
        }
        Ok(one_or(parts, Condition::Any))
    }

    fn all(&mut self) -> Result<Condition, Wrong> {
        let mut parts = vec![self.one()?];
        while self.take_if("and") {
            parts.push(self.one()?);
        }
        Ok(one_or(parts, Condition::All))
    }

    fn one(&mut self) -> Result<Condition, Wrong> {
        self.depth = self.depth.saturating_add(1);
        if self.depth > DEPTH_MAX {
            return Err(Wrong::Condition("nested too deep".to_owned()));
        }
        let condition = self.inner()?;
        self.depth = self.depth.saturating_sub(1);
        Ok(condition)
    }

    fn inner(&mut self) -> Result<Condition, Wrong> {
        if self.take_if("not") {
            return Ok(Condition::Not(Box::new(self.one()?)));
        }
        let ends_early = || Wrong::Condition("it ends too early".to_owned());
        let word = self.take().ok_or_else(ends_early)?;
        if word == "(" {
            let inner = self.any()?;
            return if self.take_if(")") {
                Ok(inner)
            } else {
                Err(Wrong::Condition("a parenthesis is not closed".to_owned()))
            };
        }
        if self.take_if("of") {
            let wrap = match word.to_ascii_lowercase().as_str() {
                "1" | "any" => Condition::Any,
                "all" => Condition::All,
                _ => return Err(Wrong::Unsupported { what: "quantifier", name: format!("{word} of") }),
            };
            return Ok(wrap(self.named(self.words.first().copied().ok_or_else(ends_early)?)?));
        }
        let place = self.selections.iter().position(|name| *name == word);
        place.map(Condition::Selection).ok_or_else(|| Wrong::Condition(format!("there is no selection '{word}'")))
    }

    /// The selections meant by `them` or a name with `*`. A name that begins with `_` is not one of `them`.
    fn named(&mut self, pattern: &str) -> Result<Vec<Condition>, Wrong> {
        self.take();
        let is_meant = |name: &str| match pattern.split_once('*') {
            _ if pattern.eq_ignore_ascii_case("them") => !name.starts_with('_'),
            Some((start, end)) => {
                name.len() >= start.len().saturating_add(end.len()) && name.starts_with(start) && name.ends_with(end)
            }
            None => name == pattern,
        };
        let named: Vec<Condition> = self
            .selections
            .iter()
            .enumerate()
            .filter(|(_, name)| is_meant(name))
            .map(|(place, _)| Condition::Selection(place))
            .collect();
        if named.is_empty() {
            return Err(Wrong::Condition(format!("there is no selection '{pattern}'")));
        }
        Ok(named)
    }
}

fn one_or(mut parts: Vec<Condition>, wrap: fn(Vec<Condition>) -> Condition) -> Condition {
    match (parts.len(), parts.pop()) {
        (1, Some(one)) => one,
        (_, last) => {
            parts.extend(last);
            wrap(parts)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAMES: &[&str] = &["selection", "filter_a", "filter_b", "_hidden"];

    fn holds(text: &str, which: &[&str]) -> bool {
        let condition = Condition::read(text, NAMES).unwrap();
        condition.holds(&|place| which.contains(&NAMES[place]))
    }

    #[test]
    fn conditions_hold_as_the_standard_says() {
        assert!(holds("selection and not filter_a", &["selection"]));
        assert!(!holds("selection and not filter_a", &["selection", "filter_a"]));
        assert!(holds("selection and not 1 of filter_*", &["selection"]));
        assert!(!holds("selection and not 1 of filter_*", &["selection", "filter_b"]));
        assert!(holds("all of filter_*", &["filter_a", "filter_b"]) && !holds("all of filter_*", &["filter_a"]));
        assert!(holds("filter_a or filter_b and selection", &["filter_a"]), "and binds closer");
        assert!(!holds("(filter_a or filter_b) and selection", &["filter_a"]));
        assert!(!holds("1 of them", &["_hidden"]) && holds("1 of them", &["filter_b"]));
        assert!(holds("not not selection", &["selection"]));
    }

    #[test]
    fn what_is_not_one_is_named() {
        let wrong = |text: &str| Condition::read(text, NAMES).unwrap_err().to_string();
        assert_eq!(wrong("selection | count() > 5"), "aggregation '|' is not supported");
        assert_eq!(wrong("2 of filter_*"), "quantifier '2 of' is not supported");
        assert_eq!(wrong("selection and nothing"), "condition: there is no selection 'nothing'");
        assert_eq!(wrong("(selection"), "condition: a parenthesis is not closed");
        assert_eq!(wrong("selection filter_a"), "condition: 'filter_a' has no place there");
        assert_eq!(wrong("selection and"), "condition: it ends too early");
        assert!(wrong(&"(".repeat(1000)).contains("too deep"));
        assert!(wrong(&"not ".repeat(1000)).contains("too deep"));
    }
}
