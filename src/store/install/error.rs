//! Why the schema could not be applied, and what is said of it.

use tokio_postgres::error::SqlState;

use crate::store::connect::ConnectError;
use crate::store::describe::{describe, host_function};
use crate::store::failure::Fault;

/// Why the schema could not be applied; one line.
#[derive(Debug, thiserror::Error)]
pub enum MigrateError {
    #[error("cannot connect to the database: {0}")]
    Connect(#[from] ConnectError),
    /// The database went away meanwhile, or was busy: nothing was applied by halves, try again.
    #[error("cannot apply the schema: {0}")]
    Interrupted(String),
    #[error("cannot apply the schema: {0}")]
    Failed(String),
    /// The text of this migration is another one than when it was applied. That of a released version never changes.
    #[error(
        "the database was made by another build of pgchat: migration {0} had another text when it was applied, which happens \
         between two states of a version that is not released"
    )]
    Diverged(String),
    #[error("users table: {0}")]
    Users(String),
    /// Nothing was asked for but that.
    #[error(
        "a pooler that gives each transaction another session stands before the database (PgBouncer in transaction mode, for \
         example): LISTEN_DATABASE_URL must lead past it"
    )]
    Pooled,
}

impl From<tokio_postgres::Error> for MigrateError {
    fn from(error: tokio_postgres::Error) -> Self {
        classified(&error, describe(&error), MIGRATING, Self::Failed)
    }
}

/// Who lacks the rights to migrate.
pub(super) const MIGRATING: &str = "a role with the rights must run \"pgchat migrate\": sql/roles.sql makes roles for that and for serving";

/// Worth another try, or what `otherwise` makes of it: with `advice` where rights are missing, unless the error has its own.
pub(super) fn classified(
    error: &tokio_postgres::Error,
    text: String,
    advice: &str,
    otherwise: impl Fn(String) -> MigrateError,
) -> MigrateError {
    let lacks_rights = error.code() == Some(&SqlState::INSUFFICIENT_PRIVILEGE);
    let is_advised = error.as_db_error().is_some_and(|db| db.hint().is_some());
    if Fault::of(error).may_pass() {
        MigrateError::Interrupted(text)
    } else if lacks_rights && !is_advised && host_function(error).is_none() {
        otherwise(format!("{text}; {advice}"))
    } else {
        otherwise(text)
    }
}

/// Of the foreign keys, what a service does without.
pub(super) fn left_undone(error: &MigrateError) -> String {
    let why = match error {
        MigrateError::Interrupted(why) | MigrateError::Failed(why) => why.clone(),
        other => other.to_string(),
    };
    format!(
        "the foreign keys of conversations to the users table are not as they should be, and are tried for again later: {why}"
    )
}
