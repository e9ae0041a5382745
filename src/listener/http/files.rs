//! The static directory, served so that nothing outside it can be named.

use std::path::{Component, Path, PathBuf};

use bytes::Bytes;
use hyper::header::{
    ACCEPT_RANGES, ALLOW, CONTENT_RANGE, CONTENT_TYPE, HeaderValue, IF_RANGE, RANGE,
};
use hyper::{Method, Request, Response, StatusCode};

use crate::net::http::{Body, full, text};

/// Answers a request whose path is a file's in `root`; the path is still percent-encoded.
pub(super) async fn answer<B>(root: &Path, request: &Request<B>) -> Response<Body> {
    let method = request.method();
    if !matches!(*method, Method::GET | Method::HEAD) {
        let mut refused = text(StatusCode::METHOD_NOT_ALLOWED, "files are read with GET");
        refused
            .headers_mut()
            .insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        return refused;
    }
    let path = request.uri().path();
    let Some(file) = find(root, path).await else {
        return nothing(path);
    };
    let Ok(bytes) = tokio::fs::read(&file).await else {
        return nothing(path);
    };
    let range = request
        .headers()
        .get(RANGE)
        // Files have no validator here, so a range that depends on one is the whole.
        .filter(|_| !request.headers().contains_key(IF_RANGE))
        .and_then(|range| range.to_str().ok());
    part(bytes.into(), range, content_type(&file))
}

/// The answer where no file is.
pub(super) fn nothing(path: &str) -> Response<Body> {
    if path != "/crossdomain.xml" {
        return text(StatusCode::NOT_FOUND, "nothing is here");
    }
    let mut response = Response::new(full(CROSS_DOMAIN));
    response.headers_mut().insert(
        CONTENT_TYPE,
        HeaderValue::from_static("text/xml; charset=utf-8"),
    );
    response
}

/// The bytes that a `Range` asks for: one range is served, several are the whole (RFC 9110 §14.2). Hyper sends no
/// body to a HEAD.
fn part(bytes: Bytes, range: Option<&str>, kind: &'static str) -> Response<Body> {
    let length = bytes.len();
    let (status, bytes, range) = match range.and_then(|range| span(range, length)) {
        None => (StatusCode::OK, bytes, None),
        Some(None) => {
            let range = format!("bytes */{length}");
            (StatusCode::RANGE_NOT_SATISFIABLE, Bytes::new(), Some(range))
        }
        Some(Some((first, last))) => {
            let range = format!("bytes {first}-{last}/{length}");
            let bytes = bytes.slice(first..=last);
            (StatusCode::PARTIAL_CONTENT, bytes, Some(range))
        }
    };
    let mut response = Response::new(full(bytes));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    if let Some(range) = range.and_then(|range| HeaderValue::from_str(&range).ok()) {
        headers.insert(CONTENT_RANGE, range);
    }
    response
}

/// The first and the last byte of a range; the inner `None` if it starts after the end, the outer one if it is to
/// be ignored.
fn span(range: &str, length: usize) -> Option<Option<(usize, usize)>> {
    let (first, last) = range.strip_prefix("bytes=")?.split_once('-')?;
    let end = length.checked_sub(1);
    let span = match (first.trim(), last.trim()) {
        ("", last) => match last.parse::<usize>().ok()? {
            0 => None,
            count => end.map(|end| (length.saturating_sub(count), end)),
        },
        (first, last) => {
            let first: usize = first.parse().ok()?;
            let last = match last {
                "" => usize::MAX,
                last => last.parse().ok()?,
            };
            if last < first {
                return None;
            }
            end.filter(|end| first <= *end)
                .map(|end| (first, last.min(end)))
        }
    };
    Some(span)
}

/// The file a path names, if it is a regular file inside `root`, with every link followed.
async fn find(root: &Path, path: &str) -> Option<PathBuf> {
    let relative = decode(path)?;
    let root = tokio::fs::canonicalize(root).await.ok()?;
    let mut file = tokio::fs::canonicalize(root.join(relative)).await.ok()?;
    if tokio::fs::metadata(&file).await.ok()?.is_dir() {
        file = tokio::fs::canonicalize(file.join("index.html"))
            .await
            .ok()?;
    }
    let found = tokio::fs::metadata(&file).await.ok()?;
    (file.starts_with(&root) && found.is_file() && found.len() <= MAX_FILE).then_some(file)
}

/// The path without its encoding, if it has only ordinary names in it.
fn decode(path: &str) -> Option<PathBuf> {
    let mut bytes = Vec::with_capacity(path.len());
    let mut rest = path.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'%' => {
                let digit = |byte: Option<u8>| char::from(byte?).to_digit(16);
                let value = digit(rest.next())? * 16 + digit(rest.next())?;
                u8::try_from(value).ok()?
            }
            other => other,
        });
    }
    let text = String::from_utf8(bytes).ok()?;
    if text.contains(['\0', '\\']) {
        return None;
    }
    let relative = PathBuf::from(text.trim_start_matches('/'));
    let ordinary = |part: Component<'_>| match part {
        Component::Normal(name) => !name.to_string_lossy().starts_with('.'),
        Component::CurDir => true,
        _ => false,
    };
    relative.components().all(ordinary).then_some(relative)
}

fn content_type(file: &Path) -> &'static str {
    match file
        .extension()
        .and_then(|extension| extension.to_str())
        .unwrap_or_default()
    {
        "aac" => "audio/aac",
        "css" => "text/css; charset=utf-8",
        "flv" => "video/x-flv",
        "gif" => "image/gif",
        "html" | "htm" => "text/html; charset=utf-8",
        "ico" => "image/x-icon",
        "jpg" | "jpeg" => "image/jpeg",
        "js" | "mjs" => "text/javascript; charset=utf-8",
        "json" | "map" => "application/json",
        "m3u8" => "application/vnd.apple.mpegurl",
        "m4a" => "audio/mp4",
        "m4s" | "m4v" | "mp4" => "video/mp4",
        "mp3" => "audio/mpeg",
        "mpd" => "application/dash+xml",
        "png" => "image/png",
        "svg" => "image/svg+xml",
        "ts" => "video/mp2t",
        "txt" => "text/plain; charset=utf-8",
        "vtt" => "text/vtt; charset=utf-8",
        "wasm" => "application/wasm",
        "webm" => "video/webm",
        "webp" => "image/webp",
        "woff2" => "font/woff2",
        "xml" => "text/xml; charset=utf-8",
        _ => "application/octet-stream",
    }
}

/// Players and their scripts are far smaller; recordings belong on a file server.
const MAX_FILE: u64 = 32 * 1024 * 1024;
/// Flash players ask for this before they play from another site.
const CROSS_DOMAIN: &str = "<?xml version=\"1.0\"?>\n<cross-domain-policy>\n  \
    <allow-access-from domain=\"*\" />\n</cross-domain-policy>\n";

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::BodyExt;

    #[tokio::test]
    async fn only_files_of_the_directory_are_served() {
        let outside = tempfile::tempdir().unwrap();
        let root = outside.path().join("root");
        std::fs::create_dir_all(root.join("players")).unwrap();
        std::fs::write(outside.path().join("secret.txt"), "secret").unwrap();
        std::fs::write(root.join("players/index.html"), "<p>hello").unwrap();
        std::fs::write(root.join("a b.txt"), "spaced").unwrap();
        std::fs::write(root.join(".env"), "secret").unwrap();
        std::os::unix::fs::symlink(outside.path().join("secret.txt"), root.join("link.txt"))
            .unwrap();
        let rows = [
            ("a directory's index", "/players/", Some("<p>hello")),
            (
                "a directory without its slash",
                "/players",
                Some("<p>hello"),
            ),
            ("an encoded name", "/a%20b.txt", Some("spaced")),
            ("a missing file", "/none.txt", None),
            ("dots", "/../secret.txt", None),
            ("encoded dots", "/%2e%2e/secret.txt", None),
            ("encoded slash", "/..%2fsecret.txt", None),
            ("twice encoded", "/%252e%252e/secret.txt", None),
            ("a backslash", "/..\\secret.txt", None),
            ("a NUL", "/players/index.html%00.txt", None),
            ("half an escape", "/players/%2", None),
            ("a hidden file", "/.env", None),
            ("a link out of it", "/link.txt", None),
            ("an absolute path", "//etc/passwd", None),
        ];
        for (name, path, expected) in rows {
            let response = answer(&root, &ask(Method::GET, path, None)).await;
            let status = response.status();
            let body = response.into_body().collect().await.unwrap().to_bytes();
            match expected {
                Some(text) => assert_eq!(
                    (status.as_u16(), &body[..]),
                    (200, text.as_bytes()),
                    "{name}"
                ),
                None => assert_eq!(status.as_u16(), 404, "{name}"),
            }
        }
        let refused = answer(&root, &ask(Method::POST, "/players/", None)).await;
        assert_eq!(refused.status(), StatusCode::METHOD_NOT_ALLOWED);
    }

    #[tokio::test]
    async fn a_range_is_a_part_of_the_file() {
        let root = tempfile::tempdir().unwrap();
        std::fs::write(root.path().join("a.mp4"), "0123456789").unwrap();
        let rows = [
            ("no range", None, 200, "0123456789", None),
            (
                "from the start",
                Some("bytes=0-3"),
                206,
                "0123",
                Some("bytes 0-3/10"),
            ),
            (
                "to the end",
                Some("bytes=7-"),
                206,
                "789",
                Some("bytes 7-9/10"),
            ),
            (
                "the last",
                Some("bytes=-2"),
                206,
                "89",
                Some("bytes 8-9/10"),
            ),
            (
                "longer than the file",
                Some("bytes=8-99"),
                206,
                "89",
                Some("bytes 8-9/10"),
            ),
            (
                "more last than there are",
                Some("bytes=-99"),
                206,
                "0123456789",
                Some("bytes 0-9/10"),
            ),
            (
                "after the end",
                Some("bytes=10-"),
                416,
                "",
                Some("bytes */10"),
            ),
            (
                "the last none",
                Some("bytes=-0"),
                416,
                "",
                Some("bytes */10"),
            ),
            ("backwards", Some("bytes=5-2"), 200, "0123456789", None),
            ("several", Some("bytes=0-1,3-4"), 200, "0123456789", None),
            ("another unit", Some("lines=0-1"), 200, "0123456789", None),
        ];
        for (cause, range, status, body, content_range) in rows {
            let response = answer(root.path(), &ask(Method::GET, "/a.mp4", range)).await;
            assert_eq!(response.status().as_u16(), status, "{cause}");
            let said = response.headers().get(CONTENT_RANGE);
            assert_eq!(
                said.map(|value| value.to_str().unwrap()),
                content_range,
                "{cause}"
            );
            let bytes = response.into_body().collect().await.unwrap().to_bytes();
            assert_eq!(bytes, body, "{cause}");
        }
    }

    fn ask(method: Method, path: &str, range: Option<&str>) -> Request<()> {
        let mut request = Request::builder()
            .method(method)
            .uri(path.replace('\\', "%5c").replace(' ', "%20"));
        if let Some(range) = range {
            request = request.header(RANGE, range);
        }
        request.body(()).unwrap()
    }
}
