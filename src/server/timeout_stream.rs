//! A TCP stream with the two time limits that hyper does not have: for a request's head, counted from its
//! first byte (hyper counts from the end of the last request, which is how long a connection may idle),
//! whose end is told by a 408 (or by a 503 where there is no room anyway), and for a peer that takes nothing of what is sent to it.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, Sleep, sleep_until};

use super::ServerLimits;
use super::final_response::FinalResponse;
use super::phase::Phase;
use crate::metrics::ConnectionCounts;

type OnHeadTimeout = Box<dyn Fn() -> FinalResponse + Send + Sync>;

/// A connection whose reads and writes end with an error when its peer takes too long.
pub struct TimeoutStream {
    stream: TcpStream,
    limits: ServerLimits,
    phase: Phase,
    /// The head that has begun to arrive: its phase, and when it has to be complete.
    head: Option<(u64, Instant)>,
    /// Wakes the reader at the head's deadline; made only for a head that comes in pieces.
    head_timer: Option<Pin<Box<Sleep>>>,
    /// What is said of a head that was not complete in time.
    on_head_timeout: OnHeadTimeout,
    /// Saying it.
    final_response: Option<Box<FinalResponse>>,
    /// Runs while the peer takes nothing.
    write_timer: Option<Pin<Box<Sleep>>>,
    _permit: OwnedSemaphorePermit,
}

impl TimeoutStream {
    /// A connection that has room; it keeps `permit` until it is dropped.
    pub fn new(
        stream: TcpStream,
        phase: Phase,
        limits: ServerLimits,
        permit: OwnedSemaphorePermit,
    ) -> Self {
        Self {
            stream,
            limits,
            phase,
            head: None,
            head_timer: None,
            on_head_timeout: Box::new(FinalResponse::head_timeout),
            final_response: None,
            write_timer: None,
            _permit: permit,
        }
    }

    /// A connection over the limit. If its head is not complete within `patience` from now, it is told that there is no room, and counted
    /// in `figures`.
    pub fn without_room(
        stream: TcpStream,
        phase: Phase,
        limits: ServerLimits,
        permit: OwnedSemaphorePermit,
        patience: Duration,
        figures: ConnectionCounts,
    ) -> Self {
        let head = Some((phase.now(), Instant::now() + patience));
        Self {
            head,
            on_head_timeout: Box::new(move || {
                figures.refused();
                FinalResponse::too_many_connections()
            }),
            ..Self::new(stream, phase, limits, permit)
        }
    }

    /// Ends the connection over its head: an answer if one can be given, then an error for hyper.
    fn poll_give_up(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // A response that is still stuck here would have the 408 in its middle.
        if self.write_timer.is_none() {
            let on_head_timeout = &self.on_head_timeout;
            let final_response = self
                .final_response
                .get_or_insert_with(|| Box::new(on_head_timeout()));
            ready!(final_response.poll(&mut self.stream, cx));
        }
        Poll::Ready(Err(timed_out(
            "the request's head was not complete in time",
        )))
    }

    fn write_outcome<T>(
        &mut self,
        cx: &mut Context<'_>,
        outcome: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if outcome.is_ready() {
            self.write_timer = None;
            return outcome;
        }
        let stall = self.limits.write_stall;
        let timer = self
            .write_timer
            .get_or_insert_with(|| Box::pin(sleep_until(Instant::now() + stall)));
        ready!(timer.as_mut().poll(cx));
        Poll::Ready(Err(timed_out("the peer takes nothing")))
    }
}

fn timed_out(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, what)
}

impl AsyncRead for TimeoutStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.final_response.is_some() {
            return this.poll_give_up(cx);
        }
        let phase = this.phase.now();
        if this.head.is_some_and(|(of, _)| of != phase) {
            this.head = None;
            this.head_timer = None;
        }
        let before = buf.filled().len();
        let outcome = Pin::new(&mut this.stream).poll_read(cx, buf);
        let awaits_head = phase.is_multiple_of(2);
        if outcome.is_ready() {
            if awaits_head && this.head.is_none() && buf.filled().len() > before {
                this.head = Some((phase, Instant::now() + this.limits.head));
            }
            return outcome;
        }
        if let Some((_, deadline)) = this.head {
            let timer = this
                .head_timer
                .get_or_insert_with(|| Box::pin(sleep_until(deadline)));
            ready!(timer.as_mut().poll(cx));
            return this.poll_give_up(cx);
        }
        Poll::Pending
    }
}

impl AsyncWrite for TimeoutStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.stream).poll_write(cx, data);
        self.write_outcome(cx, outcome)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.stream).poll_write_vectored(cx, data);
        self.write_outcome(cx, outcome)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
