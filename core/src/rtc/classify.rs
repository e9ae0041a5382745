//! Which protocol a datagram on a WebRTC port belongs to: the ranges of RFC 7983 §7, with RTCP told from RTP as in RFC
//! 5761 §4.

/// What a datagram is, judged by its first bytes alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Class {
    /// A DTLS record.
    Dtls,
    /// Control packets of a media session.
    Rtcp,
    /// Media.
    Rtp,
    /// STUN; the message itself may still be malformed.
    Stun,
    /// Nothing that a call uses: ZRTP, TURN channels, noise.
    Unknown,
}

impl Class {
    /// The class of a datagram.
    pub fn of(datagram: &[u8]) -> Self {
        match datagram {
            [0..=3, ..] => Self::Stun,
            [20..=63, ..] => Self::Dtls,
            [128..=191, 192..=223, ..] => Self::Rtcp,
            [128..=191, ..] => Self::Rtp,
            _ => Self::Unknown,
        }
    }

    /// Whether a DTLS record is an alert (RFC 6347 §4.1, content type 21). An alert that ends a connection is
    /// encrypted, so this is only a hint that the connection may have ended.
    pub fn is_alert(datagram: &[u8]) -> bool {
        datagram.first() == Some(&ALERT)
    }
}

/// The content type of a DTLS alert.
const ALERT: u8 = 21;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_bytes_say_the_protocol() {
        let cases: [(&str, &[u8], Class); 14] = [
            ("nothing", &[], Class::Unknown),
            ("a binding request", &[0, 1], Class::Stun),
            ("a binding response", &[1, 1], Class::Stun),
            ("the last of STUN", &[3], Class::Stun),
            ("ZRTP", &[16], Class::Unknown),
            ("change cipher spec", &[20], Class::Dtls),
            ("a handshake record", &[22, 254, 253], Class::Dtls),
            ("the last of DTLS", &[63], Class::Dtls),
            ("a TURN channel", &[64], Class::Unknown),
            ("RTP", &[0x80, 96], Class::Rtp),
            ("RTP with the marker", &[0x80, 0xe0], Class::Rtp),
            ("a sender report", &[0x80, 200], Class::Rtcp),
            ("feedback", &[0x81, 206], Class::Rtcp),
            ("beyond RTP", &[192], Class::Unknown),
        ];
        for (cause, datagram, expected) in cases {
            assert_eq!(Class::of(datagram), expected, "{cause}");
        }
    }

    #[test]
    fn an_alert_is_told_from_a_handshake() {
        assert!(Class::is_alert(&[21, 254, 253]));
        assert!(!Class::is_alert(&[22, 254, 253]) && !Class::is_alert(&[]));
    }
}
