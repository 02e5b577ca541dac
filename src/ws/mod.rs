//! WebSocket. STUB.
