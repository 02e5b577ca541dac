//! The schema: numbered migrations, privileges, then the link to the host's users table. A role that does not own
//! the chat tables only checks that all of it is there.

use std::time::Duration;

use tokio::time::Instant;
use tokio_postgres::error::{Severity, SqlState};
use tokio_postgres::{AsyncMessage, Client};

use super::adopt;
use super::catalog::{become_owner, is_true, other_owner};
use super::error::{MIGRATING, MigrateError, classified, left_undone};
use super::lock_retries::{LOCK_WAIT, LockRetries, Purpose};
use super::migrations;
use super::pooled::is_pooled;
use super::users_table::UsersTable;
use crate::store::connect::{Connector, ISOLATION, LASTING, UNHURRIED};
use crate::store::{describe, quoted_name, quoted_text};

/// Replicas that start together migrate one after the other. Tried and not waited for: a
/// session that waits holds a snapshot, for whose end an index that is built concurrently would wait.
const MIGRATION_LOCK: &str = "select pg_try_advisory_lock(1885562997, 0)";

/// Between two tries.
const MIGRATION_LOCK_PAUSE: Duration = Duration::from_millis(50);

/// After this it is said what is waited for.
const MIGRATION_LOCK_TOLD: Duration = Duration::from_secs(1);

/// How long a service waits for the lock where all that it needs is there. Replicas that start together hold it for a fraction of a
/// second each; a migration may hold it for as long as others hold its tables, and Kubernetes gives a start 180 s
/// (`deploy/kubernetes`), again and again.
const SERVE_PATIENCE: Duration = Duration::from_secs(5);

/// What the embedded database gets besides the schema, in the same session: nobody else makes it there.
#[derive(Clone, Copy, Debug)]
pub struct Around<'a> {
    /// Before it: the users table.
    pub before: &'a str,
    /// After it: the roles.
    pub after: &'a str,
}

/// What is made of a database, and for what.
#[derive(Clone, Copy, Debug)]
pub struct Migration<'a> {
    pub schema: &'a str,
    pub users: &'a UsersTable,
    pub around: Option<Around<'a>>,
    pub purpose: Purpose,
}

/// How far the link to the users table has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UsersLinked {
    Now,
    /// Another session migrates for long: it is left to [`UsersLink::watch`](super::UsersLink::watch).
    Later,
}

impl Migration<'_> {
    /// Applies what is missing, on a connection of its own, under an advisory lock.
    pub async fn run(self, connector: &Connector) -> Result<UsersLinked, MigrateError> {
        let (mut client, mut connection) = connector.connect("pgchat migrate").await?;
        let driver = tokio::spawn(async move {
            // Notices of CREATE … IF NOT EXISTS say nothing that an operator needs.
            while let Some(message) = std::future::poll_fn(|cx| connection.poll_message(cx)).await {
                match message {
                    Ok(AsyncMessage::Notice(notice))
                        if notice.parsed_severity() == Some(Severity::Warning) =>
                    {
                        log::warn!("{}", notice.message());
                    }
                    Ok(AsyncMessage::Notice(notice)) => {
                        log::debug!("migration: {}", notice.message());
                    }
                    Ok(_) => {}
                    Err(_) => break,
                }
            }
        });
        // Nothing stands before the embedded database.
        let result = if self.around.is_none() && is_pooled(&client, connector).await {
            Err(MigrateError::Pooled)
        } else {
            self.apply(&mut client).await
        };
        drop(client);
        driver.abort();
        result
    }

    async fn apply(self, client: &mut Client) -> Result<UsersLinked, MigrateError> {
        let quoted = quoted_name(self.schema);
        let set = format!("{LASTING}; {UNHURRIED}; set search_path = {quoted}, pg_temp");
        client.batch_execute(&set).await?;
        if !self.lock(client).await? {
            log::warn!(
                "another session still migrates; all that this version needs is there, so it is not waited for, and the users table \
                 is linked later"
            );
            return Ok(UsersLinked::Later);
        }
        match other_owner(client, self.schema).await? {
            Some(owner) => {
                check_versions(client, self.schema, &owner).await?;
                self.link_users(client).await?;
            }
            None => self.apply_as_owner(client).await?,
        }
        Ok(UsersLinked::Now)
    }

    /// Takes the lock of migrations. `false`: it is held for long, and this service can do without what it would do under it.
    async fn lock(&self, client: &Client) -> Result<bool, MigrateError> {
        let started = Instant::now();
        let mut told = false;
        let mut patience = SERVE_PATIENCE;
        while !is_true(client, MIGRATION_LOCK).await? {
            let waited = started.elapsed();
            if waited > MIGRATION_LOCK_TOLD && !told {
                log::info!(
                    "waiting for another session that migrates (application_name \"pgchat migrate\")"
                );
                told = true;
            }
            if waited > patience {
                if self.can_serve(client).await {
                    return Ok(false);
                }
                // The other session may have applied them meanwhile.
                patience = waited + SERVE_PATIENCE;
            }
            tokio::time::sleep(MIGRATION_LOCK_PAUSE).await;
        }
        Ok(true)
    }

    /// Whether this is for a service that finds all it needs. What fails is as good as a no: it is met with the lock, too, and told then.
    async fn can_serve(&self, client: &Client) -> bool {
        // The embedded database's service has its password from what comes after a migration.
        let is_for_service = self.purpose == Purpose::Serve && self.around.is_none();
        is_for_service
            && self.is_complete(client).await.unwrap_or(false)
            && self.was_referred(client).await.unwrap_or(false)
    }

    /// Whether the foreign keys to the users table were once there: not where nobody has served yet. Every migration was applied.
    async fn was_referred(&self, client: &Client) -> Result<bool, tokio_postgres::Error> {
        let sql = format!("select {}.chat_was_referred()", quoted_name(self.schema));
        is_true(client, &sql).await
    }

    /// Whether every migration of this version was applied.
    async fn is_complete(&self, client: &Client) -> Result<bool, tokio_postgres::Error> {
        match other_owner(client, self.schema).await? {
            Some(_) => {
                let applied = versions(client, self.schema).await?;
                Ok(migrations::not_among(&applied).is_empty())
            }
            None => migrations::are_applied(client, &quoted_name(self.schema)).await,
        }
    }

    async fn apply_as_owner(mut self, client: &mut Client) -> Result<(), MigrateError> {
        // A message may hold any character.
        if !is_true(client, "select getdatabaseencoding() = 'UTF8'").await? {
            let text = "the database's encoding is not UTF8: no other can hold every message";
            return Err(MigrateError::Failed(text.to_owned()));
        }
        let quoted = quoted_name(self.schema);
        client
            .batch_execute(&format!(
                "{ISOLATION}; set lock_timeout = '{LOCK_WAIT}'; set check_function_bodies = off"
            ))
            .await?;
        let make_schema = format!(
            "do $$ begin if to_regnamespace('{quoted}') is null then create schema {quoted}; end if; end $$"
        );
        if let Some(Around { before, .. }) = self.around {
            let sql = format!("{make_schema}; {before}");
            client.batch_execute(&sql).await?;
        } else {
            // What is made in the embedded database is handed over by what comes after it.
            if let Some(owner) = become_owner(client, self.schema).await? {
                log::info!("migrating as {owner}, who owns the chat tables");
            }
        }
        self.users.check(client, &quoted, &make_schema).await?;
        client.batch_execute(&make_schema).await?;
        let adopted = adopt::prepare(client).await?;
        migrations::apply(client, &quoted).await?;
        // Nobody waits for a service that was never there: it comes with all of it.
        if !self.was_referred(client).await? {
            self.purpose = Purpose::Migrate;
        }
        self.link_users(client).await?;
        adopt::validate(client, self.purpose).await?;
        if adopted {
            adopt::tell_senders_keys(client).await?;
            adopt::tell_indexes(client).await?;
        }
        if let Some(Around { after, .. }) = self.around {
            client.batch_execute(after).await?;
        }
        Ok(())
    }

    /// A service does without the foreign keys for a time: meanwhile only users who are in the new table alone can open no conversation.
    async fn link_users(self, client: &Client) -> Result<(), MigrateError> {
        for note in self.users.link(client, self.schema).await? {
            note.tell();
        }
        let retries = LockRetries::of(self.purpose);
        match self.users.refer(client, self.schema, retries).await {
            Err(error @ MigrateError::Interrupted(_)) if self.purpose == Purpose::Serve => {
                log::warn!("{}", left_undone(&error));
                Ok(())
            }
            ended => ended,
        }
    }
}

/// Whether every migration of this version was applied; more may have been, by a newer one.
async fn check_versions(client: &Client, schema: &str, owner: &str) -> Result<(), MigrateError> {
    let applied = match versions(client, schema).await {
        Ok(applied) => applied,
        Err(error) if error.code() == Some(&SqlState::INSUFFICIENT_PRIVILEGE) => {
            let role = session_role(client).await?;
            return Err(MigrateError::Failed(format!(
                "{}; the chat tables are there, but {role} was not granted what serves them: run sql/roles.sql again, or as {owner}: \
                 select {}.{GRANTING}({})",
                describe(&error),
                quoted_name(schema),
                quoted_text(&role)
            )));
        }
        Err(error) => {
            let text = format!(
                "{}; this role does not own the chat tables",
                describe(&error)
            );
            return Err(classified(&error, text, MIGRATING, MigrateError::Failed));
        }
    };
    let missing = migrations::not_among(&applied);
    if missing.is_empty() {
        return Ok(());
    }
    Err(MigrateError::Failed(format!(
        "{} is missing, and this role does not own the chat tables: run \"pgchat migrate\" as {owner}",
        missing.join(", ")
    )))
}

/// Whose rights this session has.
async fn session_role(client: &Client) -> Result<String, tokio_postgres::Error> {
    let row = client.query_typed_one("select current_user::text", &[]);
    row.await?.try_get(0)
}

/// Those that were applied, as any role may ask for them.
async fn versions(client: &Client, schema: &str) -> Result<Vec<i64>, tokio_postgres::Error> {
    let sql = format!("select {}.chat_schema_versions()", quoted_name(schema));
    let rows = client.query_typed(&sql, &[]).await?;
    rows.iter().map(|row| row.try_get(0)).collect()
}

/// The function that lets a role serve: for its owner, not for this program to call.
const GRANTING: &str = "chat_grant_service";
