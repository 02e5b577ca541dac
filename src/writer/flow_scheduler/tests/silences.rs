//! What takes long is found, and waits by itself.

use super::*;

#[test]
fn one_that_has_no_answer_is_found_among_five_hundred_in_nine_silences() {
    const FLOWS: u128 = 500;
    for slow in [0, 137, FLOWS - 1] {
        let mut lane = Lane::new(1000);
        lane.batch = 500;
        for conversation in 0..FLOWS {
            lane.push(conversation);
        }
        lane.had_no_answer(0..FLOWS);
        let all: Vec<u128> = (0..FLOWS).collect();
        let mut silences = 0;
        let alone = loop {
            let turn = lane.next_turn();
            let takes_long = turn
                .messages
                .iter()
                .any(|pending| conversation(pending) == slow);
            if let Patience::After(_) = turn.of.patience {
                break turn;
            }
            assert_eq!(turn.of.patience, Patience::Brief);
            if takes_long {
                silences += 1;
                lane.end_silent(turn);
            } else {
                lane.end(turn, &all);
            }
        };
        assert_eq!(conversation(&alone.messages[0]), slow);
        assert!(silences <= 9, "{silences}");
        assert_eq!(lane.scheduler.len(), 1, "the others are stored");
    }
}

/// One of them failed, so all were tried in portions, and one of these had no answer.
#[test]
fn what_had_no_answer_among_what_was_tried_in_portions_is_found_by_halves_of_the_portion() {
    let mut lane = Lane::new(100);
    for conversation in 0..BATCH as u128 {
        lane.push(conversation);
    }
    let turn = lane.next_turn();
    assert_eq!(turn.messages.len(), BATCH);
    lane.end_silent_but_for(turn, &[0, 1, 2, 3]);
    let turn = lane.next_turn();
    assert_eq!(turn.of.patience, Patience::Brief);
    assert_eq!(turn.messages.len(), BATCH / 4);
}

/// Then it is the database that was slow, and each of them would take as long as one.
#[test]
fn when_one_that_had_no_answer_has_one_the_others_are_looked_at_together() {
    let mut lane = Lane::new(100);
    for conversation in 0..BATCH as u128 {
        lane.push(conversation);
        lane.had_no_answer([conversation]);
    }
    let turn = lane.next_turn();
    assert_eq!(turn.of.patience, Patience::After(1));
    lane.end_silent(turn);
    let turn = lane.next_turn();
    assert_eq!(turn.messages.len(), 1);
    let answered = conversation(&turn.messages[0]);
    lane.end(turn, &[answered]);
    let turn = lane.later_turn().expect("a turn");
    assert_eq!(turn.of.patience, Patience::Usual);
    assert!(turn.messages.len() > 1);
}

#[test]
fn behind_what_has_no_answer_its_flow_waits_and_nobody_else_for_longer_than_its_turn() {
    let mut lane = Lane::new(100);
    lane.took = Duration::from_secs(4);
    let sent = [lane.push(1), lane.push(1)];
    lane.had_no_answer([1]);
    let turn = lane.next_turn();
    assert_eq!(numbers(&turn), sent[..1], "one at a time");
    let held = lane.push(2);
    lane.end_silent(turn);
    lane.took = Duration::from_millis(1);
    let end = lane.now + Duration::from_millis(900);
    let mut turns = 0;
    while lane.now < end {
        let turn = lane.next_turn();
        assert_eq!(numbers(&turn), [held]);
        turns += 1;
        lane.end(turn, &[]);
    }
    assert!(turns >= 3, "{turns}");
    // Once it is late, what is behind it need not take long.
    lane.now += TIMEOUT;
    let next = lane.push(1);
    lane.scheduler.expire(lane.now);
    let mut late = lane.answered();
    late.sort_unstable();
    assert_eq!(late, [sent[0], sent[1], held]);
    let turn = lane.next_turn();
    assert_eq!(numbers(&turn), [next]);
    assert_eq!(turn.of.patience, Patience::Brief);
}

/// How long a try of this patience waits for its answer where the database is quick.
fn bound(patience: Patience) -> Duration {
    match patience {
        Patience::Usual => Duration::from_secs(2),
        Patience::Brief => Duration::from_millis(500),
        Patience::After(silences) => Duration::from_secs(2) * 2u32.pow(silences),
    }
}

/// The lane goes on until that message is tried by itself with the patience for what takes long:
/// the silences before that. All others are quick.
fn silences_until_it_is_found(lane: &mut Lane, slow: u128) -> u32 {
    let mut silences = 0;
    loop {
        let turn = lane.next_turn();
        let of = numbers(&turn);
        if !of.contains(&slow) {
            lane.took = Duration::from_millis(5);
            lane.end(turn, &[1, 2, 3]);
        } else if let Patience::After(_) = turn.of.patience {
            assert_eq!(of, [slow]);
            lane.took = bound(turn.of.patience);
            lane.end_silent(turn);
            return silences;
        } else {
            silences += 1;
            lane.took = bound(turn.of.patience);
            lane.end_silent(turn);
        }
    }
}

#[test]
fn a_slow_message_is_found_among_those_of_its_flow_in_few_brief_silences() {
    const MESSAGES: u128 = 40;
    for slow in 0..MESSAGES {
        let mut lane = Lane::new(100);
        lane.batch = 100;
        let begin = lane.now;
        for _ in 0..MESSAGES {
            lane.push(1);
        }
        lane.had_no_answer([1]);
        let silences = silences_until_it_is_found(&mut lane, slow);
        assert!(silences <= 5, "{silences} silences for that at {slow}");
        let ahead: Vec<u128> = (0..slow).collect();
        assert_eq!(lane.answered(), ahead, "what is ahead of it is stored");
        let took = lane.now - begin - bound(Patience::After(1));
        assert!(took < Duration::from_secs(4), "{took:?} for that at {slow}");
    }
}

#[test]
fn what_is_ahead_of_a_slow_message_has_an_answer_after_each_silence() {
    const MESSAGES: u128 = 500;
    let mut lane = Lane::new(1000);
    lane.batch = 500;
    for _ in 0..MESSAGES {
        lane.push(1);
    }
    lane.had_no_answer([1]);
    let slow = MESSAGES / 2;
    let mut after_a_silence = true;
    loop {
        let turn = lane.next_turn();
        if numbers(&turn) == [slow] {
            break assert_eq!(turn.of.patience, Patience::After(1));
        }
        if std::mem::take(&mut after_a_silence) {
            assert_eq!(turn.messages.len(), 1, "one that is quick, most probably");
        }
        if numbers(&turn).contains(&slow) {
            after_a_silence = true;
            lane.end_silent(turn);
        } else {
            lane.end(turn, &[1]);
        }
    }
}

/// Each silence with the usual patience is as long as one of the fast lane, and everybody in the
/// slow lane waits for it.
#[test]
fn a_slow_message_behind_quick_ones_of_several_free_flows_is_found_in_few_silences() {
    const FLOWS: u128 = 8;
    let all: Vec<u128> = (0..FLOWS).collect();
    for place in 0..10 {
        let mut lane = Lane::new(100);
        lane.batch = 100;
        let mut slow = 0;
        for number in 0..10 {
            for conversation in 0..FLOWS {
                let sent = lane.push(conversation);
                if (conversation, number) == (3, place) {
                    slow = sent;
                }
            }
        }
        let (mut usual, mut brief) = (0, 0);
        loop {
            let turn = lane.next_turn();
            if !numbers(&turn).contains(&slow) {
                lane.end(turn, &all);
                continue;
            }
            match turn.of.patience {
                Patience::After(_) => break,
                Patience::Usual => usual += 1,
                Patience::Brief => brief += 1,
            }
            lane.end_silent(turn);
        }
        // Together with what is ahead of it, and once it is the first.
        assert!(usual <= 2, "{usual} for that at {place}");
        assert!(brief <= 4, "{brief} for that at {place}");
    }
}

/// So nobody else has to wait for it, however many quick messages there are of others.
#[test]
fn what_takes_long_waits_alone_whatever_becomes_of_messages_of_other_flows() {
    let mut lane = Lane::new(100);
    let slow = lane.push(1);
    lane.had_no_answer([1]);
    for _ in 0..3 {
        lane.push(2);
    }
    lane.had_no_answer([2]);
    lane.push(3);
    let mut stored = 0;
    while lane.scheduler.len() > 1 {
        let turn = lane.next_turn();
        if numbers(&turn).contains(&slow) {
            assert_eq!(turn.messages.len(), 1, "others wait for it");
            lane.end_silent(turn);
        } else {
            stored += turn.messages.len();
            lane.end(turn, &[2, 3]);
        }
    }
    assert_eq!(stored, 4);
    let turn = lane.next_turn();
    assert_eq!(numbers(&turn), [slow]);
    assert!(matches!(turn.of.patience, Patience::After(_)));
}

#[test]
fn behind_one_that_took_long_one_at_a_time_has_its_patience_until_one_is_quick() {
    let mut lane = Lane::new(100);
    let sent: Vec<u128> = (0..8).map(|_| lane.push(1)).collect();
    let other = lane.push(2);
    lane.had_no_answer([1]);
    lane.had_no_answer([2]);
    lane.took = Duration::from_secs(1);
    let mut took_long = Vec::new();
    while took_long.len() < 3 {
        let turn = lane.next_turn();
        if numbers(&turn) == [other] {
            lane.end_silent(turn);
        } else {
            assert_eq!(turn.of.patience, Patience::After(1));
            took_long.extend(numbers(&turn));
            lane.end_after_long(turn, &[1]);
        }
    }
    assert_eq!(took_long, sent[..3]);
    // Now they are quick: ever more at a time, but with the other one none.
    lane.took = Duration::ZERO;
    let mut sizes = Vec::new();
    while lane.scheduler.contains(flow(1)) {
        let turn = lane.next_turn();
        if numbers(&turn) == [other] {
            lane.end_silent(turn);
        } else {
            sizes.push(turn.messages.len());
            lane.end(turn, &[1]);
        }
    }
    assert_eq!(sizes, [1, 2, 2]);
}

#[test]
fn however_many_messages_take_long_half_of_the_time_is_for_others() {
    const SLOW: u128 = 5;
    let mut lane = Lane::new(100);
    for conversation in 1..=SLOW {
        lane.push(conversation);
        lane.had_no_answer([conversation]);
    }
    let locked = SLOW + 1;
    lane.push(locked);
    let (begin, mut for_slow) = (lane.now, Duration::ZERO);
    let mut longest = Duration::ZERO;
    let mut last = lane.now;
    while lane.now < begin + TIMEOUT / 2 * 3 {
        // Whoever is late is sent again.
        for conversation in 1..=locked {
            if !lane.scheduler.contains(flow(conversation)) {
                lane.push(conversation);
                if conversation != locked {
                    lane.had_no_answer([conversation]);
                }
            }
        }
        let Some(turn) = lane.later_turn() else {
            continue;
        };
        if conversation(&turn.messages[0]) == locked {
            longest = longest.max(lane.now - last);
            lane.took = Duration::from_millis(1);
            lane.end(turn, &[]);
            last = lane.now;
        } else {
            assert_eq!(turn.of.patience, Patience::After(1));
            lane.took = bound(turn.of.patience);
            for_slow += lane.took;
            lane.end_silent(turn);
        }
    }
    let of = lane.now - begin;
    assert!(for_slow * 2 <= of + SILENT_PAUSE, "{for_slow:?} of {of:?}");
    assert!(for_slow >= SILENT_PAUSE * 2, "{for_slow:?} of {of:?}");
    assert!(longest <= SILENT_PAUSE + MAX_PAUSE * 2, "{longest:?}");
}
