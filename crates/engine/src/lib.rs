//! countersign-engine
