//! Embedded PostgreSQL. STUB.
