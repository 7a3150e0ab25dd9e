//! From text to declarations: which keys there are, each with its place in the text.

use countersign_model::Sensitivity;
use countersign_model::{Kind, Name};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::error::{Problem, Quoted, TypesError};
use super::words;

/// Something and where it stands, as a byte offset.
#[derive(Clone)]
pub(super) struct At<T> {
    pub(super) offset: usize,
    pub(super) it: T,
}

#[derive(Default)]
pub(super) struct RawFile {
    pub(super) principal: Vec<(Name, Kind)>,
    pub(super) types: Vec<RawType>,
}

pub(super) struct RawType {
    pub(super) name: At<Name>,
    pub(super) key: Option<At<String>>,
    pub(super) fields: Vec<RawField>,
}

pub(super) struct RawField {
    pub(super) name: At<Name>,
    pub(super) kind: Option<At<Kind>>,
    pub(super) required: Option<At<bool>>,
    pub(super) unique: Option<At<bool>>,
    pub(super) indexed: bool,
    pub(super) references: Option<At<String>>,
    pub(super) class: Sensitivity,
}

pub(super) fn read(text: &str) -> Result<RawFile, TypesError> {
    let reader = Reader { text };
    if text.len() > super::MAX_BYTES {
        return Err(reader.wrong(0, Problem::TooLong));
    }
    let document = DeTable::parse(text).map_err(|error| reader.syntax(&error))?;
    reader.file(document.get_ref())
}

struct Reader<'t> {
    text: &'t str,
}

type Entry<'a, 'i> = (At<&'a str>, &'a Spanned<DeValue<'i>>);

impl Reader<'_> {
    fn wrong(&self, offset: usize, problem: Problem) -> TypesError {
        TypesError::at(self.text, offset, problem)
    }

    fn expected(&self, value: &Spanned<DeValue<'_>>, expected: &'static str) -> TypesError {
        self.wrong(value.span().start, Problem::Expected { expected })
    }

    fn syntax(&self, error: &toml::de::Error) -> TypesError {
        let span = error.span().unwrap_or_default();
        let problem = if error.message().starts_with("duplicate key") {
            Problem::Twice(Quoted::new(self.text.get(span.clone()).unwrap_or_default().trim_matches(['"', '\''])))
        } else {
            Problem::Syntax(error.message().chars().take(200).collect())
        };
        self.wrong(span.start, problem)
    }

    fn file(&self, document: &DeTable<'_>) -> Result<RawFile, TypesError> {
        let mut file = RawFile::default();
        for (key, value) in in_file_order(document) {
            match key.it {
                "principal" => file.principal = self.principal(value)?,
                "types" => {
                    for (name, value) in in_file_order(self.table(value)?) {
                        if file.types.len() >= super::MAX_TYPES {
                            return Err(self.wrong(name.offset, Problem::TooManyTypes));
                        }
                        file.types.push(self.record_type(&name, value)?);
                    }
                }
                _ => return Err(self.unknown_key(&key, "the file", &words::TOP)),
            }
        }
        Ok(file)
    }

    fn principal(&self, value: &Spanned<DeValue<'_>>) -> Result<Vec<(Name, Kind)>, TypesError> {
        let mut attributes = Vec::new();
        for (key, value) in in_file_order(self.table(value)?) {
            let name = self.name(&key)?;
            if words::PRINCIPAL.contains(&key.it) {
                return Err(self.wrong(key.offset, Problem::ReservedAttribute(Quoted::new(key.it))));
            }
            let kind = self.kind(value)?;
            if !matches!(kind.it, Kind::Text | Kind::Integer | Kind::Boolean) {
                return Err(self.wrong(kind.offset, Problem::AttributeKind(kind.it.as_str())));
            }
            attributes.push((name.it, kind.it));
        }
        Ok(attributes)
    }

    fn record_type(&self, key: &At<&str>, value: &Spanned<DeValue<'_>>) -> Result<RawType, TypesError> {
        let name = self.name(key)?;
        // `Control` is the namespace in which policies speak of managing the deployment.
        if key.it == "control" {
            return Err(self.wrong(key.offset, Problem::ReservedType(Quoted::new(key.it))));
        }
        let mut record_type = RawType { name, key: None, fields: Vec::new() };
        for (inner, value) in in_file_order(self.table(value)?) {
            match inner.it {
                "key" => record_type.key = Some(self.string(value, "the name of a field, in quotes")?),
                "fields" => {
                    for (field, value) in in_file_order(self.table(value)?) {
                        if record_type.fields.len() >= countersign_model::FieldSet::MAX {
                            return Err(self.wrong(field.offset, Problem::TooManyFields(Quoted::new(key.it))));
                        }
                        record_type.fields.push(self.field(&field, value)?);
                    }
                }
                _ => return Err(self.unknown_key(&inner, "a type", &words::TYPE)),
            }
        }
        if record_type.fields.is_empty() {
            let problem = Problem::NoFields(Quoted::new(key.it), key.it.to_owned());
            return Err(self.wrong(key.offset, problem));
        }
        Ok(record_type)
    }

    fn field(&self, key: &At<&str>, value: &Spanned<DeValue<'_>>) -> Result<RawField, TypesError> {
        let name = self.name(key)?;
        if words::QUERY.contains(&key.it) {
            return Err(self.wrong(key.offset, Problem::QueryWord(Quoted::new(key.it))));
        }
        if key.it == "tenant" {
            let problem = Problem::PolicyWord(Quoted::new(key.it), "the tenant that a record belongs to");
            return Err(self.wrong(key.offset, problem));
        }
        let DeValue::Table(table) = value.get_ref() else {
            return Err(self.expected(value, "a table such as { kind = \"text\", class = \"internal\" }"));
        };
        let (mut kind, mut required, mut unique, mut references, mut class) = (None, None, None, None, None);
        let mut indexed = false;
        for (inner, value) in in_file_order(table) {
            match inner.it {
                "kind" => kind = Some(self.kind(value)?),
                "required" => required = Some(self.boolean(value)?),
                "unique" => unique = Some(self.boolean(value)?),
                "index" => indexed = self.index(value)?,
                "references" => references = Some(self.string(value, "the name of a type, in quotes")?),
                "class" => class = Some(self.class(value)?),
                _ => return Err(self.unknown_key(&inner, "a field", &words::FIELD)),
            }
        }
        let class = class.ok_or_else(|| self.wrong(key.offset, Problem::NoClass(Quoted::new(key.it))))?;
        Ok(RawField { name, kind, required, unique, indexed, references, class })
    }

    fn unknown_key(&self, key: &At<&str>, place: &'static str, known: &[&'static str]) -> TypesError {
        let problem = Problem::UnknownKey { key: Quoted::new(key.it), place };
        self.wrong(key.offset, problem).suggest(key.it, known.iter().copied())
    }

    fn name(&self, key: &At<&str>) -> Result<At<Name>, TypesError> {
        let name = Name::new(key.it);
        let name = name.map_err(|_| self.wrong(key.offset, Problem::NotAName { name: Quoted::new(key.it) }))?;
        Ok(At { offset: key.offset, it: name })
    }

    fn table<'a, 'i>(&self, value: &'a Spanned<DeValue<'i>>) -> Result<&'a DeTable<'i>, TypesError> {
        match value.get_ref() {
            DeValue::Table(table) => Ok(table),
            _ => Err(self.expected(value, "a table")),
        }
    }

    fn string(&self, value: &Spanned<DeValue<'_>>, expected: &'static str) -> Result<At<String>, TypesError> {
        match value.get_ref() {
            DeValue::String(text) => Ok(At { offset: value.span().start, it: text.clone().into_owned() }),
            _ => Err(self.expected(value, expected)),
        }
    }

    fn boolean(&self, value: &Spanned<DeValue<'_>>) -> Result<At<bool>, TypesError> {
        match value.get_ref() {
            DeValue::Boolean(flag) => Ok(At { offset: value.span().start, it: *flag }),
            _ => Err(self.expected(value, "true or false, without quotes")),
        }
    }

    fn kind(&self, value: &Spanned<DeValue<'_>>) -> Result<At<Kind>, TypesError> {
        let word = self.string(value, "a kind in quotes, such as \"text\"")?;
        let known = words::KINDS.into_iter().find(|kind| kind.as_str() == word.it);
        let kind = known.ok_or_else(|| {
            let error = self.wrong(word.offset, Problem::UnknownKind(Quoted::new(&word.it)));
            error.suggest(&word.it, words::KINDS.map(Kind::as_str))
        })?;
        Ok(At { offset: word.offset, it: kind })
    }

    fn class(&self, value: &Spanned<DeValue<'_>>) -> Result<Sensitivity, TypesError> {
        let word = self.string(value, "a class in quotes, such as \"internal\"")?;
        Sensitivity::ALL.into_iter().find(|class| class.as_str() == word.it).ok_or_else(|| {
            let error = self.wrong(word.offset, Problem::UnknownClass(Quoted::new(&word.it)));
            error.suggest(&word.it, Sensitivity::ALL.map(Sensitivity::as_str))
        })
    }

    fn index(&self, value: &Spanned<DeValue<'_>>) -> Result<bool, TypesError> {
        let word = self.string(value, "\"exact\"")?;
        if word.it == "exact" {
            return Ok(true);
        }
        Err(self.wrong(word.offset, Problem::UnknownIndex(Quoted::new(&word.it))))
    }
}

/// The entries of a table as they stand in the file: the order in which ids are given.
fn in_file_order<'a, 'i>(table: &'a DeTable<'i>) -> Vec<Entry<'a, 'i>> {
    let entry = |(key, value): (&'a Spanned<_>, &'a Spanned<DeValue<'i>>)| {
        let name: &'a std::borrow::Cow<'i, str> = key.get_ref();
        (At { offset: key.span().start, it: name.as_ref() }, value)
    };
    let mut entries: Vec<Entry<'a, 'i>> = table.iter().map(entry).collect();
    entries.sort_by_key(|(key, _)| key.offset);
    entries
}
