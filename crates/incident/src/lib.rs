//! Breaches: what one came to, computed from audit records, and the notices that those concerned get.
//!
//! What this is not: it reads no ledger and sends nothing.
