//! The rest of a request's body that is unread when there is an answer. A connection that is closed before the rest has come is reset: a
//! client that is refused early may never see why, and a proxy in front makes a 502 of it. So the rest is read after the answer, and thrown
//! away; a client that waits for the answer before it sends the body need not wait. hyper reads the next request only after the rest.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use tokio::time::timeout;

use crate::sync::lock;

/// Bytes of the rest that are read at most; a client that sends more is cut off.
const MOST_BYTES: usize = 16 * 1024 * 1024;
const TIMEOUT: Duration = Duration::from_secs(5);

/// A body in two hands: its reader's, and the server's, for what that one leaves. `None`: there is none.
#[derive(Clone)]
pub struct SharedBody(Option<Arc<Mutex<Part>>>);

/// A std mutex around it: held to poll it, by one after the other.
struct Part {
    body: Incoming,
    /// Somebody has polled the body, so a client that waits for "100 Continue" has been told to go on.
    asked: bool,
    ended: bool,
}

impl SharedBody {
    pub fn of(body: Incoming) -> Self {
        let part = |body| Part {
            body,
            asked: false,
            ended: false,
        };
        Self((!body.is_end_stream()).then(|| Arc::new(Mutex::new(part(body)))))
    }

    /// What is still to be read when its reader is done. `waits`: the sender waits for "100 Continue", and has sent nothing where
    /// nobody has asked; to ask now would invite it.
    pub fn unread(self, waits: bool) -> Option<UnreadBody> {
        let shared = self.0?;
        let part = lock(&shared);
        let left = !part.ended && !part.body.is_end_stream() && (part.asked || !waits);
        drop(part);
        left.then_some(UnreadBody(shared))
    }
}

/// Something of a body that nobody wants.
pub struct UnreadBody(Arc<Mutex<Part>>);

impl UnreadBody {
    /// Ends with the connection, if not before.
    pub async fn discard(self) {
        let reading = async {
            let mut seen = 0;
            while let Some(Ok(frame)) = poll_fn(|cx| lock(&self.0).poll_frame(cx)).await {
                seen += frame.data_ref().map_or(0, Bytes::len);
                if seen > MOST_BYTES {
                    return;
                }
            }
        };
        let _ = timeout(TIMEOUT, reading).await;
    }
}

impl Part {
    fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        if self.ended {
            return Poll::Ready(None);
        }
        self.asked = true;
        let polled = Pin::new(&mut self.body).poll_frame(cx);
        self.ended = matches!(polled, Poll::Ready(None | Some(Err(_))));
        polled
    }
}

impl Body for SharedBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        match &self.0 {
            Some(shared) => lock(shared).poll_frame(cx),
            None => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.0
            .as_ref()
            .is_none_or(|shared| lock(shared).body.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Some(shared) => lock(shared).body.size_hint(),
            None => SizeHint::with_exact(0),
        }
    }
}
