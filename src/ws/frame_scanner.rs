//! Where frames and messages begin and end in the bytes of a client. No I/O.

/// A frame with more than that, in bytes, leaves a read buffer behind that is worth giving back.
const LONG_FRAME: u64 = 4 * 1024;

/// Finds the frames in a client's bytes (RFC 6455 section 5.2). What breaks the rules is left to the protocol's own code, which
/// ends the connection.
#[derive(Default)]
pub struct FrameScanner {
    /// The head of a frame, as far as it has come: two bytes, up to eight of a length, four of a mask.
    head: [u8; 14],
    head_bytes: u8,
    /// Of the frame's payload, what is still to come.
    payload: u64,
    /// The frame is the last one of its message.
    is_last: bool,
    /// A message has begun and is not complete.
    pub is_open: bool,
    /// Frames of the message that is open, or came last; control frames are none.
    pub of_message: u32,
    /// Bytes that the message's frames announce.
    pub of_message_bytes: u64,
    /// How many messages are complete; wraps around.
    pub completed: u32,
    /// Frames of all kinds, until they are asked for.
    pub begun: u32,
    /// One of them was longer than [`LONG_FRAME`].
    pub had_long_one: bool,
}

impl FrameScanner {
    pub fn scan(&mut self, mut bytes: &[u8]) {
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
    pub fn is_between(&self) -> bool {
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
