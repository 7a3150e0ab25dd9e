//! The file: private, whole, useless without its key; what it certifies.
