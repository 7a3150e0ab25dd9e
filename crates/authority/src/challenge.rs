//! What somebody who logs in has to sign.

use std::collections::{BTreeMap, HashMap, VecDeque};

use countersign_model::{Entropy, Name, UnixMs};
use parking_lot::Mutex;

use crate::time::rfc3339;

/// How long a challenge can be answered.
pub(crate) const CHALLENGE_MS: u64 = 60 * 1000;

/// The most challenges that wait for one person, known or not. A new one takes the place of the oldest.
pub(crate) const PER_PERSON_MAX: usize = 8;

/// The most challenges that wait at all. A new one takes the place of the oldest, so that a flood of them has to
/// go on without a pause to keep others out, and can't fill the memory.
pub(crate) const ALL_MAX: usize = 10_000;

/// A text to be signed with an SSH key that is registered for the person named in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Challenge {
    /// Names the challenge when it is answered.
    pub id: String,
    /// What to sign, exactly these bytes. A person can read it.
    pub text: String,
    /// The first moment at which it can't be answered any more.
    pub expires: UnixMs,
}

/// A challenge that was given out.
pub(crate) struct Pending {
    pub user: Name,
    pub tenant: Name,
    pub text: String,
    pub expires: UnixMs,
}

/// The challenges that wait for an answer, oldest first.
#[derive(Default)]
pub(crate) struct Challenges(Mutex<Book>);

#[derive(Default)]
struct Book {
    count: u64,
    pending: BTreeMap<u64, (String, Pending)>,
    by_id: HashMap<String, u64>,
    by_person: HashMap<(Name, Name), VecDeque<u64>>,
}

impl Challenges {
    /// Makes a challenge. Looks nothing up, so it is the same for people who don't exist.
    pub(crate) fn make(
        &self,
        user: &Name,
        tenant: &Name,
        audience: &str,
        now: UnixMs,
        entropy: &dyn Entropy,
    ) -> Challenge {
        let mut nonce = [0; 16];
        entropy.fill(&mut nonce);
        let id = hex::encode(nonce);
        let expires = now.plus_ms(CHALLENGE_MS);
        let text = format!(
            "Countersign login\n\n\
             person:   {user}@{tenant}\n\
             server:   {audience}\n\
             nonce:    {id}\n\
             expires:  {}\n\n\
             Sign this only if you are logging in there yourself.\n",
            rfc3339(expires)
        );
        let pending = Pending { user: user.clone(), tenant: tenant.clone(), text: text.clone(), expires };
        self.0.lock().insert(id.clone(), pending, now);
        Challenge { id, text, expires }
    }

    /// Takes the challenge out: it can be answered once, well or badly. `None` if it isn't waiting any more.
    pub(crate) fn take(&self, id: &str, now: UnixMs) -> Option<Pending> {
        let mut book = self.0.lock();
        book.drop_expired(now);
        let number = *book.by_id.get(id)?;
        book.remove(number)
    }
}

impl Book {
    fn insert(&mut self, id: String, pending: Pending, now: UnixMs) {
        self.drop_expired(now);
        let person = (pending.user.clone(), pending.tenant.clone());
        let of_person = self.by_person.get(&person);
        if let Some(oldest) = of_person.filter(|all| all.len() >= PER_PERSON_MAX).and_then(VecDeque::front).copied() {
            self.remove(oldest);
        }
        if self.pending.len() >= ALL_MAX
            && let Some(oldest) = self.pending.keys().next().copied()
        {
            self.remove(oldest);
        }
        let number = self.count;
        self.count = self.count.wrapping_add(1);
        self.by_id.insert(id.clone(), number);
        self.by_person.entry(person).or_default().push_back(number);
        self.pending.insert(number, (id, pending));
    }

    /// All live equally long, so the oldest expire first.
    fn drop_expired(&mut self, now: UnixMs) {
        while let Some((&oldest, (_, pending))) = self.pending.iter().next()
            && pending.expires <= now
        {
            self.remove(oldest);
        }
    }

    fn remove(&mut self, number: u64) -> Option<Pending> {
        let (id, pending) = self.pending.remove(&number)?;
        self.by_id.remove(&id);
        let person = (pending.user.clone(), pending.tenant.clone());
        if let Some(of_person) = self.by_person.get_mut(&person) {
            of_person.retain(|other| *other != number);
            if of_person.is_empty() {
                self.by_person.remove(&person);
            }
        }
        Some(pending)
    }
}

#[cfg(test)]
mod tests {
    use countersign_crypto::SystemEntropy;

    use super::*;

    const NOW: UnixMs = UnixMs(1_800_000_000_000);

    fn name(text: &str) -> Name {
        Name::new(text).unwrap()
    }

    fn make(challenges: &Challenges, user: &str, now: UnixMs) -> Challenge {
        challenges.make(&name(user), &name("northwind"), "https://here", now, &SystemEntropy)
    }

    #[test]
    fn the_text_says_what_it_is_for() {
        let challenge = make(&Challenges::default(), "nancy", NOW);
        let lines: Vec<&str> = challenge.text.lines().collect();
        assert_eq!(lines[0], "Countersign login");
        assert_eq!(lines[2], "person:   nancy@northwind");
        assert_eq!(lines[3], "server:   https://here");
        assert_eq!(lines[4], format!("nonce:    {}", challenge.id));
        assert_eq!(lines[5], "expires:  2027-01-15T08:01:00.000Z");
    }

    #[test]
    fn one_answer_and_one_minute() {
        let challenges = Challenges::default();
        let challenge = make(&challenges, "nancy", NOW);
        assert!(challenges.take(&challenge.id, NOW).is_some());
        assert!(challenges.take(&challenge.id, NOW).is_none());
        let challenge = make(&challenges, "nancy", NOW);
        assert!(challenges.take(&challenge.id, NOW.plus_ms(CHALLENGE_MS)).is_none());
        assert!(challenges.take("", NOW).is_none());
    }

    #[test]
    fn no_more_wait_than_may() {
        let challenges = Challenges::default();
        let first = make(&challenges, "nancy", NOW);
        let others: Vec<_> = (0..PER_PERSON_MAX).map(|_| make(&challenges, "nancy", NOW)).collect();
        assert!(challenges.take(&first.id, NOW).is_none());
        assert!(challenges.take(&others[0].id, NOW).is_some());

        let early = make(&challenges, "laura", NOW);
        for n in 0..ALL_MAX {
            make(&challenges, &format!("nobody-{n}"), NOW);
        }
        assert!(challenges.take(&early.id, NOW).is_none());
        let book = challenges.0.lock();
        assert_eq!(book.pending.len(), ALL_MAX);
        assert_eq!((book.by_id.len(), book.by_person.len()), (ALL_MAX, ALL_MAX));
    }
}
