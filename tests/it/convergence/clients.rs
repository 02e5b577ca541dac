//! Clients: one that stays, and one that comes and goes.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use rand::RngExt;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use serde_json::{Value, json};
use tokio::time::timeout;
use uuid::Uuid;

use super::shown::{Rule, Shown};
use super::{Case, Over, story};
use crate::support::*;

/// How long one that comes and goes waits for a frame, at most, in milliseconds.
const LONGEST_WAIT: u64 = 60;
/// For a frame that is still to come, when all was done long ago.
const PATIENCE: Duration = Duration::from_secs(10);

/// What somebody shows, by each rule, and the cursor that belongs to it.
#[derive(Clone)]
pub struct State {
    shown: [Shown; 2],
    cursor: Option<String>,
}

impl State {
    pub fn empty() -> Self {
        Self {
            shown: [Rule::KeepsLater, Rule::DropsRepeats].map(Shown::nothing),
            cursor: None,
        }
    }
}

/// A socket, and what is shown by it.
pub struct Client<'a> {
    case: &'a Case<'a>,
    user: Uuid,
    socket: Socket,
    pub state: State,
    /// It came with a cursor, and was away before.
    was_away: bool,
    /// On this socket, of each message, the `updatedAt` that came last.
    came: HashMap<String, String>,
    /// And the `seq` of the newest message of each conversation.
    newest: HashMap<String, i64>,
    story: Vec<String>,
}

impl<'a> Client<'a> {
    pub async fn connect(case: &'a Case<'a>, replica: usize, user: Uuid, state: State) -> Self {
        let socket = case.open(replica, user, state.cursor.as_deref()).await;
        let connected = socket.connected.clone();
        let was_away = state.cursor.is_some();
        let mut client = Self {
            case,
            user,
            socket,
            state,
            was_away,
            came: HashMap::new(),
            newest: HashMap::new(),
            story: Vec::new(),
        };
        client.apply(&connected).await;
        client
    }

    async fn next(&mut self) {
        match self.socket.next_or_end().await {
            Ok(frame) => self.apply(&frame).await,
            // Its replica was killed.
            Err(None) if self.case.has_third => self.come_back().await,
            Err(code) => panic!("closed with {code:?}\n{}", self.story()),
        }
    }

    /// To another replica, with what it shows.
    async fn come_back(&mut self) {
        let replica = usize::from(self.user.as_bytes()[15] % 2);
        let again = Self::connect(self.case, replica, self.user, self.state.clone()).await;
        let before = std::mem::replace(self, again);
        self.story.splice(0..0, before.story);
    }

    async fn apply(&mut self, frame: &Value) {
        self.story.push(told(frame));
        self.case
            .check_that_it_is_theirs(self.user, frame, &self.story);
        self.check_order(frame);
        for shown in &mut self.state.shown {
            shown.apply(frame);
        }
        let is_new = frame["type"] == "connected" && self.state.cursor.is_none();
        if is_new || frame["type"] == "resync_required" {
            let held = self.case.held(self.user).await;
            for shown in &mut self.state.shown {
                shown.reload(&held);
            }
        }
        if frame["type"] != "ack" {
            self.state.cursor = Some(cursor_of(frame));
        }
    }

    /// Of each message a later state comes after an earlier one, and each state once; new messages come in the order of their `seq`, which
    /// begins anew in a conversation that was made anew.
    fn check_order(&mut self, frame: &Value) {
        let data = &frame["data"];
        match frame["type"].as_str() {
            Some("resync_required") if self.case.conversations_go => self.newest.clear(),
            Some("conversation_created") if self.case.conversations_go => {
                self.newest.remove(data["id"].as_str().unwrap_or_default());
            }
            _ => {}
        }
        let text = |member: &str| data[member].as_str().map(str::to_owned);
        let (Some(id), Some(now), Some(conversation)) =
            (text("id"), text("updatedAt"), text("conversationId"))
        else {
            return;
        };
        if let Some(before) = self.came.insert(id, now.clone()) {
            assert!(before < now, "{before} before {frame}\n{}", self.story());
        }
        if frame["type"] == "chat_message" {
            let newest = self.newest.insert(conversation, seq_of(data));
            assert!(
                newest < Some(seq_of(data)),
                "{newest:?} before {frame}\n{}",
                self.story()
            );
        }
    }

    /// Reads until the last message of each of its conversations is shown, and what the service has for it by then.
    pub async fn read_to_the_end(&mut self) {
        for conversation in self.case.conversations(self.user) {
            while !self.state.shown[0].shows_the_end_of(conversation) {
                self.next().await;
            }
        }
        self.socket.send_command("ping", json!({})).await;
        for frame in self.socket.arrived() {
            self.apply(&frame).await;
        }
    }

    /// Read marks may still be on their way: a catch-up has them behind the messages.
    pub async fn until_it_shows_what_is_held(&mut self) {
        let held = self.case.held(self.user).await;
        // Whoever was away is not told of these.
        let left = match self.was_away || self.case.was_cut.get() {
            true => self.case.left(self.user).await,
            false => HashSet::new(),
        };
        loop {
            let shown = self.state.shown.each_ref();
            let differences = shown.map(|shown| shown.differences(&held, &left));
            if differences.iter().all(Vec::is_empty) {
                return;
            }
            if timeout(PATIENCE, self.next()).await.is_err() {
                panic!("shown, and held: {differences:#?}\n{}", self.story());
            }
        }
    }

    /// Of one that was there from the first message on.
    pub fn check_that_nothing_was_missed(&self) {
        let shown = &self.state.shown[0];
        self.case
            .check_that_nothing_was_missed(self.user, shown, &self.story);
    }

    fn story(&self) -> String {
        story(self.user, &self.story)
    }
}

/// A frame, in a line.
fn told(frame: &Value) -> String {
    let data = &frame["data"];
    let content = data["content"]
        .as_str()
        .map(|content| content.chars().take(20).collect::<String>());
    format!(
        "{} {} conversation {} seq {} up to {} {:?} read {} edited {} deleted {} updated {} cursor {}",
        frame["type"],
        data["id"],
        data["conversationId"],
        data["seq"],
        data["upToSeq"],
        content,
        data["isRead"],
        data["editedAt"],
        data["deletedAt"],
        data["updatedAt"],
        frame["cursor"]
            .as_str()
            .or(data["cursor"].as_str())
            .unwrap_or_default(),
    )
}

/// Comes and goes until all is over, with what it showed last, or showed at an earlier frame, as a page that was kept by the
/// browser, or a second device: then comes back once more.
pub async fn come_and_go<'a>(
    case: &'a Case<'a>,
    user: Uuid,
    over: &Over,
    mut random: StdRng,
) -> Client<'a> {
    let mut kept: Vec<State> = Vec::new();
    let mut story = Vec::new();
    loop {
        let is_last = over.get();
        let state = match random.random_bool(0.7) {
            true => kept.last().cloned(),
            false => kept.choose(&mut random).cloned(),
        };
        let replica = random.random_range(0..case.places());
        let state = state.unwrap_or_else(State::empty);
        let mut client = Client::connect(case, replica, user, state).await;
        client.story.splice(0..0, story);
        if is_last {
            return client;
        }
        kept.push(client.state.clone());
        for _ in 0..random.random_range(0..20) {
            let patience = Duration::from_millis(random.random_range(1..LONGEST_WAIT));
            if timeout(patience, client.next()).await.is_err() {
                break;
            }
            kept.push(client.state.clone());
        }
        story = client.story;
    }
}
