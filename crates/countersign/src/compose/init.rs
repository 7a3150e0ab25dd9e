//! Making deployments.

use countersign_authority::Registry;
use countersign_crypto::SystemEntropy;
use countersign_crypto::ssh::PrivateKey;
use countersign_keys::KmsSet;

use super::{kms, registry_parts};
use crate::config::Config;
use crate::deployment::{Deployment, new_file};
use crate::login::{Login, operator};
use crate::problem::{Exit, Problem, io};

/// Makes a deployment: its key, its authority with the operator, its configuration. Overwrites nothing.
///
/// # Errors
/// If there is one already, or a file can't be made.
pub fn init(deployment: &Deployment, config: &Config) -> Result<(), Problem> {
    refuse_a_second(deployment)?;
    deployment.make_folders()?;
    let key = make_key(deployment, &operator()?)?;
    let public = countersign_crypto::ssh::PublicKey::parse(&key).map_err(|error| Problem::failed(error.to_string()))?;
    let kms = make_kms(deployment, config)?;
    let registry = Registry::create(registry_parts(deployment, config, kms), &public)
        .map_err(|error| Problem::failed(format!("can't make the control database: {error}")))?;
    new_file(&deployment.ca_pem(), registry.ca_pem().as_bytes(), false)?;
    // Last, because it is what makes the folder a deployment.
    new_file(&deployment.config(), config.to_text().as_bytes(), false)
}

/// Makes the folder of services whose authority is elsewhere: a key of their own and their configuration.
///
/// # Errors
/// As [`init`].
pub fn init_apart(deployment: &Deployment, config: &Config) -> Result<(), Problem> {
    refuse_a_second(deployment)?;
    deployment.make_folders()?;
    make_kms(deployment, config)?;
    new_file(&deployment.config(), config.to_text().as_bytes(), false)
}

fn refuse_a_second(deployment: &Deployment) -> Result<(), Problem> {
    if !deployment.exists() {
        return Ok(());
    }
    let dir = deployment.dir().display();
    Err(Problem::new(Exit::Conflict, format!("there is a deployment in {dir} already"))
        .next(format!("serve it with: countersign serve {dir}")))
}

fn make_kms(deployment: &Deployment, config: &Config) -> Result<KmsSet, Problem> {
    let own = kms::one(deployment, config, None)?.create().map_err(|problem| {
        problem.or_next(
            "if an init that was broken off left a key, and nothing is stored here, remove the folder and begin anew",
        )
    })?;
    Ok(KmsSet::from(own))
}

/// The public half of the SSH key in DIR/keys of that user. Makes the key if there is none.
///
/// # Errors
/// If it can't be made or read.
pub fn make_key(deployment: &Deployment, login: &Login) -> Result<String, Problem> {
    let path = deployment.ssh_key(&login.to_string());
    let failed = |error: &dyn std::fmt::Display| Problem::failed(format!("the SSH key {}: {error}", path.display()));
    let key = if path.exists() {
        let text = std::fs::read_to_string(&path).map_err(io("read", &path))?;
        PrivateKey::read(&text, None).map_err(|error| failed(&error))?
    } else {
        let key = PrivateKey::generate_ed25519(&SystemEntropy, &login.to_string()).map_err(|error| failed(&error))?;
        new_file(&path, key.write().map_err(|error| failed(&error))?.as_bytes(), true)?;
        key
    };
    let public = key.public().map_err(|error| failed(&error))?.to_line();
    let beside = path.with_file_name(format!("{login}.pub"));
    if !beside.exists() {
        new_file(&beside, format!("{public}\n").as_bytes(), false)?;
    }
    Ok(public)
}
