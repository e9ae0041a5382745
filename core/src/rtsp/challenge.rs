//! What an origin's challenge (RFC 2617 §3.2.1) says of the credentials that it got: one that follows none is a step of the
//! dialogue, and one that follows some mostly says that they are wrong.

use super::message::Message;
use crate::access::challenge::Parameters;

/// Whether `answer`, a challenge, says that what `request` showed is wrong. Of Digest credentials that are out of date, or that
/// answer a challenge of another connection, it says nothing yet. `before` is the challenge before this one.
pub fn rejects(request: &Message, before: Option<&Message>, answer: &Message) -> bool {
    let Some(shown) = shown(request) else {
        return false;
    };
    let challenges: Vec<Parameters> = digests(answer).collect();
    let Some(shown) = Parameters::of_digest(shown).filter(|_| !challenges.is_empty()) else {
        return true;
    };
    let nonce = shown.value("nonce");
    let mut known = digests(answer).chain(before.into_iter().flat_map(digests));
    !is_stale(answer) && known.any(|challenge| challenge.value("nonce") == nonce)
}

/// Whether a request shows who its client is.
pub fn shows_credentials(request: &Message) -> bool {
    shown(request).is_some()
}

/// Whether a challenge says that the credentials were right and out of date.
pub fn is_stale(answer: &Message) -> bool {
    digests(answer).any(|challenge| {
        let stale = challenge.value("stale");
        stale.is_some_and(|stale| stale.eq_ignore_ascii_case("true"))
    })
}

fn shown(request: &Message) -> Option<&str> {
    let mut fields = ["authorization", "proxy-authorization"].iter();
    fields.find_map(|name| request.field(name))
}

/// The parameters of each Digest challenge of an answer.
fn digests(answer: &Message) -> impl Iterator<Item = Parameters> {
    challenges(answer).filter_map(Parameters::of_digest)
}

/// The challenges of an answer.
pub(super) fn challenges(answer: &Message) -> impl Iterator<Item = &str> {
    let fields = answer.fields().filter(|(name, _)| is_challenge(name));
    fields.map(|(_, value)| std::str::from_utf8(value).unwrap_or_default())
}

/// Whether a field of this name is a challenge.
pub(super) fn is_challenge(name: &str) -> bool {
    let names = ["www-authenticate", "proxy-authenticate"];
    names.iter().any(|known| name.eq_ignore_ascii_case(known))
}

#[cfg(test)]
mod tests {
    use super::super::message::Speaker;
    use super::*;

    fn request(field: &str) -> Message {
        let text = format!("DESCRIBE rtsp://h/a RTSP/1.0\r\nCSeq: 1\r\n{field}\r\n");
        let read = Message::parse(text.as_bytes(), Speaker::Client);
        read.unwrap().unwrap().0
    }

    fn challenge(fields: &str) -> Message {
        let text = format!("RTSP/1.0 401 Unauthorized\r\nCSeq: 1\r\n{fields}\r\n");
        let read = Message::parse(text.as_bytes(), Speaker::Origin);
        read.unwrap().unwrap().0
    }

    #[test]
    fn a_challenge_after_credentials_says_that_they_are_wrong() {
        let basic = "Authorization: Basic dTpw\r\n";
        let digest = "Authorization: Digest username=\"u\", nonce=\"n1\", response=\"r\"\r\n";
        let asks_basic = "WWW-Authenticate: Basic realm=\"c\"\r\n";
        let asks = |nonce: &str, more: &str| {
            format!("WWW-Authenticate: Digest realm=\"c\", nonce=\"{nonce}\"{more}\r\n")
        };
        let both = [asks("n2", ""), asks_basic.to_owned()].concat();
        let (first, next) = (asks("n1", ""), asks("n2", ""));
        let rows = [
            ("none were shown", "", None, asks_basic, false),
            ("a password", basic, None, asks_basic, true),
            ("a password, and Digest is wanted", basic, None, &next, true),
            ("a token", "Authorization: Bearer t\r\n", None, &both, true),
            (
                "to a proxy",
                "Proxy-Authorization: Basic dTpw\r\n",
                None,
                asks_basic,
                true,
            ),
            (
                "the answer to the last challenge",
                digest,
                Some(&first),
                &next,
                true,
            ),
            ("the same challenge again", digest, None, &first, true),
            (
                "a challenge of another connection",
                digest,
                None,
                &next,
                false,
            ),
            ("of one before the last", digest, Some(&next), &next, false),
            (
                "Digest is not wanted",
                digest,
                Some(&first),
                asks_basic,
                true,
            ),
            ("no challenge at all", digest, Some(&first), "", true),
            (
                "out of date",
                digest,
                Some(&first),
                &asks("n2", ", stale=TRUE"),
                false,
            ),
            (
                "not out of date",
                digest,
                Some(&first),
                &asks("n2", ", stale=\"false\""),
                true,
            ),
        ];
        for (cause, shown, before, answer, expected) in rows {
            let before = before.map(|fields| challenge(fields));
            let rejects = rejects(&request(shown), before.as_ref(), &challenge(answer));
            assert_eq!(rejects, expected, "{cause}");
        }
    }
}
