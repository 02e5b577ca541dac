//! What a client sends, frame by frame, ahead of the protocol's own code: that tells of whole messages only, and keeps one that
//! is never finished for as long as its client answers pings.
//!
//! A message has a time to be complete, and frames to come in, and a large one needs room; all frames can be counted, whether they
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

use crate::limits::{Holder, Room, SMALL, Taken};

/// Frames of one message: with the largest message (1 MiB unless it is set) these are 256 bytes each.
const MAX_FRAMES: u32 = 4096;

/// A frame with more than that, in bytes, leaves a read buffer behind that is worth giving back.
const LONG_FRAME: u64 = 4 * 1024;

/// Why a message is not waited for any more; inside of an [`io::Error`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GivenUp {
    #[error("a message was not complete in time")]
    Unfinished,
    #[error("a message in more than {MAX_FRAMES} frames")]
    TooManyFrames,
    #[error("too many large messages are on their way")]
    NoRoom,
}

/// Room for the message that a client is sending.
pub struct Intake {
    room: Room,
    holder: Holder,
    /// In bytes; what is larger the protocol's own code refuses.
    largest: usize,
    taken: Weight,
}

/// What a message takes of the room. Boxed, since few are so large that they are counted.
pub type Weight = Option<Box<Counted>>;

/// Whoever keeps a large message keeps this, so that it counts for as long as it is there.
pub struct Counted {
    bytes: u64,
    _room: Taken,
}

impl Intake {
    pub fn new(room: Room, holder: Holder, largest: usize) -> Self {
        Self {
            room,
            holder,
            largest,
            taken: None,
        }
    }

    /// For a message of so many bytes, as far as it is announced.
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
        let room = self.room.take(self.holder, bytes.min(self.largest));
        self.taken = room.map(|room| {
            Box::new(Counted {
                bytes: announced,
                _room: room,
            })
        });
        self.taken.is_some()
    }
}

/// A connection after its handshake. Small, since each idle socket has one.
pub struct Metered<S> {
    /// `None` once it was handed over.
    io: Option<S>,
    /// For a message, from its first frame's head to its last byte.
    patience: Duration,
    intake: Intake,
    /// What the message that was completed last takes, until its reader asks for that.
    arrived: Weight,
    /// How many messages were complete by then.
    completed: u32,
    frames: Frames,
    /// When the message that is there in part has to be complete.
    deadline: Option<Instant>,
    /// The reader has had everything that had come when it last asked.
    drained: bool,
    /// Wakes the reader then; made only for a message that comes in pieces.
    timer: Option<Pin<Box<Sleep>>>,
    /// The session ends: what comes now is of no interest.
    given_up: bool,
}

impl<S> Metered<S> {
    pub fn new(io: S, patience: Duration, intake: Intake) -> Self {
        Self::around(Some(io), patience, intake)
    }

    fn around(io: Option<S>, patience: Duration, intake: Intake) -> Self {
        Self {
            io,
            patience,
            intake,
            arrived: None,
            completed: 0,
            frames: Frames::default(),
            deadline: None,
            drained: false,
            timer: None,
            given_up: false,
        }
    }

    /// Whether its reader holds a buffer for a long frame and has nothing in it.
    fn leaves_empty_buffer(&self) -> bool {
        self.drained && self.frames.had_long_one && self.frames.is_between()
    }

    /// All of it, for another reader. What is left behind has ended.
    fn hand_over(&mut self) -> Self {
        let Intake {
            room,
            holder,
            largest,
            ..
        } = &self.intake;
        let nothing = Intake::new(room.clone(), *holder, *largest);
        let rest = Self::around(None, self.patience, nothing);
        let mut whole = std::mem::replace(self, rest);
        whole.frames.had_long_one = false;
        whole
    }

    /// How many frames have begun since this was last asked.
    pub fn take_frames(&mut self) -> u32 {
        std::mem::take(&mut self.frames.begun)
    }

    /// What the message takes that was just read. Of several that came in one piece only the first can be a large one, since that
    /// comes in many.
    pub fn take_weight(&mut self) -> Weight {
        self.arrived.take()
    }

    /// After each read: whether the message that is there in part may go on.
    fn check(&mut self, cx: &mut Context<'_>, has_read: bool) -> Option<GivenUp> {
        if self.frames.completed != self.completed {
            self.completed = self.frames.completed;
            self.arrived = self.intake.taken.take();
            self.deadline = None;
            self.timer = None;
        }
        if !self.frames.is_open {
            return None;
        }
        if self.frames.of_message > MAX_FRAMES {
            return Some(GivenUp::TooManyFrames);
        }
        if !self.intake.takes(self.frames.of_message_bytes) {
            return Some(GivenUp::NoRoom);
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
        late.then_some(GivenUp::Unfinished)
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Metered<S> {
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
        this.frames.pass(&buf.filled()[before..]);
        if let Some(why) = this.check(cx, outcome.is_ready()) {
            this.given_up = true;
            this.timer = None;
            return Poll::Ready(Err(io::Error::other(why)));
        }
        ready!(outcome)?;
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Metered<S> {
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
    stream: &mut WebSocketStream<Metered<S>>,
) -> Option<Result<Message, SocketError>>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    poll_fn(|cx| {
        let polled = stream.poll_next_unpin(cx);
        if polled.is_pending() && stream.get_ref().leaves_empty_buffer() {
            make_anew(stream);
            // It has not asked yet, and would not hear of what comes.
            return stream.poll_next_unpin(cx);
        }
        polled
    })
    .await
}

/// No future of its own: each idle socket would have room for it.
fn make_anew<S>(stream: &mut WebSocketStream<Metered<S>>)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let (config, metered) = (*stream.get_config(), stream.get_mut().hand_over());
    let anew = WebSocketStream::from_raw_socket(metered, Role::Server, Some(config));
    // Without a handshake it is there at once.
    if let Some(anew) = anew.now_or_never() {
        *stream = anew;
    }
}

/// Finds the frames in a client's bytes (RFC 6455 section 5.2). What breaks the rules is left to the protocol's own code, which
/// ends the connection.
#[derive(Default)]
struct Frames {
    /// The head of a frame, as far as it has come: two bytes, up to eight of a length, four of a mask.
    head: [u8; 14],
    head_bytes: u8,
    /// Of the frame's payload, what is still to come.
    payload: u64,
    /// The frame is the last one of its message.
    is_last: bool,
    /// A message has begun and is not complete.
    is_open: bool,
    /// Its frames; control frames that come between them are none.
    of_message: u32,
    /// The bytes that they announce.
    of_message_bytes: u64,
    /// How many messages are complete; wraps around.
    completed: u32,
    /// Frames of all kinds, until they are asked for.
    begun: u32,
    /// One of them was longer than [`LONG_FRAME`].
    had_long_one: bool,
}

impl Frames {
    fn pass(&mut self, mut bytes: &[u8]) {
        while let Some((&first, rest)) = bytes.split_first() {
            if self.payload > 0 {
                let passed = usize::try_from(self.payload)
                    .unwrap_or(usize::MAX)
                    .min(bytes.len());
                self.payload -= passed as u64;
                bytes = &bytes[passed..];
            } else {
                self.head[usize::from(self.head_bytes)] = first;
                self.head_bytes += 1;
                bytes = rest;
                if self.head_bytes < self.head_length() {
                    continue;
                }
                self.begin();
            }
            if self.payload == 0 && self.is_last {
                self.is_last = false;
                self.is_open = false;
                self.completed = self.completed.wrapping_add(1);
            }
        }
    }

    /// Whether neither a frame nor a message is incomplete.
    fn is_between(&self) -> bool {
        self.head_bytes == 0 && self.payload == 0 && !self.is_open
    }

    /// As far as it can be told yet.
    fn head_length(&self) -> u8 {
        if self.head_bytes < 2 {
            return 2;
        }
        let length = match self.head[1] & 0x7f {
            126 => 2,
            127 => 8,
            _ => 0,
        };
        let mask = if self.head[1] & 0x80 == 0 { 0 } else { 4 };
        2 + length + mask
    }

    /// The head is complete.
    fn begin(&mut self) {
        let [first, second, length @ ..] = &self.head;
        let length = match second & 0x7f {
            126 => &length[..2],
            127 => &length[..8],
            _ => &[second & 0x7f][..],
        };
        self.payload = length
            .iter()
            .fold(0, |sum, byte| sum << 8 | u64::from(*byte));
        self.begun = self.begun.saturating_add(1);
        self.had_long_one |= self.payload > LONG_FRAME;
        let is_control = first & 0x08 != 0;
        self.is_last = !is_control && first & 0x80 != 0;
        if !is_control {
            if !self.is_open {
                (self.of_message, self.of_message_bytes) = (0, 0);
            }
            self.of_message = self.of_message.saturating_add(1);
            self.of_message_bytes = self.of_message_bytes.saturating_add(self.payload);
            self.is_open = true;
        }
        self.head_bytes = 0;
    }
}

#[cfg(test)]
mod tests;
