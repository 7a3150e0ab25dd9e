//! Control requests: from bodies and parameters to [`Control`], strictly.

mod access;
mod audit;
mod custody;
pub mod fields;
mod incident;
mod watch;

use countersign_model::access::AccessControl;
use countersign_model::control::{AuditQuery, Control, NewProvider, NewUser, PolicyFile};
use countersign_model::custody::{BackupControl, EraseControl, KeyControl};
use countersign_model::incident::IncidentControl;
use countersign_model::watch::WatchControl;
use countersign_model::{Name, RequestId};
use http::HeaderMap;
use http::header::CONTENT_TYPE;

use self::fields::Fields;
use crate::Limits;
use crate::problem::{Part, Problem};
use crate::rest::lower::text;
use crate::routes::Target;

/// A control request as it arrived.
#[derive(Clone, Copy)]
pub struct Incoming<'a> {
    /// Where its path leads.
    pub target: Target,
    /// What stands for the path's `{name}`, decoded.
    pub segment: &'a str,
    /// The query string.
    pub query: &'a str,
    /// The header fields.
    pub headers: &'a HeaderMap,
    /// The whole body, which is UTF-8.
    pub body: &'a str,
}

/// Lowers a control request whose token is in its `Authorization` header.
///
/// # Errors
/// [`Problem`] names the key or parameter that is wrong, and the line it is on.
pub fn lower(incoming: Incoming<'_>, limits: &Limits) -> Result<Control, Problem> {
    let Incoming { segment, query, body, .. } = incoming;
    let mut parameters = Parameters::parse(query)?;
    let control = match incoming.target {
        Target::WhoAmI => Control::WhoAmI,
        Target::TenantList => Control::TenantList,
        Target::TenantAdd => {
            let mut fields = object(incoming, limits)?;
            let (name, kms) = (fields.name("name")?, fields.maybe_name("kms")?);
            fields.finish("name, kms")?;
            Control::TenantAdd { name, kms }
        }
        Target::TenantRewrap => {
            let mut fields = object(incoming, limits)?;
            let (tenant, kms) = (fields.maybe_name("tenant")?, fields.maybe_name("kms")?);
            fields.finish("tenant, kms")?;
            Control::TenantRewrap { tenant, kms }
        }
        Target::UserList => Control::UserList { tenant: parameters.name("tenant")? },
        Target::UserPut => {
            let user = user(path_name(segment)?, object(incoming, limits)?)?;
            Control::UserPut { tenant: parameters.name("tenant")?, user }
        }
        Target::UserRemove => Control::UserRemove { tenant: parameters.name("tenant")?, user: path_name(segment)? },
        Target::TypesRead => Control::TypesRead,
        Target::TypesApply => types(incoming, &mut parameters, body, limits)?,
        Target::PoliciesRead => Control::PoliciesRead,
        Target::PoliciesApply => policies(object(incoming, limits)?, &mut parameters)?,
        Target::ServiceList => Control::ServiceList,
        Target::ServiceInvite => {
            let mut fields = object(incoming, limits)?;
            let (role, name) = (fields.name("role")?, fields.maybe_name("name")?);
            fields.finish("role, name")?;
            Control::ServiceInvite { role, name }
        }
        Target::ServiceRemove => {
            let role = parameters.name("role")?.ok_or(Problem::Syntax {
                part: Part::Query,
                line: 1,
                column: 1,
                expected: "role= and the service's role",
            })?;
            Control::ServiceRemove { role, name: path_name(segment)? }
        }
        Target::ProviderRead => Control::ProviderRead,
        Target::ProviderPut => Control::ProviderPut(Box::new(provider(incoming)?)),
        Target::ProviderRemove => Control::ProviderRemove,
        Target::AuditRead => Control::AuditRead(audit::query(&mut parameters)?),
        Target::Receipt => Control::Receipt { request: path_request(segment)? },
        Target::Proof => Control::Prove { request: path_request(segment)? },
        Target::AccessList
        | Target::AccessRequest
        | Target::AccessConfirm
        | Target::AccessDecide
        | Target::AccessClose => Control::Access(access::lower(incoming, &mut parameters)?),
        Target::AlertList
        | Target::AlertRead
        | Target::AlertAcknowledge
        | Target::AlertTest
        | Target::SilenceList
        | Target::SilenceAdd
        | Target::SilenceEnd
        | Target::MetricsRead => Control::Watch(watch::lower(incoming, &mut parameters)?),
        Target::IncidentList
        | Target::IncidentOpen
        | Target::IncidentShow
        | Target::IncidentContain
        | Target::IncidentNotices
        | Target::NoticeList
        | Target::NoticeReceive
        | Target::NoticeAcknowledge
        | Target::ContactsRead
        | Target::ContactsPut => incident::lower(incoming)?,
        Target::BackupList
        | Target::BackupCreate
        | Target::BackupVerify
        | Target::BackupRemove
        | Target::BackupRestore
        | Target::JobList
        | Target::JobRead
        | Target::JobCancel => Control::Backup(custody::backup(incoming, &mut parameters)?),
        Target::KeyList | Target::KeyRotate | Target::KeyDestroy => {
            Control::Keys(custody::keys(incoming, &mut parameters)?)
        }
        Target::ErasureList | Target::ErasureCreate | Target::ErasureProve => {
            Control::Erase(custody::erase(incoming, &mut parameters)?)
        }
        _ => return Err(Problem::NoSuchPath),
    };
    parameters.finish()?;
    Ok(control)
}

/// What is asked, as far as the path tells, for whoever comes without a good token. Changes nothing, were it ever
/// admitted.
pub(crate) fn bare(target: Target) -> Control {
    match target {
        Target::TenantList | Target::TenantAdd | Target::TenantRewrap => Control::TenantList,
        Target::UserList | Target::UserPut | Target::UserRemove => Control::UserList { tenant: None },
        Target::TypesRead => Control::TypesRead,
        Target::TypesApply => Control::TypesApply { text: String::new(), dry_run: true },
        Target::PoliciesRead => Control::PoliciesRead,
        Target::PoliciesApply => Control::PoliciesApply { files: Vec::new(), dry_run: true },
        Target::ServiceList | Target::ServiceInvite | Target::ServiceRemove => Control::ServiceList,
        Target::ProviderRead | Target::ProviderPut | Target::ProviderRemove => Control::ProviderRead,
        Target::AccessList
        | Target::AccessRequest
        | Target::AccessConfirm
        | Target::AccessDecide
        | Target::AccessClose => Control::Access(AccessControl::List),
        Target::AlertList
        | Target::AlertRead
        | Target::AlertAcknowledge
        | Target::AlertTest
        | Target::SilenceList
        | Target::SilenceAdd
        | Target::SilenceEnd => Control::Watch(WatchControl::Silences),
        Target::MetricsRead => Control::Watch(WatchControl::Metrics),
        Target::IncidentList
        | Target::IncidentOpen
        | Target::IncidentShow
        | Target::IncidentContain
        | Target::IncidentNotices => Control::Incident(IncidentControl::List),
        Target::NoticeList | Target::NoticeReceive | Target::NoticeAcknowledge => {
            Control::Incident(IncidentControl::Received)
        }
        Target::ContactsRead | Target::ContactsPut => Control::ContactsRead,
        Target::BackupList
        | Target::BackupCreate
        | Target::BackupVerify
        | Target::BackupRemove
        | Target::BackupRestore
        | Target::JobList
        | Target::JobRead
        | Target::JobCancel => Control::Backup(BackupControl::Jobs),
        Target::KeyList | Target::KeyRotate | Target::KeyDestroy => Control::Keys(KeyControl::List { tenant: None }),
        Target::ErasureList | Target::ErasureCreate | Target::ErasureProve => {
            Control::Erase(EraseControl::Receipts { tenant: None })
        }
        Target::AuditRead | Target::Receipt | Target::Proof => Control::AuditRead(AuditQuery::default()),
        _ => Control::WhoAmI,
    }
}

fn path_request(segment: &str) -> Result<RequestId, Problem> {
    let expected = "a request's id, a UUID";
    segment.parse().map_err(|_| Problem::Syntax { part: Part::Path, line: 1, column: 1, expected })
}

fn path_name(segment: &str) -> Result<Name, Problem> {
    crate::problem::name(segment, Part::Path)
}

/// The body as a JSON object.
fn object<'a>(incoming: Incoming<'a>, limits: &'a Limits) -> Result<Fields<'a>, Problem> {
    match text(incoming.headers, &CONTENT_TYPE)?.map(media) {
        None | Some("application/json") => Fields::parse(incoming.body, limits),
        Some(_) => Err(Problem::UnsupportedMedia),
    }
}

/// A media type without its parameters.
pub(crate) fn media(content_type: &str) -> &str {
    content_type.split(';').next().unwrap_or_default().trim()
}

fn user(name: Name, mut fields: Fields<'_>) -> Result<NewUser, Problem> {
    let roles = fields.names("roles")?.unwrap_or_default();
    let ssh_keys = fields.texts("ssh_keys")?.unwrap_or_default();
    let mut attributes = std::collections::BTreeMap::new();
    if let Some(inner) = fields.object("attributes")? {
        for (key, value) in inner.into_texts("attributes")? {
            attributes.insert(key, value);
        }
    }
    let kind = fields.parsed("kind", "one of person, service, agent")?.unwrap_or_default();
    fields.finish("roles, attributes, ssh_keys, kind")?;
    Ok(NewUser { name, roles, attributes, ssh_keys, kind })
}

/// The file as it is (`text/plain`, `application/toml`), or as `{"text": …, "dry_run": …}`.
fn types(
    incoming: Incoming<'_>,
    parameters: &mut Parameters<'_>,
    body: &str,
    limits: &Limits,
) -> Result<Control, Problem> {
    let dry_run = parameters.flag("dry_run")?;
    match text(incoming.headers, &CONTENT_TYPE)?.map(media) {
        Some("text/plain" | "application/toml") => {
            if body.contains('\0') {
                return Err(Problem::Nul { part: Part::Body, row: None });
            }
            Ok(Control::TypesApply { text: body.to_owned(), dry_run: dry_run.unwrap_or(false) })
        }
        _ => {
            let mut fields = object(incoming, limits)?;
            let text = fields.text("text")?;
            let dry_run = fields.flag("dry_run")?.or(dry_run).unwrap_or(false);
            fields.finish("text, dry_run")?;
            Ok(Control::TypesApply { text, dry_run })
        }
    }
}

fn provider(incoming: Incoming<'_>) -> Result<NewProvider, Problem> {
    typed(
        incoming,
        "an identity provider: issuer, client_id, role_claim, roles and what docs/http.md lists beside them",
    )
}

/// The body as JSON of a type of its own. Serde refuses what is unknown, missing or there twice; its message may hold a
/// value, so it is not passed on.
fn typed<T: serde::de::DeserializeOwned>(incoming: Incoming<'_>, expected: &'static str) -> Result<T, Problem> {
    match text(incoming.headers, &CONTENT_TYPE)?.map(media) {
        None | Some("application/json") => {}
        Some(_) => return Err(Problem::UnsupportedMedia),
    }
    serde_json::from_str(incoming.body).map_err(|error| Problem::Syntax {
        part: Part::Body,
        line: error.line(),
        column: error.column(),
        expected,
    })
}

/// The path's segment as an identifier.
fn path_id<T: std::str::FromStr>(segment: &str) -> Result<T, Problem> {
    let expected = "an id, a UUID";
    segment.parse().map_err(|_| Problem::Syntax { part: Part::Path, line: 1, column: 1, expected })
}

fn policies(mut fields: Fields<'_>, parameters: &mut Parameters<'_>) -> Result<Control, Problem> {
    let dry_run = fields.flag("dry_run")?.or(parameters.flag("dry_run")?).unwrap_or(false);
    let mut files = Vec::new();
    for mut file in fields.objects("files")? {
        let (name, text) = (file.text("name")?, file.text("text")?);
        file.finish("name, text")?;
        files.push(PolicyFile { name, text });
    }
    fields.finish("files, dry_run")?;
    Ok(Control::PoliciesApply { files, dry_run })
}

/// The query parameters of a control request: each known, each once.
struct Parameters<'a> {
    pairs: Vec<(std::borrow::Cow<'a, str>, std::borrow::Cow<'a, str>)>,
}

impl<'a> Parameters<'a> {
    fn parse(query: &'a str) -> Result<Self, Problem> {
        let mut pairs: Vec<(std::borrow::Cow<'a, str>, _)> = Vec::new();
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            let key = crate::rest::query::decode(key)?;
            if pairs.iter().any(|(known, _)| *known == key) {
                return Err(Problem::Repeated("of a control request"));
            }
            pairs.push((key, crate::rest::query::decode(value)?));
        }
        Ok(Self { pairs })
    }

    fn take(&mut self, name: &str) -> Option<String> {
        let at = self.pairs.iter().position(|(key, _)| key == name)?;
        Some(self.pairs.swap_remove(at).1.into_owned())
    }

    fn name(&mut self, name: &'static str) -> Result<Option<Name>, Problem> {
        self.take(name).map(|text| crate::problem::name(&text, Part::Query)).transpose()
    }

    fn flag(&mut self, name: &'static str) -> Result<Option<bool>, Problem> {
        match self.take(name).as_deref() {
            None => Ok(None),
            Some("true" | "") => Ok(Some(true)),
            Some("false") => Ok(Some(false)),
            Some(_) => Err(Problem::Syntax { part: Part::Query, line: 1, column: 1, expected: "true or false" }),
        }
    }

    fn finish(self) -> Result<(), Problem> {
        let none_left = self.pairs.is_empty();
        let unknown =
            Problem::Syntax { part: Part::Query, line: 1, column: 1, expected: "only the parameters of this route" };
        if none_left { Ok(()) } else { Err(unknown) }
    }
}

#[cfg(test)]
mod tests;
