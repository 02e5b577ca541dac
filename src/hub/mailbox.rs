//! What a socket is shown beside its events: who types, who is there. Such a frame tells how something is now, so of each
//! topic only the newest waits, and a socket that is behind misses the steps in between and never the last one.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock};

use tokio::sync::Notify;

use super::backlog::Backlog;
use crate::frame::Frame;
use crate::model::UserId;
use crate::sync::lock;

/// Topics that may wait; far above what one client may watch. Beyond it the socket is given up, like one whose queue is full.
const LIMIT: usize = 4096;

/// Topics from which on a frame that can be done without is left out.
const COMFORT: usize = 1024;

/// What a frame is about; a later one replaces an earlier one that still waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Topic {
    /// Whether this user types to the socket's user. Two users have one conversation.
    Typing(UserId),
    /// Whether this user is there.
    Presence(UserId),
}

/// Why a socket is closed by others than its client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GivenUp {
    /// What waited for it was too much: close with 1013.
    TooSlow,
    /// Its user may not be connected any more: close with 4403.
    Deactivated,
}

/// The part of a socket that others may write to; shared by the hub, the socket's session, and whoever shows it something.
#[derive(Default)]
pub struct Mailbox {
    /// The first reason counts.
    given_up: OnceLock<GivenUp>,
    /// What waits in the socket's queue.
    pub(super) backlog: Backlog,
    /// The session has ended: nothing is to be kept for it any more.
    ended: AtomicBool,
    /// Whether anything is in `latest`, so that the session need not lock to know.
    waiting: AtomicBool,
    /// Boxed and given back when it is empty: most sockets are shown nothing most of the time.
    latest: Mutex<Option<Box<Latest>>>,
    notify: Notify,
}

#[derive(Default)]
struct Latest {
    frames: HashMap<Topic, Frame>,
    /// The topics in the order of their first frame that waits.
    order: VecDeque<Topic>,
}

impl Mailbox {
    /// Shows a frame, sooner or later, unless a newer one of the same topic comes before.
    pub fn put(&self, topic: Topic, frame: Frame) {
        if !self.insert(topic, frame, LIMIT) {
            self.give_up(GivenUp::TooSlow);
        }
    }

    /// Shows a frame that can be done without: one of a new topic is left out while [`COMFORT`] others wait.
    pub fn offer(&self, topic: Topic, frame: Frame) {
        self.insert(topic, frame, COMFORT);
    }

    /// Whether the session has ended.
    pub fn has_ended(&self) -> bool {
        self.ended.load(Ordering::Acquire)
    }

    /// The next frame that waits.
    pub fn take(&self) -> Option<Frame> {
        if !self.waiting.load(Ordering::Acquire) {
            return None;
        }
        let mut guard = self.lock();
        let latest = guard.as_mut()?;
        let topic = latest.order.pop_front();
        let frame = topic.and_then(|topic| latest.frames.remove(&topic));
        if latest.order.is_empty() {
            *guard = None;
            self.waiting.store(false, Ordering::Release);
        }
        frame
    }

    pub(super) fn give_up(&self, why: GivenUp) {
        let _known = self.given_up.set(why);
        self.notify.notify_one();
    }

    /// To a session that holds a reload back: what waits behind it may be a reason not to.
    pub(super) fn look_again(&self) {
        self.notify.notify_one();
    }

    pub(super) fn why_given_up(&self) -> Option<GivenUp> {
        self.given_up.get().copied()
    }

    pub(super) fn end(&self) {
        self.ended.store(true, Ordering::Release);
        *self.lock() = None;
    }

    /// Resolves when the socket was given up, to why.
    pub(super) async fn given_up(&self) -> GivenUp {
        loop {
            let notified = self.notify.notified();
            if let Some(why) = self.why_given_up() {
                return why;
            }
            notified.await;
        }
    }

    /// Resolves when the socket was given up, or when `hurries` holds, which is asked again after [`Mailbox::look_again`].
    pub(super) async fn given_up_or(&self, hurries: impl Fn() -> bool) {
        loop {
            let notified = self.notify.notified();
            if self.why_given_up().is_some() || hurries() {
                return;
            }
            notified.await;
        }
    }

    /// Resolves when the socket was given up, or when there is a frame to take.
    pub(super) async fn news(&self) {
        loop {
            let notified = self.notify.notified();
            if self.why_given_up().is_some() || self.waiting.load(Ordering::Acquire) {
                return;
            }
            notified.await;
        }
    }

    /// Whether there was room.
    fn insert(&self, topic: Topic, frame: Frame, limit: usize) -> bool {
        let mut guard = self.lock();
        if self.has_ended() {
            return true;
        }
        let latest = guard.get_or_insert_default();
        if !latest.frames.contains_key(&topic) {
            if latest.order.len() >= limit {
                return false;
            }
            latest.order.push_back(topic);
        }
        latest.frames.insert(topic, frame);
        if !self.waiting.swap(true, Ordering::AcqRel) {
            self.notify.notify_one();
        }
        true
    }

    fn lock(&self) -> MutexGuard<'_, Option<Box<Latest>>> {
        lock(&self.latest)
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    fn presence(n: u128) -> Topic {
        Topic::Presence(UserId(Uuid::from_u128(n)))
    }

    fn all(mailbox: &Mailbox) -> Vec<String> {
        std::iter::from_fn(|| mailbox.take())
            .map(|frame| frame.as_str().to_owned())
            .collect()
    }

    #[test]
    fn of_each_topic_the_newest_frame_waits() {
        let mailbox = Mailbox::default();
        mailbox.put(presence(1), "1 old".into());
        mailbox.put(presence(2), "2".into());
        mailbox.put(presence(1), "1 new".into());
        assert_eq!(all(&mailbox), ["1 new", "2"]);
        assert!(mailbox.lock().is_none(), "an empty one holds nothing");
        mailbox.put(presence(3), "3".into());
        assert_eq!(all(&mailbox), ["3"]);
    }

    #[tokio::test]
    async fn what_waits_is_bounded() {
        let mailbox = Mailbox::default();
        let [comfort, limit] = [COMFORT, LIMIT].map(|limit| limit as u128);
        for n in 0..comfort {
            mailbox.offer(presence(n), "x".into());
        }
        mailbox.offer(presence(1 << 64), "left out".into());
        mailbox.offer(presence(0), "a newer one".into());
        for n in comfort..limit {
            mailbox.put(presence(n), "x".into());
        }
        assert_eq!(mailbox.why_given_up(), None);
        let next = mailbox.take();
        assert_eq!(next.as_ref().map(Frame::as_str), Some("a newer one"));
        mailbox.put(presence(1 << 65), "fits".into());
        mailbox.put(presence(1 << 66), "one too many".into());
        assert_eq!(mailbox.given_up().await, GivenUp::TooSlow);
    }

    #[test]
    fn an_ended_session_keeps_nothing() {
        let mailbox = Mailbox::default();
        mailbox.put(presence(1), "1".into());
        mailbox.end();
        mailbox.put(presence(2), "2".into());
        assert!(all(&mailbox).is_empty());
        assert!(mailbox.lock().is_none());
    }

    #[tokio::test]
    async fn news_is_told_of_a_frame_that_came_before_it_was_asked() {
        let mailbox = Mailbox::default();
        mailbox.put(presence(1), "1".into());
        mailbox.news().await;
        assert_eq!(all(&mailbox), ["1"]);
        let news = mailbox.news();
        tokio::pin!(news);
        assert!(futures_util::poll!(&mut news).is_pending());
        mailbox.put(presence(1), "2".into());
        news.await;
    }
}
