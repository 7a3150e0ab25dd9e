//! A backup laid out in a folder: facts, ledgers, and every tenant's records, as they were. Of what was erased since, nothing.

use std::collections::BTreeMap;
use std::sync::Arc;

use countersign_authority::Registry;
use countersign_backup::tenant::Page;
use countersign_backup::{Reader, Section};
use countersign_keys::TenantKeys;
use countersign_model::TenantId;
use countersign_model::erasure::Receipts;
use countersign_store::carry::{Moments as _, Reseals as _};
use countersign_store::{Erases as _, Options as StoreOptions, SqliteStore, Store as _};

use super::about::About;
use super::records::failed;
use super::repository::problem;
use super::{facts, ledgers};
use crate::deployment::{Deployment, new_file};
use crate::problem::{Problem, io};

/// Hears how far it is, and says whether to go on.
pub(super) type Watch<'a> = &'a mut (dyn FnMut(&str, u64, u64) -> Result<(), Problem> + Send);

/// What was laid out.
pub(super) struct Laid {
    pub(super) store: SqliteStore,
    pub(super) records: u64,
    pub(super) tenants: u64,
    /// Records that were left out, because they were erased since.
    pub(super) erased: u64,
}

/// Facts and keys, into the control database.
pub(super) async fn facts(reader: &Reader, deployment: &Deployment) -> Result<(), Problem> {
    let mut rows = Vec::new();
    let mut section = reader.section(&Section::Control).await.map_err(|error| problem(&error))?;
    while let Some(piece) = section.next().await.map_err(|error| problem(&error))? {
        rows.extend(facts::rows(&piece)?);
    }
    let made = Registry::restore(&deployment.control_db(), rows);
    made.map_err(|error| Problem::failed(format!("the control database can't be made: {error}")))
}

/// The ledgers.
pub(super) async fn ledgers(reader: &Reader, deployment: &Deployment, watch: Watch<'_>) -> Result<(), Problem> {
    let failed = |error: std::io::Error| Problem::failed(format!("a ledger can't be written: {}", error.kind()));
    let mut open: BTreeMap<String, ledgers::Copy> = BTreeMap::new();
    let sections: Vec<Section> = reader.manifest().sections.iter().map(|entry| entry.section.clone()).collect();
    for section in sections {
        let Section::Ledger(path) = &section else { continue };
        let unknown = || Problem::failed("the backup has a ledger that this program does not know");
        let (service, name) = path.split_once('/').ok_or_else(unknown)?;
        let known: countersign_model::Service = service.parse().map_err(|_| unknown())?;
        if name.is_empty() || name.split('/').any(|part| part.is_empty() || part.starts_with('.')) {
            return Err(unknown());
        }
        watch("restoring ledgers", 0, 0)?;
        if !open.contains_key(service) {
            let folder = deployment.audit().join(known.as_str());
            open.insert(service.to_owned(), ledgers::Copy::new(&folder).map_err(failed)?);
        }
        let Some(copy) = open.get_mut(service) else { continue };
        copy.file(name).map_err(failed)?;
        let mut pieces = reader.section(&section).await.map_err(|error| problem(&error))?;
        while let Some(piece) = pieces.next().await.map_err(|error| problem(&error))? {
            copy.write(&piece).map_err(failed)?;
        }
    }
    for copy in open.values_mut() {
        copy.end().map_err(failed)?;
    }
    Ok(())
}

/// The configuration file, as it was.
pub(super) async fn config(reader: &Reader) -> Result<String, Problem> {
    let section = Section::File(super::create::CONFIG.to_owned());
    let mut pieces = reader.section(&section).await.map_err(|error| problem(&error))?;
    let mut bytes = Vec::new();
    while let Some(piece) = pieces.next().await.map_err(|error| problem(&error))? {
        bytes.extend(piece);
    }
    String::from_utf8(bytes).map_err(|_| Problem::failed("the configuration file in the backup is not text"))
}

/// Writes it.
pub(super) fn put_config(deployment: &Deployment, text: &str) -> Result<(), Problem> {
    new_file(&deployment.config(), text.as_bytes(), false)
}

/// Every tenant's records, but those of tenants in `without`.
pub(super) async fn records(
    reader: &Reader,
    about: &About,
    deployment: &Deployment,
    (receipts, without): (&Receipts, &BTreeMap<TenantId, String>),
    watch: Watch<'_>,
) -> Result<Laid, Problem> {
    let store = SqliteStore::open(&deployment.data(), StoreOptions::default()).map_err(|error| failed(&error))?;
    store.apply_types(&about.types).await.map_err(|error| failed(&error))?;
    let (mut records, mut tenants, mut erased) = (0u64, 0u64, 0u64);
    for tenant in &about.tenants {
        if receipts.is_tenant_erased(tenant.id) {
            continue;
        }
        store.create_tenant(tenant.id).await.map_err(|error| failed(&error))?;
        if without.contains_key(&tenant.id) {
            continue;
        }
        let mut new = store.replacement(tenant.id).await.map_err(|error| failed(&error))?;
        let section = Section::Tenant(tenant.id);
        let mut pages = reader.section(&section).await.map_err(|error| problem(&error))?;
        while let Some(page) = countersign_backup::tenant::next(&mut pages).await.map_err(|error| problem(&error))? {
            watch("restoring records", records, about.records)?;
            let is_erased = |of, record| receipts.is_record_erased(tenant.id, of, record);
            match page {
                Page::Rows(of, mut rows) => {
                    let all = rows.len();
                    rows.retain(|row| !is_erased(of, row.record));
                    erased = erased.saturating_add(all.saturating_sub(rows.len()) as u64);
                    records = records.saturating_add(rows.len() as u64);
                    new.rows(of, rows).await
                }
                Page::Past(of, mut past) => {
                    past.retain(|past| !is_erased(of, past.row.record));
                    new.past(of, past).await
                }
                Page::Known(known) => new.known(known).await,
            }
            .map_err(|error| failed(&error))?;
        }
        new.commit().await.map_err(|error| failed(&error))?;
        store.put_counts(tenant.id, tenant.epoch, tenant.counts()).await.map_err(|error| failed(&error))?;
        // Of a type that came later there is nothing here.
        let records_of = receipts.records_of(tenant.id);
        for (record_type, gone) in records_of.filter(|(of, _)| about.types.record_type(*of).is_some()) {
            let gone: Vec<_> = gone.iter().copied().collect();
            // Answers to changes made once may name them.
            store.purge(tenant.id, record_type, &gone).await.map_err(|error| failed(&error))?;
        }
        tenants = tenants.saturating_add(1);
    }
    // They are among the facts, and nothing of theirs is in the backup.
    for tenant in about.more.without.iter().filter(|tenant| !receipts.is_tenant_erased(**tenant)) {
        store.create_tenant(*tenant).await.map_err(|error| failed(&error))?;
    }
    Ok(Laid { store, records, tenants, erased })
}

/// Tenants whose keys can't be had any more, and why. Those that can't be reached are no such: it fails.
pub(super) async fn without_keys(about: &About, keys: &Arc<TenantKeys>) -> Result<BTreeMap<TenantId, String>, Problem> {
    use countersign_keys::{KeyError, KmsError};
    let mut without = BTreeMap::new();
    for tenant in &about.tenants {
        let (keys, id) = (Arc::clone(keys), tenant.id);
        let opened = tokio::task::spawn_blocking(move || keys.open(id)).await;
        match opened.map_err(|_| Problem::failed("it was interrupted"))? {
            Ok(()) => {}
            Err(KeyError::Kms(KmsError::Destroyed)) => {
                drop(without.insert(id, "its key was destroyed".to_owned()));
            }
            Err(error) => return Err(super::cells::no_key(&error).during(&format!("tenant {id}"))),
        }
    }
    Ok(without)
}

/// The certificate that clients trust.
pub(super) fn put_ca(deployment: &Deployment, registry: &Registry) -> Result<(), Problem> {
    let path = deployment.ca_pem();
    std::fs::write(&path, registry.ca_pem()).map_err(io("write", &path))
}
