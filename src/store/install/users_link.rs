//! Keeps the link to the host's users table while the host alters its table.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::time::{Instant, timeout};
use tokio_postgres::error::SqlState;

use super::catalog::become_owner;
use super::error::{MigrateError, left_undone};
use super::lock_retries::LockRetries;
use super::migrate::UsersLinked;
use super::triggers::Triggers;
use super::users_fit::{Fit, Note};
use super::users_table::UsersTable;
use crate::error::Error;
use crate::store::Store;
use crate::store::connect::{Connector, Session};
use crate::store::failure::{Fault, QueryFailure};
use crate::sync::lock;

/// Looks at the table between two tries for its foreign keys: each try keeps senders waiting for a moment, in each replica.
const LOOKS_BEFORE_KEYS: u32 = 20;

/// What a look at the table says of the foreign keys to it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Keys {
    /// Nothing new.
    AsBefore,
    /// The table was linked anew: they follow.
    Follow,
    /// They refer to another table, whose place it has taken.
    Elsewhere,
}

/// When the foreign keys are mended.
struct Mending {
    /// `None`: nothing is to be done about them.
    due: Option<Instant>,
    /// It is known why, and was tried: again when that is due.
    is_known: bool,
}

impl Mending {
    fn found(&mut self, keys: Keys) {
        match keys {
            Keys::AsBefore => return,
            Keys::Elsewhere if self.is_known => return,
            Keys::Elsewhere => log::info!(
                "another table has taken the place of the users table: the foreign keys of conversations follow"
            ),
            Keys::Follow => {}
        }
        *self = Self {
            due: Some(Instant::now()),
            is_known: true,
        };
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
    /// What the start has left to do.
    linked: UsersLinked,
    /// Why it does not fit and could not be linked anew. A std mutex: held to copy the text.
    fault: Arc<Mutex<Option<String>>>,
    /// Why it would not be linked as it is by now, while users can be read as it was. For the log alone.
    misfit: Arc<Mutex<Option<String>>>,
    /// Looked at as often.
    triggers: Triggers,
}

impl UsersLink {
    pub fn new(
        store: Store,
        connector: Connector,
        schema: String,
        table: UsersTable,
        interval: Duration,
        linked: UsersLinked,
    ) -> Self {
        Self {
            store,
            connector,
            schema,
            table,
            interval,
            linked,
            fault: Arc::default(),
            misfit: Arc::default(),
            triggers: Triggers::default(),
        }
    }

    /// Why it does not fit: names the column and the setting.
    pub fn check(&self) -> Result<(), String> {
        match &*lock(&self.fault) {
            None => Ok(()),
            Some(why) => Err(why.clone()),
        }
    }

    /// For as long as it is polled.
    pub async fn watch(self) {
        // The start may have left some undone.
        let mut mending = Mending {
            due: Some(Instant::now() + self.interval * LOOKS_BEFORE_KEYS),
            is_known: false,
        };
        if self.linked == UsersLinked::Later {
            self.link_late().await;
            mending.found(Keys::Follow);
        }
        loop {
            tokio::time::sleep(self.interval).await;
            self.look_at_all(&mut mending).await;
        }
    }

    /// Retries until linked: the table that was linked before may be another one than the settings name.
    async fn link_late(&self) {
        loop {
            match self.link().await {
                Ok(notes) => {
                    notes.iter().for_each(Note::tell);
                    log::info!("the users table is linked");
                    self.set_fault(None);
                    return;
                }
                Err(MigrateError::Users(why)) => self.does_not_fit(why),
                Err(error) => log::warn!("the users table is not linked yet: {error}"),
            }
            tokio::time::sleep(self.interval).await;
        }
    }

    /// At pgchat's triggers, at the table, and when they are due at the foreign keys.
    async fn look_at_all(&self, mending: &mut Mending) {
        self.triggers.look(&self.store, &self.schema).await;
        mending.found(self.look().await);
        if mending.due.is_none_or(|due| due > Instant::now()) {
            return;
        }
        match self.refer().await {
            Ok(()) => {
                log::info!("the foreign keys of conversations refer to the users table");
                *mending = Mending {
                    due: None,
                    is_known: false,
                };
            }
            Err(error) => {
                log::warn!("{}", left_undone(&error));
                mending.due = Some(Instant::now() + self.interval * LOOKS_BEFORE_KEYS);
            }
        }
    }

    async fn look(&self) -> Keys {
        let misfit = match self.store.try_users().await {
            Ok(fit) => {
                if self.set_fault(None) {
                    log::info!("the users table fits again");
                }
                return self.follow(fit).await;
            }
            Err(misfit) if misfit.fault == Fault::Refused => misfit.text,
            Err(failure) => {
                not_known(failure);
                return Keys::AsBefore;
            }
        };
        let notes = match self.link().await {
            Ok(notes) => notes,
            Err(MigrateError::Users(why)) => {
                self.does_not_fit(why);
                return Keys::AsBefore;
            }
            Err(error) => {
                log::warn!("users cannot be read ({misfit}): {error}");
                return Keys::AsBefore;
            }
        };
        // A policy of the host's may fail nevertheless, for some users.
        match self.store.try_users().await {
            Ok(_) => {
                log::warn!(
                    "users could not be read ({misfit}): the table's columns were detected anew"
                );
                for note in notes {
                    log::warn!("{note}");
                }
                self.set_fault(None);
            }
            Err(failure) if failure.fault == Fault::Refused => {
                if self.set_fault(Some(failure.text.clone())) {
                    log::error!("users cannot be read: {}", failure.text);
                }
            }
            Err(failure) => not_known(failure),
        }
        Keys::Follow
    }

    /// What the host has added to a table that fits, or lets be read by now.
    async fn follow(&self, fit: Fit) -> Keys {
        match fit {
            Fit::Changed => {}
            Fit::Misfit(why) => {
                if replaced(&self.misfit, Some(why.clone())) {
                    log::error!(
                        "the users table has changed; users are read as before, and a replica that starts now does not serve: {why}"
                    );
                }
                return Keys::AsBefore;
            }
            Fit::AsLinked | Fit::Replaced => {
                if replaced(&self.misfit, None) {
                    log::info!("the users table can be linked as it is");
                }
                return match fit {
                    Fit::Replaced => Keys::Elsewhere,
                    _ => Keys::AsBefore,
                };
            }
        }
        match self.link().await {
            Ok(notes) => {
                replaced(&self.misfit, None);
                log::info!("the users table has changed: its columns were detected anew");
                notes.iter().for_each(Note::tell);
                Keys::Follow
            }
            Err(error) => {
                // Tried at each look, and told once.
                if replaced(&self.misfit, Some(error.to_string())) {
                    log::warn!(
                        "the users table has changed, and is not linked as it is yet: {error}"
                    );
                }
                Keys::AsBefore
            }
        }
    }

    fn does_not_fit(&self, why: String) {
        if self.set_fault(Some(why.clone())) {
            log::error!("the users table does not fit any more: {why}");
        }
    }

    async fn link(&self) -> Result<Vec<Note>, MigrateError> {
        let linking = async {
            let client = self.session().await?;
            // What a superuser may read and the owner may not would fail in the functions, which have the owner's rights.
            match become_owner(&client, &self.schema).await {
                // It has these rights, and may not take the role on: granted with inherit true, set false (from PostgreSQL 16 on).
                Err(error) if error.code() == Some(&SqlState::INSUFFICIENT_PRIVILEGE) => {}
                other => drop(other?),
            }
            self.table.link(&client, &self.schema).await
        };
        self.in_time(linking).await
    }

    /// One try.
    async fn refer(&self) -> Result<(), MigrateError> {
        let referring = async {
            let client = self.session().await?;
            let once = LockRetries::within(Duration::ZERO);
            self.table.refer(&client, &self.schema, once).await
        };
        self.in_time(referring).await
    }

    async fn session(&self) -> Result<Session, MigrateError> {
        Ok(self.connector.session("pgchat users table").await?)
    }

    /// Given up in the time of a statement: the next look tries again, and over another connection.
    async fn in_time<T>(
        &self,
        work: impl Future<Output = Result<T, MigrateError>>,
    ) -> Result<T, MigrateError> {
        timeout(self.store.shared.timeout, work)
            .await
            .unwrap_or_else(|_| {
                let text = "the database did not answer in time";
                Err(MigrateError::Interrupted(text.to_owned()))
            })
    }

    /// Whether that is news.
    fn set_fault(&self, fault: Option<String>) -> bool {
        replaced(&self.fault, fault)
    }
}

/// Whether that is news.
fn replaced(known: &Mutex<Option<String>>, why: Option<String>) -> bool {
    let mut known = lock(known);
    let news = *known != why;
    *known = why;
    news
}

fn not_known(failure: QueryFailure) {
    let error = Error::from(failure);
    log::debug!("whether the users table fits is not known: {error}");
}
