//! Full-text search over a user's own conversations.

use postgres_types::Type;
use tokio_postgres::Row;

use super::failure::{Fault, QueryFailure};
use super::lease::Param;
use super::{
    Listing, PAGE_BYTES, Page, Statement, Store, column_of, listing, single, unknown_status,
};
use crate::error::{Denial, Error, Resource};
use crate::limits::Holder;
use crate::model::{ConversationId, UserId};

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

    /// As [`Store::read`], when it is the user's turn, who has one at a time: what a search costs depends on what is written in the messages.
    async fn search_in_turn(&self, user: UserId, params: &[Param<'_>]) -> Result<Vec<Row>, Error> {
        let turn = self.shared.searches.of(Holder::User(user)).await?;
        let store = self.in_turn(turn);
        let call = "chat_search($1, $2, $3, $4, $5, $6, $7, $8)";
        store.read_as_search("message, status", call, params).await
    }

    /// As [`Store::read`], within the time of a search: for what may read very much to show a page. Whose turn it is was settled before.
    pub(super) async fn read_as_search(
        &self,
        columns: &str,
        call: &str,
        params: &[Param<'_>],
    ) -> Result<Vec<Row>, Error> {
        let statement = Statement {
            // Whoever waited long for a connection would have no time left for an answer.
            own_time: Some(self.shared.search_timeout),
            ..self.select(columns, call, params)
        };
        let pool = &self.shared.pool;
        self.read_on(pool, &statement)
            .await
            .map_err(|failure| match failure.fault {
                Fault::NoAnswer => QueryFailure::search_given_up().into(),
                _ => failure.into(),
            })
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
