//! A folder that an export made: whether it is whole, whether its types are those in force, and in which order its
//! records go.

use std::path::{Path, PathBuf};

use countersign_model::{Name, RecordTypes};
use countersign_store::types_file;

use super::{Format, Source, order};
use crate::export::{FORMAT, FileEntry, Form, MANIFEST, Manifest, TypeEntry, VERSION, hash_file};
use crate::problem::{Exit, Problem, io};

/// Such a folder.
pub struct Folder {
    path: PathBuf,
    manifest: Manifest,
}

/// One type to import.
pub struct Planned {
    /// The type.
    pub record_type: Name,
    /// The field by which its records are known.
    pub key: Name,
    /// How many records there are.
    pub rows: u64,
    /// Where they are.
    pub source: Source,
    /// References that are set when everything is there.
    pub late: Vec<String>,
}

/// The longest manifest, in bytes.
const MAX_MANIFEST: u64 = 16 << 20;

impl Folder {
    /// Reads the manifest.
    ///
    /// # Errors
    /// If there is none, or none that this program writes.
    pub fn open(path: &Path) -> Result<Self, Problem> {
        let manifest_path = path.join(MANIFEST);
        let shown = path.display();
        if !manifest_path.exists() {
            let why = if path.join(format!("{MANIFEST}.part")).exists() {
                Problem::input(format!("{shown} is an export that was interrupted"))
                    .next("go on with it: run the same countersign export again")
            } else {
                Problem::new(Exit::NotFound, format!("{shown} has no {MANIFEST}"))
                    .next("name a folder that countersign export made, or a record type and a file")
            };
            return Err(why);
        }
        let about = std::fs::metadata(&manifest_path).map_err(io("read", &manifest_path))?;
        if !about.is_file() || about.len() > MAX_MANIFEST {
            return Err(Problem::input(format!("{MANIFEST} in {shown} is no file, or too long to be one")));
        }
        let text = std::fs::read(&manifest_path).map_err(io("read", &manifest_path))?;
        let manifest: Manifest = serde_json::from_slice(&text).map_err(|error| {
            Problem::input(format!(
                "{MANIFEST} in {shown} is damaged or of another version: line {}, column {}",
                error.line(),
                error.column()
            ))
        })?;
        if manifest.format != FORMAT || manifest.version != VERSION {
            return Err(Problem::input(format!("{MANIFEST} in {shown} is of another format or version")));
        }
        let folder = Self { path: path.to_owned(), manifest };
        if folder.files().any(|(_, is_named_so)| !is_named_so) {
            return Err(Problem::input(format!("{MANIFEST} in {shown} names a file that no export writes")));
        }
        Ok(folder)
    }

    /// How long all files are together, in bytes, as the manifest says.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.files().fold(0, |sum, (file, _)| sum.saturating_add(file.bytes))
    }

    /// Compares every file with the manifest. Says how many bytes it has read by then.
    ///
    /// # Errors
    /// Which file is missing, shorter, longer or changed.
    pub fn compare(&self, mut reached: impl FnMut(u64)) -> Result<(), Problem> {
        let mut read = 0u64;
        for (entry, _) in self.files() {
            self.check(entry, |more| {
                read = read.saturating_add(more);
                reached(read);
            })?;
        }
        Ok(())
    }

    /// What the folder says about itself.
    #[must_use]
    pub const fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// Every file, and whether it is called as it should be.
    ///
    /// INVARIANT files-in-folder: what a manifest names is never followed anywhere else.
    fn files(&self) -> impl Iterator<Item = (&FileEntry, bool)> {
        let types_file = self.manifest.types_file.iter().map(|file| (file, file.name == crate::export::TYPES_FILE));
        let of_types = self.manifest.types.iter().flat_map(|entry| {
            let named = |file: &FileEntry| {
                [Form::Ndjson, Form::Csv].iter().any(|form| file.name == format!("{}.{}", entry.name, form.extension()))
            };
            entry.files.iter().map(move |file| (file, named(file)))
        });
        types_file.chain(of_types)
    }

    fn check(&self, entry: &FileEntry, read_more: impl FnMut(u64)) -> Result<(), Problem> {
        let path = self.path.join(&entry.name);
        let shown = path.display();
        let next = "take the file from where it is whole, or export again; nothing was imported";
        let (bytes, sha256) = match hash_file(&path, read_more) {
            Ok(found) => found,
            Err(problem) if problem.exit == Exit::NotFound => {
                return Err(Problem::input(format!("{shown} is missing")).next(next));
            }
            Err(problem) => return Err(problem),
        };
        let why = match () {
            () if bytes < entry.bytes => format!("is cut off: {bytes} of {} bytes", entry.bytes),
            () if bytes > entry.bytes => format!("is longer than it was: {bytes} bytes, not {}", entry.bytes),
            () if sha256 != entry.sha256 => format!("was changed: it is not what {MANIFEST} says"),
            () => return Ok(()),
        };
        Err(Problem::input(format!("{shown} {why}")).next(next))
    }

    /// What to import, in order, if the types in force can take it.
    ///
    /// # Errors
    /// What doesn't fit, all of it.
    pub fn plan(&self, types: &RecordTypes, format: Option<Format>) -> Result<Vec<Planned>, Problem> {
        let theirs = self.types_text()?.map(|text| types_file::parse(&text)).transpose();
        let theirs = theirs.map_err(|error| Problem::input(format!("types.toml in the export: {error}")))?;
        let mut wrong = Vec::new();
        for entry in &self.manifest.types {
            misfits(entry, types, theirs.as_ref(), &mut wrong);
        }
        if !wrong.is_empty() {
            let types_file = self.path.join(crate::export::TYPES_FILE);
            return Err(Problem::input(format!("the record types in force are others: {}", wrong.join("; "))).next(
                format!(
                    "an operator makes them fit: countersign schema apply {}; nothing was imported",
                    types_file.display()
                ),
            ));
        }
        let names: Vec<Name> = self.manifest.types.iter().map(|entry| entry.name.clone()).collect();
        let mut planned = Vec::new();
        for step in order(types, &names) {
            let Some(entry) = self.manifest.types.iter().find(|entry| entry.name == step.record_type) else { continue };
            let Some((_, record_type)) = types.find(step.record_type.as_str()) else { continue };
            let Some(key) = record_type.field(record_type.key) else { continue };
            let late = step.late.iter().filter(|field| entry.fields.contains(field));
            planned.push(Planned {
                record_type: step.record_type.clone(),
                key: key.name.clone(),
                rows: entry.rows,
                source: self.source(entry, format)?,
                late: late.map(ToString::to_string).collect(),
            });
        }
        Ok(planned)
    }

    fn types_text(&self) -> Result<Option<String>, Problem> {
        if self.manifest.types_file.is_none() {
            return Ok(None);
        }
        let path = self.path.join(crate::export::TYPES_FILE);
        std::fs::read_to_string(&path).map(Some).map_err(io("read", &path))
    }

    fn source(&self, entry: &TypeEntry, format: Option<Format>) -> Result<Source, Problem> {
        let find = |form: Form| {
            let name = format!("{}.{}", entry.name, form.extension());
            entry.files.iter().find(|file| file.name == name).map(|_| self.path.join(name))
        };
        let ndjson = || find(Form::Ndjson).map(|path| Source::file(&path, Format::Ndjson));
        let csv = || find(Form::Csv).map(|path| Source::file(&path, Format::ExportedCsv));
        let found = match format {
            None => ndjson().or_else(csv),
            Some(Format::Ndjson) => ndjson(),
            Some(Format::Csv | Format::ExportedCsv) => csv(),
        };
        found.ok_or_else(|| {
            Problem::input(format!("the export has {} in another form only", entry.name)).next("leave --format out")
        })
    }
}

/// What of a type in an export the types in force can't take.
fn misfits(entry: &TypeEntry, types: &RecordTypes, theirs: Option<&RecordTypes>, wrong: &mut Vec<String>) {
    let name = &entry.name;
    let Some((_, record_type)) = types.find(name.as_str()) else {
        wrong.push(format!("there is no {name}"));
        return;
    };
    let was = theirs.and_then(|types| types.find(name.as_str())).map(|(_, was)| was);
    for field in &entry.fields {
        let Some((_, now)) = record_type.find(field.as_str()) else {
            wrong.push(format!("{name} has no {field}"));
            continue;
        };
        match was.and_then(|was| was.find(field.as_str())) {
            Some((_, was)) if was.kind != now.kind => {
                wrong.push(format!("{name}.{field} is {}, and was {}", now.kind.as_str(), was.kind.as_str()));
            }
            _ => {}
        }
    }
    let key = record_type.key;
    for (id, field) in record_type.iter().filter(|(id, field)| field.required || *id == key) {
        if !entry.fields.contains(&field.name) {
            let what = if id == key { "the key" } else { "a required field" };
            wrong.push(format!("{name}.{} is {what}, and the export has none", field.name));
        }
    }
}
