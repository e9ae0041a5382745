//! A stream's two paths, one on each side.

use std::borrow::Cow;

/// The path that a client uses for a stream, and the one that its origin uses: both as they stand in URLs, without slashes
/// at their ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rename {
    client: Box<str>,
    origin: Box<str>,
}

impl Rename {
    /// A stream that the client calls `client` and the origin `origin`.
    pub fn new(client: &str, origin: &str) -> Self {
        let bare = |path: &str| path.trim_matches('/').into();
        Self {
            client: bare(client),
            origin: bare(origin),
        }
    }

    /// `target`, a path with all that follows it, as the origin is to see it. What does not begin with the client's path
    /// stays as it is.
    pub fn to_origin<'a>(&self, target: &'a str) -> Cow<'a, str> {
        swap(target, &self.client, &self.origin)
    }

    /// `target`, a path with all that follows it, as the client is to see it. What does not begin with the origin's path
    /// stays as it is.
    pub fn to_client<'a>(&self, target: &'a str) -> Cow<'a, str> {
        swap(target, &self.origin, &self.client)
    }

    /// The client's path and what follows it, if `target` begins with the origin's path.
    pub fn of_origin<'a>(&self, target: &'a str) -> Option<(&str, &'a str)> {
        let rest = after(target, &self.origin)?;
        Some((&self.client, rest))
    }

    /// A URL with its path as the origin is to see it; one without a host stays as it is.
    pub fn url_to_origin<'a>(&self, url: &'a str) -> Cow<'a, str> {
        let Some(start) = path_of(url) else {
            return Cow::Borrowed(url);
        };
        let (front, target) = url.split_at_checked(start).unwrap_or((url, ""));
        match self.to_origin(target) {
            Cow::Borrowed(_) => Cow::Borrowed(url),
            Cow::Owned(target) => Cow::Owned([front, &target].concat()),
        }
    }
}

/// Where the path of a URL begins, if it has a host.
fn path_of(url: &str) -> Option<usize> {
    let (scheme, rest) = url.split_once("://")?;
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    Some(scheme.len() + "://".len() + end)
}

/// `target` with `new` in place of `old` at its start, where whole segments are equal.
fn swap<'a>(target: &'a str, old: &str, new: &str) -> Cow<'a, str> {
    match after(target, old) {
        Some(rest) => Cow::Owned(["/", new, rest].concat()),
        None => Cow::Borrowed(target),
    }
}

/// What follows the path `old` at the start of `target`.
fn after<'a>(target: &'a str, old: &str) -> Option<&'a str> {
    let path = target.strip_prefix('/')?.trim_start_matches('/');
    let rest = path.strip_prefix(old)?;
    (rest.is_empty() || rest.starts_with(AFTER_PATH)).then_some(rest)
}

/// What may follow a path in a URL, or after a URL in a header field.
const AFTER_PATH: [char; 10] = ['/', '?', '#', ';', ',', '&', '"', ' ', '\r', '\n'];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_segments_change() {
        let rename = Rename::new("live/cam1", "/cam1/");
        let rows = [
            ("the stream", "/live/cam1", "/cam1"),
            ("a track", "/live/cam1/trackID=1", "/cam1/trackID=1"),
            ("a query", "/live/cam1?video=h264", "/cam1?video=h264"),
            ("another stream", "/live/cam12", "/live/cam12"),
            ("a shorter path", "/live", "/live"),
            ("nothing", "", ""),
        ];
        for (cause, client, origin) in rows {
            assert_eq!(rename.to_origin(client), origin, "{cause}");
            assert_eq!(rename.to_client(origin), client, "{cause}");
        }
        let url = "rtsp://u:p@h:8554/live/cam1/trackID=1";
        assert_eq!(
            rename.url_to_origin(url),
            "rtsp://u:p@h:8554/cam1/trackID=1"
        );
        for other in ["*", "trackID=1", "rtsp://h"] {
            assert_eq!(rename.url_to_origin(other), other);
        }
    }
}
