//! The harness: a private PostgreSQL, databases cloned from a migrated template, replicas as real processes,
//! and clients whose methods read as verbs. Nothing here knows the service's code; it is the outside that is tested.

mod api;
mod cluster;
mod database;
mod raw;
mod replica;
mod run;
mod shape;
mod socket;
mod users;
mod wait;

pub use api::{Api, Reply};
pub use cluster::{Cluster, program};
pub use database::{Database, Notifications};
pub use raw::Raw;
pub use replica::{Outcome, Replica, pgchat, settings};
pub use shape::{assert_conversation, assert_message, assert_time, id_of, uuid_in};
pub use socket::Socket;
pub use users::*;
pub use wait::{DEADLINE, eventually, within};
