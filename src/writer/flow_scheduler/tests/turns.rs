//! Whose turn it is, of what is locked or fails.

use super::*;

#[test]
fn one_flow_waits_for_its_lock_and_for_long_after_some_turns_in_vain() {
    let mut lane = Lane::new(100);
    let sent: Vec<_> = (0..3).map(|_| lane.push(1)).collect();
    let mut waits = Vec::new();
    for _ in 0..8 {
        let turn = lane.next_turn();
        assert_eq!(numbers(&turn), sent);
        let Locks::Wait(wait) = turn.locks else {
            panic!("{:?}", turn.locks);
        };
        waits.push(wait);
        lane.end(turn, &[]);
    }
    assert_eq!(waits.iter().filter(|wait| **wait == LONG_WAIT).count(), 1);
    assert_eq!(waits[3], LONG_WAIT, "{waits:?}");
    let turn = lane.next_turn();
    lane.end(turn, &[1]);
    lane.assert_empty();
    assert_eq!(lane.answered(), sent);
}

#[test]
fn of_many_flows_one_message_each_is_looked_at_together() {
    let mut lane = Lane::new(100);
    for conversation in [1, 1, 2, 3, 3] {
        lane.push(conversation);
    }
    let turn = lane.turn().expect("a turn");
    assert_eq!(turn.messages.len(), 3);
    assert!(matches!(turn.locks, Locks::Skip { wait } if wait == LEAST_WAIT));
    assert!(lane.turn().is_none(), "all are on their way");
    lane.end(turn, &[3]);
    // What is free goes on at once, with all that it has.
    let turn = lane.turn().expect("a turn");
    assert_eq!(numbers(&turn), [4]);
    lane.end(turn, &[3]);
    assert!(lane.turn().is_none(), "the others pause");
    assert_eq!(lane.scheduler.len(), 3);
}

#[test]
fn flows_that_are_free_go_through_with_all_that_the_batch_has_room_for() {
    const EACH: u128 = 20;
    let mut lane = Lane::new(100);
    for _ in 0..EACH {
        lane.push(1);
        lane.push(2);
    }
    let held = lane.push(3);
    let mut sizes = Vec::new();
    while lane.scheduler.len() > 1 {
        let turn = lane.turn().expect("what is free goes on at once");
        sizes.push(turn.messages.len());
        lane.end(turn, &[1, 2]);
    }
    assert_eq!(sizes, [3, 8, 8, 8, 8, 6]);
    assert!(!lane.answered().contains(&held));
}

/// Some hundreds of them, say, in a batch of 500: by one message each a busy one would never get
/// out.
#[test]
fn flows_that_are_free_have_the_whole_batch_though_they_are_more_than_half_as_many() {
    let free = [1, 2, 3, 4, 5];
    assert!(free.len() > BATCH / 2);
    let mut lane = Lane::new(100);
    for conversation in free.repeat(5) {
        lane.push(conversation);
    }
    let mut sizes = Vec::new();
    while !lane.scheduler.is_empty() {
        let turn = lane.turn().expect("what is free goes on at once");
        sizes.push(turn.messages.len());
        lane.end(turn, &free);
    }
    assert_eq!(sizes, [5, BATCH, BATCH, 4]);
}

/// More often than there are turns of one message.
#[test]
fn flows_that_are_free_get_out_of_the_lane_though_their_senders_send_on() {
    let mut lane = Lane::new(1000);
    let send = |lane: &mut Lane, each| {
        for _ in 0..each {
            lane.push(1);
            lane.push(2);
        }
    };
    send(&mut lane, 20);
    for turns in 0.. {
        assert!(turns < 30, "{} still wait", lane.scheduler.len());
        let Some(turn) = lane.turn() else { break };
        lane.end(turn, &[1, 2]);
        if !lane.scheduler.is_empty() {
            send(&mut lane, 2);
        }
    }
    lane.assert_empty();
}

#[test]
fn one_that_is_held_again_comes_back_in_order_and_is_looked_at_by_one_message() {
    let mut lane = Lane::new(100);
    let (mut first, mut second) = (Vec::new(), Vec::new());
    for _ in 0..6 {
        first.push(lane.push(1));
        second.push(lane.push(2));
    }
    let turn = lane.next_turn();
    lane.end(turn, &[1, 2]);
    let turn = lane.next_turn();
    assert_eq!(turn.messages.len(), BATCH);
    lane.end(turn, &[2]);
    let turn = lane.next_turn();
    assert_eq!(numbers(&turn), second[5..]);
    second.push(lane.push(2));
    lane.end(turn, &[]);
    // Both are held now, and one of each is looked at whenever both are due.
    let both = loop {
        let turn = lane.next_turn();
        if !turn.is_of_one_flow() {
            break numbers(&turn);
        }
        lane.end(turn, &[]);
    };
    assert_eq!(both.len(), 2);
    assert!(both.contains(&first[1]) && both.contains(&second[5]));
}

#[test]
fn after_a_look_in_vain_the_lane_rests_for_as_long_as_it_took() {
    const MANY: u128 = 3 * BATCH as u128;
    let mut lane = Lane::new(100);
    lane.took = Duration::from_millis(40);
    for conversation in 0..MANY {
        lane.push(conversation);
    }
    let first = lane.turn().expect("a look");
    let seen: Vec<u128> = first.messages.iter().map(conversation).collect();
    lane.end(first, &[]);
    let moment = Duration::from_millis(1);
    lane.now += lane.took - moment;
    assert!(lane.turn().is_none(), "half of the time is for others");
    lane.now += moment;
    let second = lane.turn().expect("a look at the next ones");
    let others: Vec<u128> = second.messages.iter().map(conversation).collect();
    assert!(others.iter().all(|other| !seen.contains(other)));
    lane.end(second, &others[..1]);
    assert!(lane.turn().is_some(), "what is free again goes on at once");
}

#[test]
fn who_is_at_fault_is_tried_alone_until_something_of_it_is_stored() {
    let mut lane = Lane::new(100);
    for conversation in [1, 2, 3] {
        lane.push(conversation);
    }
    let (messages, _, of) = lane.next_turn().into_parts();
    let at_fault = messages
        .iter()
        .filter(|pending| conversation(pending) == 2)
        .map(Pending::flow)
        .collect();
    let done = Done {
        again: messages,
        at_fault,
        took: Some(lane.took),
        took_long: false,
        silence: None,
        of,
    };
    lane.scheduler.give_back(done, lane.now);
    for _ in 0..10 {
        let turn = lane.next_turn();
        let conversations: Vec<_> = turn.messages.iter().map(conversation).collect();
        let alone = conversations == [2];
        assert!(alone || !conversations.contains(&2), "{conversations:?}");
        lane.end(turn, &[]);
    }
}

#[test]
fn when_one_that_was_at_fault_goes_through_the_others_are_looked_at_together() {
    let mut lane = Lane::new(100);
    for conversation in [1, 2, 3] {
        lane.push(conversation);
    }
    let (messages, _, of) = lane.next_turn().into_parts();
    let done = Done {
        at_fault: messages.iter().map(Pending::flow).collect(),
        again: messages,
        took: Some(lane.took),
        took_long: false,
        silence: None,
        of,
    };
    lane.scheduler.give_back(done, lane.now);
    let turn = lane.next_turn();
    assert_eq!(turn.messages.len(), 1);
    let free = conversation(&turn.messages[0]);
    lane.end(turn, &[free]);
    assert_eq!(lane.next_turn().messages.len(), 2);
}

/// As when the disk was full, so that each of them is at fault, and then the server is away: each
/// turn is a connection that is tried, and a line of the log.
#[test]
fn while_the_database_is_away_turns_come_ever_more_seldom_however_many_flows_wait() {
    let mut lane = Lane::new(100);
    for conversation in 0..50 {
        lane.push(conversation);
    }
    for waiting in lane.scheduler.flows.values_mut() {
        waiting.alone = true;
    }
    let mut rests = |turns| {
        let mut rests = Vec::new();
        for _ in 0..turns {
            let ended = lane.now;
            let turn = lane.next_turn();
            rests.push((lane.now - ended).as_millis());
            lane.end_unreached(turn);
        }
        let turn = lane.next_turn();
        lane.end(turn, &[]);
        rests
    };
    assert_eq!(rests(8), [0, 50, 100, 200, 400, 800, 1000, 1000]);
    assert_eq!(rests(3), [0, 50, 100], "it was there in between");
}
