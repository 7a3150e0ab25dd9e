//! Repositories as the configuration names them, and what their keys are.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use countersign_backup::{
    BackupError, BackupId, Damage, Header, KeysFailed, Place, Repository, RepositoryId, SectionKeys, Tools, Watch,
};
use countersign_crypto::{Aad, SecretKey};
use countersign_keys::{KeyError, KmsError, KmsSet, TenantKeys, own_of};
use countersign_model::{Entropy, Name, TenantId};

use super::asked::Asked;
use super::jobs::Reach;
use super::{Parts, list};
use crate::config::Backup;
use crate::deployment::Deployment;
use crate::problem::{Exit, Problem, io};
use crate::relocate::replace;

/// Under which label tenants' keys seal chunks.
const LABEL: &str = "backup";

fn key_aad() -> Aad {
    Aad::new("backup-key.1")
}

/// What is wrong, for the operator.
pub(super) fn problem(error: &BackupError) -> Problem {
    let exit = match error {
        BackupError::Unreachable(_) | BackupError::InUse { .. } | BackupError::TakenOver => Exit::Unavailable,
        BackupError::Store(countersign_store::StoreError::Unavailable(_)) => Exit::Unavailable,
        BackupError::Keys { why: KeysFailed::Unavailable, .. } => Exit::Unavailable,
        BackupError::NoRepository => Exit::NotFound,
        // Another disk is in its place: that says nothing of the one that is meant.
        BackupError::Damaged(Damage::OtherRepository { .. }) => Exit::Unavailable,
        BackupError::Exists | BackupError::Cancelled => Exit::Conflict,
        _ => Exit::Failed,
    };
    Problem::new(exit, error.to_string())
}

/// Whether something whole is in the place of what was asked for.
pub(super) const fn is_swapped(error: &BackupError) -> bool {
    matches!(
        error,
        BackupError::Damaged(
            Damage::ManifestOfAnother { .. } | Damage::ManifestOfOtherRepository { .. } | Damage::ManifestSwapped(_)
        )
    )
}

/// How long it is waited for where a repository is.
const PATIENCE: Duration = Duration::from_secs(60);

/// Where a repository of the configuration is.
fn place(deployment: &Deployment, name: &Name, section: &Backup, makes: bool) -> Result<Place, Problem> {
    match (section.folder.get(), section.url.get()) {
        (Some(folder), None) => {
            let path = deployment.dir().join(folder);
            let opened = if makes { Place::folder(&path) } else { Place::existing_folder(&path) };
            opened.map_err(|error| problem(&error).during(&path.display().to_string()))
        }
        (None, Some(url)) => {
            let credentials = section.credentials_file.get().map(|path| deployment.dir().join(path));
            let asked = Asked {
                url,
                endpoint: section.endpoint.get(),
                region: section.region.get().unwrap_or("us-east-1"),
                credentials_file: credentials.as_deref(),
                suffix: format!("_{}", name.as_str().to_ascii_uppercase().replace('-', "_")),
            };
            asked.place()
        }
        _ => Err(Problem::usage(format!("[backup.{name}] has to name a folder or a url, and one of them"))),
    }
}

/// The same, without keeping anybody else from working: a disk that is mounted over a network may never answer.
async fn placed(parts: &Parts, name: &Name, section: &Backup, makes: bool) -> Result<Place, Problem> {
    let (deployment, name, section) = (parts.deployment.clone(), name.clone(), section.clone());
    let opened = tokio::task::spawn_blocking(move || place(&deployment, &name, &section, makes));
    let unanswered = |_| Problem::new(Exit::Unavailable, "the repository's place does not answer");
    let opened = tokio::time::timeout(PATIENCE, opened).await.map_err(unanswered)?;
    opened.map_err(|_| Problem::failed("it was interrupted"))?
}

fn section<'a>(parts: &'a Parts, name: &Name) -> Result<&'a Backup, Problem> {
    let missing = || Problem::new(Exit::NotFound, format!("there is no section [backup.{name}]"));
    parts.config.backups.get(name).ok_or_else(missing)
}

/// With the key out of the key management service.
pub(super) async fn open_at(place: Place, kms: &KmsSet, tools: Tools) -> Result<Repository, Problem> {
    let header = Header::read(&place).await.map_err(|error| problem(&error))?;
    let (kms, wrapped) = (kms.clone(), header.wrapped_key.clone());
    let unwrapped = tokio::task::spawn_blocking(move || kms.unwrap_key(&key_aad(), &wrapped)).await;
    let key = unwrapped.map_err(|_| Problem::failed("it was interrupted"))?.map_err(|error| {
        let exit = if matches!(error, KmsError::Unavailable(_)) { Exit::Unavailable } else { Exit::Failed };
        Problem::new(exit, format!("the repository's key can't be had: {error}"))
            .next("give the key management service of the deployment that made it, with its own keys (kms.own)")
    })?;
    Repository::open(place, &header, &key, tools).map_err(|error| problem(&error))
}

fn tools(parts: &Parts) -> Result<Tools, Problem> {
    let owner = owner(&parts.deployment.data().join("writer"), &*parts.entropy)?;
    Ok(Tools { clock: Arc::clone(&parts.clock), entropy: Arc::clone(&parts.entropy), owner })
}

/// What this deployment calls itself in a repository's lock. One process has the deployment at a time, and makes one backup at
/// a time: a lock of that name is one that it has left. It is no fact, and in no backup: what is restored from one is another
/// deployment, beside which the first may be alive. So is a copy of the folder, in which the file is another.
fn owner(path: &Path, entropy: &dyn Entropy) -> Result<[u8; 8], Problem> {
    use std::os::unix::fs::MetadataExt as _;
    if !std::fs::exists(path).map_err(io("find", path))? {
        let mut random = [0; 16];
        entropy.fill(&mut random);
        replace(path, &random).map_err(io("write", path))?;
    }
    let mut named = std::fs::read(path).map_err(io("read", path))?;
    named.extend(std::fs::metadata(path).map_err(io("read", path))?.ino().to_be_bytes());
    Ok(countersign_crypto::sha256(&named).first_chunk().copied().unwrap_or_default())
}

/// One that is there, or `None`, whatever is known of it.
pub(super) async fn find(parts: &Parts, name: &Name) -> Result<Option<Repository>, Problem> {
    let section = section(parts, name)?;
    let opened = async { open_at(placed(parts, name, section, false).await?, &parts.kms, tools(parts)?).await };
    let repository = match opened.await {
        Ok(repository) => repository,
        Err(problem) if problem.exit == Exit::NotFound => return Ok(None),
        Err(problem) => return Err(problem),
    };
    let known = list::known(parts, name);
    let is_it = known.values().any(|known| known.repository_id == repository.id().0);
    match known.values().next_back() {
        Some(newest) if !is_it => {
            let expected = repository.expect(RepositoryId(newest.repository_id));
            let other =
                expected.err().map_or_else(|| Problem::failed("it is another repository"), |error| problem(&error));
            Err(other.next("is the right disk mounted? A new place gets a section, and so a name, of its own"))
        }
        _ => Ok(Some(repository)),
    }
}

/// One that is there.
pub(super) async fn open(parts: &Parts, name: &Name) -> Result<Repository, Problem> {
    let found = open_if_there(parts, name).await?;
    found.ok_or_else(|| problem(&BackupError::NoRepository))
}

/// The same, or `None` if there is none yet. One in which backups are known and that is not there has got lost: that fails.
pub(super) async fn open_if_there(parts: &Parts, name: &Name) -> Result<Option<Repository>, Problem> {
    let found = find(parts, name).await?;
    match list::known(parts, name).len() {
        known if found.is_none() && known > 0 => {
            let lost = format!("the repository {name} is not there, though {known} backups in it are known");
            let next =
                format!("is its disk mounted? If it is gone for good: countersign backup remove {name} --forget");
            Err(Problem::new(Exit::Unavailable, lost).next(next))
        }
        _ => Ok(found),
    }
}

/// One that is there, or a new one with a key of its own in the key management service.
pub(super) async fn open_or_make(parts: &Parts, name: &Name) -> Result<Repository, Problem> {
    if let Some(repository) = open_if_there(parts, name).await? {
        return Ok(repository);
    }
    let (place, tools) = (placed(parts, name, section(parts, name)?, true).await?, tools(parts)?);
    let key = SecretKey::generate(&*parts.entropy);
    let (kms, entropy) = (parts.kms.clone(), Arc::clone(&parts.entropy));
    let wrapping = move || kms.wrap_own(None, &*entropy, &key_aad(), &key).map(|wrapped| (key, wrapped));
    let wrapped = tokio::task::spawn_blocking(wrapping).await.map_err(|_| Problem::failed("it was interrupted"))?;
    let (key, wrapped) =
        wrapped.map_err(|error| Problem::failed(format!("a key for the repository can't be made: {error}")))?;
    let made = Repository::create(place, &key, &wrapped, tools).await;
    if made.is_err()
        && let Some(own) = own_of(&wrapped)
    {
        // Nothing is sealed under it.
        let kms = parts.kms.clone();
        drop(tokio::task::spawn_blocking(move || kms.destroy_own(&own)).await);
    }
    made.map_err(|error| problem(&error))
}

/// The id of a backup, as it is written.
pub(super) fn id(text: &str) -> Result<BackupId, Problem> {
    BackupId::parse(text).ok_or_else(|| Problem::new(Exit::NotFound, format!("there is no backup {text}")))
}

/// The tenants' keys, for chunks.
pub(super) fn keys(keys: Arc<TenantKeys>) -> Arc<dyn SectionKeys> {
    Arc::new(Keys(keys))
}

struct Keys(Arc<TenantKeys>);

fn no_key(error: &KeyError) -> KeysFailed {
    match error {
        KeyError::Kms(KmsError::Destroyed) | KeyError::UnknownEpoch => KeysFailed::Destroyed,
        _ => KeysFailed::Unavailable,
    }
}

impl SectionKeys for Keys {
    fn newest(&self, tenant: TenantId) -> Result<(u32, SecretKey), KeysFailed> {
        let (key, epoch) = self.0.seal_secret(tenant, LABEL).map_err(|error| no_key(&error))?;
        Ok((epoch, key))
    }

    fn at(&self, tenant: TenantId, epoch: u32) -> Result<SecretKey, KeysFailed> {
        self.0.seal_secret_at(tenant, LABEL, epoch).map_err(|error| no_key(&error))
    }
}

/// A job's reach, as a repository tells it.
pub(super) fn watch(reach: &Arc<Reach>) -> Arc<dyn Watch> {
    Arc::new(Watched(Arc::clone(reach)))
}

struct Watched(Arc<Reach>);

impl Watch for Watched {
    fn reached(&self, bytes: u64, _: u64) {
        self.0.add(bytes);
    }

    fn is_cancelled(&self) -> bool {
        self.0.is_stopped()
    }

    fn served(&self) -> Duration {
        self.0.beside()()
    }
}

#[cfg(test)]
mod tests {
    use countersign_crypto::SystemEntropy;

    use super::*;

    #[test]
    fn an_owner_stays_who_it_is_and_is_no_other_in_another_folder() {
        let (one, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let of = |folder: &tempfile::TempDir| owner(&folder.path().join("writer"), &SystemEntropy).unwrap();
        let first = of(&one);
        assert_eq!(of(&one), first);
        assert_ne!(of(&other), first);
        let copy = tempfile::tempdir().unwrap();
        std::fs::copy(one.path().join("writer"), copy.path().join("writer")).unwrap();
        assert_ne!(of(&copy), first);
    }
}
