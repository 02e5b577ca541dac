//! What callers do, over HTTP or over sockets.

use rand::RngExt;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use serde_json::{Value, json};
use uuid::Uuid;

use super::{Case, Place, length, pause};
use crate::support::*;

const CALLS: usize = 14;

pub async fn run(case: &Case<'_>, mut random: StdRng) {
    for _ in 0..CALLS {
        call(case, &mut random).await;
        pause(&mut random, 4).await;
    }
}

async fn call(case: &Case<'_>, random: &mut StdRng) {
    let Place {
        conversation,
        users,
    } = case.place(random);
    let me = *users.choose(random).expect("two");
    let mut caller = Caller::of(case, me, random).await;
    let content = format!("word {} ", random.random_range(0..1000));
    let content = content.repeat(length(random));
    match random.random_range(0..13) {
        0..=4 => {
            let sent = caller.send(conversation, &content, None).await;
            assert!(is_answer(case, sent, &[201]), "{sent}");
        }
        5 => {
            let name = Uuid::from_u128(random.random()).to_string();
            let first = caller.send(conversation, &content, Some(&name)).await;
            assert!(is_answer(case, first, &[201]), "{first}");
            let mut other = Caller::of(case, me, random).await;
            let again = other.send(conversation, &content, Some(&name)).await;
            // Somebody may have deleted it outright meanwhile: then it is new.
            assert!(is_answer(case, again, &[200, 201]), "{again}");
        }
        6 | 7 => {
            if let Some(mine) = a_message(case, conversation, me, random).await {
                let edited = caller.edit(mine, &content).await;
                assert!(matches!(edited, 200 | 404), "{edited}");
            }
        }
        8 => {
            if let Some(mine) = a_message(case, conversation, me, random).await {
                let deleted = caller.delete(mine).await;
                assert!(matches!(deleted, 204 | 404), "{deleted}");
            }
        }
        9 => assert_eq!(caller.mark_read(conversation, None).await, 200),
        10 | 11 => {
            let up_to = random.random_range(1..30);
            assert_eq!(caller.mark_read(conversation, Some(up_to)).await, 200);
        }
        _ => send_at_once(case, conversation, me, &content, random).await,
    }
}

/// Who calls, and how.
struct Caller {
    user: Uuid,
    way: Way,
}

enum Way {
    Http(Api),
    Socket(Box<Socket>),
}

impl Caller {
    async fn of(case: &Case<'_>, user: Uuid, random: &mut StdRng) -> Self {
        let replica = case.replicas.choose(random).expect("two");
        let way = match random.random() {
            true => Way::Http(replica.api()),
            false => Way::Socket(Socket::connect(replica, user).await.into()),
        };
        Self { user, way }
    }

    // The status of each answer, or what it would be over HTTP.

    async fn send(&mut self, conversation: Uuid, content: &str, name: Option<&str>) -> u16 {
        let user = self.user;
        match &mut self.way {
            Way::Http(api) => status_of(match name {
                None => api.try_send(conversation, user, content).await,
                Some(name) => api.send_once(conversation, user, content, name).await,
            }),
            Way::Socket(socket) => {
                let mut data = json!({"conversationId": conversation, "content": content});
                if let Some(name) = name {
                    data["clientMessageId"] = json!(name);
                }
                by_command(socket, "send_message", data, 201).await
            }
        }
    }

    async fn edit(&mut self, message: Uuid, content: &str) -> u16 {
        match &mut self.way {
            Way::Http(api) => status_of(api.edit(message, self.user, content).await),
            Way::Socket(socket) => {
                let data = json!({"messageId": message, "content": content});
                by_command(socket, "edit_message", data, 200).await
            }
        }
    }

    async fn delete(&mut self, message: Uuid) -> u16 {
        match &mut self.way {
            Way::Http(api) => status_of(api.delete_message(message, self.user).await),
            Way::Socket(socket) => {
                let data = json!({"messageId": message});
                by_command(socket, "delete_message", data, 204).await
            }
        }
    }

    async fn mark_read(&mut self, conversation: Uuid, up_to: Option<i64>) -> u16 {
        let user = self.user;
        match (&mut self.way, up_to) {
            (Way::Http(api), None) => status_of(api.mark_read(conversation, user).await),
            (Way::Http(api), Some(up_to)) => {
                let path = format!(
                    "/api/v1/chat/conversations/{conversation}/read?user_id={user}&up_to_seq={up_to}"
                );
                status_of(api.put(&path).await)
            }
            (Way::Socket(socket), up_to) => {
                let mut data = json!({"conversationId": conversation});
                if let Some(up_to) = up_to {
                    data["upToSeq"] = json!(up_to);
                }
                by_command(socket, "mark_read", data, 200).await
            }
        }
    }
}

fn status_of(reply: Reply) -> u16 {
    let is_expected = matches!(reply.status, 200 | 201 | 204 | 404);
    assert!(is_expected, "{reply:?}");
    reply.status
}

/// An `ack` is as much as the status `done`.
async fn by_command(socket: &mut Socket, kind: &str, data: Value, done: u16) -> u16 {
    let answer = socket.answer_to(kind, data).await;
    let code = answer["data"]["code"].as_str().unwrap_or_default();
    match answer["type"] == "ack" {
        true => done,
        false if code.ends_with("_not_found") => 404,
        false => panic!("{kind}: {answer}"),
    }
}

/// Several on one socket, none of which waits for the one before: their order is that of the commands.
async fn send_at_once(
    case: &Case<'_>,
    conversation: Uuid,
    me: Uuid,
    content: &str,
    random: &mut StdRng,
) {
    let replica = case.replicas.choose(random).expect("two");
    let mut socket = Socket::connect(replica, me).await;
    let mut requests = Vec::new();
    for _ in 0..3 {
        let data = json!({"conversationId": conversation, "content": content});
        requests.push(socket.request("send_message", data).await);
    }
    let mut newest = 0;
    for request in &requests {
        let answer = socket.answer(request).await;
        if answer["type"] == "ack" {
            let seq = seq_of(&answer["data"]["message"]);
            // A conversation that is made anew begins anew.
            assert!(newest < seq || case.conversations_go, "{newest}: {answer}");
            newest = seq;
        } else {
            assert_eq!(answer["data"]["code"], "conversation_not_found", "{answer}");
            assert!(case.conversations_go, "{answer}");
        }
    }
}

/// Whoever sends to a conversation while it is made anew may find none.
fn is_answer(case: &Case<'_>, status: u16, expected: &[u16]) -> bool {
    expected.contains(&status) || (case.conversations_go && status == 404)
}

async fn a_message(
    case: &Case<'_>,
    conversation: Uuid,
    sender: Uuid,
    random: &mut StdRng,
) -> Option<Uuid> {
    let from = random.random_range(0..30_i64);
    let query = format!("after={from}&limit=10");
    let page = case
        .api(random)
        .messages(conversation, &query)
        .await
        .ok(200);
    let messages = page["messages"].as_array().expect("messages");
    let mut mine = messages
        .iter()
        .filter(|message| uuid_in(message, "senderId") == sender);
    mine.next().map(id_of)
}
