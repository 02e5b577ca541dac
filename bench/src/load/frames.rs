//! WebSocket frames (RFC 6455, section 5) as a client of the load needs them: unfragmented, uncompressed.
//!
//! Own code, because the machine is shared with what is measured: frames are looked at where they were
//! received, in one buffer for all sockets, and nothing is allocated for a frame. No I/O.

pub const TEXT: u8 = 1;
pub const CLOSE: u8 = 8;
pub const PING: u8 = 9;
pub const PONG: u8 = 10;

/// Longest frame that is believed; the service's own limit is below.
const LONGEST: usize = 16 << 20;

/// What is left of the last read: the beginning of a frame.
#[derive(Default)]
pub struct Inbox {
    partial: Vec<u8>,
}

impl Inbox {
    /// Hands each complete frame of what was read to `each`, as opcode and payload.
    pub fn take(
        &mut self,
        read: &[u8],
        mut each: impl FnMut(u8, &[u8]),
    ) -> Result<(), &'static str> {
        if self.partial.is_empty() {
            let used = split(read, &mut each)?;
            self.partial.extend_from_slice(&read[used..]);
            return Ok(());
        }
        let mut all = std::mem::take(&mut self.partial);
        all.extend_from_slice(read);
        let used = split(&all, &mut each)?;
        if used < all.len() {
            all.drain(..used);
            self.partial = all;
        }
        Ok(())
    }
}

/// How many bytes were complete frames.
fn split(bytes: &[u8], each: &mut impl FnMut(u8, &[u8])) -> Result<usize, &'static str> {
    let mut used = 0;
    while let Some((head, len)) = head(&bytes[used..])? {
        let Some(payload) = bytes[used + head..].get(..len) else {
            break;
        };
        each(bytes[used] & 0x0f, payload);
        used += head + len;
    }
    Ok(used)
}

/// Lengths of a frame's head and payload; `None` when the head is not complete.
fn head(bytes: &[u8]) -> Result<Option<(usize, usize)>, &'static str> {
    let [first, second, rest @ ..] = bytes else {
        return Ok(None);
    };
    if first & 0xf0 != 0x80 {
        return Err("a fragmented or compressed frame");
    }
    if second & 0x80 != 0 {
        return Err("a masked frame from a server");
    }
    let (head, len) = match second {
        127 => match rest.first_chunk() {
            Some(len) => (
                10,
                usize::try_from(u64::from_be_bytes(*len)).unwrap_or(usize::MAX),
            ),
            None => return Ok(None),
        },
        126 => match rest.first_chunk() {
            Some(len) => (4, usize::from(u16::from_be_bytes(*len))),
            None => return Ok(None),
        },
        len => (2, usize::from(*len)),
    };
    if len > LONGEST {
        return Err("a frame that is too long");
    }
    Ok(Some((head, len)))
}

/// Appends a masked frame (a client's) to `out`.
pub fn write(opcode: u8, payload: &[u8], mask: [u8; 4], out: &mut Vec<u8>) {
    out.push(0x80 | opcode);
    match payload.len() {
        len @ 0..=125 => out.push(0x80 | u8::try_from(len).unwrap_or(0)),
        len @ 126..=0xffff => {
            out.push(0x80 | 126);
            out.extend_from_slice(&u16::try_from(len).unwrap_or(0).to_be_bytes());
        }
        len => {
            out.push(0x80 | 127);
            out.extend_from_slice(&(len as u64).to_be_bytes());
        }
    }
    out.extend_from_slice(&mask);
    let masked = payload.iter().zip(mask.iter().cycle());
    out.extend(masked.map(|(byte, mask)| byte ^ mask));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server_frame(payload: &[u8]) -> Vec<u8> {
        let mut frame = vec![0x81];
        match payload.len() {
            len @ 0..=125 => frame.push(len as u8),
            len @ 126..=0xffff => {
                frame.push(126);
                frame.extend_from_slice(&(len as u16).to_be_bytes());
            }
            len => {
                frame.push(127);
                frame.extend_from_slice(&(len as u64).to_be_bytes());
            }
        }
        frame.extend_from_slice(payload);
        frame
    }

    #[test]
    fn frames_come_out_whole_however_they_are_cut() {
        let payloads: Vec<Vec<u8>> = [0, 1, 125, 126, 300, 70_000]
            .iter()
            .map(|len| vec![b'x'; *len])
            .collect();
        let bytes: Vec<u8> = payloads.iter().flat_map(|p| server_frame(p)).collect();
        for step in [1, 2, 7, 1_000, bytes.len()] {
            let mut inbox = Inbox::default();
            let mut got = Vec::new();
            for chunk in bytes.chunks(step) {
                inbox
                    .take(chunk, |opcode, payload| {
                        assert_eq!(opcode, TEXT);
                        got.push(payload.to_vec());
                    })
                    .unwrap();
            }
            assert!(got == payloads, "in steps of {step}");
            assert!(inbox.partial.is_empty());
        }
    }

    #[test]
    fn a_fragment_and_a_masked_frame_are_refused() {
        assert!(Inbox::default().take(&[0x01, 0x00], |_, _| ()).is_err());
        assert!(Inbox::default().take(&[0x81, 0x80], |_, _| ()).is_err());
    }

    #[test]
    fn the_mask_of_the_rfcs_example() {
        // RFC 6455, section 5.7: "Hello", masked.
        let mut out = Vec::new();
        write(TEXT, b"Hello", [0x37, 0xfa, 0x21, 0x3d], &mut out);
        let want = [
            0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58,
        ];
        assert_eq!(out, want);
    }
}
