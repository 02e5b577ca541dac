//! What waits in the fast lane, in order, and how much content that is.

use std::collections::VecDeque;

use tokio::time::Instant;

use super::{MAX_BATCH_BYTES, Pending, expire};

#[derive(Default)]
pub(super) struct Waiting {
    messages: VecDeque<Pending>,
    /// Of all of their content.
    bytes: usize,
}

impl Waiting {
    pub fn len(&self) -> usize {
        self.messages.len()
    }

    pub fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    /// Bytes of content.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// To the end.
    pub fn push(&mut self, pending: Pending) {
        self.bytes += pending.bytes();
        self.messages.push_back(pending);
    }

    /// To the front, in their order.
    pub fn put_back(&mut self, messages: Vec<Pending>) {
        for pending in messages.into_iter().rev() {
            self.bytes += pending.bytes();
            self.messages.push_front(pending);
        }
    }

    /// From the front what one transaction takes, at most `most` messages. Those whose time is over are told so, and left out.
    pub fn take_batch(&mut self, most: usize) -> Vec<Pending> {
        let now = Instant::now();
        let mut batch = Vec::with_capacity(self.len().min(most));
        let mut bytes = 0;
        while batch.len() < most
            && bytes < MAX_BATCH_BYTES
            && let Some(pending) = self.pop()
        {
            if pending.deadline <= now {
                expire(pending, "the message could not be stored in time");
            } else {
                bytes += pending.bytes();
                batch.push(pending);
            }
        }
        batch
    }

    /// Those of which `leaves` holds, in order; the others stay, in theirs.
    pub fn take_out(&mut self, leaves: impl Fn(&Pending) -> bool) -> Vec<Pending> {
        let mut out = Vec::new();
        for _ in 0..self.len() {
            match self.pop() {
                Some(pending) if leaves(&pending) => out.push(pending),
                Some(pending) => self.push(pending),
                None => break,
            }
        }
        out
    }

    fn pop(&mut self) -> Option<Pending> {
        let pending = self.messages.pop_front()?;
        self.bytes -= pending.bytes();
        Some(pending)
    }
}
