//! `[store]`

use super::section::section;
use super::setting::Whole;

section! {
    /// Tenants' records: one SQLite file each under data/tenants, every cell sealed.
    Store = "store" {
        /// File descriptors that tenants' files may take together. A tenant that is read takes one, one that is
        /// written five; the ones not used for longest are closed. For 10,000 tenants at a time give it 12,000.
        descriptors: Whole<16, 10_000_000> = Whole::new(512);
        /// Bytes of their files that all open tenants may keep in memory together.
        cache_bytes: Whole<0, 1_099_511_627_776> = Whole::new(536_870_912);
        /// Connections for reading that a tenant keeps between requests.
        readers_kept: Whole<1, 64> = Whole::new(2);
        /// Days for which earlier states of records are kept, sealed as they were: for countersign history, and for putting
        /// a tenant back to an earlier moment. 0 keeps none. What has to go goes within the hour, also when this is shortened.
        history_days: Whole<0, 3_650> = Whole::new(30);
    }
}
