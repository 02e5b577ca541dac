//! Writing to a client, and how long one that does not read is waited for.

use std::future::poll_fn;
use std::task::Poll;

use bytes::Bytes;
use futures_util::SinkExt;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::sleep;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::frame::Frame as Fragment;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Data, OpCode};
use tokio_util::sync::CancellationToken;

use super::Session;
use super::leaving::spread;
use crate::frame::Frame;
use crate::hub::Subscription;
use crate::services::Services;
use crate::until::until;
use crate::ws::close::CloseReason;
use crate::ws::expiry::Expiry;

/// Longer texts are sent in several frames: what the write buffer holds before it is written, and no more.
const FRAGMENT: usize = 4 * 1024;

impl<S> Session<S>
where
    S: AsyncRead + AsyncWrite + Unpin + Send,
{
    pub(super) async fn feed(&mut self, frame: Frame) -> Result<(), CloseReason> {
        self.services.metrics.frames.sent(frame.kind());
        self.traffic.sent = self.traffic.sent.saturating_add(1);
        let text = frame.into_text();
        if text.len() > FRAGMENT {
            return Box::pin(self.feed_fragments(text.into())).await;
        }
        self.feed_message(Message::Text(text)).await
    }

    /// One text in several frames (RFC 6455 section 5.4): the write buffer keeps the size of the largest frame that was
    /// ever in it, for as long as the socket lives.
    async fn feed_fragments(&mut self, mut rest: Bytes) -> Result<(), CloseReason> {
        let mut kind = Data::Text;
        while !rest.is_empty() {
            let part = rest.split_to(rest.len().min(FRAGMENT));
            let fragment = Fragment::message(part, OpCode::Data(kind), rest.is_empty());
            self.feed_message(Message::Frame(fragment)).await?;
            kind = Data::Continue;
        }
        Ok(())
    }

    /// Puts a message into the write buffer, waiting for the client when the buffer is full.
    pub(super) async fn feed_message(&mut self, message: Message) -> Result<(), CloseReason> {
        let ready = poll_fn(|cx| Poll::Ready(self.stream.poll_ready_unpin(cx))).await;
        match ready {
            Poll::Ready(ready) => ready?,
            Poll::Pending => Box::pin(self.unblock()).await?,
        }
        self.stream
            .start_send_unpin(message)
            .map_err(CloseReason::from)
    }

    pub(super) async fn flush(&mut self) -> Result<(), CloseReason> {
        let flushed = poll_fn(|cx| Poll::Ready(self.stream.poll_flush_unpin(cx))).await;
        match flushed {
            Poll::Ready(flushed) => flushed.map_err(CloseReason::from),
            Poll::Pending => Box::pin(self.unblock()).await,
        }
    }

    /// Waits until a client that is behind has taken what was written. Nothing else is looked at meanwhile, so all that can end
    /// the wait stands here. Boxed by its callers: few sockets need it, and its timers are large.
    async fn unblock(&mut self) -> Result<(), CloseReason> {
        // Even if its queue has not run over. Shorter than the transport's own limit, so that it is this one that ends the
        // session, with a close frame.
        let timeouts = &self.services.config.timeouts;
        let patience = (timeouts.heartbeat * 2).min(timeouts.stall);
        let interrupted = interrupted(
            &self.services,
            &self.subscription,
            &self.closing,
            &self.expiry,
        );
        tokio::select! {
            biased;
            flushed = self.stream.flush() => flushed.map_err(CloseReason::from),
            reason = interrupted => Err(reason),
            () = sleep(patience) => Err(CloseReason::TooSlow),
        }
    }
}

/// What ends a session that waits and looks at nothing else: it is given up, its token ends, or the replica closes.
pub(super) async fn interrupted(
    services: &Services,
    subscription: &Subscription,
    closing: &CancellationToken,
    expiry: &Expiry,
) -> CloseReason {
    tokio::select! {
        biased;
        why = subscription.given_up() => why.into(),
        reason = ended(services, closing, expiry) => reason,
    }
}

/// What ends a session however well it goes: its token ends, or the replica closes.
pub(super) async fn ended(
    services: &Services,
    closing: &CancellationToken,
    expiry: &Expiry,
) -> CloseReason {
    let leave = async {
        closing.cancelled().await;
        // At a random time in the spread, as whoever is served.
        sleep(spread(services).mul_f64(rand::random())).await;
    };
    tokio::select! {
        biased;
        () = until(expiry.end()) => CloseReason::TokenExpired,
        () = leave => CloseReason::Restart,
    }
}
