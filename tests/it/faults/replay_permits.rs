//! Many come back at once and wait for their turn to be read for; at a database that does not answer each is refused in the
//! time that one may wait, and not in that of all who stand before it.

use std::time::{Duration, Instant};

use reqwest::Method;
use tokio::task::JoinSet;

use super::*;
use crate::auth::get;
use crate::auth::tokens::{SECRET, token};

#[tokio::test]
async fn of_many_that_come_back_at_once_a_few_are_read_for_and_the_others_wait() {
    const CLIENTS: i32 = 12;
    let database = Database::fresh().await;
    let replica = Replica::start(
        &database,
        &quick(&[("REPLAY_PARALLEL", "2"), ("DB_TIMEOUT_SECONDS", "60")]),
    )
    .await;
    let api = replica.api();
    let conversation = api.open_conversation(ALICE, BORIS).await;
    let users = database.add_users(CLIENTS).await;
    let cursor = settled_cursor(&replica, BORIS).await;
    for user in &users {
        let with_alice = api.open_conversation(ALICE, *user).await;
        api.send(with_alice, ALICE, "missed").await;
    }

    let holder = holding_replays(&database).await;
    let mut coming = JoinSet::new();
    for user in users {
        let authority = format!("127.0.0.1:{}", replica.port());
        let path = format!("/ws?user_id={user}&cursor={cursor}");
        coming.spawn(async move { Socket::connect_at(&authority, user, &path).await });
    }
    until_metric(&replica, "pgchat_connections", f64::from(CLIENTS)).await;
    until_replays_wait(&database, 2).await;
    let figure = "pgchat_turns_waiting{kind=\"replays\"}";
    until_metric(&replica, figure, f64::from(CLIENTS - 2)).await;
    // The writer is not among those who wait, and by its answer whoever else would read does.
    api.send(conversation, BORIS, "of one who is here").await;
    assert_eq!(waiting_replays(&database).await, 2);

    holder.batch_execute("commit").await.expect("its end");
    while let Some(socket) = coming.join_next().await {
        let mut socket = socket.expect("a socket's task");
        assert!(socket.is_resumed(), "{}", socket.connected);
        socket.before_message("missed").await;
    }
}

/// Though eight may be read for at a time: of the six connections for requests three are left to those who do not come back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn those_who_come_back_leave_half_of_the_connections_to_the_others() {
    const CLIENTS: i32 = 12;
    const READ_FOR: i64 = 3;
    let database = Database::fresh().await;
    let settings = [("REPLAY_PARALLEL", "8"), ("DB_POOL_SIZE", "8")];
    let settings = [&settings[..], &[("DB_TIMEOUT_SECONDS", "60")]].concat();
    let replica = Replica::start(&database, &quick(&settings)).await;
    let api = replica.api();
    let users = database.add_users(CLIENTS).await;
    let cursor = settled_cursor(&replica, BORIS).await;
    for user in &users {
        let with_alice = api.open_conversation(ALICE, *user).await;
        api.send(with_alice, ALICE, "missed").await;
    }

    let holder = holding_replays(&database).await;
    let mut coming = JoinSet::new();
    for user in users {
        let authority = format!("127.0.0.1:{}", replica.port());
        let path = format!("/ws?user_id={user}&cursor={cursor}");
        coming.spawn(async move { Socket::connect_at(&authority, user, &path).await });
    }
    until_replays_wait(&database, READ_FOR).await;
    let figure = "pgchat_turns_waiting{kind=\"replays\"}";
    until_metric(&replica, figure, f64::from(CLIENTS) - READ_FOR as f64).await;
    let figure = "pgchat_pool_waiting{pool=\"requests\"}";
    until_metric(&replica, figure, 0.0).await;
    within("others' lists", async {
        for _ in 0..10 {
            api.conversations(BORIS).await;
            api.unread_count(CARLA).await;
        }
    })
    .await;
    assert_eq!(waiting_replays(&database).await, READ_FOR);

    holder.batch_execute("commit").await.expect("its end");
    while let Some(socket) = coming.join_next().await {
        let mut socket = socket.expect("a socket's task");
        assert!(socket.is_resumed(), "{}", socket.connected);
        socket.before_message("missed").await;
    }
}

/// One after the other they would wait for eight times the database's deadline, which is longer than a test waits.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replays_that_wait_for_a_silent_database_are_given_up_in_its_time() {
    const CLIENTS: usize = 8;
    let database = Database::fresh().await;
    let proxy = Proxy::before(&database).await;
    let one_at_a_time = [("REPLAY_PARALLEL", "1"), ("DB_TIMEOUT_SECONDS", "6")];
    let settings = quick(&[&proxy.for_all()[..], &one_at_a_time].concat());
    let replica = Replica::start(&database, &settings).await;
    let api = replica.api();
    let conversation = api.open_conversation(ALICE, BORIS).await;
    let cursor = settled_cursor(&replica, BORIS).await;
    api.send(conversation, ALICE, "missed").await;
    let path = format!("/ws?user_id={BORIS}&cursor={cursor}");

    let holder = holding_replays(&database).await;
    let mut coming = JoinSet::new();
    for _ in 0..CLIENTS {
        let raw = Raw::upgrade_to(&replica, &path).await;
        coming.spawn(raw.until_closed());
    }
    until_replays_wait(&database, 1).await;
    proxy.mute();
    let all = within("each of them is let go", coming.join_all()).await;
    for said in all {
        assert_eq!(close_code(&said), Some(1013));
        // Not even `connected`: the client still has the cursor that it had.
        let said = String::from_utf8_lossy(&said);
        assert!(!said.contains("connected"), "{said}");
    }
    until_metric(&replica, "pgchat_connections", 0.0).await;

    holder.batch_execute("commit").await.expect("its end");
    proxy.cut_muted();
    proxy.unmute();
    until_healthy(&replica).await;
    let mut boris = Socket::resume(&replica, BORIS, &cursor).await;
    boris.before_message("missed").await;
}

/// With the cursor that it has it would be refused each time, and cost PostgreSQL as much each time.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_whose_replay_takes_too_long_reloads_and_goes_on() {
    let database = Database::fresh().await;
    reloads_and_goes_on(&database, &quick(&[("DB_TIMEOUT_SECONDS", "4")])).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_whose_replay_the_server_cancels_reloads_and_goes_on() {
    let database = Database::fresh().await;
    let sql = "do $$ begin
                 execute format('alter database %I set statement_timeout = %L', current_database(), '3s');
               end $$";
    database.execute(sql).await;
    reloads_and_goes_on(&database, &quick(&[("DB_TIMEOUT_SECONDS", "60")])).await;
}

async fn reloads_and_goes_on(database: &Database, settings: &[(&str, &str)]) {
    let replica = Replica::start(database, settings).await;
    let api = replica.api();
    let conversation = api.open_conversation(ALICE, BORIS).await;
    let cursor = settled_cursor(&replica, BORIS).await;
    api.send(conversation, ALICE, "missed").await;

    let holder = holding_replays(database).await;
    let (mut boris, resync) = Socket::resume_refused(&replica, BORIS, &cursor).await;
    // It is live.
    api.send(conversation, ALICE, "seen").await;
    boris.before_message("seen").await;
    boris.close().await;

    holder.batch_execute("commit").await.expect("its end");
    let mut boris = Socket::resume(&replica, BORIS, &cursor_of(&resync)).await;
    boris.before_message("seen").await;
}

/// What stands before it in the line of the pool is not what takes too long: a replay has all its time from then on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replay_that_has_waited_for_a_connection_has_its_own_time_to_be_read() {
    const TIMEOUT: Duration = Duration::from_secs(12);
    let database = Database::fresh().await;
    let function = Function {
        name: "chat_unread_count",
        types: "uuid",
        returns: "table (unread_messages bigint, unread_conversations bigint)",
        call: "return query select * from chat_unread_count_at_once($1)",
    };
    let gate = Gate::before(&database, function, "true").await;
    // One connection for requests; tokens, so that nobody is asked about whose user is known.
    let settings = quick(&[
        ("DB_POOL_SIZE", "3"),
        ("DB_TIMEOUT_SECONDS", "12"),
        ("JWT_SECRET", SECRET),
        ("SERVER_HOST", "127.0.0.1"),
    ]);
    let replica = Replica::start(&database, &settings).await;
    let (of_carla, of_boris) = (token(CARLA), token(BORIS));
    let list = format!("/api/v1/chat/conversations/{CARLA}");
    get(&replica, &list, &of_carla).await.ok(200);
    let boris = Socket::connect_by(&replica, BORIS, &of_boris).await;
    let cursor = cursor_of(&boris.connected);

    let replays = holding_replays(&database).await;
    let api = replica.api();
    let count = tokio::spawn(async move {
        let path = format!("/api/v1/chat/users/{CARLA}/unread-count");
        Reply::to(api.request(Method::GET, &path).bearer_auth(of_carla)).await
    });
    until_lock_waiters(&database, 1).await;
    let path = format!("/ws?user_id={BORIS}&cursor={cursor}");
    let came = Instant::now();
    let coming = async {
        let resumed = Socket::connect_by_to(&replica, BORIS, &of_boris, &path).await;
        (resumed.is_resumed(), came.elapsed())
    };
    let held = async {
        // Half of its time it waits for the connection, and then for longer than the other half.
        tokio::time::sleep(TIMEOUT / 2).await;
        gate.open().await;
        until_replays_wait(&database, 1).await;
        tokio::time::sleep_until((came + TIMEOUT + Duration::from_secs(1)).into()).await;
        replays.batch_execute("commit").await.expect("its end");
    };
    let ((is_resumed, took), ()) = tokio::join!(coming, held);
    assert!(is_resumed, "after {took:?}");
    count.await.expect("a count").ok(200);
}

/// A replay looks at the tombstones, and a handshake does not: it is answered, and what was missed is not read.
pub async fn holding_replays(database: &Database) -> tokio_postgres::Client {
    database
        .holding("lock table chat_tombstones in access exclusive mode")
        .await
}

/// Those that stand before what [`holding_replays`] holds.
pub async fn waiting_replays(database: &Database) -> i64 {
    let replays = format!("{LOCK_WAITERS} and application_name = 'pgchat pool'");
    database.count(&replays).await
}

pub async fn until_replays_wait(database: &Database, count: i64) {
    eventually("replays wait", || async {
        (waiting_replays(database).await >= count).then_some(())
    })
    .await;
}
