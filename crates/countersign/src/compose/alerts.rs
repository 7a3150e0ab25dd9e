//! Who is told of alerts, as the configuration says, and by what mail server.

use std::path::Path;
use std::sync::Arc;

use countersign_audit::AuditSink;
use countersign_crypto::SealKey;
use countersign_crypto::webhook::WebhookKey;
use countersign_model::Name;
use countersign_monitor::desk::{
    Alertmanager, Contacts, DeskParts, NamedSink, OperatorMail, Settings, Sink, TenantMail, Webhook,
};
use countersign_outbound::address::Url;
use countersign_outbound::fetch::{Fetcher, Outbound};
use countersign_outbound::mail::{Security, Smtp, SmtpSettings, is_loopback};
use countersign_services::Mailer;
use zeroize::Zeroizing;

use super::Base;
use crate::config::{AlertSink, Config, MailTls, SinkKind, Text};
use crate::environment;
use crate::problem::{Problem, io};

/// Where tenants' e-mail addresses come from.
pub(super) type ContactsOf = Arc<dyn Contacts>;

/// What the desk of alerts is made of. Tenants are told if there is a mail server and their contacts are known.
pub(super) fn desk(
    base: &Base,
    audit: Arc<dyn AuditSink>,
    key: Arc<SealKey>,
    contacts: Option<ContactsOf>,
) -> Result<DeskParts, Problem> {
    let (config, alerts) = (&base.config, &base.config.alerts);
    let settings = Settings {
        repeat_ms: alerts.repeat_ms.number(),
        quiet_ms: alerts.quiet_ms.number().max(alerts.repeat_ms.number()),
        rule_per_minute: alerts.rule_per_minute.number(),
        all_per_minute: alerts.all_per_minute.number(),
        link: alerts.link.get().unwrap_or(&config.tokens.issuer).trim_end_matches('/').to_owned(),
    };
    let mailer = mailer(config)?;
    let outbound: Arc<dyn Outbound> = Arc::new(Fetcher::new(alerts.allow.0.clone()));
    let sinks = config.sinks.iter().map(|(name, section)| {
        let (allow, mailer) = (alerts.allow.0.as_slice(), mailer.as_ref());
        let described = Described { name, section, allow, mailer, outbound: &outbound };
        Ok(NamedSink { name: name.clone(), level: section.level, sink: described.open()? })
    });
    let sinks = sinks.collect::<Result<Vec<_>, Problem>>()?;
    let tenants = mailer.zip(contacts);
    let tenants = tenants.map(|(mailer, contacts)| Arc::new(TenantMail { contacts, mailer }) as Arc<dyn Sink>);
    let (clock, entropy) = (Arc::clone(&base.clock), Arc::clone(&base.entropy));
    Ok(DeskParts { settings, sinks, tenants, audit, key, clock, entropy })
}

/// One section `[alerts.NAME]`.
struct Described<'a> {
    name: &'a Name,
    section: &'a AlertSink,
    allow: &'a [String],
    mailer: Option<&'a Arc<dyn Mailer>>,
    outbound: &'a Arc<dyn Outbound>,
}

impl Described<'_> {
    fn open(&self) -> Result<Arc<dyn Sink>, Problem> {
        let ca_pem = certificates(&self.section.ca_file)?.map(Arc::from);
        let outbound = Arc::clone(self.outbound);
        Ok(match self.section.kind {
            SinkKind::Webhook => {
                let (url, key, authorization) = (self.url("")?, self.key()?, self.authorization()?);
                Arc::new(Webhook { url, key, authorization, ca_pem, outbound })
            }
            SinkKind::Alertmanager => {
                let (url, authorization) = (self.url("/api/v2/alerts")?, self.authorization()?);
                Arc::new(Alertmanager { url, authorization, ca_pem, outbound })
            }
            SinkKind::Smtp => {
                let to = self.section.to.0.clone();
                if to.is_empty() {
                    return Err(self.missing("to"));
                }
                let mailer = self.mailer.ok_or_else(|| {
                    Problem::usage(format!("[alerts.{}] sends mail, and there is no mail server", self.name))
                        .next("set server and from in [mail]")
                })?;
                Arc::new(OperatorMail { to, mailer: Arc::clone(mailer) })
            }
        })
    }

    fn missing(&self, key: &str) -> Problem {
        Problem::usage(format!("[alerts.{}] has no {key}", self.name))
    }

    fn url(&self, suffix: &str) -> Result<Url, Problem> {
        let text = self.section.url.get().ok_or_else(|| self.missing("url"))?;
        let whole = if suffix.is_empty() { text.to_owned() } else { format!("{}{suffix}", text.trim_end_matches('/')) };
        let expected = || Problem::usage(format!("[alerts.{}] url: expected an https URL", self.name));
        let url = Url::parse(&whole).ok_or_else(expected)?;
        let place = url.host_and_port();
        if url.is_tls() || self.allow.contains(&place) {
            return Ok(url);
        }
        Err(expected().next(format!("or name \"{place}\" in [alerts] allow, to post there without encryption")))
    }

    fn key(&self) -> Result<WebhookKey, Problem> {
        let name = self.name.as_str().to_ascii_uppercase().replace('-', "_");
        let variable = format!("COUNTERSIGN_WEBHOOK_SECRET_{name}");
        let secret = secret(&self.section.secret_file, &variable)?;
        let secret = secret.ok_or_else(|| self.missing("secret").next(format!("set secret_file, or {variable}")))?;
        WebhookKey::parse(&secret).map_err(|error| Problem::usage(format!("[alerts.{}]: {error}", self.name)))
    }

    fn authorization(&self) -> Result<Option<Zeroizing<String>>, Problem> {
        self.section.authorization_file.get().map(|path| one_line(Path::new(path))).transpose()
    }
}

/// The mail server, if one is configured.
pub(super) fn mailer(config: &Config) -> Result<Option<Arc<dyn Mailer>>, Problem> {
    let mail = &config.mail;
    let Some(server) = mail.server.get() else { return Ok(None) };
    let wrong = |what: &str| Problem::usage(format!("[mail] {what}"));
    let place = Url::parse(&format!("https://{server}/"));
    let place = place.filter(|place| place.host_and_port() == server.to_ascii_lowercase());
    let place = place.ok_or_else(|| wrong("server: expected a host and port such as \"smtp.example.com:587\""))?;
    let security = match mail.tls {
        MailTls::Starttls => Security::StartTls,
        MailTls::Implicit => Security::Implicit,
        MailTls::None => Security::None,
    };
    if security == Security::None && !is_loopback(place.host()) {
        tracing::warn!("mail goes to another machine without encryption, as [mail] tls says");
    }
    let login = match mail.user.get() {
        None => None,
        Some(user) => {
            let password = secret(&mail.password_file, "COUNTERSIGN_MAIL_PASSWORD")?;
            let missing =
                || wrong("has a user and no password").next("set password_file, or COUNTERSIGN_MAIL_PASSWORD");
            Some((user.to_owned(), password.ok_or_else(missing)?))
        }
    };
    let from = mail.from.get().ok_or_else(|| wrong("has no from"))?.to_owned();
    let ca_pem = certificates(&mail.ca_file)?;
    let (host, port) = (place.host().to_owned(), place.port());
    let smtp = Smtp::new(SmtpSettings { host, port, security, login, from, ca_pem });
    smtp.map(|smtp| Some(Arc::new(smtp) as Arc<dyn Mailer>)).map_err(|error| wrong(&error.to_string()))
}

/// A secret of a file, or of the environment.
fn secret(file: &Text, variable: &str) -> Result<Option<Zeroizing<String>>, Problem> {
    match file.get() {
        Some(path) => one_line(Path::new(path)).map(Some),
        None => Ok(environment::text(variable).map(Zeroizing::new)),
    }
}

/// What is written in a file that only its owner can read.
fn one_line(path: &Path) -> Result<Zeroizing<String>, Problem> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        let mode = std::fs::metadata(path).map_err(io("read", path))?.permissions().mode();
        if mode & 0o077 != 0 {
            let path = path.display();
            return Err(Problem::failed(format!("{path} can be read by others on this machine"))
                .next(format!("chmod 600 {path}")));
        }
    }
    let text = Zeroizing::new(std::fs::read_to_string(path).map_err(io("read", path))?);
    Ok(Zeroizing::new(text.trim().to_owned()))
}

fn certificates(file: &Text) -> Result<Option<String>, Problem> {
    let Some(path) = file.get() else { return Ok(None) };
    std::fs::read_to_string(path).map(Some).map_err(io("read", Path::new(path)))
}
