//! Rewrites what an origin says about itself, so that its URLs name our address. Nothing else changes.
//!
//! Requests on their way to an origin keep their URI, because digest credentials sign it (RFC 2617 §3.2.2.5). An origin
//! that builds its answers from the request therefore already names us. Others name themselves, and a client that
//! followed those URLs would ask the origin for its tracks.
//!
//! A client that came over TLS says `rtsps://`. Its origin is reached without TLS and is asked with `rtsp://`, unless the
//! request is signed: then origins compare the URI with the signed one.

use std::borrow::Cow;
use std::net::IpAddr;

use super::challenge::{challenges, is_challenge};
use super::message::{Change, Message, Refused};
use super::take_out::TakeOut;
use super::transport::Transport;
use crate::dialect::Rename;
use crate::stream::with_escapes;

/// The names to replace, and their replacements.
#[derive(Debug, Clone)]
pub struct Rewrite {
    /// The authority that the client uses for us: `example.com:8554`.
    pub authority: String,
    /// Our own address on the client's connection.
    pub local: IpAddr,
    /// The client is told `rtsps://` URLs; [`Join`](super::join::Join) sees whether it named one.
    pub secure: bool,
    /// The stream's paths, if the origin knows it by another one than the client.
    pub rename: Option<Rename>,
    /// What of the client's requests the origin does not get.
    pub take_out: Option<TakeOut>,
}

/// Why no client can answer what an origin asks for before it serves one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unanswerable {
    /// It takes Digest credentials alone, and the client would sign another URL than it is asked for.
    DigestAlone,
    /// The `Authorization` of its clients is for us, and taken out.
    TakenOut,
}

impl Unanswerable {
    /// What the client is told, for whom neither a name nor a password would change anything.
    pub fn refused(self) -> Refused {
        let words = match self {
            Self::DigestAlone => {
                "Bad Gateway: the origin takes Digest credentials alone, which cannot reach it: it knows the stream by another name"
            }
            Self::TakenOut => {
                "Bad Gateway: the origin asks for credentials, and yours are for this proxy alone"
            }
        };
        Refused::new(502, words)
    }

    /// What it is about, for the log.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::DigestAlone => {
                "it takes Digest credentials alone, which do not pass where its paths differ from those of clients"
            }
            Self::TakenOut => {
                "it asks for credentials, and a rule takes those of its clients out (take_out)"
            }
        }
    }

    /// What an operator can do.
    pub const fn advice(self) -> &'static str {
        match self {
            Self::DigestAlone => {
                "let it take Basic as well, or give it the paths that clients use: no strip, prepend or other dialect"
            }
            Self::TakenOut => {
                "let it serve this proxy without credentials, or set take_out = false"
            }
        }
    }
}

impl Rewrite {
    /// Why no client can answer the challenge that this answer is; `None` if one can, or it is none.
    pub fn unanswerable(&self, answer: &Message) -> Option<Unanswerable> {
        let mut asked = challenges(answer).peekable();
        if !matches!(answer.status(), Some(401 | 407)) || asked.peek().is_none() {
            return None;
        }
        let take_out = self.take_out.as_ref();
        if take_out.is_some_and(TakeOut::takes_authorization) {
            return Some(Unanswerable::TakenOut);
        }
        let is_lost = self.rename.is_some() && asked.all(is_digest);
        is_lost.then_some(Unanswerable::DigestAlone)
    }

    /// The message as the client gets it; `None` if it passes unchanged. `transport` is the `Transport` to show for a
    /// SETUP whose ports are ours.
    pub fn to_client(&self, message: &Message, transport: Option<&str>) -> Option<Vec<u8>> {
        let moved = match message.method() {
            Some(_) => self.urls(message.uri()),
            None => Cow::Borrowed(""),
        };
        let change = |name: &str, value: &str| self.change(name, value, transport);
        let is_sdp = message
            .field("content-type")
            .is_some_and(|kind| kind.to_ascii_lowercase().starts_with("application/sdp"));
        let body = is_sdp.then(|| self.description(message.body())).flatten();
        let changes =
            |(name, value): (&str, &[u8])| change(name, &with_escapes(value)) != Change::Keep;
        let request_changes = matches!(moved, Cow::Owned(_));
        if !request_changes && body.is_none() && !message.fields().any(changes) {
            return None;
        }
        if !request_changes {
            return Some(message.with(change, body.as_deref()));
        }
        // The request line comes first, so everything after it keeps its position relative to the end.
        let written = message.with(change, body.as_deref());
        let first = message.with_uri(&moved);
        let line = |bytes: &[u8]| bytes.iter().position(|byte| *byte == b'\n').unwrap_or(0);
        let (head, rest) = (first.get(..line(&first)), written.get(line(&written)..));
        Some([head.unwrap_or_default(), rest.unwrap_or_default()].concat())
    }

    fn change(&self, name: &str, value: &str, transport: Option<&str>) -> Change {
        // A digest would sign the client's URI, and the origin gets another one.
        if self.rename.is_some() && is_challenge(name) && is_digest(value) {
            return Change::Drop;
        }
        if name.eq_ignore_ascii_case("transport") {
            let value_for_client = match transport {
                Some(transport) => transport.to_owned(),
                None => match Transport::parse(value).as_deref() {
                    Ok([only]) => only.without_addresses(),
                    _ => return Change::Keep,
                },
            };
            return changed(value, value_for_client);
        }
        if !URL_FIELDS
            .iter()
            .any(|known| name.eq_ignore_ascii_case(known))
        {
            return Change::Keep;
        }
        match self.urls(value) {
            Cow::Borrowed(_) => Change::Keep,
            Cow::Owned(text) => Change::Value(text),
        }
    }

    /// The text with our name in each RTSP URL.
    pub fn urls<'a>(&self, text: &'a str) -> Cow<'a, str> {
        let mut out = String::new();
        let (mut rest, mut differs) = (text, false);
        while let Some((start, scheme)) = find_url(rest) {
            let (before, url) = rest.split_at_checked(start).unwrap_or((rest, ""));
            let (found, after) = url.split_at_checked(scheme).unwrap_or((url, ""));
            let end = after.find(AFTER_AUTHORITY).unwrap_or(after.len());
            let (authority, after) = after.split_at_checked(end).unwrap_or((after, ""));
            differs |= authority != self.authority || found != self.scheme();
            out.push_str(before);
            out.push_str(self.scheme());
            out.push_str(&self.authority);
            rest = after;
            let renamed = self
                .rename
                .as_ref()
                .and_then(|rename| rename.of_origin(after));
            if let Some((path, after)) = renamed {
                differs = true;
                out.push('/');
                out.push_str(path);
                rest = after;
            }
        }
        if !differs {
            return Cow::Borrowed(text);
        }
        out.push_str(rest);
        Cow::Owned(out)
    }

    const fn scheme(&self) -> &'static str {
        if self.secure { SECURE } else { SCHEME }
    }

    /// A description (SDP, RFC 4566) with our name in its control URLs, and our address in place of the origin's;
    /// `None` if nothing changes.
    fn description(&self, body: &[u8]) -> Option<Vec<u8>> {
        let mut out = Vec::with_capacity(body.len());
        let mut differs = false;
        for line in body.split_inclusive(|byte| *byte == b'\n') {
            // Cameras write titles, names and URLs in encodings of their own.
            let new = if line.starts_with(CONTROL) {
                match self.urls(&with_escapes(line)) {
                    Cow::Borrowed(_) => None,
                    Cow::Owned(new) => Some(new.into_bytes()),
                }
            } else if HAVE_ADDRESSES.iter().any(|start| line.starts_with(start)) {
                self.addresses(line)
            } else {
                None
            };
            differs |= new.is_some();
            out.extend_from_slice(new.as_deref().unwrap_or(line));
        }
        differs.then_some(out)
    }

    /// Rewrites a line of a description that ends in an address: an origin may know itself by another than we do, or by a name.
    /// A group of receivers (RFC 4566 §5.7) and what says nothing stay, which is `None`.
    fn addresses(&self, line: &[u8]) -> Option<Vec<u8>> {
        let text = line.trim_ascii_end();
        let end = line.get(text.len()..).unwrap_or_default();
        let space = text.iter().rposition(|byte| *byte == b' ')?;
        let before = text.get(..space)?;
        let last = with_escapes(text.get(space + 1..)?);
        let (address, _) = last.split_once('/').unwrap_or((&last, ""));
        let names_nobody = address
            .parse()
            .is_ok_and(|ip: IpAddr| ip.is_unspecified() || ip.is_multicast());
        // The line names the family of its address.
        let words = before.rsplit(|byte| *byte == b' ');
        let family = words.into_iter().find(|word| *word != b"*");
        let ours = match (family?, self.local) {
            (b"IP4", IpAddr::V6(_)) => "0.0.0.0".to_owned(),
            (b"IP6", IpAddr::V4(_)) => "::".to_owned(),
            (b"IP4" | b"IP6", _) => self.local.to_string(),
            _ => return None,
        };
        let changes = !names_nobody && last != ours;
        changes.then(|| [before, b" ", ours.as_bytes(), end].concat())
    }
}

/// How lines of a description begin that end in an address (RFC 4566 §5.2, §5.7; RFC 3605; RFC 4570 §3).
const HAVE_ADDRESSES: [&[u8]; 4] = [b"o=", b"c=", b"a=rtcp:", b"a=source-filter:"];
/// How a line of a description begins that says what to ask for.
pub(super) const CONTROL: &[u8] = b"a=control:";

/// Whether a URL is one of RTSP over TLS.
pub fn is_secure(url: &str) -> bool {
    url.get(..SECURE.len())
        .is_some_and(|scheme| scheme.eq_ignore_ascii_case(SECURE))
}

fn is_digest(challenge: &str) -> bool {
    let scheme = challenge.get(..DIGEST.len());
    scheme.is_some_and(|scheme| scheme.eq_ignore_ascii_case(DIGEST))
}

/// A URL as an origin without TLS is asked for it.
pub(super) fn with_plain_scheme(url: &str) -> Cow<'_, str> {
    match url.get(SECURE.len()..).filter(|_| is_secure(url)) {
        Some(rest) => Cow::Owned([SCHEME, rest].concat()),
        None => Cow::Borrowed(url),
    }
}

/// A request as its origin gets it. `bytes` are those of `request`, perhaps with other fields.
pub fn to_origin(request: &Message, bytes: Vec<u8>) -> Vec<u8> {
    let signed = ["authorization", "proxy-authorization"].iter().any(|name| {
        request.field(name).is_some_and(|value| {
            let scheme = value.trim_start().split(' ').next().unwrap_or_default();
            scheme.eq_ignore_ascii_case("digest")
        })
    });
    let Some(method) = bytes.iter().position(|byte| *byte == b' ') else {
        return bytes;
    };
    match bytes.split_at_checked(method + 1) {
        Some((method, rest)) if is_secure(request.uri()) && !signed => {
            let rest = rest.get(SECURE.len()..).unwrap_or_default();
            [method, SCHEME.as_bytes(), rest].concat()
        }
        _ => bytes,
    }
}

/// The host and port of a URL, without credentials; `None` for `*` and relative URLs.
pub fn authority(url: &str) -> Option<&str> {
    let (scheme, rest) = url.split_once("://")?;
    if scheme.contains('/') {
        return None;
    }
    let authority = rest.split(AFTER_AUTHORITY).next().unwrap_or_default();
    let authority = authority.rsplit('@').next().unwrap_or_default();
    (!authority.is_empty()).then_some(authority)
}

/// The path of a URL, without its query and without slashes at its ends; the URL may be relative.
pub fn path(url: &str) -> &str {
    let rest = match url.split_once("://") {
        Some((scheme, rest)) if !scheme.contains('/') => rest
            .find(['/', '?', '#'])
            .and_then(|at| rest.get(at..))
            .unwrap_or_default(),
        _ => url,
    };
    rest.split(['?', '#'])
        .next()
        .unwrap_or_default()
        .trim_matches('/')
}

fn changed(old: &str, new: String) -> Change {
    if old == new {
        Change::Keep
    } else {
        Change::Value(new)
    }
}

/// Where the first RTSP URL of a text begins, and the length of its scheme including `://`.
fn find_url(text: &str) -> Option<(usize, usize)> {
    text.match_indices("://").find_map(|(at, _)| {
        let before = text.get(..at)?;
        SCHEMES.iter().find_map(|scheme| {
            let start = at.checked_sub(scheme.len())?;
            let found = before.get(start..)?;
            found
                .eq_ignore_ascii_case(scheme)
                .then_some((start, scheme.len() + "://".len()))
        })
    })
}

const DIGEST: &str = "digest";
const SCHEME: &str = "rtsp://";
const SECURE: &str = "rtsps://";
const SCHEMES: [&str; 3] = ["rtsps", "rtspu", "rtsp"];
const URL_FIELDS: [&str; 4] = ["content-base", "content-location", "location", "rtp-info"];
const AFTER_AUTHORITY: [char; 9] = ['/', '?', '#', ';', ',', '"', ' ', '\r', '\n'];

#[cfg(test)]
mod tests {
    use super::super::message::Speaker;
    use super::*;

    fn rewrite() -> Rewrite {
        Rewrite {
            authority: "media.example:18554".to_owned(),
            local: "192.0.2.1".parse().unwrap(),
            secure: false,
            rename: None,
            take_out: None,
        }
    }

    #[test]
    fn a_challenge_that_no_client_can_answer_is_known() {
        let digest = "WWW-Authenticate: Digest realm=\"c\", nonce=\"n\"\r\n";
        let basic = "WWW-Authenticate: basic realm=\"c\"\r\n";
        let both = [digest, basic].concat();
        let to_proxy = "Proxy-Authenticate: DIGEST realm=\"c\", nonce=\"n\"\r\n";
        let (alone, taken) = (
            Some(Unanswerable::DigestAlone),
            Some(Unanswerable::TakenOut),
        );
        let rows = [
            (401, digest, None, alone, taken),
            (407, to_proxy, None, alone, taken),
            (401, basic, None, None, taken),
            (401, &both, None, None, taken),
            (401, "", None, None, None),
            (403, digest, None, None, None),
        ];
        let renamed = Rewrite {
            rename: Some(Rename::new("site-a/cam", "cam")),
            ..rewrite()
        };
        let taking = Rewrite {
            take_out: TakeOut::new(&[], true, "rtsp://h/live/a"),
            ..rewrite()
        };
        for (status, fields, plain, by_name, by_rule) in rows {
            let text = format!("RTSP/1.0 {status} No\r\nCSeq: 1\r\n{fields}\r\n");
            let (answer, _) = Message::parse(text.as_bytes(), Speaker::Origin)
                .unwrap()
                .unwrap();
            assert_eq!(rewrite().unanswerable(&answer), plain, "{text}");
            assert_eq!(renamed.unanswerable(&answer), by_name, "{text}");
            assert_eq!(taking.unanswerable(&answer), by_rule, "{text}");
        }
    }

    #[test]
    fn an_origin_is_asked_without_tls_unless_the_request_is_signed() {
        let rows = [
            (
                "TLS",
                "PLAY rtsps://h/a RTSP/1.0\r\n",
                "PLAY rtsp://h/a RTSP/1.0\r\n",
            ),
            (
                "plain",
                "PLAY rtsp://h/a RTSP/1.0\r\n",
                "PLAY rtsp://h/a RTSP/1.0\r\n",
            ),
            ("no URL", "OPTIONS * RTSP/1.0\r\n", "OPTIONS * RTSP/1.0\r\n"),
            (
                "a password",
                "PLAY RTSPS://h/a RTSP/1.0\r\nAuthorization: Basic YTpi\r\n",
                "PLAY rtsp://h/a RTSP/1.0\r\nAuthorization: Basic YTpi\r\n",
            ),
            (
                "a signature",
                "PLAY rtsps://h/a RTSP/1.0\r\nAuthorization: Digest uri=\"rtsps://h/a\"\r\n",
                "PLAY rtsps://h/a RTSP/1.0\r\nAuthorization: Digest uri=\"rtsps://h/a\"\r\n",
            ),
        ];
        for (cause, asked, expected) in rows {
            let text = format!("{asked}CSeq: 1\r\n\r\n");
            let (message, _) = Message::parse(text.as_bytes(), Speaker::Client)
                .unwrap()
                .unwrap();
            let bytes = to_origin(&message, message.bytes().to_vec());
            let expected = format!("{expected}CSeq: 1\r\n\r\n");
            assert_eq!(String::from_utf8(bytes).unwrap(), expected, "{cause}");
        }
    }

    #[test]
    fn a_client_over_tls_is_told_urls_of_tls() {
        let rewrite = Rewrite {
            secure: true,
            ..rewrite()
        };
        let told = rewrite.urls("rtsp://10.0.0.5:8554/live/a/");
        assert_eq!(told, "rtsps://media.example:18554/live/a/");
    }

    fn to_client(text: &str) -> String {
        let (message, _) = Message::parse(text.as_bytes(), Speaker::Origin)
            .unwrap()
            .unwrap();
        let bytes = rewrite().to_client(&message, None);
        String::from_utf8(bytes.unwrap_or_else(|| text.as_bytes().to_vec())).unwrap()
    }

    #[test]
    fn urls() {
        let rows = [
            (
                "a base",
                "rtsp://10.0.0.5:8554/live/a/",
                "rtsp://media.example:18554/live/a/",
            ),
            (
                "ours already",
                "rtsp://media.example:18554/a",
                "rtsp://media.example:18554/a",
            ),
            (
                "credentials and no path",
                "RTSP://u:p@cam",
                "rtsp://media.example:18554",
            ),
            (
                "several tracks",
                "url=rtsp://10.0.0.5/a/1;seq=1,url=rtsp://10.0.0.5/a/2;seq=2",
                "url=rtsp://media.example:18554/a/1;seq=1,url=rtsp://media.example:18554/a/2;seq=2",
            ),
            ("relative", "url=track1;seq=1", "url=track1;seq=1"),
            ("another protocol", "http://10.0.0.5/a", "http://10.0.0.5/a"),
        ];
        for (cause, text, expected) in rows {
            assert_eq!(rewrite().urls(text), expected, "{cause}");
        }
    }

    #[test]
    fn every_address_of_a_description_is_ours() {
        let rows = [
            (
                "the one that we know",
                "o=- 1 1 IN IP4 10.0.0.5\r\n",
                "o=- 1 1 IN IP4 192.0.2.1\r\n",
            ),
            (
                "another of its own",
                "o=- 1 1 IN IP4 192.168.77.9\n",
                "o=- 1 1 IN IP4 192.0.2.1\n",
            ),
            (
                "a name",
                "o=cam 1 1 IN IP4 nvr.internal\r\n",
                "o=cam 1 1 IN IP4 192.0.2.1\r\n",
            ),
            (
                "of the other family",
                "c=IN IP6 fd00::5\r\n",
                "c=IN IP6 ::\r\n",
            ),
            (
                "with a time to live",
                "c=IN IP4 10.0.0.5/127\r\n",
                "c=IN IP4 192.0.2.1\r\n",
            ),
            (
                "a group",
                "c=IN IP4 232.1.2.3/127\r\n",
                "c=IN IP4 232.1.2.3/127\r\n",
            ),
            ("none", "c=IN IP4 0.0.0.0\r\n", "c=IN IP4 0.0.0.0\r\n"),
            ("ours", "c=IN IP4 192.0.2.1\r\n", "c=IN IP4 192.0.2.1\r\n"),
            ("something else", "o=- 1\r\n", "o=- 1\r\n"),
            (
                "of reports",
                "a=rtcp:5001 IN IP4 10.0.0.5\r\n",
                "a=rtcp:5001 IN IP4 192.0.2.1\r\n",
            ),
            (
                "of reports, port alone",
                "a=rtcp:5001\r\n",
                "a=rtcp:5001\r\n",
            ),
            (
                "of a sender",
                "a=source-filter: incl IN IP4 * 10.0.0.5\r\n",
                "a=source-filter: incl IN IP4 * 192.0.2.1\r\n",
            ),
        ];
        for (cause, line, expected) in rows {
            let found = rewrite().addresses(line.as_bytes());
            let found = found.unwrap_or_else(|| line.as_bytes().to_vec());
            assert_eq!(String::from_utf8(found).unwrap(), expected, "{cause}");
        }
    }

    /// Cameras write names in encodings of their own, and the address of one is the same secret.
    #[test]
    fn what_is_no_utf_8_hides_no_address() {
        let rename = Some(Rename::new("live/cam1", "cam1"));
        let plain = rewrite();
        let renaming = Rewrite {
            rename,
            ..rewrite()
        };
        let answer = |rest: &[u8]| [b"RTSP/1.0 200 OK\r\nCSeq: 2\r\n", rest].concat();
        let described = |sdp: &[u8]| {
            let length = sdp.len();
            let fields =
                format!("Content-Type: application/sdp\r\nContent-Length: {length}\r\n\r\n");
            answer(&[fields.as_bytes(), sdp].concat())
        };
        let rows = [
            (
                "a base",
                &plain,
                answer(b"Content-Base: rtsp://10.0.0.5/caf\xe9/\r\n\r\n"),
                answer(b"Content-Base: rtsp://media.example:18554/caf%E9/\r\n\r\n"),
            ),
            (
                "a track, a title and a user",
                &plain,
                described(b"o=caf\xe9 1 1 IN IP4 10.0.0.5\r\ns=caf\xe9\r\na=control:rtsp://10.0.0.5/caf\xe9/1\r\n"),
                described(b"o=caf\xe9 1 1 IN IP4 192.0.2.1\r\ns=caf\xe9\r\na=control:rtsp://media.example:18554/caf%E9/1\r\n"),
            ),
            (
                "a realm",
                &renaming,
                answer(b"WWW-Authenticate: Digest realm=\"caf\xe9\"\r\n\r\n"),
                answer(b"\r\n"),
            ),
        ];
        for (cause, rewrite, said, expected) in rows {
            let (message, _) = Message::parse(&said, Speaker::Origin).unwrap().unwrap();
            let heard = rewrite.to_client(&message, None);
            assert_eq!(heard, Some(expected), "{cause}");
        }
        let ours = answer(b"Content-Base: rtsp://media.example:18554/caf\xe9/\r\n\r\n");
        let (message, _) = Message::parse(&ours, Speaker::Origin).unwrap().unwrap();
        assert_eq!(
            plain.to_client(&message, None),
            None,
            "it passes as it came"
        );
    }

    #[test]
    fn a_description_names_us() {
        let sdp = "v=0\r\no=- 1 1 IN IP4 10.0.0.5\r\nc=IN IP4 0.0.0.0\r\na=control:rtsp://10.0.0.5/a/\r\n";
        let answer = |sdp: &str, base: &str| {
            format!(
                "RTSP/1.0 200 OK\r\nCSeq: 2\r\nContent-Base: {base}\r\nContent-Type: application/sdp\r\nContent-Length: {}\r\n\r\n{sdp}",
                sdp.len()
            )
        };
        let expected = "v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\nc=IN IP4 0.0.0.0\r\na=control:rtsp://media.example:18554/a/\r\n";
        assert_eq!(
            to_client(&answer(sdp, "rtsp://10.0.0.5/a/")),
            answer(expected, "rtsp://media.example:18554/a/")
        );
    }

    #[test]
    fn a_stream_of_another_name_is_turned_back() {
        let rewrite = Rewrite {
            rename: Some(Rename::new("live/cam1", "cam1")),
            ..rewrite()
        };
        let sdp = "v=0\r\na=control:rtsp://10.0.0.5/cam1/\r\na=control:trackID=0\r\n";
        let answer = |sdp: &str, base: &str| {
            format!(
                "RTSP/1.0 200 OK\r\nContent-Base: {base}\r\nContent-Type: application/sdp\r\nContent-Length: {}\r\n\r\n{sdp}",
                sdp.len()
            )
        };
        let rows = [
            (
                "a description",
                answer(sdp, "rtsp://10.0.0.5/cam1/"),
                answer(
                    "v=0\r\na=control:rtsp://media.example:18554/live/cam1/\r\na=control:trackID=0\r\n",
                    "rtsp://media.example:18554/live/cam1/",
                ),
            ),
            (
                "two tracks",
                "RTSP/1.0 200 OK\r\nRTP-Info: url=rtsp://10.0.0.5/cam1/trackID=0;seq=1,url=rtsp://10.0.0.5/cam1/trackID=1\r\n\r\n".to_owned(),
                "RTSP/1.0 200 OK\r\nRTP-Info: url=rtsp://media.example:18554/live/cam1/trackID=0;seq=1,url=rtsp://media.example:18554/live/cam1/trackID=1\r\n\r\n".to_owned(),
            ),
            (
                "two ways to log in",
                "RTSP/1.0 401 Unauthorized\r\nWWW-Authenticate: Digest realm=\"a\"\r\nWWW-Authenticate: Basic realm=\"a\"\r\n\r\n".to_owned(),
                "RTSP/1.0 401 Unauthorized\r\nWWW-Authenticate: Basic realm=\"a\"\r\n\r\n".to_owned(),
            ),
        ];
        for (cause, said, expected) in rows {
            let (message, _) = Message::parse(said.as_bytes(), Speaker::Origin)
                .unwrap()
                .unwrap();
            let heard = rewrite.to_client(&message, None).unwrap();
            assert_eq!(String::from_utf8(heard).unwrap(), expected, "{cause}");
        }
    }

    #[test]
    fn an_origins_own_request_and_its_transport() {
        assert_eq!(
            to_client(
                "REDIRECT rtsp://10.0.0.5/a RTSP/1.0\r\nCSeq: 1\r\nLocation: rtsp://10.0.0.6/a\r\n\r\n"
            ),
            "REDIRECT rtsp://media.example:18554/a RTSP/1.0\r\nCSeq: 1\r\nLocation: rtsp://media.example:18554/a\r\n\r\n"
        );
        assert_eq!(
            to_client(
                "RTSP/1.0 200 OK\r\nTransport: RTP/AVP/TCP;interleaved=0-1;source=10.0.0.5\r\n\r\n"
            ),
            "RTSP/1.0 200 OK\r\nTransport: RTP/AVP/TCP;interleaved=0-1\r\n\r\n"
        );
    }

    #[test]
    fn parts_of_urls() {
        assert_eq!(authority("rtsp://u:p@h:1/a"), Some("h:1"));
        assert_eq!(authority("*"), None);
        assert_eq!(path("rtsp://h/live/a/?x=1/2"), "live/a");
        assert_eq!(path("trackID=1"), "trackID=1");
    }
}
