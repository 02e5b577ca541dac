//! What another program has marked as unread again stays so for whoever was away.

mod at_once;

use std::collections::{BTreeSet, HashSet};

use futures_util::future::join;
use serde_json::Value;

use super::cut_off::CutOff;
use super::*;

/// What a client shows that goes by its frames: three messages that were unread when it came.
struct Shown {
    unread: BTreeSet<i64>,
    /// Each message in each state, by which it recognises repeats.
    told: HashSet<(String, String)>,
}

impl Shown {
    fn new() -> Self {
        Self {
            unread: [1, 2, 3].into(),
            told: HashSet::new(),
        }
    }

    fn tell(&mut self, frames: &[Value]) {
        for frame in frames {
            let data = &frame["data"];
            if let Some(read) = data["upToSeq"].as_i64() {
                self.unread.retain(|seq| *seq > read);
            }
            let (Some(seq), Some(id)) = (data["seq"].as_i64(), data["id"].as_str()) else {
                continue;
            };
            let state = (id.to_owned(), data["updatedAt"].to_string());
            if self.told.insert(state) {
                match data["isRead"] == true {
                    true => self.unread.remove(&seq),
                    false => self.unread.insert(seq),
                };
            }
        }
    }
}

/// With three messages, all of which Boris has been told of.
async fn stage() -> CutOff {
    stage_with(&[]).await
}

async fn stage_with(settings: &[(&str, &str)]) -> CutOff {
    let mut stage = CutOff::set(settings).await;
    for content in ["and", "again"] {
        stage.send(content).await;
        stage.boris.before_message(content).await;
    }
    stage
}

const MARK: &str = "update messages set is_read = true";
const TAKE_BACK: &str = "update messages set is_read = false where seq = 1";

/// As one that came from elsewhere: it was never marked here.
const READ_BEFORE: &str =
    "set session_replication_role = replica; update messages set is_read = true where seq = 1";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_comes_back_knows_what_is_unread_again() {
    for before in ["", READ_BEFORE] {
        let stage = stage().await;
        stage.database.execute(before).await;
        let mut here = Socket::connect(&stage.replica, BORIS).await;
        let cursor = cursor_of(&here.connected);
        let (mut away, mut both) = (Shown::new(), Shown::new());
        // In one transaction, so that who was told of the mark only is told of all again.
        let changes = format!("begin; {MARK}; {TAKE_BACK}; commit");
        stage.database.execute(&changes).await;
        stage.send("seen").await;
        both.tell(&here.before_message("seen").await);

        let mut back = Socket::resume(&stage.replica, BORIS, &cursor).await;
        stage.send("last").await;
        let frames = back.before_message("last").await;
        for shown in [&mut away, &mut both] {
            shown.tell(&frames);
            shown.unread.retain(|seq| *seq <= 3);
            assert_eq!(shown.unread, [1].into(), "{frames:#?}");
        }
    }
}

/// Its transaction is older than that of the mark: the cursor is between the two, and the replay tells of the mark only.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_comes_back_is_not_told_once_more_that_it_read_what_it_knows_to_be_unread() {
    let stage = stage().await;
    let earlier = stage.database.holding("").await;
    let number = "select pg_current_xact_id()::text";
    let number = earlier.query_one(number, &[]).await.expect("its number");
    let number: u64 = number.get::<_, String>(0).parse().expect("a number");
    let _stranger = stage.database.holding("select pg_current_xact_id()").await;
    stage.database.execute(MARK).await;
    let take_back = format!("{TAKE_BACK}; commit");
    earlier.batch_execute(&take_back).await.expect("its end");
    let cursor = eventually("a cursor between the two", || async {
        let cursor = cursor_of(&Socket::connect(&stage.replica, BORIS).await.connected);
        let horizon = cursor.rsplit('.').next().unwrap_or_default();
        let horizon = u64::from_str_radix(horizon, 16).expect("a number");
        (horizon > number).then_some(cursor)
    })
    .await;
    let mut back = Socket::resume(&stage.replica, BORIS, &cursor).await;
    stage.send("last").await;
    let frames = back.before_message("last").await;
    let mut shown = Shown::new();
    shown.tell(&frames);
    assert_eq!(shown.unread, [1].into(), "{frames:#?}");
}

/// The mark that covers it comes once more, when the listener has come to it: no news to whom the replay has told what came of it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_comes_back_ahead_of_the_listener_knows_what_is_unread_again() {
    let stage = stage().await;
    let cursor = cursor_of(&Socket::connect(&stage.replica, BORIS).await.connected);
    stage.cut().await;
    stage.database.execute(MARK).await;
    stage.database.execute(TAKE_BACK).await;
    let mut back = Socket::resume(&stage.replica, BORIS, &cursor).await;
    stage.comes_back().await;
    stage.send("last").await;
    let frames = back.before_message("last").await;
    let mut shown = Shown::new();
    shown.tell(&frames);
    assert_eq!(shown.unread, [1].into(), "{frames:#?}");
}

/// The notifications of both wait behind the catch-up.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_unread_again_while_a_listener_catches_up_stays_unread() {
    // Longer than the test: nothing but the test is to end what the listener waits for.
    let mut stage = stage_with(&[("DB_TIMEOUT_SECONDS", "300")]).await;
    let gate = stage.gate_catch_ups(false).await;
    kill_listeners(&stage.database).await;
    until_a_lock_is_waited_for(&stage.database, "the listener asks how much it missed").await;
    stage.database.execute(MARK).await;
    stage
        .database
        .execute("update messages set is_read = false")
        .await;
    gate.batch_execute("commit").await.expect("its end");
    until_healthy(&stage.replica).await;
    stage.send("last").await;
    let frames = stage.boris.before_message("last").await;
    let mut shown = Shown::new();
    shown.tell(&frames);
    assert_eq!(shown.unread, [1, 2, 3].into(), "{frames:#?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_listener_that_catches_up_tells_what_is_unread_again() {
    for before in ["", READ_BEFORE] {
        let mut stage = stage().await;
        stage.database.execute(before).await;
        stage.cut().await;
        stage.database.execute(MARK).await;
        stage.database.execute(TAKE_BACK).await;
        stage.comes_back().await;
        stage.send("last").await;
        let frames = stage.boris.before_message("last").await;
        let mut shown = Shown::new();
        shown.tell(&frames);
        assert_eq!(shown.unread, [1].into(), "{frames:#?}");
    }
}

/// Too long for a notification, it is read back as it is by then; the mark that covers it comes behind that.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_huge_message_that_was_marked_and_is_unread_again_when_it_is_read_back_stays_unread() {
    let mut stage = stage().await;
    let conversation = stage.conversation;
    let huge = format!(
        "insert into messages (conversation_id, sender_id, content) values ('{conversation}', '{ALICE}', repeat('x', 9000))"
    );
    let take_back = "update messages set is_read = false where seq = 4";
    let changes = format!("begin; {huge}; {MARK}; {take_back}; commit");
    stage.database.execute(&changes).await;
    stage.send("last").await;
    let frames = stage.boris.before_message("last").await;
    let mut shown = Shown::new();
    shown.tell(&frames);
    let frames: Vec<String> = frames
        .iter()
        .map(|frame| frame.to_string().chars().take(200).collect())
        .collect();
    assert_eq!(shown.unread, [4].into(), "{frames:#?}");
}

/// As for who goes by the frames, so in the table.
async fn assert_unread(stage: &mut CutOff, seq: i64) {
    stage.send("last").await;
    let frames = stage.boris.before_message("last").await;
    let mut shown = Shown::new();
    shown.tell(&frames);
    assert_eq!(shown.unread, [seq].into(), "{frames:#?}");
    let unread = format!("messages where seq = {seq} and not is_read");
    assert_eq!(stage.database.count(&unread).await, 1);
}
