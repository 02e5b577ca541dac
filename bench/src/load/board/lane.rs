//! One sender's messages in one conversation: which of them are under way.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;

use uuid::Uuid;

use super::Client;
use crate::load::http::Queue;

/// One sender's way to one conversation.
#[derive(Clone, Debug)]
pub struct LaneSpec {
    pub conversation: Uuid,
    /// Indexes into the users of the run.
    pub sender: usize,
    pub recipient: usize,
}

impl LaneSpec {
    /// Those of pairs of a sender and a recipient with the conversation of each.
    pub fn of_pairs(pairs: &[(usize, usize)], conversations: Vec<Uuid>) -> Vec<Self> {
        let lanes = pairs.iter().zip(conversations);
        lanes
            .map(|((sender, recipient), conversation)| Self {
                conversation,
                sender: *sender,
                recipient: *recipient,
            })
            .collect()
    }
}

pub struct Lane {
    pub spec: LaneSpec,
    pub conversation: String,
    pub sender: String,
    /// Sockets that must get each message.
    pub(super) sockets: u32,
    pub(super) pipe: RefCell<Option<Pipe>>,
    pub(super) state: RefCell<LaneState>,
}

#[derive(Clone)]
pub enum Pipe {
    Socket(Rc<Client>),
    Http(Rc<Queue>),
}

#[derive(Default)]
pub(super) struct LaneState {
    /// Number of the first message in `under_way`.
    pub(super) base: u32,
    pub(super) under_way: VecDeque<UnderWay>,
}

pub(super) struct UnderWay {
    pub(super) intended: u64,
    /// Sockets that have not seen it yet.
    pub(super) awaited: u32,
    pub(super) answered: bool,
    pub(super) refused: bool,
}

impl LaneState {
    pub(super) fn at(&mut self, number: u32) -> Option<&mut UnderWay> {
        let place = number.checked_sub(self.base)?;
        self.under_way.get_mut(usize::try_from(place).ok()?)
    }
}

impl UnderWay {
    pub(super) fn is_complete(&self) -> bool {
        self.answered && self.awaited == 0
    }
}
