//! Name patterns with stars, as they are written in settings.
//!
//! A pattern that no client's name can meet would be a rule that never holds, so those for the parts of a stream's name are
//! refused where they are read.

use std::fmt;
use std::str::FromStr;

use crate::stream::{DEFAULT_VHOST, is_app, is_stream, is_vhost};

/// A text in which `*` matches any run of characters, including none. All other characters match themselves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern(String);

impl Pattern {
    /// Whether the pattern matches all of `text`. Takes time proportional to at most the product of both lengths.
    pub fn matches(&self, text: &str) -> bool {
        let mut parts = self.0.split('*');
        let first = parts.next().unwrap_or_default();
        let Some(mut rest) = text.strip_prefix(first) else {
            return false;
        };
        let Some(last) = parts.next_back() else {
            return rest.is_empty();
        };
        for part in parts {
            let Some((_, after)) = rest.split_once(part) else {
                return false;
            };
            rest = after;
        }
        rest.ends_with(last)
    }

    /// The pattern as it was written.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The pattern `text` for apps.
    ///
    /// # Errors
    /// [`PatternError`], for one that no app can meet.
    pub fn of_app(text: &str) -> Result<Self, PatternError> {
        let pattern = text.parse::<Self>()?;
        // What a star stands for does not matter to the rest.
        let can_be = |text: &str| is_app(&text.replace('*', "x"));
        if can_be(text) {
            Ok(pattern)
        } else if can_be(text.trim_matches('/')) {
            Err(PatternError::AppSlash)
        } else {
            Err(PatternError::App)
        }
    }

    /// The pattern `text` for the names of streams within their apps.
    ///
    /// # Errors
    /// [`PatternError`], for one that no stream can meet.
    pub fn of_stream(text: &str) -> Result<Self, PatternError> {
        let pattern = text.parse::<Self>()?;
        if text.contains('/') {
            Err(PatternError::StreamSlash)
        } else if is_stream(&text.replace('*', "x")) {
            Ok(pattern)
        } else {
            Err(PatternError::Stream)
        }
    }
}

/// A pattern for vhosts, whose letters have no case (RFC 3986 §3.2.2).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VhostPattern(Pattern);

impl VhostPattern {
    /// Whether the pattern matches all of `vhost`, which is one that a [`StreamUrl`](crate::stream::StreamUrl) has.
    pub fn matches(&self, vhost: &str) -> bool {
        match vhost {
            // The only one with a capital.
            DEFAULT_VHOST => self.0.matches(&DEFAULT_VHOST.to_ascii_lowercase()),
            domain => self.0.matches(domain),
        }
    }
}

impl FromStr for VhostPattern {
    type Err = PatternError;

    /// Reads a pattern that some vhost can meet.
    fn from_str(text: &str) -> Result<Self, PatternError> {
        let pattern = Self(text.to_ascii_lowercase().parse()?);
        let some_domain = |text: &str| text.replace('*', "x.x");
        if is_vhost(&some_domain(text)) || pattern.matches(DEFAULT_VHOST) {
            return Ok(pattern);
        }
        let is_port = |text: &str| {
            text.bytes()
                .all(|byte| byte.is_ascii_digit() || byte == b'*')
        };
        let host = match text.rsplit_once(':') {
            Some((host, port)) if is_port(port) => host,
            _ => text,
        };
        let is_bare = |byte: u8| byte.is_ascii_alphanumeric() || b"*-_.:[]".contains(&byte);
        if host != text && is_vhost(&some_domain(host)) {
            Err(PatternError::VhostPort)
        } else if host.bytes().all(is_bare) {
            Err(PatternError::NotAVhost)
        } else {
            Err(PatternError::Vhost)
        }
    }
}

impl fmt::Display for VhostPattern {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.as_str().eq_ignore_ascii_case(DEFAULT_VHOST) {
            return formatter.write_str(DEFAULT_VHOST);
        }
        self.0.fmt(formatter)
    }
}

impl FromStr for Pattern {
    type Err = PatternError;

    fn from_str(text: &str) -> Result<Self, PatternError> {
        if text.is_empty() {
            return Err(PatternError::Empty);
        }
        if text.len() > MAX_PATTERN {
            return Err(PatternError::TooLong);
        }
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// Why a text is not a pattern.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    /// No app can meet it.
    #[error(
        "no app is called that: an app is one segment or several with a slash between them, without spaces and other than \
         `.`, `..` and `_definst_`"
    )]
    App,
    /// It is an app between slashes.
    #[error("an app has no slash at its beginning or end: leave it out")]
    AppSlash,
    /// It is empty, and would match nothing.
    #[error("a pattern is missing; * means everything")]
    Empty,
    /// It is for an address or a single word, none of which is a vhost.
    #[error(
        "no client has this vhost: a vhost is a domain name with a dot, and who uses an address or a single word has \
         {DEFAULT_VHOST}; write that"
    )]
    NotAVhost,
    /// No stream can meet it.
    #[error(
        "no stream is called that: a name has no spaces, and is none of `.`, `..` and `_definst_`"
    )]
    Stream,
    /// It has a slash, which ends the name of an app.
    #[error(
        "the name of a stream has no slash: what is before the last one is the app; write that as the app"
    )]
    StreamSlash,
    /// It is longer than any name.
    #[error("a pattern of more than {MAX_PATTERN} bytes")]
    TooLong,
    /// No vhost can meet it.
    #[error(
        "no vhost is called that: a vhost is letters, digits, - and _ between dots, and a name in other letters is written as \
         xn--…"
    )]
    Vhost,
    /// It has a port.
    #[error("a vhost has no port: write the host alone")]
    VhostPort,
}

/// Maximum bytes of a pattern, which is enough for the longest name of a stream.
const MAX_PATTERN: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stars_stand_for_anything() {
        for (cause, pattern, text, expected) in [
            ("itself", "live/a", "live/a", true),
            ("something longer", "live/a", "live/ab", false),
            ("everything", "*", "", true),
            ("a beginning", "live/*", "live/a/b", true),
            ("another beginning", "live/*", "vod/a", false),
            ("an end", "*/a", "live/a", true),
            ("an end that comes twice", "*a", "aa", true),
            ("both ends", "a*b", "axxb", true),
            ("ends that would have to overlap", "ab*b", "ab", false),
            ("a middle", "*live*", "vhost/live/a", true),
            ("a middle that is missing", "*live*", "vhost/vod/a", false),
            ("two stars in a row", "a**b", "ab", true),
            ("letters beyond ASCII", "中*", "中文", true),
        ] {
            let pattern: Pattern = pattern.parse().unwrap();
            assert_eq!(pattern.matches(text), expected, "{cause}");
        }
        assert_eq!("".parse::<Pattern>(), Err(PatternError::Empty));
        assert!("x".repeat(MAX_PATTERN + 1).parse::<Pattern>().is_err());
    }

    #[test]
    fn hosts_have_no_case() {
        for (cause, pattern, vhost, expected) in [
            ("a capital", "TV.Example.com", "tv.example.com", true),
            ("behind a star", "*.EXAMPLE.com", "tv.example.com", true),
            ("another host", "TV.Example.com", "tv.example.org", false),
            ("everything", "*", "__defaultVhost__", true),
            (
                "the default one",
                "__defaultVhost__",
                "__defaultVhost__",
                true,
            ),
            (
                "the default one, in small",
                "__defaultvhost__",
                "__defaultVhost__",
                true,
            ),
            ("a part of it", "__default*", "__defaultVhost__", true),
            (
                "a part of it with a capital",
                "__defaultV*",
                "__defaultVhost__",
                true,
            ),
            ("only a host", "*.*", "__defaultVhost__", false),
        ] {
            let pattern: VhostPattern = pattern.parse().unwrap();
            assert_eq!(pattern.matches(vhost), expected, "{cause}");
        }
        let shown = |text: &str| text.parse::<VhostPattern>().unwrap().to_string();
        assert_eq!(shown("TV.Example.com"), "tv.example.com");
        assert_eq!(shown("__DEFAULTVHOST__"), DEFAULT_VHOST);
    }

    #[test]
    fn a_pattern_that_nothing_can_meet_is_refused() {
        use PatternError::{App, AppSlash, NotAVhost, Stream, StreamSlash, Vhost, VhostPort};
        let long = "x".repeat(300);
        for (pattern, expected) in [
            ("*", Ok(())),
            ("tv*", Ok(())),
            ("*.example.com", Ok(())),
            ("my_cams.example", Ok(())),
            ("192.168.*", Ok(())),
            ("xn--hst-sna.example", Ok(())),
            ("__defaultVhost__", Ok(())),
            ("__*", Ok(())),
            ("tv.example.com:18080", Err(VhostPort)),
            ("*.example.com:*", Err(VhostPort)),
            ("h:18080", Err(NotAVhost)),
            ("localhost", Err(NotAVhost)),
            ("127.0.0.1", Err(NotAVhost)),
            ("10.0.0.1:1935", Err(NotAVhost)),
            ("*.0.1", Err(NotAVhost)),
            ("[2001:db8::1]", Err(NotAVhost)),
            ("2001:db8::*", Err(NotAVhost)),
            ("http://tv.example.com", Err(Vhost)),
            ("tv.example.com/live", Err(Vhost)),
            ("höst.example", Err(Vhost)),
            ("tv example.com", Err(Vhost)),
        ] {
            let read = pattern.parse::<VhostPattern>();
            assert_eq!(read.map(drop), expected, "vhost {pattern}");
        }
        for (pattern, expected) in [
            ("*", Ok(())),
            ("live", Ok(())),
            ("LIVE", Ok(())),
            ("tenant/live", Ok(())),
            ("tenant/*", Ok(())),
            ("*/live", Ok(())),
            (".*", Ok(())),
            ("中", Ok(())),
            ("/live", Err(AppSlash)),
            ("live/", Err(AppSlash)),
            ("/*", Err(AppSlash)),
            ("tenant//live", Err(App)),
            ("/", Err(App)),
            ("a/../b", Err(App)),
            ("my live", Err(App)),
            ("live/_definst_", Err(App)),
            (&long, Err(App)),
        ] {
            let read = Pattern::of_app(pattern);
            assert_eq!(read.map(drop), expected, "app {pattern}");
        }
        for (pattern, expected) in [
            ("*", Ok(())),
            ("secret", Ok(())),
            ("secret.m3u8", Ok(())),
            ("?channel=1", Ok(())),
            ("?*", Ok(())),
            (&long, Ok(())),
            ("live/secret", Err(StreamSlash)),
            ("*/secret", Err(StreamSlash)),
            ("/secret", Err(StreamSlash)),
            ("..", Err(Stream)),
            ("a b", Err(Stream)),
            ("_definst_", Err(Stream)),
        ] {
            let read = Pattern::of_stream(pattern);
            assert_eq!(read.map(drop), expected, "stream {pattern}");
        }
    }
}
