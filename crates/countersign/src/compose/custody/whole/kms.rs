//! The key management service of a deployment that is restored: what its operators have kept of it comes into the folder.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use crate::config::{Config, Provider, Text};
use crate::deployment::{Deployment, private_folder};
use crate::problem::{Problem, io};

/// Where it is, as `init` is told.
pub(crate) struct Kms {
    pub(crate) provider: Provider,
    /// The folder with the copy of the key, for providers that keep it in files.
    pub(crate) folder: Option<PathBuf>,
    pub(crate) module: Option<PathBuf>,
    pub(crate) token: Option<String>,
    pub(crate) key: String,
    pub(crate) pin_file: Option<PathBuf>,
}

impl Kms {
    /// Copies files of keys into the folder.
    ///
    /// # Errors
    /// If there are none.
    pub(super) fn copy(&self, deployment: &Deployment) -> Result<(), Problem> {
        let Some(folder) = &self.folder else {
            if self.provider == Provider::Pkcs11 {
                return Ok(());
            }
            return Err(Problem::usage("nothing says where the key is that wrapped every other")
                .next("name the folder with the copy of kms.key: --kms-from DIR"));
        };
        let mut found = false;
        for entry in fs::read_dir(folder).map_err(io("read", folder))? {
            let path = entry.map_err(io("read", folder))?.path();
            let Some(name) = path.file_name().and_then(|name| name.to_str()) else { continue };
            let is_key = name == "kms.key" || name.starts_with("kms.key.");
            let is_others = name.starts_with("kms-") && name.contains(".key");
            let is_own = path.is_dir() && name.starts_with("kms") && name.ends_with(".own");
            if is_key || is_others || is_own {
                copy(&path, &deployment.dir().join(name))?;
                found |= is_key;
            }
        }
        if found || self.provider == Provider::Pkcs11 {
            return Ok(());
        }
        Err(Problem::usage(format!("there is no kms.key in {}", folder.display()))
            .next("name the folder with the copy of kms.key: --kms-from DIR"))
    }

    /// A configuration that names it.
    ///
    /// # Errors
    /// If a path is not UTF-8.
    pub(super) fn configure(&self, config: &mut Config) -> Result<(), Problem> {
        let path = |path: &Option<PathBuf>| match path {
            Some(path) => {
                let absolute = std::path::absolute(path).map_err(io("find", path))?;
                let text = absolute.to_str().ok_or_else(|| Problem::usage("a path in the configuration is UTF-8"))?;
                Ok(Text::of(text))
            }
            None => Ok::<_, Problem>(Text::empty()),
        };
        config.keys.provider = self.provider;
        if self.provider == Provider::Pkcs11 {
            config.keys.module = path(&self.module)?;
            config.keys.token = Text::of(self.token.clone().unwrap_or_default());
            config.keys.key = Text::of(&self.key);
            config.keys.pin_file = path(&self.pin_file)?;
        }
        Ok(())
    }
}

fn copy(from: &Path, to: &Path) -> Result<(), Problem> {
    if from.is_dir() {
        private_folder(to)?;
        for entry in fs::read_dir(from).map_err(io("read", from))? {
            let entry = entry.map_err(io("read", from))?;
            copy(&entry.path(), &to.join(entry.file_name()))?;
        }
        return Ok(());
    }
    fs::copy(from, to).map_err(io("copy", from))?;
    fs::set_permissions(to, fs::Permissions::from_mode(0o600)).map_err(io("write", to))
}
