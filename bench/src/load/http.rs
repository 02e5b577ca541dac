//! Senders over HTTP: one connection that is kept, one POST at a time, as a client's connection pool has it.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};

use pgchat_harness::Failure;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Notify;

use super::content::{Stamp, decimal};
use super::dialect;
use super::socket::connect;

/// Messages that wait for the connection of their lane. Bounded by what the run offers.
#[derive(Default)]
pub struct Queue {
    waiting: RefCell<VecDeque<Stamp>>,
    woken: Notify,
}

impl Queue {
    pub fn push(&self, stamp: Stamp) {
        self.waiting.borrow_mut().push_back(stamp);
        self.woken.notify_one();
    }

    pub async fn next(&self) -> Stamp {
        loop {
            if let Some(stamp) = self.waiting.borrow_mut().pop_front() {
                return stamp;
            }
            self.woken.notified().await;
        }
    }
}

pub struct Connection {
    stream: TcpStream,
    to: SocketAddr,
    request: Vec<u8>,
    body: Vec<u8>,
    answer: Vec<u8>,
}

impl Connection {
    pub async fn open(to: SocketAddr, from: IpAddr) -> Result<Self, Failure> {
        Ok(Self {
            stream: connect(to, from).await?,
            to,
            request: Vec::with_capacity(1024),
            body: Vec::with_capacity(1024),
            answer: Vec::with_capacity(2048),
        })
    }

    /// The status of the answer.
    pub async fn post(
        &mut self,
        conversation: &str,
        sender: &str,
        stamp: Stamp,
        size: usize,
    ) -> Result<u16, Failure> {
        self.body.clear();
        dialect::message(conversation, Some(sender), stamp, size, &mut self.body);
        self.request.clear();
        self.request
            .extend_from_slice(b"POST /api/v1/chat/messages HTTP/1.1\r\nHost: ");
        self.request
            .extend_from_slice(self.to.to_string().as_bytes());
        self.request
            .extend_from_slice(b"\r\nContent-Type: application/json\r\nContent-Length: ");
        decimal(self.body.len() as u64, &mut self.request);
        self.request.extend_from_slice(b"\r\n\r\n");
        self.request.extend_from_slice(&self.body);
        self.stream.write_all(&self.request).await?;
        self.answer.clear();
        loop {
            if self.stream.read_buf(&mut self.answer).await? == 0 {
                return Err("the connection was closed before the answer".into());
            }
            if let Some(status) = complete(&self.answer)? {
                return Ok(status);
            }
        }
    }
}

/// The status, once head and body are here.
fn complete(answer: &[u8]) -> Result<Option<u16>, Failure> {
    let mut headers = [httparse::EMPTY_HEADER; 32];
    let mut response = httparse::Response::new(&mut headers);
    let httparse::Status::Complete(head) = response.parse(answer)? else {
        return Ok(None);
    };
    let length = response
        .headers
        .iter()
        .find(|header| header.name.eq_ignore_ascii_case("content-length"))
        .ok_or("an answer without Content-Length")?;
    let length: usize = std::str::from_utf8(length.value)?.trim().parse()?;
    Ok((answer.len() >= head + length).then_some(response.code.unwrap_or(0)))
}

#[cfg(test)]
mod tests {
    use super::complete;

    #[test]
    fn an_answer_is_complete_with_its_body() {
        let answer = b"HTTP/1.1 201 Created\r\ncontent-length: 2\r\n\r\n{}";
        for len in 0..answer.len() {
            assert_eq!(complete(&answer[..len]).unwrap(), None, "{len}");
        }
        assert_eq!(complete(answer).unwrap(), Some(201));
        assert!(complete(b"HTTP/1.1 200 OK\r\n\r\n").is_err());
    }
}
