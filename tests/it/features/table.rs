//! What one can do in a chat, in which ways, and what comes of it: for the actor's and the other's sockets, for a client
//! that was away, and for whoever reads the tables or asks over HTTP.

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Feature {
    Open,
    Send,
    Edit,
    Delete,
    Erase,
    MarkRead,
    Type,
    ShowPresence,
    SetActive,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    Http,
    Socket,
    Sql,
    Function,
}

/// In the order of the columns of `docs/features.md`.
pub const WAYS: [Way; 4] = [Way::Http, Way::Socket, Way::Sql, Way::Function];

pub const FEATURES: [Feature; 9] = [
    Feature::Open,
    Feature::Send,
    Feature::Edit,
    Feature::Delete,
    Feature::Erase,
    Feature::MarkRead,
    Feature::Type,
    Feature::ShowPresence,
    Feature::SetActive,
];

/// What comes of it. A frame in words: its type, who acted, `seq`, content. The conversation holds "first quince" and "second
/// quince" of Alice's, both unread; it is she who acts, but for the reading.
pub struct Outcome {
    /// To every socket of Alice's and of Boris's.
    pub to_alice: &'static [&'static str],
    pub to_boris: &'static [&'static str],
    /// To whichever of them comes back with a cursor from before, on any replica.
    pub resumed: &'static [&'static str],
    pub state: State,
}

/// As both replicas tell it, and the tables.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct State {
    /// `seq`, content, and what else is said of a message.
    pub history: Vec<String>,
    pub last_message: String,
    /// Alice's and Boris's.
    pub unread: [i64; 2],
    /// Messages that are found by the word.
    pub quince: usize,
    pub medlar: usize,
    /// Of the table `messages`.
    pub rows: Vec<String>,
}

impl Feature {
    pub fn name(self) -> &'static str {
        match self {
            Self::Open => "open a conversation",
            Self::Send => "send",
            Self::Edit => "edit",
            Self::Delete => "delete, keeping its place",
            Self::Erase => "delete the row",
            Self::MarkRead => "mark as read",
            Self::Type => "show that the user is typing",
            Self::ShowPresence => "watch who is online",
            Self::SetActive => "count as online, or not",
        }
    }

    /// How it is done in this way; `None`: it cannot be.
    pub fn by(self, way: Way) -> Option<&'static str> {
        let how = match (self, way) {
            (Self::Open, Way::Http) => "POST /api/v1/chat/conversations",
            (Self::Open, Way::Sql) => "insert into conversations",
            (Self::Send, Way::Http) => "POST /api/v1/chat/messages",
            (Self::Send, Way::Socket) => "send_message",
            (Self::Send, Way::Sql) => "insert into messages",
            (Self::Send, Way::Function) => "chat_send_message()",
            (Self::Edit, Way::Http) => "PATCH /api/v1/chat/messages/{message_id}",
            (Self::Edit, Way::Socket) => "edit_message",
            (Self::Edit, Way::Sql) => "update messages set content",
            (Self::Delete, Way::Http) => "DELETE /api/v1/chat/messages/{message_id}",
            (Self::Delete, Way::Socket) => "delete_message",
            (Self::Delete, Way::Sql) => "update messages set deleted_at",
            (Self::Erase, Way::Sql) => "delete from messages",
            (Self::MarkRead, Way::Http) => "PUT /api/v1/chat/conversations/{conversation_id}/read",
            (Self::MarkRead, Way::Socket) => "mark_read",
            (Self::MarkRead, Way::Sql) => "update messages set is_read",
            (Self::Type, Way::Socket) => "typing",
            (Self::ShowPresence, Way::Socket) => "watch_presence",
            (Self::SetActive, Way::Socket) => "set_active",
            _ => return None,
        };
        Some(how)
    }

    /// The type of the frame that tells of it.
    pub fn frame(self) -> &'static str {
        match self {
            Self::Open => "conversation_created",
            Self::Send => "chat_message",
            Self::Edit => "message_updated",
            Self::Delete | Self::Erase => "message_deleted",
            Self::MarkRead => "messages_read",
            Self::Type => "typing",
            Self::ShowPresence | Self::SetActive => "presence",
        }
    }

    /// What a client is told that was away.
    pub fn afterwards(self) -> &'static str {
        match self {
            Self::Type => "nothing: typing lasts for seconds",
            Self::ShowPresence | Self::SetActive => "the state by then, once it watches again",
            _ => "the same, by its cursor",
        }
    }

    /// Whether it is tried once more in the same way, which is to tell nobody.
    pub fn is_told_once(self) -> bool {
        !matches!(self, Self::Type | Self::ShowPresence | Self::SetActive)
    }

    pub fn outcome(self) -> Outcome {
        let first = "1 first quince";
        let none: &[&str] = &[];
        let ((to_alice, to_boris, resumed), state) = match self {
            Self::Open => (
                told(&["conversation_created by Alice"]),
                state(&[], "", [0, 0], [0, 0]),
            ),
            Self::Send => (
                told(&["chat_message by Alice 3 third medlar"]),
                state(
                    &[first, "2 second quince", "3 third medlar"],
                    "third medlar",
                    [0, 3],
                    [2, 1],
                ),
            ),
            Self::Edit => (
                told(&["message_updated by Alice 2 now medlar edited"]),
                state(
                    &[first, "2 now medlar edited"],
                    "now medlar",
                    [0, 2],
                    [1, 1],
                ),
            ),
            Self::Delete => (
                told(&["message_deleted by Alice 2  deleted"]),
                state(&[first, "2  deleted"], "", [0, 1], [1, 0]),
            ),
            Self::Erase => (
                told(&["message_deleted by Alice 2  deleted"]),
                state(&[first], "first quince", [0, 1], [1, 0]),
            ),
            Self::MarkRead => {
                let live: &[&str] = &["messages_read by Boris 2"];
                let resumed: &[&str] = &[
                    "message_updated by Alice 1 first quince read",
                    "message_updated by Alice 2 second quince read",
                    "messages_read by Boris 2",
                ];
                let history = ["1 first quince read", "2 second quince read"];
                (
                    (live, live, resumed),
                    state(&history, "second quince", [0, 0], [2, 0]),
                )
            }
            Self::Type => {
                let shown: &[&str] = &["typing by Alice true", "typing by Alice false"];
                ((none, shown, none), untouched())
            }
            Self::ShowPresence | Self::SetActive => {
                let shown: &[&str] = &[
                    "presence by Alice true",
                    "presence by Alice false",
                    "presence by Alice true",
                ];
                ((none, shown, none), untouched())
            }
        };
        Outcome {
            to_alice,
            to_boris,
            resumed,
            state,
        }
    }
}

type Told = (
    &'static [&'static str],
    &'static [&'static str],
    &'static [&'static str],
);

/// To both at once, and to whoever comes back.
fn told(frames: &'static [&'static str]) -> Told {
    (frames, frames, frames)
}

/// Before anything is done.
pub fn untouched() -> State {
    let history = ["1 first quince", "2 second quince"];
    state(&history, "second quince", [0, 2], [2, 0])
}

/// The table's rows are those of the history: nothing else of a deleted message is kept in them.
fn state(history: &[&str], last: &str, unread: [i64; 2], found: [usize; 2]) -> State {
    let history: Vec<String> = history.iter().map(|line| (*line).to_owned()).collect();
    State {
        rows: history.clone(),
        history,
        last_message: last.to_owned(),
        unread,
        quince: found[0],
        medlar: found[1],
    }
}
