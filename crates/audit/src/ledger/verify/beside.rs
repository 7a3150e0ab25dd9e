//! The files beside the records: each must be one that belongs there, and whole.

use std::io;

use countersign_tlog::{Hash, MAX_LEVEL, level_len};

use super::Report;
use super::finding::{Fault, Finding};
use super::state::State;
use crate::ledger::log::{CHECKPOINT, KEPT, KEYS, WITNESSED, Witnessed, level_name};
use crate::ledger::mark;
use crate::ledger::recover::segment_number;
use crate::ledger::storage::{FRESH, Storage, read_if_there};
use crate::ledger::terms;

/// Verifies them.
pub(super) fn verify(storage: &dyn Storage, state: &State, report: &mut Report) -> io::Result<()> {
    let is_log = state.checkpoint.is_some() || state.keys.is_some();
    for name in &state.names {
        if let Some(fault) = file(storage, name, state)? {
            report.findings.push(Finding::of_file(name, fault));
        }
    }
    if is_log && !state.names.iter().any(|name| name == WITNESSED) {
        report.findings.push(Finding::of_file(WITNESSED, Fault::Absent));
    }
    // Each level as long as the one below makes it, and that as long as the checkpoint at least.
    let hash = Hash::BYTES as u64;
    let below = state.levels.first().copied().unwrap_or_default().checked_div(hash).unwrap_or_default();
    let hashes = below.max(report.covered);
    for (bytes, level) in state.levels.iter().zip(0u8..) {
        let expected = level_len(hashes, level).saturating_mul(hash);
        let name = level_name(level);
        let told = report.findings.iter().any(|finding| finding.file == name);
        if *bytes != expected && !told {
            let offset = Some((*bytes).min(expected));
            let record = (level == 0).then_some(crate::ledger::Position(below));
            // More than the checkpoint covers was begun.
            let is_begun = *bytes >= level_len(report.covered, level).saturating_mul(hash);
            let fault = if is_begun { Fault::Unfinished } else { Fault::Length };
            report.findings.push(Finding { offset, record, ..Finding::of_file(&name, fault) });
        }
    }
    Ok(())
}

fn file(storage: &dyn Storage, name: &str, state: &State) -> io::Result<Option<Fault>> {
    let is_level = (0..=MAX_LEVEL).any(|level| level_name(level) == name);
    if segment_number(name).is_some() || is_level || [mark::NAME, CHECKPOINT, KEYS, KEPT].contains(&name) {
        return Ok(None);
    }
    let Some(bytes) = read_if_there(storage, name)? else { return Ok(None) };
    if name == WITNESSED {
        return Ok(Witnessed::parse(&bytes).is_none().then_some(Fault::Damaged));
    }
    if let Some(segment) = terms::file::segment_of(name) {
        let there = state.names.iter().any(|name| segment_number(name) == Some(segment));
        let whole = there && terms::file::is_whole(&bytes, segment);
        return Ok((!whole).then_some(Fault::Index));
    }
    if let Some(of) = name.strip_suffix(FRESH) {
        let known = [WITNESSED, CHECKPOINT, KEYS, KEPT].contains(&of) || terms::file::segment_of(of).is_some();
        return Ok(Some(if known { Fault::Unfinished } else { Fault::Stranger }));
    }
    Ok(Some(Fault::Stranger))
}
