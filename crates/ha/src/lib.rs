//! One inventory of data centres, and what it comes to: a folder for each, with PostgreSQL under Patroni and etcd, the
//! services beside it, and the certificates by which they all know each other.
//!
//! Nothing of replication is ours, and nothing runs here: this writes down what others run, so that the settings on which
//! "nothing acknowledged is lost" rests are in one reviewed place (`deploy/ha/` in the repository has the templates) and no
//! operator has to find them. What they are, and what was measured with them, is in `docs/high-availability.md`.
//!
//! ```
//! let inventory = countersign_ha::Inventory::parse(countersign_ha::EXAMPLE)?;
//! let files = countersign_ha::render(&inventory);
//! assert!(files.iter().any(|file| file.path == "frankfurt/patroni.yml"));
//! # Ok::<(), countersign_ha::Refused>(())
//! ```

mod certificates;
mod inventory;
mod render;

pub use self::certificates::{Certificate, LIFETIME_MS, certificates};
pub use self::inventory::{Datacentre, Inventory, Paths, Ports, Reason, Refused};
pub use self::render::{File, render};

/// An inventory to begin with.
pub const EXAMPLE: &str = include_str!("../../../deploy/ha/inventory.toml");
