//! What a folder with exported data says about itself.

use countersign_model::Name;
use serde::{Deserialize, Serialize};

use super::Form;

/// What the manifest calls the format.
pub const FORMAT: &str = "countersign export";
/// Its version.
pub const VERSION: u32 = 1;
/// The file that describes the others. It is written last.
pub const MANIFEST: &str = "manifest.json";
/// The types file as it was in force.
pub const TYPES_FILE: &str = "types.toml";

/// What is in a folder, who took it out, and when.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// [`FORMAT`].
    pub format: String,
    /// [`VERSION`].
    pub version: u32,
    /// The deployment, as its tokens name it.
    pub issuer: String,
    /// Whose data.
    pub tenant: Name,
    /// Who took it out.
    pub user: Name,
    /// Who did so for that user, if somebody did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub actor: Option<Name>,
    /// When it began, RFC 3339.
    pub began: String,
    /// When it was complete.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<String>,
    /// The types that were asked for; all if empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub only: Vec<Name>,
    /// What each type is written in.
    pub forms: Vec<Form>,
    /// The types file, if the exporter may read it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub types_file: Option<FileEntry>,
    /// The types, those that refer to others before those.
    pub types: Vec<TypeEntry>,
    /// Types of which the exporter may know, but may read no field.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub withheld: Vec<Name>,
}

/// One type.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TypeEntry {
    /// Its name.
    pub name: Name,
    /// The field by which records are known, if the exporter may know it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<Name>,
    /// The fields in the files.
    pub fields: Vec<Name>,
    /// Fields of which the exporter may know, but which they may read on no record.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub withheld: Vec<Name>,
    /// `all`: every field of every record. `some`: policies set conditions, so records may be missing, and a null may
    /// stand for a value that the exporter may not see on that record.
    pub records: Records,
    /// How many records there are in each file.
    pub rows: u64,
    /// When the first page was asked for, RFC 3339.
    pub began: String,
    /// When the last one had come.
    pub ended: String,
    /// The files.
    pub files: Vec<FileEntry>,
}

/// How much of a type an exporter may see.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Records {
    /// The fields of all records.
    All,
    /// Some, as policies say.
    Some,
}

/// One file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileEntry {
    /// Its name in the folder.
    pub name: String,
    /// How long it is.
    pub bytes: u64,
    /// SHA-256 of its content, in hexadecimal.
    pub sha256: String,
}

/// What is kept while a folder is not complete.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct State {
    /// What is done.
    pub(super) manifest: Manifest,
    /// How far the type at hand has come.
    pub(super) position: Option<Position>,
}

/// A place in the middle of a type.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Position {
    pub(super) record_type: Name,
    pub(super) began: String,
    pub(super) rows: u64,
    /// Where the next page begins, sealed by the server for this user and this query.
    pub(super) cursor: String,
    /// How long each form's file was by then.
    pub(super) lengths: Vec<u64>,
}

impl State {
    pub(super) fn has(&self, name: &Name) -> bool {
        self.manifest.types.iter().any(|entry| entry.name == *name)
    }
}

impl TypeEntry {
    pub(super) const fn new(name: Name, fields: Vec<Name>, is_whole: bool, began: String) -> Self {
        let records = if is_whole { Records::All } else { Records::Some };
        Self {
            name,
            key: None,
            fields,
            withheld: Vec::new(),
            records,
            rows: 0,
            began,
            ended: String::new(),
            files: Vec::new(),
        }
    }
}

impl Manifest {
    /// Whether the other is one of the same data, asked for by the same caller in the same way.
    pub(super) fn is_same_wish(&self, other: &Self) -> bool {
        let of = |one: &Self| {
            let who = (one.issuer.clone(), one.tenant.clone(), one.user.clone(), one.actor.clone());
            (one.format.clone(), one.version, who, one.only.clone(), one.forms.clone())
        };
        of(self) == of(other)
    }
}
