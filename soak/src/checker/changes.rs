//! Edits and deletions: what was asked of a message, what was acknowledged, and what each participant was shown.
//!
//! A sender edits a message at most once, to a text that is known, and deletes it at most once, after that: so a message has
//! three states, and goes through them in one direction. SQL does the same to it, and may also take the row away
//! (`rewrites.rs`): what a client is shown of that is a deletion.

use super::{Checker, Fate, Kind, Violation};
use crate::content;
use crate::model::*;

/// Of one participant's latest messages, as many are candidates for a change.
const LATEST: usize = 20;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum State {
    #[default]
    Original,
    Edited,
    Deleted,
}

/// How the changes of one message stand.
#[derive(Clone, Copy, Default)]
pub(super) struct Changes {
    /// The most that its sender asked for.
    pub asked: State,
    /// The most that its sender had asked for before the change that is under way.
    before: State,
    /// The most that was acknowledged.
    pub acknowledged: State,
    /// What each member of the conversation was shown last.
    pub shown: [State; 2],
    /// One at a time is under way.
    pub(super) busy: bool,
    /// Deleted outright, by SQL.
    pub(super) erased: bool,
}

impl Checker {
    /// One of a client's latest messages, and what to do with it; `dice` chooses among them.
    pub fn begin_change(&mut self, client: ClientIx, dice: usize) -> Option<(Key, State)> {
        let own = self.own.get(usize::from(client))?;
        let latest = &own[own.len().saturating_sub(LATEST)..];
        let key = *latest.get(dice % latest.len().max(1))?;
        let message = &mut self.messages[key as usize];
        let changes = &mut message.changes;
        let next = match changes.asked {
            State::Original if dice.is_multiple_of(3) => State::Deleted,
            State::Original => State::Edited,
            State::Edited => State::Deleted,
            State::Deleted => return None,
        };
        if changes.busy || message.id.is_none() {
            return None;
        }
        changes.busy = true;
        changes.before = changes.asked;
        changes.asked = next;
        Some((key, next))
    }

    /// Acknowledged, with the message as it is then where the answer has it.
    pub fn changed(&mut self, key: Key, to: State, view: Option<&MessageView>, at: At) {
        if let Some(view) = view
            && self.identify(view, None, at) == Some(key)
            && self.state_of(key, view) < Some(to)
        {
            let text = format!("acknowledged as {to:?}, and the answer does not show it");
            self.violate(Violation::new(Kind::ChangeLost, at, text).key(key));
        }
        let changes = &mut self.messages[key as usize].changes;
        changes.acknowledged = changes.acknowledged.max(to);
    }

    /// Nobody was asked: no reload waits for it.
    pub fn change_unsent(&mut self, key: Key) {
        let changes = &mut self.messages[key as usize].changes;
        changes.asked = changes.before;
    }

    /// Answered or not, another change may follow.
    pub fn end_change(&mut self, key: Key) {
        self.messages[key as usize].changes.busy = false;
    }

    pub fn place_of(&self, key: Key) -> (ConversationIx, Option<uuid::Uuid>) {
        let message = &self.messages[key as usize];
        (message.conversation, message.id)
    }

    /// `None`: it is none of the texts that this message can have.
    pub(super) fn state_of(&self, key: Key, view: &MessageView) -> Option<State> {
        if view.deleted_at.is_some() {
            return view.content.is_empty().then_some(State::Deleted);
        }
        if view.content == content::make(self.seed, key) {
            return Some(State::Original);
        }
        (view.content == content::edited(self.seed, key)).then_some(State::Edited)
    }

    /// A `message_updated` or `message_deleted` frame.
    pub fn change_frame(&mut self, connection: ConnectionNo, view: &MessageView, at: At) {
        let client = self.connections[connection as usize].client;
        if let Some(key) = self.identify(view, Some((client, Some(connection))), at) {
            if self.is_erased(key) {
                // Whoever was away is told of its end only.
                self.saw(client, Some(connection), key, at);
            }
            self.show(client, Some(connection), key, view, at);
        }
    }

    /// Notes in which state a client was shown a message. On one socket it never goes back.
    pub(super) fn show(
        &mut self,
        client: ClientIx,
        connection: Option<ConnectionNo>,
        key: Key,
        view: &MessageView,
        at: At,
    ) {
        let Some(state) = self.state_of(key, view) else {
            return;
        };
        if let Some(number) = connection {
            let known = &mut self.connections[number as usize].changed;
            let before = known.get(&key).copied().unwrap_or_default();
            if state > State::Original {
                known.insert(key, state.max(before));
            }
            if state < before {
                let text = format!("shown as {before:?}, and then as {state:?}");
                self.violate(
                    Violation::new(Kind::Revived, at, text)
                        .key(key)
                        .client(client)
                        .connection(connection),
                );
            }
        }
        let member = self.member(client, self.messages[key as usize].conversation);
        let shown = &mut self.messages[key as usize].changes.shown[member];
        *shown = state.max(*shown);
    }

    /// Whether both participants were shown each acknowledged change.
    pub fn changes_seen(&self) -> bool {
        self.messages.iter().all(|message| {
            let changes = &message.changes;
            message.fate != Fate::Acknowledged
                || changes
                    .shown
                    .iter()
                    .all(|shown| *shown >= changes.acknowledged)
        })
    }

    /// A row of the table: it has what was acknowledged, and both were shown it.
    pub(super) fn row_changes(&mut self, key: Key, row: &MessageView, at: At) {
        let (Some(state), message) = (self.state_of(key, row), &self.messages[key as usize]) else {
            return;
        };
        let changes = message.changes;
        let members = self.conversations[usize::from(message.conversation)].members;
        if changes.erased {
            let text = "its erasure was committed, and the table has it";
            self.violate(Violation::new(Kind::ChangeLost, at, text).key(key));
        }
        if state < changes.acknowledged {
            let text = format!(
                "acknowledged as {:?}, and the table has it {state:?}",
                changes.acknowledged
            );
            self.violate(Violation::new(Kind::ChangeLost, at, text).key(key));
        }
        for (client, shown) in members.into_iter().zip(changes.shown) {
            if shown < state {
                let text =
                    format!("the table has it {state:?}, and it was last shown as {shown:?}");
                self.violate(
                    Violation::new(Kind::ChangeUnseen, at, text)
                        .key(key)
                        .client(client),
                );
            }
        }
    }

    /// One of a client's latest messages to search for, if it is sure to be found: acknowledged and not being deleted.
    pub fn searchable(&self, client: ClientIx, dice: usize) -> Option<Key> {
        let own = self.own.get(usize::from(client))?;
        let latest = &own[own.len().saturating_sub(LATEST)..];
        latest.get(dice % latest.len().max(1)).copied()
    }

    /// Which state was asked for and acknowledged so far: before a search, and after it.
    pub fn states(&self, key: Key) -> (State, State) {
        let changes = self.messages[key as usize].changes;
        (changes.asked, changes.acknowledged)
    }

    /// What a search for the number of a message has found; `before` is from before it was asked.
    pub fn searched(
        &mut self,
        client: ClientIx,
        key: Key,
        before: (State, State),
        found: &[MessageView],
        at: At,
    ) {
        self.counts.searched += 1;
        let mut shown = None;
        for view in found {
            if self.identify(view, Some((client, None)), at) == Some(key) {
                // Of a text that it cannot have, it is told already.
                shown = Some(self.state_of(key, view).unwrap_or(before.1));
            }
        }
        let (asked, _) = self.states(key);
        let fault = if shown.is_some() && before.1 == State::Deleted {
            "its deletion was acknowledged, and a search found it"
        } else if shown.is_some_and(|state| state < before.1) {
            "its edit was acknowledged, and a search shows what it was before"
        } else if shown.is_none() && asked < State::Deleted {
            "it was acknowledged, and a search did not find it"
        } else {
            return;
        };
        self.violate(
            Violation::new(Kind::SearchWrong, at, fault)
                .key(key)
                .client(client),
        );
    }
}
