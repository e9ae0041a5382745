//! What an origin's no in the words of one protocol is in those of another. A viewer of a shared pull need not speak what its
//! origin was asked by.

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

/// The code in RTMP by which a player hears of a no in these words, if they are those of an answer in HTTP that has one of
/// its own.
pub fn play_code(words: &str) -> Option<&'static str> {
    if code_and_description(words).is_some() {
        return None;
    }
    matches!(http_status(words)?, 404 | 410).then_some("NetStream.Play.StreamNotFound")
}

/// How codes end that say that there is no such stream, application or file.
const NOT_THERE: [&str; 3] = ["NotFound", ".InvalidApp", ".NoSupportedTrackFound"];
/// How codes end of a server that will not have anybody now.
const NOT_NOW: [&str; 2] = [".AppShutdown", ".InsufficientBW"];

#[cfg(test)]
mod tests {
    use super::*;

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
