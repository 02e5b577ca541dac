//! The fuzzer's way into this module.

#![allow(clippy::expect_used)] // a panic is the report

use std::sync::Arc;

use uuid::Uuid;

use super::Stats;
use super::dispatch::Dispatcher;
use crate::hub::{Delivery, GivenUp, Hub, Subscription};
use crate::model::{ReplicaId, UserId};
use crate::position::{Cursor, Horizon};
use crate::services::Services;

/// A dispatcher of notifications that no database sent, with one socket that gets their events.
pub struct ListenerHarness {
    dispatcher: Dispatcher,
    hub: Hub,
    user: UserId,
    socket: Subscription,
    horizon: Horizon,
}

impl ListenerHarness {
    /// `user` has the socket; the hub of `services` must have a position.
    pub fn new(services: &Services, user: UserId) -> Self {
        let (store, live) = (services.store.clone(), services.live.clone());
        let hub = services.hub.clone();
        let stats = Arc::new(Stats::default());
        Self {
            socket: hub.register(user).expect("room for a socket"),
            dispatcher: Dispatcher::new(
                store,
                hub.clone(),
                live,
                ReplicaId(Uuid::nil()),
                1000,
                stats,
            ),
            hub,
            user,
            horizon: Horizon::default(),
        }
    }

    /// A notification: it is delivered, left out, or leads to a catch-up; what a socket gets of it is a frame, and the
    /// position never goes back.
    ///
    /// # Panics
    /// When that does not hold.
    pub async fn receive(&mut self, text: &str) {
        // An error sends the listener to the tables, which is always right.
        let _ = self.dispatcher.dispatch(text).await;
        while let Some(delivery) = self.socket.try_next() {
            match delivery {
                Delivery::Event(event) => assert_frame(event.frame.as_str(), &["cursor"]),
                Delivery::Ephemeral(frame) => assert_frame(frame.as_str(), &[]),
                Delivery::GivenUp(GivenUp::TooSlow) => {
                    self.socket = self.hub.register(self.user).expect("room for a socket");
                }
                other => panic!("{other:?}"),
            }
        }
        let position = self.hub.position().expect("a position");
        assert!(position.horizon >= self.horizon);
        self.horizon = position.horizon;
        assert_eq!(Cursor::decode(&position.encode()), Some(position));
    }
}

fn assert_frame(frame: &str, more: &[&str]) {
    let read: serde_json::Value = serde_json::from_str(frame).expect("a frame is JSON");
    for member in ["type", "data", "userId", "timestamp"].iter().chain(more) {
        assert!(read.get(member).is_some(), "{member}: {read}");
    }
}
