//! The only response on a connection that is about to be closed, written straight to the socket, past hyper.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};
use uuid::Uuid;

use super::request::REQUEST_ID_HEADER;
use crate::error::Error;
use crate::http::security;
use crate::reply::{ErrorBody, error_response};

/// For the answer and the peer's own close after it. A peer that goes on sending is not waited for.
const TIMEOUT: Duration = Duration::from_secs(1);

/// An error answer that is being sent, with a request id of its own. After it this side of the connection is
/// shut, and what still comes is read and dropped: closing a socket that holds unread data resets it, and
/// the answer would be lost.
pub struct FinalResponse {
    unsent: Vec<u8>,
    shut: bool,
    timeout: Pin<Box<Sleep>>,
}

impl FinalResponse {
    /// One more connection than there may be.
    pub fn too_many_connections() -> Self {
        Self::of(&Error::unavailable("too many connections"))
    }

    /// A request's head that was begun and not finished in time.
    pub fn head_timeout() -> Self {
        Self::of(&Error::HeadTimeout)
    }

    /// As a route would answer.
    fn of(error: &Error) -> Self {
        let response = security::with_headers(error_response(error));
        // Numbers and strings always serialise.
        let body = serde_json::to_string(&ErrorBody::of(error)).unwrap_or_default();
        let mut answer = format!(
            "HTTP/1.1 {}\r\ncontent-length: {}\r\nconnection: close\r\n{REQUEST_ID_HEADER}: {}\r\n",
            response.status(),
            body.len(),
            Uuid::new_v4(),
        )
        .into_bytes();
        for (name, value) in response.headers() {
            let line = [name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"];
            answer.extend(line.concat());
        }
        answer.extend(b"\r\n");
        answer.extend(body.into_bytes());
        Self {
            unsent: answer,
            shut: false,
            timeout: Box::pin(sleep(TIMEOUT)),
        }
    }

    /// Sends it; done when the peer has closed, or after a second.
    pub fn poll<S>(&mut self, stream: &mut S, cx: &mut Context<'_>) -> Poll<()>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        // First: of a peer that floods there is always more to read, and reading takes the rest of the task's turn.
        if self.timeout.as_mut().poll(cx).is_ready() {
            return Poll::Ready(());
        }
        if let Err(error) = ready!(self.poll_sending(stream, cx)) {
            log::debug!("the last answer of a connection: {error}");
        }
        Poll::Ready(())
    }

    fn poll_sending<S>(&mut self, stream: &mut S, cx: &mut Context<'_>) -> Poll<io::Result<()>>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        while !self.unsent.is_empty() {
            let sent = ready!(Pin::new(&mut *stream).poll_write(cx, &self.unsent))?;
            self.unsent.drain(..sent);
        }
        if !self.shut {
            ready!(Pin::new(&mut *stream).poll_shutdown(cx))?;
            self.shut = true;
        }
        let mut dropped = [0; 1024];
        loop {
            let mut buffer = ReadBuf::new(&mut dropped);
            ready!(Pin::new(&mut *stream).poll_read(cx, &mut buffer))?;
            if buffer.filled().is_empty() {
                return Poll::Ready(Ok(()));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use tokio::io::{join, repeat, sink};
    use tokio::time::timeout;

    use super::*;

    #[tokio::test]
    async fn a_peer_that_floods_is_not_waited_for_either() {
        let mut flood = join(repeat(b'x'), sink());
        let mut response = FinalResponse::too_many_connections();
        let sending = poll_fn(move |cx| response.poll(&mut flood, cx));
        let sent = tokio::spawn(sending);
        let ended = timeout(TIMEOUT * 10, sent).await;
        ended.expect("an end").expect("no panic");
    }
}
