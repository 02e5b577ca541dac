//! Many users who come, lose their replica and come to another, and go: how many notifications that makes, and how many frames.
//!
//! `a_storm_of_reconnects_makes_few_notifications` counts with so many users as every run of the tests can afford;
//! `of_ten_thousand`, which `make storm` runs, prints what stands in docs/scaling.md.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use futures_util::stream::{self, StreamExt};
use serde_json::{Value, json};
use uuid::Uuid;

use super::presence::{told_of, watches};
use crate::support::*;

/// Sockets that are opened at once: no more than the backlog of a listening socket holds.
const AT_ONCE: usize = 100;

/// Between two transactions of a replica that tell of presence.
const GATHERING: Duration = Duration::from_millis(50);

/// Ids of users in one notification, at least, where there are as many to tell of.
const A_PAYLOAD: usize = 190;

/// How long anything of it may take; nothing is asserted about speed.
const PATIENCE: Duration = Duration::from_secs(600);

#[derive(Clone, Copy)]
struct Size {
    users: usize,
    /// Sockets that watch, and how many users each.
    watchers: usize,
    watched: usize,
    grace: Duration,
}

/// What a step of it made.
struct Step {
    name: &'static str,
    took: Duration,
    payloads: usize,
    transactions: usize,
    /// How often each user was told of.
    told: HashMap<Uuid, usize>,
    /// Frames `presence` for sockets, on the replica that has the watchers.
    frames: usize,
}

struct Stage {
    database: Database,
    notifications: Notifications,
    users: Vec<Uuid>,
    conversation: Uuid,
    /// Where the watchers are.
    there: Replica,
    shown: usize,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_storm_of_reconnects_makes_few_notifications() {
    storm(Size {
        users: 400,
        watchers: 3,
        watched: 100,
        grace: Duration::from_secs(12),
    })
    .await;
}

/// `make storm`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes minutes, and 20,000 open files: make storm runs it"]
async fn of_ten_thousand() {
    let steps = storm(Size {
        users: 10_000,
        watchers: 10,
        watched: 500,
        grace: Duration::from_secs(180),
    })
    .await;
    println!(
        "| | seconds | notifications | transactions | frames for watchers |\n| --- | --- | --- | --- | --- |"
    );
    for step in steps {
        println!(
            "| {} | {:.0} | {} | {} | {} |",
            step.name,
            step.took.as_secs_f64(),
            step.payloads,
            step.transactions,
            step.frames
        );
    }
}

async fn storm(size: Size) -> [Step; 3] {
    let database = Database::fresh().await;
    let users = database.add_users(size.users as i32).await;
    let watchers = database.conversation(ALICE, BORIS).await;
    let grace = size.grace.as_secs().to_string();
    // The test does not read its sockets, and so answers no ping.
    let settings = [
        ("PRESENCE_GRACE_SECONDS", grace.as_str()),
        ("HEARTBEAT_SECONDS", "3600"),
        ("MAX_CONNECTIONS_PER_USER", "0"),
    ];
    let [mut here, there] = Replica::start_many(&database, &settings).await;
    let notifications = database.listen("chat_events").await;
    let mut watching = Vec::new();
    for number in 0..size.watchers {
        let mut socket = Socket::connect(&there, BORIS).await;
        let first = number * (size.users - size.watched) / size.watchers;
        watches(&mut socket, &users[first..first + size.watched]).await;
        watching.push(socket);
    }
    let mut stage = Stage {
        database,
        notifications,
        users,
        conversation: watchers,
        there,
        shown: 0,
    };
    let pairs = size.watchers * size.watched;
    // How all of them are now.
    stage.until_shown(pairs).await;
    stage.step("before").await;

    let started = Instant::now();
    let sockets = connect_all(&here, &stage.users).await;
    stage.until_online(size.users).await;
    stage.until_shown(2 * pairs).await;
    assert_eq!(shown(&here).await, 0, "nobody watches there");
    let come = stage.step("all come to one replica").await.since(started);
    assert!(come.told.values().all(|count| *count == 1), "each once");
    assert_eq!(come.told.len(), size.users);
    assert_eq!(come.frames, pairs, "one for each who watches and whom");
    come.assert_bounded(1);

    let started = Instant::now();
    here.kill();
    drop(sockets);
    let sockets = connect_all(&stage.there, &stage.users).await;
    stage.until_here(size.users).await;
    let reconnected = started.elapsed();
    stage.until_rolls(1).await;
    let moved = stage
        .step("their replica is killed, all come to the other")
        .await;
    if reconnected < size.grace {
        assert_eq!(moved.told.len(), 0, "nobody was missed");
        assert_eq!(moved.frames, 0, "nobody was shown anything");
    } else {
        // The machine was too slow for it: then the users were gone for a while.
        assert!(
            moved.told.values().all(|count| *count <= 2),
            "gone and back"
        );
        assert!(moved.frames <= 2 * pairs);
    }
    let moved = moved.since(started);
    moved.assert_bounded(2);

    let started = Instant::now();
    drop(sockets);
    stage.until_online(0).await;
    stage.until_shown(stage.shown + pairs).await;
    let gone = stage
        .step("all are cut, and do not come back")
        .await
        .since(started);
    assert!(gone.told.values().all(|count| *count == 1), "each once");
    assert_eq!(gone.told.len(), size.users);
    assert_eq!(gone.frames, pairs, "one for each who watches and whom");
    gone.assert_bounded(1);
    drop(watching);
    [come, moved, gone]
}

async fn connect_all(replica: &Replica, users: &[Uuid]) -> Vec<Socket> {
    let connecting = users.iter().map(|user| Socket::connect(replica, *user));
    stream::iter(connecting).buffered(AT_ONCE).collect().await
}

async fn shown(replica: &Replica) -> usize {
    replica.api().metric("pgchat_presence_frames_total").await as usize
}

impl Stage {
    /// So many users beside the watcher are online, as the database has it.
    async fn until_online(&self, count: usize) {
        let online = format!("chat_attendance where rolls <> '{{}}' and user_id <> '{BORIS}'");
        let what = format!("{count} are online");
        eventually_within(PATIENCE, &what, || async {
            (self.database.count(&online).await == count as i64).then_some(())
        })
        .await;
    }

    /// So many have a socket at the second replica, and the database was told of all of them.
    async fn until_here(&self, count: usize) {
        let told = format!(
            "chat_attendance a where a.user_id <> '{BORIS}' and a.rolls && array(select id from chat_rolls where ended_at is null)
             and (select count(*) from chat_rolls where ended_at is null) = 1"
        );
        let what = format!("{count} have come to the other replica");
        eventually_within(PATIENCE, &what, || async {
            (self.database.count(&told).await == count as i64).then_some(())
        })
        .await;
    }

    /// Rolls that have ended are cleared away.
    async fn until_rolls(&self, count: i64) {
        let what = "the roll of the replica that died is cleared away";
        eventually_within(PATIENCE, what, || async {
            (self.database.count("chat_rolls").await == count).then_some(())
        })
        .await;
    }

    async fn until_shown(&self, count: usize) {
        let what = format!("{count} frames are shown");
        eventually_within(PATIENCE, &what, || async {
            (shown(&self.there).await >= count).then_some(())
        })
        .await;
    }

    /// What was notified since the step before, up to a message that is sent now.
    async fn step(&mut self, name: &'static str) -> Step {
        let api = self.there.api();
        let last = api.send(self.conversation, ALICE, name).await;
        let mut step = Step {
            name,
            took: Duration::ZERO,
            payloads: 0,
            transactions: 0,
            told: HashMap::new(),
            frames: 0,
        };
        let mut transactions = HashSet::new();
        for payload in self.notifications.before(&id_of(&last).to_string()).await {
            assert!(payload.len() < 8000);
            let told = told_of(&payload);
            if told.is_empty() || told == [BORIS] {
                continue;
            }
            let payload: Value = serde_json::from_str(&payload).expect("JSON");
            assert_eq!(payload["horizon"], json!(null), "it was not flushed");
            step.payloads += 1;
            transactions.insert(payload["xid"].to_string());
            for user in told {
                *step.told.entry(user).or_default() += 1;
            }
        }
        step.transactions = transactions.len();
        let shown = shown(&self.there).await;
        step.frames = shown - self.shown;
        self.shown = shown;
        step
    }
}

impl Step {
    fn since(mut self, started: Instant) -> Self {
        self.took = started.elapsed();
        self
    }

    /// No more transactions than the gathering lets `replicas` make in that time, and no more notifications than these need for
    /// the users whom they tell of.
    fn assert_bounded(&self, replicas: usize) {
        let turns = self.took.as_millis() / GATHERING.as_millis() + 1;
        let turns = replicas * usize::try_from(turns).expect("a number");
        let told: usize = self.told.values().sum();
        assert!(
            self.transactions <= turns,
            "{}: {} transactions in {turns} turns",
            self.name,
            self.transactions
        );
        assert!(
            self.payloads <= self.transactions + told / A_PAYLOAD,
            "{}: {} notifications of {told} in {} transactions",
            self.name,
            self.payloads,
            self.transactions
        );
    }
}
