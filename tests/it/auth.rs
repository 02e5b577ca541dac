//! Who may do what: the table of all routes and commands, tickets, keys, and sockets whose token ends.

mod at_once;
mod bad_tokens;
mod commands;
mod concealment;
mod directory;
mod hidden_columns;
mod inactive;
mod keys;
mod listed;
mod me;
mod modes;
mod nestjs;
mod origins;
mod polls;
mod sockets;
mod table;
mod tickets;
pub mod tokens;
mod unusable_keys;

use reqwest::Method;
use uuid::Uuid;

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

/// Puts a view in the place of the users table, which is `people` from then on: it fails for one of them, by a division. In the same
/// transaction `more`.
async fn users_view_that_fails_for(database: &Database, user: Uuid, more: &str) {
    database
        .execute(&format!(
            "begin;
             alter table users rename to people;
             create view users as
               select id, first_name, last_name, avatar_url, role,
                      case id when '{user}' then 1 / (length(email) - length(email)) > 0 else is_active end as is_active
                 from people;
             grant select on users to public;
             {more};
             commit"
        ))
        .await;
}

pub async fn get(replica: &Replica, path: &str, token: &str) -> Reply {
    let request = replica.api().request(Method::GET, path);
    Reply::to(request.bearer_auth(token)).await
}
