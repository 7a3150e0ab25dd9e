//! Sealed facts where they are kept: a file, or a table in PostgreSQL. Both hold the same rows.

mod file;
mod postgres;

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use countersign_crypto::{Aad, OpenError, SealKey};
use countersign_model::{Entropy, TenantId};
use countersign_postgres::{Blocking, Held};
use zeroize::Zeroizing;

use self::file::File;
pub use self::postgres::CONTROL;
use self::postgres::Table;
use super::fact::{self, EpochFact, Kind, TenantFactsKeyFact, Write};
use crate::error::RegistryError;

/// Where the control data are.
#[derive(Debug, Clone)]
pub enum Place {
    /// In a file of their own, which one process has open at a time.
    File(PathBuf),
    /// In a database, whose tables [`CONTROL`] makes.
    Postgres {
        /// The database, as the authority's role.
        database: Arc<Blocking>,
        /// The file with which the authority certifies itself before it reaches the database
        /// ([`Bootstrap`](crate::Bootstrap)). It is wrapped anew where the wrapping key was rotated.
        bootstrap: PathBuf,
    },
}

impl Place {
    /// Whether nothing is there: no fact of any deployment.
    ///
    /// # Errors
    /// [`RegistryError::InUse`] if an authority is at work there; whatever a disk or a database may meet.
    pub fn is_empty(&self, entropy: &dyn Entropy) -> Result<bool, RegistryError> {
        match self {
            Self::File(path) => Ok(!path.exists()),
            Self::Postgres { database, .. } => Ok(Table::hold_soon(database, entropy)?.reread()?.is_empty()),
        }
    }
}

/// One row: the number of a fact's kind, its id, and its sealed body.
pub(super) type Row = (i16, Vec<u8>, Vec<u8>);

/// What becomes of rows: by kind and id, the new sealed body, or `None` for one that goes.
pub(super) type Changes = BTreeMap<(i16, Vec<u8>), Option<Vec<u8>>>;

/// Sealed facts in their place.
pub(super) struct Db {
    kept: Kept,
    keys: Option<Keys>,
}

enum Kept {
    File(File),
    Table(Table),
}

fn aad(kind: Kind, id: &[u8]) -> Aad {
    Aad::new("fact.1").part(&[kind as u8]).part(id)
}

/// The first byte of a body that is sealed under its tenant's own key, too. No fact's form has this number.
const OWNED: u8 = 0xf0;

/// What facts are sealed under: the deployment's key, and those about a tenant under the tenant's own key before that.
struct Keys {
    deployment: SealKey,
    /// With the wrapped form.
    tenants: HashMap<TenantId, (SealKey, Vec<u8>)>,
}

impl Keys {
    fn new(deployment: SealKey) -> Self {
        Self { deployment, tenants: HashMap::new() }
    }

    fn seal(&self, entropy: &dyn Entropy, aad: &Aad, owner: Option<TenantId>, body: &[u8]) -> Vec<u8> {
        let own = owner.and_then(|owner| Some((owner, self.tenants.get(&owner)?)));
        let Some((owner, (key, _))) = own else { return self.deployment.seal(entropy, aad, body) };
        let inner = [&[OWNED], owner.as_bytes().as_slice(), &key.seal(entropy, aad, body)].concat();
        self.deployment.seal(entropy, aad, &inner)
    }

    /// `Ok(None)` for what belonged to a tenant whose key is no more.
    fn open(&self, aad: &Aad, body: &[u8]) -> Result<Option<Zeroizing<Vec<u8>>>, OpenError> {
        let plain = Zeroizing::new(self.deployment.open(aad, body)?);
        let Some(([OWNED], inner)) = plain.split_first_chunk() else { return Ok(Some(plain)) };
        let (owner, sealed) = inner.split_first_chunk::<16>().ok_or(OpenError::Format)?;
        let Some((key, _)) = self.tenants.get(&TenantId::from_bytes(*owner)) else { return Ok(None) };
        key.open(aad, sealed).map(|plain| Some(Zeroizing::new(plain)))
    }
}

fn seal(keys: &Keys, entropy: &dyn Entropy, writes: &[Write]) -> Changes {
    let mut changes = Changes::new();
    for write in writes {
        let (kind, id, body) = match write {
            Write::Put { kind, id, body, owner } => {
                (*kind, id, Some(keys.seal(entropy, &aad(*kind, id), *owner, body)))
            }
            Write::Delete { kind, id } => (*kind, id, None),
        };
        // The last word on a row counts.
        changes.insert((kind as i16, id.clone()), body);
    }
    changes
}

impl Db {
    /// A new place with these facts. They are there all or not at all.
    pub(super) fn create(
        place: &Place,
        wrapped: &[u8],
        key: SealKey,
        entropy: &dyn Entropy,
        writes: &[Write],
    ) -> Result<Self, RegistryError> {
        let keys = Keys::new(key);
        let mut changes = seal(&keys, entropy, writes);
        changes.insert((Kind::DeploymentKey as i16, Vec::new()), Some(wrapped.to_vec()));
        let rows = changes.into_iter().filter_map(|((kind, id), body)| Some((kind, id, body?)));
        let rows: Vec<Row> = rows.collect();
        let kept = match place {
            Place::File(path) => Kept::File(File::create(path, &rows)?),
            Place::Postgres { database, .. } => Kept::Table(Table::create(database, entropy, rows)?),
        };
        Ok(Self { kept, keys: Some(keys) })
    }

    /// A new file with these rows, sealed as they are. They are there all or not at all.
    pub(super) fn restore(path: &Path, rows: &[Row]) -> Result<(), RegistryError> {
        File::create(path, rows).map(drop)
    }

    /// What is kept at `place`, and the wrapped deployment key in it. Facts can be read after [`Self::unlock`].
    pub(super) fn open(place: &Place, entropy: &dyn Entropy) -> Result<(Self, Vec<u8>), RegistryError> {
        let (kept, wrapped) = match place {
            Place::File(path) => {
                let (file, wrapped) = File::open(path)?;
                (Kept::File(file), wrapped)
            }
            Place::Postgres { database, .. } => {
                let (table, wrapped) = Table::open(database, entropy)?;
                (Kept::Table(table), wrapped)
            }
        };
        Ok((Self { kept, keys: None }, wrapped))
    }

    /// Writes these rows to a place that holds nothing, or an earlier state of the same deployment, and gives how many
    /// there are once they were read back and compared. They are of this `epoch`, and sealed under `key`.
    pub(super) fn carry(
        place: &Place,
        key: &SealKey,
        epoch: u64,
        entropy: &dyn Entropy,
        rows: Vec<Row>,
    ) -> Result<usize, RegistryError> {
        let count = rows.len();
        match place {
            Place::File(path) => {
                let file = File::create(path, &rows)?;
                compare(rows, file.rows()?)?;
            }
            Place::Postgres { database, .. } => {
                let table = Table::hold_soon(database, entropy)?;
                if !is_earlier(&table.reread()?, key, epoch) {
                    return Err(RegistryError::NotEmpty);
                }
                table.replace(entropy, rows.clone())?;
                compare(rows, table.reread()?)?;
            }
        }
        Ok(count)
    }

    /// Deletes every row, if this is a table.
    pub(super) fn clear(&self, entropy: &dyn Entropy) -> Result<(), RegistryError> {
        match &self.kept {
            Kept::File(_) => Ok(()),
            Kept::Table(table) => table.replace(entropy, Vec::new()),
        }
    }

    /// All rows, as they are stored, in order.
    pub(super) fn rows(&mut self) -> Result<Vec<Row>, RegistryError> {
        match &mut self.kept {
            Kept::File(file) => file.rows(),
            Kept::Table(table) => table.rows(),
        }
    }

    /// Replaces the wrapped deployment key by the same key, wrapped again.
    pub(super) fn rewrap(&mut self, entropy: &dyn Entropy, wrapped: &[u8]) -> Result<(), RegistryError> {
        let key = (Kind::DeploymentKey as i16, Vec::new());
        self.apply(entropy, Changes::from([(key, Some(wrapped.to_vec()))]))
    }

    pub(super) fn unlock(&mut self, key: SealKey) {
        self.keys = Some(Keys::new(key));
    }

    /// Lets another process come to it at once, where that is not a matter of a file.
    pub(super) fn let_go(&self) {
        if let Kept::Table(table) = &self.kept {
            table.let_go();
        }
    }

    /// By which this process is the only one, where that is not a matter of a file.
    pub(super) fn held(&self) -> Option<Arc<Held>> {
        match &self.kept {
            Kept::File(_) => None,
            Kept::Table(table) => Some(table.held()),
        }
    }

    #[cfg(test)]
    pub(super) fn stop_writing(&mut self) {
        match &mut self.kept {
            Kept::File(file) => file.stop_writing(),
            Kept::Table(table) => table.stop_writing(),
        }
    }

    /// Seals facts about a tenant under this key from now on, or under the deployment's alone.
    pub(super) fn own(&mut self, tenant: TenantId, key: Option<(SealKey, Vec<u8>)>) {
        let Some(keys) = &mut self.keys else { return };
        match key {
            Some(key) => drop(keys.tenants.insert(tenant, key)),
            None => drop(keys.tenants.remove(&tenant)),
        }
    }

    /// The wrapped form of the key that facts about this tenant are sealed under.
    pub(super) fn wrapped_own(&self, tenant: TenantId) -> Option<Vec<u8>> {
        self.keys.as_ref()?.tenants.get(&tenant).map(|(_, wrapped)| wrapped.clone())
    }

    /// Whether facts about this tenant are sealed under a key of its own.
    pub(super) fn has_own(&self, tenant: TenantId) -> bool {
        self.keys.as_ref().is_some_and(|keys| keys.tenants.contains_key(&tenant))
    }

    /// Gives every fact, opened, to `take`. Tenants' own keys are unwrapped by `unwrap`, which gives none for one that was
    /// destroyed: what was sealed under it is passed over, and its tenant is among those that this gives. Whoever asks has to
    /// know that it may be so.
    pub(super) fn each(
        &mut self,
        unwrap: impl Fn(TenantId, &TenantFactsKeyFact) -> Result<Option<SealKey>, RegistryError>,
        mut take: impl FnMut(Kind, &[u8], &[u8]) -> Result<(), RegistryError>,
    ) -> Result<Vec<TenantId>, RegistryError> {
        let (rows, mut lost) = (self.rows()?, Vec::new());
        let keys = self.keys.as_mut().ok_or(RegistryError::Missing("deployment key"))?;
        // Without these nothing about a tenant opens.
        for (_, id, body) in rows.iter().filter(|(kind, _, _)| *kind == Kind::TenantFactsKey as i16) {
            let kind = Kind::TenantFactsKey;
            let damaged = || fact::damaged(kind, id);
            let opened = keys.open(&aad(kind, id), body).map_err(|_| damaged())?.ok_or_else(damaged)?;
            let tenant = TenantId::from_bytes(id.as_slice().try_into().map_err(|_| damaged())?);
            let stored: TenantFactsKeyFact = fact::read(kind, id, &opened)?;
            match unwrap(tenant, &stored)? {
                Some(key) => drop(keys.tenants.insert(tenant, (key, stored.wrapped))),
                None => lost.push(tenant),
            }
        }
        for (kind, id, body) in rows {
            let damaged = |kind| RegistryError::Damaged { kind, id: hex::encode(&id) };
            let kind = Kind::from_number(i64::from(kind)).ok_or_else(|| damaged("fact of an unknown kind"))?;
            if kind == Kind::DeploymentKey {
                continue;
            }
            let opened = keys.open(&aad(kind, &id), &body).map_err(|_| damaged(kind.name()))?;
            if let Some(plain) = opened {
                take(kind, &id, &plain)?;
            }
        }
        Ok(lost)
    }

    /// Deletes what was sealed under keys of tenants that are no more.
    pub(super) fn forget(&mut self, entropy: &dyn Entropy, gone: &[TenantId]) -> Result<(), RegistryError> {
        let rows = self.rows()?;
        let keys = self.keys.as_ref().ok_or(RegistryError::Missing("deployment key"))?;
        let mut changes = Changes::new();
        for (number, id, body) in rows {
            let Some(kind) = Kind::from_number(i64::from(number)).filter(|kind| *kind != Kind::DeploymentKey) else {
                continue;
            };
            let plain = keys.deployment.open(&aad(kind, &id), &body).map_err(|_| fact::damaged(kind, &id))?;
            let plain = Zeroizing::new(plain);
            let owner = match plain.split_first_chunk() {
                Some(([OWNED], inner)) => inner.first_chunk::<16>(),
                _ if kind == Kind::TenantFactsKey => id.first_chunk::<16>(),
                _ => None,
            };
            if owner.is_some_and(|owner| gone.contains(&TenantId::from_bytes(*owner))) {
                changes.insert((number, id), None);
            }
        }
        self.apply(entropy, changes)
    }

    /// Makes all these changes or none; durable when it returns.
    ///
    /// In a database it does not return before it is known which of the two it is, unless another process has taken
    /// its place.
    pub(super) fn write(&mut self, entropy: &dyn Entropy, writes: &[Write]) -> Result<(), RegistryError> {
        let keys = self.keys.as_ref().ok_or(RegistryError::Missing("deployment key"))?;
        let changes = seal(keys, entropy, writes);
        self.apply(entropy, changes)
    }

    fn apply(&mut self, entropy: &dyn Entropy, changes: Changes) -> Result<(), RegistryError> {
        match &mut self.kept {
            Kept::File(file) => file.apply(&changes),
            Kept::Table(table) => table.apply(entropy, changes),
        }
    }
}

/// Whether these rows are none, or those of the deployment with this key at this epoch or before.
fn is_earlier(rows: &[Row], key: &SealKey, epoch: u64) -> bool {
    let stored = rows.iter().find(|(kind, _, _)| *kind == Kind::Epoch as i16);
    let found = stored.and_then(|(_, id, body)| {
        let plain = Zeroizing::new(key.open(&aad(Kind::Epoch, id), body).ok()?);
        fact::read::<EpochFact>(Kind::Epoch, id, &plain).ok()
    });
    rows.is_empty() || found.is_some_and(|found| found.epoch <= epoch)
}

fn compare(mut wanted: Vec<Row>, mut found: Vec<Row>) -> Result<(), RegistryError> {
    wanted.sort();
    found.sort();
    if wanted == found { Ok(()) } else { Err(RegistryError::Storage("what was carried over is not what was there")) }
}

/// The wrapped deployment key among rows.
fn wrapped_of(rows: &[Row]) -> Result<Vec<u8>, RegistryError> {
    let key = rows.iter().find(|(kind, _, _)| *kind == Kind::DeploymentKey as i16);
    key.map(|(_, _, body)| body.clone()).ok_or(RegistryError::Missing("deployment key"))
}
