//! The link to the host's users table: made at the start, looked after while the host alters its table.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use postgres_types::Type;
use tokio::time::timeout;
use tokio_postgres::Client;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use super::adopt::{has, section};
use super::lock_retries::{LOCK_WAIT, LockRetries};
use super::migrate::{MigrateError, failed, sorted};
use super::{Connector, Store, describe, quoted_name};
use crate::error::Error;

/// With the functions that look at the host's table, between marks.
const USERS: &str = include_str!("../../sql/migrations/V2__users.sql");

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
    /// lock no table. `schema` is quoted, and the session's `search_path`; `make_schema` makes it where it is not there.
    pub(super) async fn check(
        &self,
        client: &mut Client,
        schema: &str,
        make_schema: &str,
    ) -> Result<(), MigrateError> {
        if has(client, "to_regproc('chat_users_plan')")
            .await
            .map_err(failed)?
        {
            return Ok(());
        }
        let columns = self.mapping();
        let transaction = client.transaction().await.map_err(failed)?;
        let look = section(USERS, "look");
        transaction
            .batch_execute(&format!(
                "{make_schema}; set local search_path = {schema}, public, pg_temp; {look}"
            ))
            .await
            .map_err(failed)?;
        let sql = "select keys from chat_users_plan(chat_users_table($1), $2)";
        let params = [(&self.name as _, Type::TEXT), (&columns as _, Type::JSONB)];
        transaction
            .query_typed(sql, &params)
            .await
            .map_err(|e| sorted(&e, describe(&e), MigrateError::Users))?;
        transaction.rollback().await.map_err(failed)
    }

    /// Points `chat_users()` at the table, over a session of its own; returns notes for the log.
    pub(super) async fn link(
        &self,
        client: &Client,
        schema: &str,
    ) -> Result<Vec<String>, MigrateError> {
        let quoted = quoted_name(schema);
        let columns = self.mapping();
        // The host's table is looked up in the schema, then where an unqualified name is usually found.
        client
            .batch_execute(&format!(
                "set search_path = {quoted}, public, pg_temp; set lock_timeout = '{LOCK_WAIT}'"
            ))
            .await
            .map_err(|e| sorted(&e, describe(&e), MigrateError::Failed))?;
        let sql = format!("select n from {quoted}.chat_link_users($1, $2) n");
        let mut retries = LockRetries::default();
        let notes = loop {
            let params = [(&self.name as _, Type::TEXT), (&columns as _, Type::JSONB)];
            match client.query_typed(&sql, &params).await {
                Err(error) if retries.again_after(client, &error).await => {
                    let prepared = retries.wait_for_users(client, &self.name).await;
                    prepared.map_err(failed)?;
                }
                Err(error) => {
                    return Err(sorted(&error, describe(&error), MigrateError::Users));
                }
                Ok(notes) => break notes,
            }
        };
        notes
            .iter()
            .map(|note| {
                note.try_get(0)
                    .map_err(|e| MigrateError::Failed(e.to_string()))
            })
            .collect()
    }

    /// The columns as a JSON object.
    fn mapping(&self) -> serde_json::Value {
        self.columns.iter().cloned().collect()
    }
}

/// Keeps `chat_users()` fitting. The host alters its table when it likes, and nothing of pgchat stands in the way; from
/// then on the function may name a column that is not there any more, and every statement that asks for a user fails.
/// So each replica tries it regularly, and links it anew when it fails.
#[derive(Clone)]
pub struct UsersLink {
    store: Store,
    /// Past a pooler: linking sets the session's `search_path`.
    connector: Connector,
    schema: String,
    table: UsersTable,
    /// Between two tries (`USERS_TABLE_CHECK_SECONDS`).
    interval: Duration,
    /// Why it does not fit and could not be linked anew. A std mutex: held to copy the text.
    fault: Arc<Mutex<Option<String>>>,
}

impl UsersLink {
    pub fn new(
        store: Store,
        connector: Connector,
        schema: String,
        table: UsersTable,
        interval: Duration,
    ) -> Self {
        Self {
            store,
            connector,
            schema,
            table,
            interval,
            fault: Arc::default(),
        }
    }

    /// What to tell a probe: names the column and the setting.
    pub fn check(&self) -> Result<(), String> {
        match &*self.fault.lock().unwrap_or_else(PoisonError::into_inner) {
            None => Ok(()),
            Some(why) => Err(why.clone()),
        }
    }

    /// Until `stop`.
    pub async fn watch(self, stop: CancellationToken) {
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(self.interval) => {}
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = self.look() => {}
            }
        }
    }

    async fn look(&self) {
        let misfit = match self.store.try_users().await {
            Ok(()) => {
                if self.set_fault(None) {
                    log::info!("the users table fits again");
                }
                return;
            }
            Err(Error::Internal(misfit)) => misfit,
            Err(error) => return not_known(&error),
        };
        let notes = match self.link().await {
            Ok(notes) => notes,
            Err(MigrateError::Users(why)) => return self.does_not_fit(why),
            Err(error) => return log::warn!("users cannot be read ({misfit}): {error}"),
        };
        // A policy of the host's may fail nevertheless, for some users.
        match self.store.try_users().await {
            Ok(()) => {
                log::warn!(
                    "users could not be read ({misfit}): the table's columns were detected anew"
                );
                for note in notes {
                    log::warn!("{note}");
                }
                self.set_fault(None);
            }
            Err(Error::Internal(why)) => {
                // Anybody may ask a probe, and this may quote what is in a row.
                if self.set_fault(Some("users cannot be read: the log says why".to_owned())) {
                    log::error!("users cannot be read: {why}");
                }
            }
            Err(error) => not_known(&error),
        }
    }

    fn does_not_fit(&self, why: String) {
        if self.set_fault(Some(why.clone())) {
            log::error!("the users table does not fit any more: {why}");
        }
    }

    /// Given up in the time of a statement: the next look tries again, and over another connection.
    async fn link(&self) -> Result<Vec<String>, MigrateError> {
        let linking = async {
            let (client, connection) = self.connector.connect("pgchat users table").await?;
            let _driver = AbortOnDropHandle::new(tokio::spawn(connection));
            self.table.link(&client, &self.schema).await
        };
        timeout(self.store.timeout, linking)
            .await
            .unwrap_or_else(|_| {
                let text = "the database did not answer in time";
                Err(MigrateError::Interrupted(text.to_owned()))
            })
    }

    /// Whether that is news.
    fn set_fault(&self, fault: Option<String>) -> bool {
        let mut known = self.fault.lock().unwrap_or_else(PoisonError::into_inner);
        let news = *known != fault;
        *known = fault;
        news
    }
}

fn not_known(error: &Error) {
    let cause = error.with_cause();
    log::debug!("whether the users table fits is not known: {cause}");
}

impl Store {
    /// Whether `chat_users()` can be asked; [`Error::Internal`] says why not: the host's table has changed, or a policy fails.
    async fn try_users(&self) -> Result<(), Error> {
        let sql = format!("select {}chat_try_users()", self.prefix);
        let asked = self.run(&self.pool, &sql, &[], self.deadline()).await;
        Ok(asked.map(drop)?)
    }
}
