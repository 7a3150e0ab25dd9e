//! countersign-authority
