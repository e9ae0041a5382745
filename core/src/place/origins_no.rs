//! What an origin's no in the words of one protocol is in those of another. A viewer of a shared pull need not speak what its
//! origin was asked by.

use std::borrow::Cow;

use crate::rtmp::message::code_and_description;

/// The status in HTTP of a no in these words: that of an answer in HTTP, such as `403 Forbidden`, or the one that a code of
/// RTMP stands for. `None` where they name neither, as where an origin has closed the connection.
pub fn http_status(words: &str) -> Option<u16> {
    if let Some((code, _)) = code_and_description(words) {
        let is_one_of = |ends: &[&str]| ends.iter().any(|end| code.ends_with(end));
        return Some(match code {
            _ if is_one_of(&NOT_THERE) => 404,
            _ if is_one_of(&NOT_NOW) => 503,
            // What players hear that may not (ActionScript 3.0 reference, `NetStream.Play.Failed`: "such as the subscriber
            // not having read access").
            _ => 403,
        });
    }
    let (status, rest) = words.split_at_checked(3)?;
    let is_status = status.bytes().all(|byte| byte.is_ascii_digit());
    let status = status.parse().ok().filter(|_| is_status)?;
    let is_no = (400..600).contains(&status) && (rest.is_empty() || rest.starts_with(' '));
    is_no.then_some(status)
}

/// Whether a no of this status, of RTSP or HTTP, may be said to a publisher because its stream has one. MediaMTX says 400, other
/// servers 406 or 409; the statuses that say something else are about the client or its request.
pub const fn may_mean_busy(status: u16) -> bool {
    matches!(status, 400 | 406 | 409)
}

/// Whether a no with this code in JSON says that the stream has a publisher: `ERROR_SYSTEM_STREAM_BUSY` of SRS.
pub const fn means_busy(code: i64) -> bool {
    code == 1028
}

/// The code in RTMP by which a player hears of a no in these words, if they are those of an answer in HTTP that has one of
/// its own.
pub fn play_code(words: &str) -> Option<&'static str> {
    if code_and_description(words).is_some() {
        return None;
    }
    matches!(http_status(words)?, 404 | 410).then_some("NetStream.Play.StreamNotFound")
}

/// An origin's words as logs and other clients may have them. Some origins quote the request, whose query has the client's token
/// and whose URL may have a user and a password.
pub fn without_secrets(words: &str) -> Cow<'_, str> {
    if !words.contains(['?', '%', '@']) {
        return Cow::Borrowed(words);
    }
    let parts = words.split_inclusive(char::is_whitespace);
    Cow::Owned(parts.flat_map(word_without_secrets).collect())
}

/// The pieces of one word, with the white space after it.
fn word_without_secrets(word: &str) -> [&str; 5] {
    let (word, space) = word.split_at(word.trim_end().len());
    let is_mark = |at: &usize| {
        let rest = word.as_bytes().get(*at..).unwrap_or_default();
        matches!(rest, [b'?', ..] | [b'%', b'3', b'f' | b'F', ..])
    };
    let mark = (0..word.len()).find(is_mark).unwrap_or(word.len());
    let (place, query) = word.split_at(mark);
    let authority = place.find("//").map(|slashes| slashes + 2);
    let (scheme, rest) = place.split_at(authority.unwrap_or_default());
    if authority.is_some() && query.contains('@') && !rest.contains('/') {
        // The mark may be one of a password.
        return [scheme, "…", "", "", space];
    }
    // A mark may end a question.
    let query = match query.contains(char::is_alphanumeric) {
        true => "?…",
        false => query,
    };
    match rest.rsplit_once('@') {
        Some((_, host)) if authority.is_some() => [scheme, "…@", host, query, space],
        Some((login, host)) if login.contains(':') => {
            let begin = login.find(char::is_alphanumeric).unwrap_or_default();
            [login.split_at(begin).0, "…@", host, query, space]
        }
        // No login, or an address for mail.
        _ => [place, query, "", "", space],
    }
}

/// How codes end that say that there is no such stream, application or file.
const NOT_THERE: [&str; 3] = ["NotFound", ".InvalidApp", ".NoSupportedTrackFound"];
/// How codes end of a server that will not have anybody now.
const NOT_NOW: [&str; 2] = [".AppShutdown", ".InsufficientBW"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origins_words_are_told_without_secrets() {
        for (words, expected) in [
            ("404 Not Found", "404 Not Found"),
            ("is it taken?", "is it taken?"),
            ("(is it \"taken?\") no", "(is it \"taken?\") no"),
            ("ask admin@example.com", "ask admin@example.com"),
            (
                "NetStream.Publish.BadName: stream a?token=secret is taken",
                "NetStream.Publish.BadName: stream a?… is taken",
            ),
            ("no 'a?token=secret'\there", "no 'a?…\there"),
            ("no a%3Ftoken%3dsecret here", "no a?… here"),
            ("?token=secret", "?…"),
            (
                "404 no rtsp://bob:secret@h:554/live/a?t=secret here",
                "404 no rtsp://…@h:554/live/a?… here",
            ),
            ("no rtsp://bob:se/cr@et@h/a", "no rtsp://…@h/a"),
            ("no rtsp://secret@h/a", "no rtsp://…@h/a"),
            ("no rtsp://bob:what?secret@h/a", "no rtsp://…"),
            ("no http://h/a?mail=secret@h", "no http://h/a?…"),
            ("(bob:secret@h) is nobody", "(…@h) is nobody"),
            ("é?é=ü @ä%3", "é?… @ä%3"),
        ] {
            assert_eq!(without_secrets(words), expected, "{words}");
        }
    }

    #[test]
    fn a_no_that_may_be_said_because_the_stream_has_a_publisher() {
        for status in [400, 406, 409] {
            assert!(may_mean_busy(status), "{status}");
        }
        for status in [200, 401, 403, 404, 405, 415, 422, 429, 454, 461, 500, 503] {
            assert!(!may_mean_busy(status), "{status}");
        }
        assert!(means_busy(1028) && !means_busy(400));
    }

    #[test]
    fn a_no_has_the_same_meaning_in_each_protocol() {
        let not_found = Some("NetStream.Play.StreamNotFound");
        let rows = [
            (
                "NetStream.Play.StreamNotFound: no such stream",
                Some(404),
                None,
            ),
            ("NetStream.Play.FileNotFound: no", Some(404), None),
            ("NetConnection.Connect.InvalidApp: no", Some(404), None),
            ("NetConnection.Connect.AppShutdown: later", Some(503), None),
            (
                "NetConnection.Connect.Rejected: [ AccessManager.Reject ]",
                Some(403),
                None,
            ),
            ("NetStream.Play.Failed: bad token", Some(403), None),
            ("401 Unauthorized", Some(401), None),
            ("403 Forbidden", Some(403), None),
            ("404 Not Found", Some(404), not_found),
            ("410", Some(410), not_found),
            ("503 Service Unavailable", Some(503), None),
            ("302 Found", None, None),
            ("4040 streams", None, None),
            ("+40 is no status", None, None),
            (
                "its origin closed the connection without a reason",
                None,
                None,
            ),
            ("é", None, None),
            ("", None, None),
        ];
        for (words, status, code) in rows {
            assert_eq!(
                (http_status(words), play_code(words)),
                (status, code),
                "{words}"
            );
        }
    }
}
