//! What has been said of one request, and whether it holds together.

use countersign_model::{Opened, Service, Tally, TenantId};

use super::{Part, What};
use crate::ledger::RETENTION;
use crate::record::Verdict;
use crate::tally::TallyEntry;

/// Everything said of one request, by those who took part.
#[derive(Debug, Default)]
pub(super) struct Said {
    gateway: Share,
    keys: Share,
    store: Share,
    /// Stands in for the gateway in requests that the authority makes itself, which are few.
    authority: Option<Box<Share>>,
}

/// What one service said.
#[derive(Debug, Default)]
struct Share {
    /// It has a record of the request.
    knows: bool,
    /// It has said what came of it.
    ended: bool,
    /// The sum of that, under the token and the epoch that it named first.
    sum: Option<Tally>,
    /// Whose data; the first that it named.
    tenant: Option<TenantId>,
    /// It does not know whether it changed anything.
    unsure: bool,
    /// In what it contradicted itself.
    torn: [bool; 3],
}

/// Where it is noted that a service contradicted itself, for what must be the same in all its records.
const fn place(part: Part) -> Option<usize> {
    match part {
        Part::Tenant => Some(0),
        Part::Token => Some(1),
        Part::Epoch => Some(2),
        Part::Fields | Part::Rows | Part::Written => None,
    }
}

impl Share {
    fn take(&mut self, entry: &TallyEntry) {
        self.knows = true;
        let ends = entry.verdict != Verdict::Intent;
        self.ended |= ends;
        self.unsure |= entry.verdict == Verdict::Unknown;
        let Some(tally) = &entry.tally else { return };
        match (self.tenant, entry.tenant) {
            (Some(before), Some(tenant)) if before != tenant => self.tear(Part::Tenant),
            (None, Some(tenant)) => self.tenant = Some(tenant),
            _ => {}
        }
        let sum = self.sum.get_or_insert_with(|| Tally::new(tally.token, tally.epoch));
        let (other_token, other_epoch) = (sum.token != tally.token, sum.epoch != tally.epoch);
        if ends {
            sum.add(tally);
        }
        if other_token {
            self.tear(Part::Token);
        }
        if other_epoch {
            self.tear(Part::Epoch);
        }
    }

    fn tear(&mut self, part: Part) {
        if let Some(torn) = place(part).and_then(|place| self.torn.get_mut(place)) {
            *torn = true;
        }
    }

    fn is_torn(&self, part: Part) -> bool {
        place(part).and_then(|place| self.torn.get(place)).is_some_and(|torn| *torn)
    }

    fn opened(&self) -> &[Opened] {
        self.sum.as_ref().map_or(&[], |sum| &sum.opened)
    }

    fn written(&self) -> u64 {
        self.sum.as_ref().map_or(0, |sum| sum.written)
    }

    /// Whether nothing came of it, as far as it says.
    fn is_empty(&self) -> bool {
        self.sum.as_ref().is_none_or(Tally::is_empty)
    }
}

impl Said {
    /// Whether an entry says anything that needs fellows, or is one.
    pub(super) fn bears_on(entry: &TallyEntry) -> bool {
        // A ledger's record of its own records that were removed: no request of anybody's, and about no data.
        let action = entry.signal.as_ref().map(|signal| signal.action.as_str());
        if action == Some(RETENTION) && entry.tenant.is_none() && entry.tally.is_none() {
            return false;
        }
        match entry.service {
            Service::Gateway | Service::Authority => true,
            Service::Keys | Service::Store => entry.verdict != Verdict::Refused,
            Service::Monitor => false,
        }
    }

    pub(super) fn take(&mut self, entry: &TallyEntry) {
        if !Self::bears_on(entry) {
            return;
        }
        let share = match entry.service {
            Service::Gateway => &mut self.gateway,
            Service::Authority => self.authority.get_or_insert_default(),
            Service::Keys => &mut self.keys,
            Service::Store => &mut self.store,
            Service::Monitor => return,
        };
        share.take(entry);
    }

    /// How much memory it takes, in entries of tallies.
    pub(super) fn weight(&self) -> usize {
        self.shares().map(|(_, share)| share.opened().len()).fold(0, usize::saturating_add)
    }

    pub(super) fn tenant(&self) -> Option<TenantId> {
        self.shares().find_map(|(_, share)| share.tenant)
    }

    fn shares(&self) -> impl Iterator<Item = (Service, &Share)> + Clone {
        let Self { gateway, keys, store, authority } = self;
        let three = [(Service::Gateway, gateway), (Service::Keys, keys), (Service::Store, store)];
        three.into_iter().chain(authority.as_deref().map(|authority| (Service::Authority, authority)))
    }

    /// What is wrong; nothing if all is well.
    pub(super) fn judge(&self) -> Vec<What> {
        let Self { gateway, keys, store, authority } = self;
        let (front_service, front) = match authority.as_deref() {
            Some(authority) if !authority.is_empty() => (Service::Authority, authority),
            _ => (Service::Gateway, gateway),
        };
        let front_knows = gateway.knows || authority.is_some();
        let opened = [front, keys, store].iter().any(|share| !share.opened().is_empty());
        let written = front.written() > 0 || store.written() > 0;
        if !opened && !written {
            // Keys were handed out, or the store was asked in vain, and no gateway says for whom.
            return match (front_knows, keys.knows, store.knows) {
                (false, true, false) => vec![What::Unknown { service: Service::Keys }],
                (false, false, true) => vec![What::Unknown { service: Service::Store }],
                (false, true, true) => vec![What::Missing { services: vec![Service::Gateway] }],
                _ => self.differing(&[]),
            };
        }
        match (front_knows, keys.knows, store.knows) {
            (false, true, false) => return vec![What::Unknown { service: Service::Keys }],
            (false, false, true) => return vec![What::Unknown { service: Service::Store }],
            _ => {}
        }
        let mut wrong = Vec::new();
        let needed = [(front_service, front, true), (Service::Keys, keys, opened), (Service::Store, store, true)];
        let missing: Vec<Service> =
            needed.iter().filter(|(_, share, needed)| *needed && !share.ended).map(|(service, ..)| *service).collect();
        if !missing.is_empty() {
            wrong.push(What::Missing { services: missing });
        }
        let mut spoke: Vec<(Service, &Share)> =
            needed.iter().filter(|(_, share, _)| share.ended).map(|(service, share, _)| (*service, *share)).collect();
        if front_service != Service::Gateway && !gateway.is_empty() {
            spoke.push((Service::Gateway, gateway));
        }
        wrong.extend(self.differing(&spoke));
        wrong
    }

    /// In what records differ: all of them in what must be the same, those of `spoke` in what they counted.
    fn differing(&self, spoke: &[(Service, &Share)]) -> Vec<What> {
        let mut wrong = Vec::new();
        let mut held = |part: Part, odd: Result<(), Option<Service>>| {
            if let Err(odd) = odd {
                wrong.push(What::Differs { part, odd });
            }
        };
        let of = |part: Part, said: &dyn Fn(&Share) -> Option<u128>| {
            if let Some((service, _)) = self.shares().find(|(_, share)| share.is_torn(part)) {
                return Err(Some(service));
            }
            all_equal(&self.shares().filter_map(|(service, share)| Some((service, said(share)?))).collect::<Vec<_>>())
        };
        held(Part::Tenant, of(Part::Tenant, &|share| share.tenant.map(|tenant| tenant.as_u128())));
        held(Part::Token, of(Part::Token, &|share| share.sum.as_ref().map(|sum| sum.token.as_u128())));
        held(Part::Epoch, of(Part::Epoch, &|share| share.sum.as_ref().map(|sum| u128::from(sum.epoch))));

        let opened: Vec<_> = spoke.iter().map(|(service, share)| (*service, share.opened())).collect();
        if all_equal(&opened).is_err() {
            let fields = |opened: &[Opened]| -> Vec<_> {
                opened.iter().map(|one| (one.record_type, one.fields.bits())).collect()
            };
            let fields: Vec<_> = opened.iter().map(|(service, opened)| (*service, fields(opened))).collect();
            match all_equal(&fields) {
                Ok(()) => held(Part::Rows, all_equal(&opened)),
                differs => held(Part::Fields, differs),
            }
        }
        // Who does not know what it wrote contradicts nobody. The others' records are what shows it.
        let writers = spoke.iter().filter(|(service, share)| *service != Service::Keys && !share.unsure);
        held(
            Part::Written,
            all_equal(&writers.map(|(service, share)| (*service, share.written())).collect::<Vec<_>>()),
        );
        wrong
    }
}

/// Whether all say the same; if not, the one that all others contradict, if they are more than one and agree.
fn all_equal<T: PartialEq>(said: &[(Service, T)]) -> Result<(), Option<Service>> {
    let Some(((_, first), rest)) = said.split_first() else { return Ok(()) };
    if rest.iter().all(|(_, one)| one == first) {
        return Ok(());
    }
    let alone = |(service, one): &(Service, T)| {
        let mut others = said.iter().filter(|(other, _)| other != service).map(|(_, other)| other);
        let against = others.next()?;
        let mut more = others.peekable();
        let enough = more.peek().is_some();
        (enough && one != against && more.all(|other| other == against)).then_some(*service)
    };
    Err(said.iter().find_map(alone))
}
