//! Group commit. STUB.
use crate::error::Error;
use crate::model::*;

#[derive(Clone)]
pub struct Writer {}

/// A stored message, as JSON.
#[derive(Debug)]
pub struct Sent {
    pub message: RawJson,
    /** the answer to a repeat: nothing new was stored */
    pub repeated: bool,
}

impl Writer {
    /// Queues the message; never waits. `reply` is called once, in store order for the messages of one
    /// conversation, from the writer's task: it must not block. A full queue replies `Unavailable` at once.
    pub fn submit(
        &self,
        _message: NewMessage,
        _reply: impl FnOnce(Result<Sent, Error>) + Send + 'static,
    ) {
        unimplemented!()
    }
    /// Queues the message and waits until it is committed, or refused.
    pub async fn send(&self, _message: NewMessage) -> Result<Sent, Error> {
        unimplemented!()
    }
}
