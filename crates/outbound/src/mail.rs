//! E-mail by SMTP (RFC 5321), encrypted unless the operator says that it isn't (RFC 3207, RFC 8314).

use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use async_trait::async_trait;
use countersign_services::{Mail, MailFailure, Mailer};
use lettre::message::header::ContentType;
use lettre::message::{Attachment, Mailbox, Message, MultiPart, SinglePart};
use lettre::transport::smtp::Error as SmtpError;
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{Certificate, Tls, TlsParameters};
use lettre::{Address, AsyncSmtpTransport, AsyncTransport as _, Tokio1Executor};
use tokio::time::timeout;
use zeroize::Zeroizing;

/// How long one message may take to be handed over.
const SEND_TIME: Duration = Duration::from_secs(30);

/// The most addresses of one message.
const TO_MAX: usize = 50;

/// How the way to the mail server is encrypted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Security {
    /// From the first byte (RFC 8314, section 3.3).
    Implicit,
    /// By `STARTTLS`, and not a word more if the server doesn't offer it.
    StartTls,
    /// Not at all.
    None,
}

/// Which mail server to use, and as whom.
pub struct SmtpSettings {
    /// The host.
    pub host: String,
    /// The port.
    pub port: u16,
    /// Encryption.
    pub security: Security,
    /// User name and password, where the server asks for them.
    pub login: Option<(String, Zeroizing<String>)>,
    /// Whom messages are from.
    pub from: String,
    /// Certificate authorities, in PEM, that are trusted besides the platform's.
    pub ca_pem: Option<String>,
}

/// Why a mail server can't be used with such settings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SettingsError {
    /// The sender is no address.
    #[error("the sender is not an e-mail address")]
    From,
    /// The certificate authorities can't be read.
    #[error("these are not certificates in PEM")]
    Authority,
    /// A password would go to another machine unencrypted.
    #[error("a password is not sent to another machine without TLS")]
    PasswordInClear,
}

/// Sends messages by one mail server.
pub struct Smtp {
    transport: AsyncSmtpTransport<Tokio1Executor>,
    from: Mailbox,
}

impl Smtp {
    /// A mailer with these settings. It connects for each message.
    ///
    /// # Errors
    /// [`SettingsError`] for settings that can't be meant.
    pub fn new(settings: SmtpSettings) -> Result<Self, SettingsError> {
        let SmtpSettings { host, port, security, login, from, ca_pem } = settings;
        let from: Mailbox = from.parse().map_err(|_| SettingsError::From)?;
        if security == Security::None && login.is_some() && !is_loopback(&host) {
            return Err(SettingsError::PasswordInClear);
        }
        let tls = match security {
            Security::None => Tls::None,
            Security::Implicit => Tls::Wrapper(parameters(&host, ca_pem.as_deref())?),
            Security::StartTls => Tls::Required(parameters(&host, ca_pem.as_deref())?),
        };
        let mut builder = AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(&host).port(port).tls(tls);
        builder = builder.timeout(Some(SEND_TIME));
        if let Some((user, password)) = login {
            builder = builder.credentials(Credentials::new(user, password.to_string()));
        }
        Ok(Self { transport: builder.build(), from })
    }

    fn message(&self, mail: &Mail) -> Result<Message, MailFailure> {
        let mut builder = Message::builder().from(self.from.clone()).subject(one_line(&mail.subject));
        let to = mail.to.iter().map(|text| text.parse::<Address>()).collect::<Result<Vec<_>, _>>();
        let to = to.map_err(|_| MailFailure::Address)?;
        if to.is_empty() || to.len() > TO_MAX {
            return Err(MailFailure::Address);
        }
        for address in to {
            builder = builder.to(Mailbox::new(None, address));
        }
        let text = SinglePart::plain(mail.text.clone());
        let message = if mail.attachments.is_empty() {
            builder.singlepart(text)
        } else {
            let mut parts = MultiPart::mixed().singlepart(text);
            for file in &mail.attachments {
                let media_type = ContentType::parse(&file.media_type).map_err(|_| MailFailure::Refused)?;
                parts = parts.singlepart(Attachment::new(one_line(&file.name)).body(file.content.clone(), media_type));
            }
            builder.multipart(parts)
        };
        message.map_err(|_| MailFailure::Refused)
    }
}

#[async_trait]
impl Mailer for Smtp {
    async fn send(&self, mail: &Mail) -> Result<(), MailFailure> {
        let message = self.message(mail)?;
        match timeout(SEND_TIME, self.transport.send(message)).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err(failure(&error)),
            Err(_) => Err(MailFailure::Unavailable),
        }
    }
}

/// Whether text is an e-mail address.
#[must_use]
pub fn is_address(text: &str) -> bool {
    text.parse::<Address>().is_ok()
}

/// Whether a host is this machine.
#[must_use]
pub fn is_loopback(host: &str) -> bool {
    host.eq_ignore_ascii_case("localhost") || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

fn parameters(host: &str, ca_pem: Option<&str>) -> Result<TlsParameters, SettingsError> {
    let mut builder = TlsParameters::builder(host.to_owned());
    if let Some(pem) = ca_pem {
        let certificate = Certificate::from_pem(pem.as_bytes()).map_err(|_| SettingsError::Authority)?;
        builder = builder.add_root_certificate(certificate);
    }
    builder.build().map_err(|_| SettingsError::Authority)
}

/// A server's `4yz` and everything that isn't an answer may be otherwise later; `5yz` won't (RFC 5321, section 4.2.1).
fn failure(error: &SmtpError) -> MailFailure {
    // What the server says may hold what was sent, so only its number is logged.
    let status = error.status().map(|code| code.to_string());
    tracing::debug!(status, tls = error.is_tls(), timeout = error.is_timeout(), "a message was not taken");
    if error.is_permanent() { MailFailure::Refused } else { MailFailure::Unavailable }
}

/// The library folds and encodes; a line break in a subject is nobody's intention.
fn one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

impl fmt::Debug for Smtp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Smtp").finish_non_exhaustive()
    }
}
