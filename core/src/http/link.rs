//! The sealed link in rewritten URIs: it says which origin holds what they point at.
//!
//! Players of segmented formats make many requests over many connections, through any of several proxies. Instead of
//! keeping a table of players, we put into every URI of a playlist what a proxy needs to know. It is sealed under a key
//! that all proxies of a cluster share (ChaCha20-Poly1305, RFC 8439). Nobody else can read or make one:
//!
//! ```text
//! spbhid=AbCdEf12 base64url( nonce (12 bytes) · sealed link · tag (16 bytes) )
//!        key id
//! ```
//!
//! The nonce is a keyed hash of the link, so equal links are equal text: the same playlist fetched twice, or through
//! two proxies, names the same URIs, and every cache on the way keeps working.

use std::borrow::Cow;
use std::net::IpAddr;

use base64ct::{Base64UrlUnpadded, Encoding};
use chacha20poly1305::aead::AeadInOut;
use chacha20poly1305::{ChaCha20Poly1305, KeyInit, Nonce, Tag};
use hmac::{Hmac, Mac};
use sha2::Sha256;

use crate::access::identity::{Identity, name_of};
use crate::access::networks::Network;
use crate::fleet::origin::{Host, OriginId, Security, Target};
use crate::read::{Reader, Truncated};
use crate::stream::{DEFAULT_VHOST, StreamUrl};

/// The query parameter that holds a link. Other proxies use the same name.
pub const PARAMETER: &str = "spbhid";

/// What stands in place of a link where a segment can be had nowhere: no link begins so.
pub const ABSENT: &str = "gap";

/// The origin that holds a stream, for as long as the link is valid.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// The stream of the playlist.
    pub stream: StreamUrl,
    /// The origin that the playlist was fetched from.
    pub origin: OriginId,
    /// Where that origin's HTTP service was.
    pub target: Target,
    /// When the link expires, in seconds since 1970. It is rounded, or else every playlist would name other URIs.
    pub expires: u64,
    /// Whose viewing it is, where it lets its holder in.
    pub viewing: Option<Box<Viewing>>,
}

/// A viewing that began with a yes: what the links of its viewer say of it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Viewing {
    /// Names it among all viewings.
    pub id: u64,
    /// When it began, in seconds since 1970.
    pub since: u64,
    /// Who watches.
    pub who: Identity,
    /// Where its viewer has to be; `None`: anywhere.
    pub network: Option<Network>,
    /// Where the playlist stood that it began with, where that is known.
    pub start: Option<Start>,
    /// Whether this link of it is good for pieces only, and not for playlists and manifests.
    pub is_for_pieces: bool,
    /// What the client called its stream, where a backend gave it another name.
    pub asked: Option<StreamUrl>,
    /// What its viewer began with, where it is judged again.
    pub shown: Option<ShownUrl>,
}

/// The URL that a viewer began with: what its query shows is held against the rules again.
/// [`Debug`](std::fmt::Debug) never says what it is.
#[derive(Clone, PartialEq, Eq)]
pub struct ShownUrl(Box<str>);

/// Where a playlist stood when a viewing began: from there on, the number of a piece says when it comes at the latest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Start {
    /// The number of the first piece that it listed.
    pub sequence: u64,
    /// Seconds that a piece lasts at most.
    pub pace: u32,
}

/// The keys of a cluster, as they are used for links.
#[derive(Clone)]
pub struct LinkKey {
    cipher: ChaCha20Poly1305,
    nonces: Hmac<Sha256>,
    stamps: Hash,
    id: String,
    /// Keys that only open.
    others: Vec<Self>,
}

impl LinkKey {
    /// Keys derived from `cluster_key`, which may have any length. Proxies with equal keys open each other's links.
    pub fn new(cluster_key: &[u8]) -> Self {
        Self::derived(cluster_key, "link")
    }

    /// Keys for links that show that their holder was let in. A proxy that knows nothing of such links takes them for
    /// those of a stranger.
    pub fn granting(cluster_key: &[u8]) -> Self {
        Self::derived(cluster_key, "grant")
    }

    fn derived(cluster_key: &[u8], kind: &str) -> Self {
        let derive = |purpose: &str| -> [u8; 32] {
            let mut hash = keyed(cluster_key);
            hash.update(format!("sluicegate {kind}: {purpose}").as_bytes());
            hash.finalize().into_bytes().into()
        };
        let id = derive("key id");
        Self {
            cipher: ChaCha20Poly1305::new(&derive("cipher").into()),
            nonces: keyed(&derive("nonces")),
            stamps: keyed(&derive("stamps")),
            id: Base64UrlUnpadded::encode_string(id.get(..KEY_ID_BYTES).unwrap_or_default()),
            others: Vec::new(),
        }
    }

    /// Also opens what was sealed under `others`, so that a cluster can change its key proxy by proxy.
    #[must_use]
    pub fn or(mut self, others: impl IntoIterator<Item = Self>) -> Self {
        self.others.extend(others);
        self
    }

    /// What [stamps](super::stamp) are made with.
    pub(super) fn stamps(&self) -> Hash {
        self.stamps.clone()
    }

    /// This key, and those that only open.
    pub(super) fn all(&self) -> impl Iterator<Item = &Self> {
        std::iter::once(self).chain(&self.others)
    }

    /// The text of `link`, in characters that need no escape in a query, in XML or in a quoted string.
    pub fn seal(&self, link: &Link) -> String {
        let mut bytes = link.encode();
        let mut hash = self.nonces.clone();
        hash.update(&bytes);
        let nonce = first::<NONCE>(&hash.finalize().into_bytes());
        let tag = self
            .cipher
            .encrypt_inout_detached(
                &Nonce::from(nonce),
                self.id.as_bytes(),
                bytes.as_mut_slice().into(),
            )
            .expect("a link is far shorter than the 256 GiB that the cipher takes");
        let sealed = [nonce.as_slice(), &bytes, &tag].concat();
        format!("{}{}", self.id, Base64UrlUnpadded::encode_string(&sealed))
    }

    /// Reads the text of a link. `now` is in seconds since 1970.
    pub fn open(&self, text: &str, now: u64) -> Result<Link, LinkError> {
        let Some(sealed) = text.strip_prefix(&self.id) else {
            let other = self.others.iter().find(|key| text.starts_with(&key.id));
            return other.ok_or(LinkError::Foreign)?.open(text, now);
        };
        if sealed.len() > MAX_LINK {
            return Err(LinkError::Forged);
        }
        let sealed = Base64UrlUnpadded::decode_vec(sealed).map_err(|_| LinkError::Forged)?;
        let mut reader = Reader::new(&sealed);
        let nonce = reader.array::<NONCE>().map_err(|_| LinkError::Forged)?;
        let (bytes, tag) = reader
            .rest()
            .split_last_chunk::<TAG>()
            .ok_or(LinkError::Forged)?;
        let mut bytes = bytes.to_vec();
        self.cipher
            .decrypt_inout_detached(
                &Nonce::from(nonce),
                self.id.as_bytes(),
                bytes.as_mut_slice().into(),
                &Tag::from(*tag),
            )
            .map_err(|_| LinkError::Forged)?;
        // Our key opened it, so if it cannot be read, another version sealed it.
        let link = Link::decode(&bytes).ok_or(LinkError::Foreign)?;
        if link.expires <= now {
            return Err(LinkError::Expired);
        }
        Ok(link)
    }
}

impl std::fmt::Debug for LinkKey {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("LinkKey")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

/// Why a link is not valid.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum LinkError {
    /// It was sealed under our key and has expired. The path is served instead.
    #[error("the link is over")]
    Expired,
    /// It was sealed under another key, or by another kind of proxy. The path is served instead.
    #[error("the link is not one of this cluster's")]
    Foreign,
    /// It names our key and was not sealed with it. The request has to be refused.
    #[error("the link was tampered with")]
    Forged,
}

impl Link {
    fn encode(&self) -> Vec<u8> {
        let version = match &self.viewing {
            Some(viewing) if viewing.has_beginning() => WITH_BEGINNING,
            Some(_) => WITH_VIEWING,
            None => WITHOUT_VIEWING,
        };
        let mut out = vec![version];
        out.extend(self.expires.to_be_bytes());
        put_stream(&mut out, &self.stream);
        put_text(&mut out, self.origin.as_str());
        out.extend(self.target.port.to_be_bytes());
        let security = match self.target.security {
            Security::Plain => PLAIN,
            Security::Tls(None) => TLS,
            Security::Tls(Some(_)) => TLS_NAMED,
            Security::Unverified => TLS_UNVERIFIED,
        };
        match &self.target.host {
            Host::Ip(IpAddr::V4(ip)) => {
                out.push(HOST_V4 | security);
                out.extend(ip.octets());
            }
            Host::Ip(IpAddr::V6(ip)) => {
                out.push(HOST_V6 | security);
                out.extend(ip.octets());
            }
            Host::Name(name) => {
                out.push(HOST_NAME | security);
                put_text(&mut out, name);
            }
        }
        if let Security::Tls(Some(name)) = &self.target.security {
            put_text(&mut out, &name.to_string());
        }
        if let Some(viewing) = &self.viewing {
            viewing.encode(&mut out);
            if viewing.has_beginning() {
                viewing.encode_beginning(&mut out);
            }
        }
        out
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let mut reader = Reader::new(bytes);
        let version = reader.u8().ok()?;
        if !matches!(version, WITHOUT_VIEWING | WITH_VIEWING | WITH_BEGINNING) {
            return None;
        }
        let expires = u64::from_be_bytes(reader.array().ok()?);
        let stream = stream_of(&mut reader)?;
        let origin = text(&mut reader).ok()?;
        let port = reader.u16().ok()?;
        let kind = reader.u8().ok()?;
        let host = match kind & HOST_KIND {
            HOST_V4 => Host::from(IpAddr::from(reader.array::<4>().ok()?)),
            HOST_V6 => Host::from(IpAddr::from(reader.array::<16>().ok()?)),
            HOST_NAME => text(&mut reader).ok()?.parse().ok()?,
            _ => return None,
        };
        let security = match kind & !HOST_KIND {
            PLAIN => Security::Plain,
            TLS => Security::Tls(None),
            TLS_NAMED => Security::Tls(Some(text(&mut reader).ok()?.parse().ok()?)),
            TLS_UNVERIFIED => Security::Unverified,
            _ => return None,
        };
        let mut viewing = match version {
            WITHOUT_VIEWING => None,
            _ => Some(Box::new(Viewing::decode(&mut reader)?)),
        };
        if version == WITH_BEGINNING
            && let Some(viewing) = &mut viewing
        {
            viewing.decode_beginning(&mut reader)?;
        }
        if reader.remaining() > 0 || port == 0 {
            return None;
        }
        Some(Self {
            stream,
            origin: origin.into(),
            target: Target {
                host,
                port,
                security,
            },
            expires,
            viewing,
        })
    }
}

impl Viewing {
    fn encode(&self, out: &mut Vec<u8>) {
        out.push(u8::from(self.is_for_pieces));
        let start = self.start.unwrap_or_default();
        out.extend(self.id.to_be_bytes());
        out.extend(self.since.to_be_bytes());
        out.extend(start.sequence.to_be_bytes());
        out.extend(start.pace.to_be_bytes());
        let network = self.network.map(|network| network.to_string());
        let who = &self.who;
        for text in [
            who.viewer.as_deref(),
            who.key.as_deref(),
            who.token.as_deref(),
            network.as_deref(),
        ] {
            put_text(out, text.unwrap_or_default());
        }
    }

    fn decode(reader: &mut Reader<'_>) -> Option<Self> {
        let is_for_pieces = match reader.u8().ok()? {
            0 => false,
            1 => true,
            _ => return None,
        };
        let id = u64::from_be_bytes(reader.array().ok()?);
        let since = u64::from_be_bytes(reader.array().ok()?);
        let start = Start {
            sequence: u64::from_be_bytes(reader.array().ok()?),
            pace: u32::from_be_bytes(reader.array().ok()?),
        };
        let [viewer, key, token, network] = [
            text(reader).ok()?,
            text(reader).ok()?,
            text(reader).ok()?,
            text(reader).ok()?,
        ];
        Some(Self {
            id,
            since,
            who: Identity {
                viewer: name_of(&viewer),
                key: name_of(&key),
                token: name_of(&token),
            },
            network: match network.as_str() {
                "" => None,
                network => Some(network.parse().ok()?),
            },
            start: Some(start).filter(|start| start.pace > 0),
            is_for_pieces,
            asked: None,
            shown: None,
        })
    }

    /// Whether links of it say more of how it began. Few do, and those of all others are as builds before knew them.
    fn has_beginning(&self) -> bool {
        self.asked.is_some() || self.shown.is_some()
    }

    fn encode_beginning(&self, out: &mut Vec<u8>) {
        out.push(u8::from(self.asked.is_some()));
        if let Some(asked) = &self.asked {
            put_stream(out, asked);
        }
        put_text(out, self.shown.as_ref().map_or("", ShownUrl::as_str));
    }

    fn decode_beginning(&mut self, reader: &mut Reader<'_>) -> Option<()> {
        self.asked = match reader.u8().ok()? {
            0 => None,
            1 => Some(stream_of(reader)?),
            _ => return None,
        };
        self.shown = ShownUrl::of(&text(reader).ok()?);
        self.has_beginning().then_some(())
    }
}

impl ShownUrl {
    /// `None` for an empty URL, and for one that is too long to travel in links.
    pub fn of(url: &str) -> Option<Self> {
        (1..=MAX_SHOWN)
            .contains(&url.len())
            .then(|| Self(url.into()))
    }

    /// The URL.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for ShownUrl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ShownUrl(***)")
    }
}

/// Takes every link out of an origin-form request target. Returns the target as the origin gets it, with all other
/// bytes unchanged, and the text of the last link.
///
/// ```
/// use sluicegate_core::http::link::take;
///
/// let (target, link) = take("/live/a-1.ts?hls_ctx=9&spbhid=AbC&x=1");
/// assert_eq!((&*target, link), ("/live/a-1.ts?hls_ctx=9&x=1", Some("AbC")));
/// ```
pub fn take(target: &str) -> (Cow<'_, str>, Option<&str>) {
    let Some((path, query)) = target.split_once('?') else {
        return (Cow::Borrowed(target), None);
    };
    let link = query.split('&').filter_map(link_of).next_back();
    if link.is_none() {
        return (Cow::Borrowed(target), None);
    }
    let rest: Vec<&str> = query
        .split('&')
        .filter(|pair| link_of(pair).is_none())
        .collect();
    let target = match rest.as_slice() {
        [] => path.to_owned(),
        rest => format!("{path}?{}", rest.join("&")),
    };
    (Cow::Owned(target), link)
}

/// The link at the start of what [`take`] took, and the [stamp](super::stamp) after it, if there is one.
///
/// ```
/// use sluicegate_core::http::link::split_stamp;
///
/// assert_eq!(split_stamp("AbC.dEf.6.0.0"), ("AbC", Some("dEf.6.0.0")));
/// assert_eq!(split_stamp("AbC"), ("AbC", None));
/// ```
pub fn split_stamp(text: &str) -> (&str, Option<&str>) {
    match text.split_once('.') {
        Some((link, stamp)) => (link, Some(stamp)),
        None => (text, None),
    }
}

/// A keyed hash that more may be added to.
pub(super) type Hash = Hmac<Sha256>;

fn link_of(pair: &str) -> Option<&str> {
    pair.strip_prefix(PARAMETER)?.strip_prefix('=')
}

fn keyed(key: &[u8]) -> Hmac<Sha256> {
    <Hmac<Sha256> as Mac>::new_from_slice(key).expect("HMAC takes keys of any length")
}

fn first<const N: usize>(bytes: &[u8]) -> [u8; N] {
    *bytes
        .first_chunk()
        .expect("a hash of 32 bytes is longer than a nonce")
}

/// Writes two bytes of length, then the text. Every part of a link except the id is bounded by its type.
pub(super) fn put_text(out: &mut Vec<u8>, text: &str) {
    let length = u16::try_from(text.len()).unwrap_or(u16::MAX);
    out.extend(length.to_be_bytes());
    out.extend(text.bytes().take(length.into()));
}

pub(super) fn put_stream(out: &mut Vec<u8>, stream: &StreamUrl) {
    let vhost = match stream.vhost() {
        DEFAULT_VHOST => "",
        vhost => vhost,
    };
    for text in [vhost, stream.app(), stream.stream()] {
        put_text(out, text);
    }
}

fn stream_of(reader: &mut Reader<'_>) -> Option<StreamUrl> {
    let [vhost, app, stream] = [text(reader).ok()?, text(reader).ok()?, text(reader).ok()?];
    match app.as_str() {
        "" => StreamUrl::of_path(&vhost, &stream).ok(),
        app => StreamUrl::new(&vhost, app, &stream).ok(),
    }
}

fn text(reader: &mut Reader<'_>) -> Result<String, Truncated> {
    let length = reader.u16()?;
    let bytes = reader.bytes(length.into())?;
    String::from_utf8(bytes.to_vec()).map_err(|_| Truncated)
}

/// The key id is six bytes, eight characters. Another proxy's id of seven hexadecimal digits cannot begin with one.
const KEY_ID_BYTES: usize = 6;

/// The sizes of the nonce and the tag of ChaCha20-Poly1305 (RFC 8439 §2.8).
const NONCE: usize = 12;
const TAG: usize = 16;

/// Maximum characters of a link after its key id: with all parts at their longest, sealed and encoded, it has 7,500. Heads
/// of requests may be twice that.
const MAX_LINK: usize = 7_680;
/// Bytes of a URL that a viewer began with: far more than signatures need, and room for a token of an identity provider.
const MAX_SHOWN: usize = 2_048;

/// The first byte of a link, so that another layout can be told apart: one that names a stream and its origin.
const WITHOUT_VIEWING: u8 = 1;
/// One that says besides whose viewing it is.
const WITH_VIEWING: u8 = 2;
/// One that says besides how that began.
const WITH_BEGINNING: u8 = 3;

/// The bits that say what kind of host follows; the others say how it is reached.
const HOST_KIND: u8 = 0x0F;
const HOST_V4: u8 = 4;
const HOST_V6: u8 = 6;
const HOST_NAME: u8 = 0;
const PLAIN: u8 = 0x00;
const TLS: u8 = 0x10;
/// The name in the certificate stands at the end.
const TLS_NAMED: u8 = 0x20;
const TLS_UNVERIFIED: u8 = 0x30;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_is_opened_with_its_key() {
        let (one, two) = (LinkKey::new(b"key"), LinkKey::new(b"key"));
        for host in ["10.0.0.1", "2001:db8::1", "origin.example.com"] {
            let link = link(host, "a");
            let text = one.seal(&link);
            assert_eq!(text, two.seal(&link), "one link is one text");
            assert_eq!(two.open(&text, 99), Ok(link.clone()), "{host}");
            assert_eq!(two.open(&text, 100), Err(LinkError::Expired), "{host}");
            assert_eq!(
                LinkKey::new(b"other").open(&text, 99),
                Err(LinkError::Foreign),
                "{host}"
            );
        }
    }

    #[test]
    fn a_link_that_lets_in_is_no_other_link() {
        let (plain, granting) = (LinkKey::new(b"key"), LinkKey::granting(b"key"));
        let link = link("10.0.0.1", "a");
        assert_eq!(
            plain.open(&granting.seal(&link), 99),
            Err(LinkError::Foreign)
        );
        assert_eq!(
            granting.open(&plain.seal(&link), 99),
            Err(LinkError::Foreign)
        );
    }

    #[test]
    fn a_link_says_whose_viewing_it_is() {
        let key = LinkKey::granting(b"key");
        let viewings = [
            Viewing::default(),
            Viewing {
                id: 7,
                since: 60,
                who: Identity::viewer("seven"),
                network: Some("192.0.2.0/24".parse().unwrap()),
                start: Some(Start {
                    sequence: 9,
                    pace: 4,
                }),
                is_for_pieces: true,
                ..Viewing::default()
            },
            Viewing {
                asked: Some(StreamUrl::new("h.example", "live", "secret").unwrap()),
                ..Viewing::default()
            },
            Viewing {
                asked: Some(StreamUrl::of_path("", "secret").unwrap()),
                shown: ShownUrl::of("http://h.example/live/a.m3u8?key=x"),
                ..Viewing::default()
            },
        ];
        for viewing in viewings {
            let link = Link {
                viewing: Some(Box::new(viewing)),
                ..link("10.0.0.1", "a")
            };
            assert_eq!(key.open(&key.seal(&link), 99), Ok(link));
        }
    }

    #[test]
    fn keys_are_changed_one_proxy_at_a_time() {
        let key = |names: &str| {
            let mut keys = names.split(' ').map(|name| LinkKey::new(name.as_bytes()));
            keys.next().unwrap().or(keys)
        };
        let link = link("10.0.0.1", "a");
        for (sealing, opening, opens) in [
            ("old new", "old", true),
            ("old new", "new old", true),
            ("new old", "old new", true),
            ("new old", "new", true),
            ("new old", "old", false),
            ("old", "new", false),
        ] {
            let opened = key(opening).open(&key(sealing).seal(&link), 99);
            let expected = if opens {
                Ok(link.clone())
            } else {
                Err(LinkError::Foreign)
            };
            assert_eq!(opened, expected, "{sealing}, then {opening}");
        }
    }

    #[test]
    fn a_link_shows_nothing() {
        let key = LinkKey::new(b"key");
        let (one, two) = (
            key.seal(&link("10.0.0.1", "a")),
            key.seal(&link("10.0.0.1", "b")),
        );
        assert_eq!(one.get(..8), two.get(..8), "the key id");
        assert_ne!(one.get(8..24), two.get(8..24), "the nonce");
        assert!(
            one.bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
        );
        assert!(one.len() < 128, "{} letters", one.len());
    }

    #[test]
    fn every_changed_letter_is_noticed() {
        let key = LinkKey::new(b"key");
        let text = key.seal(&link("10.0.0.1", "a"));
        for at in 0..text.len() {
            let mut changed = text.clone().into_bytes();
            changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
            let expected = if at < 8 {
                LinkError::Foreign
            } else {
                LinkError::Forged
            };
            let changed = String::from_utf8(changed).unwrap();
            assert_eq!(key.open(&changed, 0), Err(expected), "{at}");
        }
        let cases = [
            ("nothing", "", LinkError::Foreign),
            ("an id of other proxies", "1a2b3c4", LinkError::Foreign),
            ("the key id alone", &text[..8], LinkError::Forged),
            ("cut short", &text[..text.len() - 1], LinkError::Forged),
            ("cut within the tag", &text[..30], LinkError::Forged),
            ("too long", &text.repeat(50), LinkError::Forged),
        ];
        for (cause, text, expected) in cases {
            assert_eq!(key.open(text, 0), Err(expected), "{cause}");
        }
    }

    #[test]
    fn the_longest_link_is_opened() {
        let key = LinkKey::new(b"key");
        let name = |length: usize| {
            let labels = vec!["n".repeat(49); length / 50 + 1].join(".");
            labels.get(..length).unwrap().to_owned()
        };
        let link = Link {
            stream: StreamUrl::new(&name(253), &"a".repeat(256), &"s".repeat(256)).unwrap(),
            origin: "o".repeat(128).into(),
            target: Target {
                host: name(253).parse().unwrap(),
                port: 1,
                security: Security::Tls(Some(name(253).parse().unwrap())),
            },
            expires: 1,
            viewing: Some(Box::new(Viewing {
                id: u64::MAX,
                since: u64::MAX,
                who: Identity {
                    viewer: name_of(&"v".repeat(256)),
                    key: name_of(&"k".repeat(256)),
                    token: name_of(&"t".repeat(256)),
                },
                network: Some("2001:db8:1:2:3:4:5:6/128".parse().unwrap()),
                start: Some(Start {
                    sequence: u64::MAX,
                    pace: u32::MAX,
                }),
                is_for_pieces: true,
                asked: StreamUrl::new(&name(253), &"b".repeat(256), &"t".repeat(256)).ok(),
                shown: ShownUrl::of(&"u".repeat(MAX_SHOWN)),
            })),
        };
        let text = key.seal(&link);
        assert!(
            text.len() * 2 < crate::http::head::MAX_HEAD,
            "{}",
            text.len()
        );
        assert_eq!(key.open(&text, 0), Ok(link));
    }

    #[test]
    fn what_a_viewer_showed_is_kept_as_far_as_it_fits_and_written_nowhere() {
        assert_eq!(ShownUrl::of(""), None);
        assert_eq!(ShownUrl::of(&"u".repeat(MAX_SHOWN + 1)), None);
        let shown = ShownUrl::of("http://h.example/a?key=secret").unwrap();
        assert_eq!(shown.as_str(), "http://h.example/a?key=secret");
        assert_eq!(format!("{shown:?}"), "ShownUrl(***)");
    }

    #[test]
    fn a_link_is_taken_out_of_a_target() {
        let cases = [
            ("no query", "/a.ts", "/a.ts", None),
            ("alone", "/a.ts?spbhid=X", "/a.ts", Some("X")),
            ("first", "/a.ts?spbhid=X&b=%20", "/a.ts?b=%20", Some("X")),
            ("last", "/a.ts?b&spbhid=X", "/a.ts?b", Some("X")),
            ("twice", "/a.ts?spbhid=X&b&spbhid=Y", "/a.ts?b", Some("Y")),
            ("empty", "/a.ts?spbhid=", "/a.ts", Some("")),
            ("without a value", "/a.ts?spbhid", "/a.ts?spbhid", None),
            ("a longer name", "/a.ts?spbhids=X", "/a.ts?spbhids=X", None),
            ("in the path", "/spbhid=X/a.ts", "/spbhid=X/a.ts", None),
            ("odd separators", "/a.ts?&&x=1&", "/a.ts?&&x=1&", None),
        ];
        for (cause, target, expected, link) in cases {
            assert_eq!(take(target), (expected.into(), link), "{cause}");
        }
    }

    fn link(host: &str, stream: &str) -> Link {
        Link {
            stream: StreamUrl::new("", "live", stream).unwrap(),
            origin: "origin-1".into(),
            target: Target::plain(host.parse().unwrap(), 8080),
            expires: 100,
            viewing: None,
        }
    }
}
