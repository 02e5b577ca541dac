//! Commands of one socket, some of which wait for a row that another program holds: the others do not wait with them.

use serde_json::{Value, json};
use tokio_postgres::Client;
use uuid::Uuid;

use super::PATIENT;
use crate::support::*;

/// Alice's. She has one message in each of the first two, and one of David's to read in the third.
struct Scene {
    database: Database,
    replica: Replica,
    held: Uuid,
    held_message: Uuid,
    free: Uuid,
    free_message: Uuid,
    unread: Uuid,
    alice: Socket,
}

impl Scene {
    async fn set() -> Self {
        let database = Database::fresh().await;
        let replica = Replica::start(&database, &PATIENT).await;
        let api = replica.api();
        let held = api.open_conversation(ALICE, BORIS).await;
        let free = api.open_conversation(ALICE, CARLA).await;
        let unread = api.open_conversation(ALICE, DAVID).await;
        api.send(held, BORIS, "to be read").await;
        api.send(unread, DAVID, "to be read").await;
        Self {
            held_message: id_of(&api.send(held, ALICE, "hello").await),
            free_message: id_of(&api.send(free, ALICE, "hello").await),
            alice: Socket::connect(&replica, ALICE).await,
            database,
            replica,
            held,
            free,
            unread,
        }
    }

    async fn hold_the_conversation(&self) -> Client {
        let held = self.held;
        let lock = format!("select from conversations where id = '{held}' for update");
        self.database.holding(&lock).await
    }

    /// Boris's, which Alice is to mark, and her own.
    async fn hold_the_messages(&self) -> Client {
        let held = self.held;
        let lock = format!("select from messages where conversation_id = '{held}' for update");
        self.database.holding(&lock).await
    }

    async fn ask(&mut self, kind: &str, data: Value) -> String {
        self.alice.request(kind, data).await
    }

    async fn ask_of_the_held(&mut self, kind: &str, more: Value) -> String {
        let mut data = more;
        data["conversationId"] = json!(self.held);
        self.ask(kind, data).await
    }

    /// Everything that needs nothing of what is held.
    async fn the_rest_is_answered(&mut self) {
        let typing = json!({"conversationId": self.held, "isTyping": true});
        let elsewhere = json!({"conversationId": self.free, "isTyping": true});
        let send = json!({"conversationId": self.free, "content": "not delayed"});
        let mark = json!({"conversationId": self.unread});
        let edit = json!({"messageId": self.free_message, "content": "hello again"});
        let delete = json!({"messageId": self.free_message});
        let mut requests = Vec::new();
        for (kind, data) in [
            ("typing", typing),
            ("typing", elsewhere),
            ("send_message", send),
            ("mark_read", mark),
            ("edit_message", edit),
            ("delete_message", delete),
            ("watch_presence", json!({"userIds": [BORIS]})),
            ("set_active", json!({"active": false})),
            ("ping", json!({})),
        ] {
            requests.push((kind, self.ask(kind, data.clone()).await, data));
        }
        for (kind, request, data) in requests {
            if kind == "typing" {
                self.alice.typing_is_done(request, &data).await;
                continue;
            }
            let answer = self.alice.answer(&request).await;
            assert_eq!(answer["type"], "ack", "{kind}: {answer}");
        }
    }

    /// None of them is answered yet; once it is free they are, in this order.
    async fn are_answered_when_it_is_free(&mut self, requests: &[String], holder: Client) {
        let arrived = self.alice.arrived();
        let early = arrived.iter().find(|frame| {
            let of = &frame["data"]["requestId"];
            requests.iter().any(|request| of == request.as_str())
        });
        assert_eq!(early, None, "it is held");
        holder.batch_execute("commit").await.expect("its end");
        for request in requests {
            let next = self.alice.expect_where("an answer", |frame| {
                matches!(frame["type"].as_str(), Some("ack" | "error"))
            });
            let answer = next.await;
            assert_eq!(answer["type"], "ack", "{answer}");
            assert_eq!(answer["data"]["requestId"], request.as_str());
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_send_that_waits_delays_nothing_else_on_its_socket() {
    let mut scene = Scene::set().await;
    let holder = scene.hold_the_conversation().await;
    let requests = [
        scene
            .ask_of_the_held("send_message", json!({"content": "waits"}))
            .await,
        scene.ask_of_the_held("mark_read", json!({})).await,
        scene
            .ask_of_the_held("send_message", json!({"content": "waits, too"}))
            .await,
    ];
    scene.the_rest_is_answered().await;
    scene.are_answered_when_it_is_free(&requests, holder).await;
    let history = scene.replica.api().history(scene.held).await;
    let contents: Vec<&Value> = history.iter().map(|shown| &shown["content"]).collect();
    assert_eq!(contents[2..], ["waits", "waits, too"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mark_that_waits_delays_nothing_else_on_its_socket() {
    let mut scene = Scene::set().await;
    let holder = scene.hold_the_messages().await;
    let requests = [
        scene.ask_of_the_held("mark_read", json!({})).await,
        scene
            .ask_of_the_held("send_message", json!({"content": "behind the mark"}))
            .await,
    ];
    scene.the_rest_is_answered().await;
    scene.are_answered_when_it_is_free(&requests, holder).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_edit_that_waits_delays_only_what_changes_the_same_message_on_its_socket() {
    let mut scene = Scene::set().await;
    let holder = scene.hold_the_messages().await;
    let message = scene.held_message;
    let mut requests = Vec::new();
    for content in ["one", "two", "three"] {
        let data = json!({"messageId": message, "content": content});
        requests.push(scene.ask("edit_message", data).await);
    }
    // What is held are messages, so others can be sent.
    let request = scene.ask_of_the_held("send_message", json!({"content": "passes"}));
    let request = request.await;
    assert_eq!(scene.alice.answer(&request).await["type"], "ack");
    scene.the_rest_is_answered().await;
    scene.are_answered_when_it_is_free(&requests, holder).await;
    let history = scene.replica.api().history(scene.held).await;
    let edited = history.iter().find(|shown| id_of(shown) == message);
    assert_eq!(edited.expect("the message")["content"], "three");
}

/// Nothing is held: what follows the command before it has not started when the close is read.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_client_sends_before_it_closes_is_carried_out() {
    let database = Database::fresh().await;
    let replica = Replica::start(&database, &[]).await;
    let conversation = replica.api().open_conversation(ALICE, BORIS).await;
    let command = |kind: &str, more: Value| {
        let mut data = json!({"conversationId": conversation});
        for (name, value) in more.as_object().expect("members") {
            data[name] = value.clone();
        }
        text_frame(&json!({"type": kind, "requestId": kind, "data": data}).to_string())
    };
    let close = client_frame(0x88, 1000_u16.to_be_bytes());
    let firsts = [
        ("typing", json!({"isTyping": true})),
        ("mark_read", json!({})),
    ];
    let ends = [Some(&close), None];
    for (first, more) in firsts {
        for end in ends {
            let content = format!("behind {first}, {}", end.is_some());
            let send = command("send_message", json!({"content": content}));
            let mut bytes = [command(first, more.clone()), send].concat();
            bytes.extend(end.into_iter().flatten());
            let mut alice = Raw::upgrade_to(&replica, &format!("/ws?user_id={ALICE}")).await;
            alice.write(bytes).await;
            drop(alice);
            until_stored(&database, &content).await;
        }
    }

    // Before it is greeted: it comes back, and waits while another of her sockets is being read for.
    let cursor = settled_cursor(&replica, ALICE).await;
    let path = format!("/ws?user_id={ALICE}&cursor={cursor}");
    let _replays = database
        .holding("lock table chat_tombstones in access exclusive mode")
        .await;
    let _being_read_for = Raw::upgrade_to(&replica, &path).await;
    until_lock_waiters(&database, 1).await;
    for end in ends {
        let content = format!("not greeted, {}", end.is_some());
        let mut bytes = command("send_message", json!({"content": content}));
        bytes.extend(end.into_iter().flatten());
        let mut alice = Raw::upgrade_to(&replica, &path).await;
        alice.write(bytes).await;
        drop(alice);
        until_stored(&database, &content).await;
    }
}

async fn until_stored(database: &Database, content: &str) {
    let stored = format!("messages where content = '{content}'");
    eventually(content, || async {
        (database.count(&stored).await == 1).then_some(())
    })
    .await;
}

/// Typing asks whom it is for, and the database takes its time over that.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_send_waits_for_the_typing_before_it_for_a_moment_only() {
    let database = Database::fresh().await;
    let function = Function {
        name: "chat_participants",
        types: "uuid",
        returns: "table (participant1_id uuid, participant2_id uuid)",
        call: "return query select * from chat_participants_at_once($1)",
    };
    let gate = Gate::before(&database, function, "true").await;
    let replica = Replica::start(&database, &PATIENT).await;
    let conversation = replica.api().open_conversation(ALICE, BORIS).await;
    let mut alice = Socket::connect(&replica, ALICE).await;
    let typing = json!({"conversationId": conversation, "isTyping": true});
    let typing = alice.request("typing", typing).await;
    let send = json!({"conversationId": conversation, "content": "hello"});
    let send = alice.request("send_message", send).await;
    // In their order, and though the gate is shut.
    let refused = alice.answer(&typing).await;
    assert_eq!(refused["data"]["code"], "unavailable", "{refused}");
    assert_eq!(alice.answer(&send).await["type"], "ack");

    gate.open().await;
    alice.types(conversation, true).await;
}

/// It would be read late, and the client might have to wait for it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_socket_whose_commands_wait_is_closed_when_its_client_closes_it() {
    let mut scene = Scene::set().await;
    let _conversation = scene.hold_the_conversation().await;
    let _messages = scene.hold_the_messages().await;
    let edit = json!({"messageId": scene.held_message, "content": "waits"});
    scene.ask("edit_message", edit.clone()).await;
    scene.ask("edit_message", edit).await;
    scene
        .ask_of_the_held("send_message", json!({"content": "waits"}))
        .await;
    scene.ask_of_the_held("mark_read", json!({})).await;
    let Scene { alice, replica, .. } = scene;
    alice.close().await;
    let api = replica.api();
    eventually("the socket is gone", || async {
        (api.metric("pgchat_connections").await == 0.0).then_some(())
    })
    .await;
}
