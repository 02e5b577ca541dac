//! What the chat holds of a user is erased (`chat_forget_user`), in steps where it is much.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use tokio_postgres::Client;
use uuid::Uuid;

use super::fill;
use crate::support::*;

/// messages, conversations, tombstones, whether it is done
type Step = (i64, i64, i64, bool);

async fn forget(client: &Client, user: Uuid, max: i32) -> Result<Step, tokio_postgres::Error> {
    let sql = "select * from chat_forget_user($1, $2)";
    let row = client.query_one(sql, &[&user, &max]).await?;
    Ok((row.get(0), row.get(1), row.get(2), row.get(3)))
}

/// Whoever may execute it and has no right on any table.
async fn eraser(database: &Database) -> Client {
    let role = database.role("eraser").await;
    let grant = format!("grant execute on function chat_forget_user(uuid, integer) to {role}");
    database.execute(&grant).await;
    database.sql_as(&role).await
}

/// The tables in which somebody is named, by their id.
async fn named_in(database: &Database, user: Uuid) -> BTreeSet<String> {
    let client = database.sql().await;
    let tables = "select relname::text from pg_class where relkind = 'r' and relnamespace = 'public'::regnamespace";
    let tables = client.query(tables, &[]).await.expect("the tables");
    let mut named = BTreeSet::new();
    for table in tables.iter().map(|row| row.get::<_, String>(0)) {
        let rows = format!("{table} t where t::text like '%{user}%'");
        if database.count(&rows).await > 0 {
            named.insert(table);
        }
    }
    named
}

/// Two conversations of Alice's, of 4 messages and a tombstone each; a tombstone of one that was deleted; when she was online, and a ticket. And a
/// conversation of two others.
async fn scene() -> (Database, Uuid) {
    let database = Database::fresh().await;
    for user in [BORIS, CARLA] {
        let conversation = database.conversation(ALICE, user).await;
        fill(&database, conversation, &[9, 8, 7, 6, 5], true).await;
    }
    let gone = database.conversation(ALICE, DAVID).await;
    fill(&database, gone, &[9], true).await;
    let others = database.conversation(BORIS, CARLA).await;
    database
        .execute(&format!(
            "delete from messages where conversation_id = '{gone}' or seq = 3;
             delete from conversations where id = '{gone}';
             insert into messages (conversation_id, sender_id, content) values ('{others}', '{BORIS}', 'x'), ('{others}', '{BORIS}', 'y');
             delete from messages where content = 'x';
             insert into chat_attendance (user_id, last_seen_at) values ('{ALICE}', now()), ('{BORIS}', now());
             insert into chat_tickets (hash, user_id, expires_at)
             values ('\\x01', '{ALICE}', now() + interval '1 hour'), ('\\x02', '{BORIS}', now() + interval '1 hour')"
        ))
        .await;
    (database, others)
}

#[tokio::test]
async fn what_the_chat_holds_of_a_user_is_erased_in_steps_by_a_role_with_no_other_right() {
    for max in [1, 2, 3, 5, 11, 12, 13, 14, 10_000] {
        let (database, others) = scene().await;
        let client = eraser(&database).await;
        let mut sums = (0, 0, 0);
        for step in 1.. {
            let (messages, conversations, tombstones, is_done) =
                forget(&client, ALICE, max).await.expect("a step");
            assert!(messages + conversations + tombstones <= i64::from(max));
            sums.0 += messages;
            sums.1 += conversations;
            sums.2 += tombstones;
            if is_done {
                break;
            }
            assert!(step < 30, "it comes to an end");
        }
        assert_eq!(sums, (8, 2, 3), "{max}");
        let left = ["chat_conversation_tombstones", "users"].map(str::to_owned);
        assert_eq!(named_in(&database, ALICE).await, BTreeSet::from(left));
        // The others keep theirs.
        let kept = format!("messages where conversation_id = '{others}'");
        assert_eq!(database.count(&kept).await, 1);
        for table in ["chat_tombstones", "chat_attendance", "chat_tickets"] {
            assert_eq!(database.count(table).await, 1, "{table}");
        }
        assert_eq!(database.count("chat_purged").await, 0);
        let again = forget(&client, ALICE, max).await.expect("a step");
        assert_eq!(again, (0, 0, 0, true));
        database
            .execute(&format!("delete from users where id = '{ALICE}'"))
            .await;
    }
}

/// Live and from a cursor: one word, and nothing of the single messages. Who has not seen them all does so also where some are left for the next step.
#[tokio::test]
async fn the_others_load_anew() {
    let database = Database::fresh().await;
    let conversation = database.conversation(ALICE, BORIS).await;
    let others = database.conversation(BORIS, CARLA).await;
    let replica = Replica::start(&database, &[("LISTENER_HEARTBEAT_SECONDS", "1")]).await;
    let before = settled_cursor(&replica, BORIS).await;
    fill(&database, conversation, &[1; 10], true).await;
    let of_carla = settled_cursor(&replica, CARLA).await;
    let mut live = Socket::connect(&replica, BORIS).await;
    let client = database.sql().await;
    let first = forget(&client, ALICE, 4).await.expect("a step");
    assert_eq!(first, (4, 0, 0, false));
    let api = replica.api();
    let list = api.conversations(BORIS).await;
    let listed = list.iter().find(|row| id_of(row) == conversation);
    assert_eq!(listed.expect("it is there still")["lastMessage"]["seq"], 10);
    let (_half, _) = Socket::resume_refused(&replica, BORIS, &before).await;

    let second = forget(&client, ALICE, 100).await.expect("a step");
    assert_eq!(second, (6, 1, 0, true));
    api.send(others, CARLA, "the end").await;
    let told = live.before_message("the end").await;
    let told: Vec<&Value> = told.iter().map(|frame| &frame["type"]).collect();
    assert_eq!(told, ["resync_required"]);
    let (_late, _) = Socket::resume_refused(&replica, BORIS, &before).await;
    let mut carla = Socket::resume(&replica, CARLA, &of_carla).await;
    let told = carla.before_message("the end").await;
    assert!(
        told.iter().all(|frame| frame["type"] != "resync_required"),
        "{told:?}"
    );
}

/// Who leaves afterwards has no row that could say so.
#[tokio::test]
async fn who_watches_an_erased_user_sees_them_gone() {
    let database = Database::fresh().await;
    let replica = Replica::start(&database, &[("PRESENCE_GRACE_SECONDS", "60")]).await;
    let mut boris = Socket::connect(&replica, BORIS).await;
    let watch = json!({ "userIds": [ALICE] });
    boris.send_command("watch_presence", watch).await;
    assert_eq!(boris.expect("presence").await["data"]["isOnline"], false);
    let _alice = Socket::connect(&replica, ALICE).await;
    assert_eq!(boris.expect("presence").await["data"]["isOnline"], true);
    let client = eraser(&database).await;
    forget(&client, ALICE, 100).await.expect("a step");
    let gone = boris.expect("presence").await;
    let expected = json!({"userId": ALICE, "isOnline": false, "lastSeenAt": null});
    assert_eq!(gone["data"], expected);
}

/// Their sockets go when it is done: nothing is noted of that.
#[tokio::test]
async fn of_an_erased_user_whose_sockets_were_inactive_nothing_is_noted_anew() {
    nothing_is_noted_of_a_socket(false).await;
}

#[tokio::test]
async fn of_an_erased_user_whose_sockets_were_active_nothing_is_noted_anew() {
    nothing_is_noted_of_a_socket(true).await;
}

async fn nothing_is_noted_of_a_socket(is_active: bool) {
    let database = Database::fresh().await;
    let replica = Replica::start(&database, &[("PRESENCE_GRACE_SECONDS", "1")]).await;
    let path = format!("/ws?user_id={ALICE}&active={is_active}");
    let alice = Socket::connect_to(&replica, ALICE, &path).await;
    if is_active {
        eventually("Alice is there", || async {
            (database.count("chat_attendance").await == 1).then_some(())
        })
        .await;
    }
    let client = eraser(&database).await;
    let step = forget(&client, ALICE, 100).await.expect("a step");
    assert_eq!(step, (0, 0, 0, true));
    alice.close().await;
    // Who goes later is noted.
    Socket::connect(&replica, CARLA).await.close().await;
    let noted = |user: Uuid| format!("chat_attendance where user_id = '{user}'");
    let gone = noted(CARLA) + " and last_seen_at is not null";
    eventually("Carla has gone", || async {
        (database.count(&gone).await == 1).then_some(())
    })
    .await;
    assert_eq!(database.count(&noted(ALICE)).await, 0);
}

#[tokio::test]
async fn who_sends_meanwhile_waits_and_is_refused_and_others_send_on() {
    let database = Database::fresh().await;
    let conversation = database.conversation(ALICE, BORIS).await;
    let others = database.conversation(BORIS, CARLA).await;
    fill(&database, conversation, &[1; 10], true).await;
    let replica = Replica::start(&database, &[]).await;
    let api = replica.api();
    let erasing = database
        .holding(&format!("select chat_forget_user('{ALICE}')"))
        .await;
    let waiting = tokio::spawn(async move { api.try_send(conversation, BORIS, "waits").await });
    replica.api().send(others, BORIS, "goes on").await;
    erasing.batch_execute("commit").await.expect("erased");
    let reply = within("an answer", waiting).await.expect("an answer");
    reply.refused(404, "conversation_not_found");
}

/// From the beginning, not only once it comes to the conversation's own row: else what is stored meanwhile would be in the way.
#[tokio::test]
async fn nothing_is_stored_in_a_conversation_while_its_messages_are_waited_for() {
    let database = Database::fresh().await;
    let conversation = database.conversation(ALICE, BORIS).await;
    fill(&database, conversation, &[1; 3], true).await;
    let holder = database
        .holding("select from messages where seq = 2 for update")
        .await;
    let (eraser, other) = (database.sql().await, database.sql().await);
    // As long as this test takes to see who waits.
    let patient = "alter function chat_forget_user(uuid, integer) set lock_timeout = '1min'";
    database.execute(patient).await;
    let insert = format!(
        "insert into messages (conversation_id, sender_id, content) values ('{conversation}', '{BORIS}', 'late')"
    );
    let waiting = async |count| {
        let lock =
            "pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'";
        eventually(&format!("{count} wait"), || async {
            (database.count(lock).await == count).then_some(())
        })
        .await;
    };
    let inserting = async {
        waiting(1).await;
        other.batch_execute(&insert).await
    };
    let releasing = async {
        waiting(2).await;
        holder.batch_execute("commit").await.expect("released");
    };
    let (step, inserted, ()) = tokio::join!(forget(&eraser, ALICE, 100), inserting, releasing);
    assert_eq!(step.expect("erased"), (3, 1, 0, true));
    let fault = inserted.expect_err("refused");
    assert_eq!(fault.code().map(|code| code.code()), Some("23503"));
}

/// It gives up before PostgreSQL looks for deadlocks: neither is the other program the victim, nor do senders wait for long.
#[tokio::test]
async fn a_program_that_holds_a_message_and_wants_its_conversation_goes_first() {
    let database = Database::fresh().await;
    let conversation = database.conversation(ALICE, BORIS).await;
    fill(&database, conversation, &[1; 3], false).await;
    let replying = database
        .holding("update messages set is_read = true where seq = 2")
        .await;
    // An earlier step in the same transaction has the conversation already, so that the reply waits for it before the step waits for the message.
    let lock = format!("select from conversations where id = '{conversation}' for update");
    let erasing = database.holding(&lock).await;
    let reply = async {
        let patient = "set local deadlock_timeout = '1min'";
        replying.batch_execute(patient).await.expect("set");
        let insert = format!(
            "insert into messages (conversation_id, sender_id, content) values ('{conversation}', '{BORIS}', 'reply'); commit"
        );
        replying.batch_execute(&insert).await
    };
    let step = async {
        eventually("the reply waits", || async {
            let lock =
                "pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'";
            (database.count(lock).await == 1).then_some(())
        })
        .await;
        let fault = forget(&erasing, ALICE, 100).await.expect_err("refused");
        erasing.batch_execute("rollback").await.expect("its end");
        fault
    };
    let (replied, fault) = tokio::join!(reply, step);
    assert_eq!(fault.code().map(|code| code.code()), Some("55P03"));
    replied.expect("stored");
    let again = forget(&erasing, ALICE, 100).await.expect("erased");
    assert_eq!(again, (4, 1, 0, true));
}

/// What was deleted outright before the step, and is not known to a client that comes back between this one and the next.
#[tokio::test]
async fn who_has_not_seen_a_deletion_whose_tombstone_is_gone_loads_anew() {
    let database = Database::fresh().await;
    let conversation = database.conversation(ALICE, BORIS).await;
    fill(&database, conversation, &[1; 4], true).await;
    let replica = Replica::start(&database, &[]).await;
    let before = settled_cursor(&replica, BORIS).await;
    database.execute("delete from messages where seq = 2").await;
    let after = settled_cursor(&replica, BORIS).await;
    let client = database.sql().await;
    let first = forget(&client, ALICE, 4).await.expect("a step");
    assert_eq!(first, (3, 0, 1, false));
    let (_refused, _) = Socket::resume_refused(&replica, BORIS, &before).await;
    Socket::resume(&replica, BORIS, &after).await;
}

/// They are one conversation's, of whichever pair, and not all that is left.
#[tokio::test]
async fn tombstones_of_an_id_that_two_pairs_have_had_are_counted_once() {
    let database = Database::fresh().await;
    let twice = database.conversation(ALICE, BORIS).await;
    fill(&database, twice, &[1; 2], true).await;
    let delete = "delete from messages; delete from conversations";
    database
        .execute(&format!(
            "{delete};
             insert into conversations (id, participant1_id, participant2_id)
             values ('{twice}', least('{ALICE}'::uuid, '{CARLA}'), greatest('{ALICE}'::uuid, '{CARLA}'));
             {delete}"
        ))
        .await;
    let once = database.conversation(ALICE, DAVID).await;
    fill(&database, once, &[1], true).await;
    database.execute(delete).await;
    assert_eq!(database.count("chat_conversation_tombstones").await, 3);
    let client = eraser(&database).await;
    let steps = [(0, 0, 3, false), (0, 0, 0, true)];
    for step in steps {
        assert_eq!(forget(&client, ALICE, 3).await.expect("a step"), step);
    }
    assert_eq!(database.count("chat_tombstones").await, 0);
}

/// And nothing is half done where it is refused.
#[tokio::test]
async fn a_message_that_a_trigger_of_the_hosts_keeps_and_a_wrong_bound_are_told() {
    let (database, _) = scene().await;
    database
        .execute(
            "create function keep() returns trigger language plpgsql as 'begin return null; end';
             create trigger keep before delete on messages for each row when (old.seq = 2) execute function keep()",
        )
        .await;
    let client = eraser(&database).await;
    for (max, code) in [(100, "09000"), (0, "22023"), (100_001, "22023")] {
        let fault = forget(&client, ALICE, max).await.expect_err("refused");
        assert_eq!(
            fault.code().map(|code| code.code()),
            Some(code),
            "{fault:?}"
        );
    }
    let hers = format!("conversations where '{ALICE}' in (participant1_id, participant2_id)");
    assert_eq!(database.count(&hers).await, 2);
}

/// Also one with nothing left in it: to go on would be to come back to it for ever.
#[tokio::test]
async fn a_conversation_that_a_trigger_of_the_hosts_keeps_is_told() {
    let database = Database::fresh().await;
    let conversation = database.conversation(ALICE, BORIS).await;
    fill(&database, conversation, &[2, 1], true).await;
    database
        .execute(
            "create function keep() returns trigger language plpgsql as 'begin return null; end';
             create trigger keep before delete on conversations for each row execute function keep()",
        )
        .await;
    let client = eraser(&database).await;
    let end = "set statement_timeout = '10s'";
    client.batch_execute(end).await.expect("set");
    let first = forget(&client, ALICE, 2).await.expect("a step");
    assert_eq!(first, (2, 0, 0, false));
    for max in [1, 100] {
        let fault = forget(&client, ALICE, max).await.expect_err("refused");
        assert_eq!(
            fault.code().map(|code| code.code()),
            Some("09000"),
            "{fault:?}"
        );
    }
}
