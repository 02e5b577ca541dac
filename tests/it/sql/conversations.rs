//! Conversations that another program deletes: those who had them are told to reload, and nobody else is.

use serde_json::{Value, json};

use super::Scene;
use crate::support::*;

/// No event takes the conversation from what a client shows, or the messages from what one shows that was away.
#[tokio::test]
async fn whoever_had_a_conversation_that_is_deleted_is_told_to_reload_behind_all_that_came_before()
{
    let mut scene = Scene::set().await;
    let mut carla = Socket::connect(&scene.replicas[0], CARLA).await;
    let watched = json!({"userIds": [DAVID]});
    scene.sockets[0]
        .send_command("watch_presence", watched)
        .await;
    scene.sockets[0].expect("presence").await;
    let insert = scene.insert(ALICE, "before");
    scene.database.execute(&insert).await;
    scene.expect("chat_message").await;

    scene
        .database
        .execute("begin; delete from messages; delete from conversations; rollback")
        .await;
    scene
        .database
        .execute("begin; delete from messages; delete from conversations; commit")
        .await;
    for (socket, user) in scene.sockets.iter_mut().zip([ALICE, BORIS]) {
        assert_eq!(socket.next().await["type"], "message_deleted");
        let resync = socket.next().await;
        assert_eq!(resync["type"], "resync_required");
        assert_eq!(resync["data"]["reason"], "a conversation was deleted");
        assert_eq!(resync["userId"], json!(user));
        assert_eq!(scene.replicas[0].api().conversations(user).await.len(), 0);
    }
    // Whoever has thrown away what they knew is shown again whom they watch.
    scene.sockets[0].expect("presence").await;

    // It is as if it had never been, and the sockets go on.
    scene.conversation = scene.api().open_conversation(BORIS, ALICE).await;
    scene.expect("conversation_created").await;
    scene.assert_silence().await;
    let with_carla = scene.api().open_conversation(CARLA, DAVID).await;
    scene.api().send(with_carla, DAVID, "the end").await;
    let frames = carla.before_message("the end").await;
    assert_eq!(frames.len(), 1, "{frames:?}");
    assert_eq!(frames[0]["type"], "conversation_created");
}

/// As the Go service's tables have it.
async fn with_a_cascading_key(scene: &Scene) {
    let key = "alter table messages drop constraint messages_conversation_id_fkey;
               alter table messages add foreign key (conversation_id) references conversations (id) on delete cascade";
    scene.database.execute_as_owner(key).await;
}

#[tokio::test]
async fn a_conversation_whose_messages_go_with_it_by_a_foreign_key_is_told_of_too() {
    let mut scene = Scene::set().await;
    with_a_cascading_key(&scene).await;
    let insert = scene.insert(ALICE, "before");
    scene.database.execute(&insert).await;
    scene.expect("chat_message").await;
    scene.database.execute("delete from conversations").await;
    scene.expect("resync_required").await;
    assert_eq!(scene.database.count("messages").await, 0);
}

/// As where users are deleted who have talked to everybody.
#[tokio::test]
async fn many_conversations_that_are_deleted_at_once_make_few_notifications_and_one_reload_for_each_user()
 {
    const OTHERS: i32 = 2000;
    let database = Database::fresh().await;
    let others = database.add_users(OTHERS).await;
    database
        .execute(&format!(
            "insert into conversations (participant1_id, participant2_id) select '{ALICE}', id from users where id <> '{ALICE}'"
        ))
        .await;
    let replica = Replica::start(&database, &[]).await;
    let mut alice = Socket::connect(&replica, ALICE).await;
    let mut other = Socket::connect(&replica, others[0]).await;
    let mut notifications = database.listen("chat_events").await;

    // By more than one statement, too.
    database
        .execute(
            "begin; delete from conversations where id in (select id from conversations limit 50);
             delete from conversations; commit",
        )
        .await;
    let last = replica.api().open_conversation(ALICE, others[0]).await;
    replica.api().send(last, ALICE, "the end").await;
    for socket in [&mut alice, &mut other] {
        let frames = socket.before_message("the end").await;
        let types: Vec<&Value> = frames.iter().map(|frame| &frame["type"]).collect();
        assert_eq!(types, ["resync_required", "conversation_created"]);
    }
    let payloads: Vec<String> = notifications.before("conversation_created").await;
    let told = payloads
        .iter()
        .filter(|payload| payload.contains("resync_required"));
    let told = told.count();
    assert!((1..=80).contains(&told), "{told}");
    let tombstones = "chat_conversation_tombstones";
    // The twelve of the host's are among them, and Alice is one of these.
    let users = OTHERS + 11;
    assert_eq!(database.count(tombstones).await, i64::from(users));
}

/// For a program that does nothing else; it may not even see what it deletes.
#[tokio::test]
async fn a_program_that_may_delete_conversations_needs_no_other_right() {
    let mut scene = Scene::set().await;
    let role = scene.database.role("eraser").await;
    let grant = format!("grant delete on conversations to {role}");
    scene.database.execute(&grant).await;
    let eraser = scene.database.sql_as(&role).await;
    let delete = eraser.batch_execute("delete from public.conversations");
    delete.await.expect("deleted");
    scene.expect("resync_required").await;
}

/// As from a backup: each time it is another one.
#[tokio::test]
async fn a_conversation_that_comes_back_under_its_id_can_be_deleted_again() {
    let mut scene = Scene::set().await;
    let insert = insert_again(&scene);
    // Holds the horizon back: replicas remember what they have told.
    let _stranger = scene.database.holding("select pg_current_xact_id()").await;
    for _ in 0..2 {
        scene.database.execute("delete from conversations").await;
        scene.expect("resync_required").await;
        scene.database.execute(&insert).await;
        let created = scene.expect("conversation_created").await;
        assert_eq!(id_of(&created["data"]), scene.conversation);
    }
    scene.assert_silence().await;
}

/// Though no event said that it was gone.
#[tokio::test]
async fn a_message_that_went_with_its_conversation_is_told_of_when_both_come_back() {
    let mut scene = Scene::set().await;
    with_a_cascading_key(&scene).await;
    let insert = format!(
        "{}; insert into messages (id, conversation_id, sender_id, content) values ('{NOBODY}', '{}', '{ALICE}', 'kept')",
        insert_again(&scene),
        scene.conversation
    );
    let _stranger = scene.database.holding("select pg_current_xact_id()").await;
    let mut told = Vec::new();
    for _ in 0..3 {
        scene.database.execute("delete from conversations").await;
        scene.expect("resync_required").await;
        scene.database.execute(&insert).await;
        scene.expect("conversation_created").await;
        let message = scene.expect("chat_message").await["data"].clone();
        assert_eq!(message["content"], "kept");
        told.push(message["updatedAt"].to_string());
    }
    // Clients keep the later of two states.
    assert!(told.is_sorted_by(|one, next| one < next), "{told:?}");
    assert_eq!(scene.database.count("chat_tombstones").await, 0);
    scene.assert_silence().await;
}

/// Who shared them loads anew; everybody else goes on, however many they were.
#[tokio::test]
async fn messages_that_went_with_their_conversations_count_as_nothing_that_a_catch_up_would_read() {
    let scene = Scene::set().await;
    with_a_cascading_key(&scene).await;
    let many = format!(
        "insert into messages (conversation_id, sender_id, content) select '{}', '{ALICE}', 'x' from generate_series(1, 30)",
        scene.conversation
    );
    scene.database.execute(&many).await;
    let sql = scene.database.sql().await;
    let number = sql
        .query_one("select pg_current_xact_id()::text", &[])
        .await;
    let number: String = number.expect("a number").get(0);
    scene.database.execute("delete from conversations").await;
    assert_eq!(scene.database.count("chat_tombstones").await, 30);
    let exceed = format!("select chat_changes_exceed('{number}', '1:1:', 10)");
    let exceed = sql.query_one(&exceed, &[]).await.expect("an answer");
    assert!(!exceed.get::<_, bool>(0));
}

/// From a backup, say: of when it was made and of its messages the copy tells nothing that holds.
#[tokio::test]
async fn a_conversation_that_is_copied_with_all_its_columns_is_a_new_one() {
    let scene = Scene::set().await;
    let insert = scene.insert(ALICE, "before");
    scene.database.execute(&insert).await;
    scene
        .database
        .execute("create table backup as select * from conversations")
        .await;
    for made_by in ["create_xid", "null", "'9000000'"] {
        let delete = "begin; delete from messages; delete from conversations; commit";
        scene.database.execute(delete).await;
        let cursor = settled_cursor(&scene.replicas[1], BORIS).await;
        scene
            .database
            .execute(&format!(
                "update backup set create_xid = {made_by}; insert into conversations select * from backup"
            ))
            .await;

        let mut back = Socket::resume(&scene.replicas[1], BORIS, &cursor).await;
        assert_eq!(back.connected["data"]["resumed"], true);
        let first = scene.api().send(scene.conversation, ALICE, "the end").await;
        assert_eq!(seq_of(&first), 1);
        let missed = back.before_message("the end").await;
        assert_eq!(missed.len(), 1, "{made_by}: {missed:?}");
        assert_eq!(missed[0]["type"], "conversation_created");
        assert_eq!(missed[0]["data"]["lastSeq"], 0);
        assert_eq!(missed[0]["data"]["lastMessageId"], Value::Null);
    }
}

/// As a program writes that saves whatever it has read.
#[tokio::test]
async fn a_conversation_that_is_saved_with_all_its_columns_stays_as_it_is() {
    let scene = Scene::set().await;
    let sent = scene.api().send(scene.conversation, ALICE, "one").await;
    let save = "insert into conversations select * from conversations on conflict (id) do update
                set last_message_id = excluded.last_message_id, last_seq = excluded.last_seq, create_xid = excluded.create_xid";
    scene.database.execute(save).await;
    let listed = scene.api().conversations(BORIS).await;
    assert_eq!(listed[0]["lastMessageId"], sent["id"]);
    let next = scene.api().send(scene.conversation, ALICE, "two").await;
    assert_eq!(seq_of(&next), 2);
}

fn insert_again(scene: &Scene) -> String {
    format!(
        "insert into conversations (id, participant1_id, participant2_id) values ('{}', '{ALICE}', '{BORIS}')",
        scene.conversation
    )
}
