//! The accept loop. STUB.
