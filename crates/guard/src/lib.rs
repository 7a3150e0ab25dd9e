//! countersign-guard
