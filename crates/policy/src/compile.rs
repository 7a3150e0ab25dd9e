//! From policy files to [`Policies`], or to everything that is wrong with them.

use std::collections::{BTreeSet, HashMap, HashSet};

use cedar_policy::pst::{Clause, Expr};
use cedar_policy::{
    Policy, PolicyId, PolicySet, ResourceConstraint, Schema, ValidationError, ValidationMode, ValidationWarning,
    Validator,
};
use countersign_model::control::PolicyFile;
use countersign_model::request::Action;
use countersign_model::{Name, RecordTypes};
use miette::Diagnostic;

use crate::budget::Budgets;
use crate::error::{PolicyError, Problem};
use crate::explain::explain;
use crate::fold::{Caller, Folder, Unfoldable};
use crate::periods::KeyPeriods;
use crate::schema;
use crate::slice::{Slices, applies};
use crate::statements::{self, Statement};
use crate::vocabulary::Vocabulary;
use crate::{BUILT_IN, Policies};

/// The name of the file that every deployment has.
const BUILT_IN_FILE: &str = "built-in";
/// Ids that only built-in policies have begin so.
const RESERVED: &str = "countersign:";

/// A policy and where it stands.
struct Placed<'a> {
    file: &'a PolicyFile,
    statement: Statement<'a>,
    policy: Policy,
}

pub(crate) fn compile(types: &RecordTypes, files: &[PolicyFile]) -> Result<Policies, PolicyError> {
    let vocabulary = Vocabulary::new(types).map_err(PolicyError::types)?;
    let (schema, _) =
        Schema::from_cedarschema_str(&schema::text(&vocabulary)).map_err(|e| PolicyError::internal(&e))?;
    let built_in = PolicyFile { name: BUILT_IN_FILE.to_owned(), text: BUILT_IN.to_owned() };
    let mut problems = Vec::new();
    let mut all: Vec<Placed<'_>> = Vec::new();
    let budgets = Budgets::read(files, &mut problems);
    // Whoever goes by them reads them from the facts; here they are only checked.
    KeyPeriods::read(files, &mut problems);
    for file in std::iter::once(&built_in).chain(files.iter().filter(|file| !file.is_toml())) {
        for statement in statements::split(&file.text) {
            match parse(file, statement) {
                Ok(placed) => all.push(placed),
                Err(found) => problems.extend(found),
            }
        }
    }
    all = name_apart(all, &mut problems);
    validate(&all, &schema, &vocabulary, &mut problems)?;
    if problems.is_empty() {
        all.iter().for_each(|placed| check_names(placed, &mut problems));
        all.iter().for_each(|placed| check_foldable(placed, &vocabulary, &mut problems));
    }
    if !problems.is_empty() {
        return Err(PolicyError::new(problems));
    }
    let roles = all.iter().flat_map(|placed| named(&placed.policy, "Role")).filter_map(|name| Name::new(&name).ok());
    let roles: BTreeSet<Name> = roles.collect();
    let mut slices = Slices::default();
    for placed in all {
        slices.add(placed.policy, &vocabulary);
    }
    Ok(Policies { vocabulary, schema, slices, roles, budgets })
}

fn parse<'a>(file: &'a PolicyFile, statement: Statement<'a>) -> Result<Placed<'a>, Vec<Problem>> {
    let at = |offset: usize, message: String| {
        let place = statements::place(&file.text, statement.start.saturating_add(offset));
        Problem::new(file.name.clone(), place, message)
    };
    if statement.text.len() > statements::BYTES_MAX {
        let message = format!("the policy is longer than {} bytes; split it in several", statements::BYTES_MAX);
        return Err(vec![at(0, message)]);
    }
    if statements::depth(statement.text) > statements::DEPTH_MAX {
        let message = format!(
            "the policy has more than {} brackets, dots and operators; split it in several",
            statements::DEPTH_MAX
        );
        return Err(vec![at(0, message)]);
    }
    let (line, _) = statements::place(&file.text, statement.start);
    let id = PolicyId::new(format!("{}:{line}", file.name));
    match Policy::parse(Some(id), statement.text) {
        Ok(policy) => Ok(Placed { file, statement, policy }),
        Err(errors) => {
            let problems = errors.iter().map(|error| at(offset_of(error), explain_parse(error)));
            Err(problems.collect())
        }
    }
}

fn explain_parse(error: &cedar_policy::ParseError) -> String {
    let label = error.labels().and_then(|mut labels| labels.next()).and_then(|label| label.label().map(str::to_owned));
    let help = error.help().map(|help| help.to_string());
    [Some(error.to_string()), label, help].into_iter().flatten().collect::<Vec<_>>().join("; ")
}

/// Where an error is, as an offset into the text that was parsed.
fn offset_of(error: &dyn Diagnostic) -> usize {
    error.labels().and_then(|mut labels| labels.next()).map_or(0, |label| label.offset())
}

/// Gives each policy the id that its `@id` says, and refuses two of the same.
fn name_apart<'a>(all: Vec<Placed<'a>>, problems: &mut Vec<Problem>) -> Vec<Placed<'a>> {
    let mut taken: HashMap<String, String> = HashMap::new();
    let mut apart = Vec::with_capacity(all.len());
    for placed in all {
        let id = match placed.policy.annotation("id") {
            Some(id) if !id.is_empty() => id.to_owned(),
            _ => placed.policy.id().to_string(),
        };
        let (line, _) = statements::place(&placed.file.text, placed.statement.start);
        let here = format!("{}:{line}", placed.file.name);
        if placed.file.name != BUILT_IN_FILE && id.starts_with(RESERVED) {
            problems.push(placed.problem(0, format!("policy ids that begin with \"{RESERVED}\" are built in")));
        } else if let Some(other) = taken.insert(id.clone(), here) {
            problems.push(placed.problem(0, format!("the policy id \"{id}\" is taken by the policy at {other}")));
        } else {
            let policy = placed.policy.new_id(PolicyId::new(id));
            apart.push(Placed { policy, ..placed });
        }
    }
    apart
}

/// Cedar's own strict validation; a warning that a policy can never apply is as bad as an error.
fn validate(
    all: &[Placed<'_>],
    schema: &Schema,
    vocabulary: &Vocabulary,
    problems: &mut Vec<Problem>,
) -> Result<(), PolicyError> {
    let mut set = PolicySet::new();
    for placed in all {
        set.add(placed.policy.clone()).map_err(|error| PolicyError::internal(&error))?;
    }
    let by_id: HashMap<&PolicyId, &Placed<'_>> = all.iter().map(|placed| (placed.policy.id(), placed)).collect();
    let result = Validator::new(schema.clone()).validate(&set, ValidationMode::Strict);
    for error in result.validation_errors() {
        let Some(placed) = by_id.get(error.policy_id()) else { return Err(PolicyError::internal(error)) };
        let message = explain(error, placed.statement.text, vocabulary);
        problems.push(placed.problem(offset_of(error), message));
    }
    // What is wrong already can also never apply; that would be noise. Without types, built-in policies can't either.
    let wrong: HashSet<&PolicyId> = result.validation_errors().map(ValidationError::policy_id).collect();
    for warning in result.validation_warnings().filter(|warning| !wrong.contains(warning.policy_id())) {
        let Some(placed) = by_id.get(warning.policy_id()).filter(|placed| placed.file.name != BUILT_IN_FILE) else {
            continue;
        };
        let message = match warning {
            ValidationWarning::ImpossiblePolicy(_) => "the policy's condition can never hold",
            ValidationWarning::InvalidActionApplication(_) => {
                "the policy can never apply: no action in its scope goes with that principal and resource \
                 (a group such as Data::Action::\"read\" is named with `in`, not `==`)"
            }
            ValidationWarning::BidiCharsInString(_) | ValidationWarning::BidiCharsInIdentifier(_) => {
                "the policy has characters that change the direction of text, so that it reads as something else"
            }
            _ => continue,
        };
        problems.push(placed.problem(offset_of(warning), message.to_owned()));
    }
    Ok(())
}

/// Roles, tenants and users that nobody can have.
fn check_names(placed: &Placed<'_>, problems: &mut Vec<Problem>) {
    let is_name = |text: &str| Name::new(text).is_ok();
    let is_user = |text: &str| text.split_once('@').is_some_and(|(user, tenant)| is_name(user) && is_name(tenant));
    let roles_and_tenants = ["Role", "Tenant"].into_iter().flat_map(|kind| named(&placed.policy, kind));
    for wrong in roles_and_tenants.filter(|text| !is_name(text)) {
        problems.push(placed.problem(
            placed.find(&wrong),
            format!("nobody can have the name \"{wrong}\": {}", countersign_model::name::NotAName),
        ));
    }
    for wrong in named(&placed.policy, "User").filter(|text| !is_user(text)) {
        let message = format!("there can be no user \"{wrong}\": users are written User::\"name@tenant\"");
        problems.push(placed.problem(placed.find(&wrong), message));
    }
}

/// The ids of the entities of one type that a policy names.
fn named(policy: &Policy, type_name: &'static str) -> impl Iterator<Item = String> {
    let of_type = policy.entity_literals().into_iter().filter(move |uid| uid.type_name().to_string() == type_name);
    of_type.map(|uid| uid.id().unescaped().to_owned())
}

/// Refuses what Cedar knows and plans don't, so that no policy silently permits less than its author thinks.
fn check_foldable(placed: &Placed<'_>, vocabulary: &Vocabulary, problems: &mut Vec<Problem>) {
    let applying = vocabulary
        .iter()
        .filter(|(_, words)| Action::ALL.into_iter().any(|action| applies(&placed.policy, action, &words.namespace)));
    for (_, words) in applying {
        if let ResourceConstraint::Eq(uid) | ResourceConstraint::In(uid) | ResourceConstraint::IsIn(_, uid) =
            placed.policy.resource_constraint()
        {
            let message = format!("a policy can't name one record; instead of {uid} compare the record's key field");
            problems.push(placed.problem(placed.find(uid.id().unescaped()), message));
            return;
        }
        let Ok(tree) = placed.policy.to_pst() else {
            problems.push(placed.problem(0, "the policy can't be turned into a plan".to_owned()));
            return;
        };
        let folder = Folder::new(vocabulary, words, Caller::Open);
        for clause in tree.body().clauses() {
            let expr: &Expr = match clause {
                Clause::When(expr) | Clause::Unless(expr) => expr,
            };
            if let Err(Unfoldable::Unusable { part, why }) = folder.condition(expr, true) {
                let message = format!("this can't be decided for many records at once: {why} (in `{part}`)");
                problems.push(placed.problem(placed.find(&part), message));
                return;
            }
        }
    }
}

impl Placed<'_> {
    fn problem(&self, offset: usize, message: String) -> Problem {
        let place = statements::place(&self.file.text, self.statement.start.saturating_add(offset));
        Problem::new(self.file.name.clone(), place, message)
    }

    /// Where a part of the policy is written, if it stands there as Cedar would write it; else its beginning.
    fn find(&self, part: &str) -> usize {
        self.statement.text.find(part).unwrap_or(0)
    }
}
