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

mod app;
mod auth;
mod config;
mod embedded;
mod error;
mod frame;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
mod header_list;
mod health;
mod http;
mod hub;
mod lifecycle;
mod limits;
mod listener;
mod live;
mod logging;
mod members;
mod metrics;
mod model;
mod names;
mod open_files;
mod position;
mod query_string;
mod reads;
mod replay;
mod reply;
mod schema;
mod server;
mod services;
mod spelling;
mod store;
mod sync;
#[cfg(any(test, fuzzing))]
mod testing;
mod text;
mod until;
mod writer;
mod ws;

// What `main.rs` is made of. All else is private, so that the compiler tells of what nobody uses (but of what `names!` writes, and of the
// fields in `schema`, both of which allow it).
pub use app::{Probe, StartError, check_ca_files, demo_data, healthcheck, migrate, serve};
pub use auth::{Keys, mint};
pub use config::{Config, ConfigError, ConfigErrorKind, Loaded, LogFormat, TokenKeys};
pub use config::{help as settings_help, load as load_config};
pub use embedded::{WATCHDOG_COMMAND, watchdog_main};
pub use logging::{init as init_logging, one_line};
pub use metrics::process_starts;
pub use model::UserId;

/// What the tests in `tests/` look at from outside of a replica.
#[doc(hidden)]
pub mod for_tests {
    pub use crate::config::AuthMode;
    pub use crate::error::ErrorCode;
    pub use crate::frame::{CommandType, Frame, FrameType};
    pub use crate::http::docs::{asyncapi, openapi};
    pub use crate::hub::{Delivery, Event, Hub, HubLimits, Subject, Subscription};
    pub use crate::model::{MessageId, UnixSeconds, UserId, is_invisible};
    pub use crate::position::{Cursor, Horizon, Identity, Xid};
    pub use crate::schema::close_codes::CLOSE_CODES;
}
