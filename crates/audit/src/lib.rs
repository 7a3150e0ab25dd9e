//! countersign-audit
