//! A certified OpenID Connect provider on loopback, and as much of a browser as a login with it needs.
//!
//! The provider is npm's `oidc-provider`, in `tests/oidc`; the caller names the folder in which it is installed.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};

use anyhow::{Context as _, Result, bail};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use countersign_crypto::x509::CertificateAuthority;
use countersign_model::Clock as _;
use countersign_model::clock::SystemClock;
use serde_json::{Value, json};

use crate::client::Client;
use crate::http1::{Request, Response};

/// Two providers in one process, which ends with this.
pub struct Providers {
    child: Child,
    /// Kept open: a process that finds nobody reading ends.
    _says: BufReader<ChildStdout>,
    issuers: [String; 2],
    ca_pem: String,
}

impl Drop for Providers {
    fn drop(&mut self) {
        // Nothing is left to do about either.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Providers {
    /// Starts what is installed in `folder`.
    ///
    /// # Errors
    /// If it does not start.
    pub fn start(folder: &Path) -> Result<Self> {
        let now = SystemClock.now();
        let authority = CertificateAuthority::generate("a provider's", now, 1)?;
        let certificate = authority.issue_server(&["localhost".to_owned()], now, 3_600_000)?;
        let chain = certificate.chain_der.first().context("no certificate")?;
        let tls = json!({
            "key": pem("PRIVATE KEY", &certificate.key_pkcs8_der)?,
            "cert": pem("CERTIFICATE", chain)?,
        });
        let mut child = Command::new("node")
            .arg(folder.join("provider.mjs"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .context("node")?;
        writeln!(child.stdin.as_mut().context("no input")?, "{tls}")?;
        let mut says = BufReader::new(child.stdout.take().context("no output")?);
        let mut line = String::new();
        says.read_line(&mut line)?;
        let said: Value = serde_json::from_str(&line).context("the provider did not start; is it installed?")?;
        let issuer = |at: usize| said.pointer(&format!("/issuers/{at}")).and_then(Value::as_str).map(str::to_owned);
        let issuers = [issuer(0).context("no issuer")?, issuer(1).context("no issuer")?];
        Ok(Self { child, _says: says, issuers, ca_pem: authority.ca_pem().to_owned() })
    }

    /// Their issuer identifiers.
    #[must_use]
    pub const fn issuers(&self) -> &[String; 2] {
        &self.issuers
    }

    /// Their hosts with ports.
    pub fn places(&self) -> impl Iterator<Item = String> {
        self.issuers.iter().map(|issuer| issuer.trim_start_matches("https://").to_owned())
    }

    /// The authority that vouches for both.
    #[must_use]
    pub fn ca_pem(&self) -> &str {
        &self.ca_pem
    }

    /// The secret of a client, by its name there.
    #[must_use]
    pub fn secret(client: &str) -> String {
        format!("secret of {client}, with signs: +/=&%")
    }

    /// A browser in which `login` is going to log in.
    #[must_use]
    pub fn browser(&self, login: &str) -> Browser {
        Browser { ca_pem: self.ca_pem.clone(), cookies: BTreeMap::new(), login: login.into() }
    }
}

pub(crate) fn pem(label: &str, der: &[u8]) -> Result<String> {
    let text = STANDARD.encode(der);
    let lines: Vec<&str> = text.as_bytes().chunks(64).map(std::str::from_utf8).collect::<Result<_, _>>()?;
    Ok(format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", lines.join("\n")))
}

/// A person's browser: cookies, redirects, and forms that are filled in and sent.
pub struct Browser {
    ca_pem: String,
    cookies: BTreeMap<String, String>,
    login: String,
}

/// Where a browser came to.
#[derive(Debug)]
pub enum Page {
    /// It was sent away from the provider, to this URL.
    Away(String),
    /// A page without a form: status and text.
    End(u16, String),
}

impl Browser {
    /// Goes to a URL and does what the pages ask for, until there is nothing left to do.
    ///
    /// # Errors
    /// If a page can't be had, or pages go in circles.
    pub fn visit(&mut self, url: &str) -> Result<Page> {
        let (mut url, mut form) = (url.to_owned(), None);
        for _ in 0..20 {
            let response = self.fetch(&url, form.take())?;
            if let Some(location) = response.header("location") {
                let next = absolute(&url, location);
                if origin(&next) != origin(&url) {
                    return Ok(Page::Away(next));
                }
                url = next;
                continue;
            }
            let page = response.text();
            let Some((action, mut fields)) = form_of(&page) else { return Ok(Page::End(response.status, page)) };
            if let Some(login) = fields.get_mut("login") {
                login.clone_from(&self.login);
                fields.insert("password".into(), "any".into());
            }
            url = absolute(&url, &action);
            let pairs: Vec<String> = fields.iter().map(|(key, value)| format!("{key}={}", encoded(value))).collect();
            form = Some(pairs.join("&"));
        }
        bail!("pages that go in circles")
    }

    fn fetch(&mut self, url: &str, form: Option<String>) -> Result<Response> {
        let (address, path) = url.trim_start_matches("https://").split_once('/').context("a URL without a path")?;
        let method = if form.is_some() { "POST" } else { "GET" };
        let mut request = Request::new(method, &format!("/{path}"));
        if !self.cookies.is_empty() {
            let cookies: Vec<String> = self.cookies.iter().map(|(name, value)| format!("{name}={value}")).collect();
            request = request.header("Cookie", &cookies.join("; "));
        }
        if let Some(form) = form {
            request = request.header("Content-Type", "application/x-www-form-urlencoded").body(form);
        }
        let response = Client::new(address, &self.ca_pem)?.send(&request)?;
        for (_, cookie) in response.headers.iter().filter(|(name, _)| name == "set-cookie") {
            let (pair, rest) = cookie.split_once(';').unwrap_or((cookie, ""));
            let (name, value) = pair.split_once('=').context("a cookie without a value")?;
            if rest.contains("01 Jan 1970") {
                self.cookies.remove(name);
            } else {
                self.cookies.insert(name.into(), value.into());
            }
        }
        Ok(response)
    }
}

fn origin(url: &str) -> &str {
    let end = url.match_indices('/').nth(2).map_or(url.len(), |(at, _)| at);
    url.get(..end).unwrap_or(url)
}

fn absolute(base: &str, location: &str) -> String {
    if location.starts_with('/') { format!("{}{location}", origin(base)) } else { location.to_owned() }
}

/// As in a form's body.
fn encoded(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    text.bytes().map(|b| if plain(b) { char::from(b).to_string() } else { format!("%{b:02X}") }).collect()
}

/// The first form of a page: where it goes, and its fields as they are.
fn form_of(page: &str) -> Option<(String, BTreeMap<String, String>)> {
    let (_, form) = page.split_once("<form")?;
    let (form, _) = form.split_once("</form>")?;
    let fields = form.split("<input").skip(1).filter_map(|input| {
        let (input, _) = input.split_once('>')?;
        Some((attribute(input, "name")?, attribute(input, "value").unwrap_or_default()))
    });
    Some((attribute(form, "action")?, fields.collect()))
}

fn attribute(tag: &str, name: &str) -> Option<String> {
    let (_, value) = tag.split_once(&format!("{name}=\""))?;
    let (value, _) = value.split_once('"')?;
    Some(value.replace("&amp;", "&"))
}
