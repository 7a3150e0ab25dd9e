//! Budgets: how many cells somebody may open, from `budget.toml`.
//!
//! Policies say which fields of which records somebody may read, and nothing of how many. The budget bounds what a
//! stolen token, or a person with more curiosity than work, can carry away before anybody looks.

use std::collections::BTreeMap;

use countersign_model::budget::BudgetLimits;
use countersign_model::control::PolicyFile;
use countersign_model::facts::{User, UserKind};
use countersign_model::{Name, name::NotAName};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::error::Problem;
use crate::explain::hint;
use crate::statements::place;

/// For people, and for services that work for themselves: enough for a day of reports and exports, and for everything
/// that a large subscriber keeps only after hours in which somebody can notice.
pub const DEFAULT: BudgetLimits =
    BudgetLimits { per_token: 20_000_000, per_principal: 20_000_000, per_hour: 5_000_000 };

/// For agents, which decide by themselves what to read, on the word of texts that anybody may have written.
pub const DEFAULT_AGENTS: BudgetLimits =
    BudgetLimits { per_token: 1_000_000, per_principal: 1_000_000, per_hour: 200_000 };

const LIMITS: [&str; 3] = ["per_token", "per_principal", "per_hour"];
const TABLES: [&str; 4] = ["people", "services", "agents", "roles"];

/// What one table says; what it doesn't say is `None`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Said {
    per_token: Option<u64>,
    per_principal: Option<u64>,
    per_hour: Option<u64>,
}

impl Said {
    fn or(self, default: BudgetLimits) -> BudgetLimits {
        BudgetLimits {
            per_token: self.per_token.unwrap_or(default.per_token),
            per_principal: self.per_principal.unwrap_or(default.per_principal),
            per_hour: self.per_hour.unwrap_or(default.per_hour),
        }
    }

    /// The smaller where both say something.
    fn and(self, other: Self) -> Self {
        let both = |one: Option<u64>, other: Option<u64>| match (one, other) {
            (Some(one), Some(other)) => Some(one.min(other)),
            (only, None) | (None, only) => only,
        };
        Self {
            per_token: both(self.per_token, other.per_token),
            per_principal: both(self.per_principal, other.per_principal),
            per_hour: both(self.per_hour, other.per_hour),
        }
    }
}

/// The budgets of a deployment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Budgets {
    people: BudgetLimits,
    services: BudgetLimits,
    agents: BudgetLimits,
    roles: BTreeMap<Name, Said>,
}

impl Default for Budgets {
    fn default() -> Self {
        Self { people: DEFAULT, services: DEFAULT, agents: DEFAULT_AGENTS, roles: BTreeMap::new() }
    }
}

impl Budgets {
    /// A user's limits. What the roles say takes the place of what the kind of user says; where several roles say something, the
    /// smallest counts.
    pub(crate) fn of(&self, user: &User) -> BudgetLimits {
        let of_kind = match user.kind {
            UserKind::Person => self.people,
            UserKind::Service => self.services,
            UserKind::Agent => self.agents,
        };
        let of_roles = user.roles.iter().filter_map(|role| self.roles.get(role));
        of_roles.fold(Said::default(), |all, said| all.and(*said)).or(of_kind)
    }

    /// Reads the one file that holds budgets, if there is one.
    pub(crate) fn read(files: &[PolicyFile], problems: &mut Vec<Problem>) -> Self {
        let mut budgets = Self::default();
        let mut files = files.iter().filter(|file| file.is_budget());
        let Some(file) = files.next() else { return budgets };
        for other in files {
            let message = format!("there can be one file of budgets, and {} is one already", file.name);
            problems.push(Problem::new(other.name.clone(), (1, 1), message));
        }
        Reader { file, problems }.file(&mut budgets);
        budgets
    }
}

struct Reader<'a> {
    file: &'a PolicyFile,
    problems: &'a mut Vec<Problem>,
}

impl Reader<'_> {
    fn problem(&mut self, offset: usize, message: String) {
        self.problems.push(Problem::new(self.file.name.clone(), place(&self.file.text, offset), message));
    }

    fn file(&mut self, budgets: &mut Budgets) {
        let file = self.file;
        let document = match DeTable::parse(&file.text) {
            Ok(document) => document,
            Err(error) => {
                let offset = error.span().map_or(0, |span| span.start);
                return self.problem(offset, error.message().to_owned());
            }
        };
        for (name, value) in document.get_ref() {
            let name: (usize, &str) = (name.span().start, name.get_ref());
            match name.1 {
                "people" => budgets.people = self.limits(name, value).or(DEFAULT),
                "services" => budgets.services = self.limits(name, value).or(DEFAULT),
                "agents" => budgets.agents = self.limits(name, value).or(DEFAULT_AGENTS),
                "roles" => budgets.roles = self.roles(name, value),
                other => self.problem(name.0, unknown("table", other, &TABLES)),
            }
        }
    }

    fn roles(&mut self, at: (usize, &str), value: &Spanned<DeValue<'_>>) -> BTreeMap<Name, Said> {
        let mut roles = BTreeMap::new();
        let DeValue::Table(table) = value.get_ref() else {
            self.problem(at.0, "[roles.NAME] is a table for each role".to_owned());
            return roles;
        };
        for (name, value) in table {
            let (offset, text): (usize, &str) = (name.span().start, name.get_ref());
            let said = self.limits((offset, text), value);
            match Name::new(text) {
                Ok(role) => {
                    roles.insert(role, said);
                }
                Err(_) => self.problem(offset, format!("no role can have the name \"{text}\": {NotAName}")),
            }
        }
        roles
    }

    fn limits(&mut self, at: (usize, &str), value: &Spanned<DeValue<'_>>) -> Said {
        let mut said = Said::default();
        let DeValue::Table(table) = value.get_ref() else {
            self.problem(at.0, format!("{} is a table of limits: {}", at.1, LIMITS.join(", ")));
            return said;
        };
        for (name, value) in table {
            let key: &str = name.get_ref();
            let limit = match key {
                "per_token" => &mut said.per_token,
                "per_principal" => &mut said.per_principal,
                "per_hour" => &mut said.per_hour,
                other => {
                    self.problem(name.span().start, unknown("limit", other, &LIMITS));
                    continue;
                }
            };
            *limit = cells(value.get_ref());
            if limit.is_none() {
                let message = format!("{key} is a whole number of cells, 0 or more, without quotes");
                self.problem(value.span().start, message);
            }
        }
        said
    }
}

fn cells(value: &DeValue<'_>) -> Option<u64> {
    match value {
        // As written in the file, without underscores. TOML's integers end at 2⁶³; a larger one is out of range.
        DeValue::Integer(integer) => {
            i64::from_str_radix(integer.as_str(), integer.radix()).ok().and_then(|cells| u64::try_from(cells).ok())
        }
        _ => None,
    }
}

fn unknown(what: &str, word: &str, known: &[&str]) -> String {
    format!("there is no {what} \"{word}\"; {}", hint(word, known))
}

#[cfg(test)]
mod tests;
