//! Every feature in every way in which it can be done (`table`), over two replicas: what the sockets of both participants are
//! sent, what a client is sent that comes back to either replica, and what HTTP, search and the tables then say.

mod table;

use std::collections::BTreeSet;
use std::fmt::Write;
use std::path::Path;

use futures_util::stream::{self, StreamExt};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::faults::settled_cursor;
use crate::support::*;
use table::{FEATURES, Feature, State, WAYS, Way};

/// Scenes that are played at once.
const AT_ONCE: usize = 4;

struct Stage {
    database: Database,
    replicas: [Replica; 2],
    /// Of another program, with no more than the documented grants.
    program: String,
}

/// Alice and Boris of one row and column, with a socket each on both replicas.
struct Scene<'a> {
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_feature_in_every_way_is_seen_on_two_replicas_and_by_those_who_come_back() {
    let database = Database::fresh().await;
    let brief = [
        ("LISTENER_HEARTBEAT_SECONDS", "1"),
        ("PRESENCE_GRACE_SECONDS", "2"),
        ("TYPING_INTERVAL_SECONDS", "1"),
        ("RATE_LIMIT_PER_SECOND", "0"),
    ];
    let replicas: [Replica; 2] = Replica::start_many(&database, &brief).await;
    let program = format!("program_{}", database.name);
    let role = format!("create role {program} login in role {INTEGRATOR}");
    database.execute(&role).await;
    let stage = Stage {
        database,
        replicas,
        program,
    };
    let cells: Vec<(Feature, Way)> = FEATURES
        .into_iter()
        .flat_map(|feature| WAYS.map(|way| (feature, way)))
        .filter(|(feature, way)| feature.by(*way).is_some())
        .collect();
    let people = stage.database.add_users(2 * cells.len() as i32).await;
    let mut outsiders = [
        Socket::connect(&stage.replicas[0], CARLA).await,
        Socket::connect(&stage.replicas[1], CARLA).await,
    ];
    let played = cells.iter().zip(people.chunks(2)).map(|(cell, people)| {
        let (feature, way) = *cell;
        let people = [people[0], people[1]];
        play(&stage, feature, way, people)
    });
    let seen: Vec<BTreeSet<String>> = stream::iter(played).buffered(AT_ONCE).collect().await;
    for ((feature, way), seen) in cells.iter().zip(seen) {
        assert!(
            seen.contains(feature.frame()),
            "{feature:?} by {way:?}: {seen:?}"
        );
    }
    let api = stage.replicas[0].api();
    let own = api.open_conversation(CARLA, DAVID).await;
    api.send(own, DAVID, "the end").await;
    for socket in &mut outsiders {
        let frames = socket.before_message("the end").await;
        assert_eq!(frames.len(), 1, "only her own conversation: {frames:?}");
    }
}

/// The types of the frames that were seen.
async fn play(stage: &Stage, feature: Feature, way: Way, people: [Uuid; 2]) -> BTreeSet<String> {
    let mut scene = Scene::set(stage, feature, way, people).await;
    let what = format!("{feature:?} by {way:?}");
    let outcome = feature.outcome();
    let mut live = scene.act().await;
    if feature.is_told_once() {
        scene.act_again().await;
    }
    for replica in &stage.replicas {
        assert_eq!(scene.state(replica).await, outcome.state, "{what}");
    }
    let seen = scene.until_the_end().await;
    let mut types = BTreeSet::new();
    for (person, expected) in [outcome.to_alice, outcome.to_boris].into_iter().enumerate() {
        for replica in 0..2 {
            let frames = &mut live[person][replica];
            frames.extend(seen[person][replica].iter().cloned());
            let gists: Vec<String> = frames.iter().map(|frame| scene.gist(frame)).collect();
            assert_eq!(
                gists, expected,
                "{what}: person {person} on replica {replica}"
            );
            types.extend(
                frames
                    .iter()
                    .filter_map(|frame| frame["type"].as_str().map(str::to_owned)),
            );
        }
    }
    for person in 0..2 {
        for replica in &stage.replicas {
            let gists = scene.resumed(person, replica).await;
            assert_eq!(gists, outcome.resumed, "{what}: person {person} comes back");
        }
    }
    types
}

impl<'a> Scene<'a> {
    async fn set(stage: &'a Stage, feature: Feature, way: Way, people: [Uuid; 2]) -> Self {
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
    async fn act(&mut self) -> [[Vec<Value>; 2]; 2] {
        let mut live = [[vec![], vec![]], [vec![], vec![]]];
        match self.feature {
            Feature::Type => {
                for is_typing in [true, false] {
                    let data = json!({"conversationId": self.conversation, "isTyping": is_typing});
                    self.sockets[0][0].send_command("typing", data).await;
                    self.collect("typing", &mut live[1]).await;
                }
            }
            Feature::ShowPresence => {
                let [alice, boris] = self.people;
                self.until_there(true).await;
                for socket in &mut self.sockets[1] {
                    let data = json!({"userIds": [alice]});
                    socket.send_command("watch_presence", data).await;
                }
                self.collect("presence", &mut live[1]).await;
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
            _ => self.act_again().await,
        }
        live
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
    async fn act_again(&mut self) {
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

    async fn state(&self, replica: &Replica) -> State {
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
    async fn until_the_end(&mut self) -> [[Vec<Value>; 2]; 2] {
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
    async fn resumed(&self, person: usize, replica: &Replica) -> Vec<String> {
        let mut socket = Socket::resume(replica, self.people[person], &self.cursors[person]).await;
        assert_eq!(socket.connected["data"]["resumed"], true);
        // An answer comes after the replay, whatever that held.
        socket.send_command("ping", json!({})).await;
        let frames = socket.arrived();
        let is_last = |frame: &&Value| frame["data"]["content"] == "the end";
        assert_eq!(frames.iter().filter(is_last).count(), 1, "{frames:?}");
        let rest = frames.iter().filter(|frame| !is_last(frame));
        rest.map(|frame| self.gist(frame)).collect()
    }

    /// A frame in words.
    fn gist(&self, frame: &Value) -> String {
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

/// A route, command or frame that the service's own documents name is a cell of the table.
#[tokio::test]
async fn no_way_to_write_is_left_out_of_the_table() {
    let openapi = pgchat::http::docs::openapi::document(pgchat::config::AuthMode::Trusted);
    let mut routes = BTreeSet::new();
    for (path, item) in openapi["paths"].as_object().expect("paths") {
        for method in ["post", "put", "patch", "delete"] {
            if !item[method].is_null() && path.starts_with("/api/v1/chat/") {
                routes.insert(format!("{} {path}", method.to_uppercase()));
            }
        }
    }
    assert_eq!(column(Way::Http), routes);

    let asyncapi = pgchat::http::docs::asyncapi::document(pgchat::config::AuthMode::Trusted);
    let messages = asyncapi["components"]["messages"].as_object();
    let named = |prefix: &str, about_the_connection: &[&str]| -> BTreeSet<String> {
        messages
            .expect("messages")
            .keys()
            .filter_map(|name| name.strip_prefix(prefix))
            .filter(|name| !about_the_connection.contains(name))
            .map(str::to_owned)
            .collect()
    };
    assert_eq!(
        column(Way::Socket),
        named("client.", &["authenticate", "ping"])
    );
    let about_the_connection = [
        "connected",
        "ack",
        "error",
        "resync_required",
        "token_expiring",
        "server_closing",
    ];
    let frames: BTreeSet<String> = FEATURES
        .iter()
        .map(|feature| feature.frame().to_owned())
        .collect();
    assert_eq!(frames, named("server.", &about_the_connection));
}

fn column(way: Way) -> BTreeSet<String> {
    let ways = FEATURES.iter().filter_map(|feature| feature.by(way));
    ways.map(str::to_owned).collect()
}

#[test]
fn the_document_of_the_features_shows_the_table() {
    let mut table = String::from(
        "| | HTTP | socket | SQL | frame | for a client that was away |\n| --- | --- | --- | --- | --- | --- |\n",
    );
    for feature in FEATURES {
        let how = |ways: &[Way]| {
            let ways: Vec<String> = ways
                .iter()
                .filter_map(|way| feature.by(*way))
                .map(|how| format!("`{how}`"))
                .collect();
            if ways.is_empty() {
                "—".to_owned()
            } else {
                ways.join(", ")
            }
        };
        writeln!(
            table,
            "| {} | {} | {} | {} | `{}` | {} |",
            feature.name(),
            how(&[Way::Http]),
            how(&[Way::Socket]),
            how(&[Way::Sql, Way::Function]),
            feature.frame(),
            feature.afterwards()
        )
        .expect("a string");
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/features.md");
    let document = std::fs::read_to_string(path).expect("docs/features.md");
    assert!(
        document.contains(&table),
        "docs/features.md is to hold\n{table}"
    );
}
