//! All queries of the service. STUB.
use crate::error::Error;
use crate::model::*;

#[derive(Clone)]
pub struct Store {}

/// A page by position.
#[derive(Clone, Copy, Debug)]
pub struct Page {
    pub limit: i64,
    pub offset: i64,
}

/// Which part of a conversation's history.
#[derive(Clone, Copy, Debug)]
pub enum Window {
    /// Newest first, from `offset`.
    Newest(Page),
    /// Older than `seq`, newest first.
    Before { seq: Seq, limit: i64 },
    /// Newer than `seq`, oldest first.
    After { seq: Seq, limit: i64 },
}

/// Items as PostgreSQL built them, and whether more follow.
#[derive(Debug)]
pub struct Listing {
    pub items: Vec<RawJson>,
    pub has_more: bool,
}

#[derive(Clone, Debug, Default)]
pub struct UserFilter {
    pub role: Option<String>,
    pub active_only: bool,
    pub query: Option<String>,
}

#[derive(Debug)]
pub struct Opened {
    pub conversation: RawJson,
    pub created: bool,
}

#[derive(Clone, Copy, Debug)]
pub struct Marked {
    pub marked_count: i64,
    pub read_seq: Seq,
}

impl Store {
    pub async fn ping(&self) -> Result<(), Error> {
        unimplemented!()
    }
    pub async fn user(&self, _id: UserId) -> Result<RawJson, Error> {
        unimplemented!()
    }
    /// 404 when there is no such user.
    pub async fn require_user(&self, _id: UserId) -> Result<(), Error> {
        unimplemented!()
    }
    pub async fn users(&self, _filter: &UserFilter, _page: Page) -> Result<Listing, Error> {
        unimplemented!()
    }
    pub async fn open_conversation(&self, _user1: UserId, _user2: UserId) -> Result<Opened, Error> {
        unimplemented!()
    }
    /// 404 when there is no such user.
    pub async fn conversations(&self, _user: UserId, _page: Page) -> Result<Listing, Error> {
        unimplemented!()
    }
    /// 404 when there is no such conversation.
    pub async fn messages(
        &self,
        _conversation: ConversationId,
        _window: Window,
    ) -> Result<Listing, Error> {
        unimplemented!()
    }
    pub async fn mark_read(
        &self,
        _conversation: ConversationId,
        _reader: UserId,
        _up_to: Option<Seq>,
    ) -> Result<Marked, Error> {
        unimplemented!()
    }
    pub async fn unread_count(&self, _user: UserId) -> Result<i64, Error> {
        unimplemented!()
    }
    pub async fn edit_message(
        &self,
        _message: MessageId,
        _editor: UserId,
        _content: &str,
    ) -> Result<RawJson, Error> {
        unimplemented!()
    }
    pub async fn delete_message(&self, _message: MessageId, _deleter: UserId) -> Result<(), Error> {
        unimplemented!()
    }
}
