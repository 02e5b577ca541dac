//! A client that comes back with a cursor, to any replica, at any moment.

use serde_json::Value;
use tokio::task::JoinSet;
use uuid::Uuid;

use super::ledger::{CAUGHT_UP, Copy, Scene, gists, seqs};
use super::*;

#[tokio::test]
async fn a_client_that_comes_back_to_another_replica_is_told_of_all_that_it_missed() {
    let database = Database::fresh().await;
    let [here, there] = Replica::start_many(&database, &QUICK).await;
    let scene = Scene::set(&here.api()).await;
    let cursors = [
        (ALICE, settled_cursor(&here, ALICE).await),
        (BORIS, settled_cursor(&here, BORIS).await),
    ];
    let opened = scene.play(&database, &here.api()).await;

    for (user, cursor) in cursors {
        let mut socket = Socket::resume(&there, user, &cursor).await;
        assert_eq!(cursor_of(&socket.connected), cursor, "nothing was sent yet");
        // An answer comes after the replay, whatever that held.
        socket.send_command("ping", serde_json::json!({})).await;
        let frames = socket.arrived();
        let talk = gists(&frames, scene.with_boris);
        for wanted in CAUGHT_UP {
            let count = talk.iter().filter(|gist| gist.trim_end() == wanted).count();
            assert_eq!(count, 1, "{wanted} in {talk:#?}");
        }
        let of_messages: Vec<i64> = frames
            .iter()
            .filter(|frame| frame["data"]["conversationId"] == serde_json::json!(scene.with_boris))
            .filter_map(|frame| frame["data"]["seq"].as_i64())
            .collect();
        assert!(of_messages.is_sorted(), "{talk:#?}");
        if user == ALICE {
            let opened = gists(&frames, opened);
            assert_eq!(
                opened,
                ["conversation_created", "chat_message 1 a new talk"]
            );
        }
        let last = format!("last for {user}");
        there.api().send(scene.with_boris, ALICE, &last).await;
        let frames = socket.before_message(&last).await;
        assert_eq!(frames, Vec::<Value>::new(), "nothing comes again");
    }
}

#[tokio::test]
async fn a_client_can_resume_from_the_cursor_of_any_frame() {
    let database = Database::fresh().await;
    let [here, there] = Replica::start_many(&database, &QUICK).await;
    let scene = Scene::set(&here.api()).await;
    let settled = settled_cursor(&here, ALICE).await;
    let mut alice = Socket::resume(&here, ALICE, &settled).await;
    let connected = alice.connected.clone();
    let opened = scene.play(&database, &here.api()).await;
    here.api().send(scene.with_boris, ALICE, "last").await;
    let live = alice.before_message("last").await;
    scene.assert_lived_through(&live, opened);
    let whole = Copy::of(&live);

    // Cut off after each frame of the live stream, the first of all too.
    for count in 0..=live.len() {
        let last = live[..count].last().unwrap_or(&connected);
        let mut copy = Copy::of(&live[..count]);
        copy.apply(&replayed(&there, ALICE, &cursor_of(last)).await);
        copy.assert_holds(&whole, &format!("after {count} live frames"));
    }
    // And cut off after each frame of a replay.
    let replay = replayed(&there, ALICE, &cursor_of(&connected)).await;
    Copy::of(&replay).assert_holds(&whole, "a whole replay");
    for count in 1..replay.len() {
        let mut copy = Copy::of(&replay[..count]);
        let cursor = cursor_of(&replay[count - 1]);
        copy.apply(&replayed(&here, ALICE, &cursor).await);
        copy.assert_holds(&whole, &format!("after {count} replayed frames"));
    }
}

/// What a client that comes back is sent, up to the message "last" of the scene, which is left out.
async fn replayed(replica: &Replica, user: Uuid, cursor: &str) -> Vec<Value> {
    let mut socket = Socket::resume(replica, user, cursor).await;
    // An answer comes after the replay, whatever that held.
    socket.send_command("ping", serde_json::json!({})).await;
    let frames = socket.arrived();
    socket.close().await;
    let last = |frame: &Value| frame["data"]["content"] == "last";
    frames.into_iter().filter(|frame| !last(frame)).collect()
}

/// Nothing else happens in the conversation: each way by itself has to leave what a resume finds it by.
#[tokio::test]
async fn what_was_stored_in_any_way_is_found_by_a_resume() {
    let database = Database::fresh().await;
    let replica = Replica::start(&database, &QUICK).await;
    let call = |again: bool, conversation: Uuid| {
        format!(
            "select * from chat_send_messages(array[chat_uuid_v7(), chat_uuid_v7()], array['{conversation}', '{conversation}']::uuid[],
             array['{ALICE}', '{ALICE}']::uuid[], array['one', 'two'], array['text', 'text'], array[null, null]::text[], again => {again})"
        )
    };
    for (user, way) in [
        (BORIS, "a batch"),
        (CARLA, "a batch again"),
        (DAVID, "a function"),
    ] {
        let conversation = replica.api().open_conversation(ALICE, user).await;
        let cursor = settled_cursor(&replica, user).await;
        let sql = match way {
            "a batch" => call(false, conversation),
            "a batch again" => call(true, conversation),
            _ => ["one", "two"]
                .map(|content| {
                    format!("select chat_send_message('{conversation}', '{ALICE}', '{content}')")
                })
                .join("; "),
        };
        database.execute(&sql).await;
        let mut socket = Socket::resume(&replica, user, &cursor).await;
        socket.send_command("ping", serde_json::json!({})).await;
        assert_eq!(seqs(&socket.arrived(), conversation), [1, 2], "{way}");
    }
}

#[tokio::test]
async fn beyond_the_limit_of_a_replay_the_client_reloads_and_goes_on() {
    reload_beyond(20, &[("REPLAY_EVENTS", "20")]).await;
}

#[tokio::test]
async fn a_thousand_events_are_replayed_unless_told_otherwise() {
    reload_beyond(1000, &[]).await;
}

async fn reload_beyond(limit: usize, settings: &[(&str, &str)]) {
    let cluster = Cluster::private();
    let database = Database::fresh_on(&cluster).await;
    let [here, there] = Replica::start_many(&database, &quick(settings)).await;
    let api = here.api();
    let conversation = api.open_conversation(ALICE, BORIS).await;
    let cursor = settled_cursor(&here, BORIS).await;
    let missed = format!(
        "insert into messages (conversation_id, sender_id, content)
         select '{conversation}', '{ALICE}', n::text from generate_series(1, {limit}) n"
    );
    database.execute(&missed).await;
    let mut boris = Socket::resume(&there, BORIS, &cursor).await;
    boris.collect_messages(limit).await;
    boris.close().await;

    api.send(conversation, ALICE, "one more").await;
    // Until this replica knows that all of it has ended, what it tells is from before that, and too much is missed since then.
    settled_cursor(&there, BORIS).await;
    let (mut boris, resync) = Socket::resume_refused(&there, BORIS, &cursor).await;
    let greeted = cursor_of(&boris.connected);
    assert!(resync["data"]["reason"].is_string(), "{resync}");
    // The socket is live all the same.
    api.send(conversation, ALICE, "after").await;
    let before = boris.before_message("after").await;
    assert_eq!(before, Vec::<Value>::new());
    boris.close().await;

    api.send(conversation, ALICE, "missed").await;
    let mut boris = Socket::resume(&here, BORIS, &cursor_of(&resync)).await;
    boris.before_message("missed").await;
    // Who broke off before it had reloaded, even before it was told to, is told again.
    Socket::resume_refused(&here, BORIS, &greeted).await;
}

#[tokio::test]
async fn beyond_the_bytes_of_a_replay_the_client_reloads() {
    let database = Database::fresh().await;
    let replica = Replica::start(&database, &quick(&[("REPLAY_BYTES", "65536")])).await;
    let api = replica.api();
    let conversation = api.open_conversation(ALICE, BORIS).await;
    let cursor = settled_cursor(&replica, BORIS).await;
    let long = "x".repeat(30_000);
    for _ in 0..2 {
        api.send(conversation, ALICE, &long).await;
    }
    let mut boris = Socket::resume(&replica, BORIS, &cursor).await;
    boris.collect_messages(2).await;
    boris.close().await;

    api.send(conversation, ALICE, &long).await;
    Socket::resume_refused(&replica, BORIS, &cursor).await;
}

#[tokio::test]
async fn a_cursor_that_cannot_be_ours_asks_for_a_reload() {
    let database = Database::fresh().await;
    let elsewhere = Database::fresh().await;
    let replica = Replica::start(&database, &QUICK).await;
    let other = Replica::start(&elsewhere, &QUICK).await;
    let conversation = replica.api().open_conversation(ALICE, BORIS).await;
    let own = cursor_of(&Socket::connect(&replica, ALICE).await.connected);
    let foreign = cursor_of(&Socket::connect(&other, ALICE).await.connected);
    let (identity, _) = own.rsplit_once('.').expect("the parts of a cursor");

    for cursor in [
        "garbage".to_owned(),
        "0".to_owned(),
        "%00%ff".to_owned(),
        "%zz".to_owned(),
        "-1.2.3".to_owned(),
        "x".repeat(5_000),
        foreign,
        format!("{identity}.ffffffffffffff"),
        format!("{identity}.ffffffffffffffff"),
        format!("{identity}."),
        format!("{own}0000000000000000000000"),
    ] {
        let (mut alice, resync) = Socket::resume_refused(&replica, ALICE, &cursor).await;
        let mut again = Socket::resume(&replica, ALICE, &cursor_of(&resync)).await;
        // Live, both of them.
        let sent = replica.api().send(conversation, BORIS, "live").await;
        for socket in [&mut alice, &mut again] {
            socket
                .expect_where("the message", |frame| frame["data"]["id"] == sent["id"])
                .await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_comes_and_goes_while_others_write_misses_nothing() {
    const ROUNDS: usize = 30;
    const WRITERS: [Uuid; 3] = [BORIS, CARLA, DAVID];
    let database = Database::fresh().await;
    let [here, there] = Replica::start_many(
        &database,
        &quick(&[
            ("RATE_LIMIT_PER_SECOND", "0"),
            ("RATE_LIMIT_BURST", "0"),
            // The open transactions of tests beside this one, on the same cluster, hold its cursors back.
            ("REPLAY_EVENTS", "10000"),
        ]),
    )
    .await;
    let mut conversations = Vec::new();
    for writer in WRITERS {
        conversations.push(here.api().open_conversation(ALICE, writer).await);
    }
    let (stop, stopped) = tokio::sync::watch::channel(false);
    let mut writers = JoinSet::new();
    let mut connected = Socket::connect(&here, ALICE).await;
    for (number, writer) in WRITERS.into_iter().enumerate() {
        let api = [&here, &there][number % 2].api();
        let (conversation, stopped) = (conversations[number], stopped.clone());
        writers.spawn(async move {
            let mut count = 0_i64;
            while !*stopped.borrow() {
                count += 1;
                api.send(conversation, writer, &count.to_string()).await;
            }
            api.send(conversation, writer, "last").await;
            (conversation, count + 1)
        });
    }

    let mut cursor = cursor_of(&connected.connected);
    let mut seen: Vec<Value> = Vec::new();
    for round in 0..ROUNDS {
        let mut frames = Vec::new();
        // Now and then it leaves in the middle of a replay.
        for _ in 0..(round * 7) % 23 {
            frames.push(connected.next().await);
        }
        for conversation in &conversations {
            let order = seqs(&frames, *conversation);
            assert!(order.is_sorted_by(|a, b| a < b), "{order:?} on one socket");
        }
        if let Some(last) = frames.iter().rfind(|frame| frame["cursor"].is_string()) {
            cursor = cursor_of(last);
        }
        seen.append(&mut frames);
        // Without a goodbye, and at the other replica at once.
        drop(connected);
        connected = Socket::resume([&here, &there][round % 2], ALICE, &cursor).await;
    }
    stop.send_replace(true);
    let mut written = Vec::new();
    while let Some(done) = writers.join_next().await {
        written.push(done.expect("a writer"));
    }
    let mut lasts = 0;
    let mut frames = Vec::new();
    while lasts < WRITERS.len() {
        let frame = connected.next().await;
        lasts += usize::from(frame["data"]["content"] == "last");
        frames.push(frame);
    }
    for (conversation, count) in written {
        let order = seqs(&frames, conversation);
        assert!(order.is_sorted_by(|a, b| a < b), "{order:?} on one socket");
        let mut all = seqs(&seen, conversation);
        all.extend(order);
        all.sort_unstable();
        all.dedup();
        assert_eq!(all, (1..=count).collect::<Vec<_>>(), "nothing is missing");
        assert!(count > 5, "it was written meanwhile: {count}");
    }
}

/// A replay of what a listener has yet to catch up with: told once, by whichever comes first.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_resume_at_a_replica_whose_listener_is_away_repeats_nothing() {
    let database = Database::fresh().await;
    let proxy = Proxy::before(&database).await;
    let here = Replica::start(&database, &QUICK).await;
    let there = Replica::start(&database, &quick(&proxy.for_listener())).await;
    let scene = Scene::set(&here.api()).await;
    let seen = here.api().send(scene.with_boris, ALICE, "early 5").await;
    let cursor = settled_cursor(&here, BORIS).await;

    proxy.refuse();
    kill_listeners(&database).await;
    until_status(&there, "/health", 503).await;
    for number in 6..10 {
        let content = number.to_string();
        here.api().send(scene.with_boris, ALICE, &content).await;
    }
    let mut boris = Socket::resume(&there, BORIS, &cursor).await;
    let replayed = boris.collect_messages(4).await;
    assert_eq!(
        replayed.iter().map(seq_of).collect::<Vec<_>>(),
        [6, 7, 8, 9]
    );
    here.api().edit(id_of(&seen), ALICE, "edited").await.ok(200);
    here.api()
        .edit(id_of(&replayed[0]), ALICE, "six")
        .await
        .ok(200);
    here.api().send(scene.with_boris, ALICE, "10").await;

    proxy.accept();
    until_healthy(&there).await;
    here.api().send(scene.with_boris, ALICE, "last").await;
    let frames = boris.before_message("last").await;
    let wanted = [
        "message_updated 5 edited",
        "message_updated 6 six",
        "chat_message 10 10",
    ];
    assert_eq!(gists(&frames, scene.with_boris), wanted);
}

/// The other replica is behind the one where the client was: what it catches up with, the client has seen.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_resume_at_a_replica_that_is_behind_the_cursor_repeats_nothing() {
    let database = Database::fresh().await;
    let proxy = Proxy::before(&database).await;
    let here = Replica::start(&database, &QUICK).await;
    let there = Replica::start(&database, &quick(&proxy.for_listener())).await;
    let scene = Scene::set(&here.api()).await;

    proxy.refuse();
    kill_listeners(&database).await;
    until_status(&there, "/health", 503).await;
    let five = here.api().send(scene.with_boris, ALICE, "5").await;
    for number in 6..9 {
        let content = number.to_string();
        here.api().send(scene.with_boris, ALICE, &content).await;
    }
    let cursor = settled_cursor(&here, BORIS).await;
    let mut boris = Socket::resume(&there, BORIS, &cursor).await;
    here.api().edit(id_of(&five), ALICE, "five").await.ok(200);
    here.api().send(scene.with_boris, ALICE, "9").await;

    proxy.accept();
    until_healthy(&there).await;
    here.api().send(scene.with_boris, ALICE, "last").await;
    let frames = boris.before_message("last").await;
    let wanted = ["message_updated 5 five", "chat_message 9 9"];
    assert_eq!(gists(&frames, scene.with_boris), wanted);
}
