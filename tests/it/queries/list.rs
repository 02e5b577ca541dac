//! The queries that are measured, with what each may read.

/// The user who is in a tenth of all conversations.
const BROKER: &str = "'b0000000-0000-4000-8000-000000000000'";

/// What the service passes for the bytes of a page.
const PAGE_BYTES: i64 = 4 * 1024 * 1024;

/// How much data there is; `data.sql` tells what the words mean.
#[derive(Clone, Copy)]
pub struct Size {
    pub messages: u32,
    pub conversations: u32,
    pub own: u32,
    pub deep: u32,
    pub unread: u32,
    /// In one conversation, to the other participant.
    pub many: u32,
}

impl Size {
    pub const fn of(messages: u32) -> Self {
        Self {
            messages,
            conversations: messages / 10,
            own: messages / 100,
            deep: if messages < 40_000 {
                messages / 2
            } else {
                20_000
            },
            unread: 40,
            many: 500,
        }
    }

    /// As deep as the history is asked for.
    pub fn depth(self) -> u32 {
        self.deep / 2
    }
}

pub struct Query {
    pub name: &'static str,
    pub sql: String,
    /// Pages of 8 KiB, at any size.
    pub most_buffers: i64,
    /// What is read for its sake, and how many of them at most.
    pub of: (&'static str, u32),
}

/// Half of the unread messages are in one each, and one is in the long conversation.
const UNREAD_CONVERSATIONS: u32 = 21;

/// For the second page of conversations and the deepest page of a search.
const SECOND_PAGE: u32 = 50;
const DEEPEST: u32 = 1000;

/// Those whose cost is in proportion to what they return, or skip.
pub fn queries(size: Size) -> Vec<Query> {
    let deep = "md5('conversation1')::uuid";
    let before = format!(
        "chat_list_messages_before({deep}, (select last_seq - {} from conversations where id = {deep}), 51, {PAGE_BYTES})",
        size.depth()
    );
    let search = |q: &str, conversation: &str, skip: u32| {
        format!(
            "chat_search({BROKER}, '{q}', {conversation}, 'simple', 21, {skip}, false, {PAGE_BYTES})"
        )
    };
    let narrowed = |unread: &str, name: &str| {
        format!(
            "chat_list_matching_conversations({BROKER}, null, {unread}, {name}, 51, 0, {PAGE_BYTES})"
        )
    };
    let query = |name, call: String, most_buffers, of| Query {
        name,
        sql: format!("select * from {call}"),
        most_buffers,
        of,
    };
    let conversations = |count| ("conversation", count);
    let messages = |count| ("message", count);
    let matches = |count| ("match", count);
    vec![
        query(
            "list of conversations, first page of 50",
            format!("chat_list_conversations({BROKER}, 51, 0, {PAGE_BYTES})"),
            900,
            conversations(51),
        ),
        query(
            "list of conversations, the page behind it",
            format!("chat_list_conversations({BROKER}, 51, {SECOND_PAGE}, {PAGE_BYTES})"),
            1000,
            conversations(SECOND_PAGE + 51),
        ),
        query(
            "conversations with unread messages",
            narrowed("true", "null"),
            600,
            conversations(UNREAD_CONVERSATIONS),
        ),
        query(
            "conversations with somebody of a name that all have, first page of 50",
            narrowed("false", "'user'"),
            1300,
            conversations(51),
        ),
        query(
            "conversations with unread messages, with somebody of a name",
            narrowed("true", "'user 1'"),
            400,
            conversations(UNREAD_CONVERSATIONS),
        ),
        query(
            "history, first page of 50",
            format!("chat_list_messages({deep}, 51, 0, {PAGE_BYTES})"),
            450,
            messages(51),
        ),
        query(
            "history, 50 at a great depth by `before`",
            before,
            450,
            messages(51),
        ),
        query(
            "history, 50 behind an `offset` of 2000",
            format!("chat_list_messages({deep}, 51, 2000, {PAGE_BYTES})"),
            1500,
            messages(2051),
        ),
        query(
            "unread count",
            format!("chat_unread_count({BROKER})"),
            50,
            messages(size.unread),
        ),
        query(
            "search, a rare word",
            search("lighthouse", "null", 0),
            300,
            matches(20),
        ),
        query(
            "search, a word that is in every message",
            search("about", "null", 0),
            1200,
            matches(100),
        ),
        query(
            "search, a word that is in every message, the deepest page",
            search("about", "null", DEEPEST),
            6000,
            matches(DEEPEST + 100),
        ),
        query(
            "search, a word that is in every message, in one conversation",
            search("about", deep, 0),
            1200,
            matches(100),
        ),
        query(
            "search, a word that is in every message, in one conversation, the deepest page",
            search("about", deep, DEEPEST),
            4000,
            matches(DEEPEST + 100),
        ),
        query(
            "search, all but a word",
            search("-zeppelin", "null", 0),
            1200,
            matches(100),
        ),
        query(
            "search, a word that nobody wrote",
            search("zeppelin", "null", 0),
            200,
            matches(0),
        ),
        // What changes rows comes last: it is rolled back, and leaves dead rows and entries behind.
        query(
            "mark read, nothing is unread",
            format!(
                "chat_mark_read(md5('conversation{}')::uuid, {BROKER})",
                size.own
            ),
            60,
            messages(0),
        ),
        query(
            "mark read, one unread message at the end of a long history",
            format!("chat_mark_read({deep}, {BROKER})"),
            200,
            messages(1),
        ),
        query(
            "mark read, 500 unread messages of a long history",
            format!("chat_mark_read({deep}, md5('user1')::uuid)"),
            60 * i64::from(size.many),
            messages(size.many),
        ),
    ]
}

/// The list narrowed to a name that nobody has.
pub fn by_no_name() -> String {
    format!(
        "chat_list_matching_conversations({BROKER}, null, false, 'zeppelin', 51, 0, {PAGE_BYTES})"
    )
}

/// What the broker has missed who has just been told all.
pub fn nothing_missed() -> String {
    format!("chat_missed({BROKER}, pg_snapshot_xmax(pg_current_snapshot()), 1001, {PAGE_BYTES})")
}

/// Those that read more than in proportion to what they return, with the reason.
pub fn exceptions() -> Vec<(Query, &'static str)> {
    let phrase = format!(
        "chat_search({BROKER}, '\"and about\"', null, 'simple', 21, 0, false, {PAGE_BYTES})"
    );
    let all_but =
        format!("chat_search({BROKER}, '-about', null, 'simple', 21, 0, false, {PAGE_BYTES})");
    let exception = |name, call: String, reason| {
        let query = Query {
            name,
            sql: format!("select * from {call}"),
            most_buffers: i64::MAX,
            of: ("match", 0),
        };
        (query, reason)
    };
    vec![
        exception(
            "search, a phrase that nobody wrote, of words that are in every message",
            phrase,
            "The index knows which messages contain both words, but not in which order, so each of the searching user's messages that contain them is read. \
             `SEARCH_TIMEOUT_SECONDS` ends it if these are too many.",
        ),
        exception(
            "search, all but a word that is in every message",
            all_but,
            "What is left out must be read: all messages of the searching user that contain the word.",
        ),
        exception(
            "conversations with somebody of a name that nobody has",
            by_no_name(),
            "No index of pgchat's has the names, which are the host's. So each conversation of the user is read, and its other participant: a few pages for each. \
             A name that many have fills its page sooner, and of those with unread messages only these are looked at.",
        ),
        exception(
            "users, whose name contains a text that nobody's does",
            "chat_list_users(null, null, 'zeppelin', 101, 0)".to_owned(),
            "Any part of a name may be asked for, to which no index leads: all rows of the host's table are read (here a user for every fifth conversation, or more). \
             So these lists have turns of their own, and `SEARCH_TIMEOUT_SECONDS`.",
        ),
    ]
}
