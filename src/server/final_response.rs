//! The one answer of a connection that gets no further: written past hyper, straight to the socket.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use hyper::StatusCode;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Sleep, sleep};
use uuid::Uuid;

use super::REQUEST_ID_HEADER;
use crate::http::security;

/// For the answer and the peer's own close after it. A peer that drips on is not waited for.
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
        let status = StatusCode::SERVICE_UNAVAILABLE;
        let retry = "retry-after: 1\r\n";
        Self::new(status, retry, "too many connections", "unavailable")
    }

    /// A request's head that was begun and not finished in time.
    pub fn head_timeout() -> Self {
        let message = "the request head did not arrive in time";
        Self::new(StatusCode::REQUEST_TIMEOUT, "", message, "request_timeout")
    }

    /// `message` and `code` go into the JSON as they are.
    fn new(status: StatusCode, header: &str, message: &str, code: &str) -> Self {
        let number = status.as_u16();
        let reason = status.canonical_reason().unwrap_or("Error");
        let body = format!(
            r#"{{"statusCode":{number},"error":"{reason}","message":"{message}","code":"{code}"}}"#
        );
        let answer = format!(
            "HTTP/1.1 {number} {reason}\r\ncontent-length: {}\r\n\
             {header}{}connection: close\r\n{REQUEST_ID_HEADER}: {}\r\n\r\n{body}",
            body.len(),
            security::lines(),
            Uuid::new_v4(),
        );
        Self {
            unsent: answer.into_bytes(),
            shut: false,
            timeout: Box::pin(sleep(TIMEOUT)),
        }
    }

    /// Sends it; done when the peer has closed, or after a second.
    pub async fn send(mut self, mut stream: TcpStream) {
        poll_fn(|cx| self.poll(&mut stream, cx)).await;
    }

    /// The same for a stream in other hands.
    pub fn poll(&mut self, stream: &mut TcpStream, cx: &mut Context<'_>) -> Poll<()> {
        if let Poll::Ready(ended) = self.poll_sending(stream, cx) {
            if let Err(error) = ended {
                log::debug!("the last answer of a connection: {error}");
            }
            return Poll::Ready(());
        }
        self.timeout.as_mut().poll(cx)
    }

    fn poll_sending(
        &mut self,
        stream: &mut TcpStream,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
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
