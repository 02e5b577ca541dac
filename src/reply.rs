//! Errors as HTTP replies. STUB.
