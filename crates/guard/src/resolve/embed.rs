//! Embeds: two types joined by a reference. The join reads the reference and the key it points at, so the caller
//! must be permitted both, or the embed is as forbidden as a field that doesn't exist.

use countersign_model::query::{Column, EmbedColumn, Link};
use countersign_model::request::{Action, Embed};
use countersign_model::{FieldId, Name};

use super::{Budget, Resolver, Subject};
use crate::refusal::{Invalid, Refusal};

impl<'a> Resolver<'a> {
    pub(super) fn embed(
        &self,
        from: &Subject<'a>,
        embed: &Embed,
        depth: usize,
        budget: &mut Budget,
    ) -> Result<Column, Refusal> {
        let too_deep = Invalid::TooMany { what: "levels of embedding", max: self.limits.embed_depth_max };
        let deeper = depth.checked_sub(1).ok_or(too_deep)?;
        let mut links = self.links(from, embed)?;
        let Some((via, target)) = links.pop() else { return Err(Refusal::Forbidden) };
        if !links.is_empty() {
            links.push((via, target));
            return Err(self.ambiguous(from, &links).into());
        }
        let query = self.query(&target, &embed.read, deeper, budget)?;
        let label = embed.alias.as_deref().unwrap_or(&embed.read.record_type).into();
        Ok(Column::Embed(EmbedColumn { label, via, inner: embed.inner, query: Box::new(query) }))
    }

    /// Every permitted way from `from` to what the embed names: a type, or a reference field of `from`.
    fn links(&self, from: &Subject<'a>, embed: &Embed) -> Result<Vec<(Link, Subject<'a>)>, Refusal> {
        let types = &self.state.facts.types;
        let named = embed.read.record_type.as_str();
        let hinted = |name: &Name| embed.hint.as_deref().is_none_or(|hint| hint == name.as_str());
        let mut links = Vec::new();
        for (id, field) in from.record_type.iter() {
            let Some(target_id) = field.references else { continue };
            let Some(target_type) = types.record_type(target_id) else { continue };
            let is_meant = target_type.name.as_str() == named || field.name.as_str() == named;
            if is_meant && hinted(&field.name) && from.plan.fields().contains(id) {
                let target = self.subject(target_type.name.as_str(), Action::Read)?;
                if target.plan.fields().contains(target_type.key) {
                    links.push((Link::ToOne(id), target));
                }
            }
        }
        let Some((target_id, target_type)) = types.find(named) else { return Ok(links) };
        if !from.plan.fields().contains(from.record_type.key) {
            return Ok(links);
        }
        let plan = self.plan(target_id, target_type, Action::Read)?;
        for (id, field) in target_type.iter() {
            if field.references == Some(from.id) && hinted(&field.name) && plan.fields().contains(id) {
                let target = Subject { id: target_id, record_type: target_type, plan: plan.clone() };
                links.push((Link::ToMany(id), target));
            }
        }
        Ok(links)
    }

    fn ambiguous(&self, from: &Subject<'a>, links: &[(Link, Subject<'a>)]) -> Invalid {
        let name_of =
            |subject: &Subject<'a>, id: FieldId| subject.record_type.field(id).map(|field| field.name.clone());
        let candidates = links.iter().filter_map(|(via, target)| match via {
            Link::ToOne(id) => name_of(from, *id),
            Link::ToMany(id) => name_of(target, *id),
        });
        let target =
            links.first().map_or_else(|| from.record_type.name.clone(), |(_, target)| target.record_type.name.clone());
        Invalid::AmbiguousEmbed { target, candidates: candidates.collect() }
    }
}
