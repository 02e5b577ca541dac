//! What sums a conversation up (`lastMessage`, `unreadCount`, its place in the list) stays right, whoever changes what beneath it.

use serde_json::{Value, json};
use uuid::Uuid;

use crate::support::*;

/// How a message can be deleted.
#[derive(Clone, Copy, Debug)]
enum Way {
    Http,
    Socket,
    SoftInSql,
    OutrightInSql,
}

/// Two replicas: what is done at one is read at the other.
struct Scene {
    database: Database,
    replicas: [Replica; 2],
    conversation: Uuid,
}

impl Scene {
    async fn set() -> Self {
        let database = Database::fresh().await;
        let conversation = database.conversation(ALICE, BORIS).await;
        let replicas = Replica::start_many(&database, &[]).await;
        Self {
            database,
            replicas,
            conversation,
        }
    }

    async fn delete(&self, way: Way, message: Uuid, sender: Uuid) {
        match way {
            Way::Http => {
                let reply = self.replicas[0].api().delete_message(message, sender).await;
                assert_eq!(reply.status, 204);
            }
            Way::Socket => {
                let mut socket = Socket::connect(&self.replicas[0], sender).await;
                let data = json!({"messageId": message});
                socket.send_command("delete_message", data).await;
                socket.close().await;
            }
            Way::SoftInSql => {
                let sql = format!("update messages set deleted_at = now() where id = '{message}'");
                self.database.execute(&sql).await;
            }
            Way::OutrightInSql => {
                let sql = format!("delete from messages where id = '{message}'");
                self.database.execute(&sql).await;
            }
        }
    }

    async fn listed(&self, user: Uuid) -> Value {
        let listed = self.replicas[1].api().conversations(user).await;
        let found = listed
            .iter()
            .find(|found| id_of(found) == self.conversation);
        let found = found.expect("the conversation").clone();
        assert_conversation(&found);
        let by_id = format!(
            "/api/v1/chat/users/{user}/conversations/{}",
            self.conversation
        );
        let by_id = self.replicas[0].api().get(&by_id).await.ok(200);
        assert_eq!(by_id, found, "the same by its id");
        found
    }

    /// In the list, over all conversations, and in the conversation that is opened again.
    async fn assert_unread(&self, user: Uuid, count: i64) {
        let listed = self.listed(user).await;
        assert_eq!(listed["unreadCount"], json!(count));
        let history = self.replicas[1].api().history(self.conversation).await;
        let unread = history.iter().filter(|message| {
            message["senderId"] != json!(user)
                && message["isRead"] == false
                && message["deletedAt"].is_null()
        });
        let first = unread.map(seq_of).min();
        assert_eq!(listed["firstUnreadSeq"], json!(first));
        let other = [BORIS, ALICE][usize::from(user == BORIS)];
        let opened = self.replicas[0]
            .api()
            .try_open_conversation(user, other)
            .await;
        assert_eq!(opened.ok(200), listed, "the same when it is opened");
        let api = self.replicas[1].api();
        assert_eq!(api.unread_count(user).await, count);
        // It is the only one.
        assert_eq!(api.unread_conversations(user).await, i64::from(count > 0));
    }
}

#[tokio::test]
async fn a_deleted_message_is_not_unread_however_it_was_deleted() {
    let scene = Scene::set().await;
    let api = scene.replicas[0].api();
    for way in [Way::Http, Way::Socket, Way::SoftInSql, Way::OutrightInSql] {
        let sent = api.send(scene.conversation, ALICE, "gone soon").await;
        let kept = api.send(scene.conversation, ALICE, "kept").await;
        scene.assert_unread(BORIS, 2).await;

        scene.delete(way, id_of(&sent), ALICE).await;

        scene.assert_unread(BORIS, 1).await;
        scene.assert_unread(ALICE, 0).await;
        assert_eq!(scene.listed(BORIS).await["lastMessage"], kept, "{way:?}");
        let marked = api.mark_read(scene.conversation, BORIS).await.ok(200);
        assert_eq!(marked["markedCount"], 1, "{way:?}");
        assert_eq!(marked["readSeq"], kept["seq"], "{way:?}");
        scene.assert_unread(BORIS, 0).await;
    }
}

#[tokio::test]
async fn the_last_message_is_shown_as_it_is_now() {
    let scene = Scene::set().await;
    let api = scene.replicas[0].api();
    let first = api.send(scene.conversation, ALICE, "first").await;
    let last = api.send(scene.conversation, BORIS, "last").await;
    let edited = api.edit(id_of(&last), BORIS, "edited").await.ok(200);
    assert_eq!(scene.listed(ALICE).await["lastMessage"], edited);
    let sql = format!(
        "update messages set content = 'by SQL' where id = '{}'",
        id_of(&last)
    );
    scene.database.execute(&sql).await;
    assert_eq!(
        scene.listed(ALICE).await["lastMessage"]["content"],
        "by SQL"
    );

    for way in [Way::Http, Way::Socket, Way::SoftInSql] {
        let sent = api.send(scene.conversation, BORIS, "deleted soon").await;
        scene.delete(way, id_of(&sent), BORIS).await;
        let shown = scene.listed(ALICE).await;
        assert_eq!(
            shown["lastMessageId"], sent["id"],
            "{way:?}: it keeps its place"
        );
        assert_eq!(shown["lastMessage"]["content"], "", "{way:?}");
        assert_time(&shown["lastMessage"], "deletedAt");
        scene.delete(Way::OutrightInSql, id_of(&sent), BORIS).await;
        assert_eq!(scene.listed(ALICE).await["lastMessageId"], last["id"]);
    }
    scene.delete(Way::OutrightInSql, id_of(&last), BORIS).await;
    assert_eq!(scene.listed(ALICE).await["lastMessage"], first);
    scene.delete(Way::OutrightInSql, id_of(&first), ALICE).await;
    assert_eq!(scene.listed(ALICE).await["lastMessage"], Value::Null);
    assert_eq!(scene.listed(ALICE).await["lastSeq"], 5);
}

/// The index that the list reads lags behind by up to a minute. Here most conversations were active within one minute, and some
/// long ago, and they become active again in another order.
#[tokio::test]
async fn the_list_is_in_exact_order_on_every_page() {
    let database = Database::fresh().await;
    let users = database.add_users(40).await;
    let mut conversations = Vec::new();
    for (n, user) in users.iter().enumerate() {
        let (one, other) = if n % 2 == 0 {
            (ALICE, *user)
        } else {
            (*user, ALICE)
        };
        conversations.push(database.conversation(one, other).await);
    }
    database
        .execute(
            "update conversations set updated_at = now() - (hashtext(id::text) % 3000) * interval '50 ms' - interval '4 min'",
        )
        .await;
    let replicas: [Replica; 2] = Replica::start_many(&database, &[]).await;
    for n in 0..60 {
        let conversation = conversations[(n * 17 + n / 7) % 40];
        if n % 3 == 0 {
            let sender = if n % 2 == 0 {
                "participant1_id"
            } else {
                "participant2_id"
            };
            let sql = format!(
                "insert into messages (conversation_id, sender_id, content) select id, {sender}, 'by SQL' from conversations where id = '{conversation}'"
            );
            database.execute(&sql).await;
        } else if n % 40 < 30 {
            replicas[n % 2]
                .api()
                .send(conversation, ALICE, "hello")
                .await;
        }
    }
    // Every second one at the same moment as others: some with messages and some without, as among those that stay.
    let sql = format!(
        "update conversations set updated_at = date_trunc('minute', updated_at) where participant1_id = '{ALICE}'"
    );
    database.execute(&sql).await;

    let wanted: Vec<Uuid> = database
        .sql()
        .await
        .query(
            "select id from conversations order by updated_at desc, id desc",
            &[],
        )
        .await
        .expect("rows")
        .iter()
        .map(|row| row.get(0))
        .collect();
    let lagging = database
        .count("conversations where active_at <> updated_at")
        .await;
    assert!(lagging > 0, "the index does lag");
    for limit in [1, 7, 40, 200] {
        let mut listed = Vec::new();
        loop {
            let path = format!(
                "/api/v1/chat/conversations/{ALICE}?limit={limit}&offset={}",
                listed.len()
            );
            let page = replicas[listed.len() % 2].api().get(&path).await.ok(200);
            let found = page["conversations"].as_array().expect("conversations");
            listed.extend(found.iter().map(id_of));
            if page["hasMore"] == false {
                break;
            }
        }
        assert_eq!(listed, wanted, "{limit} on a page");
    }
    let out_of_bounds = "conversations where active_at > updated_at or active_at <= updated_at - interval '1 minute'";
    assert_eq!(database.count(out_of_bounds).await, 0);
}

#[tokio::test]
async fn a_read_mark_reaches_the_readers_other_devices_and_a_second_one_nobody() {
    let scene = Scene::set().await;
    let [here, there] = &scene.replicas;
    let mut reading = Socket::connect(here, BORIS).await;
    let mut others = [
        Socket::connect(here, ALICE).await,
        Socket::connect(there, BORIS).await,
        Socket::connect(there, ALICE).await,
    ];
    for content in ["one", "two", "three"] {
        there.api().send(scene.conversation, ALICE, content).await;
    }
    for socket in others.iter_mut().chain([&mut reading]) {
        socket.collect_messages(3).await;
    }

    for (up_to, marked, read) in [(2, 2, 2), (1, 0, 2), (2, 0, 2), (99, 1, 3), (99, 0, 3)] {
        let data = json!({"conversationId": scene.conversation, "upToSeq": up_to});
        let ack = reading.send_command("mark_read", data).await;
        assert_eq!(ack["markedCount"], marked, "{ack}");
        assert_eq!(ack["readSeq"], read, "{ack}");
    }
    there.api().send(scene.conversation, BORIS, "last").await;
    for socket in others.iter_mut().chain([&mut reading]) {
        let frames = socket.before_message("last").await;
        let marks: Vec<&Value> = frames
            .iter()
            .filter(|frame| frame["type"] == "messages_read")
            .collect();
        assert_eq!(marks.len(), 2, "{frames:?}");
        for (mark, up_to) in marks.iter().zip([2, 3]) {
            let data =
                json!({"conversationId": scene.conversation, "readerId": BORIS, "upToSeq": up_to});
            assert_eq!(mark["data"], data);
        }
    }
}
