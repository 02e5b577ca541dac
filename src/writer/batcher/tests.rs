use std::sync::{Arc, Mutex};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use uuid::Uuid;

use super::*;
use crate::config::Config;
use crate::limits::Reservation;
use crate::model::{ConversationId, MessageType, NewMessage, UserId};
use crate::store::Outgoing;
use crate::sync::lock;
use crate::testing;
use crate::writer::{LONG_MESSAGE, Reply, Stats};

/// Shorter than what a silent database is waited for.
const TIME: Duration = Duration::from_secs(1);

const LIMITS: WriterLimits = WriterLimits {
    queue: 10,
    batch: 1,
    timeout: Duration::from_secs(60),
};

fn batcher(vars: &[(&str, &str)]) -> (Batcher, Arc<Stats>) {
    let config = Config::from_vars(vars).unwrap();
    let services = testing::services_of(testing::hub(1), config);
    let stats = Arc::new(Stats::default());
    let storing = Storing {
        store: services.store,
        stats: Arc::clone(&stats),
        timeout: LIMITS.timeout,
    };
    (Batcher::new(storing, LIMITS, TaskTracker::new()), stats)
}

fn pending(conversation: u128, time: Duration, reply: Reply) -> Pending {
    pending_content("x".to_owned(), conversation, time, reply)
}

fn pending_content(content: String, conversation: u128, time: Duration, reply: Reply) -> Pending {
    Pending {
        outgoing: Outgoing {
            id: Uuid::now_v7(),
            message: NewMessage {
                conversation: ConversationId(Uuid::from_u128(conversation)),
                sender: UserId(Uuid::nil()),
                content,
                message_type: MessageType::Text,
                client_message_id: None,
            },
        },
        reply,
        deadline: Instant::now() + time,
        tries: 0,
        sent: false,
        suspect: false,
        had_no_answer: false,
        _reservation: Reservation::default(),
    }
}

fn no_matter() -> Reply {
    Box::new(|_| {})
}

/// Or it would overtake it.
#[tokio::test]
async fn what_comes_after_a_message_of_its_flow_that_moved_to_the_slow_lane_follows_it_there() {
    let (mut batcher, _) = batcher(&[("DB_HOST", "127.0.0.1")]);
    let of = |conversation| pending(conversation, TIME, no_matter());
    for conversation in [1, 2, 1] {
        batcher.admit(of(conversation));
    }
    batcher.divert_to_slow_lane(vec![of(1)]);
    batcher.admit(of(1));
    assert_eq!(batcher.waiting.bytes(), 1);
    let fast = batcher.waiting.take_batch(3);
    let flows: Vec<Flow> = fast.iter().map(Pending::flow).collect();
    assert_eq!(flows, [of(2).flow()]);
}

/// What is long goes to the slow lane, whatever the batches before it found busy.
#[tokio::test(start_paused = true)]
async fn each_flow_is_in_one_lane_and_in_order_whatever_of_it_is_long() {
    for seed in 0..200 {
        let mut random = StdRng::seed_from_u64(seed);
        let (mut batcher, _) = batcher(&[("DB_HOST", "127.0.0.1")]);
        let ended: Arc<Mutex<Vec<(u128, u32)>>> = Arc::default();
        let mut admitted = Vec::new();
        for number in 0..random.random_range(1..10) {
            let conversation = random.random_range(0..3);
            let content = "x".repeat(match random.random_bool(0.3) {
                true => LONG_MESSAGE + 1,
                false => LONG_MESSAGE,
            });
            admitted.push((conversation, number));
            let ended = Arc::clone(&ended);
            let reply = Box::new(move |_| lock(&ended).push((conversation, number)));
            batcher.admit(pending_content(content, conversation, TIME, reply));
            if random.random_bool(0.3) {
                let batch = batcher.waiting.take_batch(random.random_range(1..4));
                let (busy, stored): (Vec<_>, Vec<_>) = batch
                    .into_iter()
                    .partition(|pending| pending.flow().conversation.0.as_u128() == 0);
                stored.into_iter().for_each(|it| expire(it, "it is stored"));
                batcher.put_back_busy(busy);
            }
        }
        for waiting in batcher.waiting.take_batch(usize::MAX) {
            let flow = waiting.flow();
            assert!(
                !waiting.is_long() && !batcher.slow_lane.holds(flow),
                "{seed}"
            );
            expire(waiting, "it is stored");
        }
        // Nobody stores what is there.
        tokio::time::advance(TIME).await;
        batcher.go_on();
        let mut ended = lock(&ended).clone();
        ended.sort_by_key(|(conversation, _)| *conversation);
        admitted.sort_by_key(|(conversation, _)| *conversation);
        assert_eq!(ended, admitted, "{seed}");
    }
}

/// One more would be refused there, and so would what it takes with it.
#[tokio::test]
async fn a_long_message_for_which_the_slow_lane_has_no_room_goes_with_the_others() {
    let (mut batcher, stats) = batcher(&[("DB_HOST", "127.0.0.1")]);
    let of = |conversation, length: usize| {
        pending_content("x".repeat(length), conversation, TIME, Box::new(|_| {}))
    };
    for _ in 2..LIMITS.queue {
        batcher.admit(of(0, LONG_MESSAGE + 1));
    }
    assert!(batcher.waiting.is_empty());
    for flow in 1..=2 {
        batcher.admit(of(flow, 1));
    }
    batcher.admit(of(1, LONG_MESSAGE + 1));
    let waiting = batcher.waiting.take_batch(usize::MAX);
    let lengths: Vec<usize> = waiting.iter().map(Pending::bytes).collect();
    assert_eq!(lengths, [1, 1, LONG_MESSAGE + 1]);
    assert_eq!(stats.refused.load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn a_message_that_three_batches_have_found_busy_moves_to_the_slow_lane() {
    let (mut batcher, _) = batcher(&[("DB_HOST", "127.0.0.1")]);
    let message = pending(1, TIME, no_matter());
    let flow = message.flow();
    batcher.put_back_busy(vec![message]);
    for _ in 1..FAST_TRIES {
        assert!(!batcher.slow_lane.holds(flow));
        let batch = batcher.waiting.take_batch(LIMITS.batch);
        batcher.put_back_busy(batch);
    }
    assert!(batcher.slow_lane.holds(flow));
    assert!(batcher.waiting.is_empty());
}

#[tokio::test(start_paused = true)]
async fn what_is_late_in_the_slow_lane_is_told_so_while_a_batch_is_bisected() {
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = silent.local_addr().unwrap().port().to_string();
    let vars = [("DB_HOST", "127.0.0.1"), ("DB_PORT", port.as_str())];
    let (mut batcher, stats) = batcher(&vars);
    let (reply, late) = oneshot::channel();
    // Behind another one of its flow, which has its turn meanwhile.
    batcher.hold(pending(1, LIMITS.timeout, no_matter()));
    let answer = Box::new(move |answer: Result<_, _>| {
        let _ = reply.send(answer.is_ok());
    });
    batcher.hold(pending(1, TIME, answer));
    batcher.go_on();
    assert_eq!(stats.held.load(Ordering::Relaxed), 2);

    let batch = vec![pending(2, LIMITS.timeout, no_matter())];
    let failure = SendFailure::Refused("something in it".to_owned());
    let locks = batcher.lock_policy.locks(Instant::now());
    tokio::select! {
        biased;
        () = batcher.repeat_or_bisect(batch, failure, locks) => panic!("the database is silent"),
        stored = late => assert_eq!(stored, Ok(false)),
    }
    assert_eq!(stats.held.load(Ordering::Relaxed), 1);
}

/// Or each try that is to tell what takes long would be waited for as long as a deadline leaves.
#[tokio::test]
async fn of_how_slow_the_database_was_when_it_was_last_in_use_the_slow_lane_knows_nothing() {
    let (mut batcher, _) = batcher(&[("DB_HOST", "127.0.0.1")]);
    let bound = |timeout: AnswerTimeout| timeout.brief().bound(LIMITS.timeout);
    let (usual, slow) = (bound(batcher.answer_timeout), Duration::from_secs(5));
    batcher.slow_lane.answer_timeout.answered(slow);
    // What was in it then had no answer.
    for _ in 0..100 {
        batcher.slow_lane.answer_timeout.unanswered();
    }
    assert!(bound(batcher.slow_lane.answer_timeout) > usual);
    batcher.hold(pending(1, TIME, no_matter()));
    assert_eq!(bound(batcher.slow_lane.answer_timeout), usual);
    // But it does of how slow it is now.
    batcher.slow_lane.answer_timeout.answered(slow);
    batcher.hold(pending(2, TIME, no_matter()));
    assert!(bound(batcher.slow_lane.answer_timeout) > usual);
}
