//! What may be shared: which requests are equal enough for one answer, and which answers are everybody's.
//!
//! An answer is the asker's own unless the origin says, or the operator set, that it is everybody's. So a viewer gets
//! what they would have got alone, whatever an origin judges by.

mod audience;
mod personal;

pub use audience::Audience;
pub(in crate::http) use personal::is_of_a_viewer;
pub use personal::is_personal;

use std::fmt::Write;
use std::str::FromStr;

use super::head::RequestHead;
use crate::place::rule::ShareRule;
use crate::stream::StreamUrl;

/// Whose answers go to others too.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Share {
    /// All that have nothing against it; the operator answers for it.
    All,
    /// Nobody's.
    Off,
    /// Those of which the origin says it.
    #[default]
    Said,
}

impl FromStr for Share {
    type Err = NotAShare;

    fn from_str(text: &str) -> Result<Self, NotAShare> {
        match text {
            "all" => Ok(Self::All),
            "off" => Ok(Self::Off),
            "said" => Ok(Self::Said),
            _ => Err(NotAShare),
        }
    }
}

/// Neither off, said nor all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("neither off, said nor all")]
pub struct NotAShare;

/// What an operator set about sharing.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Sharing {
    /// What holds for a stream that no rule speaks of.
    pub general: Share,
    /// The first that speaks of a stream counts.
    pub rules: Vec<ShareRule>,
    /// Query parameters that make no difference, besides `CMCD`.
    pub ignored: Vec<String>,
}

impl Sharing {
    /// What holds for `stream`.
    pub fn of(&self, stream: &StreamUrl) -> Share {
        let rule = self.rules.iter().find(|rule| rule.covers(stream));
        rule.map_or(self.general, |rule| rule.share)
    }

    /// Whether nothing is ever shared.
    pub fn is_off(&self) -> bool {
        let shares = self.rules.iter().map(|rule| rule.share);
        self.general == Share::Off && shares.into_iter().all(|share| share == Share::Off)
    }

    /// What requests that may have one answer have in common; `None` where a request holds something that an origin
    /// could judge its sender by.
    ///
    /// `head` is the request as it goes to the origin. Credentials, cookies and every header that is not known to be
    /// harmless keep a request apart. Under [`Share::All`] they are compared instead.
    pub fn common(&self, share: Share, head: &RequestHead) -> Option<String> {
        if share == Share::Off || head.method != "GET" {
            return None;
        }
        let mut common = self.compared_target(&head.target);
        let mut compared: Vec<(String, &[u8])> = Vec::new();
        for (name, value) in head.headers.iter() {
            if is_compared(name) || (share == Share::All && !is_harmless(name)) {
                compared.push((name.to_ascii_lowercase(), value));
            } else if !is_harmless(name) {
                return None;
            }
        }
        // The values of one header keep their order.
        compared.sort_by(|(one, _), (other, _)| one.cmp(other));
        for (name, value) in compared {
            common.extend(["\n", &name, ":"]);
            push_escaped(value, &mut common);
        }
        Some(common)
    }

    /// A request target without the parameters that make no difference.
    fn compared_target(&self, target: &str) -> String {
        let counts = |pair: &&str| {
            let name = pair.split_once('=').map_or(*pair, |(name, _)| name);
            name != CMCD && !self.ignored.iter().any(|ignored| ignored == name)
        };
        let Some((path, query)) = target.split_once('?') else {
            return target.to_owned();
        };
        if query.split('&').all(|pair| counts(&pair)) {
            return target.to_owned();
        }
        match query
            .split('&')
            .filter(counts)
            .collect::<Vec<_>>()
            .join("&")
        {
            rest if rest.is_empty() => path.to_owned(),
            rest => format!("{path}?{rest}"),
        }
    }
}

/// The path of a target with its numbers made equal: what the pieces of one rendition have in common.
pub fn shape(target: &str) -> String {
    let path = target.split('?').next().unwrap_or_default();
    let mut shape = String::with_capacity(path.len());
    for letter in path.chars() {
        if !letter.is_ascii_digit() {
            shape.push(letter);
        } else if !shape.ends_with('0') {
            shape.push('0');
        }
    }
    shape
}

fn is_compared(name: &str) -> bool {
    is_one_of(&COMPARED, name)
}

fn is_harmless(name: &str) -> bool {
    let begins = |start: &&str| {
        let begin = name.get(..start.len());
        begin.is_some_and(|begin| begin.eq_ignore_ascii_case(start))
    };
    is_one_of(&HARMLESS, name) || HARMLESS_STARTS.iter().any(begins)
}

fn is_one_of(known: &[&str], name: &str) -> bool {
    known.iter().any(|known| name.eq_ignore_ascii_case(known))
}

/// Appends a value of a header such that two values have two texts.
fn push_escaped(value: &[u8], out: &mut String) {
    let is_plain = |byte: &u8| matches!(byte, b' '..=b'~') && !b"\\'\"".contains(byte);
    match str::from_utf8(value) {
        Ok(text) if value.iter().all(is_plain) => out.push_str(text),
        _ => {
            let _ = write!(out, "{}", value.escape_ascii());
        }
    }
}

/// The parameter of a query that reports to a CDN how playing goes (CTA-5004): of each viewer, and of no weight.
pub const CMCD: &str = "CMCD";

/// Headers by which origins tell answers apart, and which are no one viewer's: requests with equal ones may share.
const COMPARED: [&str; 24] = [
    "accept",
    "accept-encoding",
    "access-control-request-headers",
    "access-control-request-method",
    "cast-device-capabilities",
    "cdn-loop",
    "host",
    "icy-metadata",
    "if-match",
    "if-modified-since",
    "if-none-match",
    "if-range",
    "if-unmodified-since",
    "origin",
    "range",
    "referer",
    "transfermode.dlna.org",
    "via",
    "x-forwarded-host",
    "x-forwarded-port",
    "x-forwarded-proto",
    "x-forwarded-scheme",
    "x-forwarded-ssl",
    "x-requested-with",
];

/// Headers that differ from viewer to viewer and change no answer that an origin says is everybody's. Those that name
/// an address are ours, or a trusted proxy's.
const HARMLESS: [&str; 18] = [
    "accept-charset",
    "accept-language",
    "cache-control",
    "dnt",
    "forwarded",
    "pragma",
    "priority",
    "save-data",
    "traceparent",
    "tracestate",
    "upgrade-insecure-requests",
    "user-agent",
    "x-amzn-trace-id",
    "x-forwarded-for",
    // Of each player that is made of AVFoundation.
    "x-playback-session-id",
    "x-real-ip",
    "x-correlation-id",
    "x-request-id",
];

/// What names of other headers begin with that are harmless.
const HARMLESS_STARTS: [&str; 3] = ["cmcd-", "sec-ch-", "sec-fetch-"];

#[cfg(test)]
mod tests {
    use super::*;

    fn request(target: &str, headers: &[(&str, &str)]) -> RequestHead {
        let mut text = format!("GET {target} HTTP/1.1\r\nHost: example.com\r\n");
        for (name, value) in headers {
            text.push_str(&format!("{name}: {value}\r\n"));
        }
        text.push_str("\r\n");
        RequestHead::parse(text.as_bytes()).unwrap().unwrap().0
    }

    fn common(share: Share, target: &str, headers: &[(&str, &str)]) -> Option<String> {
        let sharing = Sharing {
            ignored: vec!["uid".to_owned()],
            ..Sharing::default()
        };
        sharing.common(share, &request(target, headers))
    }

    #[test]
    fn equal_requests_are_those_that_no_origin_could_tell_apart() {
        let bare = common(Share::Said, "/a.m3u8", &[]);
        for (cause, headers) in [
            ("another player", [("User-Agent", "b")]),
            ("another language", [("Accept-Language", "fr")]),
            ("another address", [("X-Forwarded-For", "10.0.0.9")]),
            (
                "another place of the page",
                [("Sec-Fetch-Site", "cross-site")],
            ),
            ("a report", [("CMCD-Session", "sid=\"b\"")]),
            ("a session of the player", [("x-playback-session-id", "b")]),
        ] {
            assert_eq!(common(Share::Said, "/a.m3u8", &headers), bare, "{cause}");
            assert_eq!(common(Share::All, "/a.m3u8", &headers), bare, "{cause}");
        }
        for (cause, headers) in [
            ("a range", [("Range", "bytes=0-9")]),
            ("a page", [("Origin", "https://b.example")]),
            ("where it is linked", [("Referer", "https://b.example/")]),
            ("a validator", [("If-None-Match", "\"b\"")]),
            ("an encoding", [("Accept-Encoding", "br")]),
            ("a name for us", [("X-Forwarded-Host", "b.example")]),
        ] {
            for share in [Share::Said, Share::All] {
                let ours = common(share, "/a.m3u8", &headers);
                assert!(ours.is_some() && ours != bare, "{cause}");
                assert_eq!(common(share, "/a.m3u8", &headers), ours, "{cause}");
            }
        }
        for (cause, headers) in [
            ("credentials", [("Authorization", "Bearer b")]),
            ("a cookie", [("Cookie", "a=b")]),
            ("a token of its own", [("X-Auth-Token", "alice")]),
            ("what nobody heard of", [("Anything", "b")]),
        ] {
            assert_eq!(common(Share::Said, "/a.m3u8", &headers), None, "{cause}");
            let all = common(Share::All, "/a.m3u8", &headers);
            assert!(all.is_some() && all != bare, "{cause} is compared");
        }
        let off = |headers| common(Share::Off, "/a.m3u8", headers);
        assert_eq!(off(&[]), None);
    }

    #[test]
    fn values_of_one_header_are_not_another_header() {
        let two = common(Share::All, "/a.ts", &[("X-A", "1"), ("X-A", "2")]);
        let swapped = common(Share::All, "/a.ts", &[("X-A", "2"), ("X-A", "1")]);
        let joined = common(Share::All, "/a.ts", &[("X-A", "1, 2")]);
        assert!(two != swapped && two != joined && swapped != joined);
        let order = [("Range", "bytes=0-1"), ("Accept", "*/*")];
        let other = [("Accept", "*/*"), ("Range", "bytes=0-1")];
        assert_eq!(
            common(Share::Said, "/a.ts", &order),
            common(Share::Said, "/a.ts", &other)
        );
    }

    #[test]
    fn only_a_get_is_shared() {
        let mut head = request("/a.ts", &[]);
        "HEAD".clone_into(&mut head.method);
        assert_eq!(Sharing::default().common(Share::All, &head), None);
    }

    #[test]
    fn what_makes_no_difference_in_a_query_is_left_out() {
        for (cause, target, like) in [
            ("a report alone", "/a.ts?CMCD=sid%3D%22a%22", "/a.ts"),
            (
                "a report after another parameter",
                "/a.ts?t=1&CMCD=x",
                "/a.ts?t=1",
            ),
            ("a report first", "/a.ts?CMCD=x&t=1", "/a.ts?t=1"),
            ("what the operator named", "/a.ts?uid=7&t=1", "/a.ts?t=1"),
            ("it without a value", "/a.ts?uid", "/a.ts"),
        ] {
            let (ours, theirs) = (
                common(Share::Said, target, &[]),
                common(Share::Said, like, &[]),
            );
            assert_eq!(ours, theirs, "{cause}");
        }
        for (cause, target, other) in [
            ("another token", "/a.ts?t=1", "/a.ts?t=2"),
            ("an empty query", "/a.ts?", "/a.ts"),
            ("the order", "/a.ts?a&b", "/a.ts?b&a"),
            ("a name that begins so", "/a.ts?CMCDX=1", "/a.ts?CMCDX=2"),
            ("another case", "/a.ts?cmcd=1", "/a.ts?cmcd=2"),
            ("a value of that name", "/a.ts?a=uid", "/a.ts?a=CMCD"),
        ] {
            let (ours, theirs) = (
                common(Share::Said, target, &[]),
                common(Share::Said, other, &[]),
            );
            assert_ne!(ours, theirs, "{cause}");
        }
    }

    #[test]
    fn pieces_of_a_rendition_have_one_shape() {
        assert_eq!(shape("/live/a-12.ts?x=1"), shape("/live/a-9.ts"));
        assert_ne!(shape("/live/a-12.ts"), shape("/live/a.m3u8"));
        assert_ne!(shape("/live/a-12.ts"), shape("/live/b-12.ts"));
        assert_eq!(shape("/v12/é/0007.m4s"), "/v0/é/0.m0s");
    }

    #[test]
    fn a_rule_is_for_its_streams() {
        let sharing = Sharing {
            general: Share::Off,
            rules: vec![
                "app=vod share=all".parse().unwrap(),
                "share=said".parse().unwrap(),
            ],
            ignored: Vec::new(),
        };
        assert_eq!(
            sharing.of(&"example.com/vod/a".parse().unwrap()),
            Share::All
        );
        assert_eq!(
            sharing.of(&"example.com/live/a".parse().unwrap()),
            Share::Said
        );
        assert!(!sharing.is_off());
        assert!(!Sharing::default().is_off());
        let off = Sharing {
            general: Share::Off,
            rules: vec!["app=vod share=off".parse().unwrap()],
            ignored: Vec::new(),
        };
        assert!(off.is_off());
    }
}
