//! Which message of the run a frame, an answer or a row shows, and whether it shows it as it was sent.

use super::{Checker, Fate, Kind, Violation, start};
use crate::content;
use crate::model::*;

impl Checker {
    /// Which message of this run it is; what does not fit is a violation. `None`: none that can be told.
    pub(super) fn identify(
        &mut self,
        view: &MessageView,
        seen_by: Option<(ClientIx, Option<ConnectionNo>)>,
        at: At,
    ) -> Option<Key> {
        let connection = seen_by.and_then(|(_, connection)| connection);
        let key = self
            .key_of(view)
            .filter(|key| (*key as usize) < self.messages.len());
        let Some(key) = key else {
            let text = format!("{} {:?} was never sent", view.id, start(view));
            self.violate(Violation::new(Kind::FromNobody, at, text).connection(connection));
            return None;
        };
        let faults = self.differences(key, view);
        let message = &mut self.messages[key as usize];
        if message.id.is_none() {
            message.id = Some(view.id);
            message.seq = u32::try_from(view.seq).unwrap_or(0);
            self.keys.insert(view.id, key);
        }
        let (conversation, fate) = (message.conversation, message.fate);
        for (kind, text) in faults {
            self.violate(
                Violation::new(kind, at, text)
                    .key(key)
                    .connection(connection),
            );
        }
        if fate == Fate::RolledBack {
            let text = "its transaction was rolled back";
            self.violate(
                Violation::new(Kind::FromNobody, at, text)
                    .key(key)
                    .connection(connection),
            );
            return None;
        }
        if let Some((client, _)) = seen_by
            && !self.conversations[usize::from(conversation)]
                .members
                .contains(&client)
        {
            let text = "the client does not take part in the conversation";
            self.violate(
                Violation::new(Kind::Misdelivered, at, text)
                    .key(key)
                    .client(client)
                    .connection(connection),
            );
            return None;
        }
        Some(key)
    }

    /// The key that a view claims to be of: by its text, or where that was deleted by its `clientMessageId`, or where it has none by its id.
    pub(super) fn key_of(&self, view: &MessageView) -> Option<Key> {
        if view.deleted_at.is_none() {
            return content::key_of(&view.content);
        }
        let prefix = client_message_id(self.seed, 0);
        let Some(own_name) = view.client_message_id.as_deref() else {
            return self.keys.get(&view.id).copied();
        };
        own_name
            .strip_prefix(prefix.strip_suffix('0')?)?
            .parse()
            .ok()
    }

    /// What a view says of a message that differs from what was sent and learnt.
    fn differences(&self, key: Key, view: &MessageView) -> Vec<(Kind, String)> {
        let message = &self.messages[key as usize];
        let mut faults = Vec::new();
        let mut altered = |what: String| faults.push((Kind::Altered, what));
        match self.state_of(key, view) {
            None => altered(format!("content differs, {} bytes", view.content.len())),
            Some(state) if state > message.changes.asked => {
                altered(format!("{state:?}, and nobody asked for it"));
            }
            Some(_) => {}
        }
        if self.users.get(&view.sender_id) != Some(&message.sender) {
            altered(format!("sender is {}", view.sender_id));
        }
        if self.conversation_numbers.get(&view.conversation_id) != Some(&message.conversation) {
            altered(format!("conversation is {}", view.conversation_id));
        }
        let expected = (message.via != Via::Sql).then(|| client_message_id(self.seed, key));
        if view.client_message_id != expected {
            altered(format!("clientMessageId is {:?}", view.client_message_id));
        }
        if u32::try_from(view.seq).map_or(true, |seq| seq == 0) {
            altered(format!("seq is {}", view.seq));
        }
        if let Some(id) = message.id {
            if id != view.id {
                let text = format!("it was {id}, and is {} too", view.id);
                faults.push((Kind::StoredTwice, text));
            } else if i64::from(message.seq) != view.seq {
                faults.push((
                    Kind::Altered,
                    format!("seq was {}, and is {}", message.seq, view.seq),
                ));
            }
        }
        faults
    }
}
