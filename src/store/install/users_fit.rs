//! What the database says of the host's users table: whether it fits, and what the log is told of its columns.

use std::fmt;

use tokio_postgres::Row;

use crate::store::Store;
use crate::store::failure::QueryFailure;

/// A line for the log, of how the table was linked.
pub(super) struct Note {
    text: String,
    /// Something of the host's is not shown as its owner may expect.
    is_warning: bool,
}

impl Note {
    pub(super) fn of(row: &Row) -> Result<Self, tokio_postgres::Error> {
        Ok(Self {
            text: row.try_get(0)?,
            is_warning: row.try_get(1)?,
        })
    }

    pub(super) fn tell(&self) {
        if self.is_warning {
            log::warn!("{self}");
        } else {
            log::info!("{self}");
        }
    }
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// What has become of a table whose users can be read.
pub(super) enum Fit {
    AsLinked,
    /// Another table of the same columns has taken its place, and the foreign keys refer to the former one.
    Replaced,
    /// It would be linked in another way by now: it has other columns, or more of them may be read.
    Changed,
    /// It could not be linked by now, for this reason.
    Misfit(String),
}

impl Fit {
    fn of(row: &Row) -> Result<Self, tokio_postgres::Error> {
        let misfit: Option<String> = row.try_get("misfit")?;
        let has_changed: bool = row.try_get("has_changed")?;
        let was_replaced: bool = row.try_get("was_replaced")?;
        Ok(match misfit {
            Some(why) => Self::Misfit(why),
            None if has_changed => Self::Changed,
            None if was_replaced => Self::Replaced,
            None => Self::AsLinked,
        })
    }
}

impl Store {
    /// Whether `chat_users()` can be asked, and still fits. [`Fault::Refused`](crate::store::failure::Fault::Refused): the host's table has changed so
    /// that it cannot, or a policy fails.
    pub(super) async fn try_users(&self) -> Result<Fit, QueryFailure> {
        let sql = format!("select * from {}chat_try_users()", self.shared.prefix);
        let asked = self
            .run(&self.shared.pool, &self.statement(sql, &[]))
            .await?;
        match asked.first() {
            Some(row) => Fit::of(row).map_err(|error| QueryFailure::of(&error)),
            None => Ok(Fit::AsLinked),
        }
    }
}
