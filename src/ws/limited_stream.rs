//! Sees a client's bytes frame by frame, before tungstenite does. tungstenite reports only whole messages, and would keep an
//! unfinished one for as long as its client answers pings.
//!
//! A message has a time to be complete, and frames to come in, and a large one counts towards the memory budget; all frames can be counted, whether they
//! complete one or not.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures_util::{FutureExt, StreamExt};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep_until};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::Role;
use tokio_tungstenite::tungstenite::{Error as SocketError, Message};

use super::frame_scanner::FrameScanner;
use crate::limits::{Holder, MemoryBudget, Reservation, SMALL};

/// Frames of one message: with the largest message (1 MiB unless it is set) these are 256 bytes each.
const MAX_FRAMES: u32 = 4096;

/// Why a message is not waited for any more; inside of an [`io::Error`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LimitExceeded {
    #[error("a message was not complete in time")]
    Unfinished,
    #[error("a message in more than {MAX_FRAMES} frames")]
    TooManyFrames,
    #[error("too many large messages are arriving")]
    OverBudget,
}

/// What the message that a client is sending may take.
pub struct IncomingBudget {
    budget: MemoryBudget,
    holder: Holder,
    /// In bytes; what is larger the protocol's own code refuses.
    largest: usize,
    taken: MessageReservation,
}

/// What a message takes of the budget. Boxed, since few are so large that they are counted.
pub type MessageReservation = Option<Box<Reserved>>;

/// Kept beside a large message, so that the message counts for as long as it is in memory.
pub struct Reserved {
    bytes: u64,
    _reservation: Reservation,
}

impl IncomingBudget {
    pub fn new(budget: MemoryBudget, holder: Holder, largest: usize) -> Self {
        Self {
            budget,
            holder,
            largest,
            taken: None,
        }
    }

    /// Reserves memory for a message with this many `announced` bytes; `false`: there is no room.
    fn takes(&mut self, announced: u64) -> bool {
        let counted = self
            .taken
            .as_ref()
            .map_or(SMALL as u64, |taken| taken.bytes);
        if announced <= counted {
            return true;
        }
        // Given back first, or it would count twice.
        self.taken = None;
        let bytes = usize::try_from(announced).unwrap_or(usize::MAX);
        let reservation = self.budget.reserve(self.holder, bytes.min(self.largest));
        self.taken = reservation.map(|reservation| {
            Box::new(Reserved {
                bytes: announced,
                _reservation: reservation,
            })
        });
        self.taken.is_some()
    }
}

/// A connection after its handshake. Small, since each idle socket has one.
pub struct LimitedStream<S> {
    /// `None` once it was handed over.
    io: Option<S>,
    /// For a message, from its first frame's head to its last byte.
    patience: Duration,
    budget: IncomingBudget,
    /// What the message that was completed last takes, until its reader asks for that.
    arrived: MessageReservation,
    /// How many messages were complete by then.
    completed: u32,
    scanner: FrameScanner,
    /// When the message that is there in part has to be complete.
    deadline: Option<Instant>,
    /// The reader has had everything that had come when it last asked.
    drained: bool,
    /// Wakes the reader then; made only for a message that comes in pieces.
    timer: Option<Pin<Box<Sleep>>>,
    /// The session ends: what comes now is of no interest.
    given_up: bool,
}

impl<S> LimitedStream<S> {
    pub fn new(io: S, patience: Duration, budget: IncomingBudget) -> Self {
        Self::around(Some(io), patience, budget)
    }

    fn around(io: Option<S>, patience: Duration, budget: IncomingBudget) -> Self {
        Self {
            io,
            patience,
            budget,
            arrived: None,
            completed: 0,
            scanner: FrameScanner::default(),
            deadline: None,
            drained: false,
            timer: None,
            given_up: false,
        }
    }

    /// Whether its reader holds a buffer for a long frame and has nothing in it.
    fn leaves_empty_buffer(&self) -> bool {
        self.drained && self.scanner.had_long_one && self.scanner.is_between()
    }

    /// All of it, for another reader. What is left behind has ended.
    fn hand_over(&mut self) -> Self {
        let IncomingBudget {
            budget,
            holder,
            largest,
            ..
        } = &self.budget;
        let nothing = IncomingBudget::new(budget.clone(), *holder, *largest);
        let rest = Self::around(None, self.patience, nothing);
        let mut whole = std::mem::replace(self, rest);
        whole.scanner.had_long_one = false;
        whole
    }

    /// How many frames have begun since this was last asked.
    pub fn take_frames(&mut self) -> u32 {
        std::mem::take(&mut self.scanner.begun)
    }

    /// What the message takes that was just read. Of several that came in one piece only the first can be a large one, since that
    /// comes in many.
    pub fn take_reservation(&mut self) -> MessageReservation {
        self.arrived.take()
    }

    /// After each read: whether the message that is there in part may go on.
    fn check(&mut self, cx: &mut Context<'_>, has_read: bool) -> Option<LimitExceeded> {
        if self.scanner.completed != self.completed {
            self.completed = self.scanner.completed;
            self.arrived = self.budget.taken.take();
            self.deadline = None;
            self.timer = None;
        }
        if !self.scanner.is_open {
            return None;
        }
        if self.scanner.of_message > MAX_FRAMES {
            return Some(LimitExceeded::TooManyFrames);
        }
        if !self.budget.takes(self.scanner.of_message_bytes) {
            return Some(LimitExceeded::OverBudget);
        }
        let patience = self.patience;
        let deadline = *self
            .deadline
            .get_or_insert_with(|| Instant::now() + patience);
        let late = if has_read {
            // The session may not have read for a while, and the rest may be there.
            Instant::now() >= deadline + patience
        } else {
            let timer = self
                .timer
                .get_or_insert_with(|| Box::pin(sleep_until(deadline)));
            timer.as_mut().poll(cx).is_ready()
        };
        late.then_some(LimitExceeded::Unfinished)
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for LimitedStream<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let before = buf.filled().len();
        let Some(io) = &mut this.io else {
            return Poll::Ready(Ok(()));
        };
        let outcome = Pin::new(io).poll_read(cx, buf);
        this.drained = outcome.is_pending();
        if this.given_up || matches!(outcome, Poll::Ready(Err(_))) {
            return outcome;
        }
        this.scanner.scan(&buf.filled()[before..]);
        if let Some(why) = this.check(cx, outcome.is_ready()) {
            this.given_up = true;
            this.timer = None;
            return Poll::Ready(Err(io::Error::other(why)));
        }
        ready!(outcome)?;
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for LimitedStream<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        match &mut self.io {
            Some(io) => Pin::new(io).poll_write(cx, data),
            None => Poll::Ready(Ok(0)),
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match &mut self.io {
            Some(io) => Pin::new(io).poll_write_vectored(cx, data),
            None => Poll::Ready(Ok(0)),
        }
    }

    fn is_write_vectored(&self) -> bool {
        self.io.as_ref().is_some_and(S::is_write_vectored)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.io {
            Some(io) => Pin::new(io).poll_flush(cx),
            None => Poll::Ready(Ok(())),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.io {
            Some(io) => Pin::new(io).poll_shutdown(cx),
            None => Poll::Ready(Ok(())),
        }
    }
}

/// The next message of a socket to whose client everything was sent; cancel safe.
///
/// The protocol's own code has a read buffer as large as the longest frame that was ever in it, for as long as the socket lives, and
/// most sockets say nothing for most of the time. So where there is nothing more to read, it is made anew, with a small one.
pub async fn next_message<S>(
    stream: &mut WebSocketStream<LimitedStream<S>>,
) -> Option<Result<Message, SocketError>>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    poll_fn(|cx| {
        let polled = stream.poll_next_unpin(cx);
        if polled.is_pending() && stream.get_ref().leaves_empty_buffer() {
            make_anew(stream);
            // The new one has not polled yet, and would not be woken.
            return stream.poll_next_unpin(cx);
        }
        polled
    })
    .await
}

/// Makes the stream anew. Not an async fn: its future would enlarge every idle session.
fn make_anew<S>(stream: &mut WebSocketStream<LimitedStream<S>>)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let (config, limited) = (*stream.get_config(), stream.get_mut().hand_over());
    let anew = WebSocketStream::from_raw_socket(limited, Role::Server, Some(config));
    // Without a handshake it is there at once.
    if let Some(anew) = anew.now_or_never() {
        *stream = anew;
    }
}

#[cfg(test)]
mod tests;
