//! Turns of reads over HTTP: pages of lists, single objects, counts. Reading costs no writes, so no rate limits it; but a user who asks
//! without a pause, or for what takes long, must leave the others their connections to the database.
//!
//! Lists of users have turns of their own ([`Reads::directory_turn`]), and so have searches ([`Store::search`]); what a user missed is read in
//! those of sockets that come back ([`Reads::replay_turn`]).

use std::num::NonZeroUsize;
use std::time::Duration;

use crate::error::Error;
use crate::limits::Holder;
use crate::model::UserId;
use crate::replay::{Replay, ReplayTurn};
use crate::store::Store;

/// When one who had too many reads at a time may ask again: by then some have usually been answered.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// Clones share the turns.
#[derive(Clone)]
pub struct Reads {
    store: Store,
    /// `MAX_READS_PER_USER`: of one holder, being read and waiting for their turn.
    most: usize,
}

impl Reads {
    /// `most`: `MAX_READS_PER_USER`.
    pub fn new(store: Store, most: Option<NonZeroUsize>) -> Self {
        Self {
            store,
            most: most.map_or(usize::MAX, NonZeroUsize::get),
        }
    }

    /// A handle on the database, when it is `holder`'s turn. The turn lasts as long as the handle is held, or a statement of it runs on though
    /// its caller went away: a client that hangs up has no more turns than one that waits. `TooManyRequests` if `holder` has as many reads
    /// under way as they may, `Unavailable` if the turn does not come in time.
    pub async fn turn(&self, holder: Holder) -> Result<Store, Error> {
        match holder {
            Holder::User(_) | Holder::Conversation(_) => {}
            // A server that asks for whomever it likes.
            Holder::Service(_) | Holder::Anybody => return Ok(self.store.clone()),
        }
        let turn = self.store.reads().of_within(holder, self.most).await?;
        Ok(self.store.in_turn(self.granted(turn)?))
    }

    /// The same for a list of users, which may read all of the host's table: who waits for one keeps no other read waiting. Whoever asks for many users, such as a gateway, takes turns as well, as many at a time as there are.
    pub async fn directory_turn(&self, holder: Holder) -> Result<Store, Error> {
        let turns = self.store.directory();
        Ok(match holder {
            Holder::User(_) | Holder::Conversation(_) => {
                let turn = turns.of_within(holder, self.most).await?;
                self.store.in_turn(self.granted(turn)?)
            }
            Holder::Service(_) | Holder::Anybody => self.store.in_turn(turns.of_anybody().await?),
        })
    }

    /// The turn of `user` to be told what they missed, which is read as for a socket that comes back: whoever asks for it stands in the line of
    /// the user's sockets, and keeps no other read waiting. Whoever asks for many users has the turns of all of these.
    pub async fn replay_turn(&self, replay: &Replay, user: UserId) -> Result<ReplayTurn, Error> {
        self.granted(replay.acquire_within(user, self.most).await?)
    }

    /// `TooManyRequests` where there is none, since as many as `most` of the holder's are being read or wait.
    fn granted<T>(&self, turn: Option<T>) -> Result<T, Error> {
        turn.ok_or_else(|| Error::TooManyRequests {
            message: format!("more than {} reads at a time", self.most),
            retry_after: RETRY_AFTER,
        })
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;
    use uuid::Uuid;

    use super::*;
    use crate::config::Config;
    use crate::model::ConversationId;
    use crate::testing;

    fn reads(more: &[(&str, &str)]) -> Reads {
        let vars = [("DB_HOST", "127.0.0.1"), ("DB_POOL_SIZE", "8")];
        let config = Config::from_vars(&[&vars[..], more].concat()).unwrap();
        testing::services_of(testing::hub(1), config).reads
    }

    fn user(number: u128) -> Holder {
        Holder::User(UserId(Uuid::from_u128(number)))
    }

    #[tokio::test(start_paused = true)]
    async fn a_turn_that_does_not_come_in_time_is_refused() {
        let reads = reads(&[("DB_TIMEOUT_SECONDS", "2")]);
        let _two = (
            reads.turn(user(1)).await.unwrap(),
            reads.turn(user(1)).await.unwrap(),
        );
        let Err(Error::Unavailable { message, .. }) = reads.turn(user(1)).await else {
            panic!("a third has its turn");
        };
        assert_eq!(message, "other requests take too long: try again");
        assert!(reads.turn(user(2)).now_or_never().is_some(), "another user");
    }

    #[tokio::test]
    async fn a_turn_lasts_as_long_as_any_handle_of_it() {
        let reads = reads(&[]);
        let (first, _second) = (
            reads.turn(user(1)).await.unwrap(),
            reads.turn(user(1)).await.unwrap(),
        );
        let other = first.clone();
        drop(first);
        assert!(reads.turn(user(1)).now_or_never().is_none());
        drop(other);
        assert!(reads.turn(user(1)).now_or_never().is_some());
    }

    #[tokio::test]
    async fn a_conversation_that_a_gateway_asks_for_has_turns_and_a_server_needs_none() {
        let reads = reads(&[]);
        let conversation = Holder::Conversation(ConversationId(Uuid::from_u128(1)));
        let mut turns = Vec::new();
        for holder in [conversation, Holder::Anybody] {
            for _ in 0..2 {
                turns.push(reads.turn(holder).await.unwrap());
            }
        }
        assert!(reads.turn(conversation).now_or_never().is_none());
        assert!(reads.turn(Holder::Anybody).now_or_never().is_some());
    }

    #[tokio::test]
    async fn a_user_has_one_list_of_users_at_a_time_and_all_together_leave_the_other_reads_theirs()
    {
        let reads = reads(&[]);
        let first = reads.directory_turn(user(1)).await.unwrap();
        assert!(reads.directory_turn(user(1)).now_or_never().is_none());
        let _second = reads.directory_turn(user(2)).await.unwrap();
        for holder in [user(3), Holder::Anybody] {
            assert!(reads.directory_turn(holder).now_or_never().is_none());
            assert!(reads.turn(holder).now_or_never().is_some());
        }
        drop(first);
        assert!(
            reads
                .directory_turn(Holder::Anybody)
                .now_or_never()
                .is_some()
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_list_of_users_that_waits_too_long_for_its_turn_is_refused() {
        let reads = reads(&[("DB_TIMEOUT_SECONDS", "2")]);
        let _two = (
            reads.directory_turn(Holder::Anybody).await.unwrap(),
            reads.directory_turn(Holder::Anybody).await.unwrap(),
        );
        let Err(Error::Unavailable { message, .. }) = reads.directory_turn(user(1)).await else {
            panic!("a third has its turn");
        };
        assert_eq!(message, "other lists of users take too long: try again");
    }

    #[tokio::test]
    async fn a_user_who_has_too_many_lists_of_users_under_way_is_told_so() {
        let reads = reads(&[("MAX_READS_PER_USER", "1")]);
        let _one = reads.directory_turn(user(1)).await.unwrap();
        let Err(Error::TooManyRequests { message, .. }) = reads.directory_turn(user(1)).await
        else {
            panic!("a second one waits");
        };
        assert_eq!(message, "more than 1 reads at a time");
    }
}
