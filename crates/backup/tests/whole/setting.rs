//! Keys, a repository and a backup to try things on.

use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;

use countersign_backup::*;
use countersign_crypto::SecretKey;
use countersign_model::TenantId;
use parking_lot::Mutex;

pub fn tenant(number: u128) -> TenantId {
    TenantId::from_u128((0x7 << 76) | number)
}

/// Tenants' keys: bytes of the tenant's number and the epoch.
#[derive(Default)]
pub struct Keys {
    pub epoch: u32,
    pub destroyed: Mutex<HashSet<TenantId>>,
}

pub fn keys() -> Arc<Keys> {
    Arc::new(Keys { epoch: 1, destroyed: Mutex::default() })
}

impl SectionKeys for Keys {
    fn newest(&self, tenant: TenantId) -> Result<(u32, SecretKey), KeysFailed> {
        Ok((self.epoch, self.at(tenant, self.epoch)?))
    }

    fn at(&self, tenant: TenantId, epoch: u32) -> Result<SecretKey, KeysFailed> {
        if self.destroyed.lock().contains(&tenant) {
            return Err(KeysFailed::Destroyed);
        }
        let [.., last] = *tenant.as_bytes();
        Ok(SecretKey::from_bytes([last ^ u8::try_from(epoch).unwrap() ^ 0x5a; 32]))
    }
}

pub fn key() -> SecretKey {
    SecretKey::from_bytes([9; 32])
}

pub async fn repository(folder: &Path) -> Repository {
    let place = Place::folder(folder).unwrap();
    match Header::read(&place).await {
        Ok(header) => Repository::open(place, &header, &key(), Tools::system()).unwrap(),
        Err(_) => Repository::create(place, &key(), b"wrapped", Tools::system()).await.unwrap(),
    }
}

/// What a backup is made of: sections and their chunks.
pub type Parts = Vec<(Section, Vec<Vec<u8>>)>;

pub fn parts(salt: u8) -> Parts {
    let chunk = |of: u8, number: u8| [of ^ salt, number, 7].repeat(40 + usize::from(number) * 3);
    vec![
        (Section::Control, vec![chunk(1, 0), chunk(1, 1)]),
        (Section::Tenant(tenant(1)), vec![chunk(2, 0), chunk(2, 1), chunk(2, 2)]),
        (Section::Tenant(tenant(2)), vec![chunk(2, 0), chunk(3, 1)]),
        (Section::Ledger("authority/00000000.log".into()), vec![chunk(4, 0)]),
        (Section::File("countersign.toml".into()), vec![]),
    ]
}

pub async fn write(repository: &Repository, keys: Arc<Keys>, parts: &Parts) -> Result<Finished, BackupError> {
    let mut writer = repository.begin(keys, Arc::new(())).await?;
    for (section, chunks) in parts {
        writer.section(section.clone()).await?;
        for chunk in chunks {
            writer.chunk(chunk.clone()).await?;
        }
        writer.note(section.to_string().into_bytes())?;
    }
    writer.finish(b"all of it".to_vec()).await
}

/// Everything that a backup has, checked before.
pub async fn read(repository: &Repository, keys: Arc<Keys>, id: BackupId) -> Result<Parts, BackupError> {
    let (manifest, _) = repository.manifest(id, None).await?;
    let reader = repository.reader(manifest, keys, Arc::new(()));
    reader.verify_all().await?;
    let mut parts = Vec::new();
    for entry in &reader.manifest().sections {
        let mut section = reader.section(&entry.section).await?;
        let mut chunks = Vec::new();
        while let Some(chunk) = section.next().await? {
            chunks.push(chunk);
        }
        parts.push((entry.section.clone(), chunks));
    }
    Ok(parts)
}

/// Every file below a folder.
pub fn files(folder: &Path) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { found.extend(files(&path)) } else { found.push(path) }
    }
    found.sort();
    found
}
