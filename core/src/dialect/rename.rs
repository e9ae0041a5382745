//! A stream's two paths, one on each side.

use std::borrow::Cow;

/// The path that a client uses for a stream, and the one that its origin uses: both as they stand in URLs, without slashes
/// at their ends. Each may go on with a query, where an origin wants another one than the client sends.
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
        swapped(target, &self.origin, &self.client)
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
    match swapped(target, old, new) {
        Some((new, rest)) => Cow::Owned(["/", new, rest].concat()),
        None => Cow::Borrowed(target),
    }
}

/// What takes the place of `old` at the start of `target`, and what follows it. Where only the path of `old` is there, and not
/// its query, only the path of `new` takes its place.
fn swapped<'a, 'b>(target: &'a str, old: &str, new: &'b str) -> Option<(&'b str, &'a str)> {
    let path = |text: &str| text.find('?').unwrap_or(text.len());
    match after(target, old) {
        Some(rest) => Some((new, rest)),
        None => {
            let rest = after(target, old.get(..path(old))?)?;
            Some((new.get(..path(new))?, rest))
        }
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
        let rename = Rename::new("live/cam1?user=u", "cam1?token=t");
        let rows = [
            ("the stream", "/live/cam1?user=u", "/cam1?token=t"),
            (
                "a track after the query",
                "/live/cam1?user=u/trackID=1",
                "/cam1?token=t/trackID=1",
            ),
            (
                "a track without the query",
                "/live/cam1/trackID=1",
                "/cam1/trackID=1",
            ),
            ("another query", "/live/cam1?user=w", "/cam1?user=w"),
            ("another stream", "/live/cam12?user=u", "/live/cam12?user=u"),
        ];
        for (cause, client, origin) in rows {
            assert_eq!(rename.to_origin(client), origin, "{cause}");
            assert_eq!(rename.to_client(origin), client, "{cause}");
        }
        let rename = Rename::new("live/cam1", "/cam1/");
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
