//! What pgchat makes of a database, and sees to while it serves: its tables and functions ([`migrate`]), tables of another service's that
//! it takes over ([`adopt`]), the link to the host's users table, its triggers, the search index.

mod adopt;
mod lock_retries;
mod migrate;
mod migrations;
mod pooled;
pub mod roles;
mod search_index;
mod triggers;
mod users_fit;
mod users_table;

pub use lock_retries::Purpose;
pub use migrate::{Around, MigrateError, Migration, UsersLinked};
pub use search_index::SearchIndex;
pub use users_table::{UsersLink, UsersTable};
