//! The one table of settings: defaults, allowed values, `pgchat --help` and the check for unknown
//! variables all come from here. How values become a [`super::Config`] is not told here.

/// One variable.
#[derive(Debug)]
pub(super) struct Setting {
    pub name: &'static str,
    /// As it would be written in `config.env`; empty: not set.
    pub default: &'static str,
    pub kind: Kind,
    pub help: &'static str,
}

/// What values a setting takes.
#[derive(Debug)]
pub(super) enum Kind {
    Text,
    /// Text that is never shown.
    Secret,
    /// A whole number from the first to the second.
    Number(u64, u64),
    /// A number of seconds, whole, from the first to the second.
    Seconds(u64, u64),
    /// One of these words, in either case.
    Choice(&'static [&'static str]),
}

/// Settings that belong together.
pub(super) struct Group {
    pub title: &'static str,
    pub settings: &'static [&'static Setting],
}

use super::{AuthMode, LogFormat, SslMode};
use Kind::{Choice, Number, Seconds, Secret, Text};

macro_rules! settings {
    ($($title:literal { $($name:ident = $default:literal, $kind:expr, $help:literal;)* })*) => {
        $($(pub(super) const $name: Setting = Setting {
            name: stringify!($name),
            default: $default,
            kind: $kind,
            help: $help,
        };)*)*

        pub(super) const GROUPS: &[Group] = &[$(Group {
            title: $title,
            settings: &[$(&$name),*],
        }),*];
    };
}

settings! {
    "Database" {
        DB_HOST = "", Text,
            "Hosts of the database, comma-separated: the first that accepts writes is used. A name, an IP \
             address, or the directory of a Unix socket. Without DB_HOST and DATABASE_URL pgchat starts a \
             private, embedded PostgreSQL.";
        DB_PORT = "5432", Text,
            "One port for all hosts, or one for each, comma-separated.";
        DB_USER = "postgres", Text,
            "The database user.";
        DB_PASSWORD = "", Secret,
            "Its password. In config.env \"$\" is an ordinary character; a # after a space needs quotes.";
        DB_NAME = "postgres", Text,
            "The database.";
        DB_SSL_MODE = "prefer", Choice(&SslMode::NAMES),
            "prefer: TLS if the server offers it. require: TLS, without checking the server's certificate. \
             verify-ca: TLS, with a certificate signed by the CA of DB_SSL_ROOT_CERT. verify-full: and issued for this \
             host name. A Unix socket never uses TLS.";
        DB_SSL_ROOT_CERT = "", Text,
            "PEM file of the CA for verify-ca and verify-full, read again for each new connection. Without it \
             verify-full asks the system's trust store.";
        DATABASE_URL = "", Secret,
            "Instead of DB_HOST: postgres://user:password@host:port/database?sslmode=verify-full. What it \
             leaves out is taken from the DB_ variables.";
        LISTEN_DATABASE_URL = "", Secret,
            "Where the listener and migrations connect if DB_HOST or DATABASE_URL names a pooler such as \
             PgBouncer: they need a direct connection. The same database, the same form as DATABASE_URL.";
        DB_SCHEMA = "public", Text,
            "Schema of the chat tables: lower-case letters, digits and \"_\", at most 51 bytes.";
        DB_POOL_SIZE = "8", Number(3, 1000),
            "Connections of one replica for requests and stores; five more come on top.";
        DB_TIMEOUT_SECONDS = "10", Seconds(1, 300),
            "How long a statement may take, waiting for a pooled connection included; then 503.";
        DB_CONNECT_TIMEOUT_SECONDS = "30", Seconds(0, 3600),
            "How long a command tries to reach the database when it starts before it gives up.";
    }
    "Embedded database" {
        EMBEDDED_DATA_DIR = "", Text,
            "Where the embedded PostgreSQL keeps its data. Default: pgchat/postgres below $XDG_DATA_HOME or \
             ~/.local/share; as root /var/lib/pgchat/postgres.";
        PG_BIN_DIR = "", Text,
            "Directory with PostgreSQL's initdb and postgres. Default: searched in the usual places.";
    }
    "Users" {
        USERS_TABLE = "users", Text,
            "Your application's table or view of users, spelled as in SQL: users, crm.people, or '\"User\"', which \
             needs both kinds of quotes.";
        USERS_COLUMNS = "", Text,
            "Its columns as field=column, comma-separated, such as id=user_id,firstName=given_name. Fields: id, \
             firstName, lastName, avatarUrl, role, isActive, deletedAt (a user with a value here is not active); \
             role= without a column leaves the field out. Default: detected by their names.";
        USERS_TABLE_CHECK_SECONDS = "3", Seconds(1, 300),
            "How often to check whether that table has been altered; its columns are then detected again.";
        USER_DIRECTORY = "all", Choice(&["all", "services"]),
            "jwt mode: who may list and search users. all: any user. services: service tokens only, so that no user can \
             page through the names of all others. Whoever knows an id can still read that user.";
    }
    "Server" {
        SERVER_PORT = "8081", Number(0, 65535),
            "The port of HTTP and WebSocket. 0: any free one; the log says which.";
        SERVER_HOST = "127.0.0.1", Text,
            "The address to listen on: an IP address or localhost. In jwt mode the default is 0.0.0.0, all \
             interfaces; in trusted mode set that only if nothing but the authenticating gateway can reach it.";
        SERVICE_NAME = "pgchat", Text,
            "The name that /health shows.";
        ALLOWED_ORIGINS = "", Text,
            "Origins of the pages that may call over HTTP (CORS) and open WebSockets, comma-separated, such as \
             https://app.example.com; or *. Default: the same origin only, and with the embedded database also \
             pages of this machine, such as http://localhost:3000. Once set, it is the whole list: the origin of \
             the service's own pages must be in it too, or their sockets are refused.";
        WEB_PAGE = "on", Choice(&["on", "off"]),
            "The chat page at /. It can do what any caller can, no more.";
        WORKER_THREADS = "0", Number(0, 1024),
            "Threads of one replica. 0: half as many as there are cores, rounded up; the rest is left to \
             PostgreSQL, a proxy or another replica.";
        LOG_LEVEL = "info", Choice(&["error", "warn", "info", "debug", "trace"]),
            "How much pgchat logs.";
        LOG_FORMAT = "pretty", Choice(&LogFormat::NAMES),
            "json: one JSON object a line.";
        RUST_LOG = "", Text,
            "Refines LOG_LEVEL for parts, such as pgchat::listener=debug,hyper=info. Other crates than pgchat \
             never log below info, because they would log what passes through them.";
    }
    "Who may call" {
        AUTH_MODE = "trusted", Choice(&AuthMode::NAMES),
            "trusted: every caller is believed, because a gateway in front has checked it. jwt: a token says who \
             calls. Default: jwt once a secret, a key file or a service token is set, else trusted.";
        JWT_SECRET = "", Secret,
            "Secret for HS256 tokens, as it stands, not decoded: 32 bytes or more, or a warning says so.";
        JWT_PUBLIC_KEY_FILE = "", Text,
            "PEM file with one public key, for tokens by RS256 (2048 to 8192 bits), ES256 or EdDSA (Ed25519). \
             Read again when it changes.";
        JWT_JWKS_FILE = "", Text,
            "File with a JWKS document, at most 32 keys for RS256, ES256 and EdDSA, told apart by kid. Read \
             again when it changes.";
        JWT_ISSUER = "", Text,
            "The issuer (iss) that a token must name.";
        JWT_AUDIENCE = "", Text,
            "The audience (aud) that a token must name. Not set: it is not checked.";
        JWT_USER_CLAIM = "sub", Text,
            "The claim that holds the user's id, a UUID.";
        JWT_LEEWAY_SECONDS = "0", Seconds(0, 30),
            "How far the clock of the tokens' issuer may differ (exp, nbf).";
        SERVICE_TOKENS = "", Secret,
            "Secrets of other servers, which may act for any user, comma-separated: 32 bytes or more each, or a \
             warning says so. To replace one, list both until the old one is no longer used.";
        TOKEN_WARNING_SECONDS = "60", Seconds(0, 3600),
            "How long before its token expires a socket is sent token_expiring. A token that has no more than this left \
             when it is presented is warned of in its last quarter.";
        TICKET_SECONDS = "30", Seconds(1, 300),
            "How long a ticket is valid; it opens one socket.";
        USER_CHECK_SECONDS = "10", Seconds(1, 30),
            "jwt mode: how long an answer that a user is active is reused. After that, requests of a deactivated user are \
             refused; sockets are closed within twice that time.";
    }
    "Search" {
        SEARCH_LANGUAGE = "simple", Text,
            "Text search configuration of the database, such as simple, english or german: how words are stemmed, \
             and which are left out. off: no search, and sends pay nothing for it. A change builds another index, \
             in the background.";
        SEARCH_TIMEOUT_SECONDS = "3", Seconds(1, 300),
            "How long a search of messages, a list of users, or a list of conversations by name may take once it has a connection; \
             then 503. Searches may use a third of the connections for requests, one for each user, and lists of users a third, too.";
    }
    "Limits" {
        MAX_MESSAGE_BYTES = "65536", Number(1, 10_485_760),
            "Longest content of a message, in bytes of UTF-8.";
        MAX_BODY_BYTES = "1048576", Number(1024, 67_108_864),
            "Longest HTTP body and WebSocket message, in bytes; at least MAX_MESSAGE_BYTES + 1024. At its default it grows \
             with MAX_MESSAGE_BYTES, to six times that + 1024: JSON may spell a byte with six.";
        MAX_HEADER_BYTES = "16384", Number(4096, 65_536),
            "Longest head of an HTTP request, in bytes, its first line with the query included; beyond that 431.";
        MAX_HEADERS = "100", Number(20, 1000),
            "Header fields of a request; beyond that 431.";
        MAX_QUERY_BYTES = "256", Number(1, 4096),
            "Longest q of a search, for messages or for names, and longest role that users are listed by, in bytes.";
        MAX_CONNECTIONS = "100000", Number(0, 10_000_000),
            "Sockets of one replica. 0: no limit.";
        MAX_HTTP_CONNECTIONS = "1000", Number(10, 1_000_000),
            "Connections of one replica that are not sockets, in addition to MAX_CONNECTIONS; one more gets 503, \
             unless it asks for /health, /health/live or /metrics, or is a browser's preflight. If MAX_CONNECTIONS \
             is 0, these have no limit either.";
        MAX_CONNECTIONS_PER_USER = "20", Number(0, 1_000_000),
            "Sockets of one user on one replica. Each event goes to all of them in a row: if one user may have a \
             thousand, others may wait some 8 ms meanwhile. 0: no limit.";
        MAX_READS_PER_USER = "64", Number(0, 1_000_000),
            "Requests of one user that read (pages, objects, counts), at a time on one replica; beyond that 429. \
             At most a third of the connections for requests serve them at a time; the others wait. 0: no limit.";
        REFUSED_HANDSHAKES_PER_SECOND = "200", Number(0, 1_000_000),
            "Refusals of handshakes that a replica sends per second. Further ones wait their turn, at most 5 seconds, \
             while good handshakes pass: that slows a flood down. 0: no limit.";
        RATE_LIMIT_PER_SECOND = "50", Number(0, 1_000_000),
            "Sends and edits of one user on one replica, on average, each counted once for each begun 4 KiB of its \
             content. Separately, as many deletions, marks, new conversations, tickets, tokens and searches together; \
             as many typing, set_active and watch_presence commands (the last for each begun 50 users); \
             and ten times as many frames of any kind, beyond which the user's sockets are not read; a replay counts \
             as a hundred frames. 0: no limit.";
        RATE_LIMIT_BURST = "200", Number(0, 1_000_000),
            "Sends and edits of one user on one replica, in one burst; counted as for RATE_LIMIT_PER_SECOND, but no single \
             call counts more than this. 0: no limit.";
        MAX_WATCHED_USERS = "500", Number(1, 2000),
            "Users whose presence one socket may watch.";
        SOCKET_QUEUE = "256", Number(1, 65_536),
            "Events that wait for one slow socket before it is closed.";
        QUEUED_EVENTS_BYTES = "134217728", Number(1_048_576, 68_719_476_736),
            "Bytes of all events that wait for the sockets of a replica, each counted once however many sockets it \
             waits for. Beyond that the sockets that are furthest behind are closed.";
        WRITER_QUEUE = "10000", Number(1, 1_000_000),
            "Messages that wait for their transaction, and as many again that wait for a row another program \
             holds or are long (more than 8 KiB); beyond that 503.";
        WRITER_BATCH = "500", Number(1, 10_000),
            "Messages in one transaction.";
        CATCH_UP_CHANGES = "100000", Number(1, 10_000_000),
            "Changed rows that a replica reads after it was cut off from the database; beyond that all of its \
             sockets get resync_required. While a transaction stays open, it remembers up to twice as many \
             delivered events, some 100 bytes each.";
        REPLAY_EVENTS = "1000", Number(1, 10_000),
            "Events that a reconnecting client is sent; beyond that resync_required.";
        REPLAY_BYTES = "8388608", Number(65_536, 1_073_741_824),
            "Bytes of these events; beyond that resync_required.";
        REPLAY_PARALLEL = "8", Number(1, 1000),
            "Replays that a replica reads at a time, one for each user; never more than half of the connections for \
             requests, that is 3 with the default DB_POOL_SIZE. Others wait their turn, so that many clients \
             reconnecting at once leave PostgreSQL time for everybody's messages.";
    }
    "Times" {
        HEARTBEAT_SECONDS = "25", Seconds(1, 3600),
            "Time between two pings of a WebSocket; two missed pongs close it.";
        LISTENER_HEARTBEAT_SECONDS = "3", Seconds(1, 300),
            "Time between two heartbeats through the database's notification queue.";
        TYPING_SECONDS = "6", Seconds(2, 300),
            "How long typing lasts if the client does not renew it.";
        PRESENCE_GRACE_SECONDS = "5", Seconds(1, 300),
            "How long a user stays online after their last active socket has closed or become inactive; whoever returns \
             within it was never offline. The same for all replicas.";
        HEADER_TIMEOUT_SECONDS = "10", Seconds(1, 300),
            "How long a request's head may take to arrive.";
        BODY_TIMEOUT_SECONDS = "20", Seconds(1, 3600),
            "How long a request's body may take to arrive, or a WebSocket message that has begun.";
        IDLE_TIMEOUT_SECONDS = "75", Seconds(1, 3600),
            "How long an HTTP connection may stay open without a request. Make it longer than the proxy in front \
             keeps idle connections; otherwise the proxy may send a request just as pgchat closes the connection.";
        STALL_TIMEOUT_SECONDS = "20", Seconds(1, 300),
            "How long a client may read nothing of what it is sent before it is cut off. Sockets are closed with \
             1013, after twice HEARTBEAT_SECONDS if that is less.";
        WRITE_TIMEOUT_SECONDS = "10", Seconds(1, 300),
            "How long a message may take to be stored; then it is refused with 503.";
        SHUTDOWN_GRACE_SECONDS = "30", Seconds(0, 3600),
            "Longest time a shutdown may take, the delay included.";
        SHUTDOWN_DELAY_SECONDS = "0", Seconds(0, 600),
            "How long to keep serving after the signal, with /health/ready failing, so that a load balancer \
             notices. Less than SHUTDOWN_GRACE_SECONDS: leave 15 seconds or more of that for requests and \
             sockets.";
    }
}

pub(super) fn all() -> impl Iterator<Item = &'static Setting> {
    GROUPS
        .iter()
        .flat_map(|group| group.settings.iter().copied())
}

impl Kind {
    /// What is allowed, where the kind says it: `a whole number from 1 to 1000`.
    pub(super) fn allowed(&self) -> Option<String> {
        match self {
            Text | Secret => None,
            Number(min, max) => Some(format!("a whole number from {min} to {max}")),
            Seconds(min, max) => Some(format!("a whole number of seconds from {min} to {max}")),
            Choice(words) => Some(format!("one of {}", words.join(", "))),
        }
    }
}

/// Every variable with its default and meaning, at most 80 columns wide.
pub(super) fn help() -> String {
    let mut text = String::from(
        "Configuration:\n  \
         Read from config.env in the working directory, or from the file that --config\n  \
         or the variable PGCHAT_CONFIG names; variables of the environment win. A\n  \
         variable that is set to nothing counts as not set.\n",
    );
    for group in GROUPS {
        text.push_str(&format!("\n{}:\n", group.title));
        for setting in group.settings {
            text.push_str(&format!("  {}\n", heading(setting)));
            for line in wrapped(setting.help, 72) {
                text.push_str(&format!("        {line}\n"));
            }
        }
    }
    text
}

fn heading(setting: &Setting) -> String {
    let Setting { name, default, .. } = setting;
    let range = match setting.kind {
        Number(min, max) | Seconds(min, max) => format!("  [{min} to {max}]"),
        Choice(words) => format!("  [{}]", words.join(" ")),
        Text | Secret => String::new(),
    };
    let equals = if default.is_empty() { "" } else { "=" };
    format!("{name}{equals}{default}{range}")
}

/// Lines of whole words, each at most `width` characters unless one word is longer.
fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + word.chars().count() <= width => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}
