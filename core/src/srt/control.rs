//! What a relay reads of packets after the handshake, and writes itself, for a caller that outlives its origin (sections 3.1,
//! 3.2.2 to 3.2.9).

use super::packet::{HEADER, readdress};
use super::sequence::Sequence;

/// A packet, as far as another origin would have to know of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seen<'a> {
    /// The receiver has everything before this number (section 3.2.4).
    Ack(Sequence),
    /// Media.
    Data {
        /// Its number.
        sequence: Sequence,
        /// It was sent before.
        is_again: bool,
    },
    /// The sender will use another key: the key material (section 3.2.2).
    KeyRequest(&'a [u8]),
    /// The receiver has taken a key.
    KeyResponse,
    /// The receiver misses packets: their numbers (section 3.2.5 and appendix A).
    Loss(&'a [u8]),
    /// Anything else.
    Other,
}

impl<'a> Seen<'a> {
    /// Reads a packet. What is cut off is [`Seen::Other`].
    pub fn of(packet: &'a [u8]) -> Self {
        let Some((header, body)) = packet.split_first_chunk::<HEADER>() else {
            return Self::Other;
        };
        let [a, b, c, d, e, ..] = *header;
        let first = u32::from_be_bytes([a, b, c, d]);
        if first & CONTROL == 0 {
            return Self::Data {
                sequence: Sequence::new(first),
                is_again: e & SENT_AGAIN != 0,
            };
        }
        match (first & !CONTROL) >> 16 {
            ACK => word(body, 0).map_or(Self::Other, |next| Self::Ack(Sequence::new(next))),
            LOSS => Self::Loss(body),
            EXTENDED if first & 0xFFFF == KEY_REQUEST => Self::KeyRequest(body),
            EXTENDED if first & 0xFFFF == KEY_RESPONSE => Self::KeyResponse,
            _ => Self::Other,
        }
    }

    /// Whether its timestamp says what time it is at the sender. That of a data packet says when its media was handed over.
    pub const fn tells_time(&self) -> bool {
        !matches!(self, Self::Data { .. })
    }
}

/// The timestamp of a packet: microseconds since its sender began, in 32 bits.
pub fn timestamp(packet: &[u8]) -> u32 {
    word(packet, 8).unwrap_or_default()
}

/// Adds `shift` to the timestamp of a packet.
pub fn restamp(packet: &mut [u8], shift: u32) {
    let shifted = timestamp(packet).wrapping_add(shift);
    if let Some(place) = packet.get_mut(8..12) {
        place.copy_from_slice(&shifted.to_be_bytes());
    }
}

/// A packet that says nothing but that its sender lives (section 3.2.3). Like libsrt, it has four bytes after the header.
pub fn keep_alive(destination: u32, timestamp: u32) -> Vec<u8> {
    control(KEEP_ALIVE << 16, destination, timestamp, &[0; 4])
}

/// A packet that says that the numbers from `first` to `last` will never come (section 3.2.9). It names no message, so that a
/// receiver keeps what it has of them.
pub fn drop_request(destination: u32, timestamp: u32, first: Sequence, last: Sequence) -> Vec<u8> {
    let numbers = [first.word().to_be_bytes(), last.word().to_be_bytes()].concat();
    control(DROP_REQUEST << 16, destination, timestamp, &numbers)
}

/// A packet that tells a receiver of a key (section 3.2.2).
pub fn key_request(destination: u32, timestamp: u32, key: &[u8]) -> Vec<u8> {
    control(EXTENDED << 16 | KEY_REQUEST, destination, timestamp, key)
}

/// A packet that says that the numbers in `list` are missing.
pub fn loss_report(destination: u32, timestamp: u32, list: &[u8]) -> Vec<u8> {
    control(LOSS << 16, destination, timestamp, list)
}

fn control(kind: u32, destination: u32, timestamp: u32, body: &[u8]) -> Vec<u8> {
    let mut packet = vec![0; HEADER];
    if let Some(start) = packet.get_mut(..4) {
        start.copy_from_slice(&(CONTROL | kind).to_be_bytes());
    }
    restamp(&mut packet, timestamp);
    readdress(&mut packet, destination);
    packet.extend_from_slice(body);
    packet
}

/// What of a loss report precedes a number, and what does not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Clipped {
    /// The lowest number that precedes it.
    pub lowest: Sequence,
    /// The list of those that do not.
    pub rest: Vec<u8>,
}

/// Divides a loss report at `first`; `None` if nothing in it precedes that number, which is nearly always so and costs no
/// allocation.
pub fn clip(list: &[u8], first: Sequence) -> Option<Clipped> {
    let mut lowest: Option<Sequence> = None;
    for (low, _) in ranges(list) {
        if first.is_after(low) && lowest.is_none_or(|lowest| lowest.is_after(low)) {
            lowest = Some(low);
        }
    }
    let lowest = lowest?;
    let mut rest = Vec::new();
    for (low, high) in ranges(list) {
        let low = low.later(first);
        if low.is_after(high) {
            continue;
        }
        if low != high {
            rest.extend((low.word() | RANGE).to_be_bytes());
        }
        rest.extend(high.word().to_be_bytes());
    }
    Some(Clipped { lowest, rest })
}

/// The ranges of a loss report, each with its first and its last number.
fn ranges(list: &[u8]) -> impl Iterator<Item = (Sequence, Sequence)> {
    let mut words = list.chunks_exact(4).map(|word| match *word {
        [a, b, c, d] => u32::from_be_bytes([a, b, c, d]),
        _ => 0,
    });
    std::iter::from_fn(move || {
        let first = words.next()?;
        let last = match first & RANGE {
            0 => first,
            _ => words.next()?,
        };
        Some((Sequence::new(first), Sequence::new(last)))
    })
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    let word = bytes.get(at..)?.first_chunk::<4>()?;
    Some(u32::from_be_bytes(*word))
}

/// The bit that tells control packets from data.
const CONTROL: u32 = 0x8000_0000;
/// The bit of the fifth byte of a data packet that says that it was sent before.
const SENT_AGAIN: u8 = 0x04;
/// The bit of the first word of a range.
const RANGE: u32 = 0x8000_0000;
const KEEP_ALIVE: u32 = 1;
const ACK: u32 = 2;
const LOSS: u32 = 3;
const DROP_REQUEST: u32 = 7;
const EXTENDED: u32 = 0x7FFF;
const KEY_REQUEST: u32 = 3;
const KEY_RESPONSE: u32 = 4;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn list(words: &[u32]) -> Vec<u8> {
        words.iter().flat_map(|word| word.to_be_bytes()).collect()
    }

    #[test]
    fn packets_by_what_another_origin_has_to_know() {
        let packet = |start: [u8; 8], body: &[u8]| [&start[..], &[0; 8], body].concat();
        let data = |sequence, is_again| Seen::Data {
            sequence: Sequence::new(sequence),
            is_again,
        };
        for (cause, start, body, seen) in [
            (
                "data",
                [0x12, 0, 0, 9, 0xe0, 0, 0, 1],
                &[7_u8; 4][..],
                data(0x1200_0009, false),
            ),
            (
                "data again",
                [0, 0, 0, 9, 0xe4, 0, 0, 1],
                &[7; 4],
                data(9, true),
            ),
            (
                "a full acknowledgement",
                [0x80, 2, 0, 0, 0, 0, 0, 1],
                &[0, 0, 1, 0, 9, 9, 9, 9],
                Seen::Ack(Sequence::new(256)),
            ),
            (
                "a light acknowledgement",
                [0x80, 2, 0, 0, 0, 0, 0, 0],
                &[0, 0, 1, 0],
                Seen::Ack(Sequence::new(256)),
            ),
            (
                "an acknowledgement that is cut off",
                [0x80, 2, 0, 0, 0, 0, 0, 0],
                &[0, 0, 1],
                Seen::Other,
            ),
            (
                "a loss report",
                [0x80, 3, 0, 0, 0, 0, 0, 0],
                &[0, 0, 0, 3],
                Seen::Loss(&[0, 0, 0, 3]),
            ),
            (
                "a key",
                [0xff, 0xff, 0, 3, 0, 0, 0, 0],
                &[0x12, 0x20],
                Seen::KeyRequest(&[0x12, 0x20]),
            ),
            (
                "a key's answer",
                [0xff, 0xff, 0, 4, 0, 0, 0, 0],
                &[],
                Seen::KeyResponse,
            ),
            (
                "a keep-alive",
                [0x80, 1, 0, 0, 0, 0, 0, 0],
                &[0; 4],
                Seen::Other,
            ),
        ] {
            assert_eq!(Seen::of(&packet(start, body)), seen, "{cause}");
        }
        assert_eq!(Seen::of(&[0; 15]), Seen::Other, "a header that is cut off");
    }

    #[test]
    fn what_is_written_is_read_again() {
        let first = Sequence::new(5);
        let told = drop_request(7, 1_000, first, Sequence::new(9));
        assert_eq!(told[..4], [0x80, 7, 0, 0]);
        assert_eq!(told[4..8], [0; 4], "no message");
        assert_eq!(
            (timestamp(&told), &told[12..16]),
            (1_000, &[0, 0, 0, 7][..])
        );
        assert_eq!(told[16..], list(&[5, 9]));
        assert_eq!(keep_alive(7, 3)[..4], [0x80, 1, 0, 0]);
        assert_eq!(
            Seen::of(&key_request(7, 3, &[1; 8])),
            Seen::KeyRequest(&[1; 8])
        );
        let mut packet = keep_alive(7, u32::MAX);
        restamp(&mut packet, 2);
        assert_eq!(timestamp(&packet), 1, "32 bits");
    }

    #[test]
    fn a_loss_report_is_clipped_at_the_first_number_there_is() {
        let first = Sequence::new(100);
        for (cause, before, lowest, rest) in [
            ("all are there", vec![100, 101 | RANGE, 105], None, vec![]),
            ("nothing is missing", vec![], None, vec![]),
            ("a single one that precedes", vec![99], Some(99), vec![]),
            (
                "a range that precedes",
                vec![90 | RANGE, 99],
                Some(90),
                vec![],
            ),
            (
                "a range that ends with it",
                vec![98 | RANGE, 100],
                Some(98),
                vec![100],
            ),
            (
                "a range across it",
                vec![98 | RANGE, 103],
                Some(98),
                vec![100 | RANGE, 103],
            ),
            (
                "some of each",
                vec![97, 95, 101, 110 | RANGE, 112],
                Some(95),
                vec![101, 110 | RANGE, 112],
            ),
            (
                "a range that is cut off",
                vec![97, 90 | RANGE],
                Some(97),
                vec![],
            ),
            (
                "a range that ends before it begins",
                vec![99 | RANGE, 97],
                Some(99),
                vec![],
            ),
        ] {
            let clipped = clip(&list(&before), first);
            let expected = lowest.map(|lowest| Clipped {
                lowest: Sequence::new(lowest),
                rest: list(&rest),
            });
            assert_eq!(clipped, expected, "{cause}");
        }
    }

    proptest! {
        /// Whatever a report lists: nothing that precedes the number is left, all else is, and it grows by nothing.
        #[test]
        fn clipping_keeps_exactly_what_does_not_precede(
            words in proptest::collection::vec(0_u32..200, 0..20), first in 0_u32..200,
        ) {
            let report = list(&words);
            let first = Sequence::new(first);
            let mut kept: Vec<_> = ranges(&report).flat_map(|(low, high)| low.word()..=high.word()).collect();
            kept.retain(|number| *number >= first.word());
            match clip(&report, first) {
                None => prop_assert!(words.iter().all(|word| *word >= first.word())),
                Some(clipped) => {
                    prop_assert!(clipped.rest.len() <= report.len());
                    let rest: Vec<_> = ranges(&clipped.rest).flat_map(|(low, high)| low.word()..=high.word()).collect();
                    prop_assert_eq!(rest, kept);
                }
            }
        }
    }
}
