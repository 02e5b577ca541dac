//! Whatever happens, each message is answered once, in the order of its flow.

use proptest::prelude::*;

use super::*;

/// A step of whoever holds conversations, sends, or stores.
#[derive(Clone, Debug)]
enum Move {
    Push(u128),
    Turn {
        free: Vec<u128>,
    },
    /// Of which these are stored before the rest has no answer.
    SilentTurn {
        free: Vec<u128>,
    },
    Pass(u64),
}

fn moves() -> impl Strategy<Value = Vec<Move>> {
    let conversation = 0..6u128;
    let one = prop_oneof![
        4 => conversation.clone().prop_map(Move::Push),
        4 => prop::collection::vec(conversation.clone(), 0..6).prop_map(|free| Move::Turn { free }),
        1 => prop::collection::vec(conversation, 0..3).prop_map(|free| Move::SilentTurn { free }),
        1 => (0..400u64).prop_map(Move::Pass),
    ];
    prop::collection::vec(one, 0..120)
}

proptest! {
    #[test]
    fn every_message_is_answered_once_and_in_the_order_of_its_flow(moves in moves()) {
        let mut lane = Lane::new(1000);
        let mut sent: HashMap<u128, Vec<u128>> = HashMap::new();
        for step in moves {
            match step {
                Move::Push(conversation) => {
                    let number = lane.push(conversation);
                    sent.entry(conversation).or_default().push(number);
                }
                Move::Turn { free } => {
                    if let Some(turn) = lane.turn() {
                        lane.end(turn, &free);
                    }
                }
                Move::SilentTurn { free } => {
                    if let Some(turn) = lane.turn() {
                        lane.end_silent_but_for(turn, &free);
                    }
                }
                Move::Pass(millis) => {
                    lane.now += Duration::from_millis(millis);
                    lane.scheduler.expire(lane.now);
                }
            }
            let waiting: usize = lane.scheduler.flows.values().map(|waiting| waiting.queue.len()).sum();
            prop_assert_eq!(waiting, lane.scheduler.len());
        }
        let all: Vec<u128> = (0..6).collect();
        while let Some(turn) = lane.later_turn() {
            lane.end(turn, &all);
        }
        let answered = lane.answered();
        prop_assert_eq!(answered.len() as u128, lane.next);
        for messages in sent.values() {
            let order: Vec<u128> =
                answered.iter().copied().filter(|number| messages.contains(number)).collect();
            prop_assert_eq!(&order, messages);
        }
    }
}
