//! E-mail, for those who must be told.

use async_trait::async_trait;

/// A message. It never holds content of records: identifiers, numbers and a link.
#[derive(Clone, PartialEq, Eq)]
pub struct Mail {
    /// To whom, one or more addresses.
    pub to: Vec<String>,
    /// One line.
    pub subject: String,
    /// Plain text.
    pub text: String,
    /// Files that go with it.
    pub attachments: Vec<Attachment>,
}

/// A file that goes with a message.
#[derive(Clone, PartialEq, Eq)]
pub struct Attachment {
    /// Its name.
    pub name: String,
    /// Its media type.
    pub media_type: String,
    /// Its content.
    pub content: Vec<u8>,
}

/// Why a message was not sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum MailFailure {
    /// The deployment has no mail server configured.
    #[error("no mail server is configured ([mail] in the configuration)")]
    NotConfigured,
    /// An address is none.
    #[error("not an e-mail address")]
    Address,
    /// The mail server can't be reached, or doesn't take it now.
    #[error("the mail server does not take the message now")]
    Unavailable,
    /// The mail server refuses it for good.
    #[error("the mail server refuses the message")]
    Refused,
}

/// Sends messages.
#[async_trait]
pub trait Mailer: Send + Sync {
    /// Returns when the mail server has taken the message.
    ///
    /// # Errors
    /// [`MailFailure`].
    async fn send(&self, mail: &Mail) -> Result<(), MailFailure>;
}
