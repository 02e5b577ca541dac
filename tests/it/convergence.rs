//! A client that applies the events in the order of their arrival ends up with what the database holds, whatever happens at once:
//! on a socket or by asking again and again over HTTP:
//! what callers do on two replicas, what other programs do by SQL, listeners that lose their connections, and a third replica that is killed.
//!
//! Each case draws from its seed (`support::seeds`) what is done, and when clients come and go. How it interleaves is left to
//! chance, so a case that failed may pass when it is run again.

mod callers;
mod clients;
mod pollers;
mod programs;
mod shown;

use std::cell::Cell;
use std::collections::HashSet;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::{join, join_all, join3};
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};
use serde_json::Value;
use tokio::sync::RwLock;
use tokio::time::sleep;
use uuid::Uuid;

use self::clients::{Client, State, come_and_go};
use self::pollers::Poller;
use self::shown::Shown;
use crate::faults::kill_listeners;
use crate::support::*;

/// Of cases: what programs do with ids, and `conversations_go` or not; every other two of them `has_third`.
const KINDS: u64 = 6;
/// What the cases of one run take, but for the first of each kind, and the last.
const TIME: Duration = Duration::from_secs(6);
const CALLERS: usize = 3;
const PROGRAMS: usize = 3;
/// The last message of each conversation.
const THE_END: &str = "the end";

/// So few events that now and then a client has missed more, and reloads.
const SETTINGS: [(&str, &str); 3] = [
    ("RATE_LIMIT_PER_SECOND", "0"),
    ("LISTENER_HEARTBEAT_SECONDS", "1"),
    ("REPLAY_EVENTS", "60"),
];

/// A conversation, and its participants.
#[derive(Clone, Copy, Debug)]
struct Place {
    conversation: Uuid,
    users: [Uuid; 2],
}

/// Three users who are nobody else's, each with a conversation with each other.
struct Case<'a> {
    database: &'a Database,
    replicas: &'a [Replica; 2],
    users: [Uuid; 3],
    places: [Place; 3],
    /// Programs insert messages again under the ids of deleted ones. A catch-up then tells of the last row of an id only.
    ids_return: bool,
    /// Some of them in another conversation of the sender's. Who was away is not told that they have left the former one.
    ids_move: bool,
    /// Programs delete conversations, and make them anew under the same id. Then clients reload, and `seq` begins anew.
    conversations_go: bool,
    /// There is a third replica, which is killed and started again.
    has_third: bool,
    /// It, while it runs. Read by who connects: it is killed between two handshakes.
    third: RwLock<Option<Replica>>,
    /// Whether listeners have lost their connections.
    was_cut: Cell<bool>,
}

/// Whether all that is done is done.
type Over = Cell<bool>;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_alone_lead_every_client_to_what_the_database_holds() {
    let database = Database::fresh().await;
    let replicas: [Replica; 2] = Replica::start_many(&database, &SETTINGS).await;
    for seed in seeds(KINDS, TIME) {
        let case = Case::prepare(&database, &replicas, seed).await;
        case.run(StdRng::seed_from_u64(seed)).await;
    }
}

impl<'a> Case<'a> {
    async fn prepare(database: &'a Database, replicas: &'a [Replica; 2], seed: u64) -> Self {
        let users: [Uuid; 3] = database.add_users(3).await.try_into().expect("three");
        let [one, two, three] = users;
        let mut places = Vec::new();
        for users in [[one, two], [one, three], [two, three]] {
            let conversation = database.conversation(users[0], users[1]).await;
            places.push(Place {
                conversation,
                users,
            });
        }
        let has_third = seed % 4 >= 2;
        let third = match has_third {
            true => Some(Replica::start(database, &SETTINGS).await),
            false => None,
        };
        Self {
            database,
            replicas,
            users,
            places: places.try_into().expect("three"),
            ids_return: !seed.is_multiple_of(3),
            ids_move: seed % 3 == 2,
            conversations_go: !seed.is_multiple_of(2),
            has_third,
            third: RwLock::new(third),
            was_cut: Cell::new(false),
        }
    }

    async fn run(&self, mut random: StdRng) {
        let mut fork = || StdRng::seed_from_u64(random.random());
        let mut staying = Vec::new();
        for replica in 0..self.places() {
            for user in self.users {
                staying.push(Client::connect(self, replica, user, State::empty()).await);
            }
        }
        let mut pollers = Vec::new();
        for user in self.users {
            pollers.push(Poller::begin(self, user, fork()).await);
        }
        let mut writers = vec![
            self.cut_listeners(fork()).boxed_local(),
            self.kill_the_third(fork()).boxed_local(),
        ];
        writers.extend((0..CALLERS).map(|_| callers::run(self, fork()).boxed_local()));
        let programs: Vec<_> = (0..PROGRAMS).map(|_| programs::run(self, fork())).collect();
        let over = Over::new(false);
        let coming = self
            .users
            .map(|user| come_and_go(self, user, &over, fork()));
        let writing = async {
            let (_, committed) = join(join_all(writers), join_all(programs)).await;
            assert!(committed.iter().sum::<usize>() > 0, "programs do something");
            for Place {
                conversation,
                users,
            } in self.places
            {
                let api = self.replicas[0].api();
                api.send(conversation, users[0], THE_END).await;
            }
            over.set(true);
        };
        let reading = join_all(staying.iter_mut().map(Client::read_to_the_end));
        let polling = pollers
            .iter_mut()
            .map(|poller| poller.poll_to_the_end(&over));
        let reading = join(reading, join_all(polling));
        let (_, _, mut coming) = join3(writing, reading, join_all(coming)).await;
        for client in staying.iter_mut().chain(&mut coming) {
            client.read_to_the_end().await;
            client.until_it_shows_what_is_held().await;
        }
        for client in &staying {
            client.check_that_nothing_was_missed();
        }
        for poller in &mut pollers {
            poller.until_it_shows_what_is_held().await;
            poller.check_that_nothing_was_missed();
        }
    }

    /// Now and then, of both replicas.
    async fn cut_listeners(&self, mut random: StdRng) {
        let times = [0, 0, 1, 3].choose(&mut random).expect("a number");
        for _ in 0..*times {
            pause(&mut random, 60).await;
            self.was_cut.set(true);
            kill_listeners(self.database).await;
        }
    }

    /// `kill -9`, and another one in its place.
    async fn kill_the_third(&self, mut random: StdRng) {
        if !self.has_third {
            return;
        }
        pause(&mut random, 120).await;
        let mut third = self.third.write().await.take().expect("it runs");
        third.kill();
        let third = Replica::start(self.database, &SETTINGS).await;
        *self.third.write().await = Some(third);
    }

    /// How many replicas clients connect to.
    fn places(&self) -> usize {
        self.replicas.len() + usize::from(self.has_third)
    }

    /// A socket at one of them; at another, if that one is killed.
    async fn open(&self, replica: usize, user: Uuid, cursor: Option<&str>) -> Socket {
        let third = self.third.read().await;
        let running = self.replicas.iter().chain(&*third);
        let replica = running.clone().nth(replica).unwrap_or(&self.replicas[0]);
        match cursor {
            None => Socket::connect(replica, user).await,
            Some(cursor) => Socket::come_back(replica, user, cursor).await,
        }
    }

    fn api(&self, random: &mut StdRng) -> Api {
        self.replicas.choose(random).expect("two").api()
    }

    fn place(&self, random: &mut StdRng) -> Place {
        *self.places.choose(random).expect("three")
    }

    fn conversations(&self, user: Uuid) -> impl Iterator<Item = Uuid> {
        let mine = self
            .places
            .iter()
            .filter(move |place| place.users.contains(&user));
        mine.map(|place| place.conversation)
    }

    /// The ids of those messages that are in conversations of others now, or were until they were deleted.
    async fn left(&self, user: Uuid) -> HashSet<String> {
        if !self.ids_move {
            return HashSet::new();
        }
        let mine: Vec<Uuid> = self.conversations(user).collect();
        let left = "select id::text from messages where conversation_id <> all ($1)
                     union all select message_id::text from chat_tombstones where conversation_id <> all ($1)";
        let sql = self.database.sql().await;
        let rows = sql.query(left, &[&mine]).await.expect("messages");
        rows.iter().map(|row| row.get(0)).collect()
    }

    /// Nobody is told of what others write to each other, whatever ids it has.
    fn check_that_it_is_theirs(&self, user: Uuid, event: &Value, told: &[String]) {
        let conversation = &event["data"]["conversationId"];
        let mut theirs = self.conversations(user);
        assert!(
            conversation.is_null() || theirs.any(|theirs| *conversation == theirs.to_string()),
            "{event}\n{}",
            story(user, told)
        );
    }

    /// Of one who was there from the first message on, and shows this.
    fn check_that_nothing_was_missed(&self, user: Uuid, shown: &Shown, told: &[String]) {
        for conversation in self.conversations(user) {
            assert!(
                shown.has_been_told_all(conversation) != Some(false) || self.ids_return,
                "{conversation}\n{}",
                story(user, told)
            );
        }
    }

    /// All messages of this user's.
    async fn held(&self, user: Uuid) -> Vec<Value> {
        let api = self.replicas[0].api();
        join_all(self.conversations(user).map(|mine| api.history(mine)))
            .await
            .concat()
    }
}

/// What a user was told, for a test that fails.
fn story(user: Uuid, told: &[String]) -> String {
    format!("what {user} was told:\n  {}", told.join("\n  "))
}

/// How often a content repeats its word: some are too long for a notification.
fn length(random: &mut StdRng) -> usize {
    match random.random_bool(0.2) {
        true => 1_500,
        false => 1,
    }
}

/// Of no length that anything depends on: it lets the others come in between.
async fn pause(random: &mut StdRng, most_ms: u64) {
    sleep(Duration::from_millis(random.random_range(0..=most_ms))).await;
}
