//! Two requests for one thing at the same moment, on two replicas: done once, told once, and both are answered as if they had been alone.

use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::sql::Scene;
use crate::support::*;

const ROUNDS: usize = 10;

fn apis(scene: &Scene) -> [Api; 2] {
    scene.replicas.each_ref().map(Replica::api)
}

/// What both sockets were told besides new messages, which is the same: the types, and the data.
async fn told(scene: &mut Scene) -> (Vec<String>, Vec<Value>) {
    let [here, _] = apis(scene);
    here.send(scene.conversation, BORIS, "the end").await;
    let mut told = Vec::new();
    for socket in &mut scene.sockets {
        let frames = socket.before_message("the end").await;
        let others = frames
            .iter()
            .filter(|frame| frame["type"] != "chat_message");
        let said = |frame: &Value| (text_of(&frame["type"]), frame["data"].clone());
        told.push(others.map(said).unzip::<_, _, Vec<_>, Vec<_>>());
    }
    assert_eq!(told[0], told[1]);
    told.swap_remove(0)
}

fn text_of(value: &Value) -> String {
    value.as_str().expect("text").to_owned()
}

#[tokio::test]
async fn two_read_marks_are_told_once() {
    let mut scene = Scene::set().await;
    let [here, there] = apis(&scene);
    for round in 0..ROUNDS {
        for content in ["one", "two", "three"] {
            here.send(scene.conversation, ALICE, content).await;
        }
        let (one, other) = tokio::join!(
            here.mark_read(scene.conversation, BORIS),
            there.mark_read(scene.conversation, BORIS)
        );
        let (one, other) = (one.ok(200), other.ok(200));
        let marked = [&one, &other].map(|answer| answer["markedCount"].as_i64());
        assert!(matches!(marked, [Some(3), Some(0)] | [Some(0), Some(3)]));
        let last = 4 * round + 3;
        assert_eq!([&one["readSeq"], &other["readSeq"]], [last, last]);

        let (types, data) = told(&mut scene).await;
        assert_eq!(types, ["messages_read"]);
        assert_eq!(data[0]["upToSeq"], last);
    }
}

#[tokio::test]
async fn two_deletions_are_told_once() {
    let mut scene = Scene::set().await;
    let [here, there] = apis(&scene);
    for _ in 0..ROUNDS {
        let id = id_of(&here.send(scene.conversation, ALICE, "gone soon").await);
        let (one, other) = tokio::join!(
            here.delete_message(id, ALICE),
            there.delete_message(id, ALICE)
        );
        assert_eq!([one.status, other.status], [204, 204]);

        let (types, data) = told(&mut scene).await;
        assert_eq!(types, ["message_deleted"]);
        assert_eq!(data[0]["id"], json!(id));
    }
}

#[tokio::test]
async fn the_same_edit_is_told_once_and_of_two_the_last_one_stays() {
    let mut scene = Scene::set().await;
    let [here, there] = apis(&scene);
    for _ in 0..ROUNDS {
        let id = id_of(&here.send(scene.conversation, ALICE, "helo").await);
        let (one, other) = tokio::join!(
            here.edit(id, ALICE, "hello"),
            there.edit(id, ALICE, "hello")
        );
        assert_eq!(one.ok(200), other.ok(200));
        assert_eq!(told(&mut scene).await.0, ["message_updated"]);

        let (one, other) = tokio::join!(here.edit(id, ALICE, "hi"), there.edit(id, ALICE, "hey"));
        let (one, other) = (one.ok(200), other.ok(200));
        let (types, shown) = told(&mut scene).await;
        assert_eq!(types, ["message_updated"; 2]);
        assert!(
            shown == [one.clone(), other.clone()] || shown == [other, one],
            "{shown:?}"
        );
        let held = here.history(scene.conversation).await;
        assert_eq!(held.iter().find(|held| id_of(held) == id), shown.last());
    }
}

#[tokio::test]
async fn of_what_is_edited_while_it_is_deleted_nothing_stays() {
    let mut scene = Scene::set().await;
    let [here, there] = apis(&scene);
    for _ in 0..ROUNDS {
        let id = id_of(&here.send(scene.conversation, ALICE, "secret").await);
        let (edited, deleted) = tokio::join!(
            here.edit(id, ALICE, "still secret"),
            there.delete_message(id, ALICE)
        );
        assert_eq!(deleted.status, 204, "{deleted:?}");
        let expected: &[&str] = match edited.status {
            200 => &["message_updated", "message_deleted"],
            _ => {
                edited.refused(404, "message_not_found");
                &["message_deleted"]
            }
        };
        assert_eq!(told(&mut scene).await.0, expected);
        let history = here.history(scene.conversation).await;
        let held = history.iter().find(|held| id_of(held) == id);
        assert_eq!(held.expect("its place")["content"], "");
    }
}

/// As a host may have it for its own transactions; those of the service are not written for it, and would fail by each other.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_happens_at_once_fails_by_no_isolation_that_the_database_has_as_its_default() {
    const SENDS: usize = 40;
    let database = Database::fresh().await;
    database
        .execute(&format!(
            "alter database \"{}\" set default_transaction_isolation = 'serializable'",
            database.name
        ))
        .await;
    let replicas: [Replica; 2] =
        Replica::start_many(&database, &[("RATE_LIMIT_PER_SECOND", "0")]).await;
    let conversation = database.conversation(ALICE, BORIS).await;
    let mut all = JoinSet::new();
    for number in 0..SENDS {
        let [here, there] = replicas.each_ref().map(Replica::api);
        all.spawn(async move {
            let sent = here.send(conversation, ALICE, &number.to_string()).await;
            here.edit(id_of(&sent), ALICE, "edited").await
        });
        all.spawn(async move {
            there.send(conversation, BORIS, &number.to_string()).await;
            there.mark_read(conversation, BORIS).await
        });
    }
    while let Some(reply) = within("an answer", all.join_next()).await {
        reply.expect("an answer").ok(200);
    }
}
