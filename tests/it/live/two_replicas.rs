//! One user types on two replicas at once.

use serde_json::{Value, json};
use uuid::Uuid;

use super::typing::{sees, types, typing_among};
use crate::support::*;

/// Between two notifications, in microseconds, and what a replica waits longer after another one's notification.
const INTERVAL: i64 = 2_000_000;
const YIELD: i64 = 250_000;

/// A notification that somebody types: the replica that sent it, and when.
#[derive(Debug)]
struct Told {
    from: Value,
    at: i64,
}

/// The other participant's socket at one replica, and when it was shown each frame.
struct Device {
    replica: Value,
    socket: Socket,
    shown: Vec<i64>,
}

impl Device {
    async fn at(replica: &Replica, user: Uuid) -> Self {
        let socket = Socket::connect(replica, user).await;
        Self {
            replica: socket.connected["data"]["replicaId"].clone(),
            socket,
            shown: Vec::new(),
        }
    }

    async fn sees(&mut self, conversation: Uuid, typist: Uuid) {
        sees(&mut self.socket, conversation, typist, true).await;
        self.shown.push(chrono::Utc::now().timestamp_micros());
    }

    /// Until when its replica had certainly heard of this.
    fn heard(&self, told: &Told) -> i64 {
        let after = self.shown.iter().copied().find(|shown| *shown >= told.at);
        after.unwrap_or(i64::MAX)
    }
}

/// The interval is the user's, not the replica's. Where the database is slow, a replica may not have heard of the other's notification
/// when its own turn comes; then both tell, and the sockets are shown one all the same.
#[tokio::test]
async fn a_user_who_types_on_two_replicas_makes_one_notification_an_interval() {
    const FRAMES: usize = 5;
    let database = Database::fresh().await;
    let conversation = database.conversation(ALICE, BORIS).await;
    // It does not end by itself where a renewal is late.
    let [here, there] = Replica::start_many(&database, &[("TYPING_SECONDS", "60")]).await;
    let mut notifications = database.listen("chat_events").await;
    let mut alice = [
        Socket::connect(&here, ALICE).await,
        Socket::connect(&there, ALICE).await,
    ];
    let mut boris = [
        Device::at(&here, BORIS).await,
        Device::at(&there, BORIS).await,
    ];

    let started = std::time::Instant::now();
    for frame in 0..FRAMES {
        // The first time only here: it is heard there before anybody types there.
        let typing = if frame == 0 { 1 } else { 2 };
        for socket in &mut alice[..typing] {
            types(socket, conversation, true).await;
        }
        let [here, there] = &mut boris;
        tokio::join!(
            here.sees(conversation, ALICE),
            there.sees(conversation, ALICE)
        );
    }
    here.api().send(conversation, BORIS, "last").await;
    for device in &mut boris {
        let rest = device.socket.before_message("last").await;
        let shown = FRAMES + typing_among(&rest).len();
        let intervals = started.elapsed().as_secs() as usize / 2;
        assert!(
            shown <= intervals + 2,
            "{shown} frames in {intervals} intervals"
        );
    }

    let mut told = Vec::new();
    for payload in notifications.before("\"content\":\"last\"").await {
        let payload: Value = serde_json::from_str(&payload).expect("JSON");
        if let Some(typing) = payload.get("typing") {
            let one = json!([{"conversationId": conversation, "userId": ALICE, "to": BORIS, "isTyping": true}]);
            assert_eq!(*typing, one);
            told.push(Told {
                from: payload["from"].clone(),
                at: payload["atMicros"].as_i64().expect("a time"),
            });
        }
    }
    assert!(told.len() >= FRAMES, "{told:?}");
    for place in 1..told.len() {
        let (first, second) = (&told[place - 1], &told[place]);
        if second.from == first.from || second.at - first.at >= INTERVAL {
            continue;
        }
        let second_at = boris.iter().find(|device| device.replica == second.from);
        let heard = second_at.expect("one of the two").heard(first);
        // Its own turn came no sooner than this, by the notification before.
        let turn = match place.checked_sub(2).map(|before| &told[before]) {
            None => i64::MAX,
            Some(before) if before.from == first.from => before.at + INTERVAL + YIELD,
            // It was its own, and it is late itself.
            Some(_) => continue,
        };
        assert!(
            heard > turn,
            "{place}: it was heard at {heard}, for the turn at {turn}: {told:?}"
        );
    }
}
