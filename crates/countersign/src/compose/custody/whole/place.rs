//! Where a whole deployment is restored from, and its content.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use countersign_authority::{KnownBackup, Registry, rfc3339};
use countersign_backup::{BackupId, Damage, Manifest, Place as Objects, Repository, Tools};
use countersign_keys::KmsSet;
use countersign_model::erasure::Receipts;
use countersign_model::{Name, TenantId};

use super::super::about::About;
use super::super::asked::Asked;
use super::super::create::hex;
use super::super::repository::{self, problem};
use super::super::{cells, lay, list, receipts};
use super::{Kms, Restored, Wanted, Watch, renewed};
use crate::compose::{kms, registry_parts};
use crate::config::{Config, Text, Whole};
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
    let Wanted { place, backup, manifest: expected, kms: how, database } = wanted;
    how.copy(deployment)?;
    let mut config = Config::default();
    how.configure(&mut config)?;
    let first = kms::open(deployment, &config)?;
    watch("opening the repository", 0, 0);
    let repository = repository::open_at(place.open()?, &first, Tools::system()).await?;
    let mut receipts = receipts::of(&repository).await?;
    let (manifest, digest) = choose(&repository, backup.as_deref()).await?;
    let (id, at) = (manifest.id, manifest.at);
    if expected.is_some_and(|expected| !expected.eq_ignore_ascii_case(&hex(&digest))) {
        return Err(problem(&Damage::ManifestSwapped(id).into()));
    }
    let about = About::of_note(&manifest.note)?;
    if about.of.is_some() {
        return Err(Problem::failed(format!("backup {id} is of one tenant, and no deployment"))
            .next("restore it into a deployment that runs: --tenant NAME --from REPOSITORY"));
    }

    // The configuration names the key management services that tenants bring.
    let nobody = cells::keys(&first, about.wrapped());
    let reader = repository.reader(manifest.clone(), repository::keys(nobody), Arc::new(()));
    let (text, config, mut notes) = configured(&lay::config(&reader).await?, &how)?;
    if let Some(goal) = &database {
        notes.retain(|note| !note.starts_with(ELSEWHERE));
        notes.push(format!("records, facts and keys are in {goal}"));
    }
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
    // A copy of a receipt may not have got into the repository, though the facts have it.
    let is_gone = |tenant| receipts.is_tenant_erased(tenant) || without.contains_key(&tenant);
    let own = own_receipts(deployment, &config, kms.clone(), &is_gone)?;
    own.iter().for_each(|receipt| receipts.add(receipt.clone()));
    lay::ledgers(&reader, deployment, &mut told).await?;
    let laid = lay::records(&reader, &about, deployment, (&receipts, &without), &mut told).await?;
    let (records, tenants, erased) = (laid.records, laid.tenants, laid.erased);
    drop(laid);
    let known = KnownBackup {
        repository: Name::new(UNCONFIGURED).map_err(|error| Problem::failed(error.to_string()))?,
        repository_id: repository.id().0,
        digest,
        at,
        tenant: None,
        verified: None,
    };
    let name = repository_name(&config, &place.from, deployment);
    let kept = know(deployment, &config, kms, (&receipts, &without), (id, known, name), &about.more.without).await?;
    lay::put_config(deployment, &text)?;

    let mut restored = Restored { backup: id.to_string(), at: rfc3339(at), tenants, records, notes };
    let mut note = |text: String| restored.notes.push(text);
    if erased > 0 {
        note(format!("{erased} records that were erased since were left out"));
    }
    for tenant in &about.more.without {
        note(format!(
            "tenant {tenant} is not in the backup: its keys could not be had when it was made. It has no records"
        ));
    }
    for (tenant, why) in &without {
        note(format!("tenant {tenant} has no records any more: {why}"));
    }
    for tenant in &kept {
        note(format!("tenant {tenant} keeps the key that it had, which can't be had now: rotate it when it can be"));
    }
    note("every tenant has a new key; records are sealed again under it once the deployment serves".to_owned());
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
        let about = About::of_note(&found.0.note)?;
        if about.of.is_none() && !about.more.without.is_empty() {
            let names = list::named(&about.more.without);
            return Err(Problem::failed(format!("the newest backup, {id}, is without the tenants {names}"))
                .next(format!("name it with --backup {id}, or an older one that has them")));
        }
        if about.of.is_none() {
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
        notes
            .push(format!("{ELSEWHERE}{address}; from the folder it goes there with: countersign move --to {address}"));
        config.postgres.address = Text::empty();
        config.postgres.server_ca = Text::empty();
    }
    for (name, section) in &mut config.backups {
        if section.every_ms.number() > 0 || section.verify_every_ms.number() > 0 {
            notes.push(format!(
                "nothing is backed up by the clock until every_ms and verify_every_ms of [backup.{name}] are set again: the                  deployment that was backed up may be alive, and it is its repository"
            ));
            (section.every_ms, section.verify_every_ms) = (Whole::new(0), Whole::new(0));
        }
    }
    if config == was {
        return Ok((old.to_owned(), config, notes));
    }
    notes.push("countersign.toml is written anew, without its comments".to_owned());
    Ok((config.to_text(), config, notes))
}

/// How a note begins that says where a deployment was that is restored into a folder.
const ELSEWHERE: &str = "it was in ";
/// What a repository is called that neither the configuration nor the facts name.
const UNCONFIGURED: &str = "restored";

/// What the repository is called in the configuration.
fn repository_name(config: &Config, from: &str, deployment: &Deployment) -> Option<Name> {
    let is_it = |section: &crate::config::Backup| {
        let folder = section.folder.get().map(|folder| deployment.dir().join(folder));
        section.url.get() == Some(from) || folder.is_some_and(|folder| folder == Path::new(from))
    };
    config.backups.iter().find(|(_, section)| is_it(section)).map(|(name, _)| name.clone())
}

/// The receipts among the facts of the backup.
fn own_receipts(
    deployment: &Deployment,
    config: &Config,
    kms: KmsSet,
    is_gone: &dyn Fn(TenantId) -> bool,
) -> Result<Arc<Receipts>, Problem> {
    let opened = Registry::open_without(registry_parts(deployment, config, kms), is_gone);
    let registry = opened.map_err(|error| Problem::failed(format!("facts can't be restored: {error}")))?;
    Ok(registry.receipts())
}

/// Facts that are newer than the backup: what was erased, the backup itself, and tenants' new keys. Tenants of `absent` whose
/// keys can't be had are given back.
async fn know(
    deployment: &Deployment,
    config: &Config,
    kms: KmsSet,
    (receipts, without): (&Receipts, &BTreeMap<TenantId, String>),
    (id, mut known, name): (BackupId, KnownBackup, Option<Name>),
    absent: &[TenantId],
) -> Result<Vec<TenantId>, Problem> {
    let failed =
        |error: countersign_authority::RegistryError| Problem::failed(format!("facts can't be restored: {error}"));
    let is_gone = |tenant| receipts.is_tenant_erased(tenant) || without.contains_key(&tenant);
    let registry = Registry::open_without(registry_parts(deployment, config, kms), &is_gone).map_err(failed)?;
    registry.replay(receipts).await.map_err(failed)?;
    let mut others = registry.backups().into_values();
    // From a copy of it in another place it is still that repository.
    let by_id = || others.find(|other| other.repository_id == known.repository_id).map(|other| other.repository);
    if let Some(name) = name.or_else(by_id) {
        known.repository = name;
    }
    registry.know_backup(id.0, Some(known)).await.map_err(failed)?;
    let kept = renewed::keys(&registry, &is_gone, absent).await?;
    lay::put_ca(deployment, &registry)?;
    Ok(kept)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Provider;

    fn file() -> Kms {
        let (folder, module, token, pin_file) = (None, None, None, None);
        Kms { provider: Provider::File, folder, module, token, key: String::new(), pin_file }
    }

    /// The deployment that was backed up may be alive.
    #[test]
    fn what_is_restored_backs_nothing_up_by_the_clock() {
        let quiet = "# mine\n[backup.nightly]\nfolder = \"/mnt/b\"\nkeep = 9\n";
        let (text, _, notes) = configured(quiet, &file()).unwrap();
        assert_eq!((text.as_str(), notes.len()), (quiet, 0));
        let (text, config, notes) = configured(&format!("{quiet}every_ms = 1000\n"), &file()).unwrap();
        let section = config.backups.values().next().unwrap();
        assert_eq!((section.every_ms.number(), section.keep.number()), (0, 9));
        assert_eq!(Config::parse(Path::new("countersign.toml"), &text).unwrap(), config);
        assert!(notes.iter().any(|note| note.contains("[backup.nightly]")), "{notes:?}");
    }

    /// From a copy of it in another place it is still that repository.
    #[test]
    fn a_repository_is_called_as_the_configuration_calls_it() {
        let text = "[backup.nightly]\nfolder = \"repository\"\n[backup.far]\nurl = \"s3://b/x\"\n";
        let config = Config::parse(Path::new("countersign.toml"), text).unwrap();
        let named = |from| repository_name(&config, from, &Deployment::at("/d")).map(|name| name.to_string());
        assert_eq!(named("/d/repository").as_deref(), Some("nightly"));
        assert_eq!(named("s3://b/x").as_deref(), Some("far"));
        assert_eq!(named("/mnt/copy"), None);
    }
}
