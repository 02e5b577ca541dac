//! Old messages are removed in small steps (`chat_purge`, `chat_purge_all`), beside the traffic.

mod clients;
mod forgotten;
mod portions;
mod tombstones;

use serde_json::Value;
use uuid::Uuid;

use crate::support::*;

/// A conversation of Alice and Boris with messages of these ages, in days; read by Boris where `read`.
async fn aged(database: &Database, ages: &[i32], read: bool) -> Uuid {
    let conversation = database.conversation(ALICE, BORIS).await;
    fill(database, conversation, ages, read).await;
    conversation
}

async fn fill(database: &Database, conversation: Uuid, ages: &[i32], read: bool) {
    database
        .sql()
        .await
        .execute(
            "insert into messages (conversation_id, sender_id, content, is_read, created_at, updated_at)
             select $1, $2, 'aged ' || days, $4, now() - make_interval(days => days), now()
               from unnest($3::int[]) with ordinality a (days, place) order by place",
            &[&conversation, &ALICE, &ages, &read],
        )
        .await
        .expect("messages");
}

struct Step {
    messages: i64,
    tombstones: i64,
    busy: i64,
    next: Option<Uuid>,
}

async fn purge(database: &Database, days: i32, max: i32, after: Option<Uuid>) -> Step {
    let row = database
        .sql()
        .await
        .query_one(
            "select * from chat_purge(now() - make_interval(days => $1), $2, null, $3)",
            &[&days, &max, &after],
        )
        .await
        .expect("a step");
    Step {
        messages: row.get(0),
        tombstones: row.get(1),
        busy: row.get(2),
        next: row.get(3),
    }
}

/// One step after the other, each from where the former has come to.
async fn purge_in_steps(database: &Database, days: i32, max: i32) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    loop {
        let after = steps.last().and_then(|step| step.next);
        let step = purge(database, days, max, after).await;
        let is_last = step.next.is_none();
        steps.push(step);
        if is_last {
            return steps;
        }
        assert!(steps.len() < 30, "it comes to an end");
    }
}

fn seqs(history: &[Value]) -> Vec<i64> {
    history.iter().map(seq_of).collect()
}

#[tokio::test]
async fn a_step_removes_the_oldest_messages_up_to_its_bound_and_says_where_to_go_on() {
    for bound in [1, 2, 100] {
        removed_in_steps(bound).await;
    }
}

async fn removed_in_steps(bound: i32) {
    let database = Database::fresh().await;
    // One that is younger stands before the last old one: what is removed is a beginning without holes.
    let mixed = aged(&database, &[400, 399, 398, 10, 390, 1], true).await;
    let mut others = Vec::new();
    for user in [CARLA, DAVID, ELENA] {
        let conversation = database.conversation(ALICE, user).await;
        fill(&database, conversation, &[500, 500, 500, 500], true).await;
        others.push(conversation);
    }

    let mut removed = 0;
    for step in purge_in_steps(&database, 365, bound).await {
        assert!(step.messages <= bound.into(), "{}", step.messages);
        assert_eq!(step.busy, 0);
        removed += step.messages;
    }
    assert_eq!(removed, 3 + 12);
    let replica = Replica::start(&database, &[]).await;
    let api = replica.api();
    assert_eq!(seqs(&api.history(mixed).await), [4, 5, 6]);
    for conversation in others {
        assert_eq!(api.history(conversation).await, Vec::<Value>::new());
        // And it goes on with the number after those that are gone.
        assert_eq!(seq_of(&api.send(conversation, ALICE, "new").await), 5);
    }
}

/// However many conversations there are in which nothing is old.
#[tokio::test]
async fn the_procedure_pauses_only_after_steps_that_removed_something() {
    let database = Database::fresh().await;
    for user in [BORIS, CARLA, DAVID] {
        let conversation = database.conversation(ALICE, user).await;
        fill(&database, conversation, &[10], true).await;
    }
    let call = "call chat_purge_all('1 year', max_messages => 1, pause_seconds => 3600)";
    within("it is over", database.execute(call)).await;
    assert_eq!(database.count("messages").await, 3);
}

#[tokio::test]
async fn the_procedure_does_all_steps_and_leaves_counts_and_newest_messages_right() {
    let database = Database::fresh().await;
    let half = aged(&database, &[800, 700, 600, 5, 4], false).await;
    let gone = database.conversation(CARLA, BORIS).await;
    let carlas = format!(
        "insert into messages (conversation_id, sender_id, content, created_at)
         select '{gone}', '{CARLA}', 'old', now() - interval '2 years' from generate_series(1, 25)"
    );
    database.execute(&carlas).await;
    let replica = Replica::start(&database, &[]).await;
    let api = replica.api();
    assert_eq!(api.unread_count(BORIS).await, 5 + 25);

    database
        .execute("call chat_purge_all('1 year', max_messages => 10, pause_seconds => 0)")
        .await;

    assert_eq!(database.count("messages").await, 2);
    assert_eq!(database.count("chat_tombstones").await, 0);
    assert_eq!(api.unread_count(BORIS).await, 2);
    let listed = api.conversations(BORIS).await;
    assert_eq!(listed.len(), 2);
    for conversation in listed {
        assert_conversation(&conversation);
        if id_of(&conversation) == half {
            assert_eq!(conversation["lastMessage"]["seq"], 5);
            assert_eq!(conversation["unreadCount"], 2);
        } else {
            assert_eq!(id_of(&conversation), gone);
            assert_eq!(conversation["lastMessage"], Value::Null);
            assert_eq!(conversation["lastMessageId"], Value::Null);
            assert_eq!(
                (&conversation["lastSeq"], &conversation["unreadCount"]),
                (&25.into(), &0.into())
            );
        }
    }
    assert_eq!(api.mark_read(half, BORIS).await.ok(200)["markedCount"], 2);
    assert_eq!(seq_of(&api.send(gone, BORIS, "again").await), 26);
}

#[tokio::test]
async fn a_message_exactly_as_old_as_asked_for_stays() {
    let database = Database::fresh().await;
    let conversation = database.conversation(ALICE, BORIS).await;
    let insert = format!(
        "insert into messages (conversation_id, sender_id, content, created_at)
         select '{conversation}', '{ALICE}', 'old', at from unnest('{{2020-01-01Z,2020-01-02Z}}'::timestamptz[]) at"
    );
    database.execute(&insert).await;
    database.execute("select chat_purge('2020-01-02Z')").await;
    assert_eq!(database.count("messages where seq = 2").await, 1);
    assert_eq!(database.count("messages").await, 1);
}

/// Where there is nothing to remove, a step is no longer either.
#[tokio::test]
async fn a_step_looks_at_no_more_conversations_than_it_may_remove_messages() {
    let database = Database::fresh().await;
    let mut conversations = Vec::new();
    for user in [BORIS, CARLA, DAVID] {
        let conversation = database.conversation(ALICE, user).await;
        fill(&database, conversation, &[3], true).await;
        conversations.push(conversation);
    }
    conversations.sort();
    let step = purge(&database, 365, 2, None).await;
    assert_eq!((step.messages, step.next), (0, Some(conversations[1])));
    let step = purge(&database, 365, 2, step.next).await;
    assert_eq!((step.messages, step.next), (0, None));
}

#[tokio::test]
async fn a_purge_of_one_conversation_leaves_all_others() {
    let database = Database::fresh().await;
    let deleted = aged(&database, &[5], true).await;
    database
        .execute(&format!(
            "delete from messages; delete from conversations where id = '{deleted}';
             update chat_tombstones set deleted_at = now() - interval '2 years'"
        ))
        .await;
    let mut conversations = Vec::new();
    for user in [CARLA, DAVID, ELENA] {
        let conversation = database.conversation(ALICE, user).await;
        fill(&database, conversation, &[500, 400, 1], true).await;
        conversations.push(conversation);
    }
    conversations.sort();
    let only = conversations[1];
    let call = format!(
        "call chat_purge_all('1 year', max_messages => 1, pause_seconds => 0, only_conversation => '{only}')"
    );
    database.execute(&call).await;
    for conversation in conversations {
        let left = format!("messages where conversation_id = '{conversation}'");
        let expected = if conversation == only { 1 } else { 3 };
        assert_eq!(database.count(&left).await, expected);
    }
    assert_eq!(database.count("chat_tombstones").await, 1);
}

/// Somebody holds a row: that conversation is left for another time, and nobody waits.
#[tokio::test]
async fn rows_that_somebody_holds_are_left_for_another_time() {
    let database = Database::fresh().await;
    let gone = database.conversation(ALICE, KATIA).await;
    fill(&database, gone, &[3], true).await;
    let held = aged(&database, &[400, 3, 1], true).await;
    let free = database.conversation(ALICE, CARLA).await;
    fill(&database, free, &[400, 1], true).await;
    let emptied = database.conversation(ALICE, DAVID).await;
    fill(&database, emptied, &[400], true).await;
    let deleted = database.conversation(ALICE, ELENA).await;
    fill(&database, deleted, &[3], true).await;
    database
        .execute(&format!(
            "delete from messages where conversation_id in ('{gone}', '{deleted}') or conversation_id = '{held}' and seq = 2;
             update chat_tombstones set deleted_at = now() - interval '2 years'"
        ))
        .await;
    let holder = database.sql().await;
    holder
        .batch_execute(&format!(
            "begin; update messages set content = 'changed' where conversation_id = '{held}' and seq = 1;
             select from chat_tombstones where conversation_id = '{deleted}' for update;
             select from conversations where id in ('{emptied}', '{free}') for update"
        ))
        .await
        .expect("locks");

    let step = purge(&database, 365, 100, None).await;

    // The row of a conversation of which something is left is not needed.
    assert_eq!((step.messages, step.tombstones), (1, 1));
    assert_eq!((step.busy, step.next), (3, None));
    // Nobody holds this one, but what is removed is noted with its conversation.
    let tombstone = format!("chat_tombstones where conversation_id = '{held}'");
    assert_eq!(database.count(&tombstone).await, 1);
    holder.batch_execute("commit").await.expect("unlocked");
    let step = purge(&database, 365, 100, None).await;
    assert_eq!((step.messages, step.tombstones, step.busy), (2, 2, 0));
}

/// Its newest message is just then deleted outright by somebody: what is left is then the newest, and is not to be removed meanwhile.
#[tokio::test]
async fn a_conversation_whose_newest_message_is_being_deleted_is_left_for_another_time() {
    let database = Database::fresh().await;
    let conversation = aged(&database, &[400, 399, 398, 1], true).await;
    let deleting = database.sql().await;
    deleting
        .batch_execute("begin; delete from messages where seq = 4")
        .await
        .expect("deleted");

    let step = purge(&database, 365, 100, None).await;
    assert_eq!((step.messages, step.busy), (0, 1));
    deleting.batch_execute("commit").await.expect("committed");

    let dangling = "conversations c where c.last_message_id is not null
                      and not exists (select from messages m where m.id = c.last_message_id)";
    assert_eq!(database.count(dangling).await, 0);
    let step = purge(&database, 365, 100, None).await;
    assert_eq!((step.messages, step.busy), (3, 0));
    let emptied = format!("conversations where id = '{conversation}' and last_message_id is null");
    assert_eq!(database.count(&emptied).await, 1);
}

/// Whoever sends, edits or marks there is not in the way.
#[tokio::test]
async fn a_conversation_whose_newest_message_is_being_changed_is_purged() {
    let database = Database::fresh().await;
    aged(&database, &[400, 399, 1], false).await;
    let _changing = database
        .holding("update messages set content = 'changed', is_read = true where seq = 3")
        .await;
    let step = purge(&database, 365, 100, None).await;
    assert_eq!((step.messages, step.busy), (2, 0));
}

/// As where the law demands that something is kept.
#[tokio::test]
async fn what_a_trigger_of_the_host_keeps_is_left_and_the_rest_goes() {
    let database = Database::fresh().await;
    let kept = aged(&database, &[400, 399, 1], true).await;
    let free = database.conversation(ALICE, CARLA).await;
    fill(&database, free, &[400, 1], true).await;
    database
        .execute(&format!(
            "create function keep() returns trigger language plpgsql as $$ begin return null; end $$;
             create trigger keep before delete on messages for each row
               when (old.conversation_id = '{kept}' and old.seq = 2) execute function keep()"
        ))
        .await;

    // Two at once are all that a step may remove.
    let client = database.sql().await;
    for sql in [
        "set statement_timeout = '20s'",
        "call chat_purge_all('365 days', 2, 0)",
    ] {
        client.batch_execute(sql).await.expect("it ends");
    }

    let left = |conversation| format!("messages where conversation_id = '{conversation}'");
    assert_eq!(database.count(&left(kept)).await, 3);
    assert_eq!(database.count(&left(free)).await, 1);
    let noted = format!("chat_purged where conversation_id = '{kept}'");
    assert_eq!(database.count(&noted).await, 0);
}

#[tokio::test]
async fn what_is_younger_than_a_day_is_not_for_this_function() {
    let database = Database::fresh().await;
    for call in [
        "select chat_purge(now() - interval '22 hours')",
        "select chat_purge(null)",
        "select chat_purge(now() - interval '2 days', 0)",
        "select chat_purge(now() - interval '2 days', 100001)",
        "select chat_purge(now() - interval '2 days', null)",
        "call chat_purge_all('1 hour')",
    ] {
        let fault = database
            .sql()
            .await
            .batch_execute(call)
            .await
            .expect_err(call);
        assert_eq!(
            fault.code().map(|code| code.code()),
            Some("22023"),
            "{call}"
        );
    }
}

/// A role that does the cleaning needs the two grants of sql/README.md and no others; nobody has them by default.
#[tokio::test]
async fn a_role_for_the_cleaning_needs_two_grants() {
    let database = Database::fresh().await;
    aged(&database, &[400, 1], true).await;
    let role = database.role("cleaner").await;
    let cleaner = database.sql_as(&role).await;
    let call = "call public.chat_purge_all('1 year')";
    let fault = cleaner.batch_execute(call).await.expect_err("no grant");
    assert_eq!(fault.code().map(|code| code.code()), Some("42501"));
    database
        .execute(&format!(
            "grant execute on function chat_purge(timestamptz, integer, uuid, uuid) to {role};
             grant execute on procedure chat_purge_all(interval, integer, double precision, uuid) to {role}"
        ))
        .await;
    cleaner.batch_execute(call).await.expect("granted");
    // The setting that keeps the trigger quiet is not anybody's to make.
    database
        .execute(&format!("grant select, delete on messages to {role}"))
        .await;
    cleaner
        .batch_execute("set pgchat.purge_depth = '0'; delete from messages")
        .await
        .expect("deleted");
    assert_eq!(database.count("messages").await, 0);
    assert_eq!(database.count("chat_tombstones").await, 1, "it is told");
}
