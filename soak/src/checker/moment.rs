//! What is true for the moment only: who types, and who is there.
//!
//! Under faults such frames may be late or left out, so what is checked all the time is that nothing reaches anybody whom it
//! does not concern, and that whoever goes on typing is shown to the other in the end. What the last of them says is held
//! against the truth at the end, when all is calm.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use uuid::Uuid;

use super::{Checker, Kind, Violation};
use crate::model::*;

/// For how long nothing may have been in the way of typing when the other has still not been shown it.
const SHOWN: Duration = Duration::from_secs(40);

/// How long typing may go unshown once all has settled, whatever the sockets do: only the service ends one then.
const SETTLED: Duration = Duration::from_secs(150);

/// How far a run has come, and so what may be in the way of typing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    Faults,
    /// No more faults.
    Calm,
    /// All clients are online, and all that was sent is seen.
    Settled,
}

/// Somebody who goes on typing until the other is shown it.
pub struct Insistence {
    typist: ClientIx,
    conversation: ConversationIx,
    began: At,
    /// Since when nothing has been in its way, on these sockets of the two.
    clear: Option<(At, [ConnectionNo; 2])>,
    /// Since when all has settled.
    settled: Option<At>,
}

/// How typing has gone so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Typed {
    Shown,
    /// It may be shown yet.
    Open,
    /// It was lost, again and again.
    Unseen,
}

impl Insistence {
    pub fn begin(typist: ClientIx, conversation: ConversationIx, at: At) -> Self {
        Self {
            typist,
            conversation,
            began: at,
            clear: None,
            settled: None,
        }
    }
}

/// Of one socket; emptied at its end.
#[derive(Default)]
pub(super) struct Moment {
    watched: HashSet<ClientIx>,
    /// As the last frame said.
    present: HashMap<ClientIx, bool>,
    /// Conversations in which the other is shown to type.
    typing: HashSet<ConversationIx>,
}

impl Checker {
    /// A client is about to say that it types.
    pub fn types(&mut self, client: ClientIx, conversation: ConversationIx) {
        self.typists.insert((conversation, client));
    }

    /// A `typing` frame.
    pub fn typing_frame(
        &mut self,
        connection: ConnectionNo,
        conversation: Uuid,
        typist: Uuid,
        is_typing: bool,
        at: At,
    ) {
        self.counts.typing += 1;
        let client = self.connections[connection as usize].client;
        let place = self.conversation_numbers.get(&conversation).copied();
        let concerned = place
            .zip(self.users.get(&typist).copied())
            .filter(|(ix, typist)| {
                let members = self.conversations[usize::from(*ix)].members;
                *typist != client
                    && members.contains(&client)
                    && members.contains(typist)
                    && self.typists.contains(&(*ix, *typist))
            });
        let Some((ix, typist)) = concerned else {
            let text = format!("user {typist} types in conversation {conversation}");
            self.violate(
                Violation::new(Kind::TypingStray, at, text)
                    .client(client)
                    .connection(Some(connection)),
            );
            return;
        };
        if is_typing {
            self.typing_shown.insert((ix, typist), at);
        }
        let typing = &mut self.connections[connection as usize].moment.typing;
        match is_typing {
            true => typing.insert(ix),
            false => typing.remove(&ix),
        };
    }

    /// What has come of it. To be asked each time that the typist has said so again.
    ///
    /// A fault loses single frames, and so does the end of a socket. A machine that is behind has the messages of the last faults
    /// before it: the typist's own end their typing, and those on one socket are answered ahead of it. So the time counts only
    /// while there are no more faults, no message is under way, and each of the two stays on one socket. That they never stay is
    /// no excuse once all has settled.
    pub fn judge(&self, insistence: &mut Insistence, stage: Stage, at: At) -> Typed {
        let place = (insistence.conversation, insistence.typist);
        let shown = self.typing_shown.get(&place);
        if shown.is_some_and(|at| *at >= insistence.began) {
            return Typed::Shown;
        }
        if stage == Stage::Settled {
            let since = *insistence.settled.get_or_insert(at);
            if at - since >= micros(SETTLED) {
                return Typed::Unseen;
            }
        }
        let [one, other] = self.conversations[usize::from(insistence.conversation)].members;
        let sockets = match (self.live_socket(one), self.live_socket(other)) {
            (Some(one), Some(other)) if stage >= Stage::Calm && self.unfinished.is_empty() => {
                [one, other]
            }
            _ => {
                insistence.clear = None;
                return Typed::Open;
            }
        };
        let clear = insistence.clear.get_or_insert((at, sockets));
        if clear.1 != sockets {
            *clear = (at, sockets);
        }
        match at - clear.0 >= micros(SHOWN) {
            true => Typed::Unseen,
            false => Typed::Open,
        }
    }

    /// A socket is about to ask for these users' presence.
    pub fn watches(&mut self, connection: ConnectionNo, users: &[ClientIx]) {
        let moment = &mut self.connections[connection as usize].moment;
        moment.watched = users.iter().copied().collect();
        moment.present.clear();
    }

    /// A `presence` frame.
    pub fn presence_frame(
        &mut self,
        connection: ConnectionNo,
        user: Uuid,
        is_online: bool,
        at: At,
    ) {
        self.counts.presence += 1;
        let known = &mut self.connections[connection as usize];
        let client = known.client;
        match self
            .users
            .get(&user)
            .filter(|ix| known.moment.watched.contains(ix))
        {
            Some(ix) => {
                known.moment.present.insert(*ix, is_online);
            }
            None => self.violate(
                Violation::new(Kind::PresenceStray, at, format!("of user {user}"))
                    .client(client)
                    .connection(Some(connection)),
            ),
        }
    }

    /// Where the last frames of the open sockets are not the truth: these clients have left, the others are there, and
    /// nobody types.
    pub fn untrue_moments(&self, left: &HashSet<ClientIx>, at: At) -> Vec<Violation> {
        let mut found = Vec::new();
        for (number, known) in (0..).zip(&self.connections).skip(1) {
            if known.closed.is_some() {
                continue;
            }
            let mut tell = |kind, text: String| {
                let violation = Violation::new(kind, at, text).client(known.client);
                found.push(violation.connection(Some(number)));
            };
            for watched in &known.moment.watched {
                let shown = known.moment.present.get(watched).copied();
                if shown != Some(!left.contains(watched)) {
                    tell(
                        Kind::PresenceWrong,
                        format!("client {watched} is shown as online: {shown:?}"),
                    );
                }
            }
            for conversation in &known.moment.typing {
                tell(
                    Kind::TypingStuck,
                    format!("the other still types in conversation {conversation}"),
                );
            }
        }
        found
    }
}
