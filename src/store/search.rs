//! Full-text search over a user's own conversations.

use std::future::ready;
use std::time::Duration;

use postgres_types::Type;
use tokio::time::Instant;
use tokio_postgres::Row;

use super::failure::QueryFailure;
use super::lease::Param;
use super::{Listing, PAGE_BYTES, Page, Store, column_of, listing, single, unknown_status};
use crate::error::{Denial, Error, Resource};
use crate::fair_semaphore::FairSemaphore;
use crate::model::{ConversationId, UserId};
use crate::turns;

/// What a user looks for.
#[derive(Clone, Copy, Debug)]
pub struct Search<'a> {
    pub reader: UserId,
    /// As for `websearch_to_tsquery` (PostgreSQL manual, "Parsing Queries").
    pub words: &'a str,
    /// This one only.
    pub conversation: Option<ConversationId>,
    /// The text search configuration of the index.
    pub language: &'a str,
    /// Each Message gets a member `snippet`.
    pub snippets: bool,
}

/// Who may search, and for how long: what a search costs depends on what is written in the messages.
pub(super) struct Searches {
    /// One of each user at a time.
    semaphore: FairSemaphore,
    /// From its connection on, which it may have to wait for.
    timeout: Duration,
}

impl Searches {
    /// At most `parallel` at a time; `timeout`: `SEARCH_TIMEOUT_SECONDS`.
    pub fn new(parallel: usize, timeout: Duration) -> Self {
        Self {
            semaphore: FairSemaphore::new(parallel, 1),
            timeout,
        }
    }

    pub fn waiting(&self) -> usize {
        self.semaphore.waiting()
    }
}

impl Store {
    /// A page of what was found. `NotFound` names the unknown user or conversation, `Unavailable` says that the index
    /// is not complete, or that the user's turn did not come in time: their own search before this one, or those of others,
    /// take too long. `SearchTimeout` says that this one did.
    pub async fn search(&self, search: Search<'_>, page: Page) -> Result<Listing, Error> {
        let params: [Param<'_>; 8] = [
            (&search.reader, Type::UUID),
            (&search.words, Type::TEXT),
            (&search.conversation, Type::UUID),
            (&search.language, Type::TEXT),
            (&(page.limit + 1), Type::INT8),
            (&page.offset, Type::INT8),
            (&search.snippets, Type::BOOL),
            (&PAGE_BYTES, Type::INT8),
        ];
        let rows = self.search_in_turn(search.reader, &params).await?;
        let Some(first) = rows.first() else {
            self.require_user(search.reader).await?;
            return listing(&rows, page.limit);
        };
        match column_of::<&str>(first, 1)? {
            "ok" => listing(&rows, page.limit),
            "not_ready" => Err(Error::Unavailable {
                message: "there is no complete search index: it is being built, or a replica with another SEARCH_LANGUAGE has replaced it".to_owned(),
                retry_after: std::time::Duration::from_secs(5),
            }),
            "no_conversation" => Err(match search.conversation {
                Some(id) => Error::not_found(Resource::Conversation, id),
                None => Error::Internal("a search found no conversation, but named none".into()),
            }),
            "no_user" => Err(Error::not_found(Resource::User, search.reader)),
            "not_a_participant" => Err(Error::Forbidden(Denial::NotAParticipant)),
            other => Err(unknown_status(other)),
        }
    }

    /// As [`Store::read`], when it is the user's turn.
    async fn search_in_turn(&self, user: UserId, params: &[Param<'_>]) -> Result<Vec<Row>, Error> {
        let turn = self.shared.searches.semaphore.acquire(user, ready(()));
        let refusal = "other searches take too long: try again";
        let turn = turns::within(self.shared.timeout, turn, turns::Kind::Searches, refusal).await?;
        let call = "chat_search($1, $2, $3, $4, $5, $6, $7, $8)";
        let store = self.in_turn(turn);
        Ok(store
            .read_as_search("message, status", call, params)
            .await?)
    }

    /// As [`Store::read_on`], within the time of a search: for what may read very much to show a page. Whose turn it is was settled before.
    pub(super) async fn read_as_search(
        &self,
        columns: &str,
        call: &str,
        params: &[Param<'_>],
    ) -> Result<Vec<Row>, QueryFailure> {
        match self.run_search(columns, call, params).await {
            Err(failure) if failure.fault.is_of_connection() => {
                failure.renew(&self.shared.pool);
                log::debug!("repeating a search on a new connection: {}", failure.text);
                self.run_search(columns, call, params).await
            }
            other => other,
        }
    }

    async fn run_search(
        &self,
        columns: &str,
        call: &str,
        params: &[Param<'_>],
    ) -> Result<Vec<Row>, QueryFailure> {
        let statement = self.select(columns, call, params);
        let lease = self.lease(&self.shared.pool, statement.deadline).await?;
        // A deadline of its own: whoever waited long for a connection would have no time left for an answer.
        let deadline = Instant::now() + self.shared.searches.timeout;
        let answer = lease.answer(&statement.sql, params, deadline).await;
        answer.unwrap_or_else(|_| Err(QueryFailure::search_given_up()))
    }

    /// The text search configurations that the database has.
    pub async fn search_languages(&self) -> Result<Vec<String>, Error> {
        let rows = self.read("chat_search_languages()", &[]).await?;
        rows.iter().map(|row| column_of(row, 0)).collect()
    }

    /// Merges what was inserted lately into the index. `None` when there is no complete index.
    pub(super) async fn tidy_search(&self, language: &str) -> Result<Option<Tidied>, Error> {
        let rows = self
            .change("chat_search_tidy($1)", &[(&language, Type::TEXT)])
            .await?;
        let replicas: Option<i64> = single(&rows, 0)?;
        let pages = single(&rows, 1)?;
        Ok(replicas.map(|replicas| Tidied { replicas, pages }))
    }
}

/// What a merge found.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tidied {
    /// How many replicas share this work.
    pub replicas: i64,
    /// Of the pending list; `None` when another replica is at it.
    pub pages: Option<i64>,
}
