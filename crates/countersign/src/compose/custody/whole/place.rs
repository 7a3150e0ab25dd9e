//! Where a whole deployment is restored from, and its content.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use countersign_authority::{KnownBackup, Registry, rfc3339};
use countersign_backup::{BackupId, Manifest, Place as Objects, Repository, Tools};
use countersign_keys::KmsSet;
use countersign_model::erasure::Receipts;
use countersign_model::{Name, TenantId};

use super::super::about::About;
use super::super::repository::{self, Asked, problem};
use super::super::{cells, lay, receipts};
use super::{Kms, Restored, Wanted, Watch};
use crate::compose::{kms, registry_parts};
use crate::config::{Config, Text};
use crate::deployment::Deployment;
use crate::problem::{Exit, Problem};

/// A repository that no configuration names.
pub(crate) struct Place {
    /// A folder, or `s3://BUCKET/PREFIX`.
    pub(crate) from: String,
    pub(crate) endpoint: Option<String>,
    pub(crate) region: String,
    pub(crate) credentials_file: Option<PathBuf>,
}

impl Place {
    fn open(&self) -> Result<Objects, Problem> {
        if !self.from.starts_with("s3://") {
            let opened = Objects::existing_folder(Path::new(&self.from));
            return opened.map_err(|error| problem(&error).during(&self.from));
        }
        let asked = Asked {
            url: &self.from,
            endpoint: self.endpoint.as_deref(),
            region: &self.region,
            credentials_file: self.credentials_file.as_deref(),
            suffix: String::new(),
        };
        asked.place()
    }
}

/// Everything that is in the backup, into a folder that has nothing in it yet.
pub(super) async fn fill(deployment: &Deployment, wanted: Wanted, watch: Watch<'_>) -> Result<Restored, Problem> {
    let Wanted { place, backup, kms: how } = wanted;
    how.copy(deployment)?;
    let mut config = Config::default();
    how.configure(&mut config)?;
    let first = kms::open(deployment, &config)?;
    watch("opening the repository", 0, 0);
    let repository = repository::open_at(place.open()?, &first, Tools::system()).await?;
    let receipts = receipts::of(&repository).await?;
    let (manifest, digest) = choose(&repository, backup.as_deref()).await?;
    let (id, at) = (manifest.id, manifest.at);
    let about = About::of_note(&manifest.note)?;
    if about.of.is_some() {
        return Err(Problem::failed(format!("backup {id} is of one tenant, and no deployment"))
            .next("restore it into a deployment that runs: --tenant NAME --from REPOSITORY"));
    }

    // The configuration names the key management services that tenants bring.
    let nobody = cells::keys(&first, about.wrapped());
    let reader = repository.reader(manifest.clone(), repository::keys(nobody), Arc::new(()));
    let (text, config, notes) = configured(&lay::config(&reader).await?, &how)?;
    let kms = kms::open(deployment, &config)?;
    let keys = cells::keys(&kms, about.wrapped());
    let mut without = lay::without_keys(&about, &keys).await?;
    without.retain(|tenant, _| !receipts.is_tenant_erased(*tenant));

    watch("reading every chunk", 0, 0);
    let reader = repository.reader(manifest, repository::keys(Arc::clone(&keys)), Arc::new(()));
    reader.verify_all().await.map_err(|error| problem(&error))?;

    let mut told = |phase: &str, done: u64, total: u64| {
        watch(phase, done, total);
        Ok(())
    };
    lay::facts(&reader, deployment).await?;
    lay::ledgers(&reader, deployment, &mut told).await?;
    let laid = lay::records(&reader, &about, deployment, (&receipts, &without), &mut told).await?;
    let (records, tenants, erased) = (laid.records, laid.tenants, laid.erased);
    drop(laid);
    let known = KnownBackup {
        repository: repository_name(&config, &place.from, deployment)?,
        repository_id: repository.id().0,
        digest,
        at,
        tenant: None,
        verified: None,
    };
    know(deployment, &config, kms, (&receipts, &without), (id, known)).await?;
    lay::put_config(deployment, &text)?;

    let mut restored = Restored { backup: id.to_string(), at: rfc3339(at), tenants, records, notes };
    let mut note = |text: String| restored.notes.push(text);
    if erased > 0 {
        note(format!("{erased} records that were erased since were left out"));
    }
    for (tenant, why) in &without {
        note(format!("tenant {tenant} has no records any more: {why}"));
    }
    note(format!("everything after {} is gone, and with it what was revoked, removed or forbidden later", rfc3339(at)));
    note("everybody has to log in anew; private keys of people are in no backup".to_owned());
    Ok(restored)
}

/// The backup that is named, or the newest of a whole deployment.
async fn choose(repository: &Repository, named: Option<&str>) -> Result<(Manifest, [u8; 32]), Problem> {
    if let Some(text) = named {
        return repository.manifest(repository::id(text)?, None).await.map_err(|error| problem(&error));
    }
    for id in repository.backups().await.map_err(|error| problem(&error))?.into_iter().rev() {
        // The newest that can't be read is not passed over: somebody has to say that an older one will do.
        let found = repository.manifest(id, None).await.map_err(|error| problem(&error))?;
        if About::of_note(&found.0.note)?.of.is_none() {
            return Ok(found);
        }
    }
    Err(Problem::new(Exit::NotFound, "there is no backup of a whole deployment in the repository"))
}

/// The configuration as it was, but for where the key is and where records are: as its operator wrote it, if nothing of that
/// is different.
fn configured(old: &str, how: &Kms) -> Result<(String, Config, Vec<String>), Problem> {
    let path = Path::new("countersign.toml");
    let was = Config::parse(path, old).map_err(|error| Problem::failed(format!("in the backup: {error}")))?;
    let (mut config, mut notes) = (was.clone(), Vec::new());
    how.configure(&mut config)?;
    if let Some(address) = was.postgres.address.get() {
        notes.push(format!("it was in {address}; from the folder it goes there with: countersign move --to {address}"));
        config.postgres.address = Text::empty();
        config.postgres.server_ca = Text::empty();
    }
    if config == was {
        return Ok((old.to_owned(), config, notes));
    }
    notes.push("countersign.toml is written anew, without its comments".to_owned());
    Ok((config.to_text(), config, notes))
}

/// What the repository is called in the configuration; the first of those that it has, if none is there.
fn repository_name(config: &Config, from: &str, deployment: &Deployment) -> Result<Name, Problem> {
    let is_it = |section: &crate::config::Backup| {
        let folder = section.folder.get().map(|folder| deployment.dir().join(folder));
        section.url.get() == Some(from) || folder.is_some_and(|folder| folder == Path::new(from))
    };
    let found = config.backups.iter().find(|(_, section)| is_it(section)).or_else(|| config.backups.iter().next());
    match found {
        Some((name, _)) => Ok(name.clone()),
        None => Name::new("restored").map_err(|error| Problem::failed(error.to_string())),
    }
}

/// Facts that are newer than the backup: what was erased, and the backup itself.
async fn know(
    deployment: &Deployment,
    config: &Config,
    kms: KmsSet,
    (receipts, without): (&Receipts, &BTreeMap<TenantId, String>),
    (id, known): (BackupId, KnownBackup),
) -> Result<(), Problem> {
    let failed =
        |error: countersign_authority::RegistryError| Problem::failed(format!("facts can't be restored: {error}"));
    let is_gone = |tenant| receipts.is_tenant_erased(tenant) || without.contains_key(&tenant);
    let registry = Registry::open_without(registry_parts(deployment, config, kms), &is_gone).map_err(failed)?;
    registry.replay(receipts).await.map_err(failed)?;
    registry.know_backup(id.0, Some(known)).await.map_err(failed)?;
    lay::put_ca(deployment, &registry)
}
