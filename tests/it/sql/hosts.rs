//! Whatever triggers a host has on the tables, and whatever its programs do at once: `seq` has no gap, what is told is what is
//! stored, in order, and what was answered is true.
//!
//! Each case draws some triggers and some sessions' statements from its seed (`support::seeds`).

mod checks;
mod programs;
mod triggers;

use std::time::Duration;

use futures_util::future::join_all;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use uuid::Uuid;

use crate::support::*;

/// What the cases of one run take, but for the last.
const TIME: Duration = Duration::from_secs(8);
const SESSIONS: usize = 3;
/// Transactions of a session.
const TRANSACTIONS: usize = 8;

/// Who talks to whom.
const PAIRS: [(Uuid, Uuid); 3] = [(ALICE, BORIS), (ALICE, CARLA), (BORIS, CARLA)];

/// A conversation and its participants.
#[derive(Clone, Copy, Debug)]
struct Place {
    conversation: Uuid,
    users: [Uuid; 2],
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_triggers_a_host_has_seq_has_no_gap_and_what_is_told_is_what_is_stored() {
    let database = Database::fresh().await;
    triggers::prepare(&database).await;
    for seed in seeds(1, TIME) {
        run(&database, seed).await;
    }
}

async fn run(database: &Database, seed: u64) {
    let mut random = StdRng::seed_from_u64(seed);
    let made = triggers::make(database, &mut random).await;
    eprintln!("{}", made.join("\n"));
    let mut places = Vec::new();
    for (one, other) in PAIRS {
        places.push(Place {
            conversation: database.conversation(one, other).await,
            users: [one, other],
        });
    }
    let mut heard = database.listen("chat_events").await;
    let sessions = (0..SESSIONS).map(|_| {
        let random = StdRng::seed_from_u64(random.random());
        programs::Session::new(database, &places, random).run(TRANSACTIONS)
    });
    let answers: Vec<programs::Answer> = join_all(sessions).await.into_iter().flatten().collect();
    database.execute("notify chat_events, 'the end'").await;
    let payloads = heard.before("the end").await;
    let stored = checks::Stored::read(database).await;
    stored.check_places(&places);
    stored.check_answers(&answers);
    checks::check_told(&stored, &payloads);
    for user in [ALICE, BORIS, CARLA] {
        checks::check_resumed(database, &stored, &payloads, (&places, user), &mut random).await;
    }
}
