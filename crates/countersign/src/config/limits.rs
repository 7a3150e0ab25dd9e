//! `[limits]`

use super::section::section;
use super::setting::Whole;

section! {
    /// How much one request may ask for. Over a limit it is refused, with the limit in the message.
    Limits = "limits" {
        /// Bytes of a request's body.
        body_bytes: Whole<1024, 1_073_741_824> = Whole::new(16_777_216);
        /// Bytes of a request's line and headers together.
        header_bytes: Whole<1024, 1_048_576> = Whole::new(65_536);
        /// Time for a whole request, in milliseconds.
        request_ms: Whole<100, 3_600_000> = Whole::new(30_000);
        /// Levels of nesting in filters, embeds and JSON.
        nesting: Whole<1, 100> = Whole::new(16);
        /// Connections at a time.
        connections: Whole<1, 1_000_000> = Whole::new(4096);
        /// Rows of an answer; also the size of a page when the request names none.
        rows: Whole<1, 1_000_000> = Whole::new(1000);
        /// Rows that one request may add or change.
        rows_written: Whole<1, 1_000_000> = Whole::new(10_000);
        /// Rows that a request may look at where no index helps.
        rows_scanned: Whole<1, 100_000_000> = Whole::new(100_000);
    }
}
