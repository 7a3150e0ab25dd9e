//! countersign-crypto
