//! The key management services that the configuration names, and looking after them while the process serves.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use countersign_crypto::SystemEntropy;
use countersign_keys::{
    Down, FileKms, KmsError, KmsHealth, KmsProvider, KmsSet, Outage, PassphraseFault, PassphraseKms, PinSource,
    Pkcs11Config, Pkcs11Kms, TenantKeys,
};
use countersign_model::clock::SystemClock;
use countersign_model::{Clock, Name};
use serde::{Deserialize, Serialize};
use tokio::task::JoinHandle;
use zeroize::Zeroizing;

use crate::config::{Config, OwnKeys, Provider, Text};
use crate::deployment::Deployment;
use crate::environment;
use crate::problem::{Exit, Problem};
use crate::terminal::ask_secret;

/// How often the operator's log and `kms status` learn of a change.
const WATCH_EVERY: Duration = Duration::from_millis(250);

/// One provider as the configuration describes it.
pub(crate) struct Described<'a> {
    deployment: &'a Deployment,
    name: Option<&'a Name>,
    provider: Provider,
    module: &'a Text,
    token: &'a Text,
    key: &'a Text,
    pin_file: &'a Text,
    makes_own: bool,
}

/// All providers of the configuration, the deployment's own first.
pub(crate) fn described<'a>(
    deployment: &'a Deployment,
    config: &'a Config,
) -> impl Iterator<Item = Described<'a>> + use<'a> {
    let keys = &config.keys;
    let is_alone = config.services.run.is_all() && config.postgres.address.get().is_none();
    let makes_own = is_alone || keys.own_keys == OwnKeys::Always;
    let own = Described {
        deployment,
        name: None,
        provider: keys.provider,
        module: &keys.module,
        token: &keys.token,
        key: &keys.key,
        pin_file: &keys.pin_file,
        makes_own,
    };
    let named = config.kms.iter().map(move |(name, kms)| Described {
        deployment,
        name: Some(name),
        provider: kms.provider,
        module: &kms.module,
        token: &kms.token,
        key: &kms.key,
        pin_file: &kms.pin_file,
        makes_own,
    });
    std::iter::once(own).chain(named)
}

/// The provider of that name; the deployment's own for `None`.
///
/// # Errors
/// If none of that name is configured.
pub(crate) fn one<'a>(
    deployment: &'a Deployment,
    config: &'a Config,
    name: Option<&Name>,
) -> Result<Described<'a>, Problem> {
    described(deployment, config).find(|one| one.name == name).ok_or_else(|| {
        let name = name.map(ToString::to_string).unwrap_or_default();
        Problem::new(Exit::NotFound, format!("no key management service {name} is configured"))
            .next(format!("add a section [kms.{name}] to {}", deployment.config().display()))
    })
}

/// Opens every provider. The deployment's own has to answer; the others may come later.
///
/// # Errors
/// If the deployment's own can't be used, with what to do about it.
pub(crate) fn open(deployment: &Deployment, config: &Config) -> Result<KmsSet, Problem> {
    let mut all = described(deployment, config);
    let own = all.next().map(|own| own.open()).ok_or_else(|| Problem::failed("no key management service"))??;
    let named = all.map(|one| Ok((one.name.cloned(), one.open()?))).collect::<Result<Vec<_>, Problem>>()?;
    Ok(KmsSet::new(own, named.into_iter().filter_map(|(name, kms)| Some((name?, kms))).collect()))
}

impl Described<'_> {
    /// How it is, asked now.
    pub(crate) fn status(&self) -> ProviderStatus {
        let asked = self.open().and_then(|kms| kms.probe().map_err(|error| self.problem(&error)));
        ProviderStatus {
            name: self.name.cloned(),
            kind: self.provider.as_str().to_owned(),
            down: asked.err().map(|problem| (SystemClock.now().0, problem.message().to_owned())),
        }
    }

    /// Its kind.
    pub(crate) const fn provider(&self) -> Provider {
        self.provider
    }

    fn path(&self) -> PathBuf {
        let path = self.deployment.kms_key();
        self.name.map_or(path.clone(), |name| path.with_file_name(format!("kms-{name}.key")))
    }

    /// Where secrets that are not stored come from: the variable of that name.
    fn variable(&self, what: &str) -> String {
        let suffix = self.name.map(|name| format!("_{}", name.as_str().to_ascii_uppercase().replace('-', "_")));
        format!("COUNTERSIGN_{what}{}", suffix.unwrap_or_default())
    }

    /// The provider, ready to be asked.
    pub(crate) fn open(&self) -> Result<Arc<dyn KmsProvider>, Problem> {
        Ok(match self.provider {
            Provider::File => {
                let opened = FileKms::open(&self.path()).map_err(|error| self.problem(&error))?;
                Arc::new(if self.makes_own { opened } else { opened.without_new_own_keys() })
            }
            Provider::Passphrase => {
                let opened = self.open_passphrase()?;
                Arc::new(if self.makes_own { opened } else { opened.without_new_own_keys() })
            }
            Provider::Pkcs11 => {
                let config = self.pkcs11()?;
                let opened = match self.name {
                    None => Pkcs11Kms::open(config, Arc::new(SystemClock)).map_err(|error| self.problem(&error))?,
                    // A subscriber's token that is not there stops that subscriber alone.
                    Some(_) => Pkcs11Kms::new(config, Arc::new(SystemClock)),
                };
                Arc::new(opened)
            }
        })
    }

    pub(crate) fn open_passphrase(&self) -> Result<PassphraseKms, Problem> {
        PassphraseKms::open(&self.path(), &self.passphrase()?).map_err(|error| self.problem(&error))
    }

    /// Makes its first key. A key of a PKCS#11 token that is there already is used as it is.
    pub(crate) fn create(&self) -> Result<Arc<dyn KmsProvider>, Problem> {
        let made = match self.provider {
            Provider::File => {
                let made = FileKms::create(&self.path(), &SystemEntropy);
                let made = made.map(|kms| if self.makes_own { kms } else { kms.without_new_own_keys() });
                made.map(|kms| Arc::new(kms) as Arc<dyn KmsProvider>)
            }
            Provider::Passphrase => {
                let made = PassphraseKms::create(&self.path(), &self.new_passphrase("PASSPHRASE")?, &SystemEntropy);
                let made = made.map(|kms| if self.makes_own { kms } else { kms.without_new_own_keys() });
                made.map(|kms| Arc::new(kms) as Arc<dyn KmsProvider>)
            }
            Provider::Pkcs11 => match Pkcs11Kms::create(self.pkcs11()?, Arc::new(SystemClock)) {
                Err(KmsError::Unavailable(Outage::KeyExists { .. })) => return self.open(),
                made => made.map(|kms| Arc::new(kms) as Arc<dyn KmsProvider>),
            },
        };
        made.map_err(|error| self.problem(&error).during("can't make the key encryption key"))
    }

    /// A passphrase that is chosen now: asked for twice.
    pub(crate) fn new_passphrase(&self, what: &str) -> Result<Zeroizing<String>, Problem> {
        if let Some(given) = environment::text(&self.variable(what)) {
            return Ok(Zeroizing::new(given));
        }
        let first = ask_secret("a new passphrase for the key encryption key: ").map_err(|error| self.unasked(error))?;
        let again = ask_secret("the same again: ")?;
        if first == again { Ok(first) } else { Err(Problem::input("these are two different passphrases")) }
    }

    fn passphrase(&self) -> Result<Zeroizing<String>, Problem> {
        if let Some(given) = environment::text(&self.variable("PASSPHRASE")) {
            return Ok(Zeroizing::new(given));
        }
        ask_secret(&format!("passphrase of {}: ", self.path().display())).map_err(|error| self.unasked(error))
    }

    fn unasked(&self, error: Problem) -> Problem {
        error.next(format!("start it from a terminal, or set {}", self.variable("PASSPHRASE")))
    }

    fn pkcs11(&self) -> Result<Pkcs11Config, Problem> {
        let section = self.name.map_or("[keys]".to_owned(), |name| format!("[kms.{name}]"));
        let needed = |text: &Text, key: &str| {
            let missing = || {
                Problem::usage(format!("{section} has provider = \"pkcs11\" and no {key}"))
                    .next(format!("set {key} in {section} of {}", self.deployment.config().display()))
            };
            text.get().map(str::to_owned).ok_or_else(missing)
        };
        let pin = match (self.pin_file.get(), environment::text(&self.variable("PIN"))) {
            (Some(path), _) => PinSource::File(PathBuf::from(path)),
            (None, Some(pin)) => PinSource::Given(Zeroizing::new(pin)),
            (None, None) => {
                return Err(Problem::usage(format!("there is no PIN for the token of {section}"))
                    .next(format!("set pin_file in {section}, or {}", self.variable("PIN"))));
            }
        };
        let (module, token) = (needed(self.module, "module")?, needed(self.token, "token")?);
        Ok(Pkcs11Config { module: PathBuf::from(module), token, pin, key: needed(self.key, "key")? })
    }

    /// What is wrong, for the operator.
    pub(crate) fn problem(&self, error: &KmsError) -> Problem {
        let text = error.to_string();
        match error {
            KmsError::Unavailable(_) => Problem::new(Exit::Unavailable, text),
            KmsError::Passphrase { fault: PassphraseFault::Wrong, .. } => Problem::new(Exit::Refused, text),
            KmsError::Passphrase { fault: PassphraseFault::Short, .. } => Problem::input(text),
            _ if self.path().exists() => Problem::failed(text),
            _ => Problem::failed(text).next(match self.name {
                None => "restore kms.key from its copy; nothing can be opened without it".to_owned(),
                Some(name) => format!("make it with: countersign kms create {name}; or restore it from its copy"),
            }),
        }
    }
}

/// How the key management services are, as the process that serves writes it down in DIR/run/kms.json.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Status {
    pub(crate) providers: Vec<ProviderStatus>,
    pub(crate) tenants_open: usize,
}

/// How one is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ProviderStatus {
    pub(crate) name: Option<Name>,
    pub(crate) kind: String,
    /// Since when it doesn't answer, and why.
    pub(crate) down: Option<(u64, String)>,
}

impl From<KmsHealth> for Status {
    fn from(health: KmsHealth) -> Self {
        let one = |provider: countersign_keys::ProviderHealth| ProviderStatus {
            name: provider.name,
            kind: provider.kind.to_owned(),
            down: provider.down.map(|Down { since, why }| (since.0, why)),
        };
        Self { providers: health.providers.into_iter().map(one).collect(), tenants_open: health.tenants_open }
    }
}

impl Status {
    /// Logs what is another than it was: once for each change, whoever met it first.
    fn log_changes(&self, before: &Self) {
        for (now, before) in self.providers.iter().zip(&before.providers) {
            let name = now.name.as_ref().map_or("default", Name::as_str);
            match (&before.down, &now.down) {
                (None, Some((_, why))) => {
                    tracing::error!(kms = name, kind = %now.kind, %why, "a key management service is not available");
                }
                (Some((_, old)), Some((_, why))) if old != why => {
                    tracing::error!(kms = name, kind = %now.kind, %why, "a key management service is not available still");
                }
                (Some(_), None) => tracing::info!(kms = name, kind = %now.kind, "a key management service is back"),
                _ => {}
            }
        }
    }
}

/// Looks after open keys and the services that wrap them for as long as the process serves.
pub(super) fn look_after(keys: &Arc<TenantKeys>, deployment: &Deployment) -> [JoinHandle<()>; 2] {
    let tended = Arc::clone(keys);
    let tending = tokio::spawn(async move {
        loop {
            let keys = Arc::clone(&tended);
            drop(tokio::task::spawn_blocking(move || keys.tend()).await);
            tokio::time::sleep(Duration::from_millis(tended.tend_every_ms())).await;
        }
    });
    let (keys, path) = (Arc::clone(keys), deployment.kms_json());
    let watching = tokio::spawn(async move {
        let mut before: Option<Status> = None;
        loop {
            let now = Status::from(keys.health());
            let well = || Status {
                providers: now.providers.iter().map(|one| ProviderStatus { down: None, ..one.clone() }).collect(),
                tenants_open: 0,
            };
            if before.as_ref() != Some(&now) {
                now.log_changes(&before.unwrap_or_else(well));
                write(&path, &now);
                before = Some(now);
            }
            tokio::time::sleep(WATCH_EVERY).await;
        }
    });
    [tending, watching]
}

/// It is for looking at, so that it can't be written is nobody's harm.
fn write(path: &std::path::Path, status: &Status) {
    let beside = path.with_extension("json.tmp");
    let text = serde_json::to_vec(status).unwrap_or_default();
    drop(std::fs::write(&beside, text).and_then(|()| std::fs::rename(&beside, path)));
}
