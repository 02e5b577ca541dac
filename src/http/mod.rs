//! The HTTP routes. STUB.
