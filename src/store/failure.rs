//! What went wrong with a statement, and what of it may be tried again.

use tokio_postgres::error::{DbError, Severity, SqlState};

use super::describe;
use super::describe::host_function;
use crate::error::{Denial, Error};
use crate::logging::Repeats;
use crate::text::shortened;

/// What kind of thing is wrong, as far as it matters to what is done about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// No connection was to be had.
    NoConnection,
    /// The connection is gone, or the server is about to end it; whether the statement took place
    /// is not known.
    ConnectionLost,
    /// A prepared statement is gone, and did not take place: somebody discarded it, a migration
    /// changed what its function returns ("cached plan must not change result type") or has just
    /// dropped what it was planned with, or what was planned in the session was for other types
    /// than the columns have now. A new connection prepares it anew.
    StatementLost,
    /// The statement's deadline passed. So it took too long, or the server is silent.
    NoAnswer,
    /// What came back is not what the function returns: somebody has replaced it. Nobody knows what
    /// it has done.
    OtherAnswer,
    /// The server ended the statement, most probably for its length (`statement_timeout` or
    /// `transaction_timeout` of the role, or of the database). It changed nothing.
    TooSlow,
    /// A search had all the time that it may have (`SEARCH_TIMEOUT_SECONDS`).
    SearchGivenUp,
    /// Another transaction held a row for longer than the statement waits (55P03): nothing was
    /// changed.
    Held,
    /// Other transactions were in the way: serialization, deadlocks, and changes of the same row of
    /// a catalog.
    Collided,
    /// The server has too little of something, is not in the state that the statement needs, or has
    /// a fault of its own.
    Exhausted,
    /// A trigger of the host's refuses it on purpose, in words for the user ([`refusal`]).
    Denied,
    /// The database does not do this, however often it is asked: a mistake, or something of the
    /// host's that refuses it.
    Refused,
}

impl Fault {
    pub(super) fn of(error: &tokio_postgres::Error) -> Self {
        match Self::by_code(error) {
            // A function of the host's may say anything, as that the server of a foreign table is
            // away (08001). The session that it runs in is not, and of a batch of messages it says
            // nothing about the others.
            Self::ConnectionLost if !ends_session(error) && host_function(error).is_some() => {
                Self::Exhausted
            }
            // Nor is it the statement's fault that the session ends: its database was dropped
            // (57P04), or a pooler in front of it has lost the server, under a code of its own.
            Self::Refused if ends_session(error) => Self::ConnectionLost,
            fault => fault,
        }
    }

    /// Classes are those of the PostgreSQL manual, appendix A.
    fn by_code(error: &tokio_postgres::Error) -> Self {
        const TRANSACTION_TIMEOUT: &str = "25P04";
        let Some(code) = error.code() else {
            // Not the server's words.
            return Self::ConnectionLost;
        };
        let is = |what: fn(&DbError) -> bool| error.as_db_error().is_some_and(what);
        match *code {
            SqlState::ADMIN_SHUTDOWN
            | SqlState::CRASH_SHUTDOWN
            | SqlState::CANNOT_CONNECT_NOW
            | SqlState::IDLE_SESSION_TIMEOUT
            // What the transaction had done is undone, and the statement that hears of it was never
            // run.
            | SqlState::IDLE_IN_TRANSACTION_SESSION_TIMEOUT
            | SqlState::READ_ONLY_SQL_TRANSACTION => Self::ConnectionLost,
            SqlState::QUERY_CANCELED => Self::TooSlow,
            SqlState::LOCK_NOT_AVAILABLE => Self::Held,
            _ if is(is_statement_lost) => Self::StatementLost,
            _ if is(is_catalog_collision) => Self::Collided,
            _ if is(is_notify_queue_full) => Self::Exhausted,
            _ => match code.code() {
                // From PostgreSQL 17 on. It ends the session, but what became of the statement is
                // known: it was undone, and on another connection it would take as long.
                TRANSACTION_TIMEOUT => Self::TooSlow,
                DENIED => Self::Denied,
                other if other.starts_with("08") => Self::ConnectionLost,
                other if other.starts_with("40") => Self::Collided,
                other if ["53", "55", "58"].iter().any(|class| other.starts_with(class)) => {
                    Self::Exhausted
                }
                _ => Self::Refused,
            },
        }
    }

    /// Whether the statement may go well later, as it is.
    pub(super) fn may_pass(self) -> bool {
        match self {
            Self::NoConnection
            | Self::ConnectionLost
            | Self::NoAnswer
            | Self::TooSlow
            | Self::SearchGivenUp
            | Self::Held
            | Self::Collided
            | Self::Exhausted => true,
            // Of a lost statement another session is needed first.
            Self::StatementLost | Self::OtherAnswer | Self::Denied | Self::Refused => false,
        }
    }

    /// The connection is of no more use; on another one the same may go well at once.
    pub(super) fn is_of_connection(self) -> bool {
        matches!(self, Self::ConnectionLost | Self::StatementLost)
    }
}

/// Why a statement failed. Nothing is logged of it until it becomes an [`Error`]: what is tried
/// again with success is no trouble.
#[derive(Debug)]
pub(super) struct QueryFailure {
    pub(super) fault: Fault,
    /// For the log; of what is denied, for the user.
    pub(super) text: String,
}

impl QueryFailure {
    pub(super) fn of(error: &tokio_postgres::Error) -> Self {
        match Fault::of(error) {
            Fault::Denied => {
                log::debug!("database: {}", describe(error));
                Self::because(Fault::Denied, &words(error))
            }
            fault => Self::because(fault, &describe(error)),
        }
    }

    pub(super) fn no_connection(reason: &str) -> Self {
        Self::because(Fault::NoConnection, reason)
    }

    pub(super) fn no_answer() -> Self {
        Self::because(Fault::NoAnswer, "no answer in time")
    }

    pub(super) fn other_answer() -> Self {
        let text = "the function's answer is not what it is to return";
        Self::because(Fault::OtherAnswer, text)
    }

    /// A row was held until the deadline.
    pub(super) fn held() -> Self {
        let text = "another program's transaction held a row until the deadline";
        Self::because(Fault::Held, text)
    }

    /// It began and took too long. A silent server looks the same.
    pub(super) fn is_too_slow(&self) -> bool {
        matches!(self.fault, Fault::NoAnswer | Fault::TooSlow)
    }

    /// A search of messages, or a list by names, had all the time that it may have.
    pub(super) fn search_given_up() -> Self {
        let text = "a search or a list was given up after SEARCH_TIMEOUT_SECONDS";
        Self::because(Fault::SearchGivenUp, text)
    }

    fn because(fault: Fault, text: &str) -> Self {
        Self {
            fault,
            text: text.to_owned(),
        }
    }
}

impl From<QueryFailure> for Error {
    /// Writes the warning, too, except of what will be logged as an internal error.
    fn from(QueryFailure { fault, text }: QueryFailure) -> Self {
        static UNREACHABLE: Repeats = Repeats::new(module_path!());
        static SILENT: Repeats = Repeats::new(module_path!());
        static HELD: Repeats = Repeats::new(module_path!());
        static SEARCHES: Repeats = Repeats::new(module_path!());
        static OTHERS: Repeats = Repeats::new(module_path!());
        let (lines, what, message) = match fault {
            Fault::Denied => return Self::Forbidden(Denial::Refused(text)),
            Fault::OtherAnswer | Fault::Refused => return Self::Internal(text.into()),
            Fault::SearchGivenUp => {
                SEARCHES.warn(&text);
                return Self::SearchTimeout;
            }
            Fault::NoConnection => (
                &UNREACHABLE,
                "database unreachable",
                "the database cannot be reached",
            ),
            Fault::NoAnswer => (&SILENT, "database", "the database did not answer in time"),
            Fault::Held => (&HELD, "database", "another transaction is changing this"),
            Fault::ConnectionLost
            | Fault::StatementLost
            | Fault::TooSlow
            | Fault::Collided
            | Fault::Exhausted => (&OTHERS, "database", "the database is not available"),
        };
        lines.warn(format_args!("{what}: {text}"));
        Self::unavailable(message)
    }
}

/// Told by where it is raised, since with the same codes the parser, or a trigger of the host's,
/// refuses what will not work in a new session either. When somebody has changed a column's type,
/// PL/pgSQL goes on with expressions of a row that it planned before ("attribute 4 has wrong
/// type"), for as long as the session lives (PostgreSQL manual, "Plan Caching").
fn is_statement_lost(db: &DbError) -> bool {
    let is_raised_in = |file| db.file() == Some(file);
    let is_of_parameters = || {
        db.routine()
            .is_some_and(|name| name.starts_with("plpgsql_param_eval"))
    };
    match *db.code() {
        SqlState::INVALID_SQL_STATEMENT_NAME => true,
        SqlState::FEATURE_NOT_SUPPORTED => is_raised_in("plancache.c"),
        SqlState::DATATYPE_MISMATCH => is_raised_in("execExprInterp.c") || is_of_parameters(),
        // Dropped after it was looked up by its name: when its rights are, or where it is used.
        SqlState::UNDEFINED_FUNCTION | SqlState::UNDEFINED_TABLE => is_raised_in("aclchk.c"),
        SqlState::INTERNAL_ERROR => [
            "cache lookup failed for ",
            "could not open relation with OID ",
        ]
        .iter()
        .any(|begin| db.message().starts_with(begin)),
        _ => false,
    }
}

/// Somebody else has changed what this one was to change, a function's rights for one. As all
/// internal errors it is translated into no language.
fn is_catalog_collision(db: &DbError) -> bool {
    *db.code() == SqlState::INTERNAL_ERROR && db.message().starts_with("tuple concurrently ")
}

/// The session ends with it, whatever it says of the statement (PostgreSQL manual, "Message
/// Severity Levels").
pub(super) fn ends_session(error: &tokio_postgres::Error) -> bool {
    let severity = error.as_db_error().and_then(DbError::parsed_severity);
    matches!(severity, Some(Severity::Fatal | Severity::Panic))
}

/// What a trigger of the host's raises to refuse a message, a conversation, or a change of one, on
/// purpose (sql/README.md, "Refuse a message"). Classes that begin with I to Z are left to
/// implementations by the standard, and PostgreSQL has none that begins with PC (PostgreSQL manual,
/// appendix A).
const DENIED: &str = "PC403";

/// Characters of what a user is told at most: an exception's text may be as long as a message.
const MAX_REFUSAL: usize = 256;

/// In which words the host has refused it, where it has ([`Fault::Denied`]).
pub(super) fn refusal(error: &tokio_postgres::Error) -> Denial {
    Denial::Refused(words(error))
}

fn words(error: &tokio_postgres::Error) -> String {
    error
        .as_db_error()
        .map(|db| shortened(db.message(), MAX_REFUSAL))
        .unwrap_or_default()
}

/// A full notification queue, which nobody's input causes, unlike the others of its code: a row
/// that is too long for an index of the host's, for one. The message keeps the command's name in
/// every language.
fn is_notify_queue_full(db: &DbError) -> bool {
    *db.code() == SqlState::PROGRAM_LIMIT_EXCEEDED && db.message().contains("NOTIFY")
}

#[cfg(test)]
mod tests;
