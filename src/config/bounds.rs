//! Bounds: how much callers may use, and how long anything is waited for.

use std::num::{NonZeroU32, NonZeroUsize};
use std::time::Duration;

use super::values::Values;
use super::{ConfigError, settings};

/// Bounds on what callers may use. `None` is no limit: 0, as it is set.
#[derive(Clone, Debug)]
pub struct Limits {
    /// `MAX_MESSAGE_BYTES`, 65536.
    pub message_bytes: usize,
    /// `MAX_BODY_BYTES`, 1048576, or more where contents may be long: an HTTP body, and a WebSocket message.
    pub body_bytes: usize,
    /// `MAX_HEADER_BYTES`, 16384: of a request's head, the line included.
    pub header_bytes: usize,
    /// `MAX_HEADERS`, 100: fields of a request's head.
    pub headers: usize,
    /// `MAX_QUERY_BYTES`, 256: a `q`.
    pub query_bytes: usize,
    /// `MAX_CONNECTIONS`, 100000: sockets of this replica.
    pub connections: Option<NonZeroUsize>,
    /// `MAX_HTTP_CONNECTIONS`, 1000: room for others beside them.
    pub http_connections: usize,
    /// Whether one of these two is not at its default: somebody counts on it then.
    pub connections_are_chosen: bool,
    /// `MAX_CONNECTIONS_PER_USER`, 20.
    pub connections_per_user: Option<NonZeroUsize>,
    /// `MAX_READS_PER_USER`, 64: requests that read, at a time.
    pub reads_per_user: Option<NonZeroUsize>,
    /// `REFUSED_HANDSHAKES_PER_SECOND`, 200.
    pub refused_handshakes: Option<NonZeroU32>,
    /// `MAX_WATCHED_USERS`, 500: of one socket.
    pub watched_users: usize,
    /// `SOCKET_QUEUE`, 256 frames.
    pub socket_queue: usize,
    /// `QUEUED_EVENTS_BYTES`, 134217728: of all events that wait for sockets.
    pub queued_events_bytes: usize,
    /// `RATE_LIMIT_PER_SECOND`, 50, and `RATE_LIMIT_BURST`, 200: what one user sends, and what else they do, counted apart. No limit where either is 0.
    pub rate: Option<Rate>,
    /// `WRITER_QUEUE`, 10000 messages waiting for their transaction, and as many for what another program holds; beyond it 503.
    pub writer_queue: usize,
    /// `WRITER_BATCH`, 500 messages in one transaction.
    pub writer_batch: usize,
    /// `CATCH_UP_CHANGES`, 100000: beyond it `resync_required` to all sockets.
    pub catch_up_changes: u32,
    /// `REPLAY_EVENTS`, 1000: beyond it `resync_required`.
    pub replay_events: usize,
    /// `REPLAY_BYTES`, 8388608: bytes of these events' data; beyond it `resync_required`.
    pub replay_bytes: usize,
    /// `REPLAY_PARALLEL`, 8: replays that are read at one time, at most half of the connections for requests (3 with the default pool).
    pub replay_parallel: usize,
}

/// How often something may be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// On average.
    pub per_second: NonZeroU32,
    /// At once.
    pub burst: NonZeroU32,
}

/// Bounds on waiting.
#[derive(Clone, Debug)]
pub struct Timeouts {
    /// `HEARTBEAT_SECONDS`, 25: WebSocket ping interval.
    pub heartbeat: Duration,
    /// `LISTENER_HEARTBEAT_SECONDS`, 3: heartbeat through the notification queue.
    pub listener_heartbeat: Duration,
    /// `USERS_TABLE_CHECK_SECONDS`, 3.
    pub users_table_check: Duration,
    /// `TYPING_SECONDS`, 6: typing ends then unless it is renewed.
    pub typing: Duration,
    /// `PRESENCE_GRACE_SECONDS`, 5: how long a user without a socket still is online.
    pub presence_grace: Duration,
    /// `SHUTDOWN_GRACE_SECONDS`, 30: the whole drain, the delay included.
    pub shutdown_grace: Duration,
    /// `SHUTDOWN_DELAY_SECONDS`, 0: not ready, but still serving, so that a load balancer notices.
    /// Less than the grace.
    pub shutdown_delay: Duration,
    /// `HEADER_TIMEOUT_SECONDS`, 10: a request head must be complete by then.
    pub header: Duration,
    /// `BODY_TIMEOUT_SECONDS`, 20.
    pub body: Duration,
    /// `IDLE_TIMEOUT_SECONDS`, 75: an HTTP connection without a request.
    pub idle: Duration,
    /// `STALL_TIMEOUT_SECONDS`, 20: a client that takes nothing of what is sent.
    pub stall: Duration,
    /// `WRITE_TIMEOUT_SECONDS`, 10: a message is stored by then or refused with 503.
    pub write: Duration,
    /// `DB_TIMEOUT_SECONDS`, 10: any other statement, waiting for a pooled connection included.
    pub database: Duration,
    /// `SEARCH_TIMEOUT_SECONDS`, 3: a search of messages, from its connection on.
    pub search: Duration,
    /// `DB_CONNECT_TIMEOUT_SECONDS`, 30: how long a command tries to reach the database at its start.
    pub database_start: Duration,
}

/// Room for the JSON around the content.
const ENVELOPE_BYTES: usize = 1024;

/// JSON may spell each byte of a content with six: `\u0001`.
const SPELLED_BYTES: usize = 6;

pub(super) fn limits(values: &Values) -> Result<Limits, ConfigError> {
    let message_bytes = values.number(&settings::MAX_MESSAGE_BYTES)?;
    let limits = Limits {
        message_bytes,
        body_bytes: body_bytes(values, message_bytes)?,
        header_bytes: values.number(&settings::MAX_HEADER_BYTES)?,
        headers: values.number(&settings::MAX_HEADERS)?,
        query_bytes: values.number(&settings::MAX_QUERY_BYTES)?,
        connections: values.limit(&settings::MAX_CONNECTIONS)?,
        http_connections: values.number(&settings::MAX_HTTP_CONNECTIONS)?,
        connections_are_chosen: values.differs(&settings::MAX_CONNECTIONS)
            || values.differs(&settings::MAX_HTTP_CONNECTIONS),
        connections_per_user: values.limit(&settings::MAX_CONNECTIONS_PER_USER)?,
        reads_per_user: values.limit(&settings::MAX_READS_PER_USER)?,
        refused_handshakes: values.limit(&settings::REFUSED_HANDSHAKES_PER_SECOND)?,
        watched_users: values.number(&settings::MAX_WATCHED_USERS)?,
        socket_queue: values.number(&settings::SOCKET_QUEUE)?,
        queued_events_bytes: values.number(&settings::QUEUED_EVENTS_BYTES)?,
        rate: rate(values)?,
        writer_queue: values.number(&settings::WRITER_QUEUE)?,
        writer_batch: values.number(&settings::WRITER_BATCH)?,
        catch_up_changes: values.number(&settings::CATCH_UP_CHANGES)?,
        replay_events: values.number(&settings::REPLAY_EVENTS)?,
        replay_bytes: values.number(&settings::REPLAY_BYTES)?,
        replay_parallel: values.number(&settings::REPLAY_PARALLEL)?,
    };
    Ok(limits)
}

/// Left at its default, it follows `MAX_MESSAGE_BYTES`, so that a content of that length is taken however its JSON is spelled.
fn body_bytes(values: &Values, message_bytes: usize) -> Result<usize, ConfigError> {
    let body_bytes: usize = values.number(&settings::MAX_BODY_BYTES)?;
    if !values.differs(&settings::MAX_BODY_BYTES) {
        return Ok(body_bytes.max(SPELLED_BYTES * message_bytes + ENVELOPE_BYTES));
    }
    let least = message_bytes + ENVELOPE_BYTES;
    if body_bytes < least {
        let fault = format!(
            "must be at least MAX_MESSAGE_BYTES + {ENVELOPE_BYTES}, that is {least}, not {body_bytes}"
        );
        return Err(values.fault(&settings::MAX_BODY_BYTES, fault));
    }
    Ok(body_bytes)
}

fn rate(values: &Values) -> Result<Option<Rate>, ConfigError> {
    let per_second = values.limit(&settings::RATE_LIMIT_PER_SECOND)?;
    let burst = values.limit(&settings::RATE_LIMIT_BURST)?;
    let both = per_second.zip(burst);
    Ok(both.map(|(per_second, burst)| Rate { per_second, burst }))
}

pub(super) fn timeouts(values: &Values) -> Result<Timeouts, ConfigError> {
    let shutdown_grace = values.seconds(&settings::SHUTDOWN_GRACE_SECONDS)?;
    let shutdown_delay = values.seconds(&settings::SHUTDOWN_DELAY_SECONDS)?;
    if !shutdown_delay.is_zero() && shutdown_delay >= shutdown_grace {
        return Err(values.fault(
            &settings::SHUTDOWN_DELAY_SECONDS,
            format!(
                "must be less than SHUTDOWN_GRACE_SECONDS, that is {}, not {}",
                shutdown_grace.as_secs(),
                shutdown_delay.as_secs()
            ),
        ));
    }
    Ok(Timeouts {
        typing: values.seconds(&settings::TYPING_SECONDS)?,
        presence_grace: values.seconds(&settings::PRESENCE_GRACE_SECONDS)?,
        heartbeat: values.seconds(&settings::HEARTBEAT_SECONDS)?,
        listener_heartbeat: values.seconds(&settings::LISTENER_HEARTBEAT_SECONDS)?,
        users_table_check: values.seconds(&settings::USERS_TABLE_CHECK_SECONDS)?,
        shutdown_grace,
        shutdown_delay,
        header: values.seconds(&settings::HEADER_TIMEOUT_SECONDS)?,
        body: values.seconds(&settings::BODY_TIMEOUT_SECONDS)?,
        idle: values.seconds(&settings::IDLE_TIMEOUT_SECONDS)?,
        stall: values.seconds(&settings::STALL_TIMEOUT_SECONDS)?,
        write: values.seconds(&settings::WRITE_TIMEOUT_SECONDS)?,
        database: values.seconds(&settings::DB_TIMEOUT_SECONDS)?,
        search: values.seconds(&settings::SEARCH_TIMEOUT_SECONDS)?,
        database_start: values.seconds(&settings::DB_CONNECT_TIMEOUT_SECONDS)?,
    })
}
