//! Why a session ended, the close code that follows from it, and the closing of the socket.

use std::fmt;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::timeout;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::error::ProtocolError;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::{Error as SocketError, Utf8Bytes};

use super::limited_stream::LimitExceeded;
use crate::hub::GivenUp;
use crate::metrics::Closed;

/// How long a close frame may wait for a client that does not read, before the connection is cut.
const CLOSE_PATIENCE: Duration = Duration::from_secs(5);

/// How long the client's answer to our close frame is waited for.
const LINGER: Duration = Duration::from_secs(3);

/// Why a session ended. Every variant but the first two has a close frame of ours.
#[derive(Debug, PartialEq, Eq)]
pub enum CloseReason {
    /// The client closed, with this code (1005: it named none).
    ClientClosed(u16),
    /// The connection is gone: nothing can be sent any more.
    Lost(String),
    /// It did not read, or its queue ran over: 1013.
    TooSlow,
    /// What it missed could not be read from the database, or there is no memory left for a large message of its: 1013.
    Overloaded,
    /// A frame or a message over the limit, or a message in too many frames: 1009 (RFC 6455 section 7.4.1).
    TooBig,
    /// A message that it began was not complete in time: 1013.
    Unfinished,
    /// Text that is not UTF-8: 1007.
    InvalidText,
    /// It broke the framing: 1002.
    Protocol(String),
    /// Nothing came back to two pings: 4408.
    NoPong,
    /// The token has expired, and no new one came: 4401.
    TokenExpired,
    /// The user was deactivated, or is not there any more: 4403.
    Deactivated,
    /// The replica is closing: 1012.
    Restart,
}

impl From<GivenUp> for CloseReason {
    fn from(why: GivenUp) -> Self {
        match why {
            GivenUp::TooSlow => Self::TooSlow,
            GivenUp::Deactivated => Self::Deactivated,
        }
    }
}

impl CloseReason {
    /// By the frame in which the client said so.
    pub fn closed_by_client(frame: Option<CloseFrame>) -> Self {
        Self::ClientClosed(frame.map_or(1005, |frame| frame.code.into()))
    }

    /// What it counts as in the figures, and with which code and words the socket is closed, unless there is nobody to tell.
    fn facts(&self) -> (Closed, Option<(u16, &'static str)>) {
        match self {
            Self::ClientClosed(_) => (Closed::Client, None),
            Self::Lost(_) => (Closed::Lost, None),
            Self::TooSlow => (Closed::TooSlow, Some((1013, "too slow"))),
            Self::Overloaded => (Closed::Overloaded, Some((1013, "try again later"))),
            Self::TooBig => (Closed::TooBig, Some((1009, "frame too big"))),
            Self::Unfinished => (
                Closed::Unfinished,
                Some((1013, "message not complete in time")),
            ),
            Self::InvalidText => (Closed::InvalidText, Some((1007, "text must be UTF-8"))),
            Self::Protocol(_) => (Closed::Protocol, Some((1002, "protocol error"))),
            Self::NoPong => (Closed::NoPong, Some((4408, "no pong"))),
            Self::TokenExpired => (Closed::TokenExpired, Some((4401, "token expired"))),
            Self::Deactivated => (Closed::Deactivated, Some((4403, "user deactivated"))),
            Self::Restart => (Closed::Restart, Some((1012, "service restart"))),
        }
    }

    /// For the figures.
    pub fn kind(&self) -> Closed {
        self.facts().0
    }

    fn close_frame(&self) -> Option<CloseFrame> {
        let (code, reason) = self.facts().1?;
        Some(CloseFrame {
            code: code.into(),
            reason: Utf8Bytes::from_static(reason),
        })
    }
}

/// For the log.
impl fmt::Display for CloseReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self, self.facts().1) {
            (Self::ClientClosed(code), _) => write!(f, "closed by the client with {code}"),
            // 1006: what the client's side shows for it.
            (Self::Lost(cause), _) => write!(f, "connection lost (1006): {cause}"),
            (Self::Protocol(fault), Some((code, _))) => write!(f, "{fault}, closed with {code}"),
            // The client's words for it are advice.
            (Self::Overloaded, Some((code, _))) => write!(f, "overloaded, closed with {code}"),
            (_, Some((code, reason))) => write!(f, "{reason}, closed with {code}"),
            (_, None) => f.write_str("closed"),
        }
    }
}

impl From<SocketError> for CloseReason {
    fn from(error: SocketError) -> Self {
        match error {
            SocketError::Capacity(_) => Self::TooBig,
            SocketError::Utf8(_) => Self::InvalidText,
            // Cannot happen: the write buffer has no bound (`socket_config`).
            SocketError::WriteBufferFull(_) => Self::TooSlow,
            SocketError::Protocol(ProtocolError::ResetWithoutClosingHandshake) => {
                Self::Lost("end of stream".to_owned())
            }
            SocketError::Protocol(fault) => Self::Protocol(fault.to_string()),
            SocketError::Io(error) => {
                let exceeded = error.get_ref().and_then(|cause| cause.downcast_ref());
                match exceeded {
                    Some(LimitExceeded::Unfinished) => Self::Unfinished,
                    Some(LimitExceeded::TooManyFrames) => Self::TooBig,
                    Some(LimitExceeded::OverBudget) => Self::Overloaded,
                    None => Self::Lost(error.to_string()),
                }
            }
            other => Self::Lost(other.to_string()),
        }
    }
}

/// Ends the connection as `reason` wants it, in [`CLOSE_PATIENCE`] and [`LINGER`] at most.
pub async fn close<S>(mut stream: WebSocketStream<S>, reason: &CloseReason)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    // Failures are of no interest from here on: the connection ends either way.
    let sent = match (reason, reason.close_frame()) {
        // Reading the client's close frame has queued the answer; this sends it.
        (CloseReason::ClientClosed(_), _) => {
            let _ = timeout(CLOSE_PATIENCE, stream.flush()).await;
            return;
        }
        (_, Some(frame)) => timeout(CLOSE_PATIENCE, stream.close(Some(frame))).await,
        (_, None) => return,
    };
    if matches!(sent, Ok(Ok(()))) {
        let _ = timeout(LINGER, linger(&mut stream)).await;
    }
}

/// Waits for the client to answer the close frame. To drop the connection at once would reset it, when frames of the
/// client are still unread, and the reset can overtake the close frame.
async fn linger<S>(stream: &mut WebSocketStream<S>)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    while let Some(Ok(message)) = stream.next().await {
        if message.is_close() {
            // Both have closed: it is now the server's part to end the connection (RFC 6455 section 7.1.1).
            return;
        }
    }
    // A reader that failed reads no more frames, the client's close frame neither: so say that nothing more comes
    // from here, and drain until the client has seen that.
    let raw = stream.get_mut();
    if raw.shutdown().await.is_err() {
        return;
    }
    let mut rest = [0; 1024];
    while matches!(raw.read(&mut rest).await, Ok(1..)) {}
}

#[cfg(test)]
mod tests;
