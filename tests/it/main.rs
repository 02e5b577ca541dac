//! The service from outside: the built program against a real PostgreSQL, over HTTP, WebSocket and SQL.
//!
//! One file a subject, each test named after the promise that it checks. `support` starts everything that a test needs
//! and ends it with the test process; nothing outside the system's directory for temporary files is touched.
//! PostgreSQL 14 or newer must be installed (`PG_BIN_DIR` names the directory of `initdb` and `postgres` where it is not found).

#![allow(clippy::unwrap_used, clippy::expect_used)]
#![allow(clippy::disallowed_methods)] // a lock that is poisoned ends the test, and what only a test fills may be unbounded

mod support;

mod at_once;
mod auth;
mod bisect;
mod changes;
mod command_line;
mod config;
mod convergence;
mod cost;
mod delivery;
mod deployment;
mod documents;
mod edges;
mod embedded;
mod faults;
mod features;
mod given_up;
mod guides;
mod health;
mod held;
mod hosts;
mod http_bad_input;
mod http_conversations;
mod http_messages;
mod http_users;
mod imports;
mod invisible;
mod large;
mod limits;
mod links;
mod listening;
mod live;
mod locks;
mod long;
mod marks;
mod metrics;
mod migrate;
mod missed;
mod open_files;
mod page;
mod pooler;
mod prepared;
mod promises;
mod queries;
mod reads;
mod retention;
mod roles;
mod search;
mod security;
mod sql;
mod summaries;
mod takeover;
mod tls;
mod unfinished;
mod watched;
mod websocket;
mod ws_bad_input;
