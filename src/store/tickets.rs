//! Tickets: made, used up, swept.

use std::time::Duration;

use postgres_types::Type;

use super::{Store, column_of, raw_json, single};
use crate::error::{Error, Resource};
use crate::model::{RawJson, UnixSeconds, UserId};

/// A ticket that was used up.
#[derive(Clone, Copy, Debug)]
pub struct RedeemedTicket {
    pub user: UserId,
    /// When the token expires that the ticket was made by.
    pub token_expires: Option<UnixSeconds>,
}

impl Store {
    /// Stores a ticket's hash for `ttl`; when that is over, as JSON. `NotFound` when there is no such user, `Unavailable` when its turn does not come in time.
    pub async fn create_ticket(
        &self,
        hash: &[u8],
        user: UserId,
        token_expires: Option<UnixSeconds>,
        ttl: Duration,
    ) -> Result<RawJson, Error> {
        let rows = self
            .in_turn_of_tickets()
            .await?
            .change(
                "chat_create_ticket($1, $2, $3, $4)",
                &[
                    (&hash, Type::BYTEA),
                    (&user, Type::UUID),
                    (&token_expires.map(|at| at.0 as f64), Type::FLOAT8),
                    (&ttl.as_secs_f64(), Type::FLOAT8),
                ],
            )
            .await?;
        let expires_at: Option<String> = single(&rows, 0)?;
        raw_json(expires_at.ok_or_else(|| Error::not_found(Resource::User, user))?)
    }

    /// Uses a ticket up; `None` when it is not good, or not any more.
    pub async fn redeem_ticket(&self, hash: &[u8]) -> Result<Option<RedeemedTicket>, Error> {
        let rows = self
            .in_turn_of_tickets()
            .await?
            .change("chat_redeem_ticket($1)", &[(&hash, Type::BYTEA)])
            .await?;
        let Some(row) = rows.first() else {
            return Ok(None);
        };
        Ok(Some(RedeemedTicket {
            user: column_of(row, 0)?,
            token_expires: column_of::<Option<i64>>(row, 1)?.map(UnixSeconds),
        }))
    }

    /// A handle for one ticket that is made or used up, when there is room for one more. The turn lasts until its statement has ended: a client
    /// that hangs up has no more connections than one that waits.
    async fn in_turn_of_tickets(&self) -> Result<Self, Error> {
        let turn = self.shared.tickets.of_anybody().await?;
        Ok(self.in_turn(turn))
    }

    /// Removes the tickets that have expired.
    pub async fn sweep_tickets(&self) -> Result<(), Error> {
        self.change("chat_sweep_tickets()", &[]).await.map(drop)
    }
}
