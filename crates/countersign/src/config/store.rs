//! `[store]`

use super::section::section;
use super::setting::Whole;

section! {
    /// Tenants' records: one SQLite file each under data/tenants, every cell sealed.
    Store = "store" {
        /// Tenants whose files are open at a time.
        open_tenants: Whole<1, 100_000> = Whole::new(256);
    }
}
