//! What is made together is answered and told of as if each had been alone.

use std::collections::BTreeMap;

use serde_json::json;

use super::Crowd;
use crate::support::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_marks_at_once_are_one_transaction_and_each_is_answered_and_told_of_once() {
    const READERS: i32 = 60;
    let mut crowd = Crowd::of(READERS + 1).await;
    let api = crowd.replica.api();
    let (read, _) = crowd.readers[0];
    let (_, last) = crowd.readers.pop().expect("the last of them");
    let never = crowd.database.conversation(BORIS, last).await;
    let mut alice = Socket::connect(&crowd.replica, ALICE).await;
    let figures = async |replica: &Replica| {
        let api = replica.api();
        let (batches, marks) = ("pgchat_mark_batches_total", "pgchat_marks_batched_total");
        (api.metric(batches).await, api.metric(marks).await)
    };
    crowd.begin().await;
    let mut marks = crowd.all_mark();
    let mut others = Vec::new();
    for (conversation, reader) in [
        (read, CARLA),
        (NOBODY, BORIS),
        (read, NOBODY),
        // What Alice has written herself is nobody's to read, and here nobody has written.
        (read, ALICE),
        (never, last),
    ] {
        let api = crowd.replica.api();
        let mark = async move { api.mark_read(conversation, reader).await };
        others.push(tokio::spawn(mark));
    }
    crowd
        .until_waiting(crowd.readers.len() + others.len())
        .await;
    crowd.go_on().await;

    while let Some(reply) = within("an answer", marks.join_next()).await {
        let (number, reply) = reply.expect("an answer");
        crowd.assert_is_marked(number, &reply);
    }
    let mut replies = Vec::new();
    for other in others {
        replies.push(within("an answer", other).await.expect("an answer"));
    }
    replies[0].refused(403, "not_a_participant");
    replies[1].refused(404, "conversation_not_found");
    replies[2].refused(404, "user_not_found");
    for nothing in &replies[3..] {
        let answer = nothing.ok(200);
        let counts = (&answer["markedCount"], &answer["readSeq"]);
        assert_eq!(counts, (&json!(0), &json!(0)), "{answer}");
    }
    assert_eq!(crowd.transactions().await, 1);
    let all = f64::from(READERS) + 5.0;
    assert_eq!(
        figures(&crowd.replica).await,
        (1.0, all),
        "nothing is repeated"
    );

    api.send(crowd.davids, ALICE, "the end").await;
    let mut told = BTreeMap::new();
    for frame in alice.before_message("the end").await {
        assert_eq!(frame["type"], "messages_read", "{frame}");
        let conversation = uuid_in(&frame["data"], "conversationId");
        let earlier = told.insert(conversation, frame["data"]["upToSeq"].clone());
        assert_eq!(earlier, None, "told once");
    }
    let mut expected = BTreeMap::from([(crowd.davids, json!(1))]);
    for (number, (conversation, _)) in crowd.readers.iter().enumerate() {
        expected.insert(*conversation, json!(1 + number % 3));
    }
    assert_eq!(told, expected);
    for (_, reader) in &crowd.readers {
        assert_eq!(api.unread_count(*reader).await, 0);
    }
}
