use uuid::Uuid;

use super::*;
use crate::config::Config;
use crate::hub::AsUpdate;
use crate::model::{ConversationId, MessageId};
use crate::position::{Identity, Xid};
use crate::testing;

#[test]
fn what_a_client_saw_before_its_cursor_comes_as_an_update_where_the_listener_is_behind() {
    let at = |horizon| Cursor {
        identity: Identity("a".into()),
        horizon: Horizon(Xid(horizon)),
    };
    let here = Some(Incarnation(Uuid::from_u128(1)));
    let since = Since {
        asked: at(100),
        reached: at(110),
        changes: Vec::new(),
        snapshot: Snapshot::until(110),
        incarnation: here,
    };
    let missed = Missed::new(since, (Reservation::default(), Reservation::default()));
    let repeat_in = |created: Option<u64>, xid, incarnation| {
        let event = Event {
            subject: Subject::Row(MessageId(Uuid::nil())),
            version: 2,
            xid: Xid(xid),
            horizon: Horizon::default(),
            frame: "chat_message".into(),
            made_at: None,
            as_update: Some(AsUpdate {
                frame: "message_updated".into(),
                created: created.map(Xid),
            }),
            counted: Default::default(),
        };
        missed.novelty(&event, || incarnation)
    };
    let repeat = |created, xid| repeat_in(created, xid, here);
    assert_eq!(repeat(Some(99), 120), Novelty::Later);
    // The replay would have told of it.
    assert_eq!(repeat(Some(100), 120), Novelty::Later);
    assert_eq!(repeat(Some(109), 120), Novelty::Later);
    assert_eq!(repeat(Some(110), 120), Novelty::New);
    assert_eq!(repeat(None, 120), Novelty::New);
    assert_eq!(repeat(Some(90), 99), Novelty::Repeat);
    assert_eq!(repeat(Some(100), 109), Novelty::Repeat);
    // A crash may have given the number to something else.
    let there = Some(Incarnation(Uuid::from_u128(2)));
    assert_eq!(repeat_in(Some(100), 120, there), Novelty::New);
    assert_eq!(repeat_in(Some(99), 120, there), Novelty::Later);
    // Below the cursor everything was flushed.
    assert_eq!(repeat_in(Some(90), 99, there), Novelty::Repeat);
}

#[test]
fn what_was_replayed_is_told_from_what_is_new_until_an_event_says_that_no_repeat_can_come() {
    let row = MessageId(Uuid::from_u128(1));
    let missed = Missed::of_row(row, 2, 130);
    let repeat_in = |version, horizon, incarnation| {
        let event = Event {
            subject: Subject::Row(row),
            version,
            xid: Xid(120),
            horizon: Horizon(Xid(horizon)),
            frame: "message_updated".into(),
            made_at: None,
            as_update: None,
            counted: Default::default(),
        };
        match missed.is_over_at(event.horizon) {
            true => None,
            false => Some(missed.novelty(&event, || incarnation)),
        }
    };
    let repeat = |version, horizon| repeat_in(version, horizon, None);
    assert_eq!(repeat(2, 130), Some(Novelty::Repeat));
    // A crash may have given the revision to something else.
    let crashed = Some(Incarnation(Uuid::from_u128(1)));
    assert_eq!(repeat_in(2, 130, crashed), Some(Novelty::Later));
    assert_eq!(repeat(3, 130), Some(Novelty::Later));
    assert_eq!(repeat(2, 131), None);
}

/// Whatever a mark covers: what was read may be unread again, and be read once more. And of a row that it has not told of the client had seen
/// all that there was.
#[test]
fn what_the_replay_has_seen_the_end_of_and_not_told_of_is_no_news() {
    let id = Uuid::nil();
    let mark = |xid| Subject::Read {
        conversation: ConversationId(id),
        reader: UserId(id),
        xid: Xid(xid),
    };
    let reload = |xid| Subject::Reload {
        user: UserId(id),
        xid: Xid(xid),
    };
    let at = Cursor {
        identity: Identity("a".into()),
        horizon: Horizon(Xid(90)),
    };
    let snapshot = Snapshot::parse("100:130:100,110").expect("a snapshot");
    let here = Some(Incarnation(Uuid::from_u128(1)));
    let room = (Reservation::default(), Reservation::default());
    let since = Since {
        asked: at.clone(),
        reached: at,
        changes: Vec::new(),
        snapshot,
        incarnation: here,
    };
    let missed = Missed::new(since, room);
    let repeat = |xid, incarnation| {
        let repeats = [mark(xid), reload(xid), Subject::Row(MessageId(id))].map(|subject| {
            let event = Event {
                subject,
                version: 5,
                xid: Xid(xid),
                horizon: Horizon::default(),
                frame: "{}".into(),
                made_at: None,
                as_update: None,
                counted: Default::default(),
            };
            missed.novelty(&event, || incarnation)
        });
        let [one, two, three] = repeats;
        assert_eq!([&one, &one], [&two, &three]);
        one
    };
    assert_eq!(repeat(105, here), Novelty::Repeat);
    assert_eq!(repeat(110, here), Novelty::New);
    assert_eq!(repeat(130, here), Novelty::New);
    // A crash may have given the number to something else.
    let there = Some(Incarnation(Uuid::from_u128(2)));
    assert_eq!(repeat(105, there), Novelty::New);
}

/// An open transaction of anybody's keeps all of it, however long.
#[tokio::test]
async fn what_sockets_remember_of_their_replays_is_bounded_and_there_is_room_again_when_it_is_over()
{
    const EVENTS: usize = 1000;
    let config = Config::from_vars(&[("DB_HOST", "127.0.0.1"), ("DB_PORT", "1")]).expect("valid");
    let replay = testing::services_of(testing::hub(1), config).replay;
    let none_open = Snapshot::until(1000);
    let room = |number, events| {
        replay.room_to_remember(UserId(Uuid::from_u128(number)), events, &none_open)
    };
    let mut sockets: Vec<Reservation> = (0..10_000)
        .map_while(|number| room(number, EVENTS))
        .collect();
    let bytes = |sockets: usize| sockets * EVENTS * Rows::EACH;
    assert!(bytes(sockets.len()) <= REMEMBERED);
    assert!(bytes(sockets.len()) > REMEMBERED / 10 * 9);
    assert!(room(1 << 64, LITTLE / Rows::EACH).is_some());
    sockets.pop();
    // Of each transaction that was open its number is remembered, too.
    let open: Vec<String> = (1..=3 * EVENTS).map(|xid| xid.to_string()).collect();
    let text = format!("1:{}:{}", 3 * EVENTS + 1, open.join(","));
    let as_much_open = Snapshot::parse(&text).expect("a snapshot");
    let user = UserId(Uuid::from_u128(1 << 64));
    assert!(
        replay
            .room_to_remember(user, EVENTS, &as_much_open)
            .is_none()
    );
    assert!(replay.room_to_remember(user, 0, &as_much_open).is_some());
    assert!(room(1 << 64, EVENTS).is_some());
}
