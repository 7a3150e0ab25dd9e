//! `[audit]`

use super::section::section;
use super::setting::Whole;

section! {
    /// Audit records, under audit/. A request whose record can't be made durable is refused.
    Audit = "audit" {
        /// Bytes after which a new file is begun.
        segment_bytes: Whole<65_536, 1_073_741_824> = Whole::new(67_108_864);
        /// Whether the records are a transparency log. Without one nothing proves that none was changed or removed; the
        /// setting is for measuring what the log costs.
        log: bool = true;
        /// Milliseconds until a signed checkpoint covers a record, at the latest.
        checkpoint_ms: Whole<10, 1_000> = Whole::new(1_000);
        /// Days for which records are kept at least; older files are removed, with a record that says so. 0 is for ever.
        keep_days: Whole<0, 36_500> = Whole::new(0);
    }
}
