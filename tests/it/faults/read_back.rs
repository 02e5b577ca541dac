//! What did not fit into its notification is read back a moment later. By then its id may be another row's, perhaps of other people.

use serde_json::Value;
use tokio_postgres::Client;
use uuid::Uuid;

use super::ledger::seqs;
use super::*;

const REUSED: Uuid = Uuid::from_u128(0x0c0f_fee1);

/// Longer than a test: nothing but the test is to end what the listener waits for.
const PATIENT: [(&str, &str); 1] = [("DB_TIMEOUT_SECONDS", "300")];

impl Database {
    /// What does not fit into its notification is not read back until what is returned commits.
    pub async fn hold_read_backs(&self) -> Client {
        for function in ["chat_read_back", "chat_read_back_conversations"] {
            self.execute_as_owner(&format!(
                "alter function {function}(uuid[]) rename to {function}_at_once;
                 create function {function}(ids uuid[]) returns setof chat_row_now
                     language plpgsql security definer set search_path from current as $$
                 begin
                   perform pg_advisory_xact_lock_shared(1);
                   return query select * from {function}_at_once(ids);
                 end $$;
                 grant execute on function {function}(uuid[]) to {SERVICE}"
            ))
            .await;
        }
        self.holding("select pg_advisory_xact_lock(1)").await
    }

    /// Alice writes what has the id, in a transaction of its own.
    async fn insert(&self, conversation: Uuid, content: &str) {
        let insert = format!(
            "insert into messages (id, conversation_id, sender_id, content) values ('{REUSED}', '{conversation}', '{ALICE}', {content})"
        );
        self.execute(&insert).await;
    }

    async fn delete(&self) {
        let delete = format!("delete from messages where id = '{REUSED}'");
        self.execute(&delete).await;
    }
}

/// What was told, in order: the type, and of messages the content.
fn told(frames: &[Value]) -> Vec<String> {
    let line = |frame: &Value| {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        format!(
            "{} {}",
            text(&frame["type"]),
            text(&frame["data"]["content"])
        )
    };
    frames
        .iter()
        .map(|frame| line(frame).trim_end().to_owned())
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_huge_message_whose_id_is_given_to_others_before_it_is_read_back_is_not_told_as_theirs() {
    for is_deleted_again in [false, true] {
        let database = Database::fresh().await;
        let read_back = database.hold_read_backs().await;
        let with_boris = database.conversation(ALICE, BORIS).await;
        let with_carla = database.conversation(ALICE, CARLA).await;
        let replica = Replica::start(&database, &quick(&PATIENT)).await;
        let mut boris = Socket::connect(&replica, BORIS).await;
        let mut carla = Socket::connect(&replica, CARLA).await;
        database.insert(with_boris, "repeat('huge ', 2000)").await;
        database.delete().await;
        database.insert(with_carla, "'for Carla'").await;
        if is_deleted_again {
            database.delete().await;
        }
        read_back.batch_execute("commit").await.expect("its end");

        replica.api().send(with_boris, ALICE, "the end").await;
        let frames = boris.before_message("the end").await;
        assert_eq!(told(&frames), ["message_deleted"]);
        assert_eq!(uuid_in(&frames[0]["data"], "conversationId"), with_boris);
        replica.api().send(with_carla, ALICE, "the end").await;
        let frames = carla.before_message("the end").await;
        let expected = ["chat_message for Carla", "message_deleted"];
        assert_eq!(told(&frames), expected[..1 + usize::from(is_deleted_again)]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_huge_message_that_is_made_anew_before_it_is_read_back_overtakes_none_of_its_conversation()
 {
    let database = Database::fresh().await;
    let read_back = database.hold_read_backs().await;
    let conversation = database.conversation(ALICE, BORIS).await;
    let replica = Replica::start(&database, &quick(&PATIENT)).await;
    let mut boris = Socket::connect(&replica, BORIS).await;
    database.insert(conversation, "repeat('huge ', 2000)").await;
    replica.api().send(conversation, ALICE, "second").await;
    database.delete().await;
    database.insert(conversation, "'third'").await;
    read_back.batch_execute("commit").await.expect("its end");

    replica.api().send(conversation, ALICE, "the end").await;
    let frames = boris.before_message("the end").await;
    let expected = [
        "chat_message second",
        "message_deleted",
        "chat_message third",
    ];
    assert_eq!(told(&frames), expected);
}

/// The type of what was told and the place of its message, in order.
fn places(frames: &[Value]) -> Vec<(&str, i64)> {
    let place = |frame: &'_ Value| seq_of(&frame["data"]);
    frames
        .iter()
        .map(|frame| (frame["type"].as_str().unwrap_or_default(), place(frame)))
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_huge_message_that_its_own_transaction_makes_anew_overtakes_none_of_its_conversation() {
    let database = Database::fresh().await;
    let conversation = database.conversation(ALICE, BORIS).await;
    let replica = Replica::start(&database, &quick(&PATIENT)).await;
    let mut boris = Socket::connect(&replica, BORIS).await;
    let insert = |id: Uuid, content: &str| {
        format!(
            "insert into messages (id, conversation_id, sender_id, content)
             values ('{id}', '{conversation}', '{ALICE}', {content})"
        )
    };
    let all = [
        insert(REUSED, "repeat('huge ', 2000)"),
        insert(Uuid::now_v7(), "'second'"),
        format!("delete from messages where id = '{REUSED}'"),
        insert(REUSED, "repeat('third ', 2000)"),
    ];
    database.execute(&all.join(";\n")).await;

    replica.api().send(conversation, ALICE, "the end").await;
    let frames = boris.before_message("the end").await;
    let expected = [
        ("chat_message", 2),
        ("message_deleted", 1),
        ("chat_message", 3),
    ];
    assert_eq!(places(&frames), expected);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_huge_edit_of_a_message_that_is_made_anew_before_it_is_read_back_is_not_told_as_that() {
    let database = Database::fresh().await;
    let read_back = database.hold_read_backs().await;
    let conversation = database.conversation(ALICE, BORIS).await;
    let replica = Replica::start(&database, &quick(&PATIENT)).await;
    let mut boris = Socket::connect(&replica, BORIS).await;
    database.insert(conversation, "'first'").await;
    let edit = format!("update messages set content = repeat('huge ', 2000) where id = '{REUSED}'");
    database.execute(&edit).await;
    replica.api().send(conversation, ALICE, "second").await;
    database.delete().await;
    database
        .insert(conversation, "repeat('third ', 2000)")
        .await;
    read_back.batch_execute("commit").await.expect("its end");

    replica.api().send(conversation, ALICE, "the end").await;
    let frames = boris.before_message("the end").await;
    let expected = [
        ("chat_message", 1),
        ("chat_message", 2),
        ("message_deleted", 1),
        ("chat_message", 3),
    ];
    assert_eq!(places(&frames), expected);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_conversation_whose_id_is_given_to_others_before_it_is_read_back_is_not_told_as_theirs() {
    let database = Database::fresh().await;
    let read_back = database.hold_read_backs().await;
    let common = database.conversation(BORIS, CARLA).await;
    let replica = Replica::start(&database, &quick(&PATIENT)).await;
    let mut boris = Socket::connect(&replica, BORIS).await;
    let mut carla = Socket::connect(&replica, CARLA).await;
    // No notification can hold a participant as long as this.
    let large = format!("update users set avatar_url = repeat('x', 9000) where id = '{ALICE}'");
    database.execute(&large).await;
    for (one, other) in [(ALICE, BORIS), (CARLA, DAVID)] {
        database
            .execute(&format!("delete from conversations where id = '{REUSED}'"))
            .await;
        database
            .execute(&format!(
                "insert into conversations (id, participant1_id, participant2_id) values ('{REUSED}', '{one}', '{other}')"
            ))
            .await;
    }
    read_back.batch_execute("commit").await.expect("its end");

    replica.api().send(common, BORIS, "the end").await;
    let frames = boris.before_message("the end").await;
    assert_eq!(told(&frames), ["resync_required"]);
    let frames = carla.before_message("the end").await;
    assert_eq!(told(&frames), ["conversation_created"]);
}

/// Neither an event nor a tombstone will tell what it had become.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_huge_edit_of_a_message_that_is_removed_for_its_age_before_it_is_read_back_makes_both_reload()
 {
    let database = Database::fresh().await;
    let read_back = database.hold_read_backs().await;
    let conversation = database.conversation(ALICE, BORIS).await;
    let insert = format!(
        "insert into messages (id, conversation_id, sender_id, content, created_at)
         values ('{REUSED}', '{conversation}', '{ALICE}', 'old', now() - interval '2 years')"
    );
    database.execute(&insert).await;
    let replica = Replica::start(&database, &quick(&PATIENT)).await;
    let api = replica.api();
    let mut boris = Socket::connect(&replica, BORIS).await;
    let mut alice = Socket::connect(&replica, ALICE).await;
    let mut carla = Socket::connect(&replica, CARLA).await;
    let edit = format!("update messages set content = repeat('huge ', 2000) where id = '{REUSED}'");
    database.execute(&edit).await;
    until_a_lock_is_waited_for(&database, "it is read back").await;
    database.execute("call chat_purge_all('1 year')").await;
    read_back.batch_execute("commit").await.expect("its end");

    let with_carla = database.conversation(CARLA, DAVID).await;
    for (socket, conversation, sender, expected) in [
        (&mut boris, conversation, ALICE, &["resync_required"][..]),
        (
            &mut alice,
            conversation,
            BORIS,
            &["resync_required", "chat_message the end"],
        ),
        (&mut carla, with_carla, DAVID, &["conversation_created"]),
    ] {
        let content = format!("the end, {sender}");
        api.send(conversation, sender, &content).await;
        let told = told(&socket.before_message(&content).await);
        let told: Vec<&str> = told
            .iter()
            .map(|line| line.split(',').next().unwrap_or_default())
            .collect();
        assert_eq!(told, expected);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_without_recipients_does_not_read_back_what_did_not_fit() {
    let database = Database::fresh().await;
    let read_back = database.hold_read_backs().await;
    let with_boris = database.conversation(ALICE, BORIS).await;
    let with_carla = database.conversation(ALICE, CARLA).await;
    let [here, there] = Replica::start_many(&database, &quick(&PATIENT)).await;
    let mut boris = Socket::connect(&here, BORIS).await;
    let mut carla = Socket::connect(&there, CARLA).await;
    let huge = "huge ".repeat(2_000);
    here.api().send(with_boris, ALICE, huge.trim()).await;
    until_a_lock_is_waited_for(&database, "the replica of Boris reads it back").await;
    // It stands behind the huge one.
    here.api().send(with_carla, ALICE, "for Carla").await;
    carla.before_message("for Carla").await;
    let waiting = "pg_locks l join pg_database d on d.oid = l.database \
         where datname = current_database() and locktype = 'advisory' and objid = 1 and not granted";
    assert_eq!(database.count(waiting).await, 1);

    // From now on that replica has a recipient, who has loaded the message.
    let mut elsewhere = Socket::connect(&there, BORIS).await;
    here.api().send(with_boris, ALICE, "small").await;
    let frames = elsewhere.before_message("small").await;
    assert_eq!(frames, Vec::<Value>::new());
    read_back.batch_execute("commit").await.expect("its end");
    let frames = boris.before_message("small").await;
    assert_eq!(seqs(&frames, with_boris), [1]);
    let again = "again ".repeat(2_000);
    here.api().send(with_boris, ALICE, again.trim()).await;
    elsewhere.before_message(again.trim()).await;
}
