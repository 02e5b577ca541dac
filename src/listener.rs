//! The listener. STUB.
