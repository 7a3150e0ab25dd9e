//! Where the ledgers are that are verified: in folders, or in the deployment's database.

use std::path::Path;
use std::sync::Arc;

use countersign_audit::ledger::storage::{Folder, Storage};
use countersign_audit::postgres::PostgresStorage;
use countersign_audit::verify;
use countersign_crypto::tls::CertificateSlot;
use countersign_model::Service;
use countersign_postgres::{Blocking, Identity, Settings, role_of};

use crate::cli::postgres;
use crate::compose::{self, database};
use crate::config::Config;
use crate::deployment::Deployment;
use crate::problem::{Problem, io};

/// A service's name where it is the only one of its role.
const FIRST: &str = "/first";

/// A ledger that can be read.
pub(super) struct Place {
    /// The service, and its instance if there are several.
    pub(super) name: String,
    pub(super) storage: Arc<dyn Storage>,
}

impl Place {
    /// The service that it is of, if its name says so.
    pub(super) fn is_of(&self, service: Service) -> bool {
        self.name.split('/').next() == Some(service.as_str())
    }
}

/// The ledgers of a deployment, in its database if that is where they are, or else those under a folder.
pub(super) fn find(dir: &Path) -> Result<Vec<Place>, Problem> {
    if let Some((deployment, config)) = of_database(dir) {
        let settings = database::settings(&deployment, &config)?;
        if let Some(settings) = settings {
            return in_database(&deployment, &config, &Settings { connections: 1, ..settings });
        }
    }
    let place = |folder: std::path::PathBuf| {
        let name = folder.file_name().unwrap_or(folder.as_os_str()).to_string_lossy().into_owned();
        let storage = Folder::look(&folder).map_err(io("read", &folder))?;
        Ok(Place { name, storage: Arc::new(storage) })
    };
    verify::ledgers_under(dir).map_err(io("read", dir))?.into_iter().map(place).collect()
}

/// The deployment in this folder, if its ledgers are in a database.
fn of_database(dir: &Path) -> Option<(Deployment, Config)> {
    let deployment = Deployment::at(dir);
    let config = compose::config(&deployment).ok()?;
    (config.postgres.address.get().is_some() && config.postgres.ledger).then_some((deployment, config))
}

fn in_database(deployment: &Deployment, config: &Config, settings: &Settings) -> Result<Vec<Place>, Problem> {
    let mut places = Vec::new();
    for (service, slot) in identities(deployment, config)? {
        let failed = |error| database::problem(&error).during(&format!("the audit log of {service}"));
        let identity = Identity { role: role_of(service), slot };
        let connections = Blocking::start(settings.clone(), identity).map_err(failed)?;
        for ledger in PostgresStorage::ledgers(&connections).map_err(failed)? {
            let storage = PostgresStorage::look(Arc::clone(&connections), &ledger).map_err(failed)?;
            let name = ledger.strip_suffix(FIRST).unwrap_or(&ledger).to_owned();
            places.push(Place { name, storage: Arc::new(storage) });
        }
    }
    Ok(places)
}

/// As whom ledgers can be read from here: as every service where the authority is, or else as the services of this folder.
fn identities(deployment: &Deployment, config: &Config) -> Result<Vec<(Service, Arc<CertificateSlot>)>, Problem> {
    if !config.services.run.has(Service::Authority) {
        return postgres::slots(deployment, config);
    }
    let authority = database::Certificates::open(deployment, config)?;
    let slot = |service| {
        let slot = CertificateSlot::new(&authority.service(service)?);
        Ok((service, slot.map_err(|_| Problem::failed("a certificate can't be used"))?))
    };
    Service::ALL.into_iter().map(slot).collect()
}
