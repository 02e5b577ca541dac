//! What needs a row that another program holds, other than a message to be stored: read marks, edits, deletions, new conversations.

use std::collections::HashSet;

use tokio::task::JoinSet;
use tokio_postgres::error::SqlState;
use uuid::Uuid;

use super::{PATIENT, given_up_after_15_s};
use crate::support::*;

/// Another program marks a conversation as read, which it may, and keeps its transaction open.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn messages_that_are_held_delay_no_other_conversation() {
    const WAITING: usize = 12;
    let database = Database::fresh().await;
    // Longer than the test: who waits in vain is another test's.
    let replica = Replica::start(&database, &[PATIENT[1]]).await;
    let api = replica.api();
    let held = api.open_conversation(ALICE, BORIS).await;
    let message = id_of(&api.send(held, ALICE, "to be marked").await);
    let free = api.open_conversation(CARLA, DAVID).await;
    api.send(free, CARLA, "the first").await;
    let mut david = Socket::connect(&replica, DAVID).await;
    let holder = database.sql().await;
    let mark =
        format!("begin; update messages set is_read = true where conversation_id = '{held}'");
    holder.batch_execute(&mark).await.expect("marked");

    let (mut marks, mut edits) = (JoinSet::new(), JoinSet::new());
    for number in 0..WAITING {
        let (marking, editing) = (replica.api(), replica.api());
        marks.spawn(async move { marking.mark_read(held, BORIS).await });
        let content = format!("edited {number}");
        edits.spawn(async move { editing.edit(message, ALICE, &content).await });
    }
    until_a_lock_is_waited_for(&database, "somebody waits for the row").await;
    for number in 0..10 {
        assert_eq!(api.messages(free, "limit=5").await.status, 200);
        // It does not fit into its notification: the listener reads it.
        let long = format!("{number} {}", "long ".repeat(1_800));
        api.send(free, CARLA, &long).await;
        david.before_message(&long).await;
        api.mark_read(free, DAVID).await.ok(200);
        Socket::connect(&replica, CARLA).await.close().await;
        assert_eq!(api.status("/health").await, Some(200));
    }
    assert!(marks.try_join_next().is_none() && edits.try_join_next().is_none());

    holder.batch_execute("rollback").await.expect("its end");
    let mut marked = 0;
    while let Some(reply) = within("a mark", marks.join_next()).await {
        let reply = reply.expect("a reply").ok(200);
        marked += reply["markedCount"].as_i64().expect("a number");
    }
    assert_eq!(marked, 1, "one of them found it unread");
    while let Some(reply) = within("an edit", edits.join_next()).await {
        reply.expect("a reply").ok(200);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_user_who_is_held_delays_nobody_elses_conversations() {
    let database = Database::fresh().await;
    let replica = Replica::start(&database, &[PATIENT[1]]).await;
    let api = replica.api();
    let free = api.open_conversation(CARLA, DAVID).await;
    let holder = database
        .holding(&format!(
            "select from users where id = '{ALICE}' for update"
        ))
        .await;
    let mut opening = JoinSet::new();
    for number in 0..12 {
        let api = replica.api();
        let (one, other) = match number % 2 {
            0 => (ALICE, BORIS),
            _ => (BORIS, ALICE),
        };
        opening.spawn(async move { api.open_conversation(one, other).await });
    }
    until_a_lock_is_waited_for(&database, "somebody waits for the row").await;
    for _ in 0..10 {
        assert_eq!(api.messages(free, "limit=5").await.status, 200);
        assert_eq!(api.open_conversation(DAVID, CARLA).await, free);
        assert_eq!(api.status("/health").await, Some(200));
    }
    assert!(opening.try_join_next().is_none());

    holder.batch_execute("commit").await.expect("its end");
    let mut opened = HashSet::new();
    while let Some(id) = within("a conversation", opening.join_next()).await {
        opened.insert(id.expect("a conversation"));
    }
    assert_eq!(opened.len(), 1, "{opened:?}");
}

#[tokio::test]
async fn a_change_that_waits_too_long_is_refused_and_made_when_it_is_repeated() {
    let database = Database::fresh().await;
    // More than the default.
    let replica = Replica::start(&database, &[("DB_TIMEOUT_SECONDS", "15")]).await;
    let api = replica.api();
    let conversation = api.open_conversation(ALICE, BORIS).await;
    let message = id_of(&api.send(conversation, ALICE, "hello").await);
    let holder = database
        .holding(&format!(
            "select from messages where id = '{message}' for update;
             select from users where id = '{CARLA}' for update"
        ))
        .await;
    let replies = tokio::join!(
        given_up_after_15_s(api.mark_read(conversation, BORIS)),
        given_up_after_15_s(api.edit(message, ALICE, "hello again")),
        given_up_after_15_s(api.delete_message(message, ALICE)),
        given_up_after_15_s(api.try_open_conversation(BORIS, CARLA)),
    );
    for reply in [replies.0, replies.1, replies.2, replies.3] {
        assert_eq!(reply.header("retry-after"), "1");
    }

    holder.batch_execute("commit").await.expect("its end");
    let marked = api.mark_read(conversation, BORIS).await.ok(200);
    assert_eq!(marked["markedCount"], 1);
    let edited = api.edit(message, ALICE, "hello again").await.ok(200);
    assert_eq!(edited["content"], "hello again");
    assert_eq!(api.delete_message(message, ALICE).await.status, 204);
    api.open_conversation(BORIS, CARLA).await;
}

/// What waits for the row finds that it is gone, and that there is another of the same id.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_that_waits_for_a_message_that_is_deleted_and_inserted_again_is_one_of_the_new_row()
 {
    let database = Database::fresh().await;
    let replica = Replica::start(&database, &[]).await;
    let api = replica.api();
    let conversation = api.open_conversation(ALICE, BORIS).await;
    // Until the other transaction ends, however slow the machine is.
    for function in [
        "chat_edit_message(uuid, uuid, text)",
        "chat_delete_message(uuid, uuid)",
    ] {
        let patient = format!("alter function {function} set lock_timeout = '60s'");
        database.execute_as_owner(&patient).await;
    }
    for (sender, statuses) in [(ALICE, [200, 204]), (BORIS, [403, 403])] {
        for (deletes, status) in [false, true].into_iter().zip(statuses) {
            let message = id_of(&api.send(conversation, ALICE, "hello").await);
            let holder = database
                .holding(&format!(
                    "delete from messages where id = '{message}';
                     insert into messages (id, conversation_id, sender_id, content)
                     values ('{message}', '{conversation}', '{sender}', 'again')"
                ))
                .await;
            let api = replica.api();
            let change = tokio::spawn(async move {
                match deletes {
                    true => api.delete_message(message, ALICE).await,
                    false => api.edit(message, ALICE, "changed").await,
                }
            });
            until_a_lock_is_waited_for(&database, "the change waits").await;
            holder.batch_execute("commit").await.expect("its end");
            let reply = within("an answer", change).await.expect("an answer");
            assert_eq!(reply.status, status, "deletes: {deletes}, {reply:?}");
            let content = content_of(&replica, conversation, message).await;
            let expected = match (sender == ALICE, deletes) {
                (true, true) => "",
                (true, false) => "changed",
                (false, _) => "again",
            };
            assert_eq!(content, expected, "deletes: {deletes}");
        }
    }
}

/// As whoever makes them unread again locks them: in another order the two would wait for each other.
#[tokio::test]
async fn messages_that_are_marked_as_read_are_locked_in_the_order_of_their_seq() {
    let database = Database::fresh().await;
    let conversation = database.conversation(ALICE, BORIS).await;
    // Their ids are in the other order, and so are their places in the table.
    for id in [
        "ffffffff-ffff-4fff-8fff-ffffffffffff",
        "00000000-0000-4000-8000-000000000000",
    ] {
        let insert = format!(
            "insert into messages (id, conversation_id, sender_id, content) values ('{id}', '{conversation}', '{ALICE}', 'hello')"
        );
        database.execute(&insert).await;
    }
    let moved = "update messages set content = 'changed' where seq = 1";
    database.execute(moved).await;
    let patient = "alter function chat_mark_read set lock_timeout = '60s'";
    database.execute_as_owner(patient).await;
    let holder = database
        .holding("select from messages where seq = 2 for update")
        .await;
    let mark = format!("select chat_mark_read('{conversation}', '{BORIS}')");
    let blocked = async {
        until_a_lock_is_waited_for(&database, "the mark waits for the second one").await;
        let probe = database.sql().await;
        let first = "select from messages where seq = 1 for update nowait";
        let held = probe.batch_execute(first).await.expect_err("it is held");
        assert_eq!(held.code(), Some(&SqlState::LOCK_NOT_AVAILABLE));
        holder.batch_execute("commit").await.expect("its end");
    };
    tokio::join!(database.execute(&mark), blocked);
    assert_eq!(database.count("messages where is_read").await, 2);
}

/// Those that follow may be held for long, and others may want them.
#[tokio::test]
async fn of_long_messages_only_those_that_are_marked_as_read_are_locked() {
    let database = Database::fresh().await;
    let conversation = database.conversation(ALICE, BORIS).await;
    let long = format!(
        "insert into messages (conversation_id, sender_id, content)
         select '{conversation}', '{ALICE}', repeat('x', 3000000) from generate_series(1, 3)"
    );
    database.execute(&long).await;
    let holder = database
        .holding("select from messages where seq = 3 for update")
        .await;
    // Else it would wait for the third, and fail.
    let mark = |after: i64| {
        format!(
            "select marked_count, marked_to from chat_mark_read('{conversation}', '{BORIS}', null, {after})"
        )
    };
    let session = database.sql().await;
    let row = session.query_one(&mark(0), &[]).await.expect("a mark");
    let marked: (i64, Option<i64>) = (row.get(0), row.get(1));
    assert_eq!(marked, (2, Some(2)));
    holder.batch_execute("commit").await.expect("its end");
    let row = session.query_one(&mark(2), &[]).await.expect("a mark");
    let marked: (i64, Option<i64>) = (row.get(0), row.get(1));
    assert_eq!(marked, (1, None));
}

/// Of several conversations: or two who make messages of both unread again, or one who marks them, could wait for each other.
#[tokio::test]
async fn whoever_makes_messages_unread_again_locks_the_later_ones_in_the_order_of_the_conversations()
 {
    let database = Database::fresh().await;
    // So many that PostgreSQL hashes them.
    database.add_users(100).await;
    database
        .execute(&format!(
            "insert into conversations (participant1_id, participant2_id) select id, '{BORIS}' from users where id <> '{BORIS}' limit 100;
             insert into messages (conversation_id, sender_id, content, is_read)
             select c.id, c.participant1_id, 'hello', n = 1 from conversations c cross join generate_series(1, 2) n order by c.id, n"
        ))
        .await;
    let ids = "select id from conversations order by id";
    let rows = database.sql().await.query(ids, &[]).await;
    let rows = rows.expect("the conversations");
    let conversations: Vec<Uuid> = rows.iter().map(|row| row.get(0)).collect();
    for place in [1, 50] {
        let conversation = conversations[place];
        let second = format!("seq = 2 and conversation_id = '{conversation}'");
        let holder = database
            .holding(&format!("select from messages where {second} for update"))
            .await;
        let blocked = async {
            until_a_lock_is_waited_for(&database, "it waits for one of them").await;
            let free = format!(
                "(select conversation_id from messages where seq = 2 and not ({second}) for update skip locked) m
                  where conversation_id < '{conversation}'"
            );
            assert_eq!(database.count(&free).await, 0, "{place}");
            let free = free.replace("conversation_id < '", "conversation_id > '");
            assert_eq!(database.count(&free).await, 99 - place as i64);
            holder.batch_execute("commit").await.expect("its end");
        };
        let unread = "update messages set is_read = false where seq = 1 and is_read";
        tokio::join!(database.execute(unread), blocked);
        let read = "update messages set is_read = true where seq = 1";
        database.execute(read).await;
    }
}

async fn content_of(replica: &Replica, conversation: Uuid, message: Uuid) -> String {
    let history = replica.api().history(conversation).await;
    let found = history.iter().find(|shown| id_of(shown) == message);
    found.expect("the message")["content"]
        .as_str()
        .expect("a text")
        .to_owned()
}
