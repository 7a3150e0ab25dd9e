//! `[mail]`

use super::section::section;
use super::setting::{Text, choice};

choice! {
    /// How the way to a mail server is encrypted.
    MailTls {
        /// `STARTTLS` (RFC 3207).
        Starttls = "starttls",
        /// From the first byte (RFC 8314).
        Implicit = "implicit",
        /// Not at all.
        None = "none",
    }
}

section! {
    /// The mail server by which alerts and notices are sent. Mail holds identifiers, numbers and links, never content.
    Mail = "mail" {
        /// Its host and port, such as "smtp.example.com:587"; empty if there is none.
        server: Text = Text::empty();
        /// "starttls" or "implicit"; "none" sends in clear, and no password but to this machine itself.
        tls: MailTls = MailTls::Starttls;
        /// Whom mail is from, such as "Countersign <countersign@example.com>".
        from: Text = Text::empty();
        /// The user name, where the server asks for one.
        user: Text = Text::empty();
        /// A file with the password as its one line, readable by its owner alone; without one it is in
        /// COUNTERSIGN_MAIL_PASSWORD.
        password_file: Text = Text::empty();
        /// A file with a certificate authority in PEM that is trusted besides the platform's; empty if there is none.
        ca_file: Text = Text::empty();
    }
}
