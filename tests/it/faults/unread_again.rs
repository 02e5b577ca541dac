//! What another program has marked as unread again stays so for whoever was away.

use std::collections::BTreeSet;

use serde_json::Value;

use super::cut_off::CutOff;
use super::*;

/// The mark of three messages, of which one is unread again.
const CHANGES: [&str; 2] = [
    "update messages set is_read = true",
    "update messages set is_read = false where seq = 1",
];

/// The messages that are unread to a client that is told this, to which three were.
fn unread_after(frames: &[Value]) -> BTreeSet<i64> {
    let mut unread = BTreeSet::from([1, 2, 3]);
    for frame in frames {
        let data = &frame["data"];
        if let Some(read) = data["upToSeq"].as_i64() {
            unread.retain(|seq| *seq > read);
        } else if let Some(seq) = data["seq"].as_i64() {
            match data["isRead"] == true {
                true => unread.remove(&seq),
                false => unread.insert(seq),
            };
        }
    }
    unread
}

/// With three messages, all of which Boris has been told of.
async fn stage() -> CutOff {
    let mut stage = CutOff::set(&[]).await;
    for content in ["and", "again"] {
        stage.send(content).await;
        stage.boris.before_message(content).await;
    }
    stage
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_comes_back_knows_what_is_unread_again() {
    let stage = stage().await;
    let fresh = Socket::connect(&stage.replica, BORIS).await;
    let cursor = cursor_of(&fresh.connected);
    for change in CHANGES {
        stage.database.execute(change).await;
    }
    let mut back = Socket::resume(&stage.replica, BORIS, &cursor).await;
    stage.send("last").await;
    let frames = back.before_message("last").await;
    assert_eq!(unread_after(&frames), [1].into(), "{frames:#?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_listener_that_catches_up_tells_what_is_unread_again() {
    let mut stage = stage().await;
    stage.cut().await;
    for change in CHANGES {
        stage.database.execute(change).await;
    }
    stage.comes_back().await;
    stage.send("last").await;
    let frames = stage.boris.before_message("last").await;
    assert_eq!(unread_after(&frames), [1].into(), "{frames:#?}");
}
