//! What is read of `messages`: no more than a statement is about, however long the conversation, and also in a session that made its
//! plans while there were few.

use tokio_postgres::Client;
use uuid::Uuid;

use crate::support::*;

/// Rows that `statement` reads of a conversation of 3,000 messages: in a session that has executed it ten times before most of them came,
/// and in a new one, when the planner knows of them; whichever is more.
async fn rows_read(database: &Database, statement: impl Fn(Uuid, i64) -> String) -> i64 {
    database.execute(EMPTY).await;
    let conversation = database.conversation(ALICE, BORIS).await;
    let client = database.sql().await;
    let mut script = vec![fill(conversation, 20), ANALYZE.to_owned()];
    script.extend((1..=10).map(|n| statement(conversation, n)));
    script.push(fill(conversation, 3_000));
    for sql in script {
        client.batch_execute(&sql).await.expect(&sql);
    }
    let early = read_by(&client, "messages", &statement(conversation, 11)).await;
    database.execute(ANALYZE).await;
    let late = read_by(
        &database.sql().await,
        "messages",
        &statement(conversation, 12),
    )
    .await;
    early.max(late)
}

/// Rows that `statement` reads, of a conversation of 20 messages beside one of 3,000, in a session that has executed it ten times when the
/// planner knew that there were none.
async fn rows_read_as_if_empty(
    database: &Database,
    statement: impl Fn(Uuid, i64) -> String,
) -> i64 {
    database.execute(EMPTY).await;
    let client = database.sql().await;
    let conversation = database.conversation(ALICE, BORIS).await;
    let other = database.conversation(ALICE, CARLA).await;
    let mut script: Vec<_> = (1..=10).map(|n| statement(conversation, n)).collect();
    script.push(fill(conversation, 20));
    script.push(fill(other, 3_000));
    for sql in script {
        client.batch_execute(&sql).await.expect(&sql);
    }
    read_by(&client, "messages", &statement(conversation, 11)).await
}

const ANALYZE: &str = "analyze messages; analyze conversations";
const EMPTY: &str = "truncate messages, conversations; analyze messages; analyze conversations";

fn fill(conversation: Uuid, rows: usize) -> String {
    format!(
        "insert into messages (conversation_id, sender_id, content)
         select '{conversation}', '{ALICE}', 'message ' || n from generate_series(1, {rows}) n"
    )
}

/// Of the tables of this pattern.
async fn read_by(client: &Client, tables: &str, statement: &str) -> i64 {
    client.batch_execute("begin").await.expect("begun");
    let before = read_so_far(client, tables).await;
    client.batch_execute(statement).await.expect(statement);
    let read = read_so_far(client, tables).await - before;
    client.batch_execute("commit").await.expect("committed");
    read
}

/// Within a transaction, or it may begin anew.
async fn read_so_far(client: &Client, tables: &str) -> i64 {
    let read = "select sum(seq_tup_read + coalesce(idx_tup_fetch, 0))::bigint from pg_stat_xact_user_tables where relname like $1";
    client
        .query_one(read, &[&tables])
        .await
        .expect("a count")
        .get(0)
}

#[tokio::test]
async fn a_statement_reads_no_more_messages_than_it_is_about() {
    type Statement = Box<dyn Fn(Uuid, i64) -> String>;
    let one = |what: &'static str| -> Statement {
        Box::new(move |conversation, n| {
            what.replace(
                "ONE",
                &format!("conversation_id = '{conversation}' and seq = {n}"),
            )
        })
    };
    let call = |what: &'static str| -> Statement {
        Box::new(move |conversation, n| {
            what.replace("CONVERSATION", &format!("'{conversation}'::uuid"))
                .replace("ALICE", &format!("'{ALICE}'::uuid"))
                .replace("BORIS", &format!("'{BORIS}'::uuid"))
                .replace("N", &n.to_string())
        })
    };
    let statements = [
        one("update messages set content = 'edited' where ONE"),
        one("update messages set is_read = true where ONE"),
        one("update messages set deleted_at = now() where ONE"),
        one("delete from messages where ONE"),
        call(
            "insert into messages (conversation_id, sender_id, content) values (CONVERSATION, ALICE, 'x')",
        ),
        call(
            "insert into messages (conversation_id, sender_id, content, client_message_id) values (CONVERSATION, ALICE, 'x', 'N')",
        ),
        call("select chat_send_message(CONVERSATION, ALICE, 'x')"),
        call("select chat_send_message(CONVERSATION, ALICE, 'x', client_message_id => 'N')"),
        call(
            "select chat_send_messages(array[chat_uuid_v7()], array[CONVERSATION], array[ALICE], array['x'], array['text'], array['N'])",
        ),
        call(
            "select chat_send_messages(array[chat_uuid_v7()], array[CONVERSATION], array[ALICE], array['x'], array['text'], array['N'], again => false)",
        ),
        call("select chat_mark_read(CONVERSATION, BORIS, N)"),
        call("select chat_list_messages(CONVERSATION, 5, N, 100000)"),
        call("select chat_list_messages_before(CONVERSATION, 1000 + N, 5, 100000)"),
        call("select chat_list_messages_after(CONVERSATION, N, 5, 100000)"),
        // Boris has written nothing.
        call("select chat_unread_count(ALICE)"),
        call(
            "select chat_edit_message((select id from messages where conversation_id = CONVERSATION and seq = N), ALICE, 'edited')",
        ),
        call(
            "select chat_delete_message((select id from messages where conversation_id = CONVERSATION and seq = N), ALICE)",
        ),
    ];
    // Of its own: much change in other databases has a session make its plans anew, at whatever moment.
    let cluster = Cluster::private();
    let database = Database::fresh_on(&cluster).await;
    database.without_autovacuum().await;
    let mut too_many = Vec::new();
    for statement in statements {
        let read = rows_read(&database, &statement).await;
        if read >= 20 {
            too_many.push(format!("{read} by {}", statement(Uuid::nil(), 11)));
        }
        // Then perhaps all of the conversation.
        let read = rows_read_as_if_empty(&database, &statement).await;
        if read >= 120 {
            too_many.push(format!(
                "{read}, as if empty, by {}",
                statement(Uuid::nil(), 11)
            ));
        }
    }
    assert!(too_many.is_empty(), "{too_many:#?}");
}

/// A replica asks in sessions that it has had since there was little.
#[tokio::test]
async fn what_is_looked_up_by_its_id_is_read_alone_also_in_a_session_that_planned_for_empty_tables()
{
    // Of its own, as above.
    let cluster = Cluster::private();
    let database = Database::fresh_on(&cluster).await;
    database.without_autovacuum().await;
    database.add_users(1_000).await;
    database
        .execute("analyze messages; analyze conversations; analyze chat_tombstones; analyze chat_attendance")
        .await;
    let client = database.sql().await;
    let calls = [
        "chat_read_back(array[MESSAGE])",
        "chat_read_back_conversations(array[CONVERSATION])",
        "chat_participants(CONVERSATION)",
        "chat_presence_of(array[READER])",
        "chat_conversation_exists(CONVERSATION)",
        "chat_get_conversation(CONVERSATION, READER)",
        "chat_is_participant(CONVERSATION, READER)",
        "chat_get_user(READER)",
    ];
    let statement = |call: &str, message: Uuid, conversation: Uuid, reader: Uuid| {
        format!("select {call}")
            .replace("MESSAGE", &format!("'{message}'::uuid"))
            .replace("CONVERSATION", &format!("'{conversation}'::uuid"))
            .replace("READER", &format!("'{reader}'::uuid"))
    };
    for _ in 0..10 {
        for call in calls {
            let early = statement(call, NOBODY, NOBODY, NOBODY);
            client.batch_execute(&early).await.expect(call);
        }
    }
    // By another session: the setting has one make its plans anew.
    database
        .execute(&format!(
            "set session_replication_role = replica;
             insert into conversations (participant1_id, participant2_id) select '{ALICE}', id from users where first_name = 'User';
             insert into messages (conversation_id, sender_id, reader_id, content, seq)
             select id, participant1_id, participant2_id, 'x', 1 from conversations;
             insert into chat_tombstones (message_id, conversation_id, sender_id, reader_id, seq, revision, message)
             select gen_random_uuid(), id, participant1_id, participant2_id, 2, 2, '' from conversations;
             insert into chat_attendance (user_id) select reader_id from messages"
        ))
        .await;
    // A scan would come to it after all others.
    let last = "select id, conversation_id, reader_id from messages order by ctid desc limit 1";
    let row = client.query_one(last, &[]).await.expect("a message");
    let mut too_many = Vec::new();
    for call in calls {
        let late = statement(call, row.get(0), row.get(1), row.get(2));
        let read = read_by(&client, "%", &late).await;
        if read >= 20 {
            too_many.push(format!("{read} by {call}"));
        }
    }
    assert!(too_many.is_empty(), "{too_many:#?}");
}

/// Where a scan cannot be avoided (the users may be a view), one that is forbidden counts as so dear that PostgreSQL up to 17 compiles the
/// plan, which takes longer than everything else together.
#[tokio::test]
async fn what_must_not_scan_a_table_is_not_compiled_either() {
    let database = Database::fresh().await;
    let forbid =
        "pg_proc p where p.proname like 'chat\\_%' and 'enable_seqscan=off' = any (p.proconfig)";
    assert!(database.count(forbid).await > 10);
    let compiled =
        format!("select p.proname::text from {forbid} and not 'jit=off' = any (p.proconfig)");
    let rows = database.sql().await.query(&compiled, &[]).await;
    let rows = rows.expect("functions");
    let names: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
    assert_eq!(names, Vec::<String>::new());
}

/// The users may be a view, or so many that to read them all looks dear.
#[tokio::test]
async fn what_asks_for_users_is_not_compiled() {
    let database = Database::fresh().await;
    let asks =
        "pg_proc p where p.prosecdef and p.provolatile <> 'i' and p.prosrc like '%chat_users() u%'";
    assert!(database.count(asks).await > 5);
    let compiled =
        format!("select p.proname::text from {asks} and not 'jit=off' = any (p.proconfig)");
    let rows = database.sql().await.query(&compiled, &[]).await;
    let rows = rows.expect("functions");
    let names: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
    assert_eq!(names, Vec::<String>::new());
}

/// What programs copy: without all of its conditions it would read a long conversation each time, and change what is deleted.
#[tokio::test]
async fn the_read_mark_that_is_shown_to_other_programs_reads_unread_messages_only() {
    let database = Database::fresh().await;
    database.without_autovacuum().await;
    let conversation = database.conversation(ALICE, BORIS).await;
    for sql in [
        &fill(conversation, 3_000),
        "update messages set is_read = true where seq < 3000",
        "update messages set deleted_at = now() where seq = 3000",
        "vacuum analyze messages",
        "analyze conversations",
    ] {
        database.execute(sql).await;
    }
    let shown = [
        include_str!("../../../examples/sql/send.sql"),
        include_str!("../../../sql/README.md"),
    ];
    for page in shown {
        let begin = "update messages set is_read = true\n";
        let (_, mark) = page.split_once(begin).expect("a read mark");
        let (conditions, _) = mark.split_once(';').expect("its end");
        let mark = format!("{begin}{conditions}")
            .replace(":'reader'", &format!("'{BORIS}'"))
            .replace("22222222-2222-4222-8222-222222222222", &BORIS.to_string())
            .replace(":'conversation'", &format!("'{conversation}'"))
            .replace(
                "01a20a4d-3714-7b5d-a348-5d01ca1e1739",
                &conversation.to_string(),
            );
        let read = read_by(&database.sql().await, "messages", &mark).await;
        assert!(read < 20, "{read} by {mark}");
        assert_eq!(database.count("messages where not is_read").await, 1);
        database.execute(&fill(conversation, 2)).await;
        database.execute(&mark).await;
        assert_eq!(
            database.count("messages where not is_read").await,
            1,
            "{mark}"
        );
    }
}
