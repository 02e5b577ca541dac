//! Numbers at the ends of their ranges: positions in a conversation, revisions, cursors, pages.

use serde_json::{Value, json};
use uuid::Uuid;

use crate::support::*;

const LAST: i64 = i64::MAX;

fn seqs(page: &Value) -> Vec<i64> {
    let messages = page["messages"].as_array().expect("messages");
    messages.iter().map(seq_of).collect()
}

/// Five messages of Alice's to Boris.
async fn five(api: &Api) -> Uuid {
    let conversation = api.open_conversation(ALICE, BORIS).await;
    for number in 1..=5 {
        api.send(conversation, ALICE, &number.to_string()).await;
    }
    conversation
}

#[tokio::test]
async fn a_page_at_either_end_of_what_positions_there_are_has_all_that_lies_before_or_behind_it() {
    let database = Database::fresh().await;
    let replica = Replica::start(&database, &[]).await;
    let api = replica.api();
    let conversation = five(&api).await;
    let newest_first = vec![5, 4, 3, 2, 1];
    for (query, found, more) in [
        (format!("before={LAST}"), newest_first.clone(), false),
        (format!("before={LAST}&limit=4"), vec![5, 4, 3, 2], true),
        (
            format!("before={LAST}&limit=5"),
            newest_first.clone(),
            false,
        ),
        ("before=6&limit=200".to_owned(), newest_first.clone(), false),
        ("before=5&limit=1".to_owned(), vec![4], true),
        ("before=2".to_owned(), vec![1], false),
        ("before=1".to_owned(), vec![], false),
        ("before=0".to_owned(), vec![], false),
        ("after=0".to_owned(), vec![1, 2, 3, 4, 5], false),
        ("after=0&limit=4".to_owned(), vec![1, 2, 3, 4], true),
        ("after=0&limit=5".to_owned(), vec![1, 2, 3, 4, 5], false),
        ("after=4&limit=1".to_owned(), vec![5], false),
        ("after=5".to_owned(), vec![], false),
        (format!("after={LAST}"), vec![], false),
        ("limit=5".to_owned(), newest_first, false),
        ("limit=4".to_owned(), vec![5, 4, 3, 2], true),
        ("limit=1&offset=4".to_owned(), vec![1], false),
        ("limit=200&offset=5".to_owned(), vec![], false),
        ("limit=200&offset=2147483647".to_owned(), vec![], false),
    ] {
        let page = api.messages(conversation, &query).await.ok(200);
        assert_eq!(seqs(&page), found, "{query}");
        assert_eq!(page["hasMore"], more, "{query}");
    }
    for wrong in [
        "before=9223372036854775808",
        "after=9223372036854775808",
        "before=-1",
        "after=-1",
        "limit=0",
        "limit=201",
        "limit=9223372036854775807",
        "limit=18446744073709551616",
        "offset=2147483648",
        "offset=-1",
    ] {
        let refused = api.messages(conversation, wrong).await;
        refused.refused(400, "validation_failed");
    }
}

#[tokio::test]
async fn a_mark_up_to_the_greatest_position_is_of_all_there_is_and_one_up_to_none_of_nothing() {
    let database = Database::fresh().await;
    let replica = Replica::start(&database, &[]).await;
    let api = replica.api();
    let conversation = five(&api).await;
    let mark = async |up_to: &str| {
        let path = format!(
            "/api/v1/chat/conversations/{conversation}/read?user_id={BORIS}&up_to_seq={up_to}"
        );
        api.put(&path).await
    };
    for wrong in ["-1", "9223372036854775808", "1e3", ""] {
        mark(wrong).await.refused(400, "validation_failed");
    }
    let mut boris = Socket::connect(&replica, BORIS).await;
    for wrong in [json!(-1), json!(9_223_372_036_854_775_808_u64), json!(1.5)] {
        let data = json!({"conversationId": conversation, "upToSeq": wrong});
        boris.refused("mark_read", data, "validation_failed").await;
    }
    let none = mark("0").await.ok(200);
    assert_eq!(
        (&none["markedCount"], &none["readSeq"]),
        (&json!(0), &json!(0))
    );
    assert_eq!(api.unread_count(BORIS).await, 5);
    let all = mark(&LAST.to_string()).await.ok(200);
    assert_eq!(
        (&all["markedCount"], &all["readSeq"]),
        (&json!(5), &json!(5))
    );
    let told = boris.expect("messages_read").await;
    assert_eq!(told["data"]["upToSeq"], 5);

    api.send(conversation, ALICE, "6").await;
    let data = json!({"conversationId": conversation, "upToSeq": LAST});
    let all = boris.send_command("mark_read", data).await;
    assert_eq!(
        (&all["markedCount"], &all["readSeq"]),
        (&json!(1), &json!(6))
    );
    assert_eq!(api.unread_count(BORIS).await, 0);
}

/// From the beginning of the cluster, that is; and from beyond its end.
#[tokio::test]
async fn with_the_least_cursor_all_is_told_and_with_the_greatest_the_caller_reloads() {
    let database = Database::fresh().await;
    let replica = Replica::start(&database, &[]).await;
    let api = replica.api();
    let conversation = five(&api).await;
    let own = cursor_of(&api.events(BORIS, None).await.ok(200));
    let (identity, _) = own.rsplit_once('.').expect("the parts of a cursor");
    for least in ["0", "1", "3"] {
        let told = api
            .events(BORIS, Some(&format!("{identity}.{least}")))
            .await;
        let told = told.ok(200);
        let types: Vec<&Value> = told["events"]
            .as_array()
            .expect("events")
            .iter()
            .map(|event| &event["type"])
            .collect();
        let mut expected = vec!["conversation_created"];
        expected.extend(["chat_message"; 5]);
        assert_eq!(types, expected, "{least}");
    }
    for greatest in ["ffffffffffffffff", "7fffffffffffffff", "8000000000000000"] {
        let cursor = format!("{identity}.{greatest}");
        let told = api.events(BORIS, Some(&cursor)).await.ok(200);
        assert_eq!(told["events"][0]["type"], "resync_required", "{greatest}");
        assert_eq!(told["events"].as_array().map(Vec::len), Some(1));
        let next = cursor_of(&told);
        api.send(conversation, ALICE, greatest).await;
        let told = api.events(BORIS, Some(&next)).await.ok(200);
        let is_it = |event: &Value| event["data"]["content"] == *greatest;
        let events = told["events"].as_array().expect("events");
        assert!(events.iter().any(is_it), "{told:#?}");
    }
}

/// No conversation comes to it by itself: rows that were imported may be there.
#[tokio::test]
async fn a_message_at_the_greatest_position_is_shown_told_and_read_and_behind_it_there_is_no_room()
{
    let database = Database::fresh().await;
    let replica = Replica::start(&database, &[]).await;
    let api = replica.api();
    let conversation = five(&api).await;
    let other = api.open_conversation(ALICE, CARLA).await;
    let cursor = settled_cursor(&replica, BORIS).await;
    let far = format!(
        "set session_replication_role = replica;
         update conversations set last_seq = {}, last_xid = pg_current_xact_id() where id = '{conversation}'",
        LAST - 1
    );
    database.execute(&far).await;
    let last = api.send(conversation, ALICE, "the last").await;
    assert_eq!(seq_of(&last), LAST);
    let before = format!("before={LAST}&limit=1");
    let page = api.messages(conversation, &before).await.ok(200);
    assert_eq!(seqs(&page), [5]);
    for query in [
        format!("after={}", LAST - 1),
        "after=5".to_owned(),
        "limit=1".to_owned(),
    ] {
        let page = api.messages(conversation, &query).await.ok(200);
        assert_eq!(page["messages"], json!([last]), "{query}");
    }
    let told = api.events(BORIS, Some(&cursor)).await.ok(200);
    assert!(
        told["events"]
            .as_array()
            .expect("events")
            .iter()
            .any(|event| event["type"] == "chat_message" && event["data"]["seq"] == LAST),
        "{told:#?}"
    );
    let marked = api.mark_read(conversation, BORIS).await.ok(200);
    assert_eq!(marked["readSeq"], LAST);
    assert_eq!(marked["markedCount"], 6);

    // By every way; and nobody else waits or is refused.
    let refused = api.try_send(conversation, ALICE, "one too many").await;
    refused.refused(500, "internal");
    let mut alice = Socket::connect(&replica, ALICE).await;
    let send = json!({"conversationId": conversation, "content": "one too many"});
    alice.refused("send_message", send, "internal").await;
    let sql = database.sql().await;
    for statement in [
        format!(
            "insert into messages (conversation_id, sender_id, content) values ('{conversation}', '{ALICE}', 'one too many')"
        ),
        format!("select chat_send_message('{conversation}', '{ALICE}', 'one too many')"),
    ] {
        let refused = sql.batch_execute(&statement).await.expect_err("refused");
        let code = refused.code().expect("a code").code();
        assert_eq!(code, "22003", "{statement}: {refused}");
    }
    api.send(other, ALICE, "elsewhere").await;
    assert_eq!(
        database
            .count("messages where content = 'one too many'")
            .await,
        0
    );
}

#[tokio::test]
async fn a_message_at_the_greatest_revision_stays_as_it_is_and_keeps_nothing_else_from_being_changed()
 {
    let database = Database::fresh().await;
    let replica = Replica::start(&database, &[]).await;
    let api = replica.api();
    let conversation = five(&api).await;
    let first = id_of(&api.history(conversation).await[0]);
    let far = |revision: i32| {
        format!(
            "set session_replication_role = replica;
             update messages set revision = {revision} where id = '{first}'"
        )
    };
    database.execute(&far(i32::MAX - 1)).await;
    let mut boris = Socket::connect(&replica, BORIS).await;
    api.edit(first, ALICE, "once more").await.ok(200);
    let told = boris.expect("message_updated").await;
    assert_eq!(told["data"]["content"], "once more");
    api.edit(first, ALICE, "one too many")
        .await
        .refused(500, "internal");
    let history = api.history(conversation).await;
    assert_eq!(history[0]["content"], "once more");
    // To read it is no change of its state.
    let marked = api.mark_read(conversation, BORIS).await.ok(200);
    assert_eq!(marked["markedCount"], 5);
    let second = id_of(&history[1]);
    api.edit(second, ALICE, "another").await.ok(200);
    let told = boris.expect("message_updated").await;
    assert_eq!(told["data"]["content"], "another");
}
