//! The search index: built in the background without blocking writes, and kept tidy.
//!
//! `create index concurrently` runs in no transaction, so it is no migration. It can be interrupted at any
//! moment; what it leaves then is an index that PostgreSQL marks as invalid, and the next attempt drops that and begins anew.
//!
//! Only who owns the chat tables can build it. A service that does not (`sql/roles.sql`) says who must, and looks again:
//! `pgchat migrate` builds it before it ends.

use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::sleep;
use tokio_postgres::Client;

use super::catalog::{is_true, other_owner};
use crate::store::connect::{ConnectError, Connector, LASTING, UNHURRIED};
use crate::store::failure::Fault;
use crate::store::search::Tidied;
use crate::store::{Store, describe, quoted_name};

/// Between two tries for the lock, while another session builds.
const LOCK_PAUSE: Duration = Duration::from_millis(200);

/// After a failure.
const RETRY: Duration = Duration::from_secs(5);

/// Between two merges of what was inserted lately, by whichever replica: a search reads that from end to end, and an insert that finds 64 MiB of it
/// (V10__search.sql) merges it itself, which takes long.
const RARELY: Duration = Duration::from_secs(1);

/// Between two merges where much is inserted: what is merged at once keeps a processor busy, and messages wait meanwhile.
const OFTEN: Duration = Duration::from_millis(100);

/// Pages of 8 KiB that are merged at once, if possible: some 600 short messages, which take about 5 ms.
const MANY_PAGES: f64 = 64.0;

/// Tried and not waited for: a session that waits for a lock holds a snapshot, for whose end `create index
/// concurrently` would wait.
const LOCK: &str = "select pg_try_advisory_lock(1885563000, hashtext(chat_schema()))";

/// Sees to the index of one language, or to there being none.
#[derive(Clone)]
pub struct SearchIndex {
    /// A direct connection, no pooler: it holds a lock for as long as the session lives.
    pub connector: Connector,
    pub schema: String,
    /// `None`: search is off, and the indexes are dropped.
    pub language: Option<String>,
}

/// How far it has come.
enum Built {
    Complete,
    /// This role, which is not the owner, can build none.
    LeftTo(String),
}

/// Why an index was not built; one line.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    #[error("cannot connect to the database: {0}")]
    Connect(#[from] ConnectError),
    #[error("the search index was not built: {}", describe(.0))]
    Failed(#[from] tokio_postgres::Error),
    #[error(
        "there is no complete search index, and this role cannot build it: run \"pgchat migrate\" as {0}"
    )]
    NotOwner(String),
}

impl SearchIndex {
    /// Builds what is missing, once, and tells `built`; then keeps it tidy, for as long as it is polled. A build that is under way when this is
    /// dropped is left to the server, which completes it.
    pub async fn run(self, store: Store, built: oneshot::Sender<()>) {
        self.built().await;
        // Nobody may be waiting for it any longer.
        let _ = built.send(());
        match &self.language {
            Some(language) => tidy(&store, language).await,
            None => std::future::pending().await,
        }
    }

    /// Builds what is missing, once, and returns when the index is there: for `pgchat migrate`.
    pub async fn complete(&self) -> Result<(), BuildError> {
        match self.build().await? {
            Built::Complete => Ok(()),
            Built::LeftTo(owner) => Err(BuildError::NotOwner(owner)),
        }
    }

    async fn built(&self) {
        let mut told = false;
        loop {
            match self.build().await {
                Ok(Built::Complete) => return,
                Ok(Built::LeftTo(owner)) => {
                    if !told {
                        log::warn!("{}; searches wait for it", BuildError::NotOwner(owner));
                        told = true;
                    }
                }
                Err(reason) => log::warn!("{reason}; trying again"),
            }
            sleep(RETRY).await;
        }
    }

    /// One session at a time builds, and the others wait for it: each in one session of its own, since a build may take hours.
    async fn build(&self) -> Result<Built, BuildError> {
        loop {
            let client = self.connector.session("pgchat search index").await?;
            let schema = quoted_name(&self.schema);
            client
                .batch_execute(&format!(
                    "{LASTING}; {UNHURRIED}; set lock_timeout = 0; set search_path = {schema}, pg_temp"
                ))
                .await?;
            if let Some(owner) = other_owner(&client, &self.schema).await? {
                return Ok(self.look(&client, owner).await?);
            }
            match wait_for_turn(&client).await {
                Ok(()) => return Ok(self.build_in_turn(&client).await?),
                Err(error) if Fault::of(&error) == Fault::ConnectionLost => {
                    log::debug!(
                        "waiting for the search index on a new connection: {}",
                        describe(&error)
                    );
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// For the session that holds the lock.
    async fn build_in_turn(&self, client: &Client) -> Result<Built, tokio_postgres::Error> {
        let wanted = match &self.language {
            None => None,
            Some(language) => {
                let sql = "select chat_search_index($1), chat_search_index_ddl($1)";
                let row = client.query_one(sql, &[language]).await?;
                Some((row.try_get::<_, String>(0)?, row.try_get::<_, String>(1)?))
            }
        };
        let found = client
            .query("select name, complete from chat_search_indexes()", &[])
            .await?;
        let mut complete = false;
        let mut obsolete = Vec::new();
        for row in &found {
            let (name, valid): (String, bool) = (row.try_get(0)?, row.try_get(1)?);
            match &wanted {
                Some((wanted, _)) if name == *wanted && valid => complete = true,
                Some((wanted, _)) if name == *wanted => {
                    log::info!("the search index was not completed; it is built anew");
                    drop_index(client, &name).await?;
                }
                _ => obsolete.push(name),
            }
        }
        if let (Some((name, ddl)), false) = (&wanted, complete) {
            log::info!("building the search index {name}");
            client.batch_execute(ddl).await?;
            // The planner would read the statistics of its words and keys at each search, and has no use for them.
            let quoted = quoted_name(name);
            client
                .batch_execute(&format!(
                    "alter index {quoted} alter column 1 set statistics 0, alter column 2 set statistics 0"
                ))
                .await?;
            log::info!("the search index {name} is complete");
        }
        // The old one serves the replicas that still use it until the new one is there.
        for name in &obsolete {
            log::info!("dropping the search index {name}");
            drop_index(client, name).await?;
        }
        Ok(Built::Complete)
    }

    /// For a role that cannot change what is there.
    async fn look(&self, client: &Client, owner: String) -> Result<Built, tokio_postgres::Error> {
        let sql = "select coalesce(bool_or(complete and name = chat_search_index($1)), false), \
                          coalesce(bool_or(name is distinct from chat_search_index($1)), false) \
                     from chat_search_indexes()";
        let row = client.query_one(sql, &[&self.language]).await?;
        let (complete, obsolete): (bool, bool) = (row.try_get(0)?, row.try_get(1)?);
        if self.language.is_some() && !complete {
            return Ok(Built::LeftTo(owner));
        }
        if obsolete {
            log::warn!(
                "a search index is there that SEARCH_LANGUAGE does not name, and costs every write: \"pgchat migrate\" as \
                 {owner} drops it"
            );
        }
        Ok(Built::Complete)
    }
}

/// Each try is a statement of its own: it leaves no snapshot behind.
async fn wait_for_turn(client: &Client) -> Result<(), tokio_postgres::Error> {
    while !is_true(client, LOCK).await? {
        sleep(LOCK_PAUSE).await;
    }
    Ok(())
}

/// Merges what was inserted lately, for as long as it is polled.
async fn tidy(store: &Store, language: &str) {
    let mut told = false;
    let mut pace = Pace::default();
    let mut wait = RARELY;
    loop {
        sleep(wait).await;
        match store.tidy_search(language).await {
            Ok(Some(tidied)) => {
                told = false;
                wait = pace.until_next(tidied, rand::random());
            }
            // Not built again: two replicas with different languages would take turns for ever.
            Ok(None) => {
                if !told {
                    log::error!(
                        "the search index for {language} is gone: a replica with another SEARCH_LANGUAGE has replaced it; \
                         restart this one to build it again"
                    );
                    told = true;
                }
                wait = RETRY;
            }
            Err(error) => {
                log::warn!(
                    "the search index's pending list was not merged: {}",
                    error.with_cause()
                );
                wait = RETRY;
            }
        }
    }
}

/// How often all replicas together merge: the more comes, the more often.
struct Pace {
    interval: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self { interval: RARELY }
    }
}

impl Pace {
    /// How long this replica waits after a merge. Where several share the work, half to one and a half times the mean, by
    /// `share` from 0 to 1, so that they do not all come at once.
    fn until_next(&mut self, last: Tidied, share: f64) -> Duration {
        if let Some(pages) = last.pages {
            let ideal = self.interval.mul_f64(MANY_PAGES / pages.max(1) as f64);
            // Few pages may mean that another replica was here just before.
            self.interval = ideal.min(self.interval * 2).clamp(OFTEN, RARELY);
        }
        match u32::try_from(last.replicas) {
            Ok(many @ 2..) => (self.interval * many).mul_f64(0.5 + share),
            _ => self.interval,
        }
    }
}

async fn drop_index(client: &Client, name: &str) -> Result<(), tokio_postgres::Error> {
    let name = quoted_name(name);
    client
        .batch_execute(&format!("drop index concurrently if exists {name}"))
        .await
}

#[cfg(test)]
mod tests {
    use super::*;

    fn until_next(pace: &mut Pace, replicas: i64, pages: Option<i64>, share: f64) -> Duration {
        pace.until_next(Tidied { replicas, pages }, share)
    }

    #[test]
    fn replicas_share_the_tidying() {
        let mut pace = Pace::default();
        for one in [0, 1] {
            assert_eq!(until_next(&mut pace, one, Some(0), 0.9), RARELY);
        }
        assert_eq!(until_next(&mut pace, 8, Some(0), 0.5), RARELY * 8);
        assert_eq!(until_next(&mut pace, 8, Some(0), 0.0), RARELY * 4);
        assert_eq!(until_next(&mut pace, 8, Some(0), 1.0), RARELY * 12);
        until_next(&mut pace, 8, Some(10_000), 0.5);
        assert_eq!(until_next(&mut pace, 8, None, 0.5), OFTEN * 8);
    }

    #[test]
    fn the_more_comes_the_more_often_it_is_merged() {
        let mut pace = Pace::default();
        // Five times as much as is merged at once, and then no more than that.
        assert_eq!(until_next(&mut pace, 1, Some(320), 0.5), RARELY / 5);
        assert_eq!(until_next(&mut pace, 1, Some(64), 0.5), RARELY / 5);
        // Another replica is at it, or was just before.
        assert_eq!(until_next(&mut pace, 1, None, 0.5), RARELY / 5);
        assert_eq!(until_next(&mut pace, 1, Some(1), 0.5), RARELY / 5 * 2);
        assert_eq!(until_next(&mut pace, 1, Some(1_000_000), 0.5), OFTEN);
        for _ in 0..4 {
            until_next(&mut pace, 1, Some(0), 0.5);
        }
        assert_eq!(until_next(&mut pace, 1, Some(0), 0.5), RARELY);
    }
}
