//! The folder of a web server in front of us under which clients reach us.

use std::fmt;
use std::str::FromStr;

/// A folder such as `/media`, or none. What clients are told to ask for begins with it; the web server takes it off
/// before it passes a request on.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct BasePath(Box<str>);

/// A text that is no such folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "not a path such as /media: segments of letters, digits and . _ ~ -, none of them . or .., \
     without a slash at the end, of {MAX_BASE_PATH} bytes at most"
)]
pub struct NotABasePath;

impl BasePath {
    /// What a believed proxy says by its `X-Forwarded-Prefix` headers; `None` where it says nothing that can be used. Of
    /// several headers nobody knows which one is the proxy's and which one a client's.
    pub fn told<'a>(mut values: impl Iterator<Item = &'a [u8]>) -> Option<Self> {
        let value = values.next()?;
        if values.next().is_some() {
            return None;
        }
        str::from_utf8(value).ok()?.trim().parse().ok()
    }

    /// The folder without a slash at its end; empty if there is none.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for BasePath {
    type Err = NotABasePath;

    fn from_str(text: &str) -> Result<Self, NotABasePath> {
        let is_segment = |segment: &str| {
            let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._~-".contains(&byte);
            !matches!(segment, "" | "." | "..") && segment.bytes().all(plain)
        };
        let fits = match text.strip_prefix('/') {
            Some(segments) => segments.split('/').all(is_segment),
            None => text.is_empty(),
        };
        if !fits || text.len() > MAX_BASE_PATH {
            return Err(NotABasePath);
        }
        Ok(Self(text.into()))
    }
}

impl fmt::Display for BasePath {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// The header by which a proxy in front tells what it took off a path.
pub const FORWARDED_PREFIX: &str = "x-forwarded-prefix";

/// Maximum bytes of a folder: it stands in every link of a playlist and in the key under which answers are shared.
pub const MAX_BASE_PATH: usize = 200;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_made_of_plain_segments() {
        let longest = format!("/{}", "a".repeat(MAX_BASE_PATH - 1));
        let rows = [
            ("none", "", true),
            ("one segment", "/media", true),
            ("several", "/a/b-c/D_e.f~1", true),
            ("dots that are a name", "/...", true),
            ("the longest", &longest, true),
            ("no slash at the start", "media", false),
            ("a slash at the end", "/media/", false),
            ("the root", "/", false),
            ("an empty segment", "/a//b", false),
            ("a server", "//elsewhere.example", false),
            ("upwards", "/a/..", false),
            ("a dot", "/./a", false),
            ("an escape", "/a%2Fb", false),
            ("a query", "/a?b", false),
            ("a list of two", "/a,/b", false),
            ("a space within", "/a b", false),
            ("a line end", "/a\r\nb", false),
        ];
        for (cause, text, fits) in rows {
            let read = text.parse::<BasePath>();
            assert_eq!(read.is_ok(), fits, "{cause}");
            assert!(
                read.is_err() || read == Ok(BasePath(text.into())),
                "{cause}"
            );
        }
        assert!(format!("{longest}a").parse::<BasePath>().is_err());
    }

    #[test]
    fn a_proxy_in_front_says_one_thing_or_nothing() {
        let told = |values: &[&[u8]]| BasePath::told(values.iter().copied());
        let media = BasePath("/media".into());
        assert_eq!(told(&[]), None);
        assert_eq!(told(&[b"/media"]), Some(media.clone()));
        assert_eq!(told(&[b" /media "]), Some(media));
        assert_eq!(told(&[b""]), Some(BasePath::default()), "at the root");
        assert_eq!(told(&[b"/media", b"/other"]), None);
        assert_eq!(told(&[b"/media", b"/media"]), None);
        assert_eq!(told(&[b"/m\xff"]), None);
        assert_eq!(told(&[b"http://elsewhere.example"]), None);
    }
}
