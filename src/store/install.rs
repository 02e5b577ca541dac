//! What pgchat makes of a database, and sees to while it serves: its tables and functions ([`migrate`]), tables of another service's that
//! it takes over ([`adopt`]), the link to the host's users table, its triggers, the search index.

mod adopt;
mod catalog;
mod error;
mod lock_retries;
mod migrate;
mod migrations;
mod pooled;
pub mod roles;
mod search_index;
mod triggers;
mod users_fit;
mod users_link;
mod users_table;

pub use error::MigrateError;
pub use lock_retries::Purpose;
pub use migrate::{Around, Migration, UsersLinked};
pub use search_index::SearchIndex;
pub use users_link::UsersLink;
pub use users_table::UsersTable;
