//! The platforms whose tokens let services join, from a file beside the configuration.
//!
//! ```toml
//! [[platform]]
//! name = "cluster"
//! issuer = "https://kubernetes.default.svc.cluster.local"
//! jwks_file = "cluster-keys.json"        # leave out where the issuer can be asked
//! audience = "countersign"
//! subject = "system:serviceaccount:countersign:keys"
//! role = "keys"
//! instance = "/kubernetes.io/pod/name"
//! claims = { "/kubernetes.io/namespace" = "countersign" }
//! ```

use std::collections::BTreeMap;
use std::path::Path;

use countersign_authority::identity::PlatformRule;
use serde::Deserialize;

use crate::problem::{Problem, io};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    platform: Vec<Entry>,
}

/// As [`PlatformRule`], with files in place of long texts.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    name: String,
    issuer: String,
    jwks_file: Option<String>,
    ca_file: Option<String>,
    audience: String,
    subject: String,
    #[serde(default)]
    claims: BTreeMap<String, String>,
    role: String,
    instance: Option<String>,
}

/// The rules in the file at `path`, in order; none if there is no path. Files that it names are beside it.
pub(super) fn read(path: Option<&str>) -> Result<Vec<PlatformRule>, Problem> {
    let Some(path) = path.map(Path::new) else { return Ok(Vec::new()) };
    let text = std::fs::read_to_string(path).map_err(io("read", path))?;
    let file: File = toml::from_str(&text).map_err(|error| {
        let place = error.span().map(|span| line_of(&text, span.start)).unwrap_or(1);
        Problem::usage(format!("{}:{place}: {}", path.display(), error.message()))
    })?;
    file.platform.into_iter().map(|entry| entry.rule(path)).collect()
}

fn line_of(text: &str, byte: usize) -> usize {
    let before = text.get(..byte).unwrap_or_default();
    before.matches('\n').count().saturating_add(1)
}

impl Entry {
    fn rule(self, file: &Path) -> Result<PlatformRule, Problem> {
        let beside = |name: Option<String>| match name {
            None => Ok(None),
            Some(name) => {
                let path = file.parent().unwrap_or(Path::new("")).join(name);
                std::fs::read_to_string(&path).map(Some).map_err(io("read", &path))
            }
        };
        let rule = PlatformRule {
            name: self.name,
            issuer: self.issuer,
            jwks: beside(self.jwks_file)?,
            ca_pem: beside(self.ca_file)?.map(Into::into),
            audience: self.audience,
            subject: self.subject,
            claims: self.claims,
            role: self.role,
            instance: self.instance,
        };
        rule.check().map_err(|error| Problem::usage(format!("{}: {error}", file.display())))?;
        Ok(rule)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"
[[platform]]
name = "cluster"
issuer = "https://kubernetes.default.svc.cluster.local"
audience = "countersign"
subject = "system:serviceaccount:countersign:keys"
role = "keys"
instance = "/kubernetes.io/pod/name"
claims = { "/kubernetes.io/namespace" = "countersign" }

[[platform]]
name = "ci"
issuer = "https://ci.example"
ca_file = "ca.pem"
audience = "countersign"
subject = "repo:example/countersign:*"
role = "gateway"
"#;

    fn said(text: &str) -> String {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("platforms.toml");
        std::fs::write(&path, text).unwrap();
        std::fs::write(dir.path().join("ca.pem"), "a certificate").unwrap();
        match read(path.to_str()) {
            Ok(rules) => format!("{} rules, {:?}", rules.len(), rules.last().and_then(|rule| rule.ca_pem.as_deref())),
            Err(problem) => problem.to_string().replace(&dir.path().display().to_string(), "DIR"),
        }
    }

    #[test]
    fn rules_are_read_with_the_files_beside_them() {
        assert!(read(None).unwrap().is_empty());
        assert_eq!(said(""), "0 rules, None");
        assert_eq!(said(GOOD), "2 rules, Some(\"a certificate\")");
        assert!(said(&GOOD.replace("ca.pem", "none.pem")).contains("can't read DIR/none.pem"));
        assert!(read(Some("/nowhere/platforms.toml")).is_err());
    }

    #[test]
    fn a_mistake_is_named_with_its_place() {
        let said_of = |from, to| said(&GOOD.replacen(from, to, 1));
        assert!(said_of("subject", "subjet").contains("DIR/platforms.toml:6: unknown field `subjet`"));
        assert!(said_of("role = \"keys\"", "role = \"authority\"").contains("platform 'cluster': role must be one of"));
        assert!(
            said_of("https://ci.example", "http://ci.example").contains("platform 'ci': issuer must be an https URL")
        );
        assert!(said_of("audience = \"countersign\"", "").contains("missing field `audience`"));
    }
}
