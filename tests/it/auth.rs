//! Who may do what: the table of all routes and commands, tickets, keys, and sockets whose token ends.

mod at_once;
mod bad_tokens;
mod commands;
mod concealment;
mod keys;
mod listed;
mod modes;
mod nestjs;
mod origins;
mod sockets;
mod table;
mod tickets;
pub mod tokens;
mod unusable_keys;

use reqwest::Method;

use crate::support::{Database, Replica, Reply};
use tokens::SECRET;

/// Of another server, in the tests.
pub const SERVICE_TOKEN: &str = "a service token of the tests of 32 bytes or more";

/// A replica in jwt mode, with the tests' secret and `more`.
async fn replica(database: &Database, more: &[(&str, &str)]) -> Replica {
    let mut settings = vec![
        ("JWT_SECRET", SECRET),
        ("SERVICE_TOKENS", SERVICE_TOKEN),
        ("SERVER_HOST", "127.0.0.1"),
    ];
    settings.extend(more);
    Replica::start(database, &settings).await
}

pub async fn get(replica: &Replica, path: &str, token: &str) -> Reply {
    let request = replica.api().request(Method::GET, path);
    Reply::to(request.bearer_auth(token)).await
}
