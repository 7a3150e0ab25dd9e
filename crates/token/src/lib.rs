//! countersign-token
