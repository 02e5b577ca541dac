//! Who may do what. STUB.
