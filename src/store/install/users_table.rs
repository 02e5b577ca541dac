//! The host's users table, as the settings name it, and how it is linked.

use postgres_types::Type;
use tokio_postgres::Client;

use super::catalog::has;
use super::error::{MigrateError, classified};
use super::lock_retries::{LOCK_WAIT, LockRetries, wait_briefly};
use super::users_fit::Note;
use crate::store::migration_files::section;
use crate::store::{describe, quoted_name};

/// With the functions that look at the host's table, between marks.
const USERS: &str = include_str!("../../../sql/migrations/V2__users.sql");

/// The host's users table, as configured.
#[derive(Clone, Debug)]
pub struct UsersTable {
    pub name: String,
    /// `USERS_COLUMNS`: fields of a user, and the columns that they are in.
    pub columns: Vec<(String, String)>,
}

impl UsersTable {
    /// Whether the table can be linked, before the first migration makes anything; an error is the same as that of
    /// [`UsersTable::link`]. The migration's own functions look at the catalog, in a transaction that leaves nothing, and
    /// lock no table. `schema` is quoted; it becomes the `search_path`, so that no name is looked up elsewhere. `make_schema` makes it
    /// where it is not there.
    pub(super) async fn check(
        &self,
        client: &mut Client,
        schema: &str,
        make_schema: &str,
    ) -> Result<(), MigrateError> {
        if has(client, "to_regproc('chat_users_plan')").await? {
            return Ok(());
        }
        let columns = self.mapping();
        let transaction = client.transaction().await?;
        let look = section(USERS, "look");
        transaction
            .batch_execute(&format!(
                "{make_schema}; set local search_path = {schema}, pg_temp; {look}"
            ))
            .await?;
        let sql = "select keys from chat_users_plan(chat_users_table($1), $2)";
        let params = [(&self.name as _, Type::TEXT), (&columns as _, Type::JSONB)];
        transaction
            .query_typed(sql, &params)
            .await
            .map_err(|error| unlinkable(&error))?;
        Ok(transaction.rollback().await?)
    }

    /// Points `chat_users()` at the table, over a session of its own; returns notes for the log.
    pub(super) async fn link(
        &self,
        client: &Client,
        schema: &str,
    ) -> Result<Vec<Note>, MigrateError> {
        let quoted = quoted_name(schema);
        let columns = self.mapping();
        // What others may create in is not in it: chat_users_table() looks there for the host's table, and for nothing else.
        client
            .batch_execute(&format!(
                "set search_path = {quoted}, pg_temp; set lock_timeout = '{LOCK_WAIT}'"
            ))
            .await?;
        let sql = format!("select note, is_warning from {quoted}.chat_link_users($1, $2)");
        let mut retries = LockRetries::default();
        let notes = loop {
            let params = [(&self.name as _, Type::TEXT), (&columns as _, Type::JSONB)];
            match client.query_typed(&sql, &params).await {
                Err(error) if retries.again_after(client, &error).await => {}
                Err(error) => return Err(unlinkable(&error)),
                Ok(notes) => break notes,
            }
        };
        notes.iter().map(|row| Ok(Note::of(row)?)).collect()
    }

    /// Mends the foreign keys to the table that was linked, over the session that has linked it.
    pub(super) async fn refer(
        &self,
        client: &Client,
        schema: &str,
        mut retries: LockRetries,
    ) -> Result<(), MigrateError> {
        wait_briefly(client).await?;
        let sql = format!("select {}.chat_refer_to_users()", quoted_name(schema));
        loop {
            match client.batch_execute(&sql).await {
                Err(error) if retries.again_after(client, &error).await => {
                    retries.wait_for_users(client, &self.name).await?;
                }
                Err(error) => return Err(unlinkable(&error)),
                Ok(()) => return Ok(()),
            }
        }
    }

    /// The columns as a JSON object.
    fn mapping(&self) -> serde_json::Value {
        self.columns.iter().cloned().collect()
    }
}

/// Why the table cannot be linked.
fn unlinkable(error: &tokio_postgres::Error) -> MigrateError {
    let advice = "sql/roles.sql, run again, gives the owner of the chat tables the rights on the users table that it needs";
    classified(error, describe(error), advice, MigrateError::Users)
}
