//! One user types on two replicas at once.

use super::typing::{sees, typing_among};
use crate::support::*;

/// Both replicas tell of it, and a socket is shown what one of them tells.
#[tokio::test]
async fn who_types_on_two_replicas_is_shown_once_in_an_interval() {
    const FRAMES: usize = 5;
    let database = Database::fresh().await;
    let conversation = database.conversation(ALICE, BORIS).await;
    // It does not end by itself where a renewal is late.
    let [here, there] = Replica::start_many(&database, &[("TYPING_SECONDS", "60")]).await;
    let mut alice = [
        Socket::connect(&here, ALICE).await,
        Socket::connect(&there, ALICE).await,
    ];
    let mut boris = [
        Socket::connect(&here, BORIS).await,
        Socket::connect(&there, BORIS).await,
    ];

    let started = std::time::Instant::now();
    for _ in 0..FRAMES {
        for socket in &mut alice {
            socket.types(conversation, true).await;
        }
        for socket in &mut boris {
            sees(socket, conversation, ALICE, true).await;
        }
    }
    here.api().send(conversation, BORIS, "last").await;
    for socket in &mut boris {
        let rest = socket.before_message("last").await;
        let shown = FRAMES + typing_among(&rest).len();
        let intervals = started.elapsed().as_secs() as usize / 2;
        assert!(
            shown <= intervals + 2,
            "{shown} frames in {intervals} intervals"
        );
    }
}
