//! How `DB_POOL_SIZE` is shared out, so that nothing that may come in floods takes all of it.

/// Numbers of connections.
#[derive(Clone, Copy, Debug)]
pub struct Shares {
    /// The writer's own pool. Two at least: a locked conversation occupies one, the others go on over the other.
    pub writer: usize,
    /// The requests' pool.
    pub requests: usize,
    /// Of the requests' pool, those that look-ups of users may use: a third. Each asks for many at once; where
    /// one has gone silent, the others go on.
    pub user_lookups: usize,
    /// Of the requests' pool, those by which tickets are made and used up: half, so that a flood of handshakes, lookups included, leaves at least
    /// one of three to those who are in. Each is held for one ticket, and how fast browsers come back after the loss of a replica goes by
    /// their number.
    pub tickets: usize,
    /// Of the requests' pool, those that searches may have, each of another user: a third. Little else that is read takes as long, and
    /// nothing depends as much on what a user has written into it.
    pub searches: usize,
    /// Of the requests' pool, those that reads over HTTP may use: all but one, where there are several, so that they alone never keep waiting
    /// what else is asked, such as whom a typing indicator is for (a send may follow that). Searches, lists of users and replays are not among
    /// them, and have shares of their own.
    pub reads: usize,
    /// Of the requests' pool, those that lists of users may have, each for another caller: a third. How long one takes
    /// goes by the host's table, whose names no index need lead to.
    pub directory: usize,
    /// Of the requests' pool, those that one user's reads may use at a time: a third. More would make nothing faster for whoever
    /// opens a page with a handful of requests.
    pub reads_of_a_user: usize,
    /// Of the requests' pool, those that changes of rows may have of which it is not known whether somebody holds them: a
    /// third. More at a time would hardly be faster, since all of them commit with NOTIFY, which is one at a time in the whole cluster.
    pub changes: usize,
    /// Of those, the ones that a user may have: half, so that whose changes take long leaves the others theirs.
    pub changes_of_a_user: usize,
    /// Of the requests' pool, those that replays may use, each of another user: half. Thousands come back at once
    /// after the loss of a replica, and each of their reads may take long.
    pub replays: usize,
}

impl Shares {
    /// `pool_size`: `DB_POOL_SIZE`, 3 or more.
    pub fn of(pool_size: usize) -> Self {
        let writer = (pool_size / 3).max(2);
        let requests = pool_size.saturating_sub(writer).max(1);
        let changes = (requests / 3).max(1);
        Self {
            writer,
            requests,
            user_lookups: (requests / 3).max(1),
            tickets: (requests / 2).max(1),
            searches: (requests / 3).max(1),
            reads: (requests - 1).max(1),
            directory: (requests / 3).max(1),
            reads_of_a_user: (requests / 3).max(1),
            changes,
            changes_of_a_user: (changes / 2).max(1),
            replays: (requests / 2).max(1),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::held_rows::RETRIES;

    #[test]
    fn whatever_comes_in_floods_leaves_connections_to_the_others() {
        for size in 3..=1000 {
            let shares = Shares::of(size);
            let Shares {
                writer,
                requests,
                user_lookups,
                tickets,
                searches,
                reads,
                directory,
                reads_of_a_user,
                changes,
                changes_of_a_user,
                replays,
            } = shares;
            assert_eq!(writer + requests, size, "{shares:?}");
            assert!(
                [
                    user_lookups,
                    tickets,
                    searches,
                    reads,
                    directory,
                    reads_of_a_user,
                    changes,
                    changes_of_a_user,
                    replays
                ]
                .iter()
                .all(|&share| share >= 1),
                "{shares:?}"
            );
            // Of one there is nothing to share out.
            assert!(changes == 1 || changes_of_a_user < changes, "{shares:?}");
            // Of one or two there is nothing to share out.
            if requests > 2 {
                assert!(user_lookups + tickets < requests, "{shares:?}");
                assert!(reads < requests, "{shares:?}");
                assert!(changes + RETRIES < requests, "{shares:?}");
                assert!(replays + user_lookups < requests, "{shares:?}");
                assert!(replays + searches < requests, "{shares:?}");
                assert!(searches + user_lookups < requests, "{shares:?}");
                assert!(searches + directory < requests, "{shares:?}");
                assert!(reads_of_a_user + user_lookups < requests, "{shares:?}");
            }
        }
    }
}
