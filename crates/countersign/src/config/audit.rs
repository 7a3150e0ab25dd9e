//! `[audit]`

use super::section::section;
use super::setting::Whole;

section! {
    /// Audit records, under audit/. A request whose record can't be made durable is refused.
    Audit = "audit" {
        /// Bytes after which a new file is begun.
        segment_bytes: Whole<65_536, 1_073_741_824> = Whole::new(67_108_864);
    }
}
