//! What a user does: sends, by WebSocket and by HTTP, until it is acknowledged; reads; marks as read.

use std::sync::Arc;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::{Value, json};
use tokio::sync::oneshot;
use tokio::task::{JoinError, JoinSet};
use tokio::time::{Instant, sleep, sleep_until, timeout};

use crate::api::{Miss, Page};
use crate::checker::{Kind, State, Violation};
use crate::client::{About, Request, UNSENT};
use crate::content;
use crate::model::*;
use crate::typing;
use crate::world::World;

/// Messages of one user under way at once; more wait for their turn.
const IN_FLIGHT: usize = 16;
/// How long one attempt may take, at random: the short ones make repeats that meet their first.
pub const PATIENCE: std::ops::Range<Duration> =
    Duration::from_millis(1_000)..Duration::from_secs(6);
/// Full jitter between attempts, doubled from attempt to attempt.
const FIRST_BACKOFF: Duration = Duration::from_millis(50);
const LONGEST_BACKOFF: Duration = Duration::from_secs(1);
/// How often a user who sends marks a conversation as read, and reads a page of one.
const MARKS_READ: f64 = 0.15;
const READS_PAGE: f64 = 0.03;
/// How often they edit or delete one of their latest messages, and search for one.
const CHANGES: f64 = 0.1;
const SEARCHES: f64 = 0.03;
/// How often they type before they send, and go on typing in another conversation until the other is shown it.
const TYPES: f64 = 0.3;
const INSISTS: f64 = 0.01;

/// Until all that was begun is acknowledged, after the stage `quiet`. Who goes on typing then comes back.
pub async fn run(world: Arc<World>, client: ClientIx) -> JoinSet<()> {
    let mut rng = StdRng::seed_from_u64(world.settings.seed ^ (u64::from(client) << 48));
    let mut tasks: JoinSet<()> = JoinSet::new();
    let mut insisting: JoinSet<()> = JoinSet::new();
    let stages = &world.stages;
    let pace = world.settings.clients as f64 / world.settings.rate;
    let mut next = Instant::now() + spread(&mut rng, pace);
    while !stages.quiet.is_cancelled() {
        tokio::select! {
            () = stages.quiet.cancelled() => {}
            Some(done) = tasks.join_next() => pass_on(done),
            Some(done) = insisting.join_next() => pass_on(done),
            () = sleep_until(next) => {
                next += spread(&mut rng, pace);
                if tasks.len() >= IN_FLIGHT {
                    world.count("sends held back");
                    continue;
                }
                act(&world, client, &mut rng, &mut tasks, &mut insisting);
            }
        }
    }
    while let Some(done) = tasks.join_next().await {
        pass_on(done);
    }
    insisting
}

/// A Poisson stream: exponential gaps with this mean, in seconds.
fn spread(rng: &mut StdRng, mean: f64) -> Duration {
    let uniform: f64 = rng.random_range(f64::MIN_POSITIVE..1.0);
    Duration::from_secs_f64((-uniform.ln() * mean).min(600.0))
}

fn pass_on(done: Result<(), JoinError>) {
    if let Err(error) = done
        && error.is_panic()
    {
        std::panic::resume_unwind(error.into_panic());
    }
}

fn act(
    world: &Arc<World>,
    client: ClientIx,
    rng: &mut StdRng,
    tasks: &mut JoinSet<()>,
    insisting: &mut JoinSet<()>,
) {
    let conversations = &world.clients[usize::from(client)].conversations;
    let conversation = conversations[rng.random_range(0..conversations.len())];
    let seed = rng.random();
    tasks.spawn(deliver(world.clone(), client, conversation, seed));
    let other = conversations[rng.random_range(0..conversations.len())];
    if rng.random_bool(TYPES) {
        tasks.spawn(typing::types(
            world.clone(),
            client,
            conversation,
            rng.random(),
        ));
    }
    if rng.random_bool(INSISTS) && insisting.is_empty() {
        insisting.spawn(typing::insists(world.clone(), client, other));
    }
    if rng.random_bool(MARKS_READ) {
        tasks.spawn(mark_read(world.clone(), client, other, rng.random()));
    }
    if rng.random_bool(READS_PAGE) {
        tasks.spawn(read_page(world.clone(), client, other, rng.random()));
    }
    if rng.random_bool(CHANGES) {
        tasks.spawn(change(world.clone(), client, rng.random()));
    }
    if rng.random_bool(SEARCHES) {
        tasks.spawn(search(world.clone(), client, rng.random()));
    }
}

/// Sends one message with the same `clientMessageId` until it is acknowledged.
async fn deliver(world: Arc<World>, client: ClientIx, conversation: ConversationIx, seed: u64) {
    let mut rng = StdRng::seed_from_u64(seed);
    let mut via = either(&mut rng);
    let key = world
        .checker()
        .register(client, conversation, via, world.clock.now());
    let body = json!({
        "conversationId": world.conversations[usize::from(conversation)].id,
        "senderId": world.users[usize::from(client)],
        "content": content::make(world.settings.seed, key),
        "clientMessageId": client_message_id(world.settings.seed, key),
    });
    for attempt in 0_u32.. {
        let patience = rng.random_range(PATIENCE);
        let miss = match via {
            Via::Http => by_http(&world, key, &body, attempt, patience).await,
            _ => {
                let about = About::Message(key);
                let ask = (conversation, about);
                by_socket(&world, client, "send_message", &body, ask, patience).await
            }
        };
        let wait = match miss {
            Ok(()) => return,
            Err(Miss::Retry(note)) => {
                world.count(&format!("send by {}: {note}", via.name()));
                let now = world.clock.now();
                world.checker().attempt(key, via, 0, &note, now);
                let bound = FIRST_BACKOFF * 2_u32.saturating_pow(attempt.min(10));
                rng.random_range(Duration::ZERO..=bound.min(LONGEST_BACKOFF))
            }
            Err(Miss::Refused(text)) => {
                let now = world.clock.now();
                world.checker().attempt(key, via, 0, &text, now);
                world.refused(client, Some(key), format!("{}: {text}", via.name()));
                LONGEST_BACKOFF
            }
        };
        let pause = world.stages.stop.run_until_cancelled(sleep(wait)).await;
        if pause.is_none() {
            return;
        }
        via = either(&mut rng);
    }
}

fn either(rng: &mut StdRng) -> Via {
    if rng.random() {
        Via::WebSocket
    } else {
        Via::Http
    }
}

async fn by_http(
    world: &World,
    key: Key,
    body: &Value,
    attempt: u32,
    patience: Duration,
) -> Result<(), Miss> {
    let id = format!("soak-{key}-{attempt}");
    let now = world.clock.now();
    world
        .checker()
        .attempt(key, Via::Http, 0, "POST messages", now);
    let (status, view) = world.api.send_message(body, &id, patience).await?;
    let now = world.clock.now();
    let note = status.to_string();
    world
        .checker()
        .acknowledged(key, &view, Via::Http, 0, &note, now);
    Ok(())
}

/// The session tells the checker of the answer, also of one that comes too late for us.
pub async fn by_socket(
    world: &World,
    client: ClientIx,
    kind: &'static str,
    data: &Value,
    (conversation, about): (ConversationIx, About),
    patience: Duration,
) -> Result<(), Miss> {
    let (reply, answer) = oneshot::channel();
    let request = Request {
        kind,
        data: data.clone(),
        conversation,
        about,
        reply,
    };
    let requests = &world.clients[usize::from(client)].requests;
    let asking = async {
        if requests.send(request).await.is_err() {
            return Err(Miss::Retry(UNSENT.to_owned()));
        }
        answer
            .await
            .unwrap_or_else(|_| Err(Miss::Retry("socket lost".to_owned())))
    };
    timeout(patience, asking)
        .await
        .unwrap_or_else(|_| Err(Miss::Retry("no answer in time".to_owned())))
}

/// Up to what has been seen; tried once, as a user would.
async fn mark_read(world: Arc<World>, client: ClientIx, conversation: ConversationIx, seed: u64) {
    let mut rng = StdRng::seed_from_u64(seed);
    let up_to = {
        let mut checker = world.checker();
        let (up_to, _) = checker.seen_up_to(client, conversation);
        checker.read_asked(client, conversation, up_to);
        up_to
    };
    if up_to == 0 {
        return;
    }
    let id = world.conversations[usize::from(conversation)].id;
    let user = world.users[usize::from(client)];
    let done = if rng.random() {
        let data = json!({"conversationId": id, "upToSeq": up_to});
        let ask = (conversation, About::Read { up_to });
        by_socket(&world, client, "mark_read", &data, ask, PATIENCE.end).await
    } else {
        let marked = world.api.mark_read(id, user, up_to).await;
        marked.map(|read_seq| {
            let now = world.clock.now();
            world
                .checker()
                .read_acknowledged(client, conversation, up_to, read_seq, now);
        })
    };
    match done {
        Ok(()) => {}
        Err(Miss::Retry(note)) => world.count(&format!("mark read: {note}")),
        Err(Miss::Refused(text)) => world.refused(client, None, format!("mark read: {text}")),
    }
}

/// Edits or deletes one of the latest messages; tried once, as a user would.
async fn change(world: Arc<World>, client: ClientIx, seed: u64) {
    let mut rng = StdRng::seed_from_u64(seed);
    let (key, to, conversation, id) = {
        let mut checker = world.checker();
        let Some((key, to)) = checker.begin_change(client, rng.random_range(0..1_000)) else {
            return;
        };
        let (conversation, id) = checker.place_of(key);
        (key, to, conversation, id)
    };
    let Some(id) = id else { return };
    let user = world.users[usize::from(client)];
    let content = content::edited(world.settings.seed, key);
    let (kind, data) = match to {
        State::Deleted => ("delete_message", json!({"messageId": id})),
        _ => ("edit_message", json!({"messageId": id, "content": content})),
    };
    let now = world.clock.now();
    world.checker().attempt(key, Via::Http, 0, kind, now);
    let done = if rng.random() {
        let ask = (conversation, About::Change { key, to });
        by_socket(&world, client, kind, &data, ask, PATIENCE.end).await
    } else {
        let answer = match to {
            State::Deleted => world.api.delete(id, user).await.map(|()| None),
            _ => world.api.edit(id, user, &content).await.map(Some),
        };
        answer.map(|view| {
            let now = world.clock.now();
            world.checker().changed(key, to, view.as_ref(), now);
        })
    };
    let unsent = matches!(&done, Err(Miss::Retry(note)) if note == UNSENT);
    let note = match done {
        Ok(()) => {
            world.count(&format!("{kind}: acknowledged"));
            format!("{kind} acknowledged")
        }
        Err(Miss::Retry(note)) => {
            world.count(&format!("{kind}: {note}"));
            format!("{kind}: {note}")
        }
        Err(Miss::Refused(text)) => {
            world.refused(client, Some(key), format!("{kind}: {text}"));
            format!("{kind}: {text}")
        }
    };
    let now = world.clock.now();
    let mut checker = world.checker();
    checker.attempt(key, Via::Http, 0, &note, now);
    if unsent {
        checker.change_unsent(key);
    }
    checker.end_change(key);
}

/// Searches for the number of one of the latest messages, in its conversation or in all of theirs.
async fn search(world: Arc<World>, client: ClientIx, seed: u64) {
    let mut rng = StdRng::seed_from_u64(seed);
    let (key, conversation, before) = {
        let checker = world.checker();
        let Some(key) = checker.searchable(client, rng.random_range(0..1_000)) else {
            return;
        };
        (key, checker.place_of(key).0, checker.states(key))
    };
    let within = rng
        .random::<bool>()
        .then(|| world.conversations[usize::from(conversation)].id);
    let user = world.users[usize::from(client)];
    match world.api.search(user, within, &key.to_string()).await {
        Ok(page) => {
            let now = world.clock.now();
            let mut checker = world.checker();
            checker.searched(client, key, before, &page.messages, now);
            drop(checker);
            world.count("search: answered");
        }
        Err(Miss::Retry(note)) => world.count(&format!("search: {note}")),
        Err(Miss::Refused(text)) => world.refused(client, Some(key), format!("search: {text}")),
    }
}

/// One page of a conversation; it must be right, but does not count as delivered.
async fn read_page(world: Arc<World>, client: ClientIx, conversation: ConversationIx, seed: u64) {
    let mut rng = StdRng::seed_from_u64(seed);
    let (seen, _) = world.checker().seen_up_to(client, conversation);
    let page = match rng.random_range(0..3) {
        0 => Page::Newest,
        1 => Page::Before(seen.max(1)),
        _ => Page::After(seen.saturating_sub(30)),
    };
    let newest_first = !matches!(page, Page::After(_));
    let id = world.conversations[usize::from(conversation)].id;
    let page = match world.api.messages(id, page, rng.random_range(1..=50)).await {
        Ok(page) => page,
        Err(Miss::Retry(note)) => return world.count(&format!("page: {note}")),
        Err(Miss::Refused(text)) => return world.refused(client, None, format!("page: {text}")),
    };
    let mut seqs: Vec<i64> = page.messages.iter().map(|view| view.seq).collect();
    if newest_first {
        seqs.reverse();
    }
    let now = world.clock.now();
    let mut checker = world.checker();
    let whole = |pair: &[i64]| checker.follows(conversation, pair[0], pair[1]);
    if !seqs.windows(2).all(whole) {
        let text = format!("page with seq {seqs:?}");
        checker.violate(Violation::new(Kind::Refused, now, text).client(client));
    }
    for view in &page.messages {
        checker.read_by_the_way(client, view, now);
    }
}
