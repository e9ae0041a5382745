//! The parts of an address: its authority, its query, and percent-escapes.

use std::borrow::Cow;
use std::fmt::Write as _;

use super::StreamError;

/// Splits `scheme://user@host:port/path?query` into the host and the rest. Without a scheme, all of it is the rest.
pub(crate) fn split_authority(url: &str) -> (Option<&str>, &str) {
    let (text, _) = split_query(url);
    let Some((scheme, _)) = text.split_once("://") else {
        return (None, url);
    };
    let rest = url.get(scheme.len() + "://".len()..).unwrap_or_default();
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, target) = rest.split_at_checked(end).unwrap_or((rest, ""));
    let host = authority
        .rsplit_once('@')
        .map_or(authority, |(_, host)| host);
    (Some(host), target)
}

/// Splits a path from what follows its first `?` or `#`.
pub(crate) fn split_query(target: &str) -> (&str, &str) {
    target.split_once(['?', '#']).unwrap_or((target, ""))
}

/// The last non-empty value of `name` in the `queries`, decoded. Additional `?` and `#` separate like `&`: names that
/// passed through several programs have more than one.
pub(crate) fn query_value<const N: usize>(
    queries: [&str; N],
    name: &str,
) -> Result<Option<String>, StreamError> {
    queries
        .iter()
        .rev()
        // Most have none, and a look for the name is quick.
        .filter(|query| query.contains(name))
        .flat_map(|query| query.rsplit(['&', '?', '#']))
        .filter_map(|pair| pair.split_once('='))
        .find(|(key, value)| key.trim() == name && !value.trim_matches(WHITE_SPACE).is_empty())
        .map(|(_, value)| decode(value).map(Cow::into_owned))
        .transpose()
}

/// Resolves percent-escapes (RFC 3986 §2.1). A `%` that does not start one is kept: RTMP encoders send such names.
pub(crate) fn decode(text: &str) -> Result<Cow<'_, str>, StreamError> {
    match decoded(text) {
        None => Ok(Cow::Borrowed(text)),
        Some(bytes) => String::from_utf8(bytes)
            .map(Cow::Owned)
            .map_err(|_| StreamError::NotUtf8),
    }
}

/// The same in the name of a stream, where bytes that are no UTF-8 keep their escapes: for origins they are a name like
/// any other.
pub(crate) fn decode_name(text: &str) -> Cow<'_, str> {
    match decoded(text) {
        None => Cow::Borrowed(text),
        Some(bytes) => Cow::Owned(with_escapes(&bytes).into_owned()),
    }
}

/// A text in which bytes that are no UTF-8 are percent-escapes.
pub(crate) fn with_escapes(bytes: &[u8]) -> Cow<'_, str> {
    if let Ok(text) = str::from_utf8(bytes) {
        return Cow::Borrowed(text);
    }
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        text.push_str(chunk.valid());
        for byte in chunk.invalid() {
            let _ = write!(text, "%{byte:02X}");
        }
    }
    Cow::Owned(text)
}

/// The bytes that a text with percent-escapes stands for; `None` if it has none.
fn decoded(text: &str) -> Option<Vec<u8>> {
    if !text.contains('%') {
        return None;
    }
    let mut decoded = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        let (byte, after) = escape_at(rest).unwrap_or((first, after));
        decoded.push(byte);
        rest = after;
    }
    Some(decoded)
}

/// The byte that the percent-escape at the start of `text` stands for, and what follows it; `None` where there is none.
pub(crate) fn escape_at(text: &[u8]) -> Option<(u8, &[u8])> {
    let [b'%', high, low, after @ ..] = text else {
        return None;
    };
    Some((hex_digit(*high)? << 4 | hex_digit(*low)?, after))
}

fn hex_digit(byte: u8) -> Option<u8> {
    char::from(byte)
        .to_digit(16)
        .and_then(|digit| u8::try_from(digit).ok())
}

/// `text` without white space and one pair of quotes around it, which ids copied from configuration files keep.
pub(crate) fn unquote(text: &str) -> &str {
    let text = text.trim_matches(WHITE_SPACE);
    ['"', '\'']
        .into_iter()
        .find_map(|quote| text.strip_prefix(quote)?.strip_suffix(quote))
        .unwrap_or(text)
}

/// White space that names lose: spaces anywhere, the others around them.
pub(super) const WHITE_SPACE: [char; 4] = [' ', '\t', '\r', '\n'];
