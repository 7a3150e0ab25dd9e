//! Object stores that speak S3.

use std::sync::Arc;
use std::time::Duration;

use object_store::ObjectStore;
use object_store::aws::AmazonS3Builder;
use object_store::client::{Certificate, ClientOptions};
use object_store::prefix::PrefixStore;
use object_store::{BackoffConfig, RetryConfig};
use zeroize::Zeroizing;

use crate::error::{BackupError, Unreachable};
use crate::manifest::STORED_MAX;
use crate::place::{Place, fault, time_of};

/// A place in an object store, and who is asking. Nothing is taken from the environment or from the machine's metadata.
#[derive(Clone)]
pub struct S3 {
    /// The bucket.
    pub bucket: String,
    /// What all names begin with; empty for none.
    pub prefix: String,
    /// The store's address, such as `https://s3.example:9000`; `None` for the one of the cloud that made the protocol. One
    /// without encryption is taken on this machine only.
    pub endpoint: Option<String>,
    /// Its region.
    pub region: String,
    /// The id of the access key.
    pub key_id: String,
    /// Its secret.
    pub secret: Zeroizing<String>,
    /// Certificate authorities to trust besides the system's, in PEM.
    pub ca_pem: Option<Vec<u8>>,
    /// How long to wait for an answer, and to try again what was not answered; what is large gets the time besides that it
    /// takes on a slow line. Default 2 minutes.
    pub patience: Duration,
}

impl S3 {
    /// The usual [`Self::patience`].
    pub const PATIENCE: Duration = Duration::from_secs(120);

    /// Bucket and prefix of `s3://BUCKET[/PREFIX]`.
    #[must_use]
    pub fn parse(url: &str) -> Option<(String, String)> {
        let rest = url.strip_prefix("s3://")?;
        let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        let prefix = prefix.trim_matches('/');
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b".-_/".contains(&byte);
        let is_good =
            !bucket.is_empty() && bucket.bytes().chain(prefix.bytes()).all(is_plain) && !prefix.contains("//");
        (is_good && !prefix.split('/').any(|part| part == "." || part == ".."))
            .then(|| (bucket.to_owned(), prefix.to_owned()))
    }

    /// The place. Nothing is asked of it yet.
    ///
    /// # Errors
    /// [`Unreachable::Settings`].
    pub fn place(&self) -> Result<Place, BackupError> {
        let patience = self.patience.max(Duration::from_secs(1));
        let large = patience.saturating_add(time_of(STORED_MAX as u64));
        Ok(Place::remote(self.store(patience)?, self.store(large)?, patience))
    }

    /// As it is asked, with this much time for a request and its answer.
    fn store(&self, timeout: Duration) -> Result<Arc<dyn ObjectStore>, BackupError> {
        let wrong = BackupError::Unreachable(Unreachable::Settings);
        let mut client =
            ClientOptions::new().with_timeout(timeout).with_connect_timeout(Duration::from_secs(10).min(self.patience));
        let mut plain = false;
        if let Some(endpoint) = &self.endpoint {
            plain = is_plain(endpoint).ok_or_else(|| wrong.clone())?;
        }
        client = client.with_allow_http(plain);
        if let Some(pem) = &self.ca_pem {
            for certificate in Certificate::from_pem_bundle(pem).map_err(|_| wrong.clone())? {
                client = client.with_root_certificate(certificate);
            }
        }
        let retry = RetryConfig {
            backoff: BackoffConfig {
                init_backoff: Duration::from_millis(100),
                max_backoff: Duration::from_secs(10).min(self.patience),
                base: 2.0,
            },
            // Time ends it, not a count: pauses are drawn, and twenty of them may be over within seconds.
            max_retries: usize::MAX,
            retry_timeout: self.patience,
        };
        let mut builder = AmazonS3Builder::new()
            .with_bucket_name(&self.bucket)
            .with_region(&self.region)
            .with_access_key_id(&self.key_id)
            .with_secret_access_key(self.secret.as_str())
            .with_client_options(client)
            .with_allow_http(plain)
            // One at a time: what answers a removal of many at once differs from store to store.
            .with_disable_bulk_delete(true)
            .with_retry(retry);
        if let Some(endpoint) = &self.endpoint {
            builder = builder.with_endpoint(endpoint);
        }
        let store = builder.build().map_err(|error| BackupError::from(fault(&error)))?;
        if self.prefix.is_empty() {
            return Ok(Arc::new(store));
        }
        Ok(Arc::new(PrefixStore::new(store, self.prefix.as_str())))
    }
}

/// Whether an address is one without encryption, which it may be on this machine only; `None` if it is none at all.
fn is_plain(endpoint: &str) -> Option<bool> {
    if endpoint.starts_with("https://") {
        return Some(false);
    }
    let rest = endpoint.strip_prefix("http://")?;
    let host = rest.split('/').next()?;
    let host = match host.strip_prefix('[') {
        Some(host) => host.split(']').next()?,
        None => host.split(':').next()?,
    };
    let is_here = host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback());
    is_here.then_some(true)
}

impl std::fmt::Debug for S3 {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("S3").field("bucket", &self.bucket).field("prefix", &self.prefix).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls() {
        let parse = |url| S3::parse(url);
        assert_eq!(parse("s3://one"), Some(("one".into(), String::new())));
        assert_eq!(parse("s3://one/two/three/"), Some(("one".into(), "two/three".into())));
        for bad in ["", "one", "s3://", "s3:///x", "http://one", "s3://a b", "s3://a/../b", "s3://a/b//c", "s3://a?x"] {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn plain_addresses_are_taken_on_this_machine_only() {
        assert_eq!(is_plain("https://s3.example:9000"), Some(false));
        for here in ["http://127.0.0.1:9000", "http://localhost", "http://[::1]:80/x", "http://127.8.9.1"] {
            assert_eq!(is_plain(here), Some(true), "{here}");
        }
        for bad in
            ["http://s3.example", "http://10.0.0.1:9000", "http://127.0.0.1.example", "ftp://127.0.0.1", "", "http://"]
        {
            assert_eq!(is_plain(bad), None, "{bad}");
        }
    }
}
