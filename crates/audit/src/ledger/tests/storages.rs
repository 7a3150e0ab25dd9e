//! The storages that a ledger can be on.

use crate::ledger::memory::MemoryStorage;
use crate::ledger::storage::conformance::{Place, run};
use crate::ledger::storage::{Folder, Storage};
use crate::testing::Dice;

struct OnDisk(tempfile::TempDir);

impl Place for OnDisk {
    fn open(&mut self) -> std::sync::Arc<dyn Storage> {
        std::sync::Arc::new(Folder::open(&self.0.path().join("ledger")).unwrap())
    }

    /// Of power, a test can't take any from a disk.
    fn crash(&mut self) {}
}

struct InMemory(MemoryStorage, Dice);

impl Place for InMemory {
    fn open(&mut self) -> std::sync::Arc<dyn Storage> {
        std::sync::Arc::new(self.0.clone())
    }

    fn crash(&mut self) {
        let Self(storage, dice) = self;
        *storage = storage.after_power_loss(&mut || dice.below(2) == 0);
    }
}

#[test]
fn a_folder_conforms() {
    run(|| OnDisk(tempfile::tempdir().unwrap()));
}

#[test]
fn memory_conforms() {
    run(|| InMemory(MemoryStorage::new(), Dice(7)));
}
