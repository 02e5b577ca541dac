//! Holds what was acknowledged against what each client saw and what the table has. It does no I/O:
//! it is told what happened, and says what was wrong with it.
//!
//! Each observation is checked when it comes; [`verdict`] checks the rest at the end.

mod changes;
mod history;
mod identify;
mod log;
mod moment;
mod progress;
mod rewrites;
mod sockets;
mod verdict;
mod violation;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};

use hdrhistogram::Histogram;
use uuid::Uuid;

use self::changes::Changes;
pub use self::changes::State;
pub use self::history::FaultRecord;
use self::log::Log;
pub use self::moment::{Insistence, Stage, Typed};
use self::progress::Progress;
pub use self::rewrites::Rewrite;
use self::sockets::Connection;
pub use self::verdict::{ConversationView, TablePass};
pub use self::violation::{Kind, Violation};
use crate::model::*;

/// Violations kept in full; beyond it they are only counted.
const KEPT: usize = 500;

/// Of so many acknowledged messages, some thirty are followed by a search (`sender.rs`).
const MESSAGES_TO_SEARCH: u64 = 1_000;

/// How a message stands with its sender.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    /// Being sent, until it is acknowledged.
    Open,
    Acknowledged,
    /// An SQL transaction that was rolled back: nobody may see it.
    RolledBack,
    /// An SQL transaction whose commit got no answer: it may be there or not.
    Unknown,
}

struct Message {
    sender: ClientIx,
    conversation: ConversationIx,
    via: Via,
    fate: Fate,
    first_at: At,
    acked_at: At,
    /// What was logged of sending it until it was acknowledged: 1 where the first attempt succeeded, 0 for SQL.
    attempts: u16,
    /// As first learnt, from whoever showed it first.
    id: Option<Uuid>,
    /// 0 while not known.
    seq: u32,
    /// When each member of the conversation saw it first; 0 is not yet.
    seen: [At; 2],
    /// Rows of the table that are this message, as of the last pass over it.
    rows: u8,
    changes: Changes,
}

#[derive(Default)]
pub struct Counts {
    pub acknowledged: u64,
    pub frames: u64,
    /// `chat_message` frames of messages that were acknowledged before the socket was opened.
    pub replayed: u64,
    /// Messages that a reload over HTTP showed.
    pub reloaded: u64,
    pub resumed: u64,
    pub resyncs: u64,
    /// Searches that were answered.
    pub searched: u64,
    pub typing: u64,
    pub presence: u64,
}

/// In microseconds.
pub struct Latencies {
    /// From the first attempt to the acknowledgement.
    pub acknowledged: Histogram<u64>,
    /// From the first attempt until the other participant saw it.
    pub seen: Histogram<u64>,
}

pub struct Checker {
    seed: u64,
    users: HashMap<Uuid, ClientIx>,
    conversations: Vec<Conversation>,
    conversation_numbers: HashMap<Uuid, ConversationIx>,
    messages: Vec<Message>,
    /// By the ids that the service gave.
    keys: HashMap<Uuid, Key>,
    /// By client: what it sent itself and got acknowledged; those of SQL are not among them.
    own: Vec<Vec<Key>>,
    /// By conversation: what was acknowledged last, in whatever way it was sent.
    latest: Vec<VecDeque<Key>>,
    /// By conversation: the `seq` of each message that is being erased, or was.
    erased: Vec<BTreeSet<u32>>,
    /// What each member has seen of each conversation.
    progress: Vec<[Progress; 2]>,
    /// By conversation and member: up to where reading was acknowledged, and asked for.
    read: Vec<[ReadMarks; 2]>,
    /// Messages that are not yet acknowledged and seen by both, by first attempt.
    unfinished: BTreeSet<(At, Key)>,
    connections: Vec<Connection>,
    /// Who ever said to type in which conversation.
    typists: HashSet<(ConversationIx, ClientIx)>,
    /// When it was last shown that somebody types.
    typing_shown: HashMap<(ConversationIx, ClientIx), At>,
    log: Log,
    pub counts: Counts,
    pub latencies: Latencies,
    violations: Vec<Violation>,
    totals: BTreeMap<Kind, u64>,
}

#[derive(Clone, Copy, Default)]
struct ReadMarks {
    acknowledged: u32,
    asked: u32,
    /// Up to where each member of the conversation has been told of it.
    told: [u32; 2],
}

impl Checker {
    pub fn new(seed: u64, users: &[Uuid], conversations: Vec<Conversation>) -> Self {
        let count = conversations.len();
        Self {
            seed,
            users: (0..).zip(users).map(|(ix, id)| (*id, ix)).collect(),
            conversation_numbers: (0..)
                .zip(&conversations)
                .map(|(ix, c)| (c.id, ix))
                .collect(),
            conversations,
            messages: Vec::new(),
            keys: HashMap::new(),
            own: vec![Vec::new(); users.len()],
            latest: vec![VecDeque::new(); count],
            erased: vec![BTreeSet::new(); count],
            progress: (0..count).map(|_| Default::default()).collect(),
            read: vec![Default::default(); count],
            unfinished: BTreeSet::new(),
            connections: Vec::new(),
            typists: HashSet::new(),
            typing_shown: HashMap::new(),
            log: Log::default(),
            counts: Counts::default(),
            latencies: Latencies {
                acknowledged: histogram(),
                seen: histogram(),
            },
            violations: Vec::new(),
            totals: BTreeMap::new(),
        }
    }

    /// Before its first attempt: from now on this message may be seen.
    pub fn register(
        &mut self,
        sender: ClientIx,
        conversation: ConversationIx,
        via: Via,
        at: At,
    ) -> Key {
        let key = Key::try_from(self.messages.len()).unwrap_or(Key::MAX);
        self.messages.push(Message {
            sender,
            conversation,
            via,
            fate: Fate::Open,
            first_at: at,
            acked_at: 0,
            attempts: 0,
            id: None,
            seq: 0,
            seen: [0, 0],
            rows: 0,
            changes: Changes::default(),
        });
        self.unfinished.insert((at, key));
        key
    }

    /// An attempt, or the answer to one other than an acknowledgement.
    pub fn attempt(&mut self, key: Key, via: Via, connection: ConnectionNo, note: &str, at: At) {
        self.log.attempt(key, via, connection, note, at);
        let message = &mut self.messages[key as usize];
        if message.fate == Fate::Open {
            message.attempts = message.attempts.saturating_add(1);
        }
    }

    /// 201, 200, an `ack` frame, or a commit in SQL.
    pub fn acknowledged(
        &mut self,
        key: Key,
        view: &MessageView,
        via: Via,
        connection: ConnectionNo,
        note: &str,
        at: At,
    ) {
        self.log.attempt(key, via, connection, note, at);
        if self.key_of(view) != Some(key) {
            self.violate(
                Violation::new(
                    Kind::Altered,
                    at,
                    format!("acknowledged as {:?}", start(view)),
                )
                .key(key),
            );
            return;
        }
        if self.identify(view, None, at).is_none() {
            return;
        }
        let message = &mut self.messages[key as usize];
        if message.fate == Fate::Acknowledged {
            return;
        }
        message.fate = Fate::Acknowledged;
        message.acked_at = at;
        if message.via != Via::Sql {
            self.own[usize::from(message.sender)].push(key);
        }
        let latest = &mut self.latest[usize::from(message.conversation)];
        if latest.len() == rewrites::LATEST {
            latest.pop_front();
        }
        latest.push_back(key);
        self.counts.acknowledged += 1;
        record(&mut self.latencies.acknowledged, at - message.first_at);
        self.settle(key);
    }

    /// Its transaction was rolled back, or never came to a commit.
    pub fn rolled_back(&mut self, key: Key, note: &str, at: At) {
        self.log.attempt(key, Via::Sql, 0, note, at);
        self.messages[key as usize].fate = Fate::RolledBack;
        self.settle(key);
    }

    /// Its commit got no answer.
    pub fn unknown(&mut self, key: Key, note: &str, at: At) {
        self.log.attempt(key, Via::Sql, 0, note, at);
        self.messages[key as usize].fate = Fate::Unknown;
        self.settle(key);
    }

    /// The first attempt that is not yet acknowledged and seen by both.
    pub fn oldest_unfinished(&self) -> Option<At> {
        self.unfinished.first().map(|(at, _)| *at)
    }

    pub fn unfinished(&self) -> usize {
        self.unfinished.len()
    }

    pub fn messages(&self) -> usize {
        self.messages.len()
    }

    /// Sockets opened so far.
    pub fn sockets(&self) -> usize {
        self.connections.len().saturating_sub(1)
    }

    pub fn violations(&self) -> &[Violation] {
        &self.violations
    }

    pub fn totals(&self) -> &BTreeMap<Kind, u64> {
        &self.totals
    }

    pub fn violate(&mut self, violation: Violation) {
        let total = self.totals.entry(violation.kind).or_default();
        *total += 1;
        if *total <= 5 {
            println!("[{:>9}] VIOLATION {violation}", seconds(violation.at));
        }
        if self.violations.len() < KEPT {
            self.violations.push(violation);
        }
    }

    /// After a run that was long enough for all of it, with the faults that were done.
    pub fn all_was_done(&mut self, faults: u64, at: At) {
        let counts = &self.counts;
        let searches_due = counts.acknowledged >= MESSAGES_TO_SEARCH;
        let done = [
            ("message was acknowledged", counts.acknowledged, true),
            ("socket was resumed", counts.resumed, true),
            ("search was answered", counts.searched, searches_due),
            ("fault was done", faults, true),
        ];
        for (what, count, is_due) in done {
            if count == 0 && is_due {
                let text = format!("no {what}");
                self.violate(Violation::new(Kind::NothingDone, at, text));
            }
        }
    }

    /// Takes a message off the unfinished ones when nothing more is awaited of it.
    fn settle(&mut self, key: Key) {
        let message = &self.messages[key as usize];
        let done = match message.fate {
            Fate::Open => false,
            Fate::Acknowledged => message.seen.iter().all(|at| *at != 0),
            Fate::RolledBack | Fate::Unknown => true,
        };
        if done {
            self.unfinished.remove(&(message.first_at, key));
        }
    }
}

fn start(view: &MessageView) -> String {
    view.content.chars().take(40).collect()
}

/// Up to ten minutes, to three digits.
#[expect(clippy::expect_used, reason = "the bounds are constants")]
pub fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, 600_000_000, 3).expect("bounds are valid")
}

fn record(histogram: &mut Histogram<u64>, value: At) {
    histogram.saturating_record(value.max(1));
}
