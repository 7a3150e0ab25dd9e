//! Reading all services' ledgers as one, in pages.

use std::collections::BTreeMap;
use std::sync::Arc;

use countersign_audit::{LedgerQuery, Position, Record};
use countersign_model::TenantId;
use countersign_services::{Call, Trail, TrailPage};

use crate::control::called;
use crate::error::ControlFailure;

pub(super) type Entry = (Position, Record);

/// For each ledger by name, how many of its records lie before the place. One that is not named has just come.
#[derive(Default)]
pub(super) struct Places(BTreeMap<String, u64>);

impl Places {
    pub(super) fn parse(text: &str) -> Option<Self> {
        let place = |part: &str| part.split_once('=').and_then(|(name, at)| Some((name.to_owned(), at.parse().ok()?)));
        text.split(',').map(place).collect::<Option<BTreeMap<_, _>>>().map(Self)
    }

    pub(super) fn to_text(&self) -> String {
        self.0.iter().map(|(name, place)| format!("{name}={place}")).collect::<Vec<_>>().join(",")
    }
}

pub(super) struct Reading<'a> {
    pub(super) trails: Vec<(String, Arc<dyn Trail>)>,
    pub(super) call: Call<'a>,
    pub(super) owners: Vec<Option<TenantId>>,
    /// What is asked of each ledger, but for where to begin and how many.
    pub(super) query: LedgerQuery,
    pub(super) limit: usize,
}

impl Reading<'_> {
    /// At most `limit` records, oldest first, and where to go on. Without a place to go on from, the newest.
    pub(super) async fn read(&self, from: Option<Places>) -> Result<(Vec<Entry>, Places), ControlFailure> {
        let mut streams = Vec::with_capacity(self.trails.len());
        for (name, trail) in &self.trails {
            let from = from.as_ref().map(|places| places.0.get(name).copied().unwrap_or_default());
            let page = self.of_ledger(&**trail, from).await?;
            streams.push(Stream { name: name.clone(), records: page.records.into(), from, size: page.size });
        }
        let ends = |streams: &[Stream]| Places(streams.iter().map(|one| (one.name.clone(), one.size)).collect());
        let merged = merge(&mut streams);
        if from.is_some() {
            let complete = merged.len() <= self.limit;
            let starts = streams.iter().map(|stream| (stream.name.clone(), stream.from.unwrap_or_default()));
            let mut places = Places(starts.collect());
            let page: Vec<_> = merged.into_iter().take(self.limit).collect();
            for (index, (position, _)) in &page {
                if let Some(stream) = streams.get(*index) {
                    places.0.insert(stream.name.clone(), position.0.saturating_add(1));
                }
            }
            if complete {
                places = ends(&streams);
            }
            return Ok((page.into_iter().map(|(_, entry)| entry).collect(), places));
        }
        let older = merged.len().saturating_sub(self.limit);
        Ok((merged.into_iter().skip(older).map(|(_, entry)| entry).collect(), ends(&streams)))
    }

    /// One ledger's records in the order of their positions: one more than the limit, to know whether that is all.
    async fn of_ledger(&self, trail: &dyn Trail, from: Option<u64>) -> Result<TrailPage, ControlFailure> {
        let query = LedgerQuery {
            after: from.and_then(|from| from.checked_sub(1)).map(Position),
            // At the very beginning there is no position to be after.
            oldest_first: from.is_some(),
            limit: self.limit.saturating_add(1),
            ..self.query.clone()
        };
        trail.query(&self.call, &self.owners, &query).await.map_err(called("audit ledger"))
    }
}

struct Stream {
    name: String,
    records: std::collections::VecDeque<Entry>,
    from: Option<u64>,
    size: u64,
}

/// All streams as one, by time; each keeps its own order, as that is what places are about.
fn merge(streams: &mut [Stream]) -> Vec<(usize, Entry)> {
    let mut merged = Vec::new();
    loop {
        let heads = streams.iter().enumerate();
        let heads = heads.filter_map(|(index, stream)| stream.records.front().map(|(_, record)| (record.time, index)));
        let Some((_, index)) = heads.min() else { return merged };
        if let Some(entry) = streams.get_mut(index).and_then(|stream| stream.records.pop_front()) {
            merged.push((index, entry));
        }
    }
}
