//! What every section of the configuration is, and the macro that declares one.

use toml::de::DeValue;

/// A table of the file.
pub(super) trait Section {
    /// Its name.
    fn table(&self) -> &'static str;
    /// Its comment, line by line.
    fn about(&self) -> &'static [&'static str];
    /// Its keys.
    fn keys(&self) -> &'static [&'static str];
    /// Sets one key.
    fn set(&mut self, key: &str, value: &DeValue<'_>) -> Result<(), Refused>;
    /// Every key with its present value.
    fn entries(&self) -> Vec<Entry>;
}

/// Why a key could not be set.
pub(super) enum Refused {
    /// No such key.
    Unknown,
    /// The value is not one that the key takes.
    Value {
        /// What the key takes.
        expected: String,
    },
}

/// One line of the file.
pub(super) struct Entry {
    /// The key.
    pub key: &'static str,
    /// Its value as TOML.
    pub value: String,
    /// Its comment, line by line.
    pub about: &'static [&'static str],
}

/// Declares a section: the comment of the struct and of each key are both its documentation and what `init` writes.
macro_rules! section {
    (
        $(#[doc = $about:literal])+
        $name:ident = $table:literal {
            $( $(#[doc = $doc:literal])+ $key:ident: $kind:ty = $default:expr; )+
        }
    ) => {
        $(#[doc = $about])+
        #[derive(Debug, Clone, PartialEq)]
        pub struct $name {
            $( $(#[doc = $doc])+ pub $key: $kind, )+
        }

        impl Default for $name {
            fn default() -> Self {
                Self { $( $key: $default, )+ }
            }
        }

        impl $crate::config::section::Section for $name {
            fn table(&self) -> &'static str {
                $table
            }

            fn about(&self) -> &'static [&'static str] {
                &[$($about),+]
            }

            fn keys(&self) -> &'static [&'static str] {
                &[$(stringify!($key)),+]
            }

            fn set(
                &mut self,
                key: &str,
                value: &toml::de::DeValue<'_>,
            ) -> Result<(), $crate::config::section::Refused> {
                use $crate::config::{section::Refused, setting::Setting};
                match key {
                    $( stringify!($key) => {
                        self.$key = <$kind as Setting>::read(value)
                            .ok_or_else(|| Refused::Value { expected: <$kind as Setting>::expected() })?;
                    } )+
                    _ => return Err(Refused::Unknown),
                }
                Ok(())
            }

            fn entries(&self) -> Vec<$crate::config::section::Entry> {
                use $crate::config::{section::Entry, setting::Setting};
                vec![$( Entry {
                    key: stringify!($key),
                    value: Setting::write(&self.$key),
                    about: &[$($doc),+],
                } ),+]
            }
        }
    };
}

pub(super) use section;
