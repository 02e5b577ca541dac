//! The codes with which the service closes sockets (RFC 6455 section 7.4).

/// One code: why, and what a client does then.
pub struct CloseCode {
    pub code: u16,
    pub why: &'static str,
    pub what_to_do: &'static str,
}

const fn close_code(code: u16, why: &'static str, what_to_do: &'static str) -> CloseCode {
    CloseCode {
        code,
        why,
        what_to_do,
    }
}

/// All of them, as docs/api.md has them.
pub const CLOSE_CODES: [CloseCode; 8] = [
    close_code(
        1012,
        "the replica restarts",
        "reconnect with the cursor, after reconnectAfterMs of server_closing",
    ),
    close_code(
        1013,
        "the client is too slow, its replay could not be read, or the replica has no room for a large message",
        "reconnect with the cursor",
    ),
    close_code(
        4401,
        "the token has expired",
        "get a new token, then reconnect with the cursor",
    ),
    close_code(4403, "the user is deactivated", "stop"),
    close_code(
        4408,
        "two pings were not answered",
        "reconnect with the cursor",
    ),
    close_code(1009, "a frame over MAX_BODY_BYTES", "fix the client"),
    close_code(1007, "text that is not UTF-8", "fix the client"),
    close_code(1002, "broken framing", "fix the client"),
];
