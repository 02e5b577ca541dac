//! A user who comes back with an old cursor, on all of their sockets, again and again: what each of them missed is read from the
//! database, where others wait for the same.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use serde_json::json;
use tokio::task::JoinSet;
use tokio_postgres::Client;
use uuid::Uuid;

use super::attackers;
use crate::support::*;

/// Control frames (RFC 6455 section 5.5).
const CLOSE: u8 = 0x88;
const PING: u8 = 0x89;

/// Alice's replays are being read, in this database.
const READ_FOR_ALICE: &str =
    "pg_stat_activity where datname = current_database() and wait_event = 'advisory'";

/// Alice comes back with an old cursor, and what she missed takes as long to be read as the test wants.
struct Scene {
    database: Database,
    replica: Replica,
    with_boris: Uuid,
    cursor: String,
    /// By which she comes back.
    path: String,
    /// Holds what her replays wait for.
    holder: Client,
}

impl Scene {
    /// She missed one message.
    async fn set(more: &[(&str, &str)]) -> Self {
        let database = Database::fresh().await;
        let arguments = "reader uuid, horizon xid8, max_rows bigint, max_bytes bigint";
        database
            .execute(&format!(
                "alter function chat_missed(uuid, xid8, bigint, bigint) rename to chat_missed_at_once;
                 create function chat_missed({arguments}) returns setof chat_change language plpgsql security definer
                 set search_path from current as $$
                 begin
                   if reader = '{ALICE}' then
                     perform pg_advisory_xact_lock_shared(1);
                   end if;
                   return query select * from chat_missed_at_once(reader, horizon, max_rows, max_bytes);
                 end $$;
                 grant execute on function chat_missed({arguments}) to {SERVICE}"
            ))
            .await;
        // The database does not answer before a test's deadline: whoever waits is let go by something else.
        let patient = [
            ("LISTENER_HEARTBEAT_SECONDS", "1"),
            ("DB_TIMEOUT_SECONDS", "60"),
        ];
        let replica = Replica::start(&database, &[&patient[..], more].concat()).await;
        let api = replica.api();
        let with_boris = api.open_conversation(ALICE, BORIS).await;
        let cursor = settled_cursor(&replica, CARLA).await;
        api.send(with_boris, BORIS, "missed").await;
        let holder = database.sql().await;
        let lock = "select pg_advisory_lock(1)";
        holder.batch_execute(lock).await.expect("the lock");
        Self {
            database,
            replica,
            with_boris,
            path: format!("/ws?user_id={ALICE}&cursor={cursor}"),
            cursor,
            holder,
        }
    }

    async fn alice_comes_back(&self) -> Raw {
        Raw::upgrade_to(&self.replica, &self.path).await
    }

    async fn until_alice_is_read_for(&self) {
        eventually("Alice is read for", || async {
            (self.database.count(READ_FOR_ALICE).await > 0).then_some(())
        })
        .await;
    }

    async fn until_connected(&self, sockets: f64) {
        until_metric(&self.replica, "pgchat_connections", sockets).await;
    }

    async fn release(&self) {
        let unlock = "select pg_advisory_unlock(1)";
        self.holder.batch_execute(unlock).await.expect("its end");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_user_whose_twenty_sockets_come_back_without_a_pause_takes_one_turn_of_all() {
    const STAY: usize = 12;
    const COME_AND_GO: usize = 8;
    let scene = Scene::set(&[("REPLAY_PARALLEL", "2")]).await;

    let mut staying = Vec::new();
    for _ in 0..STAY {
        staying.push(scene.alice_comes_back().await);
    }
    scene.until_alice_is_read_for().await;
    let mut coming_and_going = JoinSet::new();
    for _ in 0..COME_AND_GO {
        let (port, path) = (scene.replica.port(), scene.path.clone());
        coming_and_going.spawn(attackers::comes_and_goes(port, path));
    }
    for _ in 0..10 {
        let mut boris = Socket::resume(&scene.replica, BORIS, &scene.cursor).await;
        boris.before_message("missed").await;
        boris.close().await;
        assert_eq!(scene.database.count(READ_FOR_ALICE).await, 1);
    }

    // Nobody was forgotten.
    coming_and_going.shutdown().await;
    scene.release().await;
    for mut raw in staying {
        raw.heard("missed").await;
    }
}

/// The database answers none of them meanwhile.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_hangs_up_while_waiting_for_a_turn_is_gone_at_once() {
    let scene = Scene::set(&[]).await;
    let mut read_for = scene.alice_comes_back().await;
    scene.until_alice_is_read_for().await;
    let mut says_so = scene.alice_comes_back().await;
    let is_cut = scene.alice_comes_back().await;
    let mut says_something = scene.alice_comes_back().await;
    let mut last = scene.alice_comes_back().await;
    scene.until_connected(5.0).await;

    says_so.write(client_frame(CLOSE, "")).await;
    drop(is_cut);
    let ping = r#"{"type":"ping","requestId":"r","data":{}}"#;
    says_something.write(text_frame(ping)).await;
    drop(says_something);
    scene.until_connected(2.0).await;
    says_so.closed().await;

    scene.release().await;
    read_for.heard("missed").await;
    last.heard("missed").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_client_sends_before_it_is_greeted_is_done_after_that_and_in_order() {
    const FRAMES: usize = 100;
    let scene = Scene::set(&[]).await;
    let _read_for = scene.alice_comes_back().await;
    scene.until_alice_is_read_for().await;
    let mut alice = scene.alice_comes_back().await;
    // More than is kept: the rest waits on its way.
    for number in 0..FRAMES {
        let data =
            json!({"conversationId": scene.with_boris, "content": format!("said early: {number}")});
        let frame =
            json!({"type": "send_message", "requestId": format!("n{number}"), "data": data});
        alice.write(text_frame(&frame.to_string())).await;
        if number == 10 {
            alice.write(client_frame(PING, "early")).await;
        }
    }
    // The frames before this one have been read.
    alice.heard("early").await;
    let api = scene.replica.api();
    api.send(scene.with_boris, BORIS, "of one who is here")
        .await;
    let said = "messages where content like 'said early%'";
    assert_eq!(scene.database.count(said).await, 0);

    scene.release().await;
    let last = format!("\"requestId\":\"n{}\"", FRAMES - 1);
    alice.heard(&last).await;
    alice.write(client_frame(CLOSE, "")).await;
    let heard = alice.until_closed().await;
    let heard = String::from_utf8_lossy(&heard);
    let mut place = 0;
    let acks = (0..FRAMES).map(|number| format!("\"requestId\":\"n{number}\""));
    let others = ["\"type\":\"connected\"", "\"missed\""].map(str::to_owned);
    for wanted in others.into_iter().chain(acks) {
        let found = heard[place..].find(&wanted);
        place += found.unwrap_or_else(|| panic!("{wanted} is not behind {place} in {heard}"));
    }
    assert_eq!(scene.database.count(said).await, FRAMES as i64);
}

/// A hundred frames are read in a second, and as many at once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replay_counts_like_a_hundred_frames_so_that_a_loop_of_them_is_held_back() {
    let database = Database::fresh().await;
    let rate = [("RATE_LIMIT_PER_SECOND", "10"), ("RATE_LIMIT_BURST", "10")];
    let replica = Replica::start(&database, &rate).await;
    let cursor = settled_cursor(&replica, CARLA).await;
    let started = Instant::now();
    for _ in 0..4 {
        let socket = Socket::resume(&replica, ALICE, &cursor).await;
        socket.close().await;
    }
    assert!(started.elapsed() >= Duration::from_millis(2500));
}

/// With any more than a hundred frames for each the last would wait for longer than a test does.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn twenty_sockets_of_a_user_that_come_back_at_once_are_not_held_back() {
    let database = Database::fresh().await;
    let replica = Replica::start(&database, &[("RATE_LIMIT_PER_SECOND", "1")]).await;
    let cursor = settled_cursor(&replica, CARLA).await;
    let coming = (0..20).map(|_| Socket::resume(&replica, ALICE, &cursor));
    join_all(coming).await;
}
