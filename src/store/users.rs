//! The host system's users, through `chat_users()`.

use std::collections::HashMap;

use postgres_types::Type;

use super::lease::Param;
use super::{Listing, Page, Store, column_of, listing, raw_json, single};
use crate::error::{Error, Resource};
use crate::model::{RawJson, UserId};

/// Which users a list holds; the default is all of them.
#[derive(Clone, Debug, Default)]
pub struct UserFilter {
    pub role: Option<String>,
    pub is_active: Option<bool>,
    /// Case-insensitive part of the full name, first name first or last name first.
    pub query: Option<String>,
}

/// Whether a user is active.
pub type Active = Result<bool, Error>;

impl Store {
    /// The User. `NotFound` when there is none.
    pub async fn user(&self, id: UserId) -> Result<RawJson, Error> {
        let rows = self.read("chat_get_user($1)", &[(&id, Type::UUID)]).await?;
        let user: Option<String> = single(&rows, 0)?;
        user.map(raw_json)
            .unwrap_or_else(|| Err(Error::not_found(Resource::User, id)))
    }

    /// Which of these users are active. Users who do not exist are left out; `Internal` for those
    /// whom the host's view fails to tell about.
    pub async fn active_of(&self, users: &[UserId]) -> Result<HashMap<UserId, Active>, Error> {
        let rows = self
            .read("chat_active_users($1)", &[(&users, Type::UUID_ARRAY)])
            .await?;
        rows.iter()
            .map(|row| {
                let active = match column_of::<Option<String>>(row, 2)? {
                    None => Ok(column_of(row, 1)?),
                    Some(failure) => Err(Error::Internal(failure.into())),
                };
                Ok((column_of(row, 0)?, active))
            })
            .collect()
    }

    /// Users by last name, first name and id. `SearchTimeout` where that takes as long as a search
    /// may: the whole table may have to be read.
    pub async fn users(&self, filter: &UserFilter, page: Page) -> Result<Listing, Error> {
        let limit = page.limit + 1;
        let params = filter.params(&limit, &page.offset);
        let rows = self
            .read_as_search("*", "chat_list_users($1, $2, $3, $4, $5)", &params)
            .await?;
        listing(&rows, page.limit)
    }

    /// Those of these users who exist and whom the filter leaves, by last name, first name and id:
    /// each is looked up by their id.
    pub async fn users_of(
        &self,
        ids: &[UserId],
        filter: &UserFilter,
        page: Page,
    ) -> Result<Listing, Error> {
        let limit = page.limit + 1;
        let mut params: Vec<Param<'_>> = vec![(&ids, Type::UUID_ARRAY)];
        params.extend(filter.params(&limit, &page.offset));
        let rows = self
            .read("chat_list_users_of($1, $2, $3, $4, $5, $6)", &params)
            .await?;
        listing(&rows, page.limit)
    }
}

impl UserFilter {
    /// As both lists take it.
    fn params<'a>(&'a self, limit: &'a i64, offset: &'a i64) -> [Param<'a>; 5] {
        [
            (&self.role, Type::TEXT),
            (&self.is_active, Type::BOOL),
            (&self.query, Type::TEXT),
            (limit, Type::INT8),
            (offset, Type::INT8),
        ]
    }
}
