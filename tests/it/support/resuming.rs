//! A client that comes back with a cursor.

use serde_json::Value;
use uuid::Uuid;

use super::replica::Replica;
use super::socket::Socket;

impl Socket {
    /// Comes back with the last cursor that it saw, and is to be sent all that it missed since then.
    pub async fn resume(replica: &Replica, user: Uuid, cursor: &str) -> Self {
        let mut socket = Self::come_back(replica, user, cursor).await;
        if !socket.is_resumed() {
            let next = socket.next_or_end().await;
            panic!("not resumed, but {next:?}\n{}", socket.story());
        }
        socket
    }

    /// Comes back with a cursor that is not good any more: the frame that tells it so, and from where to go on.
    pub async fn resume_refused(replica: &Replica, user: Uuid, cursor: &str) -> (Self, Value) {
        let mut socket = Self::come_back(replica, user, cursor).await;
        let next = socket.next().await;
        let is_refused = !socket.is_resumed() && next["type"] == "resync_required";
        assert!(is_refused, "{cursor} is not refused\n{}", socket.story());
        (socket, next)
    }

    /// Comes back, whatever is said to its cursor.
    pub async fn come_back(replica: &Replica, user: Uuid, cursor: &str) -> Self {
        let path = format!("/ws?user_id={user}&cursor={cursor}");
        Self::connect_to(replica, user, &path).await
    }

    /// As its first frame says.
    pub fn is_resumed(&self) -> bool {
        self.connected["data"]["resumed"] == true
    }
}
