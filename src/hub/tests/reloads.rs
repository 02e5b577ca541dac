//! Reloads of all sockets at once, which are spread over some seconds and held back meanwhile.

use super::*;

/// They load everything, and what is behind it is of no use to them before.
#[tokio::test(start_paused = true)]
async fn where_there_are_many_they_are_told_to_reload_over_some_seconds_and_of_nothing_else_before()
{
    const SOCKETS: u128 = 8_000;
    let hub = hub(HubLimits {
        connections: None,
        ..LIMITS
    });
    let mut sockets: Vec<Subscription> = (0..SOCKETS)
        .map(|n| hub.register(user(n)).expect("room"))
        .collect();
    hub.resync_all("for a test", Pace::Spread);
    let users: Vec<UserId> = (0..SOCKETS).map(user).collect();
    hub.publish(&users, &event(1));
    let gone = sockets.pop().expect("one");
    let began = tokio::time::Instant::now();
    let told = sockets.into_iter().map(|mut socket| async move {
        let first = socket.next().await;
        assert!(matches!(first, Delivery::Resync(_)), "{first:?}");
        let at = began.elapsed();
        assert_eq!(version(socket.try_next()), Some(1));
        at
    });
    // One that is given up does not wait.
    let mut given_up = gone;
    assert!(given_up.try_next().is_none() && !given_up.is_empty());
    hub.dismiss(given_up.user);
    let given_up = given_up.next().await;
    assert!(matches!(given_up, Delivery::GivenUp(_)), "{given_up:?}");
    assert_eq!(began.elapsed(), Duration::ZERO);

    let told = futures_util::future::join_all(told).await;
    let spread = RELOAD * 8_000;
    assert!(
        told.iter()
            .all(|at| *at <= spread + Duration::from_millis(1))
    );
    for part in 0..4 {
        let (from, to) = (spread * part / 4, spread * (part + 1) / 4);
        let count = told.iter().filter(|at| (from..to).contains(*at)).count();
        assert!((1_500..2_500).contains(&count), "{count} in part {part}");
    }
}

/// With a socket that holds back a reload; the others have it in their queues still.
async fn with_a_held_reload(socket_queue: usize) -> (Hub, Vec<Subscription>) {
    let hub = hub(HubLimits {
        connections: None,
        socket_queue,
        ..LIMITS
    });
    let mut sockets: Vec<Subscription> = (0..8_000)
        .map(|n| hub.register(user(n)).expect("room"))
        .collect();
    hub.resync_all("for a test", Pace::Spread);
    assert!(sockets[0].try_next().is_none() && !sockets[0].is_empty());
    (hub, sockets)
}

#[tokio::test(start_paused = true)]
async fn no_socket_is_given_up_for_what_comes_while_a_reload_is_held_back() {
    const QUEUE: usize = 64;
    let (hub, mut sockets) = with_a_held_reload(QUEUE).await;
    let socket = &mut sockets[0];
    let began = tokio::time::Instant::now();
    for number in 0..QUEUE / 2 {
        hub.publish(&[user(0)], &event(number as i64));
    }
    assert!(socket.try_next().is_none(), "there is room for more");
    let told = async {
        let told = socket.next().await;
        assert!(matches!(told, Delivery::Resync(_)), "{told:?}");
        assert_eq!(began.elapsed(), Duration::ZERO, "as soon as there is not");
    };
    let publish = async {
        tokio::task::yield_now().await;
        for number in QUEUE / 2..QUEUE {
            hub.publish(&[user(0)], &event(number as i64));
        }
    };
    tokio::join!(told, publish);
    for number in 0..QUEUE {
        assert_eq!(version(socket.try_next()), Some(number as i64));
    }
    assert_eq!(hub.overflows(), 0);
}

/// Those who are furthest behind would be given up, who are told to wait.
#[tokio::test(start_paused = true)]
async fn no_reload_is_held_back_where_what_waits_for_all_is_nearly_too_much() {
    const BYTES: usize = 10_000;
    let hub = hub(HubLimits {
        connections: None,
        socket_queue: 64,
        queued_bytes: 8 * BYTES,
        ..LIMITS
    });
    let mut sockets: Vec<Subscription> = (0..8_000)
        .map(|n| hub.register(user(n)).expect("room"))
        .collect();
    hub.resync_all("for a test", Pace::Spread);
    let publish = |n| hub.publish(&[user(n)], &large(BYTES));
    for n in [0, 0, 0, 1, 1] {
        publish(n);
    }
    for socket in &mut sockets[..3] {
        assert!(socket.try_next().is_none() && !socket.is_empty());
    }
    let began = tokio::time::Instant::now();
    let [first, second, idle, ..] = &mut sockets[..] else {
        panic!("not so many");
    };
    let told = async {
        for told in <[Delivery; 2]>::from(tokio::join!(first.next(), second.next())) {
            assert!(matches!(told, Delivery::Resync(_)), "{told:?}");
        }
    };
    let publish = async {
        tokio::task::yield_now().await;
        publish(1);
    };
    tokio::join!(told, publish);
    assert_eq!(began.elapsed(), Duration::ZERO);
    assert!(idle.try_next().is_none(), "it keeps nothing");
    for socket in [first, second] {
        for _ in 0..3 {
            assert_eq!(version(socket.try_next()), Some(1));
        }
    }
    assert_eq!((hub.overflows(), hub.shared.memory.held()), (0, 0));
}

/// It would close it as too slow after two seconds.
#[tokio::test(start_paused = true)]
async fn for_a_catch_up_a_reload_is_not_held_back() {
    let (hub, mut sockets) = with_a_held_reload(4).await;
    let recipients = [user(0), user(0)];
    for number in 0..2 {
        hub.publish(&recipients, &event(number));
    }
    let socket = &mut sockets[0];
    assert!(socket.try_next().is_none());
    let began = tokio::time::Instant::now();
    let reads = async {
        let told = socket.next().await;
        assert!(matches!(told, Delivery::Resync(_)), "{told:?}");
        [socket.try_next(), socket.try_next()].map(version)
    };
    let waits = async {
        tokio::task::yield_now().await;
        assert!(!hub.has_room(&recipients));
    };
    let (versions, ()) = tokio::join!(reads, waits);
    assert_eq!(versions, [Some(0), Some(1)]);
    assert_eq!(began.elapsed(), Duration::ZERO);
    assert!(hub.has_room(&recipients));
    // Another time it is held back again.
    hub.resync_all("for a test", Pace::Spread);
    assert!(socket.try_next().is_none() && !socket.is_empty());
}

/// Who went before being told of that one would not be told again.
#[tokio::test(start_paused = true)]
async fn a_reload_that_is_told_at_once_does_not_wait_behind_one_that_is_held_back() {
    let (hub, mut sockets) = with_a_held_reload(4).await;
    let began = tokio::time::Instant::now();
    hub.resync_all("at once", Pace::AtOnce);
    for socket in &mut sockets[..2] {
        let mut reasons = Vec::new();
        for _ in 0..2 {
            let Delivery::Resync(resync) = socket.next().await else {
                panic!("another reload");
            };
            reasons.push(resync.reason);
        }
        assert_eq!(reasons, ["for a test", "at once"]);
        assert!(socket.is_empty());
    }
    assert_eq!(began.elapsed(), Duration::ZERO);
}
