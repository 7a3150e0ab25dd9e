//! Notices: what a tenant is told, in its language.

use std::collections::BTreeMap;

use countersign_model::incident::Culprit;
use countersign_model::{FieldSet, RecordTypes};

use crate::radius::{TenantRadius, TypeRadius};
use crate::template::{Template, TemplateError, Values};

/// The language that there always is.
const FALLBACK: &str = "en";

/// The texts of notices: by language, the notice itself and the mail that says that there is one.
#[derive(Debug, Clone)]
pub struct Templates {
    notices: BTreeMap<String, Template>,
    mails: BTreeMap<String, Template>,
}

/// What a notice says. Moments are in words, as its reader shall see them.
#[derive(Debug, Clone)]
pub struct Facts<'a> {
    /// The incident.
    pub incident: String,
    /// The tenant's name.
    pub tenant: &'a str,
    /// What was in the wrong hands.
    pub culprit: &'a Culprit,
    /// When this is written.
    pub written: String,
    /// When it became known.
    pub opened: String,
    /// From when on.
    pub since: String,
    /// Until when.
    pub until: String,
    /// The first and the last request that concerns the tenant; empty if there is none.
    pub span: Option<[String; 2]>,
    /// What it came to.
    pub radius: &'a TenantRadius,
    /// The record types, for their names.
    pub types: &'a RecordTypes,
    /// What was done, and when: the words are `revoked_token`, `ended_session`, `stopped_principal`, `removed_service`,
    /// `rewrapped_key`, `new_signing_key`.
    pub steps: &'a [(&'static str, String)],
    /// Where the notice and its records can be read.
    pub link: String,
    /// Whom to ask.
    pub contacts: &'a [String],
}

/// The words for what was done.
const STEPS: [&str; 6] =
    ["revoked_token", "ended_session", "stopped_principal", "removed_service", "rewrapped_key", "new_signing_key"];

/// What people do with their own token.
pub(crate) const OWN: [&str; 2] = ["login", "use_own_token"];

impl Templates {
    /// Those that come with the program: English.
    ///
    /// # Errors
    /// [`TemplateError`] for a mistake of ours.
    pub fn embedded() -> Result<Self, TemplateError> {
        let mut templates = Self { notices: BTreeMap::new(), mails: BTreeMap::new() };
        templates.add_notice(FALLBACK, include_str!("../templates/notice.en.md"))?;
        templates.add_mail(FALLBACK, include_str!("../templates/mail.en.md"))?;
        Ok(templates)
    }

    /// Adds or replaces the notice of a language, a BCP 47 tag. It is filled in once, to see that everything that it
    /// names is there.
    ///
    /// # Errors
    /// [`TemplateError`].
    pub fn add_notice(&mut self, language: &str, text: &str) -> Result<(), TemplateError> {
        let template = Template::parse(text)?;
        check(&template)?;
        self.notices.insert(language.to_ascii_lowercase(), template);
        Ok(())
    }

    /// Adds or replaces the mail of a language. Its first line is the subject.
    ///
    /// # Errors
    /// [`TemplateError`].
    pub fn add_mail(&mut self, language: &str, text: &str) -> Result<(), TemplateError> {
        let template = Template::parse(text)?;
        check(&template)?;
        self.mails.insert(language.to_ascii_lowercase(), template);
        Ok(())
    }

    /// The notice, in the language asked for (`de-AT`, else `de`) or in English.
    ///
    /// # Errors
    /// [`TemplateError`].
    pub fn notice(&self, language: &str, facts: &Facts<'_>) -> Result<String, TemplateError> {
        of_language(&self.notices, language)?.fill(&values(facts))
    }

    /// The mail's subject and text.
    ///
    /// # Errors
    /// [`TemplateError`].
    pub fn mail(&self, language: &str, facts: &Facts<'_>) -> Result<(String, String), TemplateError> {
        let text = of_language(&self.mails, language)?.fill(&values(facts))?;
        let (subject, text) = text.split_once('\n').unwrap_or((&text, ""));
        Ok((subject.trim().to_owned(), text.trim_start().to_owned()))
    }
}

fn of_language<'t>(templates: &'t BTreeMap<String, Template>, language: &str) -> Result<&'t Template, TemplateError> {
    let language = language.to_ascii_lowercase();
    let parts = std::iter::successors(Some(language.as_str()), |tag| tag.rsplit_once('-').map(|(start, _)| start));
    let found = parts.chain([FALLBACK]).find_map(|tag| templates.get(tag));
    found.ok_or_else(|| TemplateError::Unknown(FALLBACK.to_owned()))
}

/// Fills in made-up values, once with everything there and once with nothing, so that each name is looked at.
fn check(template: &Template) -> Result<(), TemplateError> {
    let name = countersign_model::Name::new("name").map_err(|_| TemplateError::Unknown("name".to_owned()))?;
    let types = RecordTypes::default();
    let service = Culprit::Service { role: name.clone(), name: None };
    let bare = TenantRadius { requests: 1, unopened: 1, everything: true, ..TenantRadius::default() };
    let facts = Facts {
        incident: String::new(),
        tenant: "tenant",
        culprit: &service,
        written: String::new(),
        opened: String::new(),
        since: String::new(),
        until: String::new(),
        span: Some([String::from("first"), String::from("last")]),
        radius: &bare,
        types: &types,
        steps: &[],
        link: String::new(),
        contacts: &[],
    };
    template.fill(&values(&facts))?;
    let one = FieldSet::first(1);
    let all = TypeRadius {
        fields: one,
        filter_fields: one,
        records: 1,
        rows: 1,
        changed_fields: one,
        changed: 1,
        unopened_fields: one,
        unopened_rows: 1,
        sealed_fields: one,
        sealed_rows: 1,
    };
    let full = TenantRadius {
        managed: BTreeMap::from([("manage_users".to_owned(), 1)]),
        types: BTreeMap::from([(countersign_model::TypeId(0), all)]),
        ..bare.clone()
    };
    let steps: Vec<_> = STEPS.iter().map(|step| (*step, String::from("now"))).collect();
    let contacts = [String::from("a@example.com")];
    for culprit in [
        Culprit::Token(countersign_model::TokenId::from_u128(1)),
        Culprit::Session(countersign_model::SessionId::from_u128(1)),
        Culprit::Principal { tenant: name.clone(), name: name.clone() },
        Culprit::TenantKey(name),
    ] {
        let facts = Facts { culprit: &culprit, radius: &full, steps: &steps, contacts: &contacts, ..facts.clone() };
        template.fill(&values(&facts))?;
    }
    Ok(())
}

fn flag(is: bool) -> &'static str {
    if is { "yes" } else { "" }
}

fn values(facts: &Facts<'_>) -> Values {
    let Facts { incident, tenant, culprit, written, opened, since, until, span, radius, types, steps, link, contacts } =
        facts;
    let mut values = Values::default();
    for (name, text) in [
        ("incident", incident.as_str()),
        ("tenant", tenant),
        ("written", written),
        ("opened", opened),
        ("since", since),
        ("until", until),
        ("link", link),
        ("first", span.as_ref().map_or("", |[first, _]| first)),
        ("last", span.as_ref().map_or("", |[_, last]| last)),
    ] {
        values.set(name, text);
    }
    for name in ["token", "session", "principal", "service", "key"] {
        values.set(name, "");
    }
    match culprit {
        Culprit::Token(token) => values.set("token", token),
        Culprit::Session(session) => values.set("session", session),
        Culprit::Principal { tenant, name } => values.set("principal", format!("{name}@{tenant}")),
        Culprit::Service { role, name: Some(name) } => values.set("service", format!("{role}/{name}")),
        Culprit::Service { role, name: None } => values.set("service", role),
        Culprit::TenantKey(tenant) => values.set("key", tenant),
        Culprit::Erased(_) => {}
    }
    values.set("requests", radius.requests);
    values.set("refused", radius.refused);
    values.set("records", radius.records());
    values.set("changed", radius.changed());
    values.set("unopened", radius.unopened);
    values.set("everything", flag(radius.everything));
    let told = radius.types.iter();
    values.set("types_count", radius.types.values().filter(|one| !one.stayed_sealed()).count());
    values.set("was_anything_changed", flag(radius.changed() > 0));
    // That somebody logged in, or looked at their own token, is no matter of the tenant's.
    let managed = || radius.managed.iter().filter(|(action, _)| !OWN.contains(&action.as_str()));
    values.set("was_anything_managed", flag(managed().next().is_some()));
    values.list("types", told.map(|(id, one)| of_type(types, *id, one)).collect());
    let managed = managed().map(|(action, count)| {
        let mut entry = Values::default();
        entry.set("action", action);
        entry.set("count", count);
        entry
    });
    values.list("managed", managed.collect());
    let steps = steps.iter().map(|(done, time)| {
        let mut entry = Values::default();
        entry.set("time", time);
        STEPS.iter().for_each(|step| entry.set(step, flag(step == done)));
        entry
    });
    values.list("steps", steps.collect());
    let contacts = contacts.iter().map(|address| {
        let mut entry = Values::default();
        entry.set("address", address);
        entry
    });
    values.list("contacts", contacts.collect());
    values
}

fn of_type(types: &RecordTypes, id: countersign_model::TypeId, one: &TypeRadius) -> Values {
    let mut values = Values::default();
    let name = types.record_type(id).map_or_else(|| format!("#{}", id.0), |found| found.name.to_string());
    values.set("type", name);
    values.set("records", one.records);
    values.set("rows", one.rows);
    values.set("changed", one.changed);
    values.set("unopened_rows", one.unopened_rows);
    values.set("sealed_rows", one.sealed_rows);
    values.set("was_read", flag(one.records > 0));
    values.set("was_changed", flag(one.changed > 0));
    values.set("was_unopened", flag(one.unopened_rows > 0));
    values.set("was_sealed", flag(one.sealed_rows > 0));
    let searched = TypeRadius::by_class(one.filter_fields, id, types).into_values().flatten().collect::<Vec<_>>();
    values.set("was_filtered", flag(!searched.is_empty()));
    values.set("filtered", searched.join(", "));
    let given = one.fields.union(one.changed_fields).union(one.unopened_fields);
    let classes = TypeRadius::by_class(given, id, types).into_iter().rev().map(|(class, names)| {
        let mut entry = Values::default();
        entry.set("class", class.as_str());
        entry.set("fields", names.join(", "));
        entry
    });
    values.list("classes", classes.collect());
    values
}

#[cfg(test)]
mod tests;
