//! countersign-door-http
