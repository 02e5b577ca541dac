//! What another program does to messages by SQL: edits, deletes softly, and erases, that is deletes the row.
//!
//! An erased message is gone from the table, and its `seq` stays unused. Its participants are shown a deletion, also one
//! who had not seen the message before; one who reloads over HTTP finds it missing.

use uuid::Uuid;

use super::sockets::Reload;
use super::{Checker, Kind, State, Violation};
use crate::model::*;

/// Of one conversation's latest messages, as many are candidates.
pub(super) const LATEST: usize = 40;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rewrite {
    Edit,
    Delete,
    Erase,
}

impl Rewrite {
    fn state(self) -> State {
        match self {
            Self::Edit => State::Edited,
            Self::Delete | Self::Erase => State::Deleted,
        }
    }

    pub fn name(self) -> &'static str {
        match self {
            Self::Edit => "edit",
            Self::Delete => "delete",
            Self::Erase => "erase",
        }
    }
}

/// A message that is to be rewritten, and what had been asked of it before.
pub struct Target {
    pub key: Key,
    pub id: Uuid,
    before: State,
}

impl Checker {
    /// At most `count` of a conversation's latest messages, newest first, from the one on that a dice chooses: from now on it
    /// may be done to them.
    pub fn begin_rewrite(
        &mut self,
        conversation: ConversationIx,
        what: Rewrite,
        count: usize,
        dice: usize,
        at: At,
    ) -> Vec<Target> {
        let latest: Vec<Key> = self.latest[usize::from(conversation)]
            .iter()
            .rev()
            .copied()
            .collect();
        let start = dice % latest.len().max(1);
        let mut targets = Vec::new();
        for key in latest[start..].iter().chain(&latest[..start]).copied() {
            let message = &mut self.messages[key as usize];
            let (changes, Some(id)) = (&mut message.changes, message.id) else {
                continue;
            };
            let before = changes.asked;
            let erased = self.erased[usize::from(conversation)].contains(&message.seq);
            let possible = match what {
                Rewrite::Edit => before == State::Original,
                Rewrite::Delete => before < State::Deleted,
                // With the row its `clientMessageId` is forgotten, and another attempt to send it, which a fault may hold
                // up for long, would store it again.
                Rewrite::Erase => message.attempts <= 1,
            };
            if targets.len() == count || changes.busy || erased || !possible {
                continue;
            }
            changes.busy = true;
            changes.asked = what.state();
            if what == Rewrite::Erase {
                self.erased[usize::from(conversation)].insert(message.seq);
            }
            self.log.attempt(key, Via::Sql, 0, what.name(), at);
            targets.push(Target { key, id, before });
        }
        targets
    }

    /// Committed; `done` are those that the statement found.
    pub fn rewrite_committed(&mut self, targets: &[Target], what: Rewrite, done: &[Uuid], at: At) {
        for target in targets {
            self.log.attempt(target.key, Via::Sql, 0, "commit", at);
            let changes = &mut self.messages[target.key as usize].changes;
            changes.busy = false;
            changes.acknowledged = changes.acknowledged.max(what.state());
            changes.erased |= what == Rewrite::Erase;
            if !done.contains(&target.id) {
                let text = format!(
                    "it was acknowledged, and no row was there to {}",
                    what.name()
                );
                self.violate(Violation::new(Kind::Lost, at, text).key(target.key));
            }
        }
    }

    /// As if nobody had asked.
    pub fn rewrite_rolled_back(&mut self, targets: &[Target], note: &str, at: At) {
        for target in targets {
            self.log.attempt(target.key, Via::Sql, 0, note, at);
            let message = &mut self.messages[target.key as usize];
            message.changes.busy = false;
            message.changes.asked = target.before;
            self.erased[usize::from(message.conversation)].remove(&message.seq);
        }
    }

    /// Its commit got no answer: it may be done or not.
    pub fn rewrite_unknown(&mut self, targets: &[Target], note: &str, at: At) {
        for target in targets {
            self.log.attempt(target.key, Via::Sql, 0, note, at);
            self.messages[target.key as usize].changes.busy = false;
        }
    }

    /// Whether somebody erases it, or has.
    pub(super) fn is_erased(&self, key: Key) -> bool {
        let message = &self.messages[key as usize];
        self.erased[usize::from(message.conversation)].contains(&message.seq)
    }

    /// Whether one `seq` comes next after another: all between them are erased.
    pub fn follows(&self, conversation: ConversationIx, lower: i64, higher: i64) -> bool {
        let erased = &self.erased[usize::from(conversation)];
        lower < higher
            && (lower + 1..higher)
                .all(|seq| u32::try_from(seq).is_ok_and(|seq| erased.contains(&seq)))
    }

    /// Whoever reloads and does not find what somebody erases sees that it is gone.
    pub(super) fn erasures_reloaded(&mut self, client: ClientIx, reload: &Reload) {
        for (key, message) in (0..).zip(&mut self.messages) {
            let ix = usize::from(message.conversation);
            let was_read = reload
                .from
                .get(&message.conversation)
                .is_some_and(|from| message.seq > *from);
            if was_read && self.erased[ix].contains(&message.seq) && !reload.shown.contains(&key) {
                let member = usize::from(self.conversations[ix].members[1] == client);
                message.changes.shown[member] = State::Deleted;
            }
        }
    }

    /// Whoever reloads does not find what is erased: no frame need come for it. Those above the highest that the client has
    /// seen (`beyond`) may stand behind others that are still to come.
    pub(super) fn fill_erased(&mut self, client: ClientIx, beyond: bool, at: At) {
        for message in &mut self.messages {
            let ix = usize::from(message.conversation);
            let members = self.conversations[ix].members;
            let Some(member) = members.iter().position(|member| *member == client) else {
                continue;
            };
            let progress = &mut self.progress[ix][member];
            if self.erased[ix].contains(&message.seq)
                && (beyond || message.seq < progress.highest())
            {
                progress.saw(message.seq);
                message.seen[member] = message.seen[member].max(at.max(1));
            }
        }
        let seen: Vec<Key> = self.unfinished.iter().map(|(_, key)| *key).collect();
        seen.into_iter().for_each(|key| self.settle(key));
    }

    /// Participants who were not shown that it is gone.
    pub(super) fn erasure_not_shown(&self, key: Key, at: At) -> Vec<Violation> {
        let message = &self.messages[key as usize];
        let members = self.conversations[usize::from(message.conversation)].members;
        members
            .into_iter()
            .zip(message.changes.shown)
            .filter(|(_, shown)| *shown < State::Deleted)
            .map(|(client, shown)| {
                let text = format!("it is erased, and was last shown as {shown:?}");
                Violation::new(Kind::ChangeUnseen, at, text)
                    .key(key)
                    .client(client)
            })
            .collect()
    }
}
