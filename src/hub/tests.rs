mod reloads;

use std::task::Poll;
use std::time::Duration;

use super::backlog::QUEUE_BYTES;
use super::*;
use crate::model::MessageId;
use crate::position::{Cursor, Horizon, Identity, Xid};

fn hub(limits: HubLimits) -> Hub {
    let hub = Hub::new(limits);
    hub.start_at(Cursor {
        identity: Identity("a".into()),
        horizon: Horizon(Xid(1)),
    });
    hub
}

const LIMITS: HubLimits = HubLimits {
    connections: NonZeroUsize::new(3),
    connections_per_user: NonZeroUsize::new(2),
    socket_queue: 2,
    queued_bytes: usize::MAX,
};

fn user(n: u128) -> UserId {
    UserId(Uuid::from_u128(n))
}

fn event(version: i64) -> Arc<Event> {
    Arc::new(Event {
        subject: Subject::Row(MessageId(Uuid::nil())),
        version,
        xid: Xid(1),
        horizon: Horizon(Xid(1)),
        frame: version.to_string().into(),
        made_at: None,
        as_update: None,
        counted: Default::default(),
    })
}

fn version(delivery: Option<Delivery>) -> Option<i64> {
    match delivery {
        Some(Delivery::Event(event)) => Some(event.version),
        _ => None,
    }
}

#[test]
fn an_event_reaches_each_socket_of_its_recipients_once() {
    let hub = hub(LIMITS);
    let mut first = hub.register(user(1)).expect("room");
    let mut second = hub.register(user(1)).expect("room");
    let mut other = hub.register(user(2)).expect("room");
    hub.publish(&[user(1), user(1)], &event(7));
    assert_eq!(version(first.try_next()), Some(7));
    assert!(first.try_next().is_none());
    assert_eq!(version(second.try_next()), Some(7));
    assert!(other.try_next().is_none());
}

#[test]
fn the_limits_hold_and_are_freed_by_dropping() {
    let hub = hub(LIMITS);
    let first = hub.register(user(1)).expect("room");
    let _second = hub.register(user(1)).expect("room");
    assert!(matches!(
        hub.register(user(1)),
        Err(Error::TooManySockets { .. })
    ));
    let _third = hub.register(user(2)).expect("room");
    assert!(matches!(
        hub.register(user(3)),
        Err(Error::ReplicaFull { .. })
    ));
    drop(first);
    assert!(hub.register(user(3)).is_ok());
}

#[tokio::test]
async fn a_socket_that_waits_is_told_that_its_user_was_dismissed() {
    let hub = hub(LIMITS);
    let mut waiting = hub.register(user(1)).expect("room");
    let (next, ()) = tokio::join!(waiting.next(), async { hub.dismiss(user(1)) });
    assert!(
        matches!(next, Delivery::GivenUp(GivenUp::Deactivated)),
        "{next:?}"
    );
    assert!(matches!(
        waiting.next().await,
        Delivery::GivenUp(GivenUp::Deactivated)
    ));
    assert_eq!(hub.connections(), 0);
}

#[tokio::test]
async fn a_full_queue_is_given_up_and_delays_no_other() {
    let hub = hub(LIMITS);
    let mut slow = hub.register(user(1)).expect("room");
    let mut quick = hub.register(user(2)).expect("room");
    for v in 1..=3 {
        hub.publish(&[user(1), user(2)], &event(v));
        assert_eq!(version(quick.try_next()), Some(v));
    }
    assert!(matches!(
        slow.next().await,
        Delivery::GivenUp(GivenUp::TooSlow)
    ));
    assert!(
        matches!(slow.next().await, Delivery::GivenUp(GivenUp::TooSlow)),
        "it stays so"
    );
    assert_eq!(slow.given_up().await, GivenUp::TooSlow);
    assert_eq!((hub.overflows(), hub.connections()), (1, 1));
    drop(slow);
    assert_eq!(hub.connections(), 1);
}

/// As a session does that cannot write: it takes nothing from its queue, and would hear of nothing.
#[tokio::test]
async fn who_waits_to_be_given_up_is_woken() {
    let mailbox = Mailbox::default();
    let mut given_up = std::pin::pin!(mailbox.given_up());
    assert!(futures_util::poll!(&mut given_up).is_pending());
    mailbox.give_up(GivenUp::TooSlow);
    assert_eq!(
        futures_util::poll!(&mut given_up),
        Poll::Ready(GivenUp::TooSlow)
    );
}

#[test]
fn a_queue_of_too_many_bytes_is_full_too_and_what_is_taken_makes_room() {
    let hub = hub(HubLimits {
        socket_queue: 1000,
        ..LIMITS
    });
    let large = |bytes: usize| {
        let half = "x".repeat(bytes / 2);
        let event = Event {
            frame: "x".repeat(bytes - half.len()).into(),
            as_update: Some(AsUpdate {
                frame: half.into(),
                created: None,
            }),
            ..Arc::into_inner(event(1)).expect("not shared")
        };
        Arc::new(event)
    };
    let mut socket = hub.register(user(1)).expect("room");
    let publish = |bytes| hub.publish(&[user(1)], &large(bytes));
    let quarter = QUEUE_BYTES / 4;
    publish(QUEUE_BYTES + 1);
    assert!(socket.try_next().is_some(), "alone it passes");
    for _ in 0..2 {
        publish(quarter);
        publish(quarter);
        assert!(hub.has_room(&[user(1)]));
        publish(quarter);
        assert!(!hub.has_room(&[user(1)]));
        publish(quarter);
        for _ in 0..4 {
            let next = socket.try_next();
            assert!(matches!(next, Some(Delivery::Event(_))), "{next:?}");
        }
    }
    for _ in 0..4 {
        publish(quarter);
    }
    publish(1);
    assert!(matches!(
        socket.try_next(),
        Some(Delivery::GivenUp(GivenUp::TooSlow))
    ));
    assert_eq!((hub.overflows(), hub.connections()), (1, 0));
}

/// One of so many bytes, with all that it takes.
fn large(bytes: usize) -> Arc<Event> {
    Arc::new(Event {
        frame: "x".repeat(bytes - size_of::<Event>()).into(),
        ..Arc::into_inner(event(1)).expect("not shared")
    })
}

#[test]
fn an_event_counts_once_for_all_who_are_behind_and_until_the_last_of_them_has_it_no_more() {
    const BYTES: usize = 1000;
    let hub = hub(LIMITS);
    let memory = &hub.shared.memory;
    let held = |expected| assert_eq!(memory.held(), expected);
    hub.publish(&[user(9)], &large(BYTES));
    held(0);
    let mut first = hub.register(user(1)).expect("room");
    let second = hub.register(user(1)).expect("room");
    let mut other = hub.register(user(2)).expect("room");
    hub.publish(&[user(1), user(2)], &large(BYTES));
    hub.publish(&[user(2)], &large(BYTES));
    held(2 * BYTES);
    let sending = first.try_next();
    assert!(other.try_next().is_some());
    drop(second);
    held(2 * BYTES);
    drop(sending);
    held(BYTES);
    assert!(other.try_next().is_some());
    held(0);
}

#[test]
fn where_all_that_waits_is_too_much_those_are_given_up_who_are_furthest_behind() {
    const BYTES: usize = 10_000;
    let hub = hub(HubLimits {
        connections: None,
        socket_queue: 100,
        queued_bytes: 8 * BYTES,
        ..LIMITS
    });
    let [mut far, mut twin, mut near, mut quick, mut idle] =
        [1, 1, 2, 3, 4].map(|n| hub.register(user(n)).expect("room"));
    let publish = |users: &[UserId]| hub.publish(users, &large(BYTES));
    let is_given_up =
        |socket: &mut Subscription| matches!(socket.try_next(), Some(Delivery::GivenUp(_)));
    for _ in 0..6 {
        publish(&[user(1)]);
    }
    for _ in 0..2 {
        publish(&[user(2)]);
    }
    // There is room for no more: these two have the same six, and each of these events is only one.
    publish(&[user(3)]);
    assert_eq!(hub.overflows(), 1);
    assert!(matches!(version(quick.try_next()), Some(1)));
    assert!(quick.try_next().is_none());
    let given_up = [&mut far, &mut twin].map(is_given_up);
    assert!(given_up[0] != given_up[1], "{given_up:?}");
    let (gone, stays) = if given_up[0] {
        (far, twin)
    } else {
        (twin, far)
    };
    // Until it has let go of them, nobody else is given up in its place.
    publish(&[user(3)]);
    assert_eq!(hub.overflows(), 1);
    drop(gone);
    publish(&[user(3)]);
    assert_eq!(hub.overflows(), 2, "the other one holds all of it still");
    drop(stays);
    while quick.try_next().is_some() {}
    for _ in 0..6 {
        publish(&[user(3), user(4)]);
        assert!(quick.try_next().is_some() && idle.try_next().is_some());
    }
    assert_eq!(hub.overflows(), 2);
    assert!(near.try_next().is_some() && near.try_next().is_some());
    assert!(near.try_next().is_none() && quick.try_next().is_none());
    assert_eq!(hub.shared.memory.held(), 0);
}

/// As a client does that reads at a drip: its session has taken it from the queue, and is not through with it.
#[test]
fn who_is_being_sent_something_large_is_behind_with_it() {
    const BYTES: usize = 10_000;
    let hub = hub(HubLimits {
        queued_bytes: 2 * BYTES,
        ..LIMITS
    });
    let [mut slow, mut other] = [1, 2].map(|n| hub.register(user(n)).expect("room"));
    hub.publish(&[user(1)], &large(2 * BYTES));
    let sending = slow.try_next();
    assert!(matches!(sending, Some(Delivery::Event(_))));
    hub.publish(&[user(2)], &large(BYTES));
    assert!(matches!(slow.try_next(), Some(Delivery::GivenUp(_))));
    assert!(matches!(other.try_next(), Some(Delivery::Event(_))));
}

#[test]
fn the_horizon_never_moves_back_and_belongs_to_its_database() {
    let hub = hub(LIMITS);
    let here = Identity("a".into());
    assert_eq!(hub.advance(&here, Horizon(Xid(9))), Horizon(Xid(9)));
    assert_eq!(hub.advance(&here, Horizon(Xid(5))), Horizon(Xid(9)));
    hub.advance(&Identity("b".into()), Horizon(Xid(99)));
    assert_eq!(hub.position().map(|p| p.horizon), Some(Horizon(Xid(9))));
}
