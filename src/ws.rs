//! Sockets: the `/ws` route, from the handshake to the close frame.
//!
//! In reading order: [`upgrade`] checks the handshake and answers it; [`session`] is the one task of a socket;
//! [`protocol`] holds the names on the wire; [`in_flight`] decides which command of a client may run when;
//! [`commands`] runs it; [`limited_stream`] sees its frames first ([`frame_scanner`] finds them);
//! [`heartbeat`] tells a live client from a dead one, and [`expiry`] when its token ends; [`close`] says why a session ended and
//! closes the socket.
//!
//! What may not enter here: SQL, and any way from a command to another socket that does not go through the database.

mod close;
mod commands;
mod expiry;
mod frame_scanner;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
mod heartbeat;
mod in_flight;
mod limited_stream;
mod protocol;
mod session;
mod upgrade;

pub use upgrade::route;
