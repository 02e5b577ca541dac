//! What can only be told at the end: the table against what was acknowledged and seen.

use uuid::Uuid;

use super::{Checker, Fate, Kind, Violation};
use crate::model::*;

/// What one pass over the table, ordered by conversation and `seq`, has found.
pub struct TablePass {
    current: Option<ConversationIx>,
    next_seq: i64,
    pub rows: u64,
    /// By conversation and member: messages of the other one that are not read.
    unread: Vec<[u64; 2]>,
    /// By conversation and member: the last message of the other one that is acknowledged as read.
    last_read: Vec<[i64; 2]>,
    /// By conversation: the highest `seq` and its message.
    heads: Vec<(i64, Option<Uuid>)>,
}

/// A conversation as `GET conversations` shows it to one participant.
pub struct ConversationView {
    pub id: Uuid,
    pub last_seq: i64,
    pub last_message_id: Option<Uuid>,
    pub unread: u64,
}

impl Checker {
    /// A client asks to have read a conversation up to a `seq` that it has seen.
    pub fn read_asked(&mut self, client: ClientIx, conversation: ConversationIx, up_to: u32) {
        let member = self.member(client, conversation);
        let marks = &mut self.read[usize::from(conversation)][member];
        marks.asked = marks.asked.max(up_to);
    }

    /// The answer to it: `read_seq` is up to where the service says that the client has read. It may be more
    /// than was asked for: one's own messages need no reading.
    pub fn read_acknowledged(
        &mut self,
        client: ClientIx,
        conversation: ConversationIx,
        up_to: u32,
        read_seq: i64,
        at: At,
    ) {
        let member = self.member(client, conversation);
        let marks = &mut self.read[usize::from(conversation)][member];
        marks.acknowledged = marks.acknowledged.max(up_to);
        // 0 is the answer where the other one has written nothing up to there; whether rows were read is checked at the end.
        if read_seq != 0 && read_seq < i64::from(up_to) {
            let text = format!("marked up to {up_to}, and readSeq is {read_seq}");
            self.violate(
                Violation::new(Kind::ReadLost, at, text)
                    .client(client)
                    .place(conversation, up_to),
            );
        }
    }

    /// Read marks that another program has committed.
    pub fn read_committed(&mut self, client: ClientIx, conversation: ConversationIx, up_to: u32) {
        let member = self.member(client, conversation);
        let marks = &mut self.read[usize::from(conversation)][member];
        marks.acknowledged = marks.acknowledged.max(up_to);
    }

    /// The `seq` up to which a client has seen everything of a conversation, and the highest it has seen.
    pub fn seen_up_to(&self, client: ClientIx, conversation: ConversationIx) -> (u32, u32) {
        let member = self.member(client, conversation);
        let progress = &self.progress[usize::from(conversation)][member];
        (progress.whole(), progress.highest())
    }

    /// Whether both participants have seen each conversation up to its highest `seq` in the table.
    pub fn caught_up(&self, heads: &[(Uuid, i64)]) -> bool {
        heads.iter().all(|(id, last)| {
            self.conversation_numbers.get(id).is_none_or(|ix| {
                self.progress[usize::from(*ix)]
                    .iter()
                    .all(|progress| i64::from(progress.whole()) >= *last)
            })
        })
    }

    pub fn begin_table(&mut self) -> TablePass {
        for message in &mut self.messages {
            message.rows = 0;
        }
        TablePass {
            current: None,
            next_seq: 1,
            rows: 0,
            unread: vec![[0, 0]; self.conversations.len()],
            last_read: vec![[0, 0]; self.conversations.len()],
            heads: vec![(0, None); self.conversations.len()],
        }
    }

    /// The next row, in the order of conversation and `seq`.
    pub fn row(&mut self, pass: &mut TablePass, row: &MessageView, at: At) {
        pass.rows += 1;
        let Some(conversation) = self.conversation_numbers.get(&row.conversation_id).copied()
        else {
            let text = format!("row {} is in conversation {}", row.id, row.conversation_id);
            self.violate(Violation::new(Kind::FromNobody, at, text));
            return;
        };
        if pass.current != Some(conversation) {
            pass.current = Some(conversation);
            pass.next_seq = 1;
        }
        if !self.follows(conversation, pass.next_seq - 1, row.seq) {
            let text = format!("seq {} comes where {} is due", row.seq, pass.next_seq);
            let seq = u32::try_from(row.seq).unwrap_or(0);
            self.violate(Violation::new(Kind::SeqGap, at, text).place(conversation, seq));
        }
        pass.next_seq = row.seq + 1;
        pass.heads[usize::from(conversation)] = (row.seq, Some(row.id));
        if let Some(key) = self.identify(row, None, at) {
            let message = &mut self.messages[key as usize];
            message.rows = message.rows.saturating_add(1);
            if message.rows > 1 {
                let text = format!("row {} is one more of it", row.id);
                self.violate(Violation::new(Kind::StoredTwice, at, text).key(key));
            }
            self.row_read(pass, key, row, at);
            self.row_changes(key, row, at);
        }
    }

    /// After the last row: what is missing in the table, and what was not seen of it.
    pub fn end_table(&mut self, pass: &TablePass, at: At) {
        let mut found = self.reads_not_told(pass, at);
        for (key, message) in (0..).zip(&self.messages) {
            let members = self.conversations[usize::from(message.conversation)].members;
            if message.fate == Fate::Open {
                let text = "no acknowledgement, though all is calm";
                found.push(
                    Violation::new(Kind::NeverAnswered, at, text)
                        .key(key)
                        .client(message.sender),
                );
            }
            if message.rows == 0 {
                if self.is_erased(key) {
                    found.extend(self.erasure_not_shown(key, at));
                } else if message.fate == Fate::Acknowledged {
                    let text = "acknowledged, and not in the table";
                    found.push(Violation::new(Kind::Lost, at, text).key(key));
                } else if message.seen != [0, 0] {
                    let text = "seen, and not in the table";
                    found.push(Violation::new(Kind::FromNobody, at, text).key(key));
                }
                continue;
            }
            for (client, seen) in members.into_iter().zip(message.seen) {
                if seen == 0 {
                    let text = "in the table, and never seen by its participant";
                    found.push(
                        Violation::new(Kind::Unseen, at, text)
                            .key(key)
                            .client(client),
                    );
                }
            }
        }
        for violation in found {
            self.violate(violation);
        }
    }

    /// What `unread-count` says.
    pub fn unread_count(&mut self, pass: &TablePass, client: ClientIx, count: u64, at: At) {
        let expected: u64 = self
            .conversations
            .iter()
            .zip(&pass.unread)
            .flat_map(|(conversation, unread)| conversation.members.iter().zip(unread))
            .filter(|(member, _)| **member == client)
            .map(|(_, unread)| unread)
            .sum();
        if count != expected {
            let text = format!("unread-count says {count}, and the table {expected}");
            self.violate(Violation::new(Kind::UnreadWrong, at, text).client(client));
        }
    }

    /// What the list of conversations says of one.
    pub fn conversation(
        &mut self,
        pass: &TablePass,
        client: ClientIx,
        view: &ConversationView,
        at: At,
    ) {
        let Some(ix) = self.conversation_numbers.get(&view.id).copied() else {
            let text = format!("conversation {} was never made", view.id);
            self.violate(Violation::new(Kind::FromNobody, at, text).client(client));
            return;
        };
        let (last_row, last_id) = pass.heads[usize::from(ix)];
        // A `seq` is given once: that of what was erased does not come back.
        let last_erased = self.erased[usize::from(ix)].last().copied();
        let last_seq = last_row.max(last_erased.map_or(0, i64::from));
        if (view.last_seq, view.last_message_id) != (last_seq, last_id) {
            let text = format!(
                "the list says lastSeq {} and lastMessageId {:?}, the table {last_seq} and {last_id:?}",
                view.last_seq, view.last_message_id
            );
            let seq = u32::try_from(last_seq).unwrap_or(0);
            self.violate(
                Violation::new(Kind::HeadWrong, at, text)
                    .client(client)
                    .place(ix, seq),
            );
        }
        let expected = pass.unread[usize::from(ix)][self.member(client, ix)];
        if view.unread != expected {
            let text = format!(
                "unreadCount of conversation {ix} says {}, and the table {expected}",
                view.unread
            );
            self.violate(Violation::new(Kind::UnreadWrong, at, text).client(client));
        }
    }

    /// Whether a row is read by those who marked it, and only by those.
    fn row_read(&mut self, pass: &mut TablePass, key: Key, row: &MessageView, at: At) {
        let message = &self.messages[key as usize];
        let conversation = usize::from(message.conversation);
        let members = self.conversations[conversation].members;
        let reader = usize::from(members[0] == message.sender);
        let marks = self.read[conversation][reader];
        // A deleted one may have been marked since, which is told with it.
        let is_told_by_mark = row.is_read && row.deleted_at.is_none();
        if is_told_by_mark && row.seq <= i64::from(marks.acknowledged) {
            pass.last_read[conversation][reader] = row.seq;
        }
        let fault = if row.is_read {
            (row.seq > i64::from(marks.asked)).then_some((
                Kind::ReadFromNobody,
                format!("it is read, and {} was the most asked for", marks.asked),
            ))
        } else if row.deleted_at.is_some() {
            // It is not unread, and no mark reads it.
            None
        } else {
            pass.unread[conversation][reader] += 1;
            (row.seq <= i64::from(marks.acknowledged)).then_some((
                Kind::ReadLost,
                format!("it is not read, though {} was", marks.acknowledged),
            ))
        };
        if let Some((kind, text)) = fault {
            self.violate(
                Violation::new(kind, at, text)
                    .key(key)
                    .client(members[reader]),
            );
        }
    }

    /// Marks that changed something and that a participant's sockets never showed.
    fn reads_not_told(&self, pass: &TablePass, at: At) -> Vec<Violation> {
        let mut found = Vec::new();
        for (ix, conversation) in (0..).zip(&self.conversations) {
            let place = usize::from(ix);
            for (reader, last) in pass.last_read[place].into_iter().enumerate() {
                let told = self.read[place][reader].told;
                for (client, told) in conversation.members.into_iter().zip(told) {
                    if i64::from(told) < last {
                        let reader = conversation.members[reader];
                        let text = format!(
                            "client {reader} has read up to {last}, and messages_read came up to {told}"
                        );
                        let seq = u32::try_from(last).unwrap_or(0);
                        found.push(
                            Violation::new(Kind::ReadUnseen, at, text)
                                .place(ix, seq)
                                .client(client),
                        );
                    }
                }
            }
        }
        found
    }

    pub(super) fn member(&self, client: ClientIx, conversation: ConversationIx) -> usize {
        let members = self.conversations[usize::from(conversation)].members;
        usize::from(members[1] == client)
    }
}
