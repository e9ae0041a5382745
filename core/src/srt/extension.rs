//! The extensions of a handshake (sections 3.2.1.1 to 3.2.1.3): their bounds are checked, and they are passed on
//! unchanged. Origins have had bugs in reading them, so what no honest caller sends must not reach an origin.

use std::borrow::Cow;
use std::time::Duration;

use super::packet::{HAS_CONFIG, HAS_HANDSHAKE, HAS_KEY};
use crate::read::{Reader, Truncated};
use crate::stream::{Action, decode, unquote};

/// What a relay has to know about a handshake's extensions.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Extensions {
    /// The stream id, if one was sent.
    pub stream_id: Option<String>,
    /// Whether a key was sent, so that the stream is encrypted.
    pub encrypted: bool,
    /// Whether packets carry a tag over their header, socket id included (AES-GCM), so that none may be readdressed.
    pub authenticated: bool,
    /// The bond that the call is a link of: several links carry the same stream.
    pub group: Option<u32>,
}

/// Why extensions are refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ExtensionError {
    /// An extension runs past the end of the packet, or bytes are left over.
    #[error("an extension is cut off")]
    Truncated,
    /// An extension occurs twice.
    #[error("extension {0} is there twice")]
    Twice(u16),
    /// An extension is present that the flags do not announce.
    #[error("extension {0} is not announced in the extension field")]
    Unannounced(u16),
    /// An extension has an invalid size.
    #[error("extension {kind} cannot be {words} words long")]
    Size {
        /// The type of the extension.
        kind: u16,
        /// Its size in words of four bytes.
        words: u16,
    },
    /// A conclusion has no handshake extension.
    #[error("the handshake extension is missing")]
    NoHandshake,
    /// The stream id is not UTF-8.
    #[error("the stream id is not text")]
    NotText,
}

impl From<Truncated> for ExtensionError {
    fn from(_: Truncated) -> Self {
        Self::Truncated
    }
}

impl Extensions {
    /// Reads the extensions of a conclusion that announces `flags`.
    ///
    /// # Errors
    /// [`ExtensionError`], for anything no honest peer sends.
    pub fn parse(bytes: &[u8], flags: u16) -> Result<Self, ExtensionError> {
        let mut reader = Reader::new(bytes);
        let mut found = Self::default();
        let mut seen = 0_u32;
        while reader.remaining() > 0 {
            let kind = reader.u16()?;
            let words = reader.u16()?;
            let data = reader.bytes(usize::from(words) * 4)?;
            let (range, flag) = match kind {
                HANDSHAKE_REQUEST | HANDSHAKE_RESPONSE => (3..=3, HAS_HANDSHAKE),
                KEY_REQUEST => (LEAST_KEY..=MOST_KEY, HAS_KEY),
                // An answer of one word says why there is no key.
                KEY_RESPONSE => (1..=MOST_KEY, HAS_KEY),
                // An empty one is none.
                STREAM_ID => (0..=MOST_STREAM_ID, HAS_CONFIG),
                CONGESTION => (1..=MOST_CONGESTION, HAS_CONFIG),
                FILTER => (1..=MOST_FILTER, HAS_CONFIG),
                GROUP => (2..=2, HAS_CONFIG),
                // Unknown extensions pass if they stay within the packet.
                _ => (0..=u16::MAX, flags),
            };
            if !range.contains(&words) {
                return Err(ExtensionError::Size { kind, words });
            }
            if flags & flag == 0 {
                return Err(ExtensionError::Unannounced(kind));
            }
            let bit = 1_u32.checked_shl(u32::from(kind)).unwrap_or(0);
            if seen & bit != 0 {
                return Err(ExtensionError::Twice(kind));
            }
            seen |= bit;
            match kind {
                STREAM_ID => found.stream_id = Some(read_text(data)?),
                KEY_REQUEST | KEY_RESPONSE => {
                    found.encrypted = true;
                    found.authenticated = data.get(KEY_AUTHENTICATION).is_some_and(|by| *by != 0);
                }
                GROUP => found.group = data.first_chunk().map(|id| u32::from_be_bytes(*id)),
                _ => {}
            }
        }
        if seen & (1 << HANDSHAKE_REQUEST | 1 << HANDSHAKE_RESPONSE) == 0 {
            return Err(ExtensionError::NoHandshake);
        }
        Ok(found)
    }
}

/// Encodes a stream id as an extension; at most 512 bytes of it.
pub fn stream_id(text: &str) -> Vec<u8> {
    let most = usize::from(MOST_STREAM_ID) * 4;
    let text = text.as_bytes();
    let text = text.get(..most).unwrap_or(text);
    let words = text.len().div_ceil(4);
    let mut extension = Vec::with_capacity(4 + words * 4);
    extension.extend(STREAM_ID.to_be_bytes());
    extension.extend(u16::try_from(words).unwrap_or(MOST_STREAM_ID).to_be_bytes());
    for chunk in text.chunks(4) {
        let mut word = [0; 4];
        for (place, byte) in word.iter_mut().rev().zip(chunk) {
            *place = *byte;
        }
        extension.extend(word);
    }
    extension
}

/// The extensions of a conclusion with `text` as its stream id, in place of one that is there. The others are kept byte
/// for byte, in their order.
pub fn with_stream_id(extensions: &[u8], text: &str) -> Vec<u8> {
    let mut written = without(extensions, STREAM_ID);
    written.extend(stream_id(text));
    written
}

/// The extensions of a conclusion with `key` as its key material, in place of that which is there.
pub fn with_key(extensions: &[u8], key: &[u8]) -> Vec<u8> {
    let mut written = without(extensions, KEY_REQUEST);
    let words = u16::try_from(key.len() / 4).unwrap_or(u16::MAX);
    written.extend(KEY_REQUEST.to_be_bytes());
    written.extend(words.to_be_bytes());
    written.extend(key);
    written
}

/// Whether `key` may be key material by its size: whole words, as many as a handshake may have.
pub fn is_key(key: &[u8]) -> bool {
    let words = u16::try_from(key.len() / 4).unwrap_or(u16::MAX);
    key.len().is_multiple_of(4) && (LEAST_KEY..=MOST_KEY).contains(&words)
}

/// The key material in the extensions of a conclusion.
pub fn key(extensions: &[u8]) -> Option<&[u8]> {
    let mut all = entries(extensions);
    all.find_map(|(kind, data)| (kind == KEY_REQUEST).then_some(data))
}

fn without(extensions: &[u8], unwanted: u16) -> Vec<u8> {
    let mut written = Vec::with_capacity(extensions.len() + 64);
    for (kind, data) in entries(extensions).filter(|(kind, _)| *kind != unwanted) {
        let words = u16::try_from(data.len() / 4).unwrap_or(u16::MAX);
        written.extend(kind.to_be_bytes());
        written.extend(words.to_be_bytes());
        written.extend(data);
    }
    written
}

/// The extensions one by one, up to one that is cut off.
fn entries(extensions: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    let mut reader = Reader::new(extensions);
    std::iter::from_fn(move || {
        let (kind, words) = (reader.u16().ok()?, reader.u16().ok()?);
        Some((kind, reader.bytes(usize::from(words) * 4).ok()?))
    })
}

/// What an origin agreed to in its answer. Another origin that takes the call has to agree to the same.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Terms {
    /// The flags of the handshake extension that say how packets are read (section 3.2.1.1.1).
    flags: u32,
    /// For how long the origin keeps what it receives, in milliseconds.
    receiver_delay: u16,
    /// For how long the caller is to keep what it receives, in milliseconds.
    sender_delay: u16,
    filter: Option<Box<[u8]>>,
    congestion: Option<Box<[u8]>>,
    /// It did not take the key that it was given.
    is_keyless: bool,
}

impl Terms {
    /// Reads the extensions of an origin's answer.
    pub fn of(extensions: &[u8]) -> Self {
        let mut terms = Self::default();
        for (kind, data) in entries(extensions) {
            match (kind, data) {
                (HANDSHAKE_RESPONSE, [_, _, _, _, a, b, c, d, e, f, g, h]) => {
                    terms.flags = u32::from_be_bytes([*a, *b, *c, *d]) & BINDING;
                    terms.receiver_delay = u16::from_be_bytes([*e, *f]);
                    terms.sender_delay = u16::from_be_bytes([*g, *h]);
                }
                (KEY_RESPONSE, data) => terms.is_keyless = data.len() <= 4,
                (FILTER, data) => terms.filter = Some(data.into()),
                (CONGESTION, data) => terms.congestion = Some(data.into()),
                _ => {}
            }
        }
        terms
    }

    /// Whether a call on these terms can go on under those of another origin. Each has a latency of its own.
    pub fn allow(&self, other: &Self) -> bool {
        self.flags == other.flags
            && self.filter == other.filter
            && self.congestion == other.congestion
            && self.is_keyless == other.is_keyless
    }

    /// For how long media is kept by who receives it (section 4.5): the origin of a caller that publishes, or a caller that plays.
    pub const fn latency(&self, action: Action) -> Duration {
        let millis = match action {
            Action::Publish => self.receiver_delay,
            Action::Play => self.sender_delay,
        };
        Duration::from_millis(millis as u64)
    }
}

/// Reads text from words whose bytes are swapped, padded with zeros.
fn read_text(data: &[u8]) -> Result<String, ExtensionError> {
    let mut text = Vec::with_capacity(data.len());
    for word in data.chunks(4) {
        text.extend(word.iter().rev());
    }
    while text.last() == Some(&0) {
        text.pop();
    }
    if text.contains(&0) {
        return Err(ExtensionError::NotText);
    }
    String::from_utf8(text).map_err(|_| ExtensionError::NotText)
}

const HANDSHAKE_REQUEST: u16 = 1;
const HANDSHAKE_RESPONSE: u16 = 2;
const KEY_REQUEST: u16 = 3;
const KEY_RESPONSE: u16 = 4;
const STREAM_ID: u16 = 5;
const CONGESTION: u16 = 6;
const FILTER: u16 = 7;
const GROUP: u16 = 8;
/// One wrapped key of 128 bits: 16 bytes of header, 16 of salt, 8 + 16 of key.
const LEAST_KEY: u16 = 14;
/// Two wrapped keys of 256 bits.
const MOST_KEY: u16 = 26;
/// Where key material says what authenticates packets (section 3.2.2): 0 nothing, 1 the tag of AES-GCM.
const KEY_AUTHENTICATION: usize = 9;
/// The flags that both sides read packets by: when they are to be shown (1, 2), the mark of packets that are sent again
/// (0x20), and the mode (0x40).
const BINDING: u32 = 0x63;
/// 512 bytes.
const MOST_STREAM_ID: u16 = 128;
/// 16 bytes.
const MOST_CONGESTION: u16 = 4;
/// 512 bytes.
const MOST_FILTER: u16 = 128;

/// A stream id as logs may show it: of the keys of a structured one (SRT access control guidelines) the host, the mode and the
/// stream; of one in the form of another server that form and the stream. Passwords and tokens are in the rest. The stream
/// comes last, because the log masks a name from the last slash on.
pub fn shown(id: &str) -> String {
    // What is escaped twice, or is no text once it is read, is not looked into.
    let read = decode(unquote(id)).unwrap_or(Cow::Borrowed(id));
    let (read, rest) = read
        .split_once('%')
        .map_or((&*read, ""), |(read, _)| (read, HIDDEN));
    let read = match (read.strip_prefix(STRUCTURED), read.split_once("://")) {
        (Some(pairs), _) => shown_pairs(pairs),
        (None, Some((scheme, place)))
            if scheme.bytes().all(|byte| byte.is_ascii_alphanumeric()) =>
        {
            format!("{scheme}://{}", shown_place(place))
        }
        (None, _) => match read.split_once(':') {
            Some((word, path)) if ["publish", "read"].contains(&word.trim()) => {
                format!("{}:{}", word.trim(), first_part(path))
            }
            _ => first_part(read),
        },
    };
    let printed = |letter: char| if letter.is_control() { ' ' } else { letter };
    let shown = read.chars().chain(rest.chars());
    shown.map(printed).take(MAX_SHOWN).collect()
}

fn shown_pairs(pairs: &str) -> String {
    let (mut shown, mut stream) = (Vec::new(), Vec::new());
    for pair in pairs.split(',') {
        match pair.split_once('=').map(|(key, value)| (key.trim(), value)) {
            Some(("r", value)) => stream.push(format!("r={}", first_part(unquote(value)))),
            Some((key @ ("h" | "m"), value)) => {
                shown.push(format!("{key}={}", first_part(unquote(value))));
            }
            Some((key, _)) => shown.push(format!("{key}={HIDDEN}")),
            None => shown.push(HIDDEN.to_owned()),
        }
    }
    shown.append(&mut stream);
    format!("{STRUCTURED}{}", shown.join(","))
}

/// What follows the scheme of a URL, without its user and its query.
fn shown_place(place: &str) -> String {
    let end = place.find(['?', '&', '#', ';', ',']).unwrap_or(place.len());
    let (place, query) = place.split_at(end);
    let (user, place) = match place.rsplit_once('@') {
        Some((_, place)) => ("…@", place),
        None => ("", place),
    };
    let (host, path) = place.split_at(place.find('/').unwrap_or(place.len()));
    let is_port = |port: &str| port.bytes().all(|byte| byte.is_ascii_digit());
    let host = match host.split_once(':') {
        Some((_, port)) if is_port(port) => Cow::Borrowed(host),
        Some((host, _)) => Cow::Owned(format!("{host}:{HIDDEN}")),
        None => Cow::Borrowed(host),
    };
    let path = first_part(&[path, query].concat());
    format!("{user}{host}{path}")
}

/// A text up to the first character that ends a path in some server's form.
fn first_part(text: &str) -> String {
    let end = text
        .find(['?', '&', '#', ';', ',', ':'])
        .unwrap_or(text.len());
    let (part, rest) = text.split_at(end);
    let part = part.trim().trim_end_matches('/');
    let mut rest = rest.chars();
    let (mark, more) = match rest.next() {
        Some(mark) if !rest.as_str().is_empty() => (mark.to_string(), HIDDEN),
        _ => (String::new(), ""),
    };
    format!("{part}{mark}{more}")
}

/// What stands for a part of a stream id that is not shown.
const HIDDEN: &str = "…";
/// The start of a structured stream id.
const STRUCTURED: &str = "#!::";
/// Characters of a stream id in a line of a log.
const MAX_SHOWN: usize = 600;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_id_is_shown_without_what_is_secret() {
        let rows = [
            ("", ""),
            ("live/a", "live/a"),
            ("live/a?key=secret", "live/a?…"),
            (
                "#!::r=live/a?t=secret,m=publish,u=me,s=secret,secret",
                "#!::m=publish,u=…,s=…,…,r=live/a?…",
            ),
            (
                "#!::r=live/a&s=secret,m=publish",
                "#!::m=publish,r=live/a&…",
            ),
            ("'#!::r=live/a,s=secret'", "#!::s=…,r=live/a"),
            ("%23!::r=live/a,s=secret", "#!::s=…,r=live/a"),
            ("%23%21::r%3Dlive/a%2Cs%3Dsecret", "#!::s=…,r=live/a"),
            ("%2523!::r=live/a,s=secret", "…"),
            ("#!::r=live/a:secret,h=v", "#!::h=v,r=live/a:…"),
            ("publish:live/a", "publish:live/a"),
            ("publish:live/a:bob:secret", "publish:live/a:…"),
            (" read : live/a : bob:secret:k=secret", "read:live/a:…"),
            ("live/a:secret", "live/a:…"),
            ("live/a/,mode:publish,token:secret", "live/a,…"),
            ("live/a;token=secret", "live/a;…"),
            ("live/a#secret", "live/a#…"),
            ("srt://h:10080/app/a?policy=secret", "srt://h:10080/app/a?…"),
            (
                "srt%3A%2F%2Fh%2Fapp%2Fa%3Fpolicy%3Dsecret",
                "srt://h/app/a?…",
            ),
            ("srt://bob:secret@h:9/live/a", "srt://…@h:9/live/a"),
            ("srt://h/live/a:secret", "srt://h/live/a:…"),
            ("srt://h", "srt://h"),
            ("live/100%:secret", "live/100…"),
            ("a\nb", "a b"),
        ];
        for (id, expected) in rows {
            assert_eq!(shown(id), expected, "{id}");
        }
    }

    fn extension(kind: u16, words: u16, bytes: usize) -> Vec<u8> {
        let mut extension = kind.to_be_bytes().to_vec();
        extension.extend(words.to_be_bytes());
        extension.resize(4 + bytes, 1);
        extension
    }

    const ALL: u16 = HAS_HANDSHAKE | HAS_KEY | HAS_CONFIG;

    #[test]
    fn another_stream_id_takes_the_place_of_the_first() {
        let request = extension(HANDSHAKE_REQUEST, 3, 12);
        let key = extension(KEY_REQUEST, LEAST_KEY, usize::from(LEAST_KEY) * 4);
        let named = [request.as_slice(), &stream_id("publish:cam1"), &key].concat();
        let nameless = [request.as_slice(), &key].concat();
        for (cause, before) in [("one that is there", named), ("none", nameless)] {
            let renamed = with_stream_id(&before, "#!::r=live/cam1,m=publish");
            let expected = [
                request.as_slice(),
                &key,
                &stream_id("#!::r=live/cam1,m=publish"),
            ];
            assert_eq!(renamed, expected.concat(), "{cause}");
            let read = Extensions::parse(&renamed, ALL).unwrap();
            assert_eq!(read.stream_id.as_deref(), Some("#!::r=live/cam1,m=publish"));
            assert!(read.encrypted, "{cause}");
        }
    }

    #[test]
    fn a_newer_key_takes_the_place_of_the_first() {
        let request = extension(HANDSHAKE_REQUEST, 3, 12);
        let old = extension(KEY_REQUEST, LEAST_KEY, usize::from(LEAST_KEY) * 4);
        let before = [request.as_slice(), &old, &stream_id("live/a")].concat();
        let newer = vec![7; 18 * 4];
        let written = with_key(&before, &newer);
        let read = Extensions::parse(&written, ALL).unwrap();
        assert_eq!(read.stream_id.as_deref(), Some("live/a"));
        assert!(read.encrypted);
        assert_eq!(key(&written), Some(newer.as_slice()));
        for (cause, key, fits) in [
            ("two keys of 256 bits", vec![0; 26 * 4], true),
            ("more than that", vec![0; 27 * 4], false),
            ("nothing", vec![], false),
            ("half a word", vec![0; 14 * 4 + 2], false),
        ] {
            assert_eq!(is_key(&key), fits, "{cause}");
        }
    }

    #[test]
    fn another_origin_has_to_agree_to_what_the_first_did() {
        let agrees = |flags: u8, latency: u8| {
            [
                &[0, 2, 0, 3, 0, 1, 5, 1, 0, 0, 0, flags][..],
                &[0, latency, 0, 20],
            ]
            .concat()
        };
        let with = |more: &[u8]| Terms::of(&[&agrees(0xbf, 120), more].concat());
        let first = with(&[]);
        assert_eq!(first.latency(Action::Publish), Duration::from_millis(120));
        assert_eq!(first.latency(Action::Play), Duration::from_millis(20));
        let filter = [0, 7, 0, 1, b'c', b'e', b'f', b','];
        let no_secret = [0, 4, 0, 1, 0, 0, 0, 3];
        for (cause, other, fits) in [
            ("the same", with(&[]), true),
            ("another latency", Terms::of(&agrees(0xbf, 200)), true),
            (
                "it drops late packets otherwise",
                Terms::of(&agrees(0xb7, 120)),
                true,
            ),
            (
                "it marks no packet as sent again",
                Terms::of(&agrees(0x9f, 120)),
                false,
            ),
            (
                "it means to send a file",
                Terms::of(&agrees(0xff, 120)),
                false,
            ),
            ("a packet filter", with(&filter), false),
            ("it knows no secret", with(&no_secret), false),
        ] {
            assert_eq!(first.allow(&other), fits, "{cause}");
        }
    }

    #[test]
    fn what_no_honest_caller_sends_is_refused() {
        let request = extension(HANDSHAKE_REQUEST, 3, 12);
        let with = |more: &[u8]| [request.as_slice(), more].concat();
        let size = |kind, words| Err(ExtensionError::Size { kind, words });
        for (cause, bytes, flags, result) in [
            ("nothing", vec![], ALL, Err(ExtensionError::NoHandshake)),
            (
                "two bytes at the end",
                with(&[0, 5]),
                ALL,
                Err(ExtensionError::Truncated),
            ),
            (
                "three bytes at the end",
                with(&[0, 5, 0]),
                ALL,
                Err(ExtensionError::Truncated),
            ),
            (
                "a length that overflows 16 bits in bytes",
                with(&[0, 5, 0x40, 0]),
                ALL,
                Err(ExtensionError::Truncated),
            ),
            ("a short request", extension(1, 2, 8), ALL, size(1, 2)),
            ("a long request", extension(1, 4, 16), ALL, size(1, 4)),
            (
                "a key that is too short",
                with(&extension(3, 1, 4)),
                ALL,
                size(3, 1),
            ),
            (
                "a key that is too long",
                with(&extension(3, 27, 108)),
                ALL,
                size(3, 27),
            ),
            (
                "an empty stream id",
                with(&extension(5, 0, 0)),
                ALL,
                Ok(Extensions {
                    stream_id: Some(String::new()),
                    ..Extensions::default()
                }),
            ),
            (
                "a long stream id",
                with(&extension(5, 129, 516)),
                ALL,
                size(5, 129),
            ),
            (
                "a group of one word",
                with(&extension(8, 1, 4)),
                ALL,
                size(8, 1),
            ),
            (
                "two requests",
                with(&request),
                ALL,
                Err(ExtensionError::Twice(1)),
            ),
            (
                "a stream id nobody announced",
                with(&stream_id("a")),
                HAS_HANDSHAKE,
                Err(ExtensionError::Unannounced(5)),
            ),
            (
                "a zero within the id",
                with(&[0, 5, 0, 1, b'a', 0, b'b', b'c']),
                ALL,
                Err(ExtensionError::NotText),
            ),
            (
                "an id of other bytes",
                with(&[0, 5, 0, 1, 0xff, 0xff, 0xff, 0xff]),
                ALL,
                Err(ExtensionError::NotText),
            ),
            (
                "one from the future",
                with(&extension(40, 1, 4)),
                ALL,
                Ok(Extensions::default()),
            ),
            ("alone", request.clone(), ALL, Ok(Extensions::default())),
        ] {
            assert_eq!(Extensions::parse(&bytes, flags), result, "{cause}");
        }
    }

    #[test]
    fn key_material_says_whether_headers_are_authenticated() {
        let request = extension(HANDSHAKE_REQUEST, 3, 12);
        for (cause, cipher, authentication, authenticated) in
            [("AES-CTR", 2, 0, false), ("AES-GCM", 4, 1, true)]
        {
            let mut key = extension(KEY_REQUEST, LEAST_KEY, usize::from(LEAST_KEY) * 4);
            (key[4 + 8], key[4 + 9]) = (cipher, authentication);
            let found = Extensions::parse(&[request.clone(), key].concat(), ALL).unwrap();
            assert!(found.encrypted, "{cause}");
            assert_eq!(found.authenticated, authenticated, "{cause}");
        }
        let mut refused = extension(KEY_RESPONSE, 1, 4);
        refused[4..].copy_from_slice(&[0, 0, 0, 4]);
        let found = Extensions::parse(&[request, refused].concat(), ALL).unwrap();
        assert!(!found.authenticated, "a refusal in one word");
    }

    #[test]
    fn a_stream_id_is_written_in_swapped_words() {
        let bytes = stream_id("#!::r=a");
        assert_eq!(bytes, b"\0\x05\0\x02::!#\0a=r");
        let whole = [extension(1, 3, 12), bytes].concat();
        let found = Extensions::parse(&whole, ALL).unwrap();
        assert_eq!(found.stream_id.as_deref(), Some("#!::r=a"));
    }
}
