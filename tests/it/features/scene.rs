//! Two people of whom one does something, in one way, and what everybody is told of it.

use serde_json::{Value, json};
use uuid::Uuid;

use super::Stage;
use super::table::{Feature, State, Way};
use crate::support::*;

/// Alice and Boris of one row and column, with a socket each on both replicas.
pub struct Scene<'a> {
    stage: &'a Stage,
    feature: Feature,
    way: Way,
    /// Alice and Boris.
    people: [Uuid; 2],
    conversation: Option<Uuid>,
    second_message: Option<Uuid>,
    /// By person and replica.
    sockets: [[Socket; 2]; 2],
    cursors: [String; 2],
}

impl<'a> Scene<'a> {
    pub async fn set(stage: &'a Stage, feature: Feature, way: Way, people: [Uuid; 2]) -> Self {
        let [alice, boris] = people;
        let [here, there] = &stage.replicas;
        let (mut conversation, mut second_message) = (None, None);
        if feature != Feature::Open {
            let id = stage.database.conversation(alice, boris).await;
            here.api().send(id, alice, "first quince").await;
            second_message = Some(id_of(&here.api().send(id, alice, "second quince").await));
            conversation = Some(id);
        }
        // On both replicas, so that nothing of the beginning is under way to a socket any more.
        let cursors = [
            settled_cursor(here, alice).await,
            settled_cursor(there, boris).await,
        ];
        let sockets = [
            [
                Socket::connect(here, alice).await,
                Socket::connect(there, alice).await,
            ],
            [
                Socket::connect(here, boris).await,
                Socket::connect(there, boris).await,
            ],
        ];
        Self {
            stage,
            feature,
            way,
            people,
            conversation,
            second_message,
            sockets,
            cursors,
        }
    }

    /// What the sockets were sent meanwhile, if it had to be waited for.
    pub async fn act(&mut self) -> [[Vec<Value>; 2]; 2] {
        let mut live = [[vec![], vec![]], [vec![], vec![]]];
        match self.feature {
            Feature::Type => {
                for is_typing in [true, false] {
                    let conversation = self.conversation.expect("one that is open");
                    self.sockets[0][0].types(conversation, is_typing).await;
                    self.collect("typing", &mut live[1]).await;
                }
            }
            Feature::ShowPresence => {
                let [alice, boris] = self.people;
                self.watch(alice, &mut live[1]).await;
                // Boris's stand in for hers until she is back: her own two are to close.
                let [here, there] = &self.stage.replicas;
                let stand_ins = [
                    Socket::connect(here, boris).await,
                    Socket::connect(there, boris).await,
                ];
                for socket in std::mem::replace(&mut self.sockets[0], stand_ins) {
                    socket.close().await;
                }
                self.collect("presence", &mut live[1]).await;
                self.until_there(false).await;
                self.sockets[0] = [
                    Socket::connect(here, alice).await,
                    Socket::connect(there, alice).await,
                ];
                self.collect("presence", &mut live[1]).await;
                self.until_there(true).await;
            }
            Feature::SetActive => {
                let [alice, _] = self.people;
                self.watch(alice, &mut live[1]).await;
                for is_active in [false, true] {
                    for socket in &mut self.sockets[0] {
                        let data = json!({"active": is_active});
                        socket.send_command("set_active", data).await;
                    }
                    self.collect("presence", &mut live[1]).await;
                    self.until_there(is_active).await;
                }
            }
            _ => self.act_again().await,
        }
        live
    }

    /// Boris watches Alice, who is there.
    async fn watch(&mut self, alice: Uuid, live: &mut [Vec<Value>; 2]) {
        self.until_there(true).await;
        for socket in &mut self.sockets[1] {
            let data = json!({"userIds": [alice]});
            socket.send_command("watch_presence", data).await;
        }
        self.collect("presence", live).await;
    }

    /// The next frame of this type on Boris's sockets.
    async fn collect(&mut self, kind: &str, live: &mut [Vec<Value>; 2]) {
        for (socket, frames) in self.sockets[1].iter_mut().zip(live) {
            frames.push(socket.expect(kind).await);
        }
    }

    /// Both replicas, and the view, say whether Alice is there.
    async fn until_there(&self, is_online: bool) {
        let [alice, _] = self.people;
        let sql = format!("chat_presence where user_id = '{alice}' and is_online = {is_online}");
        eventually(&format!("Alice is there: {is_online}"), || async {
            for replica in &self.stage.replicas {
                let path = format!("/api/v1/users/{alice}");
                let user = replica.api().get(&path).await.ok(200);
                if user["isOnline"] != json!(is_online) {
                    return None;
                }
            }
            (self.stage.database.count(&sql).await == 1).then_some(())
        })
        .await;
    }

    /// At the first replica, or in SQL. Doing it once more changes nothing.
    pub async fn act_again(&mut self) {
        let [alice, boris] = self.people;
        let api = self.stage.replicas[0].api();
        let conversation = self.conversation.unwrap_or_default();
        let message = self.second_message.unwrap_or_default();
        let send = json!({"conversationId": conversation, "content": "third medlar", "clientMessageId": "once"});
        match (self.feature, self.way) {
            (Feature::Open, Way::Http) => {
                self.conversation = Some(api.open_conversation(alice, boris).await);
            }
            (Feature::Open, Way::Sql) => {
                self.sql(&format!(
                    "insert into conversations (participant1_id, participant2_id) values ('{alice}', '{boris}')
                     on conflict do nothing"
                ))
                .await;
                let sql = "select id from conversations where participant1_id = $1 and participant2_id = $2";
                let client = self.stage.database.sql().await;
                let row = client.query_one(sql, &[&alice, &boris]).await;
                self.conversation = Some(row.expect("the conversation").get(0));
            }
            (Feature::Send, Way::Http) => {
                let mut body = send;
                body["senderId"] = json!(alice);
                let reply = api.post_message(&body).await;
                assert!(matches!(reply.status, 200 | 201), "{reply:?}");
            }
            (Feature::Send, Way::Socket) => {
                self.sockets[0][0].send_command("send_message", send).await;
            }
            (Feature::Send, Way::Sql) => {
                self.sql(&format!(
                    "insert into messages (conversation_id, sender_id, content, client_message_id)
                     values ('{conversation}', '{alice}', 'third medlar', 'once') on conflict do nothing"
                ))
                .await;
            }
            (Feature::Send, Way::Function) => {
                self.sql(&format!(
                    "select chat_send_message('{conversation}', '{alice}', 'third medlar', 'text', 'once')"
                ))
                .await;
            }
            (Feature::Edit, Way::Http) => {
                api.edit(message, alice, "now medlar").await.ok(200);
            }
            (Feature::Edit, Way::Socket) => {
                let data = json!({"messageId": message, "content": "now medlar"});
                self.sockets[0][0].send_command("edit_message", data).await;
            }
            (Feature::Edit, Way::Sql) => {
                self.sql(&format!(
                    "update messages set content = 'now medlar' where id = '{message}'"
                ))
                .await;
            }
            (Feature::Delete, Way::Http) => {
                let reply = api.delete_message(message, alice).await;
                assert_eq!(reply.status, 204, "{reply:?}");
            }
            (Feature::Delete, Way::Socket) => {
                let data = json!({"messageId": message});
                self.sockets[0][0]
                    .send_command("delete_message", data)
                    .await;
            }
            (Feature::Delete, Way::Sql) => {
                self.sql(&format!(
                    "update messages set deleted_at = coalesce(deleted_at, now()) where id = '{message}'"
                ))
                .await;
            }
            (Feature::Erase, Way::Sql) => {
                self.sql(&format!("delete from messages where id = '{message}'"))
                    .await;
            }
            (Feature::MarkRead, Way::Http) => {
                api.mark_read(conversation, boris).await.ok(200);
            }
            (Feature::MarkRead, Way::Socket) => {
                let data = json!({"conversationId": conversation, "upToSeq": 2});
                self.sockets[1][0].send_command("mark_read", data).await;
            }
            (Feature::MarkRead, Way::Sql) => {
                self.sql(&format!(
                    "update messages set is_read = true where conversation_id = '{conversation}' and sender_id = '{alice}'"
                ))
                .await;
            }
            (feature, way) => panic!("nobody knows how to {} by {way:?}", feature.name()),
        }
    }

    async fn sql(&self, sql: &str) {
        let client = self.stage.database.sql_as(&self.stage.program).await;
        if let Err(fault) = client.batch_execute(sql).await {
            panic!("{fault:?}: {sql}");
        }
    }

    pub async fn state(&self, replica: &Replica) -> State {
        let (api, conversation) = (replica.api(), self.conversation.expect("a conversation"));
        let mut unread = [0, 0];
        let mut last_messages = Vec::new();
        for (unread, person) in unread.iter_mut().zip(self.people) {
            let listed = api.conversations(person).await;
            let found = listed.iter().find(|listed| id_of(listed) == conversation);
            let found = found.expect("the conversation is listed");
            *unread = api.unread_count(person).await;
            assert_eq!(found["unreadCount"], json!(*unread), "{found}");
            let last = &found["lastMessage"]["content"];
            last_messages.push(last.as_str().unwrap_or_default().to_owned());
        }
        assert_eq!(last_messages[0], last_messages[1], "the same for both");
        let mut found = [vec![], vec![]];
        for (found, word) in found.iter_mut().zip(["quince", "medlar"]) {
            for person in self.people {
                found.push(api.found(person, &format!("q={word}")).await.len());
            }
            assert_eq!(found[0], found[1], "the same for both");
        }
        let history = api.history(conversation).await;
        let rows = self
            .stage
            .database
            .sql()
            .await
            .query(
                "select concat(seq, ' ', content, case when edited_at is not null then ' edited' end,
                               case when deleted_at is not null then ' deleted' end, case when is_read then ' read' end)
                   from messages where conversation_id = $1 order by seq",
                &[&conversation],
            )
            .await
            .expect("the rows");
        State {
            history: history.iter().map(line).collect(),
            last_message: last_messages.remove(0),
            unread,
            quince: found[0][0],
            medlar: found[1][0],
            rows: rows.iter().map(|row| row.get(0)).collect(),
        }
    }

    /// What all sockets were sent up to a last message, by person and replica.
    pub async fn until_the_end(&mut self) -> [[Vec<Value>; 2]; 2] {
        let (conversation, boris) = (self.conversation.expect("a conversation"), self.people[1]);
        let api = self.stage.replicas[1].api();
        api.send(conversation, boris, "the end").await;
        let mut seen = [[vec![], vec![]], [vec![], vec![]]];
        for (sockets, seen) in self.sockets.iter_mut().zip(&mut seen) {
            for (socket, seen) in sockets.iter_mut().zip(seen) {
                *seen = socket.before_message("the end").await;
            }
        }
        seen
    }

    /// What a client is sent that comes back to this replica, but for the last message.
    pub async fn resumed(&self, person: usize, replica: &Replica) -> Vec<String> {
        let mut socket = Socket::resume(replica, self.people[person], &self.cursors[person]).await;
        // An answer comes after the replay, whatever that held.
        socket.send_command("ping", json!({})).await;
        let frames = socket.arrived();
        let is_last = |frame: &&Value| frame["data"]["content"] == "the end";
        assert_eq!(frames.iter().filter(is_last).count(), 1, "{frames:?}");
        let rest = frames.iter().filter(|frame| !is_last(frame));
        rest.map(|frame| self.gist(frame)).collect()
    }

    /// A frame in words.
    pub fn gist(&self, frame: &Value) -> String {
        let (kind, data) = (frame["type"].as_str().expect("a type"), &frame["data"]);
        let actor = self
            .people
            .iter()
            .position(|person| frame["userId"] == json!(person));
        let actor = actor.map_or("a stranger", |place| ["Alice", "Boris"][place]);
        let rest = match kind {
            "chat_message" | "message_updated" | "message_deleted" => line(data),
            "messages_read" => data["upToSeq"].to_string(),
            "typing" => data["isTyping"].to_string(),
            "presence" => data["isOnline"].to_string(),
            _ => String::new(),
        };
        format!("{kind} by {actor} {rest}").trim_end().to_owned()
    }
}

/// A message in words.
fn line(message: &Value) -> String {
    let mut line = format!(
        "{} {}",
        message["seq"],
        message["content"].as_str().expect("a content")
    );
    for (member, word) in [("editedAt", " edited"), ("deletedAt", " deleted")] {
        if !message[member].is_null() {
            line.push_str(word);
        }
    }
    if message["isRead"] == true {
        line.push_str(" read");
    }
    line
}
