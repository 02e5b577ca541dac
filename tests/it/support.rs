//! The harness: a private PostgreSQL, databases cloned from a migrated template, replicas as real processes,
//! and clients whose methods read as verbs. Nothing here knows the service's code but `described`, which takes its
//! documents from it; it is the outside that is tested.

mod aftermath;
mod api;
mod cluster;
mod cursor;
mod database;
pub mod described;
mod gate;
mod handshake;
mod notices;
mod pages;
mod pooler;
mod process;
mod proxy;
mod raw;
mod replica;
mod resuming;
mod roles;
mod run;
mod running_time;
mod seeds;
mod shape;
mod socket;
mod typing;
mod until;
mod users;
mod wait;

pub use api::{Api, Reply, UNHURRIED_SEARCH, seq_of};
pub use cluster::{Cluster, free_port};
pub use cursor::{cursor_of, settled_cursor};
pub use database::{Database, psql};
pub use gate::{Function, Gate, Held};
pub use handshake::{HANDSHAKE, handshake, handshake_text};
pub use notices::Notifications;
pub use pages::{blocks, sql_block};
pub use pooler::pooler;
pub use process::Process;
pub use proxy::{Answer, Proxy};
pub use raw::{Raw, client_frame, close_code, text_frame};
pub use replica::{Outcome, Replica, pgchat, pgchat_in, settings};
pub use roles::{INTEGRATOR, OWNER, SERVICE, roles_sql};
pub use run::{Signal, fresh_dir};
pub use running_time::RunningTime;
pub use seeds::seeds;
pub use shape::{
    assert_conversation, assert_message, assert_time, assert_user, assert_user_summary, id_of,
    uuid_in,
};
pub use socket::Socket;
pub use until::{
    LOCK_WAITERS, until_a_lock_is_waited_for, until_healthy, until_lock_waiters, until_logged,
    until_metric, until_metric_above, until_status,
};
pub use users::*;
pub use wait::{DEADLINE, blocking_eventually, eventually, eventually_within, within};
