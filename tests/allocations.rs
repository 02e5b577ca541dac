//! What a frame costs in allocations on its way from the listener to the sockets: a constant, however many sockets take
//! it. A binary of its own, because it counts every allocation of the process.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::Arc;

use pgchat::for_tests::{Cursor, Delivery, Event, Frame, FrameType, Horizon, Hub, HubLimits};
use pgchat::for_tests::{Identity, MessageId, Subject, Subscription, UnixSeconds, UserId, Xid};
use uuid::Uuid;

/// The system's allocator, which counts. The one place of the project with `unsafe`: an allocator cannot do without.
struct Counting;

thread_local! {
    static COUNT: Cell<usize> = const { Cell::new(0) };
}

// SAFETY: each call is passed on to the system's allocator as it came; the counter allocates nothing.
#[expect(unsafe_code, reason = "an allocator cannot do without")]
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        COUNT.with(|count| count.set(count.get() + 1));
        // SAFETY: the caller's promises are the system allocator's.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: as above; the pointer came from `alloc`.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        COUNT.with(|count| count.set(count.get() + 1));
        // SAFETY: as above.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn hub() -> Hub {
    let hub = Hub::new(HubLimits {
        connections: None,
        connections_per_user: None,
        socket_queue: 256,
        queued_bytes: 1 << 20,
    });
    hub.start_at(Cursor {
        identity: Identity("a".into()),
        horizon: Horizon(Xid(1)),
    });
    hub
}

/// From an event's data to the frames that its sockets take.
fn deliver(hub: &Hub, recipients: &[UserId; 2], sockets: &mut [Subscription]) -> usize {
    let before = COUNT.with(Cell::get);
    let event = Event {
        subject: Subject::Row(MessageId(Uuid::nil())),
        version: 1,
        xid: Xid(1),
        horizon: Horizon(Xid(1)),
        frame: Frame::relayed(
            FrameType::ChatMessage.into(),
            r#"{"content":"hello"}"#,
            recipients[0],
            UnixSeconds(1),
            Some("1.a.1"),
        ),
        made_at: None,
        as_update: None,
        counted: Default::default(),
    };
    hub.publish(recipients, &Arc::new(event));
    for socket in sockets {
        match socket.try_next() {
            Some(Delivery::Event(event)) => drop(event.frame.clone()),
            other => panic!("{other:?}"),
        }
    }
    COUNT.with(Cell::get) - before
}

#[test]
fn a_frame_is_made_once_for_all_sockets() {
    const ROUNDS: usize = 200;
    let hub = hub();
    let recipients = [1, 2].map(|n| UserId(Uuid::from_u128(n)));
    let mut counts = Vec::new();
    for sockets in [2, 400] {
        let mut sockets: Vec<Subscription> = (0..sockets)
            .map(|n| hub.register(recipients[n % 2]).expect("room"))
            .collect();
        // The queues take the blocks that they then use again.
        for _ in 0..ROUNDS {
            deliver(&hub, &recipients, &mut sockets);
        }
        let all: usize = (0..ROUNDS)
            .map(|_| deliver(&hub, &recipients, &mut sockets))
            .sum();
        counts.push(all / ROUNDS);
    }
    // The text, the shared text, the event; a queue's blocks are used again.
    assert!(counts[0] <= 3, "{counts:?} allocations for a frame");
    assert_eq!(counts[0], counts[1], "whatever the number of sockets");
}
