//! Which timeline of the database's cluster is the newest that this process has met: a server on an earlier one is a former primary, however
//! willingly it takes writes.
//!
//! Each promotion and each recovery begins a timeline with a higher number (PostgreSQL manual, "Timelines"). So whoever was promoted is
//! known from whoever was left behind, at the price of one question to each new connection.

use std::fmt;
use std::future::poll_fn;
use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::task::Poll;
use std::time::Instant;

use tokio_postgres::{Client, Error, SimpleQueryMessage};

use super::tls::DbConnection;
use crate::store::describe;
use crate::sync::lock;

/// Text, in one round trip, and nothing is left in the session. Whoever may not ask, or whose server cannot say, is not told apart.
const QUESTION: &str = "select c.system_identifier, \
     pg_catalog.substr(pg_catalog.pg_walfile_name(pg_catalog.pg_current_wal_lsn()), 1, 8) \
     from pg_catalog.pg_control_system() c";

/// What all ways to one database have in common; clones share it. A std mutex: held to read or write it.
#[derive(Clone, Default)]
pub(super) struct Timelines(Arc<Mutex<Met>>);

#[derive(Default)]
struct Met {
    /// Of the cluster that was met last. Another one's numbers say nothing of it.
    newest: Option<Timeline>,
    /// When it last was above the one before.
    risen: Option<Instant>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Timeline {
    /// The system identifier, which all copies of a cluster share.
    cluster: u64,
    number: u32,
}

/// A server on an earlier timeline than one that was met before.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct FormerPrimary {
    here: u32,
    newest: u32,
}

impl fmt::Display for FormerPrimary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { here, newest } = self;
        write!(
            f,
            "a former primary, which is not used: it is on timeline {here}, and timeline {newest} was met before"
        )
    }
}

impl Timelines {
    /// Takes note of a server that accepts writes; an error where it is one that others have taken over from.
    pub fn admit(&self, here: Timeline) -> Result<(), FormerPrimary> {
        let mut met = lock(&self.0);
        if let Some(newest) = met.newest.filter(|met| met.cluster == here.cluster) {
            if here.number < newest.number {
                return Err(FormerPrimary {
                    here: here.number,
                    newest: newest.number,
                });
            }
            if here.number > newest.number {
                met.risen = Some(Instant::now());
            }
        }
        met.newest = Some(here);
        Ok(())
    }

    /// When a later timeline was met: connections that were made before are to a former primary, or were cut.
    pub fn risen(&self) -> Option<Instant> {
        lock(&self.0).risen
    }
}

impl Timeline {
    /// That of the server at the other end, where it says so. Drives a connection that nobody drives yet.
    pub async fn of(client: &Client, connection: &mut DbConnection) -> Result<Option<Self>, Error> {
        match answered(client.simple_query(QUESTION), connection).await {
            Ok(answer) => Ok(answer.iter().find_map(Self::of_row)),
            Err(error) if error.as_db_error().is_some() => {
                log::debug!("the server's timeline is not known: {}", describe(&error));
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    fn of_row(message: &SimpleQueryMessage) -> Option<Self> {
        let SimpleQueryMessage::Row(row) = message else {
            return None;
        };
        Some(Self {
            cluster: row.try_get(0).ok()??.parse().ok()?,
            number: u32::from_str_radix(row.try_get(1).ok()??, 16).ok()?,
        })
    }
}

/// What is answered to a question, over its connection; an error where that ends.
async fn answered<T>(
    question: impl Future<Output = Result<T, Error>>,
    connection: &mut DbConnection,
) -> Result<T, Error> {
    let mut question = pin!(question);
    poll_fn(|cx| {
        // Nothing but the question's answer and notices can come.
        while let Poll::Ready(Some(message)) = connection.poll_message(cx) {
            if let Err(error) = message {
                return Poll::Ready(Err(error));
            }
        }
        question.as_mut().poll(cx)
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_is_on_an_earlier_timeline_of_the_same_cluster_is_a_former_primary() {
        let timelines = Timelines::default();
        let admit = |cluster, number| timelines.admit(Timeline { cluster, number });
        assert_eq!(admit(1, 2), Ok(()));
        assert_eq!(admit(1, 2), Ok(()));
        assert_eq!(timelines.risen(), None);
        assert_eq!(admit(1, 1), Err(FormerPrimary { here: 1, newest: 2 }));
        assert_eq!(timelines.risen(), None);
        assert_eq!(admit(1, 4), Ok(()));
        assert!(timelines.risen().is_some());
        assert_eq!(admit(1, 3), Err(FormerPrimary { here: 3, newest: 4 }));
        // Another cluster, such as the one that logical replication has filled, counts its own.
        assert_eq!(admit(2, 1), Ok(()));
    }
}
