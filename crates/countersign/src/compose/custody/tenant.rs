//! One tenant put back to what it was: one change of all of it, on top of what there is, so that it is history too and can
//! itself be undone.
//!
//! What has not changed since stays as it is. What has gets the cells that it had, under the newest keys and with a version
//! above every one that it ever had. What came later is deleted, and what was erased stays erased.

use std::collections::BTreeMap;
use std::sync::Arc;

use countersign_authority::rfc3339;
use countersign_backup::Section;
use countersign_crypto::sealed_epoch;
use countersign_keys::{KeySet, TenantKeys};
use countersign_model::erasure::Receipts;
use countersign_model::{Name, RecordTypes, TenantId, TypeId, UnixMs};
use countersign_services::reseal::{self, ResealError};
use countersign_store::carry::{CarriedRow, Moment, Moments as _, PastRow, Replacement};
use countersign_store::history::{NotRewound, Rewound};
use countersign_store::{CellKey, Rejected, StoreError};

use super::about::About;
use super::jobs::{Ended, Reach};
use super::records::{Records, Whole, failed};
use super::repository::{self, problem};
use super::scratch::Scratch;
use super::{Parts, cells, lay, list};
use crate::problem::{Exit, Problem};

/// So many are given to the store at a time.
const PAGE: usize = 500;

/// What a tenant is to be put back to.
struct Then {
    /// To this moment; `None` is all that the source has.
    at: Option<UnixMs>,
    /// By which what the source has is opened.
    keys: Arc<TenantKeys>,
    /// The types by which it is stored.
    types: RecordTypes,
}

pub(super) async fn run(
    parts: &Parts,
    tenant: TenantId,
    from: Option<&(Name, String)>,
    to: Option<UnixMs>,
    reach: &Arc<Reach>,
) -> Result<Ended, Problem> {
    let receipts = parts.registry.receipts();
    if receipts.is_tenant_erased(tenant) {
        return Err(Problem::new(Exit::Conflict, "the tenant was erased; nothing of it is put back"));
    }
    let Some((name, text)) = from else {
        let to = to.ok_or_else(|| Problem::usage("no moment is named"))?;
        return rewind(parts, tenant, to, reach).await;
    };
    let id = repository::id(text)?;
    let repository = repository::open(parts, name).await?;
    let known = list::known(parts, name);
    let unknown = || {
        Problem::failed(format!("backup {id} is none that this deployment has made and knows of")).next(
            "list shows those that it knows; a backup that is unknown is restored whole, into a deployment of its own",
        )
    };
    let on_record = Some(known.get(&id.0).ok_or_else(unknown)?.digest);
    let (manifest, _) = repository.manifest(id, on_record).await.map_err(|error| problem(&error))?;
    let mut about = About::of_note(&manifest.note)?;
    let of_tenant = about.of(tenant, id)?.clone();
    if to.is_some_and(|to| to > manifest.at) {
        return Err(Problem::new(Exit::Conflict, "the moment is later than the backup")
            .next("name a later backup, or leave out --to"));
    }
    if let Some(to) = to.filter(|to| *to < of_tenant.since) {
        let (to, since) = (rfc3339(to), rfc3339(of_tenant.since));
        return Err(Problem::new(Exit::Conflict, format!("what was at {to} is not in the backup, only since {since}")));
    }
    let keys = cells::keys(&parts.kms, about.wrapped());
    about.tenants.retain(|one| one.id == tenant);
    if let Some((_, why)) = lay::without_keys(&about, &keys).await?.pop_first() {
        return Err(Problem::failed(format!("nothing of the tenant can be opened: {why}")));
    }
    let section = Section::Tenant(tenant);
    let bytes = manifest.section(&section).map_or(0, |entry| entry.bytes());
    reach.phase("reading the backup, in bytes", bytes);
    let reader = repository.reader(manifest, repository::keys(Arc::clone(&keys)), repository::watch(reach));
    reader.verify(&[section]).await.map_err(|error| problem(&error))?;
    let folder = Scratch::make(&parts.deployment, "restore", id)?;
    let mut watch = watch(reach);
    let laid = lay::records(&reader, &about, &folder.deployment(), (&receipts, &BTreeMap::new()), &mut watch).await?;
    let mut source = laid.store.moment(tenant).await.map_err(|error| failed(&error))?;
    let then = Then { at: to, keys, types: about.types };
    let put = put_back(parts, tenant, &mut *source, &then, reach).await;
    drop((source, laid, folder));
    let Put { back, deleted, same, erased, types } = put?;
    let mut said = format!("{back} records put back, {deleted} deleted that came later, {same} were as they are");
    if erased > 0 {
        said = format!("{said}; {erased} that were erased since are left out");
    }
    if !types.is_empty() {
        said = format!("{said}; left out are all records of types that are no more: {}", types.join(", "));
    }
    Ok(Ended { said, backup: Some(id.to_string()) })
}

/// To a moment of what the store keeps.
async fn rewind(parts: &Parts, tenant: TenantId, to: UnixMs, reach: &Arc<Reach>) -> Result<Ended, Problem> {
    reach.phase("putting records back", 0);
    let keys = keys_of(parts, tenant)?;
    let done = parts.stored.histories.rewind(tenant, to, parts.clock.now(), keys.oldest()).await;
    let rewound = done.map_err(|error| failed(&error))?.map_err(|refused| {
        let said = match &refused {
            NotRewound::NotKept { since } => format!("what was before {} is not kept", rfc3339(*since)),
            other => other.to_string(),
        };
        let problem = Problem::new(Exit::Conflict, said);
        match refused {
            NotRewound::NotKept { .. } => problem.next("name a backup as well: --from NAME"),
            NotRewound::Epoch => problem.next("try again when keys status says that it is done"),
            _ => problem,
        }
    })?;
    let Rewound { changed, restored } = rewound;
    let said = format!("to {}: {restored} records put back, of {changed} that had changed since", rfc3339(to));
    Ok(Ended { said, backup: None })
}

/// Tells a job how far it is.
pub(super) fn watch(reach: &Arc<Reach>) -> impl FnMut(&str, u64, u64) -> Result<(), Problem> + Send + use<> {
    let reach = Arc::clone(reach);
    move |phase, done, total| {
        if reach.now().0 != phase {
            reach.phase(phase, total);
        }
        reach.reached(done);
        reach.go_on()
    }
}

/// How many records were what.
#[derive(Default)]
struct Put {
    back: u64,
    deleted: u64,
    same: u64,
    /// Left out, because they were erased since.
    erased: u64,
    /// Types that are no more, of which there were records.
    types: Vec<String>,
}

async fn put_back(
    parts: &Parts,
    tenant: TenantId,
    source: &mut dyn Moment,
    then: &Then,
    reach: &Arc<Reach>,
) -> Result<Put, Problem> {
    let epoch = keys_of(parts, tenant)?.newest();
    // From here on nobody else writes to the tenant.
    let mut new = parts.stored.moments.replacement(tenant).await.map_err(|error| failed(&error))?;
    let mut live = parts.stored.moments.moment(tenant).await.map_err(|error| failed(&error))?;
    // Of a type that is not among these, nothing would be left: one that came while others were waited for is.
    let types = Arc::clone(&parts.registry.facts().load().facts.types);
    // What is erased is a fact before anything of it goes, so whatever was erased while the backup was read is among these.
    let receipts = parts.registry.receipts();
    let (put, sealed, types_in_force) = (Put::default(), BTreeMap::new(), Arc::clone(&types));
    let mut making = Making { parts, tenant, types: types_in_force, then, receipts: &receipts, put, sealed };
    reach.phase("putting records back", 0);
    for (record_type, _) in types.iter() {
        let mut out = Out { new: &mut *new, record_type, rows: Vec::new(), past: Vec::new() };
        let mut live = Records::of(&mut *live, record_type);
        let mut from = Records::of(&mut *source, record_type);
        // The source has nothing of a type that came later, and doesn't know it.
        let is_known = then.types.record_type(record_type).is_some();
        let mut next = if is_known { from.next().await? } else { None };
        let mut here = live.next().await?;
        loop {
            let order = match (&here, &next) {
                (None, None) => break,
                (Some(_), None) => std::cmp::Ordering::Less,
                (None, Some(_)) => std::cmp::Ordering::Greater,
                (Some(here), Some(next)) => here.record.cmp(&next.record),
            };
            let one = if order.is_le() { here.take() } else { None };
            let was = if order.is_ge() { next.take() } else { None };
            making.record(&mut out, one, was).await?;
            reach.add(1);
            reach.go_on()?;
            if order.is_le() {
                here = live.next().await?;
            }
            if order.is_ge() {
                next = from.next().await?;
            }
        }
        out.flush().await?;
    }
    for (gone, of) in then.types.iter().filter(|(id, _)| types.record_type(*id).is_none()) {
        if Records::of(&mut *source, gone).next().await?.is_some_and(|whole| whole.now.is_some()) {
            making.put.types.push(of.name.to_string());
        }
    }
    known(&mut *live, &mut *new).await?;
    drop(live);
    let sealed = std::mem::take(&mut making.sealed);
    let put = making.put;
    let counts = sealed.into_iter().collect();
    new.charge(counts).await.map_err(|error| failed(&error))?.map_err(not_charged)?;
    // No rotation begins between this look and the end of it.
    let alone = parts.registry.unchanging().await;
    if keys_of(parts, tenant)?.newest() != epoch {
        return Err(Problem::new(Exit::Unavailable, "the tenant has got newer keys meanwhile").next("try again"));
    }
    new.commit().await.map_err(|error| failed(&error))?;
    drop(alone);
    Ok(put)
}

/// The tenant's keys, as they are now.
fn keys_of(parts: &Parts, tenant: TenantId) -> Result<KeySet, Problem> {
    let gone = || Problem::new(Exit::NotFound, "the tenant has no keys");
    let wrapped = parts.registry.wrapped_key(tenant).ok_or_else(gone)?;
    KeySet::decode(&wrapped).map_err(|error| Problem::failed(error.to_string()))
}

/// What is known of changes made once stays.
async fn known(live: &mut dyn Moment, new: &mut dyn Replacement) -> Result<(), Problem> {
    let mut after = None;
    loop {
        let page = live.known(UnixMs(0), after, PAGE).await.map_err(|error| failed(&error))?;
        let Some(last) = page.last() else { return Ok(()) };
        after = Some((last.at, last.id));
        new.known(page).await.map_err(|error| failed(&error))?;
    }
}

struct Making<'a> {
    parts: &'a Parts,
    tenant: TenantId,
    types: Arc<RecordTypes>,
    then: &'a Then,
    receipts: &'a Receipts,
    put: Put,
    /// How many cells were sealed under which key.
    sealed: BTreeMap<CellKey, u64>,
}

impl Making<'_> {
    /// What becomes of one record, that is here, in the source, or both.
    async fn record(&mut self, out: &mut Out<'_>, here: Option<Whole>, was: Option<Whole>) -> Result<(), Problem> {
        let record = here.as_ref().or(was.as_ref()).map(|whole| whole.record);
        let Some(record) = record else { return Ok(()) };
        let wanted = match (self.then.at, was.as_ref()) {
            (Some(at), Some(source)) => source.at(at),
            (None, Some(source)) => source.now.clone(),
            (_, None) => None,
        };
        let is_erased = self.receipts.is_record_erased(self.tenant, out.record_type, record);
        if is_erased {
            self.put.erased = self.put.erased.saturating_add(u64::from(wanted.is_some()));
            // Nor what it was: whoever erases it at this moment has perhaps removed that already.
            return Ok(());
        }
        let (now, past, newest) = match here {
            Some(here) => {
                let newest = here.newest();
                (here.now, here.past, newest)
            }
            None => (None, Vec::new(), 0),
        };
        let newest = newest.max(was.as_ref().map_or(0, Whole::newest));
        for one in past {
            out.past(one).await?;
        }
        let is_same = matches!((&now, &wanted), (Some(now), Some(wanted)) if now.version == wanted.version && now.at == wanted.at);
        if is_same {
            self.put.same = self.put.same.saturating_add(1);
            return out.row(now).await;
        }
        // A clock that was set back makes no record older than it was.
        let at = self.parts.clock.now().max(now.as_ref().map_or(UnixMs(0), |now| now.at));
        let is_gone = now.is_some() && wanted.is_none();
        if let Some(now) = now {
            out.past(PastRow { row: now, until: at }).await?;
        }
        if is_gone {
            self.put.deleted = self.put.deleted.saturating_add(1);
        }
        let Some(wanted) = wanted else { return Ok(()) };
        let row = CarriedRow { version: newest.saturating_add(1), at, ..wanted };
        let row = self.reseal(out.record_type, row).await?;
        self.put.back = self.put.back.saturating_add(1);
        out.row(Some(row)).await
    }

    async fn reseal(&mut self, record_type: TypeId, row: CarriedRow) -> Result<CarriedRow, Problem> {
        let (from, to) = (Arc::clone(&self.then.keys), self.parts.registry.tenant_keys());
        let (types, entropy, tenant) = (Arc::clone(&self.types), Arc::clone(&self.parts.entropy), self.tenant);
        let sealed = move || {
            let known = types.record_type(record_type).ok_or(ResealError::UnknownField)?;
            reseal::row((&*from, &*to), &*entropy, tenant, (record_type, known), row)
        };
        // A key management service may have to be asked, and that blocks.
        let row = tokio::task::block_in_place(sealed).map_err(|error| not_sealed(&error))?;
        for (field, cell) in &row.cells {
            let key = CellKey { record_type, field: *field, epoch: sealed_epoch(cell).unwrap_or_default() };
            let count = self.sealed.entry(key).or_default();
            *count = count.saturating_add(1);
        }
        Ok(row)
    }
}

/// What is put back is sealed at once, by one key of each field.
fn not_charged(rejected: Rejected) -> Problem {
    if rejected == Rejected::Limit {
        let said = "more values of one field are to be put back than one key may seal, however new it is";
        return Problem::new(Exit::Conflict, said).next("raise seals_max in keys.toml of the policies, then try again");
    }
    Problem::new(Exit::Unavailable, "a key of the tenant can't seal as much as is to be put back")
        .next("it is rotated by itself; try again in a while")
}

fn not_sealed(error: &ResealError) -> Problem {
    let exit = match error {
        ResealError::Superseded | ResealError::Store(StoreError::Unavailable(_)) => Exit::Unavailable,
        _ => Exit::Failed,
    };
    Problem::new(exit, format!("a record could not be put back: {error}"))
}

/// What goes to the store, in pages.
struct Out<'a> {
    new: &'a mut dyn Replacement,
    record_type: TypeId,
    rows: Vec<CarriedRow>,
    past: Vec<PastRow>,
}

impl Out<'_> {
    async fn row(&mut self, row: Option<CarriedRow>) -> Result<(), Problem> {
        self.rows.extend(row);
        if self.rows.len() >= PAGE {
            let page = std::mem::take(&mut self.rows);
            self.new.rows(self.record_type, page).await.map_err(|error| failed(&error))?;
        }
        Ok(())
    }

    async fn past(&mut self, past: PastRow) -> Result<(), Problem> {
        self.past.push(past);
        if self.past.len() >= PAGE {
            let page = std::mem::take(&mut self.past);
            self.new.past(self.record_type, page).await.map_err(|error| failed(&error))?;
        }
        Ok(())
    }

    async fn flush(&mut self) -> Result<(), Problem> {
        if !self.rows.is_empty() {
            let page = std::mem::take(&mut self.rows);
            self.new.rows(self.record_type, page).await.map_err(|error| failed(&error))?;
        }
        if !self.past.is_empty() {
            let page = std::mem::take(&mut self.past);
            self.new.past(self.record_type, page).await.map_err(|error| failed(&error))?;
        }
        Ok(())
    }
}
