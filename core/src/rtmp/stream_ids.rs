//! Message stream ids that differ between the two sides: in headers, and in the few messages that carry one in their
//! body.

use super::amf0::Value;
use super::message::{Command, kind};

/// The receiver's id for each of the sender's message streams, where they differ; oldest first. They hardly ever
/// differ, and a relay keeps one such list for each direction of each session, so it is a boxed slice, the smallest
/// type that can be empty.
#[derive(Debug, Clone, Default)]
pub(super) struct StreamIds(Option<Box<[(u32, u32)]>>);

impl StreamIds {
    pub(super) const fn new() -> Self {
        Self(None)
    }

    /// Maps the sender's id `from` to the receiver's id `to` from now on.
    pub(super) fn map(&mut self, from: u32, to: u32) {
        let others = self.pairs().iter().filter(|(known, _)| *known != from);
        let mut pairs: Vec<(u32, u32)> = others.copied().collect();
        if pairs.len() >= MAX_IDS {
            pairs.remove(0);
        }
        pairs.push((from, to));
        self.0 = Some(pairs.into());
    }

    pub(super) fn is_empty(&self) -> bool {
        self.pairs().is_empty()
    }

    /// The receiver's id for the sender's `id`.
    pub(super) fn of(&self, id: u32) -> u32 {
        self.other(id).unwrap_or(id)
    }

    /// The body with the receiver's ids; `None` if it does not change.
    pub(super) fn in_body(&self, of_kind: u8, body: &[u8]) -> Option<Vec<u8>> {
        match of_kind {
            kind::USER_CONTROL => self.in_user_control(body),
            kind::COMMAND_AMF0 | kind::COMMAND_AMF3 => self.in_command(of_kind, body),
            _ => None,
        }
    }

    /// Handles Stream Begin, EOF, Dry, Set Buffer Length and Is Recorded (RTMP 1.0 §7.1.7), and Adobe's Buffer Empty
    /// and Ready: a two-byte event, then the stream.
    fn in_user_control(&self, body: &[u8]) -> Option<Vec<u8>> {
        let (event, rest) = body.split_first_chunk()?;
        let (id, after) = rest.split_first_chunk()?;
        let of_stream = matches!(u16::from_be_bytes(*event), 0..=4 | 31 | 32);
        let theirs = of_stream.then(|| self.other(u32::from_be_bytes(*id)))??;
        Some([&event[..], &theirs.to_be_bytes(), after].concat())
    }

    /// `deleteStream` names the stream in its argument; all other commands mean the stream of their header.
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a number that is no id becomes one that is not known"
    )]
    fn in_command(&self, of_kind: u8, body: &[u8]) -> Option<Vec<u8>> {
        if self.is_empty() {
            return None;
        }
        let mut command = Command::decode(of_kind, body).ok()?;
        if command.name != "deleteStream" {
            return None;
        }
        let argument = command.arguments.first_mut()?;
        let theirs = self.other(argument.as_number()? as u32)?;
        *argument = Value::Number(theirs.into());
        let zero = of_kind == kind::COMMAND_AMF3 && body.first() == Some(&0);
        let before = body.get(..usize::from(zero))?;
        Some([before, &command.encode()].concat())
    }

    fn other(&self, id: u32) -> Option<u32> {
        let pair = self.pairs().iter().find(|(from, _)| *from == id)?;
        Some(pair.1)
    }

    fn pairs(&self) -> &[(u32, u32)] {
        self.0.as_deref().unwrap_or_default()
    }
}

/// Maximum ids: a connection carries one stream, rarely a few. Beyond this, the oldest is forgotten.
const MAX_IDS: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;
    use hex_literal::hex;

    /// A description, the message kind, its body, and the body that is sent in its place.
    type Row = (&'static str, u8, &'static [u8], Option<&'static [u8]>);

    #[test]
    fn bodies_that_name_a_stream_name_the_other() {
        let mut ids = StreamIds::new();
        ids.map(1, 0x0102_0304);
        let rows: [Row; 8] = [
            (
                "stream begin",
                4,
                &hex!("0000 00000001"),
                Some(&hex!("0000 01020304")),
            ),
            (
                "set buffer length keeps its length",
                4,
                &hex!("0003 00000001 00000bb8"),
                Some(&hex!("0003 01020304 00000bb8")),
            ),
            ("another stream", 4, &hex!("0000 00000002"), None),
            ("a ping carries a time", 4, &hex!("0006 00000001"), None),
            ("too short", 4, &hex!("0000 0000"), None),
            (
                "deleteStream(1)",
                20,
                &hex!(
                    "02 000c 64656c65746553747265616d 00 0000000000000000 05 00 3ff0000000000000"
                ),
                Some(&hex!(
                    "02 000c 64656c65746553747265616d 00 0000000000000000 05 00 4170203040000000"
                )),
            ),
            (
                "another command with a number",
                20,
                &hex!("02 0005 7061757365 00 0000000000000000 05 00 3ff0000000000000"),
                None,
            ),
            ("media", 9, &hex!("0000 00000001"), None),
        ];
        for (cause, of_kind, body, expected) in rows {
            assert_eq!(ids.in_body(of_kind, body).as_deref(), expected, "{cause}");
        }
    }
}
