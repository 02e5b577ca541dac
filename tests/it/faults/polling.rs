//! A caller without a socket, who asks over HTTP what has happened since a cursor: the same is told as on a socket that comes back.

use serde_json::{Value, json};
use tokio::task::JoinSet;
use uuid::Uuid;

use super::horizon::{LATE, Late};
use super::ledger::{Copy, Scene};
use super::replay_permits::{holding_replays, until_replays_wait, waiting_replays};
use super::*;

/// What is told since a cursor, and the next one.
async fn told(replica: &Replica, user: Uuid, cursor: &str) -> (Vec<Value>, String) {
    let answer = replica.api().events(user, Some(cursor)).await.ok(200);
    let events = answer["events"].as_array().expect("events").clone();
    (events, cursor_of(&answer))
}

/// The same with what a socket is sent that comes back with this cursor.
async fn replayed(replica: &Replica, user: Uuid, cursor: &str) -> Vec<Value> {
    let mut socket = Socket::come_back(replica, user, cursor).await;
    socket.send_command("ping", json!({})).await;
    let frames = socket.arrived();
    socket.close().await;
    frames
}

/// Frames without what is not told over HTTP, and without the moment.
fn without_moment(frames: &[Value]) -> Vec<Value> {
    let mut frames = frames.to_vec();
    for frame in &mut frames {
        let frame = frame.as_object_mut().expect("a frame");
        frame.remove("cursor");
        assert!(frame.remove("timestamp").is_some_and(|time| time.is_u64()));
    }
    frames
}

#[tokio::test]
async fn who_asks_without_a_socket_is_told_what_a_socket_is_that_comes_back() {
    let database = Database::fresh().await;
    let [here, there] = Replica::start_many(&database, &QUICK).await;
    let scene = Scene::set(&here.api()).await;
    let mut cursors = Vec::new();
    for user in [ALICE, BORIS, CARLA, ELENA] {
        let cursor = settled_cursor(&here, user).await;
        assert_eq!(told(&here, user, &cursor).await.0, Vec::<Value>::new());
        cursors.push((user, cursor));
    }
    scene.play(&database, &here.api()).await;
    for (user, cursor) in cursors {
        let (events, next) = told(&there, user, &cursor).await;
        let frames = replayed(&there, user, &cursor).await;
        assert_eq!(without_moment(&events), without_moment(&frames), "{user}");
        assert_eq!(events.is_empty(), user == ELENA);
        for event in &events {
            assert_eq!(event["cursor"], Value::Null, "one stands for all");
            let mut frame = event.clone();
            frame["cursor"] = json!(cursor);
            described::assert_frame(&frame.to_string());
        }
        // From there on by either way.
        let content = format!("for {user}");
        let whom = if user == CARLA {
            scene.with_carla
        } else {
            scene.with_boris
        };
        here.api().send(whom, ALICE, &content).await;
        let is_it = |event: &Value| event["data"]["content"] == *content;
        let (more, _) = told(&here, user, &next).await;
        assert_eq!(more.iter().any(is_it), user != ELENA, "{more:#?}");
        assert_eq!(
            without_moment(&replayed(&here, user, &next).await),
            without_moment(&more)
        );
    }
}

/// Which of a socket's it is does not matter, nor who asks how often.
#[tokio::test]
async fn whoever_goes_on_from_the_cursor_of_any_answer_or_frame_misses_nothing() {
    let database = Database::fresh().await;
    let [here, there] = Replica::start_many(&database, &QUICK).await;
    let scene = Scene::set(&here.api()).await;
    settled_cursor(&here, ALICE).await;
    // Without a cursor there is nothing to tell.
    let begun = here.api().events(ALICE, None).await.ok(200);
    assert_eq!(begun["events"], json!([]));
    let empty = here
        .api()
        .get(&format!("/api/v1/chat/users/{ALICE}/events?cursor="))
        .await;
    assert_eq!(empty.ok(200)["events"], json!([]));
    let mut alice = Socket::connect(&here, ALICE).await;
    let opened = scene.play(&database, &here.api()).await;
    here.api().send(scene.with_boris, ALICE, "last").await;
    let live = alice.before_message("last").await;
    scene.assert_lived_through(&live, opened);
    let whole = Copy::of(&live);

    let mut copy = Copy::default();
    let mut cursor = cursor_of(&begun);
    for replica in [&here, &there, &here] {
        let (events, next) = told(replica, ALICE, &cursor).await;
        copy.apply(&events);
        copy.assert_holds(&whole, "of each answer");
        cursor = next;
    }
    for count in 1..=live.len() {
        let mut copy = Copy::of(&live[..count]);
        let (events, _) = told(&there, ALICE, &cursor_of(&live[count - 1])).await;
        copy.apply(&events);
        copy.assert_holds(&whole, &format!("after {count} live frames"));
    }
}

#[tokio::test]
async fn a_cursor_of_no_use_is_answered_as_on_a_socket_and_the_caller_goes_on_once_they_have_reloaded()
 {
    let (database, elsewhere) = (Database::fresh().await, Database::fresh().await);
    let settings = quick(&[("REPLAY_EVENTS", "20"), ("REPLAY_BYTES", "65536")]);
    let replica = Replica::start(&database, &settings).await;
    let other = Replica::start(&elsewhere, &QUICK).await;
    let api = replica.api();
    let conversation = api.open_conversation(ALICE, BORIS).await;
    let own = cursor_of(&api.events(BORIS, None).await.ok(200));
    let foreign = cursor_of(&other.api().events(BORIS, None).await.ok(200));
    let (identity, _) = own.rsplit_once('.').expect("the parts of a cursor");
    let settled = settled_cursor(&replica, BORIS).await;
    let mut live = Socket::connect(&replica, BORIS).await;
    let many = format!(
        "insert into messages (conversation_id, sender_id, content)
         select '{conversation}', '{ALICE}', n::text from generate_series(1, 21) n"
    );
    database.execute(&many).await;
    // What the replica has delivered comes behind no answer of its own.
    live.collect_messages(21).await;
    let mut reasons = Vec::new();
    for cursor in [
        "garbage",
        "%ff",
        &foreign,
        &format!("{identity}.ffffffffffff"),
        &settled,
    ] {
        let (events, next) = told(&replica, BORIS, cursor).await;
        let [resync] = &events[..] else {
            panic!("{cursor}: {events:#?}");
        };
        assert_eq!(resync["type"], "resync_required");
        assert_eq!(resync["userId"], json!(BORIS));
        let frames = replayed(&replica, BORIS, cursor).await;
        assert_eq!(without_moment(&events), without_moment(&frames), "{cursor}");
        reasons.push(resync["data"]["reason"].clone());
        // It is one of this database's, and not from after what has been loaded by then.
        assert!(next.starts_with(identity), "{next}");
    }
    reasons.dedup();
    assert_eq!(reasons.len(), 4, "{reasons:#?}");
    let settled = settled_cursor(&replica, BORIS).await;
    let long = "x".repeat(30_000);
    for _ in 0..3 {
        api.send(conversation, ALICE, &long).await;
    }
    let (events, _) = told(&replica, BORIS, &settled).await;
    assert_eq!(events[0]["data"]["reason"], reasons[3], "too many bytes");
    // Once their transactions are over for good, who has loaded all that goes on from the cursor they were given.
    settled_cursor(&replica, BORIS).await;
    let (_, next) = told(&replica, BORIS, &settled).await;
    api.send(conversation, ALICE, "after").await;
    let (events, _) = told(&replica, BORIS, &next).await;
    assert!(
        events
            .iter()
            .any(|event| event["data"]["content"] == "after"),
        "{events:#?}"
    );
}

/// The horizon stays where it is, and so does the cursor of each answer, however much younger transactions tell.
#[tokio::test]
async fn what_commits_after_younger_transactions_is_told_by_a_later_answer() {
    let cluster = Cluster::private();
    let database = Database::fresh_on(&cluster).await;
    let [here, there] = Replica::start_many(&database, &QUICK).await;
    let fast = here.api().open_conversation(ALICE, CARLA).await;
    let late = Late::begin(&database, &here.api()).await;
    let mut cursor = cursor_of(&here.api().events(ALICE, None).await.ok(200));
    for (number, replica) in [&here, &there, &here].into_iter().enumerate() {
        let content = number.to_string();
        here.api().send(fast, CARLA, &content).await;
        until_heartbeat(&database).await;
        let (events, next) = told(replica, ALICE, &cursor).await;
        assert!(
            events
                .iter()
                .any(|event| event["data"]["content"] == *content)
        );
        let too_early = late.told(&events);
        assert!(
            !too_early.iter().any(|gist| gist.contains("slow")),
            "{too_early:#?}"
        );
        cursor = next;
    }
    late.commit().await;
    for replica in [&here, &there] {
        let (events, _) = told(replica, ALICE, &cursor).await;
        let told = late.told(&events);
        for wanted in LATE {
            assert!(
                told.iter().any(|gist| gist.trim_end() == wanted),
                "{wanted} in {told:#?}"
            );
        }
    }
}

/// An event may come again for as long as a transaction that is older is open, and no longer.
#[tokio::test]
async fn whoever_goes_on_from_answer_to_answer_comes_to_the_end_of_what_there_is_to_tell() {
    let cluster = Cluster::private();
    let database = Database::fresh_on(&cluster).await;
    let replica = Replica::start(&database, &QUICK).await;
    let api = replica.api();
    let conversation = api.open_conversation(ALICE, BORIS).await;
    let begun = cursor_of(&api.events(BORIS, None).await.ok(200));
    let mut cursor = begun;
    for content in ["one", "two"] {
        api.send(conversation, ALICE, content).await;
        let last = tokio::sync::Mutex::new((cursor, false));
        eventually("an answer without events", || async {
            let mut last = last.lock().await;
            let (events, next) = told(&replica, BORIS, &last.0).await;
            let is_it = |event: &Value| event["data"]["content"] == content;
            *last = (next, last.1 || events.iter().any(is_it));
            events.is_empty().then_some(())
        })
        .await;
        let is_told;
        (cursor, is_told) = last.into_inner();
        assert!(is_told, "{content}");
    }
}

/// The answer has what had ended when its reading began, however long that takes: its cursor is from before, though the replica has heard of
/// more by then.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_happens_while_an_answer_is_read_is_told_by_the_next_one() {
    let cluster = Cluster::private();
    let database = Database::fresh_on(&cluster).await;
    let function = Function {
        name: "chat_missed",
        types: "uuid, xid8, bigint, bigint",
        returns: "setof chat_change",
        call: "return query select * from chat_missed_at_once($1, $2, $3, $4)",
    };
    let gate = Gate::before(&database, function, &format!("$1 = '{BORIS}'")).await;
    // It reads what its caller sees, as the one that it stands for.
    let stable = "alter function chat_missed(uuid, xid8, bigint, bigint) stable";
    database.execute(stable).await;
    let replica = Replica::start(&database, &quick(&[("DB_TIMEOUT_SECONDS", "60")])).await;
    let api = replica.api();
    let conversation = api.open_conversation(ALICE, BORIS).await;
    let cursor = settled_cursor(&replica, ALICE).await;
    api.send(conversation, ALICE, "before").await;
    let asked = {
        let (api, cursor) = (replica.api(), cursor.clone());
        tokio::spawn(async move { api.events(BORIS, Some(&cursor)).await })
    };
    until_lock_waiters(&database, 1).await;
    api.send(conversation, ALICE, "meanwhile").await;
    // What the replica says is where it is, is beyond that.
    settled_cursor(&replica, ALICE).await;
    gate.open().await;
    let answer = within("an answer", asked).await.expect("an answer").ok(200);
    let contents = |events: &[Value]| -> Vec<String> {
        let contents = events
            .iter()
            .filter_map(|event| event["data"]["content"].as_str());
        contents.map(str::to_owned).collect()
    };
    let events = answer["events"].as_array().expect("events");
    assert_eq!(contents(events), ["before"]);
    let (events, _) = told(&replica, BORIS, &cursor_of(&answer)).await;
    assert!(
        contents(&events).contains(&"meanwhile".to_owned()),
        "{events:#?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn those_who_ask_what_they_missed_wait_in_the_line_of_replays_and_keep_no_other_read_waiting()
{
    /// Half of the six connections for requests, where `DB_POOL_SIZE` is eight.
    const READ_FOR: i64 = 3;
    let database = Database::fresh().await;
    let settings = [
        ("DB_POOL_SIZE", "8"),
        ("DB_TIMEOUT_SECONDS", "60"),
        ("MAX_READS_PER_USER", "3"),
    ];
    let replica = Replica::start(&database, &quick(&settings)).await;
    let users = database.add_users(6).await;
    let cursor = settled_cursor(&replica, BORIS).await;
    let holder = holding_replays(&database).await;
    let mut asked = JoinSet::new();
    let ask = |user: Uuid| {
        let (api, cursor) = (replica.api(), cursor.clone());
        async move { api.events(user, Some(&cursor)).await }
    };
    // One who asks without a pause, who has one turn at a time, and no more than so many that wait.
    for _ in 0..4 {
        asked.spawn(ask(ALICE));
    }
    let refused = within("a refusal", asked.join_next()).await;
    let refused = refused.expect("one").expect("a reply");
    assert_eq!(
        refused.refused(429, "too_many_requests"),
        "more than 3 reads at a time"
    );
    until_replays_wait(&database, 1).await;
    let figure = "pgchat_turns_waiting{kind=\"replays\"}";
    until_metric(&replica, figure, 2.0).await;
    assert_eq!(waiting_replays(&database).await, 1);
    // And several.
    for user in &users {
        asked.spawn(ask(*user));
    }
    until_replays_wait(&database, READ_FOR).await;
    until_metric(&replica, figure, 9.0 - READ_FOR as f64).await;
    until_metric(&replica, "pgchat_pool_waiting{pool=\"requests\"}", 0.0).await;
    within("others' lists", async {
        for _ in 0..10 {
            replica.api().conversations(BORIS).await;
            replica.api().unread_count(CARLA).await;
        }
    })
    .await;
    assert_eq!(waiting_replays(&database).await, READ_FOR);
    holder.batch_execute("commit").await.expect("its end");
    while let Some(reply) = within("an answer", asked.join_next()).await {
        assert_eq!(reply.expect("a reply").ok(200)["events"], json!([]));
    }
}

/// An answer has to fit into the room for all that wait to be taken (64 MiB), however much a socket may be sent.
#[tokio::test]
async fn what_fits_into_no_answer_is_to_be_loaded_anew_whatever_a_replay_may_hold() {
    let database = Database::fresh().await;
    let replica = Replica::start(&database, &quick(&[("REPLAY_BYTES", "268435456")])).await;
    let conversation = database.conversation(ALICE, BORIS).await;
    let cursor = settled_cursor(&replica, BORIS).await;
    for bytes in [1_000_000, 9_000_000] {
        let insert = format!(
            "insert into messages (conversation_id, sender_id, content)
             select '{conversation}', '{ALICE}', repeat('x', {bytes}) from generate_series(1, 8)"
        );
        database.execute(&insert).await;
        let (events, next) = told(&replica, BORIS, &cursor).await;
        match bytes {
            1_000_000 => assert_eq!(events.len(), 8),
            _ => {
                assert_eq!(events.len(), 1);
                assert_eq!(events[0]["type"], "resync_required");
                assert_eq!(
                    events[0]["data"]["reason"],
                    "too much has happened since the cursor"
                );
            }
        }
        assert!(!next.is_empty());
    }
}
