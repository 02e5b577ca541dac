//! The numbered migrations and what is known of them in the database: `chat_schema_history`, in the form that refinery gives it.
//!
//! refinery reads the files and tells by checksums whether one was changed; it applies none, since it commits before anything else could be
//! done. New functions are everybody's to execute, and most of them run with their owner's rights: so the same transaction takes that back.

use std::collections::BTreeMap;

use postgres_types::Type;
use refinery::Migration;
use tokio_postgres::{Client, Error};

use super::catalog::has;
use super::error::MigrateError;
use super::lock_retries::LockRetries;
use crate::store::migration_files::{PRIVILEGES, all, routines};

const HISTORY: &str = "create table if not exists chat_schema_history \
     (version int4 primary key, name varchar(255), applied_on varchar(255), checksum varchar(255))";

/// For the transaction: what was there before it, so that `privileges.sql` tells what it has made. Not by the rows' `xmin`: a
/// function that a later version replaces has a new one, and keeps its grants.
const KNOWN: &str = "select set_config('pgchat.known', coalesce(string_agg(t.mark, ','), ''), true)
      from (select 'p' || p.oid::text from pg_proc p where p.pronamespace = current_schema()::regnamespace
            union all
            select 'c' || c.oid::text from pg_class c where c.relnamespace = current_schema()::regnamespace) t (mark)";

/// Migrations and their rows are made by one transaction: so whoever copied the tables has left the rows out.
const WITHOUT_HISTORY: &str = "chat_schema_history has no rows, though the chat tables are there, as in a copy of the schema alone: restore them \
     (pg_dump --data-only --table='*.chat_schema_history')";

/// Applies what is missing, and sets the privileges. All or nothing: a program that inserts meanwhile never meets columns without their
/// triggers, and nobody a function before it is closed. The session holds the lock of migrations; `schema` is quoted, and its `search_path`.
pub(super) async fn apply(client: &mut Client, schema: &str) -> Result<(), MigrateError> {
    let all = all();
    let applied = applied(client, schema).await?;
    if applied.is_empty() && has(client, "to_regclass('chat_tombstones')").await? {
        return Err(MigrateError::Failed(WITHOUT_HISTORY.to_owned()));
    }
    let is_changed = |migration: &&Migration| {
        let known = applied.get(&migration.version());
        known.is_some_and(|checksum| *checksum != migration.checksum().to_string())
    };
    if let Some(changed) = all.iter().find(is_changed) {
        return Err(MigrateError::Diverged(changed.to_string()));
    }
    let missing: Vec<&Migration> = all
        .iter()
        .filter(|migration| !applied.contains_key(&migration.version()))
        .collect();
    // An older replica meets a newer schema during a rolling upgrade: that is fine, and what a newer version has granted is left to it.
    let newest = all.last().map(Migration::version);
    let privileges = (applied.keys().next_back().copied() <= newest).then(privileges);
    let mut retries = LockRetries::default();
    loop {
        match together(client, &missing, privileges.as_deref()).await {
            Ok(()) => break,
            Err(error) if retries.again_after(client, &error).await => {}
            Err(error) => return Err(error.into()),
        }
    }
    for migration in missing {
        log::info!("applied migration {migration}");
    }
    Ok(())
}

/// Whether each of this version was applied, with the text that it has now; for a role that may read the history. `schema` is quoted.
pub(super) async fn are_applied(client: &Client, schema: &str) -> Result<bool, Error> {
    let applied = applied(client, schema).await?;
    Ok(all().iter().all(|migration| {
        applied.get(&migration.version()) == Some(&migration.checksum().to_string())
    }))
}

/// Those of this version that were not applied; a newer one may have applied more.
pub(super) fn not_among(applied: &[i64]) -> Vec<String> {
    all()
        .iter()
        .filter(|migration| !applied.contains(&i64::from(migration.version())))
        .map(ToString::to_string)
        .collect()
}

/// The checksum of each that was applied.
async fn applied(client: &Client, schema: &str) -> Result<BTreeMap<i32, String>, Error> {
    let history = format!("{schema}.chat_schema_history");
    if !has(client, &format!("to_regclass('{history}')")).await? {
        return Ok(BTreeMap::new());
    }
    let sql = format!("select version, checksum from {history}");
    let rows = client.query_typed(&sql, &[]).await?;
    rows.iter()
        .map(|row| Ok((row.try_get(0)?, row.try_get(1)?)))
        .collect()
}

async fn together(
    client: &mut Client,
    migrations: &[&Migration],
    privileges: Option<&str>,
) -> Result<(), Error> {
    let transaction = client.transaction().await?;
    transaction.batch_execute(KNOWN).await?;
    if !migrations.is_empty() {
        transaction.batch_execute(HISTORY).await?;
    }
    for migration in migrations {
        let sql = migration.sql().unwrap_or_default();
        transaction.batch_execute(sql).await?;
        let insert = "insert into chat_schema_history (version, name, applied_on, checksum)
                      values ($1, $2, to_char(now() at time zone 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"'), $3)";
        let checksum = migration.checksum().to_string();
        transaction
            .query_typed(
                insert,
                &[
                    (&migration.version(), Type::INT4),
                    (&migration.name(), Type::VARCHAR),
                    (&checksum, Type::VARCHAR),
                ],
            )
            .await?;
    }
    if let Some(privileges) = privileges {
        transaction.batch_execute(privileges).await?;
    }
    transaction.commit().await
}

fn privileges() -> String {
    let routines: Vec<String> = routines().into_iter().collect();
    format!(
        "set local pgchat.routines = '{}'; {PRIVILEGES}",
        routines.join(",")
    )
}
