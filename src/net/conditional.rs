//! Conditional requests (RFC 9110 §13): who has what it asks for is not sent it again.

use std::hash::{DefaultHasher, Hasher as _};

use hyper::HeaderMap;
use hyper::header::{IF_NONE_MATCH, IF_RANGE};

/// An entity tag that changes with the bytes.
pub fn tag_of(bytes: &[u8]) -> String {
    let mut hasher = DefaultHasher::new();
    hasher.write(bytes);
    format!("\"{:016x}\"", hasher.finish())
}

/// Whether the sender of these headers has what `tag` stands for (§13.1.2): then 304 is the answer to a GET or a HEAD, and to
/// no other method. `tag` has no comma in it.
pub fn has(headers: &HeaderMap, tag: &str) -> bool {
    let lists = headers.get_all(IF_NONE_MATCH).iter();
    lists
        .filter_map(|list| list.to_str().ok())
        .flat_map(|list| list.split(','))
        .map(str::trim)
        .any(|known| known == "*" || known.strip_prefix("W/").unwrap_or(known) == tag)
}

/// Whether a part may be sent to the sender of these headers, which may have another part of the same (§13.1.5).
pub fn may_have_part(headers: &HeaderMap, tag: &str) -> bool {
    headers
        .get(IF_RANGE)
        .is_none_or(|known| known.as_bytes() == tag.as_bytes())
}

#[cfg(test)]
mod tests {
    use hyper::header::HeaderValue;

    use super::*;

    #[test]
    fn what_a_client_has_is_told_by_its_tag() {
        for (known, expected) in [
            (&[][..], false),
            (&["\"a\""], true),
            (&["W/\"a\""], true),
            (&["\"b\", \"a\""], true),
            (&["\"b\"", "\"a\""], true),
            (&["*"], true),
            (&["\"b\""], false),
            (&["a"], false),
            (&[""], false),
        ] {
            let mut headers = HeaderMap::new();
            for known in known {
                headers.append(IF_NONE_MATCH, HeaderValue::from_static(known));
            }
            assert_eq!(has(&headers, "\"a\""), expected, "{known:?}");
        }
    }

    #[test]
    fn a_part_follows_a_part_of_the_same_only() {
        for (known, expected) in [
            (None, true),
            (Some("\"a\""), true),
            (Some("W/\"a\""), false),
            (Some("\"b\""), false),
            (Some("Mon, 30 Nov 2026 01:00:00 GMT"), false),
        ] {
            let known = known.map(|known| (IF_RANGE, HeaderValue::from_static(known)));
            let headers = known.into_iter().collect();
            assert_eq!(may_have_part(&headers, "\"a\""), expected);
        }
    }

    #[test]
    fn a_tag_changes_with_the_bytes() {
        assert_eq!(tag_of(b"one"), tag_of(b"one"));
        assert_ne!(tag_of(b"one"), tag_of(b"two"));
    }
}
