//! All services of a deployment as one of them sees them: those of its own process, and those elsewhere.

use std::collections::HashMap;
use std::sync::Arc;

use countersign_facts::Directory;
use countersign_model::Service;
use countersign_services::{Log, LogName, Logs, Report, Statuses, Trail, Trails};
use countersign_wire::{Channel, RemoteLog, RemoteReport, RemoteTrail};
use parking_lot::Mutex;

use super::remote::Caller;

/// A service of this process, as the others ask it.
#[derive(Clone)]
pub(super) struct Here {
    /// Its name, which stays: `store/a`.
    pub(super) name: String,
    pub(super) trail: Arc<dyn Trail>,
    pub(super) log: Arc<dyn Log>,
    pub(super) report: Arc<dyn Report>,
}

/// The services of this process and those in the directory.
pub(super) struct Fellows {
    here: Vec<Here>,
    caller: Caller,
    /// Where the authority is, if it is elsewhere: the directory does not name it.
    authority: Option<String>,
    elsewhere: Mutex<HashMap<String, Elsewhere>>,
}

/// The way to a service elsewhere, as long as it is there.
#[derive(Clone)]
struct Elsewhere {
    address: String,
    there: There,
}

/// A service elsewhere: by which name, in which role, and the ways to what it has.
#[derive(Clone)]
pub(super) struct There {
    /// Its name, which stays: `store/a`.
    pub(super) name: String,
    pub(super) service: Service,
    pub(super) trail: Arc<RemoteTrail>,
    pub(super) log: Arc<RemoteLog>,
    pub(super) report: Arc<RemoteReport>,
}

impl There {
    fn by(name: String, service: Service, channel: Channel) -> Self {
        let (trail, log) = (RemoteTrail::new(channel.clone()), RemoteLog::new(channel.clone()));
        let report = RemoteReport::new(channel);
        Self { name, service, trail: Arc::new(trail), log: Arc::new(log), report: Arc::new(report) }
    }
}

/// The authority's name where it is elsewhere: there is one.
const AUTHORITY: &str = "authority/first";

impl Fellows {
    /// As the service with this `caller` sees them; `authority` is where the authority is, if that is elsewhere.
    pub(super) fn new(here: Vec<Here>, caller: Caller, authority: Option<&str>) -> Self {
        Self { here, caller, authority: authority.map(str::to_owned), elsewhere: Mutex::default() }
    }

    /// Those elsewhere.
    pub(super) fn elsewhere(&self) -> Vec<There> {
        let directory = Arc::clone(&self.caller.directory.borrow());
        let mut known = self.elsewhere.lock();
        let is_authority = |id: &str| id == AUTHORITY && self.authority.is_some();
        known.retain(|id, _| is_authority(id) || directory.services.iter().any(|entry| entry.id == *id));
        let mut all: Vec<_> = self.others(&directory, &mut known).collect();
        if let Some(address) = &self.authority {
            all.extend(way(&mut known, AUTHORITY, address, || {
                let channel = self.caller.to_authority(address).ok()?;
                Some(There::by(AUTHORITY.to_owned(), Service::Authority, channel))
            }));
        }
        all
    }

    fn others<'a>(
        &'a self,
        directory: &'a Directory,
        known: &'a mut HashMap<String, Elsewhere>,
    ) -> impl Iterator<Item = There> + 'a {
        let elsewhere = directory.services.iter().map(|entry| (entry, short(&entry.id)));
        let elsewhere = elsewhere.filter(|(_, name)| !self.here.iter().any(|here| here.name == *name));
        elsewhere.filter_map(|(entry, name)| {
            way(known, &entry.id, &entry.address, || {
                let channel = self.caller.to_one(&entry.id, &entry.address).ok()?;
                Some(There::by(name, entry.service, channel))
            })
        })
    }

    fn every<T: ?Sized>(
        &self,
        here: impl Fn(&Here) -> Arc<T>,
        there: impl Fn(There) -> (String, Arc<T>),
    ) -> Vec<(String, Arc<T>)> {
        let elsewhere = self.elsewhere().into_iter().map(there);
        self.here.iter().map(|one| (one.name.clone(), here(one))).chain(elsewhere).collect()
    }
}

/// The way to a service that is known to be at an address, or a new one.
fn way(
    known: &mut HashMap<String, Elsewhere>,
    id: &str,
    address: &str,
    new: impl FnOnce() -> Option<There>,
) -> Option<There> {
    if let Some(one) = known.get(id).filter(|one| one.address == address) {
        return Some(one.there.clone());
    }
    let there = new()?;
    known.insert(id.to_owned(), Elsewhere { address: address.to_owned(), there: there.clone() });
    Some(there)
}

impl Trails for Fellows {
    fn all(&self) -> Vec<(String, Arc<dyn Trail>)> {
        self.every(|one| Arc::clone(&one.trail), |there| (there.name, there.trail as Arc<dyn Trail>))
    }
}

impl Logs for Fellows {
    fn all(&self) -> Vec<(LogName, Arc<dyn Log>)> {
        let all = self.every(|one| Arc::clone(&one.log), |there| (there.name, there.log as Arc<dyn Log>));
        all.into_iter().map(|(name, log)| (LogName(name), log)).collect()
    }
}

impl Statuses for Fellows {
    fn all(&self) -> Vec<(String, Arc<dyn Report>)> {
        self.every(|one| Arc::clone(&one.report), |there| (there.name, there.report as Arc<dyn Report>))
    }
}

/// A service's name without the deployment's: `store/a` of `spiffe://countersign/store/a`.
pub(super) fn short(id: &str) -> String {
    let path = id.strip_prefix("spiffe://").and_then(|rest| rest.split_once('/'));
    path.map_or_else(|| id.to_owned(), |(_, path)| path.to_owned())
}
