//! What a user does before they write: they type, and say so.

use std::sync::Arc;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::json;
use tokio::time::sleep;

use crate::api::Miss;
use crate::checker::{Insistence, Kind, Typed, Violation};
use crate::client::About;
use crate::model::*;
use crate::sender::{PATIENCE, by_socket};
use crate::world::World;

/// How long a user types, and how often nothing comes of it.
const TYPING: std::ops::Range<Duration> = Duration::from_millis(200)..Duration::from_secs(4);
const THINKS_BETTER: f64 = 0.3;
/// How often one who goes on typing says so again.
const RENEWS: Duration = Duration::from_secs(1);

/// Says to type, and perhaps after a while to have stopped; tried once, as a user would. The message that is sent at the
/// same time comes in between, or before, or after.
pub async fn types(world: Arc<World>, client: ClientIx, conversation: ConversationIx, seed: u64) {
    let mut rng = StdRng::seed_from_u64(seed);
    let mut states = vec![true];
    if rng.random_bool(THINKS_BETTER) {
        states.push(false);
    }
    for is_typing in states {
        say(&world, client, conversation, is_typing).await;
        sleep(rng.random_range(TYPING)).await;
    }
}

/// Goes on typing until the other is shown it, whatever breaks meanwhile, and then stops.
pub async fn insists(world: Arc<World>, client: ClientIx, conversation: ConversationIx) {
    let began = world.clock.now();
    let mut insistence = Insistence::begin(client, conversation, began);
    loop {
        say(&world, client, conversation, true).await;
        sleep(RENEWS).await;
        let (stage, now) = (world.stages.reached(), world.clock.now());
        let typed = world.checker().judge(&mut insistence, stage, now);
        match typed {
            Typed::Open => {}
            Typed::Shown => {
                world.count("typing: shown to the other in the end");
                break;
            }
            Typed::Unseen => {
                let text = format!(
                    "in conversation {conversation} since {}, at last with nothing in its way but what the service did",
                    seconds(began)
                );
                let violation = Violation::new(Kind::TypingUnseen, now, text);
                world.checker().violate(violation.client(client));
                break;
            }
        }
    }
    say(&world, client, conversation, false).await;
}

async fn say(world: &World, client: ClientIx, conversation: ConversationIx, is_typing: bool) {
    world.checker().types(client, conversation);
    let id = world.conversations[usize::from(conversation)].id;
    let data = json!({"conversationId": id, "isTyping": is_typing});
    let ask = (conversation, About::Typing);
    match by_socket(world, client, "typing", &data, ask, PATIENCE.end).await {
        Ok(()) => {}
        Err(Miss::Retry(note)) => world.count(&format!("typing: {note}")),
        Err(Miss::Refused(text)) => world.refused(client, None, format!("typing: {text}")),
    }
}
