//! Whose turn it is to change something, other than by a message: read marks, edits, deletions, new conversations.

use std::time::Duration;

use futures_util::future::join_all;
use tokio::task::JoinSet;

use crate::support::*;

/// Of the six connections for requests, where `DB_POOL_SIZE` is eight, two are for changes: one for those of a user.
const OF_A_USER: i64 = 1;

/// As where a trigger of the host's takes its time for what Alice writes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_user_whose_changes_take_long_leaves_the_others_theirs() {
    const EDITS: usize = 12;
    let database = Database::fresh().await;
    let function = Function {
        name: "chat_edit_message",
        types: "uuid, uuid, text",
        returns: "table (status text, message text)",
        call: "return query select * from chat_edit_message_at_once($1, $2, $3)",
    };
    let of_alice = format!("$2 = '{ALICE}'");
    let gate = Gate::before(&database, function, &of_alice).await;
    let settings = [("DB_POOL_SIZE", "8"), ("DB_TIMEOUT_SECONDS", "60")];
    let replica = Replica::start(&database, &settings).await;
    let api = replica.api();
    let conversation = api.open_conversation(ALICE, BORIS).await;
    let mut edits = JoinSet::new();
    for number in 0..EDITS {
        let hers = id_of(&api.send(conversation, ALICE, &number.to_string()).await);
        let api = replica.api();
        edits.spawn(async move { api.edit(hers, ALICE, "changed").await });
    }
    // What waits for its turn the pool of connections does not know.
    let waiting = (EDITS as i64 - OF_A_USER) as f64;
    let figure = "pgchat_turns_waiting{kind=\"changes\"}";
    until_metric(&replica, figure, waiting).await;
    until_lock_waiters(&database, OF_A_USER).await;
    let figure = "pgchat_pool_waiting{pool=\"requests\"}";
    until_metric(&replica, figure, 0.0).await;

    let others = async {
        let his = id_of(&api.send(conversation, BORIS, "hello").await);
        let edited = api.edit(his, BORIS, "hello again").await.ok(200);
        assert_eq!(edited["content"], "hello again");
        api.mark_read(conversation, BORIS).await.ok(200);
        assert_eq!(api.delete_message(his, BORIS).await.status, 204);
        api.open_conversation(CARLA, DAVID).await;
        let mut boris = Socket::connect(&replica, BORIS).await;
        let mark = serde_json::json!({"conversationId": conversation});
        boris.send_command("mark_read", mark).await;
    };
    within("the others' changes", others).await;
    assert_eq!(database.count(LOCK_WAITERS).await, OF_A_USER);

    gate.open().await;
    while let Some(reply) = within("an edit", edits.join_next()).await {
        reply.expect("a reply").ok(200);
    }
}

/// Whoever has waited long for their turn has time left to be answered, or in the end nobody would be.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn changes_are_made_though_ever_more_come_than_the_database_takes() {
    const CHANGES: usize = 300;
    let database = Database::fresh().await;
    let senders = database.add_users(CHANGES as i32).await;
    database.conversations(ALICE, &senders).await;
    let sql = database.sql().await;
    let rows = sql
        .query(
            "insert into messages (conversation_id, sender_id, content)
             select id, participant2_id, 'hello' from conversations returning id, sender_id",
            &[],
        )
        .await
        .expect("messages");
    let proxy = Proxy::before(&database).await;
    // Two connections for requests, one for changes; from its turn on one has two seconds, in which a connection can be made anew.
    let few = [("DB_POOL_SIZE", "4"), ("DB_TIMEOUT_SECONDS", "8")];
    let replica = Replica::start(&database, &[&proxy.for_all()[..], &few].concat()).await;
    // An edit takes 0.1 s, and every 0.02 s another one comes. (Marks would be made together.)
    proxy.delay(Duration::from_millis(50));
    let come = rows.iter().zip(1..).map(|(row, n)| {
        let (message, sender) = (row.get(0), row.get(1));
        let api = replica.api();
        async move {
            tokio::time::sleep(Duration::from_millis(20) * n).await;
            api.edit(message, sender, "changed").await
        }
    });
    let replies = within("answers", join_all(come)).await;
    let statuses: Vec<u16> = replies.iter().map(|reply| reply.status).collect();
    let count = |status| statuses.iter().filter(|it| **it == status).count();
    assert_eq!(count(200) + count(503), CHANGES, "{statuses:?}");
    let last = &statuses[CHANGES / 2..];
    assert!(last.contains(&200), "{statuses:?}");
    // Nobody holds a row, and nobody is told so.
    let told = |message| replies.iter().any(|reply| reply.text.contains(message));
    assert!(told("other changes take too long: try again"));
    let log = replica.log();
    let told = "changes: a turn did not come within 8 s";
    assert!(log.contains(told), "{log}");
    assert!(!log.contains("held a row"), "{log}");
}
