//! What the probes ask: whether the database answers, the listener is live and the users table fits.

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::error::Error;
use crate::lifecycle::Lifecycle;
use crate::listener::ListenerStatus;
use crate::logging::Repeats;
use crate::store::{Store, UsersLink};
use crate::sync::{acquire_owned, lock};

/// Bound of the question to the database.
const DATABASE_PATIENCE: Duration = Duration::from_secs(2);

/// An answer of the database that is no older is as good as a new one.
const SHARED_FOR: Duration = Duration::from_millis(100);

/// Answers the probes.
#[derive(Clone)]
pub struct Health {
    store: Store,
    listener: ListenerStatus,
    users: UsersLink,
    lifecycle: Lifecycle,
    pulse: Arc<Pulse>,
}

/// The database's last answer. A probe needs no token, so however many probes there are, the database is asked one question at a time, and
/// ten a second at most.
struct Pulse {
    turn: Arc<Semaphore>,
    /// When it came. A std mutex: held to copy it only.
    last: Mutex<Option<(Instant, Result<(), String>)>>,
}

impl Pulse {
    fn last(&self) -> MutexGuard<'_, Option<(Instant, Result<(), String>)>> {
        lock(&self.last)
    }
}

/// How the replica is; each error says why.
#[derive(Clone, Debug)]
pub struct Report {
    pub database: Result<(), String>,
    pub listener: Result<(), String>,
    /// Whether the host's users table still fits.
    pub users: Result<(), String>,
    pub draining: bool,
}

impl Report {
    /// All that a request needs is there.
    pub fn is_well(&self) -> bool {
        self.database.is_ok() && self.listener.is_ok() && self.users.is_ok()
    }

    /// Why, which the probes do not say; of each at most once a second, since anybody may ask.
    fn log(&self) {
        static DATABASE: Repeats = Repeats::new(module_path!());
        static LISTENER: Repeats = Repeats::new(module_path!());
        static USERS: Repeats = Repeats::new(module_path!());
        let checks = [
            (&DATABASE, "database", &self.database),
            (&LISTENER, "listener", &self.listener),
            (&USERS, "users", &self.users),
        ];
        for (lines, name, check) in checks {
            if let Err(why) = check {
                lines.warn(format_args!("health check: {name}: {why}"));
            }
        }
    }
}

impl Health {
    pub fn new(
        store: Store,
        listener: ListenerStatus,
        users: UsersLink,
        lifecycle: Lifecycle,
    ) -> Self {
        Self {
            store,
            listener,
            users,
            lifecycle,
            pulse: Arc::new(Pulse {
                turn: Arc::new(Semaphore::new(1)),
                last: Mutex::new(None),
            }),
        }
    }

    /// Asks the database (for 2 s at most) and the listener.
    pub async fn report(&self) -> Report {
        let (database, is_new) = self.database().await;
        let report = Report {
            database,
            listener: self.listener.check(),
            users: self.users.check(),
            draining: self.lifecycle.draining.is_cancelled(),
        };
        if is_new {
            report.log();
        }
        report
    }

    /// What `/health/ready` would answer, but for the database, which is not asked: its last answer counts, to a probe or to another
    /// question. None yet is a good one, since nothing is served before it has answered.
    pub fn is_ready(&self) -> bool {
        let database = match &*self.pulse.last() {
            Some((_, answer)) => answer.is_ok(),
            None => true,
        };
        database
            && self.listener.check().is_ok()
            && self.users.check().is_ok()
            && !self.lifecycle.draining.is_cancelled()
    }

    /// Takes the answer to another question for an answer to a probe's, by the same measure: if it `took` longer than a probe waits, the
    /// database is unavailable to probes. The other question itself may wait for longer.
    pub fn heard_from_database<T>(&self, answer: &Result<T, Error>, took: Duration) {
        let answer = match answer {
            Ok(_) if took > DATABASE_PATIENCE => Err(format!(
                "the database answered after {:.1} s only",
                took.as_secs_f64()
            )),
            Ok(_) => Ok(()),
            Err(error) => Err(error.with_cause().to_string()),
        };
        *self.pulse.last() = Some((Instant::now(), answer));
    }

    /// Whether the database answers, and whether it was asked for this.
    async fn database(&self) -> (Result<(), String>, bool) {
        let asked = Instant::now();
        let turn = acquire_owned(Arc::clone(&self.pulse.turn)).await;
        // Mostly the answer to the probe whose turn it was meanwhile.
        if let Some((came, answer)) = &*self.pulse.last()
            && *came + SHARED_FOR > asked
        {
            return (answer.clone(), false);
        }
        let answer = self.ask_database(turn).await;
        (answer, true)
    }

    /// Asks the database, to the end though the caller goes: otherwise each caller who hangs up would leave the next one to ask anew.
    async fn ask_database(&self, turn: OwnedSemaphorePermit) -> Result<(), String> {
        let (store, pulse) = (self.store.clone(), Arc::clone(&self.pulse));
        let asking = tokio::spawn(async move {
            let answer = store.ping(DATABASE_PATIENCE).await;
            let answer = answer.map_err(|error| error.with_cause().to_string());
            *pulse.last() = Some((Instant::now(), answer.clone()));
            drop(turn);
            answer
        });
        let answer = asking.await;
        answer.unwrap_or_else(|ended| Err(ended.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;
    use tokio::net::TcpListener;

    use super::*;
    use crate::testing;

    /// There is no database: a new answer is another one.
    #[tokio::test]
    async fn an_answer_of_the_database_is_shared_for_a_moment_only() {
        let minute = Duration::from_secs(60);
        let services = testing::services(testing::hub(1), minute, minute);
        let health = &services.health;
        let report = async |came| {
            *health.pulse.last() = Some((came, Ok(())));
            health.report().await.database
        };
        // In time, however slow this is.
        assert!(report(Instant::now() + minute).await.is_ok());
        let late = Instant::now() - Duration::from_millis(100);
        assert!(report(late).await.is_err());
    }

    /// Otherwise a client that asks and hangs up, again and again, would have the database asked as often.
    #[tokio::test]
    async fn whoever_hangs_up_leaves_their_question_and_its_answer_is_the_next_ones() {
        let server = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = server.local_addr().unwrap().port();
        let services = testing::services_with_database_at(port, testing::hub(1));
        let ask = || {
            let health = services.health.clone();
            tokio::spawn(async move { health.report().await.database })
        };
        let first = ask();
        let (question, _) = server.accept().await.unwrap();
        first.abort();
        assert!(first.await.unwrap_err().is_cancelled());
        let next = ask();
        while services.health.pulse.turn.available_permits() > 0 {
            tokio::task::yield_now().await;
        }
        drop(question);
        assert!(next.await.unwrap().is_err(), "the database hung up");
        assert!(server.accept().now_or_never().is_none(), "asked twice");
    }

    #[tokio::test]
    async fn an_answer_to_another_question_counts_by_what_a_probe_would_have_waited_for() {
        let minute = Duration::from_secs(60);
        let health = testing::services(testing::hub(1), minute, minute).health;
        let last = || health.pulse.last().clone().expect("an answer").1;
        health.heard_from_database(&Ok(()), DATABASE_PATIENCE);
        assert_eq!(last(), Ok(()));
        let slow = DATABASE_PATIENCE + Duration::from_millis(500);
        health.heard_from_database(&Ok(()), slow);
        let why = "the database answered after 2.5 s only";
        assert_eq!(last(), Err(why.to_owned()));
        assert!(!health.is_ready());
        health.heard_from_database::<()>(&Err(Error::unavailable("gone")), Duration::ZERO);
        assert!(last().is_err());
    }
}
