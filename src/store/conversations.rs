//! Conversations: opening, listing, what is unread in them.

use postgres_types::Type;
use tokio_postgres::Row;
use uuid::Uuid;

use super::lease::Param;
use super::messages::dropped;
use super::{Gone, Listing, PAGE_BYTES, Page, Store, listing, raw_json, single, unknown_status};
use crate::error::{Denial, Error, Resource};
use crate::model::{ConversationId, RawJson, UserId};

/// A conversation of two users, and whether this call made it.
#[derive(Debug)]
pub struct Opened {
    pub conversation: RawJson,
    pub created: bool,
}

/// How much a user has not read.
#[derive(Clone, Copy, Debug)]
pub struct UnreadCount {
    pub messages: i64,
    /// Those that have some of these messages.
    pub conversations: i64,
}

/// Which of a user's conversations a list holds: those that are all of this. The default is all of them.
#[derive(Clone, Copy, Debug, Default)]
pub struct ConversationFilter<'a> {
    /// The one with this user.
    pub other: Option<UserId>,
    /// Those with messages that the user has not read.
    pub unread_only: bool,
    /// Part of the other participant's name, as in [`UserFilter`](super::UserFilter).
    pub query: Option<&'a str>,
}

impl Store {
    /// The conversation of two users as `reader`, one of them, sees it; made when there is none. `NotFound` names the
    /// unknown user.
    pub async fn open_conversation(
        &self,
        user1: UserId,
        user2: UserId,
        reader: UserId,
    ) -> Result<Opened, Error> {
        let params = [
            (&user1 as _, Type::UUID),
            (&user2 as _, Type::UUID),
            (&reader as _, Type::UUID),
        ];
        let opening = self.select_telling("*", "chat_open_conversation($1, $2, $3)", &params);
        // One key for the pair, whoever is named first.
        let pair = Uuid::from_u128(user1.0.as_u128() ^ user2.0.as_u128());
        let rows = self
            .change_row(reader, pair, opening, Gone::never())
            .await?;
        let status: String = single(&rows, 0)?;
        let answer = || single::<String>(&rows, 1);
        match status.as_str() {
            "no_user" => Err(Error::not_found(Resource::User, answer()?)),
            "dropped" => Err(dropped("a conversation")),
            "created" | "existed" => Ok(Opened {
                conversation: raw_json(answer()?)?,
                created: status == "created",
            }),
            other => Err(unknown_status(other)),
        }
    }

    /// Those of a user's conversations that the filter leaves, last active first. `NotFound` when there is no such user.
    pub async fn conversations(
        &self,
        user: UserId,
        filter: ConversationFilter<'_>,
        page: Page,
    ) -> Result<Listing, Error> {
        let rows = match filter {
            ConversationFilter {
                other: None,
                unread_only: false,
                query: None,
            } => self.all_conversations(user, page).await?,
            narrowed => self.matching_conversations(user, narrowed, page).await?,
        };
        if rows.is_empty() {
            self.require_user(user).await?;
        }
        listing(&rows, page.limit)
    }

    async fn all_conversations(&self, user: UserId, page: Page) -> Result<Vec<Row>, Error> {
        self.read(
            "chat_list_conversations($1, $2, $3, $4)",
            &[
                (&user, Type::UUID),
                (&(page.limit + 1), Type::INT8),
                (&page.offset, Type::INT8),
                (&PAGE_BYTES, Type::INT8),
            ],
        )
        .await
    }

    /// By a name the user's conversations are looked through until the page is full, within the time of a search.
    async fn matching_conversations(
        &self,
        user: UserId,
        filter: ConversationFilter<'_>,
        page: Page,
    ) -> Result<Vec<Row>, Error> {
        let call = "chat_list_matching_conversations($1, $2, $3, $4, $5, $6, $7)";
        let limit = page.limit + 1;
        let params: [Param<'_>; 7] = [
            (&user, Type::UUID),
            (&filter.other, Type::UUID),
            (&filter.unread_only, Type::BOOL),
            (&filter.query, Type::TEXT),
            (&limit, Type::INT8),
            (&page.offset, Type::INT8),
            (&PAGE_BYTES, Type::INT8),
        ];
        match filter.query {
            Some(_) => self.read_as_search("*", call, &params).await,
            None => self.read(call, &params).await,
        }
    }

    /// One conversation as `reader` sees it. `NotFound` when there is no such conversation or user; `Forbidden` when the reader is not a
    /// participant.
    pub async fn conversation(
        &self,
        conversation: ConversationId,
        reader: UserId,
    ) -> Result<RawJson, Error> {
        let params = [(&conversation as _, Type::UUID), (&reader as _, Type::UUID)];
        let rows = self.read("chat_get_conversation($1, $2)", &params).await?;
        let status: String = single(&rows, 0)?;
        reader_verdict(&status, conversation, reader)?;
        raw_json(single(&rows, 1)?)
    }

    /// What a user has not read, in all conversations. `NotFound` when there is no such user.
    pub async fn unread_count(&self, user: UserId) -> Result<UnreadCount, Error> {
        let rows = self
            .read("chat_unread_count($1)", &[(&user, Type::UUID)])
            .await?;
        let unread = UnreadCount {
            messages: single(&rows, 0)?,
            conversations: single(&rows, 1)?,
        };
        if unread.messages == 0 {
            self.require_user(user).await?;
        }
        Ok(unread)
    }
}

/// What a function answers about who reads a conversation, as an error.
pub(super) fn reader_verdict(
    status: &str,
    conversation: ConversationId,
    reader: UserId,
) -> Result<(), Error> {
    match status {
        "ok" => Ok(()),
        "no_conversation" => Err(Error::not_found(Resource::Conversation, conversation)),
        "no_user" => Err(Error::not_found(Resource::User, reader)),
        "not_a_participant" => Err(Error::Forbidden(Denial::NotAParticipant)),
        other => Err(unknown_status(other)),
    }
}
