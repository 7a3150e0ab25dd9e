//! The rules in force: those that come with the program, and those of a folder.

use std::path::Path;

use super::correlation::{Correlation, Draft};
use super::embedded;
use super::fault::RuleFault;
use super::read::{Read, read};
use super::rule::{Heading, Rule, Source};
use crate::enrich::fields::View;

/// How many rules there may be.
const RULES_MAX: usize = 1_000;

/// Rules that are in force together.
#[derive(Debug, Clone, Default)]
pub struct RuleSet {
    rules: Vec<Rule>,
    correlations: Vec<Correlation>,
    /// For each rule, the places of the correlations that it is part of.
    parts_of: Vec<Vec<usize>>,
    /// For each rule, whether it alerts by itself.
    alerts: Vec<bool>,
}

/// Why there is no rule set. The operator's to mend.
#[derive(Debug, thiserror::Error)]
pub enum LoadFault {
    /// A rule is wrong.
    #[error(transparent)]
    Rule(#[from] RuleFault),
    /// Two files of the same folder have a rule of the same id.
    #[error("the rule {id} is in {one} and in {other}")]
    Twice {
        /// The id.
        id: String,
        /// One file.
        one: String,
        /// The other one.
        other: String,
    },
    /// More than a deployment can be watched by.
    #[error("more than {RULES_MAX} rules")]
    TooMany,
    /// The folder or a file in it can't be read.
    #[error("{path}: {source}")]
    Unreadable {
        /// Which.
        path: String,
        /// Why.
        source: std::io::Error,
    },
}

impl RuleSet {
    /// The rules that come with the program, changed by those of a folder: a rule there with the id of one of ours takes
    /// its place, any other is added, and one whose `status` is `deprecated` turns its namesake off. A folder that isn't
    /// there changes nothing.
    ///
    /// # Errors
    /// [`LoadFault`]. Nothing is left out silently: one wrong rule, and there is no rule set.
    pub fn load(folder: Option<&Path>) -> Result<Self, LoadFault> {
        let theirs = match folder {
            Some(folder) => files(folder)?,
            None => Vec::new(),
        };
        let theirs: Vec<(&str, &str)> = theirs.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect();
        Self::of(embedded::FILES, &theirs)
    }

    /// As [`load`](Self::load), of files by name and text: the first ones, changed by the others.
    ///
    /// # Errors
    /// [`LoadFault`].
    pub fn of(ours: &[(&str, &str)], theirs: &[(&str, &str)]) -> Result<Self, LoadFault> {
        let mut all = layer(ours)?;
        for (id, file, new) in layer(theirs)? {
            all.retain(|(known, ..)| *known != id);
            all.push((id, file, new));
        }
        if all.len() > RULES_MAX {
            return Err(LoadFault::TooMany);
        }
        let (mut rules, mut drafts): (Vec<Rule>, Vec<Draft>) = (Vec::new(), Vec::new());
        for (_, _, read) in all {
            match read {
                Read::Rule(rule) => rules.push(rule),
                Read::Correlation(draft) => drafts.push(draft),
                Read::Off(_) => {}
            }
        }
        let correlations: Vec<Correlation> =
            drafts.into_iter().map(|draft| draft.resolve(&rules)).collect::<Result<_, _>>()?;
        let parts_of: Vec<Vec<usize>> = (0..rules.len())
            .map(|rule| {
                let has = |correlation: &Correlation| correlation.rules.contains(&rule);
                correlations.iter().enumerate().filter(|(_, one)| has(one)).map(|(place, _)| place).collect()
            })
            .collect();
        let alerts = parts_of
            .iter()
            .map(|parts| {
                parts.is_empty() || parts.iter().any(|at| correlations.get(*at).is_some_and(|one| one.generate))
            })
            .collect();
        Ok(Self { rules, correlations, parts_of, alerts })
    }

    /// The rules that an event of this source matches, by their places.
    pub fn matching<'a>(&'a self, source: Source, event: &'a View<'_>) -> impl Iterator<Item = usize> + 'a {
        let matches = move |rule: &Rule| rule.source == source && rule.matches(event);
        self.rules.iter().enumerate().filter(move |(_, rule)| matches(rule)).map(|(place, _)| place)
    }

    /// The rule at that place, if it alerts by itself.
    #[must_use]
    pub fn alerting(&self, place: usize) -> Option<&Rule> {
        self.rules.get(place).filter(|_| self.alerts.get(place) == Some(&true))
    }

    /// The correlations that the rule at that place is part of.
    pub fn correlations_of(&self, rule: usize) -> impl Iterator<Item = (usize, &Correlation)> {
        let parts = self.parts_of.get(rule).map(Vec::as_slice).unwrap_or_default();
        parts.iter().filter_map(|place| Some((*place, self.correlations.get(*place)?)))
    }

    /// All correlations, by their places.
    #[must_use]
    pub fn correlations(&self) -> &[Correlation] {
        &self.correlations
    }

    /// What everything that can alert is called.
    pub fn headings(&self) -> impl Iterator<Item = &Heading> {
        let rules = (0..self.rules.len()).filter_map(|place| self.alerting(place)).map(|rule| &rule.heading);
        rules.chain(self.correlations.iter().map(|correlation| &correlation.heading))
    }
}

type Layer = Vec<(String, String, Read)>;

fn layer(files: &[(&str, &str)]) -> Result<Layer, LoadFault> {
    let mut all: Layer = Vec::new();
    for (name, text) in files {
        for new in read(name, text)? {
            let id = match &new {
                Read::Rule(rule) => rule.heading.id.clone(),
                Read::Correlation(draft) => draft.id().to_owned(),
                Read::Off(id) => id.clone(),
            };
            if let Some((_, one, _)) = all.iter().find(|(known, ..)| *known == id) {
                return Err(LoadFault::Twice { id, one: one.clone(), other: (*name).to_owned() });
            }
            all.push((id, (*name).to_owned(), new));
        }
    }
    Ok(all)
}

/// The `.yml` and `.yaml` files of a folder, by name.
fn files(folder: &Path) -> Result<Vec<(String, String)>, LoadFault> {
    let unreadable = |path: &Path| {
        let path = path.display().to_string();
        move |source| LoadFault::Unreadable { path, source }
    };
    let entries = match std::fs::read_dir(folder) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(unreadable(folder))?,
    };
    let mut files = Vec::new();
    for entry in entries {
        let path = entry.map_err(unreadable(folder))?.path();
        if path.extension().is_some_and(|ending| ending == "yml" || ending == "yaml") {
            let text = std::fs::read_to_string(&path).map_err(unreadable(&path))?;
            files.push((path.display().to_string(), text));
        }
    }
    files.sort();
    Ok(files)
}
