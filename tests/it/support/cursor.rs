//! Where a client was, to go on from there.

use std::time::Duration;

use serde_json::{Value, json};
use uuid::Uuid;

use super::replica::Replica;
use super::socket::Socket;
use super::wait::eventually_within;

/// A transaction of another test, anywhere in the cluster, may be older than what is waited for.
const PATIENCE: Duration = Duration::from_secs(120);

/// The cursor of an event, or of a frame about the connection.
pub fn cursor_of(frame: &Value) -> String {
    frame["cursor"]
        .as_str()
        .or(frame["data"]["cursor"].as_str())
        .unwrap_or_else(|| panic!("no cursor: {frame}"))
        .to_owned()
}

/// A cursor of this replica's from beyond all that `user` was told of: who resumes with it is sent nothing. Right after
/// an event cursors are still at or below it, by as much as other transactions were open at its time.
pub async fn settled_cursor(replica: &Replica, user: Uuid) -> String {
    eventually_within(PATIENCE, "a cursor that replays nothing", || async {
        let cursor = cursor_of(&Socket::connect(replica, user).await.connected);
        let mut socket = Socket::come_back(replica, user, &cursor).await;
        socket.send_command("ping", json!({})).await;
        socket.arrived().is_empty().then_some(cursor)
    })
    .await
}
