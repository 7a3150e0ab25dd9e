//! A sealed customer and the statements that read and write one: those of `store::postgres`, for `pgbench`.

use anyhow::{Context as _, Result};
use countersign_crypto::{SystemEntropy, Tag};
use countersign_model::clock::SystemClock;
use countersign_model::{Clock as _, Entropy as _, FieldId, FieldSet, RecordId, RecordTypes, TypeId};
use countersign_store::SealedChange;
use countersign_testkit::{DATABASE, Postgres};

use crate::setting::example;

/// What a sealed field of a customer takes, or so.
const CELL_BYTES: usize = 50;

/// Where customers lie.
pub struct Place {
    pub types: RecordTypes,
    pub customer: TypeId,
    /// The field that applications know a customer by.
    pub key: FieldId,
    /// What a point read of four fields reads: those, and the key that it is found by.
    pub read: FieldSet,
    fields: usize,
    indexed: Vec<FieldId>,
}

impl Place {
    pub fn new() -> Result<Self> {
        let text = std::fs::read_to_string(example().join("types.toml"))?;
        let types = countersign_store::types_file::parse(&text)?;
        let (customer, record_type) = types.find("customer").context("no customers")?;
        let read = ["id", "company", "contact_name", "city", "country"];
        let read = read.iter().filter_map(|name| Some(record_type.find(name)?.0)).collect();
        let (key, fields) = (record_type.key, record_type.fields.len());
        let indexed = record_type.iter().filter(|(_, field)| field.indexed || field.unique).map(|(id, _)| id).collect();
        Ok(Self { customer, key, read, fields, indexed, types })
    }

    /// A new sealed customer: noise of the right length that names the first epoch, as sealed cells are. Its key's tag comes
    /// with it.
    pub fn sealed(&self) -> (SealedChange, Tag) {
        let mut noise = vec![0; self.fields * CELL_BYTES];
        SystemEntropy.fill(&mut noise);
        for cell in noise.chunks_mut(CELL_BYTES) {
            cell.iter_mut().zip([1, 0, 0, 0, 1]).for_each(|(byte, named)| *byte = named);
        }
        let all = (0u8..=u8::MAX).map(FieldId);
        let cells = all.zip(noise.chunks(CELL_BYTES)).map(|(field, cell)| (field, cell.to_vec())).collect();
        let tags: Vec<(FieldId, Tag)> = self.indexed.iter().map(|field| (*field, noise_tag())).collect();
        let key = tags.iter().find(|(field, _)| *field == self.key).map_or_else(noise_tag, |(_, tag)| *tag);
        let record = RecordId::new(SystemClock.now(), &SystemEntropy);
        (SealedChange::Insert { record_type: self.customer, record, cells, tags }, key)
    }

    /// The statement of a point read: `tenant` and `tag` are the script's variables.
    pub fn read(&self) -> Vec<String> {
        let (TypeId(place), FieldId(key)) = (self.customer, self.key);
        let cells: String = self.read.iter().map(|FieldId(field)| format!(", c{field}")).collect();
        vec![format!("SELECT id, version{cells} FROM countersign.r{place} WHERE tenant = :tenant AND x{key} = :tag")]
    }

    /// What makes a new customer: `tenant` and `cell` are the script's variables. Identifiers and tags, of which no two are
    /// the same, are made by the server, because `pgbench` has nothing to make them with.
    pub fn insert(&self) -> Vec<String> {
        let TypeId(place) = self.customer;
        let cells: String = (0..self.fields).map(|field| format!(", c{field}")).collect();
        let tags: String = self.indexed.iter().map(|FieldId(field)| format!(", x{field}")).collect();
        let values = ", :cell".repeat(self.fields);
        let marks = ", uuid_send(gen_random_uuid())".repeat(self.indexed.len());
        vec![
            "INSERT INTO countersign.written (tenant, id, at) VALUES (:tenant, gen_random_uuid(), now()) \
             ON CONFLICT DO NOTHING"
                .to_owned(),
            format!(
                "INSERT INTO countersign.r{place} (tenant, id, version{cells}{tags}) \
                 VALUES (:tenant, gen_random_uuid(), 1{values}{marks}) ON CONFLICT DO NOTHING"
            ),
        ]
    }

    /// The variables of these scripts.
    pub fn variables(&self, server: &Postgres) -> Result<Vec<String>> {
        let (TypeId(place), FieldId(key)) = (self.customer, self.key);
        let sql = format!("SELECT tenant || ' ' || encode(x{key}, 'hex') FROM countersign.r{place} LIMIT 1");
        let found = server.sql(DATABASE, &sql)?;
        let (tenant, tag) = found.split_once(' ').context("no customer in the database")?;
        let cell = "5a".repeat(CELL_BYTES);
        Ok(vec![format!("tenant={tenant}"), format!("tag=\\x{tag}"), format!("cell=\\x{cell}")])
    }
}

fn noise_tag() -> Tag {
    let mut bytes = [0; 16];
    SystemEntropy.fill(&mut bytes);
    Tag(bytes)
}
