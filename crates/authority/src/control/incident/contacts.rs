//! Whom a tenant is told by, when something has happened to its data.

use countersign_model::control::Contacts;
use countersign_model::facts::Principal;

use super::invalid;
use crate::answer::ControlAnswer;
use crate::authority::Authority;
use crate::control::Done;
use crate::error::ControlFailure;

const EMAILS_MAX: usize = 16;
/// RFC 5321, section 4.5.3.1.
const EMAIL_MAX_BYTES: usize = 254;
const LOCAL_MAX_BYTES: usize = 64;
/// RFC 5646, section 4.4.1.
const LANGUAGE_MAX_BYTES: usize = 35;

impl Authority {
    pub(in crate::control) fn contacts_read(&self, caller: &Principal) -> Done {
        let contacts = self.registry.contacts(caller.tenant).map(|contacts| (*contacts).clone());
        let none = || Contacts { emails: Vec::new(), language: "en".to_owned() };
        Done::looked(ControlAnswer::Contacts(contacts.unwrap_or_else(none)))
    }

    pub(in crate::control) async fn contacts_put(
        &self,
        caller: &Principal,
        contacts: Contacts,
    ) -> Result<Done, ControlFailure> {
        if contacts.emails.len() > EMAILS_MAX {
            return Err(invalid("emails", format!("at most {EMAILS_MAX} addresses")));
        }
        if !contacts.emails.iter().all(|email| is_email(email)) {
            return Err(invalid("emails", "addresses such as privacy@example.com"));
        }
        if !is_language(&contacts.language) {
            return Err(invalid("language", "a language tag such as en, de or pt-BR"));
        }
        let mut change = self.registry.begin().await;
        change.set_contacts(caller.tenant, contacts.clone())?;
        change.commit().await?;
        Ok(Done::changed(ControlAnswer::Contacts(contacts)))
    }
}

/// An address that mail servers take as it is: no quotes, no comments, no spaces.
fn is_email(text: &str) -> bool {
    let Some((local, domain)) = text.rsplit_once('@') else { return false };
    let is_local = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-/=?^_`{|}~.".contains(&byte);
    let is_label = |label: &str| {
        let inner = label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
        !label.is_empty() && label.len() <= 63 && inner && !label.starts_with('-') && !label.ends_with('-')
    };
    text.len() <= EMAIL_MAX_BYTES
        && !local.is_empty()
        && local.len() <= LOCAL_MAX_BYTES
        && local.bytes().all(is_local)
        && !(local.starts_with('.') || local.ends_with('.') || local.contains(".."))
        && domain.split('.').all(is_label)
}

/// The form of a BCP 47 tag. Whether there is such a language is for whoever writes templates.
fn is_language(text: &str) -> bool {
    let mut parts = text.split('-');
    let first = parts.next().unwrap_or_default();
    text.len() <= LANGUAGE_MAX_BYTES
        && (2..=8).contains(&first.len())
        && first.bytes().all(|byte| byte.is_ascii_alphabetic())
        && parts.all(|part| (1..=8).contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_alphanumeric()))
}

#[cfg(test)]
mod tests {
    use super::{is_email, is_language};

    #[test]
    fn what_is_no_address_and_no_language_is_refused() {
        for good in ["a@b.example", "first.last+tag@mail.example.co.uk", "root@localhost"] {
            assert!(is_email(good), "{good}");
        }
        let long = format!("{}@b.example", "a".repeat(65));
        for bad in
            ["", "a", "@b", "a@", "a b@c.d", "a@b@c.d", "a@b..c", "a@-b.c", ".a@b.c", "a@b.c\r\nBcc: x@y.z", &long]
        {
            assert!(!is_email(bad), "{bad}");
        }
        for good in ["en", "de-AT", "zh-Hant-TW", "pt-BR"] {
            assert!(is_language(good), "{good}");
        }
        for bad in ["", "e", "en_US", "en-", "-en", "english language", "../en"] {
            assert!(!is_language(bad), "{bad}");
        }
    }
}
