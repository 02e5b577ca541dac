//! What callers do over HTTP.

use rand::RngExt;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use uuid::Uuid;

use super::{Case, Place, length, pause};
use crate::support::*;

const CALLS: usize = 14;

pub async fn run(case: &Case<'_>, mut random: StdRng) {
    for _ in 0..CALLS {
        call(case, &mut random).await;
        pause(&mut random, 4).await;
    }
}

async fn call(case: &Case<'_>, random: &mut StdRng) {
    let Place {
        conversation,
        users,
    } = case.place(random);
    let me = *users.choose(random).expect("two");
    let api = case.api(random);
    let content = format!("word {} ", random.random_range(0..1000));
    let content = content.repeat(length(random));
    match random.random_range(0..12) {
        0..=4 => {
            let reply = api.try_send(conversation, me, &content).await;
            assert!(is_answer(case, reply.status, &[201]), "{reply:?}");
        }
        5 => {
            let name = Uuid::from_u128(random.random()).to_string();
            let first = api.send_once(conversation, me, &content, &name).await;
            assert!(is_answer(case, first.status, &[201]), "{first:?}");
            let again = case
                .api(random)
                .send_once(conversation, me, &content, &name)
                .await;
            // Somebody may have deleted it outright meanwhile: then it is new.
            assert!(is_answer(case, again.status, &[200, 201]), "{again:?}");
        }
        6 | 7 => {
            if let Some(mine) = a_message(case, conversation, me, random).await {
                let reply = api.edit(mine, me, &content).await;
                assert!(matches!(reply.status, 200 | 404), "{reply:?}");
            }
        }
        8 => {
            if let Some(mine) = a_message(case, conversation, me, random).await {
                let reply = api.delete_message(mine, me).await;
                assert!(matches!(reply.status, 204 | 404), "{reply:?}");
            }
        }
        9 => drop(api.mark_read(conversation, me).await.ok(200)),
        _ => {
            let up_to = random.random_range(1..30);
            let path = format!(
                "/api/v1/chat/conversations/{conversation}/read?user_id={me}&up_to_seq={up_to}"
            );
            api.put(&path).await.ok(200);
        }
    }
}

/// Whoever sends to a conversation while it is made anew may find none.
fn is_answer(case: &Case<'_>, status: u16, expected: &[u16]) -> bool {
    expected.contains(&status) || (case.conversations_go && status == 404)
}

async fn a_message(
    case: &Case<'_>,
    conversation: Uuid,
    sender: Uuid,
    random: &mut StdRng,
) -> Option<Uuid> {
    let from = random.random_range(0..30_i64);
    let query = format!("after={from}&limit=10");
    let page = case
        .api(random)
        .messages(conversation, &query)
        .await
        .ok(200);
    let messages = page["messages"].as_array().expect("messages");
    let mut mine = messages
        .iter()
        .filter(|message| uuid_in(message, "senderId") == sender);
    mine.next().map(id_of)
}
