//! What a message of the load says of itself, so that whoever receives it knows where it belongs and when
//! it was due. No I/O.

use memchr::memmem;

/// One sender's way to one conversation; its messages are numbered 0, 1, 2 …
pub type LaneIx = u32;

/// Marks contents of the load.
const MARK: &str = "b.";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    pub lane: LaneIx,
    pub number: u32,
    /// When the message was to be sent, in nanoseconds of the board's clock.
    pub intended: u64,
}

impl Stamp {
    /// `b.LANE.NUMBER.INTENDED.`, filled up to `size` bytes with text that JSON need not escape.
    pub fn write(&self, size: usize, out: &mut Vec<u8>) {
        const FILLER: &[u8] = b"the quick brown fox jumps over the lazy dog and is back by noon ";
        let from = out.len();
        out.extend_from_slice(MARK.as_bytes());
        for value in [u64::from(self.lane), u64::from(self.number), self.intended] {
            decimal(value, out);
            out.push(b'.');
        }
        let rest = size.saturating_sub(out.len() - from);
        out.extend(FILLER.iter().cycle().take(rest));
    }

    /// From the JSON around it; `None` when it is not there.
    pub fn find(json: &[u8]) -> Option<Self> {
        const MEMBER: &[u8] = b"\"content\":\"b.";
        let mut rest = &json[memmem::find(json, MEMBER)? + MEMBER.len()..];
        let lane = number(&mut rest)?;
        let index = number(&mut rest)?;
        let intended = number(&mut rest)?;
        Some(Self {
            lane: u32::try_from(lane).ok()?,
            number: u32::try_from(index).ok()?,
            intended,
        })
    }
}

/// A request's name on its socket: lane and number. Below 2^53, so that it is a number for JavaScript too.
pub fn request_id(lane: LaneIx, number: u32) -> u64 {
    u64::from(lane) << 32 | u64::from(number)
}

pub fn of_request_id(id: u64) -> Option<(LaneIx, u32)> {
    Some((
        u32::try_from(id >> 32).ok()?,
        u32::try_from(id & u64::from(u32::MAX)).ok()?,
    ))
}

/// The whole number that follows `"name":`, in quotes or not.
pub fn member(json: &[u8], name: &[u8]) -> Option<u64> {
    let mut rest = &json[memmem::find(json, name)? + name.len()..];
    if rest.first() == Some(&b'"') {
        rest = &rest[1..];
    }
    digits(&mut rest)
}

/// Digits and the dot behind them.
fn number(rest: &mut &[u8]) -> Option<u64> {
    let value = digits(rest)?;
    if rest.first() != Some(&b'.') {
        return None;
    }
    *rest = &rest[1..];
    Some(value)
}

/// Digits at the front, taken away.
pub fn digits(rest: &mut &[u8]) -> Option<u64> {
    let len = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
    if len == 0 || len > 19 {
        return None;
    }
    let value = rest[..len]
        .iter()
        .fold(0_u64, |value, digit| value * 10 + u64::from(digit - b'0'));
    *rest = &rest[len..];
    Some(value)
}

pub fn decimal(value: u64, out: &mut Vec<u8>) {
    let mut digits = [0_u8; 20];
    let mut at = digits.len();
    let mut value = value;
    loop {
        at -= 1;
        digits[at] = b'0' + u8::try_from(value % 10).unwrap_or(0);
        value /= 10;
        if value == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[at..]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stamp_is_found_in_the_frame_that_carries_it() {
        let stamp = Stamp {
            lane: 255,
            number: 70_000,
            intended: 12_345_678_901,
        };
        let mut content = Vec::new();
        stamp.write(100, &mut content);
        assert_eq!(content.len(), 100);
        let content = String::from_utf8(content).unwrap();
        let frame = format!(
            r#"{{"type":"chat_message","data":{{"id":"x","content":"{content}","isRead":false,"seq":7}}}}"#
        );
        assert_eq!(Stamp::find(frame.as_bytes()), Some(stamp));
        assert_eq!(member(frame.as_bytes(), b"\"seq\":"), Some(7));
    }

    #[test]
    fn what_is_cut_or_foreign_is_no_stamp() {
        for json in [
            r#"{"content":"hello"}"#,
            r#"{"content":"b.1.2."}"#,
            r#"{"content":"b.1.2.3"}"#,
            r#"{"content":"b.1.x.3."}"#,
            r#"{"content":"b.4294967296.2.3."}"#,
            "",
        ] {
            assert_eq!(Stamp::find(json.as_bytes()), None, "{json}");
        }
    }

    #[test]
    fn request_ids_come_back() {
        assert_eq!(of_request_id(request_id(1_999, 77)), Some((1_999, 77)));
        let json = br#"{"type":"ack","data":{"requestId":"8589934597"}}"#;
        assert_eq!(
            member(json, b"\"requestId\":").and_then(of_request_id),
            Some((2, 5))
        );
    }
}
