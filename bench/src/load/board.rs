//! The load's memory: what was sent, what has been seen of it, and when. Everything runs on one thread, so
//! nothing here is locked; no borrow is held over an await.

mod lane;
mod tally;
#[cfg(test)]
mod tests;

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use tokio::sync::Notify;
use uuid::Uuid;

use super::checker::{Seen, Sight};
use super::content::{LaneIx, Stamp};
use super::dialect::{self, Dialect, Incoming};
use super::frames;
use super::socket::Writer;
pub use lane::{Lane, LaneSpec, Pipe};
pub use tally::Tally;

use lane::{LaneState, UnderWay};

/// Where all clocks of the process count from: what is due at a time is due at no other load's.
static BEGAN: LazyLock<Instant> = LazyLock::new(Instant::now);

/// One user's socket, over its reconnects.
pub struct Client {
    pub user: usize,
    pub user_id: String,
    pub from: IpAddr,
    pub replica: Cell<usize>,
    pub live: Cell<bool>,
    /// Waits for `live`.
    pub came_live: Notify,
    pub writer: RefCell<Option<Rc<Writer>>>,
    /// The end of its connection is wanted.
    pub leaving: Cell<bool>,
    /// It came back with a cursor: then repeats are allowed.
    pub resumed: Cell<bool>,
    pub cursor: RefCell<String>,
    pub resyncs: Cell<u32>,
    seen: RefCell<HashMap<LaneIx, Seen>>,
}

impl Client {
    pub fn new(user: usize, user_id: String, replica: usize, from: IpAddr) -> Self {
        Self {
            user,
            user_id,
            from,
            replica: Cell::new(replica),
            live: Cell::new(false),
            came_live: Notify::new(),
            writer: RefCell::default(),
            leaving: Cell::new(false),
            resumed: Cell::new(false),
            cursor: RefCell::default(),
            resyncs: Cell::new(0),
            seen: RefCell::default(),
        }
    }
}

pub struct Board {
    pub dialect: Dialect,
    pub lanes: Vec<Lane>,
    pub clients: Vec<Rc<Client>>,
    pub tally: RefCell<Tally>,
    /// In bytes, of each content.
    pub size: usize,
    /// Each answer sends the lane's next message.
    pub closed_loop: Cell<bool>,
    pub sending: Cell<bool>,
    /// The first so many lanes keep the pace and have their latencies recorded; the others send when told to.
    pub paced: Cell<usize>,
    /// Cursors are kept, for a reconnect.
    pub track_cursors: Cell<bool>,
    /// The run ends: connections may too.
    pub closing: Cell<bool>,
    /// Times that count, from and to, in nanoseconds of the clock.
    pub window: Cell<(u64, u64)>,
    under_way: Cell<u64>,
    scratch: RefCell<Vec<u8>>,
}

impl Board {
    pub fn new(
        dialect: Dialect,
        lanes: Vec<LaneSpec>,
        clients: Vec<Rc<Client>>,
        users: &[Uuid],
        size: usize,
    ) -> Result<Self, hdrhistogram::CreationError> {
        let mut sockets: HashMap<usize, u32> = HashMap::new();
        for client in &clients {
            *sockets.entry(client.user).or_default() += 1;
        }
        let lane_count = lanes.len();
        let of = |user: usize| sockets.get(&user).copied().unwrap_or(0);
        let lanes = lanes
            .into_iter()
            .map(|spec| Lane {
                conversation: spec.conversation.to_string(),
                sender: users[spec.sender].to_string(),
                sockets: of(spec.sender) + of(spec.recipient),
                pipe: RefCell::default(),
                state: RefCell::default(),
                spec,
            })
            .collect();
        Ok(Self {
            dialect,
            lanes,
            clients,
            tally: RefCell::new(Tally::new()?),
            size,
            closed_loop: Cell::new(false),
            sending: Cell::new(false),
            paced: Cell::new(lane_count),
            track_cursors: Cell::new(false),
            closing: Cell::new(false),
            window: Cell::new((0, u64::MAX)),
            under_way: Cell::new(0),
            scratch: RefCell::default(),
        })
    }

    pub fn now(&self) -> u64 {
        u64::try_from(BEGAN.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    /// The clock's time as the system's.
    pub fn instant(&self, nanos: u64) -> tokio::time::Instant {
        tokio::time::Instant::from_std(*BEGAN + Duration::from_nanos(nanos))
    }

    pub fn set_pipe(&self, lane: usize, pipe: Pipe) {
        *self.lanes[lane].pipe.borrow_mut() = Some(pipe);
    }

    /// Messages that are not answered, or not seen by all that should.
    pub fn under_way(&self) -> u64 {
        self.under_way.get()
    }

    /// Sends the lane's next message, which was due at `intended`.
    pub fn send(&self, lane_ix: usize, intended: u64) {
        let lane = &self.lanes[lane_ix];
        let number = {
            let mut state = lane.state.borrow_mut();
            state.under_way.push_back(UnderWay {
                intended,
                awaited: lane.sockets,
                answered: false,
                refused: false,
            });
            // As many numbers as a lane can send in days.
            state.base + u32::try_from(state.under_way.len() - 1).unwrap_or(u32::MAX)
        };
        self.under_way.set(self.under_way.get() + 1);
        self.tally.borrow_mut().sent += 1;
        let stamp = Stamp {
            lane: u32::try_from(lane_ix).unwrap_or(u32::MAX),
            number,
            intended,
        };
        match &*lane.pipe.borrow() {
            Some(Pipe::Http(queue)) => queue.push(stamp),
            Some(Pipe::Socket(client)) => {
                let mut scratch = self.scratch.borrow_mut();
                scratch.clear();
                self.dialect
                    .send_message(&lane.conversation, stamp, self.size, &mut scratch);
                // Without a socket it stays unanswered, and is counted so.
                if let Some(writer) = &*client.writer.borrow() {
                    writer.send(frames::TEXT, &scratch);
                }
            }
            None => {}
        }
    }

    pub fn answered(
        &self,
        lane_ix: LaneIx,
        number: u32,
        accepted: bool,
        text: impl FnOnce() -> String,
    ) {
        let now = self.now();
        let Some(lane) = self.lanes.get(lane_ix as usize) else {
            return self.complain(|| format!("an answer for lane {lane_ix}, which is not there"));
        };
        {
            let mut state = lane.state.borrow_mut();
            let Some(message) = state.at(number) else {
                drop(state);
                return self.complain(|| format!("a second answer for {lane_ix}.{number}"));
            };
            message.answered = true;
            message.refused = !accepted;
            let intended = message.intended;
            if !accepted {
                message.awaited = 0;
            }
            let mut tally = self.tally.borrow_mut();
            if !accepted {
                tally.faults.refused += 1;
                tally.complain(text);
            } else if self.records(lane_ix, intended) {
                tally
                    .answers
                    .saturating_record(now.saturating_sub(intended));
            }
            drop(tally);
            self.settle(&mut state, number, now);
        }
        if self.closed_loop.get() && self.sending.get() {
            self.send(lane_ix as usize, self.now());
        }
    }

    /// A frame came in on the client's socket.
    pub fn frame(&self, client: &Client, writer: &Rc<Writer>, opcode: u8, payload: &[u8]) {
        match opcode {
            frames::TEXT => {}
            frames::PING => return writer.send(frames::PONG, payload),
            frames::CLOSE => {
                if !self.closing.get() && !client.leaving.get() {
                    let text = String::from_utf8_lossy(payload).into_owned();
                    self.complain(|| format!("a socket was closed: {text:?}"));
                }
                return;
            }
            _ => return,
        }
        match self.dialect.read(payload) {
            Incoming::Message { stamp, seq } => self.delivered(client, stamp, seq),
            Incoming::Accepted(lane, number) => self.answered(lane, number, true, String::new),
            Incoming::Refused(lane, number) => self.answered(lane, number, false, || {
                String::from_utf8_lossy(payload).into_owned()
            }),
            Incoming::Connected => {
                client.live.set(true);
                client.came_live.notify_one();
            }
            Incoming::Resync => client.resyncs.set(client.resyncs.get() + 1),
            Incoming::Open => {
                let greeting = Dialect::greeting(&client.user_id);
                writer.send(frames::TEXT, greeting.as_bytes());
            }
            Incoming::Ping => writer.send(frames::TEXT, b"3"),
            Incoming::Other => {}
        }
        if self.track_cursors.get()
            && let Some(cursor) = dialect::cursor(payload)
        {
            let mut kept = client.cursor.borrow_mut();
            kept.clear();
            kept.push_str(cursor);
        }
    }

    fn delivered(&self, client: &Client, stamp: Stamp, seq: u64) {
        let now = self.now();
        let Some(lane) = self.lanes.get(stamp.lane as usize) else {
            return self
                .complain(|| format!("a message of lane {}, which is not there", stamp.lane));
        };
        let sight = client
            .seen
            .borrow_mut()
            .entry(stamp.lane)
            .or_default()
            .see(stamp.number, seq);
        let mut tally = self.tally.borrow_mut();
        if sight == Sight::Doubled {
            if client.resumed.get() {
                tally.repeats += 1;
            } else {
                tally.faults.doubled += 1;
                tally.complain(|| format!("{stamp:?} came twice"));
            }
            return;
        }
        tally.faults.count(sight);
        if sight == Sight::OutOfOrder {
            tally.complain(|| format!("{stamp:?} with seq {seq} came out of order"));
        }
        if self.counts(now) {
            tally.frames += 1;
        }
        if client.user == lane.spec.recipient && self.records(stamp.lane, stamp.intended) {
            let took = now.saturating_sub(stamp.intended);
            tally.end_to_end.saturating_record(took);
        }
        drop(tally);
        let mut state = lane.state.borrow_mut();
        if let Some(message) = state.at(stamp.number) {
            message.awaited = message.awaited.saturating_sub(1);
            self.settle(&mut state, stamp.number, now);
        }
    }

    /// Counts a message that is complete, and forgets those at the front that are.
    fn settle(&self, state: &mut LaneState, number: u32, now: u64) {
        if let Some(message) = state.at(number)
            && message.is_complete()
        {
            if !message.refused && self.counts(now) {
                self.tally.borrow_mut().completed += 1;
            }
            self.under_way.set(self.under_way.get() - 1);
        }
        while state.under_way.front().is_some_and(UnderWay::is_complete) {
            state.under_way.pop_front();
            state.base += 1;
        }
    }

    /// Forgets the latencies so far, for another window.
    pub fn reset_latencies(&self) {
        let mut tally = self.tally.borrow_mut();
        tally.end_to_end.reset();
        tally.answers.reset();
    }

    fn records(&self, lane: LaneIx, intended: u64) -> bool {
        (lane as usize) < self.paced.get() && self.counts(intended)
    }

    fn counts(&self, nanos: u64) -> bool {
        let (from, to) = self.window.get();
        (from..to).contains(&nanos)
    }

    pub fn complain(&self, text: impl FnOnce() -> String) {
        self.tally.borrow_mut().complain(text);
    }

    /// What has not arrived is lost now.
    pub fn count_missing(&self) {
        let mut tally = self.tally.borrow_mut();
        for lane in &self.lanes {
            for message in &lane.state.borrow().under_way {
                if !message.answered {
                    tally.faults.unanswered += 1;
                } else {
                    tally.faults.lost += u64::from(message.awaited);
                }
            }
        }
    }
}
