//! `[sso]`

use countersign_outbound::address::HttpsUrl;
use toml::de::DeValue;

use super::section::section;
use super::setting::{Setting, quoted};

section! {
    /// Logging in with tenants' identity providers, and platforms that say which workload is calling.
    Sso = "sso" {
        /// Hosts with ports, such as "login.internal.example:8443", that the authority may call although their addresses
        /// are not public ones. What a tenant's admin names as a provider is otherwise called on the public internet
        /// only.
        allow: Places = Places(Vec::new());
    }
}

/// Hosts with ports.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Places(pub Vec<String>);

impl Setting for Places {
    fn expected() -> String {
        "a list of hosts with ports such as [\"login.internal.example:8443\"]".to_owned()
    }

    fn read(value: &DeValue<'_>) -> Option<Self> {
        let plain = |c: char| c.is_ascii_alphanumeric() || "-.:[]".contains(c);
        let place = |text: &str| {
            let place = HttpsUrl::parse(&format!("https://{text}/"))?.host_and_port();
            (place == text.to_ascii_lowercase() && text.chars().all(plain)).then_some(place)
        };
        let places = value.as_array()?.iter().map(|item| place(item.get_ref().as_str()?));
        places.collect::<Option<_>>().map(Self)
    }

    fn write(&self) -> String {
        let places: Vec<String> = self.0.iter().map(|place| quoted(place)).collect();
        format!("[{}]", places.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use crate::config::Config;

    #[test]
    fn only_hosts_with_ports() {
        let read = |value: &str| Config::parse(Path::new("c.toml"), &format!("[sso]\nallow = {value}\n"));
        let good = read(r#"["Login.internal:8443", "10.0.0.1:443", "[::1]:1"]"#).unwrap();
        assert_eq!(good.sso.allow.0, ["login.internal:8443", "10.0.0.1:443", "[::1]:1"]);
        for bad in [r#""a:1""#, r#"["a"]"#, r#"["https://a:1"]"#, r#"["a:1/x"]"#, r#"["a:99999"]"#, r#"["*:1"]"#, "[1]"]
        {
            assert!(read(bad).is_err(), "{bad}");
        }
    }
}
