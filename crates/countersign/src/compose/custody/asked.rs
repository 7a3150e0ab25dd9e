//! Who asks an object store for a repository, and how.

use std::path::Path;
use std::time::Duration;

use countersign_backup::{Place, S3};
use zeroize::Zeroizing;

use super::repository::problem;
use crate::environment;
use crate::problem::{Problem, io};

/// How long an object store's answer is waited for: whoever erases something waits for it too.
const PATIENCE: Duration = Duration::from_secs(30);

/// Who asks an object store.
pub(super) struct Asked<'a> {
    pub(super) url: &'a str,
    pub(super) endpoint: Option<&'a str>,
    pub(super) region: &'a str,
    pub(super) credentials_file: Option<&'a Path>,
    /// What the names of the variables end with.
    pub(super) suffix: String,
}

impl Asked<'_> {
    pub(super) fn place(&self) -> Result<Place, Problem> {
        let wrong = || Problem::usage(format!("{}: expected s3://BUCKET or s3://BUCKET/PREFIX", self.url));
        let (bucket, prefix) = S3::parse(self.url).ok_or_else(wrong)?;
        let (key_id, secret) = self.credentials()?;
        let store = S3 {
            bucket,
            prefix,
            endpoint: self.endpoint.map(str::to_owned),
            region: self.region.to_owned(),
            key_id,
            secret,
            ca_pem: None,
            patience: PATIENCE,
        };
        store.place().map_err(|error| problem(&error))
    }

    fn credentials(&self) -> Result<(String, Zeroizing<String>), Problem> {
        if let Some(path) = self.credentials_file {
            use std::os::unix::fs::PermissionsExt as _;
            let mode = std::fs::metadata(path).map_err(io("read", path))?.permissions().mode() & 0o777;
            if mode & 0o077 != 0 {
                return Err(Problem::failed(format!(
                    "{} has mode {mode:o}: others than its owner can read it",
                    path.display()
                ))
                .next(format!("chmod 600 {}", path.display())));
            }
            let text = Zeroizing::new(std::fs::read_to_string(path).map_err(io("read", path))?);
            let mut lines = text.lines().map(str::trim);
            return match (lines.next(), lines.next()) {
                (Some(id), Some(secret)) if !id.is_empty() && !secret.is_empty() => {
                    Ok((id.to_owned(), Zeroizing::new(secret.to_owned())))
                }
                _ => Err(Problem::usage(format!(
                    "{}: expected the key's id and its secret, a line each",
                    path.display()
                ))),
            };
        }
        let variable = |what: &str| format!("COUNTERSIGN_S3_{what}{}", self.suffix);
        match (environment::text(&variable("KEY")), environment::text(&variable("SECRET"))) {
            (Some(id), Some(secret)) => Ok((id, Zeroizing::new(secret))),
            _ => Err(Problem::usage("there are no credentials for the object store").next(format!(
                "name a file of them, or set {} and {}",
                variable("KEY"),
                variable("SECRET")
            ))),
        }
    }
}
