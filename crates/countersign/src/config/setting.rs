//! The kinds of values that keys take.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use countersign_model::Service;
use countersign_model::service::NotAService;
use toml::de::DeValue;

/// A kind of value.
pub(crate) trait Setting: Sized {
    /// What a value looks like, for error messages.
    fn expected() -> String;
    /// Reads one, `None` if it is not of this kind.
    fn read(value: &DeValue<'_>) -> Option<Self>;
    /// Writes one as TOML.
    fn write(&self) -> String;
}

/// A whole number between two bounds, both included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Whole<const MIN: u64, const MAX: u64>(u64);

impl<const MIN: u64, const MAX: u64> Whole<MIN, MAX> {
    /// The number, moved into the bounds if it is outside.
    #[must_use]
    pub const fn new(number: u64) -> Self {
        if number < MIN {
            Self(MIN)
        } else if number > MAX {
            Self(MAX)
        } else {
            Self(number)
        }
    }

    /// The number.
    #[must_use]
    pub const fn number(self) -> u64 {
        self.0
    }

    /// The number as a size in memory; saturates.
    #[must_use]
    pub fn size(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }

    /// The number in 32 bits; saturates.
    #[must_use]
    pub fn small(self) -> u32 {
        u32::try_from(self.0).unwrap_or(u32::MAX)
    }
}

impl<const MIN: u64, const MAX: u64> Setting for Whole<MIN, MAX> {
    fn expected() -> String {
        format!("a whole number from {MIN} to {MAX}")
    }

    fn read(value: &DeValue<'_>) -> Option<Self> {
        let integer = value.as_integer()?;
        let number = u64::from_str_radix(integer.as_str(), integer.radix()).ok()?;
        (MIN..=MAX).contains(&number).then_some(Self(number))
    }

    fn write(&self) -> String {
        self.0.to_string()
    }
}

impl Setting for bool {
    fn expected() -> String {
        "true or false".to_owned()
    }

    fn read(value: &DeValue<'_>) -> Option<Self> {
        value.as_bool()
    }

    fn write(&self) -> String {
        self.to_string()
    }
}

impl Setting for SocketAddr {
    fn expected() -> String {
        "an address and port such as \"127.0.0.1:8443\" or \"[::1]:8443\"".to_owned()
    }

    fn read(value: &DeValue<'_>) -> Option<Self> {
        value.as_str()?.parse().ok()
    }

    fn write(&self) -> String {
        quoted(&self.to_string())
    }
}

impl Setting for String {
    fn expected() -> String {
        "text in quotes, not empty".to_owned()
    }

    fn read(value: &DeValue<'_>) -> Option<Self> {
        let text = value.as_str()?;
        (!text.is_empty() && !text.contains(char::is_control)).then(|| text.to_owned())
    }

    fn write(&self) -> String {
        quoted(self)
    }
}

/// Text that may be empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Text(String);

impl Text {
    /// No text.
    #[must_use]
    pub const fn empty() -> Self {
        Self(String::new())
    }

    /// This text.
    #[must_use]
    pub fn of(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text, if it isn't empty.
    #[must_use]
    pub fn get(&self) -> Option<&str> {
        (!self.0.is_empty()).then_some(self.0.as_str())
    }
}

impl Setting for Text {
    fn expected() -> String {
        "text in quotes".to_owned()
    }

    fn read(value: &DeValue<'_>) -> Option<Self> {
        let text = value.as_str()?;
        (!text.contains(char::is_control)).then(|| Self(text.to_owned()))
    }

    fn write(&self) -> String {
        quoted(&self.0)
    }
}

/// The services that one process is: at least one, each once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Roles(BTreeSet<Service>);

impl Roles {
    /// Every service.
    #[must_use]
    pub fn all() -> Self {
        Self(Service::ALL.into_iter().collect())
    }

    /// One service.
    #[must_use]
    pub fn one(service: Service) -> Self {
        Self([service].into())
    }

    /// Some services.
    #[must_use]
    pub fn some(services: impl IntoIterator<Item = Service>) -> Self {
        Self(services.into_iter().collect())
    }

    /// Whether this service is among them.
    #[must_use]
    pub fn has(&self, service: Service) -> bool {
        self.0.contains(&service)
    }

    /// Whether all that requests need are, so that there is nobody else to call. The monitor watches, and nobody needs it.
    #[must_use]
    pub fn is_all(&self) -> bool {
        Service::ALL.into_iter().all(|service| service == Service::Monitor || self.has(service))
    }

    /// Them.
    pub fn iter(&self) -> impl Iterator<Item = Service> + '_ {
        self.0.iter().copied()
    }
}

impl std::fmt::Display for Roles {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.0.len() == Service::ALL.len() {
            return f.write_str("all");
        }
        let words: Vec<_> = self.iter().map(Service::as_str).collect();
        f.write_str(&words.join(","))
    }
}

impl std::str::FromStr for Roles {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "all" {
            return Ok(Self::all());
        }
        let services = text.split(',').map(|word| word.trim().parse());
        let services: Result<BTreeSet<Service>, NotAService> = services.collect();
        services.map(Self).map_err(|error| format!("{error}; or all"))
    }
}

impl Setting for Roles {
    fn expected() -> String {
        "\"all\", or some of \"authority\", \"gateway\", \"keys\", \"store\" and \"monitor\" with commas between"
            .to_owned()
    }

    fn read(value: &DeValue<'_>) -> Option<Self> {
        value.as_str()?.parse().ok()
    }

    fn write(&self) -> String {
        quoted(&self.to_string())
    }
}

/// Host names or IP addresses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Names(pub Vec<String>);

impl Setting for Names {
    fn expected() -> String {
        "a list of host names or IP addresses such as [\"localhost\", \"127.0.0.1\"], not empty".to_owned()
    }

    fn read(value: &DeValue<'_>) -> Option<Self> {
        let names: Option<Vec<String>> = value.as_array()?.iter().map(|item| String::read(item.get_ref())).collect();
        let names = names?;
        let plain = |c: char| c.is_ascii_alphanumeric() || "-.:*".contains(c);
        (!names.is_empty() && names.iter().all(|name| name.chars().all(plain))).then_some(Self(names))
    }

    fn write(&self) -> String {
        let names: Vec<String> = self.0.iter().map(|name| quoted(name)).collect();
        format!("[{}]", names.join(", "))
    }
}

/// A word out of a closed list.
macro_rules! choice {
    ($(#[$doc:meta])* $name:ident { $( $(#[$of:meta])* $variant:ident = $word:literal ),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
        pub enum $name {
            $( $(#[$of])* #[value(name = $word)] $variant, )+
        }

        impl $crate::config::setting::Setting for $name {
            fn expected() -> String {
                format!("one of {}", [$(concat!("\"", $word, "\"")),+].join(", "))
            }

            fn read(value: &toml::de::DeValue<'_>) -> Option<Self> {
                match value.as_str()? {
                    $( $word => Some(Self::$variant), )+
                    _ => None,
                }
            }

            fn write(&self) -> String {
                match self {
                    $( Self::$variant => concat!("\"", $word, "\"").to_owned(), )+
                }
            }
        }
    };
}

pub(super) use choice;

pub(crate) fn quoted(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}
