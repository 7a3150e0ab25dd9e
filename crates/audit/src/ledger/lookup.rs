//! Finding records by terms: which records of a segment are worth opening for a question.

use countersign_model::TenantId;

use super::Ledger;
use super::index::Known;
use super::terms::{self, Term};
use crate::error::AuditError;

/// A condition that records are looked up by: it may hold where one of the terms is.
#[derive(Clone)]
pub(super) struct Condition {
    pub(super) terms: Vec<Term>,
    /// It can be told without opening a record.
    pub(super) in_clear: bool,
}

/// Which records of a segment to look at.
pub(super) enum Candidates {
    /// Those at these places, ascending.
    At(Vec<u32>),
    /// Every one.
    All,
}

impl Ledger {
    /// Where all conditions may hold, among records of `owner`.
    pub(super) fn candidates(
        &self,
        segment: u32,
        owner: Option<TenantId>,
        conditions: &[Condition],
    ) -> Result<Candidates, AuditError> {
        let lists: Vec<Vec<Term>> = conditions.iter().map(|condition| condition.terms.clone()).collect();
        let Some((places, gap, missing)) = self.places(segment, &lists)? else { return Ok(Candidates::All) };
        let knows_all = !missing.contains(&owner);
        if !knows_all {
            self.keeper.learn(segment, owner);
        }
        let lists = places.into_iter().zip(conditions);
        let lists = lists.filter(|(_, condition)| knows_all || condition.in_clear).map(|(places, _)| places);
        let lists: Vec<_> = lists.collect();
        if lists.is_empty() {
            return Ok(Candidates::All);
        }
        Ok(Candidates::At(with_gap(terms::common(lists), gap)))
    }

    /// Where one of the terms is, whoever the records belong to. What is only in content that could not be opened when it
    /// was looked at is not found by it.
    pub(super) fn candidates_of_any(&self, segment: u32, terms: Vec<Term>) -> Result<Candidates, AuditError> {
        let Some((places, gap, _)) = self.places(segment, &[terms])? else { return Ok(Candidates::All) };
        Ok(Candidates::At(with_gap(terms::common(places), gap)))
    }

    #[expect(clippy::type_complexity, reason = "three things that are known of a segment, used just above")]
    fn places(
        &self,
        segment: u32,
        lists: &[Vec<Term>],
    ) -> Result<Option<(Vec<Vec<u32>>, std::ops::Range<u32>, Vec<Option<TenantId>>)>, AuditError> {
        let known = self.index.read().known(segment, lists);
        match known {
            None => Ok(None),
            Some(Known::Held { places, gap, missing }) => Ok(Some((places, gap, missing))),
            Some(Known::Filed(file)) => {
                let key = self.keys.audit_key(None)?;
                let places = lists.iter().map(|terms| file.places(&*self.storage, &key, terms));
                match places.collect::<Result<Vec<_>, _>>() {
                    Ok(places) => Ok(Some((places, 0..0, file.missing().to_vec()))),
                    // It can be thrown away, and made again.
                    Err(_) => {
                        self.index.write().forget_terms(segment);
                        Ok(None)
                    }
                }
            }
        }
    }
}

/// The places of the gap may hold anything; none of them is among the others.
fn with_gap(mut places: Vec<u32>, gap: std::ops::Range<u32>) -> Vec<u32> {
    if !gap.is_empty() {
        places.extend(gap);
        places.sort_unstable();
        places.dedup();
    }
    places
}
