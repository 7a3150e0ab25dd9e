//! `[limits]`

use super::section::section;
use super::setting::Whole;

section! {
    /// How much one request may ask for. What is over a limit is refused whole, with the limit in the message.
    Limits = "limits" {
        /// Bytes of a request's body.
        body_bytes: Whole<1024, 1_073_741_824> = Whole::new(8_388_608);
        /// Bytes of all header fields together.
        header_bytes: Whole<8192, 1_048_576> = Whole::new(32_768);
        /// Header fields.
        headers: Whole<8, 1024> = Whole::new(64);
        /// Bytes of path and query.
        url_bytes: Whole<256, 1_048_576> = Whole::new(16_384);
        /// Levels of arrays and objects in a JSON body.
        json_depth: Whole<2, 100> = Whole::new(32);
        /// Levels of and, or and not in a filter.
        filter_depth: Whole<1, 32> = Whole::new(8);
        /// Comparisons in the filters of one request.
        comparisons: Whole<1, 10_000> = Whole::new(200);
        /// Values in one list of a filter (in).
        list: Whole<1, 100_000> = Whole::new(1000);
        /// Levels of embedded types.
        embed_depth: Whole<0, 8> = Whole::new(4);
        /// Columns of an answer, embedded ones included.
        columns: Whole<1, 10_000> = Whole::new(256);
        /// Fields in one record of a body.
        fields: Whole<1, 10_000> = Whole::new(256);
        /// Rows of an answer; also the size of a page when the request names none.
        rows: Whole<1, 1_000_000> = Whole::new(1000);
        /// Rows that one request may add, change or remove.
        rows_written: Whole<1, 1_000_000> = Whole::new(10_000);
        /// Rows that a request may look at where no index helps.
        rows_scanned: Whole<1, 100_000_000> = Whole::new(100_000);
    }
}
