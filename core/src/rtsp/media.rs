//! What is media: which channels of a connection carry it, and which packets are it.

use super::message::{Message, Method};
use super::transport::Transport;
use crate::rtc::classify::Class;

/// The channels of a connection's frames (RFC 2326 §10.12) that were set up. A client numbers them as it likes. Of one
/// that nobody has set up, convention says what it carries: media if it is even, reports if it is odd.
#[derive(Debug, Clone, Copy, Default)]
pub struct Channels {
    media: Set,
    reports: Set,
}

/// A channel for media, and one for its reports if it was named.
pub type ChannelPair = (u8, Option<u8>);

/// A set of channel numbers.
#[derive(Debug, Clone, Copy, Default)]
struct Set([u64; 4]);

impl Channels {
    /// The channels that a SETUP asks for, or that the answer to one grants.
    pub fn of(message: &Message) -> Vec<ChannelPair> {
        let is_about_tracks = match message.method() {
            Some(method) => method == Method::Setup,
            None => matches!(message.status(), Some(200..300)),
        };
        let transport = message.field("transport").filter(|_| is_about_tracks);
        let transports = Transport::parse(transport.unwrap_or_default());
        let transports = transports.iter().flatten();
        transports.filter_map(Transport::channels).collect()
    }

    /// Notes the channels of a track.
    pub fn set_up(&mut self, (media, reports): ChannelPair) {
        self.reports.remove(media);
        self.media.insert(media);
        if let Some(reports) = reports.filter(|reports| *reports != media) {
            self.media.remove(reports);
            self.reports.insert(reports);
        }
    }

    /// Whether a channel was set up.
    pub fn has(&self, channel: u8) -> bool {
        self.media.has(channel) || self.reports.has(channel)
    }

    /// Whether a channel carries media.
    pub fn is_media(&self, channel: u8) -> bool {
        match self.has(channel) {
            true => self.media.has(channel),
            false => channel.is_multiple_of(2),
        }
    }
}

impl Set {
    fn insert(&mut self, channel: u8) {
        if let Some(word) = self.0.get_mut(usize::from(channel / 64)) {
            *word |= 1 << (channel % 64);
        }
    }

    fn remove(&mut self, channel: u8) {
        if let Some(word) = self.0.get_mut(usize::from(channel / 64)) {
            *word &= !(1 << (channel % 64));
        }
    }

    fn has(&self, channel: u8) -> bool {
        let word = self.0.get(usize::from(channel / 64));
        word.is_some_and(|word| word >> (channel % 64) & 1 == 1)
    }
}

/// Whether a packet is RTP with something after its header. Players open their address translator with datagrams that are
/// none: an empty one, four or eight bytes of no protocol, or a header of RTP alone.
pub fn is_rtp(packet: &[u8]) -> bool {
    match packet {
        [first, second, ..] => is_long_enough(packet.len()) && begins_rtp([*first, *second]),
        _ => false,
    }
}

/// Whether a packet of this length may be RTP with something after its header.
pub(super) const fn is_long_enough(length: usize) -> bool {
    length > RTP_HEADER
}

/// Whether RTP begins with these two bytes, which tell it from its reports.
pub(super) fn begins_rtp(start: [u8; 2]) -> bool {
    Class::of(&start) == Class::Rtp
}

/// A header of RTP without contributing sources (RFC 3550 §5.1).
const RTP_HEADER: usize = 12;

#[cfg(test)]
mod tests {
    use super::super::message::Speaker;
    use super::*;

    #[test]
    fn convention_says_what_nobody_has_set_up() {
        let mut channels = Channels::default();
        assert!(channels.is_media(0) && !channels.is_media(1));
        channels.set_up((1, Some(2)));
        channels.set_up((255, None));
        let media: Vec<u8> = (0..=u8::MAX)
            .filter(|channel| channels.is_media(*channel))
            .collect();
        let expected: Vec<u8> = (0..=u8::MAX)
            .filter(|channel| match channel {
                1 | 255 => true,
                2 => false,
                other => other % 2 == 0,
            })
            .collect();
        assert_eq!(media, expected);
        assert!(channels.has(1) && channels.has(2) && channels.has(255) && !channels.has(0));
        // Both on one.
        channels.set_up((2, Some(2)));
        assert!(channels.is_media(2));
    }

    #[test]
    fn a_setup_and_its_answer_name_channels() {
        let setup = "SETUP rtsp://h/a/1 RTSP/1.0\r\nCSeq: 1\r\n";
        let rows = [
            (
                "a request",
                setup,
                "RTP/AVP/TCP;interleaved=1-2",
                vec![(1, Some(2))],
            ),
            (
                "several offers",
                setup,
                "RTP/AVP;client_port=5000-5001,RTP/AVP/TCP;interleaved=4-5,RTP/AVP/TCP;interleaved=6",
                vec![(4, Some(5)), (6, None)],
            ),
            (
                "an answer",
                "RTSP/1.0 200 OK\r\nCSeq: 1\r\n",
                "RTP/AVP/TCP;interleaved=\"254-255\"",
                vec![(254, Some(255))],
            ),
            (
                "a refusal",
                "RTSP/1.0 461 No\r\nCSeq: 1\r\n",
                "RTP/AVP/TCP;interleaved=1-2",
                vec![],
            ),
            (
                "no channel",
                setup,
                "RTP/AVP/TCP;interleaved=256-257",
                vec![],
            ),
            (
                "another request",
                "PLAY rtsp://h/a RTSP/1.0\r\nCSeq: 1\r\n",
                "RTP/AVP/TCP;interleaved=1-2",
                vec![],
            ),
        ];
        for (cause, start, transport, expected) in rows {
            let text = format!("{start}Transport: {transport}\r\n\r\n");
            let (message, _) = Message::parse(text.as_bytes(), Speaker::Origin)
                .unwrap()
                .unwrap();
            assert_eq!(Channels::of(&message), expected, "{cause}");
        }
    }

    #[test]
    fn what_opens_an_address_translator_is_no_media() {
        let header = [0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        let media = [&header[..], &[1]].concat();
        let report = [&[0x80, 200, 0, 6][..], &[0; 24]].concat();
        let rows: [(&str, &[u8], bool); 7] = [
            ("nothing", b"", false),
            ("live555, VLC", &[0xce, 0xfa, 0xed, 0xfe], false),
            ("GStreamer", &[0; 8], false),
            ("FFmpeg", &header, false),
            ("many zeros", &[0; 40], false),
            ("a report", &report, false),
            ("media", &media, true),
        ];
        for (cause, packet, expected) in rows {
            assert_eq!(is_rtp(packet), expected, "{cause}");
        }
    }
}
