//! Takes out of a client's requests what was used up here: query parameters, and an `Authorization` field.
//!
//! A client puts together each request from the URL that its user gave it, and many append a track to the end of it,
//! after the query: `rtsp://h/live/a?key=K/trackID=1`. What the client began with is therefore known here, so that a
//! track is told from the end of a value.

use std::borrow::Cow;
use std::fmt;

use super::message::{Change, Message, Speaker};
use crate::access::query::{Query, strip};

/// What of a client's requests its origin does not get.
#[derive(Clone, PartialEq, Eq)]
pub struct TakeOut {
    names: Vec<Box<str>>,
    /// The query of the client's first request, and what is left of it.
    query: Box<str>,
    left: Box<str>,
    authorization: bool,
}

impl TakeOut {
    /// The parameters `names`, and the `Authorization` field if `authorization` says so, of a client that began with `uri`;
    /// `None` where that is nothing.
    pub fn new(names: &[Box<str>], authorization: bool, uri: &str) -> Option<Self> {
        if names.is_empty() && !authorization {
            return None;
        }
        let (_, query) = uri.split_once('?').unwrap_or_default();
        let texts: Vec<&str> = names.iter().map(|name| &**name).collect();
        Some(Self {
            names: names.to_vec(),
            left: Query(query).without(&texts).into(),
            query: query.into(),
            authorization,
        })
    }

    /// Whether the origin does not get the `Authorization` field.
    pub(super) const fn takes_authorization(&self) -> bool {
        self.authorization
    }

    /// What is left of a request; `None` if nothing is to be taken out of it.
    pub fn rest_of(&self, request: &Message) -> Option<Message> {
        request.method()?;
        let is_taken =
            |name: &str| self.authorization && name.eq_ignore_ascii_case("authorization");
        let uri = self.url(request.uri());
        let shows = request.fields().any(|(name, _)| is_taken(name));
        if matches!(uri, Cow::Borrowed(_)) && !shows {
            return None;
        }
        let renamed = read(&request.with_uri(&uri))?;
        let keep = |name: &str, _: &str| match is_taken(name) {
            true => Change::Drop,
            false => Change::Keep,
        };
        read(&renamed.with(keep, None))
    }

    /// What is left of a URL.
    pub fn url<'a>(&self, url: &'a str) -> Cow<'a, str> {
        let Some((path, query)) = url.split_once('?') else {
            return Cow::Borrowed(url);
        };
        let track = query
            .strip_prefix(&*self.query)
            .filter(|track| track.is_empty() || track.starts_with('/'));
        let left = match track {
            Some(track) if self.left.is_empty() => [path, track].concat(),
            Some(track) => [path, "?", &self.left, track].concat(),
            None => {
                let names: Vec<&str> = self.names.iter().map(|name| &**name).collect();
                strip(url, &names)
            }
        };
        if left == url {
            Cow::Borrowed(url)
        } else {
            Cow::Owned(left)
        }
    }
}

impl fmt::Debug for TakeOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TakeOut({:?})", self.names)
    }
}

fn read(bytes: &[u8]) -> Option<Message> {
    let (message, _) = Message::parse(bytes, Speaker::Client).ok()??;
    Some(message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taking(uri: &str) -> TakeOut {
        TakeOut::new(&["key".into()], true, uri).unwrap()
    }

    #[test]
    fn a_track_at_the_end_of_a_url_stays() {
        let began = "rtsp://h/live/a?key=K/1";
        let rows = [
            ("the stream", began, "rtsp://h/live/a"),
            (
                "a track after the query",
                "rtsp://h/live/a?key=K/1/trackID=0",
                "rtsp://h/live/a/trackID=0",
            ),
            (
                "a track before it",
                "rtsp://h/live/a/trackID=0?key=K/1",
                "rtsp://h/live/a/trackID=0",
            ),
            (
                "another parameter",
                "rtsp://h/live/a?key=K/1&x=1",
                "rtsp://h/live/a?x=1",
            ),
            ("no query", "rtsp://h/live/a/", "rtsp://h/live/a/"),
            ("no URL", "*", "*"),
        ];
        for (cause, url, expected) in rows {
            assert_eq!(taking(began).url(url), expected, "{cause}");
        }
        let began = "rtsp://h/live/a?x=1&key=K";
        let track = "rtsp://h/live/a?x=1&key=K/trackID=0";
        assert_eq!(taking(began).url(track), "rtsp://h/live/a?x=1/trackID=0");
    }

    #[test]
    fn a_request_loses_what_was_used_up_and_nothing_else() {
        let uri = "rtsp://h/live/a?key=K";
        let request = |uri: &str, field: &str| {
            let text = format!("PLAY {uri} RTSP/1.0\r\nCSeq: 4\r\n{field}Session: 7\r\n\r\n");
            read(text.as_bytes()).unwrap()
        };
        let shown = request(uri, "Authorization: Basic dTpw\r\n");
        let rest = taking(uri).rest_of(&shown).unwrap();
        assert_eq!(rest, request("rtsp://h/live/a", ""));
        assert_eq!(taking(uri).rest_of(&rest), None, "nothing is left to take");
        let only_query = TakeOut::new(&["key".into()], false, uri).unwrap();
        let rest = only_query.rest_of(&shown).unwrap();
        assert_eq!(rest.field("authorization"), Some("Basic dTpw"));
        assert_eq!(TakeOut::new(&[], false, uri), None);
        let said = b"PLAY rtsp://h/live/a RTSP/1.0\r\nCSeq: 4\r\nAuthorization: Digest username=\"caf\xe9\"\r\n\r\n";
        let rest = taking(uri).rest_of(&read(said).unwrap()).unwrap();
        assert_eq!(rest.field("cseq"), Some("4"));
        assert_eq!(rest.fields().count(), 1, "whatever its encoding");
        let answer = b"RTSP/1.0 200 OK\r\nCSeq: 1\r\nAuthorization: x\r\n\r\n";
        let (answer, _) = Message::parse(answer, Speaker::Client).unwrap().unwrap();
        assert_eq!(taking(uri).rest_of(&answer), None, "an answer passes");
        assert!(!format!("{:?}", taking(uri)).contains('K'));
    }
}
