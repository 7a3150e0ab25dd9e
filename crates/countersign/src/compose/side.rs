//! One of the two places that a deployment's data can be in, its folder or a database, without the services that work
//! with them: for carrying all of it to the other.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use countersign_audit::ledger::storage::Storage;
use countersign_authority::{Place, Registry};
use countersign_crypto::SystemEntropy;
use countersign_keys::budget::Budgets;
use countersign_model::clock::SystemClock;
use countersign_model::{Clock, Service};
use countersign_store::carry::{Moments, Noting, Reseals};
use countersign_store::{Histories, Store};

use super::database::Database;
use super::logs::FIRST;
use super::{Base, kms, measure};
use crate::config::Config;
use crate::deployment::Deployment;
use crate::problem::{Exit, Problem};

/// How long a database may take that has its tables made.
const PATIENCE: Duration = Duration::from_secs(15);

/// Records: as services use them, and as they are carried elsewhere and sealed again.
#[derive(Clone)]
pub(crate) struct Stored {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) carry: Arc<dyn Reseals>,
    pub(crate) histories: Arc<dyn Histories>,
    /// All of a tenant at one moment.
    pub(crate) moments: Arc<dyn Moments>,
}

impl Stored {
    pub(super) fn of<S: Store + Reseals + Histories + Moments + 'static>(store: S) -> Self {
        let store = Arc::new(store);
        let (histories, moments) = (Arc::clone(&store) as Arc<dyn Histories>, Arc::clone(&store) as Arc<dyn Moments>);
        Self { store: Arc::clone(&store) as Arc<dyn Store>, carry: store, histories, moments }
    }
}

/// Records of a deployment that is being served, whose changes can be noted.
#[derive(Clone)]
pub(crate) struct Moving {
    pub(crate) noting: Arc<Noting>,
    pub(crate) stored: Stored,
}

impl Moving {
    pub(super) fn of(stored: Stored) -> Self {
        Self { noting: Noting::new(Arc::clone(&stored.store)), stored }
    }

    /// The store for services to use.
    pub(super) fn store(&self) -> Arc<dyn Store> {
        Arc::clone(&self.noting) as Arc<dyn Store>
    }
}

/// All that a deployment has in one place. Each part is opened when it is asked for, and closed when it is dropped.
pub(crate) struct Side {
    base: Base,
}

impl Side {
    /// The place that a configuration names. A database has its tables afterwards.
    ///
    /// # Errors
    /// If the key management service or the database do not answer, or do not let this deployment in.
    pub(crate) async fn open(deployment: &Deployment, config: Config) -> Result<Self, Problem> {
        deployment.require_private()?;
        let kms = kms::open(deployment, &config)?;
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let database = Database::open(deployment, &config, &kms, &clock)?;
        if let Some(database) = &database {
            let slow = |_| Problem::new(Exit::Unavailable, "the database can't be reached");
            tokio::time::timeout(PATIENCE, database.migrate()).await.map_err(slow)??;
        }
        let base = Base {
            database,
            deployment: deployment.clone(),
            kms,
            watching: measure::watching(&config, &clock),
            started: clock.now(),
            clock,
            entropy: Arc::new(SystemEntropy),
            join_tokens: Vec::new(),
            remembered: None,
            sinks: None,
            on_standby: None,
            opened_budgets: OnceLock::new(),
            config,
        };
        Ok(Self { base })
    }

    /// Its configuration.
    pub(crate) const fn config(&self) -> &Config {
        &self.base.config
    }

    /// Whether it is a database.
    pub(crate) const fn is_database(&self) -> bool {
        self.base.database.is_some()
    }

    /// Whether ledgers are in the database.
    pub(crate) fn has_ledgers(&self) -> bool {
        self.base.ledger_database().is_some()
    }

    /// Records.
    pub(crate) fn stored(&self) -> Result<Stored, Problem> {
        self.base.stored()
    }

    /// Facts and keys, of which there must be some here.
    pub(crate) fn registry(&self) -> Result<Arc<Registry>, Problem> {
        self.base.registry()
    }

    /// Where facts and keys are, or will be.
    pub(crate) fn place(&self) -> Result<Place, Problem> {
        self.base.place()
    }

    /// What of the plaintext budgets is used.
    pub(crate) fn budgets(&self) -> Result<Arc<Budgets>, Problem> {
        self.base.budgets()
    }

    /// A service's ledger.
    pub(crate) fn ledger(&self, service: Service) -> Result<Arc<dyn Storage>, Problem> {
        self.base.storage(service, FIRST)
    }

    /// The time.
    pub(crate) fn clock(&self) -> &dyn Clock {
        &*self.base.clock
    }
}
