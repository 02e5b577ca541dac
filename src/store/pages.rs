//! Pages of a list: which part is asked for, and what comes of it.

use tokio_postgres::Row;

use super::column_of;
use crate::error::Error;
use crate::model::Seq;

/// Bytes of JSON in one page of messages or conversations: some 60 of the longest messages, or 10 if each of their bytes is escaped
/// to six. The page ends before the item that would be too much, and says that more follow; the first item always comes.
pub(super) const PAGE_BYTES: i64 = 4 * 1024 * 1024;

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
    pub items: Vec<String>,
    pub has_more: bool,
}

/// Rows of one JSON text each, asked for with one more than `limit`; a null stands for what did not fit into the page.
pub(super) fn listing(rows: &[Row], limit: i64) -> Result<Listing, Error> {
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let items = rows
        .iter()
        .take(limit)
        .map_while(|row| column_of(row, 0).transpose())
        .collect::<Result<Vec<_>, _>>()?;
    Ok(Listing {
        has_more: rows.len() > items.len(),
        items,
    })
}
