//! pgchat: a chat service on PostgreSQL alone.
//!
//! What happens to a message, in reading order:
//!
//! 1. [`server`] accepts the connection; [`http`] or [`ws`] reads the message and checks it ([`auth`], [`model`]).
//! 2. [`writer`] puts all messages that wait into one transaction (group commit).
//! 3. PostgreSQL (`sql/`) stores it, gives it its `seq`, and at commit NOTIFYs `chat_events`. The sender is answered.
//! 4. [`listener`] of every replica receives the notification, reads back what did not fit into it
//!    ([`store`]), and hands the event to the [`hub`].
//! 5. [`hub`] puts it into the queue of each socket of its recipients; the socket's [`ws`] session sends it.
//!
//! There is no shortcut: a message reaches a socket only through the database, so a row that another
//! program inserts takes the same path from step 3 on. [`replay`] serves a client that comes back with a cursor;
//! [`live`] sends what is true only for the moment down the same path: who types, who is there.
//!
//! [`app`] builds these pieces ([`services`]) and stops them in order ([`lifecycle`]); [`config`] holds every setting.

#![deny(clippy::print_stdout)] // the log is for that

pub mod app;
pub mod auth;
pub mod config;
pub mod embedded;
pub mod error;
pub mod frame;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
mod health;
pub mod http;
pub mod hub;
mod lifecycle;
mod limits;
mod listener;
mod live;
pub mod logging;
mod members;
pub mod metrics;
pub mod model;
mod names;
mod open_files;
pub mod position;
mod query_string;
mod reads;
mod replay;
mod reply;
pub mod schema;
mod server;
mod services;
mod spelling;
pub mod store;
mod sync;
#[cfg(any(test, fuzzing))]
mod testing;
mod text;
mod until;
mod writer;
mod ws;
