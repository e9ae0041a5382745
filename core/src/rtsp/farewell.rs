//! What an origin is told of a session that is over, and whose client has not said so. A session is not its connection
//! (RFC 2326 §1.1): an origin that sends datagrams goes on until its own time limit if it only sees the connection end.

use std::fmt;
use std::time::Duration;

use super::message::{Message, Method};
use super::rewrite::with_plain_scheme;

/// What a TEARDOWN of ours is made from.
#[derive(Default)]
pub(super) struct Farewell {
    /// The session, as its origin named it; `None` if the origin has none.
    session: Option<Box<str>>,
    /// How long the origin keeps a session that it hears nothing of, if it said so.
    keeps: Option<Duration>,
    /// What the session is about.
    url: Box<str>,
    rank: Rank,
    /// The number of the last request.
    number: u32,
    /// The header lines with what the last request showed of its client, as far as that fits another method.
    credentials: Box<str>,
    /// The number of our TEARDOWN, and whether it was answered.
    said: Option<(u32, bool)>,
}

/// How well the URL of a request names the session as a whole.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Rank {
    /// Not at all, or it is a track's.
    #[default]
    Track,
    /// It names the stream.
    Stream,
    /// It names what is played or recorded.
    Session,
}

impl Farewell {
    /// Notes a request, as its origin gets it. `is_tracks`: its URL is one that a track was set up by.
    pub(super) fn note_request(&mut self, request: &Message, is_tracks: bool) {
        self.number = self.number.max(request.cseq().unwrap_or_default());
        self.credentials = credentials(request);
        let rank = match request.method() {
            Some(Method::Setup) => Rank::Track,
            Some(Method::Announce | Method::Describe) => Rank::Stream,
            Some(Method::Pause | Method::Play | Method::Record) if is_tracks => Rank::Track,
            Some(Method::Pause | Method::Play | Method::Record) => Rank::Session,
            _ => return,
        };
        let url = request.uri();
        if (rank >= self.rank || self.url.is_empty()) && url.contains("://") {
            self.rank = rank;
            self.url = with_plain_scheme(url).into();
        }
    }

    /// Notes what an answer of the origin that is no refusal says of the session.
    pub(super) fn note_answer(&mut self, answer: &Message) {
        let Some(field) = answer.field("session") else {
            return;
        };
        let mut parts = field.split(';').map(str::trim);
        let id = parts.next().unwrap_or_default();
        let is_plain =
            !id.is_empty() && id.len() <= MAX_ID && id.bytes().all(|b| b.is_ascii_graphic());
        if !is_plain {
            return;
        }
        if self.session.as_deref() != Some(id) {
            self.session = Some(id.into());
        }
        let seconds = parts.find_map(|part| {
            let (name, value) = part.split_once('=')?;
            let is_timeout = name.trim().eq_ignore_ascii_case("timeout");
            value.trim().parse().ok().filter(|_| is_timeout)
        });
        if let Some(seconds) = seconds {
            self.keeps = Some(Duration::from_secs(seconds));
        }
    }

    /// The origin has no session any more.
    pub(super) fn forget(&mut self) {
        self.session = None;
    }

    /// Whether the origin has a session.
    pub(super) const fn has_session(&self) -> bool {
        self.session.is_some()
    }

    /// How long the origin keeps a session that it hears nothing of (RFC 2326 §12.37).
    pub(super) fn keeps(&self) -> Duration {
        self.keeps.unwrap_or(USUAL_TIMEOUT).min(LONGEST_TIMEOUT)
    }

    /// Whether we have said it, and then whether that was answered.
    pub(super) fn is_answered(&self) -> Option<bool> {
        self.said.map(|(_, is_answered)| is_answered)
    }

    /// Notes an answer to the request of this number; true if that was our TEARDOWN.
    pub(super) fn hears_answer(&mut self, number: u32) -> bool {
        match &mut self.said {
            Some((own, is_answered)) if *own == number => {
                *is_answered = true;
                true
            }
            _ => false,
        }
    }

    /// Our TEARDOWN; `None` if the origin has no session.
    pub(super) fn words(&mut self) -> Option<Vec<u8>> {
        let session = self.session.as_deref()?;
        let number = self.number.saturating_add(1);
        self.said = Some((number, false));
        let (url, credentials) = (&self.url, &self.credentials);
        let words = format!(
            "TEARDOWN {url} RTSP/1.0\r\nCSeq: {number}\r\nSession: {session}\r\n{credentials}\r\n"
        );
        Some(words.into_bytes())
    }
}

impl fmt::Debug for Farewell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Farewell(***)")
    }
}

/// The header lines by which a request shows who asks. What is signed for the method of that request is of no use to another.
fn credentials(request: &Message) -> Box<str> {
    let fields = ["Authorization", "Proxy-Authorization"].iter();
    let lines = fields.filter_map(|name| {
        let value = request.field(name)?;
        let scheme = value.split(' ').next().unwrap_or_default();
        let is_signed = scheme.eq_ignore_ascii_case("digest");
        (!is_signed).then(|| format!("{name}: {value}\r\n"))
    });
    lines.collect::<String>().into()
}

/// Maximum length of a session's name; origins use eight to forty characters.
const MAX_ID: usize = 256;
/// The time limit of a session whose origin names none (RFC 2326 §12.37).
const USUAL_TIMEOUT: Duration = Duration::from_secs(60);
/// An origin that says more than this is not believed.
const LONGEST_TIMEOUT: Duration = Duration::from_secs(300);

#[cfg(test)]
mod tests {
    use super::super::message::Speaker;
    use super::*;

    fn read(text: &str, speaker: Speaker) -> Message {
        let read = Message::parse(text.as_bytes(), speaker);
        read.unwrap().unwrap().0
    }

    fn request(method: &str, url: &str, number: u32, fields: &str) -> Message {
        let text = format!("{method} {url} RTSP/1.0\r\nCSeq: {number}\r\n{fields}\r\n");
        read(&text, Speaker::Client)
    }

    fn answer(session: &str) -> Message {
        let text = format!("RTSP/1.0 200 OK\r\nCSeq: 1\r\nSession: {session}\r\n\r\n");
        read(&text, Speaker::Origin)
    }

    #[test]
    fn it_is_about_the_session_as_a_whole() {
        let (stream, track) = ("rtsp://h/a", "rtsp://h/a/trackID=0");
        type Asked<'a> = &'a [(&'a str, &'a str)];
        let rows: [(&str, Asked<'_>, &str); 6] = [
            (
                "what is played",
                &[
                    ("DESCRIBE", stream),
                    ("SETUP", track),
                    ("PLAY", "rtsp://h/a/"),
                ],
                "rtsp://h/a/",
            ),
            (
                "a player that plays each track",
                &[("DESCRIBE", stream), ("SETUP", track), ("PLAY", track)],
                stream,
            ),
            (
                "nothing was played",
                &[("ANNOUNCE", stream), ("SETUP", track), ("OPTIONS", "*")],
                stream,
            ),
            ("a track is all there is", &[("SETUP", track)], track),
            ("no URL", &[("DESCRIBE", stream), ("PLAY", "*")], stream),
            ("TLS", &[("PLAY", "rtsps://h/a")], stream),
        ];
        for (cause, asked, url) in rows {
            let mut farewell = Farewell::default();
            for ((method, url), number) in asked.iter().zip(1..) {
                farewell.note_request(&request(method, url, number, ""), *url == track);
            }
            assert_eq!(farewell.words(), None, "there is no session");
            farewell.note_answer(&answer("7"));
            let number = asked.len() + 1;
            let words = format!("TEARDOWN {url} RTSP/1.0\r\nCSeq: {number}\r\nSession: 7\r\n\r\n");
            let said = farewell.words().unwrap();
            assert_eq!(String::from_utf8(said).unwrap(), words, "{cause}");
        }
    }

    #[test]
    fn a_session_is_what_its_origin_names_it_and_lasts_as_long_as_that_says() {
        let minute = Duration::from_secs(60);
        let long = "7".repeat(MAX_ID + 1);
        let rows = [
            ("7", Some("7"), minute),
            (" 7 ; timeout = 90 ", Some("7"), Duration::from_secs(90)),
            ("7;Timeout=86400", Some("7"), LONGEST_TIMEOUT),
            ("7;timeout=soon", Some("7"), minute),
            ("", None, minute),
            (";timeout=90", None, minute),
            ("7\r\n 8", None, minute),
            (&long, None, minute),
        ];
        for (field, session, keeps) in rows {
            let mut farewell = Farewell::default();
            farewell.note_answer(&answer(field));
            assert_eq!(farewell.session.as_deref(), session, "{field}");
            assert_eq!(farewell.keeps(), keeps, "{field}");
        }
    }

    #[test]
    fn credentials_of_the_last_request_are_shown_where_they_fit() {
        let basic = "Authorization: Basic dTpw\r\n";
        let proxy = "Proxy-Authorization: Bearer t\r\n";
        let digest = "Authorization: DIGEST username=\"u\", response=\"r\"\r\n";
        let both = [proxy, digest].concat();
        for (fields, shown) in [("", ""), (basic, basic), (digest, ""), (&both, proxy)] {
            let mut farewell = Farewell::default();
            farewell.note_request(&request("DESCRIBE", "rtsp://h/a", 1, basic), false);
            farewell.note_request(&request("PLAY", "rtsp://h/a", 2, fields), false);
            farewell.note_answer(&answer("7"));
            let said = String::from_utf8(farewell.words().unwrap()).unwrap();
            assert!(
                said.ends_with(&format!("Session: 7\r\n{shown}\r\n")),
                "{said}"
            );
            assert!(!format!("{farewell:?}").contains("Basic"));
        }
    }
}
