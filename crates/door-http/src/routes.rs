//! Every path and method that is answered, in one table. The OpenAPI document is held against it by a test.

use http::Method;

use crate::problem::Problem;

/// What a route leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// Records of one type.
    Records,
    /// What one record was.
    History,
    /// One of the authority's own endpoints, passed on to it.
    Public,
    /// The services' logs, which the authority shows to everybody: passed on to it, and kept by caches as it says.
    Log,
    /// Look at one's own token.
    WhoAmI,
    /// List tenants.
    TenantList,
    /// Add one.
    TenantAdd,
    /// Wrap tenants' keys again.
    TenantRewrap,
    /// List users.
    UserList,
    /// Add or replace one.
    UserPut,
    /// Remove one.
    UserRemove,
    /// The types file.
    TypesRead,
    /// A new one.
    TypesApply,
    /// The policies.
    PoliciesRead,
    /// New ones.
    PoliciesApply,
    /// The deployment's services.
    ServiceList,
    /// Invite one.
    ServiceInvite,
    /// Remove one.
    ServiceRemove,
    /// The tenant's identity provider.
    ProviderRead,
    /// A new one.
    ProviderPut,
    /// None any more.
    ProviderRemove,
    /// Audit records.
    AuditRead,
    /// What each service recorded of one request.
    Receipt,
    /// One request's stored records, with proofs.
    Proof,
    /// Operators' access to tenants.
    AccessList,
    /// Ask for it.
    AccessRequest,
    /// Confirm that another operator breaks the glass.
    AccessConfirm,
    /// The tenant's answer.
    AccessDecide,
    /// End it.
    AccessClose,
    /// What the monitor alerted to.
    AlertList,
    /// One alert.
    AlertRead,
    /// Somebody has seen to it.
    AlertAcknowledge,
    /// Try whether alerts arrive.
    AlertTest,
    /// Which rules are kept silent.
    SilenceList,
    /// Keep one silent.
    SilenceAdd,
    /// No more.
    SilenceEnd,
    /// What the services measure.
    MetricsRead,
    /// Breaches.
    IncidentList,
    /// Find out what one came to.
    IncidentOpen,
    /// One of them.
    IncidentShow,
    /// End what was in the wrong hands.
    IncidentContain,
    /// Draft or give the notices of it.
    IncidentNotices,
    /// Notices to the caller's tenant.
    NoticeList,
    /// One of them, with the records.
    NoticeReceive,
    /// It was read.
    NoticeAcknowledge,
    /// Whom the caller's tenant is told by.
    ContactsRead,
    /// Somebody else from now on.
    ContactsPut,
    /// The backups in a repository.
    BackupList,
    /// A new one.
    BackupCreate,
    /// Restore one on trial, and compare.
    BackupVerify,
    /// Remove one.
    BackupRemove,
    /// Put a tenant back to what it was.
    BackupRestore,
    /// Work that was begun.
    JobList,
    /// One piece of it.
    JobRead,
    /// End it where it is.
    JobCancel,
    /// Keys of data at rest.
    KeyList,
    /// New ones in place of old ones.
    KeyRotate,
    /// The end of an old one.
    KeyDestroy,
    /// The receipts of what was erased.
    ErasureList,
    /// Erase something for good.
    ErasureCreate,
    /// Look for what was erased.
    ErasureProve,
    /// The description of all this.
    OpenApi,
    /// Whether the server is up.
    Health,
}

/// A method and a path; `{name}` stands for one segment.
#[derive(Debug, Clone, Copy)]
pub struct Route {
    /// The method.
    pub method: &'static str,
    /// The path.
    pub path: &'static str,
    /// Where it leads.
    pub target: Target,
}

const fn route(method: &'static str, path: &'static str, target: Target) -> Route {
    Route { method, path, target }
}

/// Where records live.
pub const RECORDS: &str = "/rest/v1/";

/// After a type and a key: what that record was.
pub const HISTORY: &str = "/history";

/// All of them. A `HEAD` that is not here is answered like a `GET` without its body.
pub const ROUTES: &[Route] = &[
    route("GET", "/rest/v1/{type}", Target::Records),
    route("HEAD", "/rest/v1/{type}", Target::Records),
    route("POST", "/rest/v1/{type}", Target::Records),
    route("PATCH", "/rest/v1/{type}", Target::Records),
    route("DELETE", "/rest/v1/{type}", Target::Records),
    route("GET", "/rest/v1/{type}/{key}/history", Target::History),
    route("POST", "/v1/login/challenge", Target::Public),
    route("POST", "/v1/login", Target::Public),
    route("POST", "/v1/login/oidc/start", Target::Public),
    route("POST", "/v1/login/oidc/finish", Target::Public),
    route("POST", "/v1/login/oidc/device", Target::Public),
    route("POST", "/v1/login/oidc/device/poll", Target::Public),
    route("GET", "/v1/token", Target::WhoAmI),
    route("POST", "/v1/token", Target::Public),
    route("POST", "/v1/token/introspect", Target::Public),
    route("POST", "/v1/token/revoke", Target::Public),
    route("GET", "/v1/tenants", Target::TenantList),
    route("POST", "/v1/tenants", Target::TenantAdd),
    route("POST", "/v1/tenants/rewrap", Target::TenantRewrap),
    route("GET", "/v1/users", Target::UserList),
    route("PUT", "/v1/users/{name}", Target::UserPut),
    route("DELETE", "/v1/users/{name}", Target::UserRemove),
    route("GET", "/v1/types", Target::TypesRead),
    route("PUT", "/v1/types", Target::TypesApply),
    route("GET", "/v1/policies", Target::PoliciesRead),
    route("PUT", "/v1/policies", Target::PoliciesApply),
    route("GET", "/v1/services", Target::ServiceList),
    route("POST", "/v1/services", Target::ServiceInvite),
    route("DELETE", "/v1/services/{name}", Target::ServiceRemove),
    route("GET", "/v1/provider", Target::ProviderRead),
    route("PUT", "/v1/provider", Target::ProviderPut),
    route("DELETE", "/v1/provider", Target::ProviderRemove),
    route("GET", "/v1/audit", Target::AuditRead),
    route("GET", "/v1/audit/receipt/{name}", Target::Receipt),
    route("GET", "/v1/audit/proof/{name}", Target::Proof),
    route("GET", "/v1/access", Target::AccessList),
    route("POST", "/v1/access", Target::AccessRequest),
    route("DELETE", "/v1/access/{name}", Target::AccessClose),
    route("POST", "/v1/access/{name}/confirmation", Target::AccessConfirm),
    route("POST", "/v1/access/{name}/decision", Target::AccessDecide),
    route("GET", "/v1/alerts", Target::AlertList),
    route("POST", "/v1/alerts/test", Target::AlertTest),
    route("GET", "/v1/alerts/{name}", Target::AlertRead),
    route("POST", "/v1/alerts/{name}/acknowledgement", Target::AlertAcknowledge),
    route("GET", "/v1/silences", Target::SilenceList),
    route("POST", "/v1/silences", Target::SilenceAdd),
    route("DELETE", "/v1/silences/{name}", Target::SilenceEnd),
    route("GET", "/v1/metrics", Target::MetricsRead),
    route("GET", "/v1/incidents", Target::IncidentList),
    route("POST", "/v1/incidents", Target::IncidentOpen),
    route("GET", "/v1/incidents/{name}", Target::IncidentShow),
    route("POST", "/v1/incidents/{name}/containment", Target::IncidentContain),
    route("POST", "/v1/incidents/{name}/notices", Target::IncidentNotices),
    route("GET", "/v1/notices", Target::NoticeList),
    route("POST", "/v1/notices/{name}/delivery", Target::NoticeReceive),
    route("POST", "/v1/notices/{name}/acknowledgement", Target::NoticeAcknowledge),
    route("GET", "/v1/contacts", Target::ContactsRead),
    route("PUT", "/v1/contacts", Target::ContactsPut),
    route("GET", "/v1/backups", Target::BackupList),
    route("POST", "/v1/backups", Target::BackupCreate),
    route("POST", "/v1/backups/verification", Target::BackupVerify),
    route("POST", "/v1/backups/removal", Target::BackupRemove),
    route("POST", "/v1/backups/restoration", Target::BackupRestore),
    route("GET", "/v1/jobs", Target::JobList),
    route("GET", "/v1/jobs/{name}", Target::JobRead),
    route("DELETE", "/v1/jobs/{name}", Target::JobCancel),
    route("GET", "/v1/keys", Target::KeyList),
    route("POST", "/v1/keys/rotation", Target::KeyRotate),
    route("POST", "/v1/keys/destruction", Target::KeyDestroy),
    route("GET", "/v1/erasures", Target::ErasureList),
    route("POST", "/v1/erasures", Target::ErasureCreate),
    route("POST", "/v1/erasures/{name}/proof", Target::ErasureProve),
    route("GET", "/v1/log", Target::Log),
    route("GET", "/v1/log/{service}/{instance}/checkpoint", Target::Log),
    route("GET", "/v1/log/{service}/{instance}/tile/{level}/{tile}", Target::Log),
    route("POST", "/v1/log/{service}/{instance}/cosignature", Target::Log),
    route("GET", "/v1/jwks.json", Target::Public),
    route("GET", "/.well-known/oauth-authorization-server", Target::Public),
    route("GET", "/v1/openapi.json", Target::OpenApi),
    route("GET", "/healthz", Target::Health),
];

/// Finds the route, and the segment that stands for its `{name}`, still percent-encoded.
///
/// # Errors
/// [`Problem::NoSuchPath`] or [`Problem::Method`].
pub fn find<'p>(method: &Method, path: &'p str) -> Result<(Target, &'p str), Problem> {
    // Records are asked for far more often than anything else.
    if let Some(record_type) = path.strip_prefix(RECORDS)
        && !record_type.is_empty()
        && !record_type.contains('/')
    {
        return match *method {
            Method::GET | Method::HEAD | Method::POST | Method::PATCH | Method::DELETE => {
                Ok((Target::Records, record_type))
            }
            _ => Err(Problem::Method { allow: crate::rest::lower::ALLOW }),
        };
    }
    if let Some(record) = path.strip_prefix(RECORDS).and_then(|rest| rest.strip_suffix(HISTORY))
        && matches!(record.split_once('/'), Some((record_type, key)) if !record_type.is_empty() && !key.is_empty() && !key.contains('/'))
    {
        return match *method {
            Method::GET | Method::HEAD => Ok((Target::History, record)),
            _ => Err(Problem::Method { allow: "GET, HEAD" }),
        };
    }
    let wanted = if *method == Method::HEAD { "GET" } else { method.as_str() };
    let mut other = None;
    for route in ROUTES {
        if let Some(segment) = matches(route.path, path) {
            if route.method == wanted {
                return Ok((route.target, segment));
            }
            other = Some(route.path);
        }
    }
    Err(other.map_or(Problem::NoSuchPath, |path| Problem::Method { allow: allowed(path) }))
}

/// The segment that `{…}` stands for, or an empty one; `None` if the path is another.
fn matches<'p>(template: &str, path: &'p str) -> Option<&'p str> {
    match template.split_once('{') {
        Some((_, rest)) if rest.contains('{') => has_form(template, path).then_some(""),
        None => (template == path).then_some(""),
        Some((prefix, rest)) => {
            let suffix = rest.split_once('}').map_or("", |(_, suffix)| suffix);
            let segment = path.strip_prefix(prefix)?.strip_suffix(suffix)?;
            (!segment.is_empty() && !segment.contains('/')).then_some(segment)
        }
    }
}

/// Whether a path has the segments of a template with several `{…}`. `{tile}`, at the end, stands for all that are left.
fn has_form(template: &str, path: &str) -> bool {
    let mut segments = path.split('/');
    for wanted in template.split('/') {
        let Some(segment) = segments.next() else { return false };
        match wanted {
            "{tile}" => return !segment.is_empty() && segments.all(|segment| !segment.is_empty()),
            _ if wanted.starts_with('{') && !segment.is_empty() => {}
            _ if wanted == segment => {}
            _ => return false,
        }
    }
    segments.next().is_none()
}

/// The methods of a path, as `Allow` lists them.
fn allowed(path: &str) -> &'static str {
    let has = |method: &str| ROUTES.iter().any(|route| route.path == path && route.method == method);
    match (has("GET"), has("POST"), has("PUT"), has("DELETE")) {
        (true, true, ..) => "GET, HEAD, POST",
        (true, _, true, true) => "GET, HEAD, PUT, DELETE",
        (true, _, true, _) => "GET, HEAD, PUT",
        (true, _, _, true) => "GET, HEAD, DELETE",
        (true, ..) => "GET, HEAD",
        (_, true, ..) => "POST",
        (.., true, true) => "PUT, DELETE",
        (.., false, true) => "DELETE",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_route_leads_to_its_target() {
        for route in ROUTES {
            let path = route.path.replace("{type}", "customer").replace("{name}", "nancy");
            let named = ["{type}", "{name}"].into_iter().zip(["customer", "nancy"]);
            let segment = named.into_iter().find(|(place, _)| route.path.contains(place)).map_or("", |(_, name)| name);
            let segment = if route.target == Target::History { "customer/{key}" } else { segment };
            let found = find(&route.method.parse().unwrap(), &path).unwrap();
            assert_eq!(found, (route.target, segment), "{} {}", route.method, route.path);
        }
    }

    #[test]
    fn what_is_not_in_the_table_is_refused_with_what_is() {
        for (method, path, allow) in [
            ("PUT", "/rest/v1/customer", Some("GET, HEAD, POST, PATCH, DELETE")),
            ("OPTIONS", "/rest/v1/customer", Some("GET, HEAD, POST, PATCH, DELETE")),
            ("DELETE", "/v1/token", Some("GET, HEAD, POST")),
            ("POST", "/v1/types", Some("GET, HEAD, PUT")),
            ("GET", "/v1/login", Some("POST")),
            ("GET", "/v1/users/nancy", Some("PUT, DELETE")),
            ("POST", "/healthz", Some("GET, HEAD")),
            ("GET", "/", None),
            ("GET", "/rest/v1/", None),
            ("GET", "/rest/v1/a/b", None),
            ("GET", "/v1/users/", None),
            ("GET", "/v1/token/", None),
            ("GET", "//rest/v1/customer", None),
            ("GET", "/v1/log/store", None),
            ("GET", "/v1/log/store/a", None),
            ("GET", "/v1/log/store//checkpoint", None),
            ("GET", "/v1/log/store/a/checkpoint/", None),
            ("POST", "/v1/log/store/a/checkpoint", Some("GET, HEAD")),
            ("GET", "/v1/log/store/a/cosignature", Some("POST")),
            ("GET", "/v1/log/store/a/tile/0", None),
            ("GET", "/v1/log/store/a/tile/0//067", None),
            ("POST", "/v1/log/store/a/tile/0/x001/067.p/112", Some("GET, HEAD")),
        ] {
            let expected = allow.map_or(Problem::NoSuchPath, |allow| Problem::Method { allow });
            assert_eq!(find(&method.parse().unwrap(), path), Err(expected), "{method} {path}");
        }
        let tile = "/v1/log/store/a/tile/0/x001/067.p/112";
        assert_eq!(find(&Method::GET, tile), Ok((Target::Log, "")));
        assert_eq!(find(&Method::HEAD, "/healthz").unwrap().0, Target::Health);
        for route in ROUTES {
            assert!(!allowed(route.path).is_empty(), "{}", route.path);
        }
    }
}
