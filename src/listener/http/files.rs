//! The static directory, served so that nothing outside it can be named.

use std::fs::Metadata;
use std::path::{Component, Path, PathBuf};
use std::time::UNIX_EPOCH;

use bytes::Bytes;
use hyper::header::{
    ACCEPT_RANGES, CONTENT_RANGE, CONTENT_TYPE, ETAG, HeaderValue, LOCATION, RANGE,
};
use hyper::{Method, Request, Response, StatusCode};
use sluicegate_core::http::base::BasePath;

use crate::net::conditional;
use crate::net::http::{Body, READING, full, other_method, text};

/// Answers a request whose path is a file's in `root`; the path is still percent-encoded. The client knows us below `base`.
pub(super) async fn answer<B>(
    root: &Path,
    request: &Request<B>,
    base: &BasePath,
) -> Response<Body> {
    let method = request.method();
    if !matches!(*method, Method::GET | Method::HEAD) {
        return other_method(READING, "files are read with GET");
    }
    let path = request.uri().path();
    let (file, tag) = match find(root, path).await {
        Some(Found::File(file, tag)) => (file, tag),
        Some(Found::Folder) => return with_slash(request, base),
        None => return nothing(path),
    };
    let asked = request.headers();
    if conditional::has(asked, &tag) {
        return tagged(not_modified(), &tag);
    }
    let Ok(bytes) = tokio::fs::read(&file).await else {
        return nothing(path);
    };
    let range = asked
        .get(RANGE)
        .filter(|_| conditional::may_have_part(asked, &tag))
        .and_then(|range| range.to_str().ok());
    tagged(part(bytes.into(), range, content_type(&file)), &tag)
}

/// The answer to a client that has what it asks for.
pub(super) fn not_modified() -> Response<Body> {
    let mut response = Response::new(full(""));
    *response.status_mut() = StatusCode::NOT_MODIFIED;
    response
}

/// The same with its entity tag.
pub(super) fn tagged(mut response: Response<Body>, tag: &str) -> Response<Body> {
    if let Ok(tag) = HeaderValue::try_from(tag) {
        response.headers_mut().insert(ETAG, tag);
    }
    response
}

/// Sends a client on that left out the slash at the end of a folder: what its page names is relative to the folder.
fn with_slash<B>(request: &Request<B>, base: &BasePath) -> Response<Body> {
    // Two slashes at the start would name another server.
    let path = request.uri().path().trim_start_matches('/');
    let mut location = format!("{base}/{path}/");
    if let Some(query) = request.uri().query() {
        location.push('?');
        location.push_str(query);
    }
    let Ok(location) = HeaderValue::try_from(location) else {
        return nothing(request.uri().path());
    };
    let mut response = text(StatusCode::MOVED_PERMANENTLY, "this is a folder");
    response.headers_mut().insert(LOCATION, location);
    response
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

/// What a path names.
enum Found {
    /// This file, with an entity tag that changes when it is written.
    File(PathBuf, String),
    /// A folder with a page of its own, without the slash at its end.
    Folder,
}

/// What a path names, if that is a regular file inside `root`, with every link followed.
async fn find(root: &Path, path: &str) -> Option<Found> {
    let relative = decode(path)?;
    let root = tokio::fs::canonicalize(root).await.ok()?;
    let mut file = tokio::fs::canonicalize(root.join(relative)).await.ok()?;
    let is_folder = tokio::fs::metadata(&file).await.ok()?.is_dir();
    if is_folder {
        file = tokio::fs::canonicalize(file.join("index.html"))
            .await
            .ok()?;
    }
    let found = tokio::fs::metadata(&file).await.ok()?;
    let is_served = file.starts_with(&root) && found.is_file() && found.len() <= MAX_FILE;
    is_served.then_some(match is_folder && !path.ends_with('/') {
        true => Found::Folder,
        false => Found::File(file, tag_of(&found)),
    })
}

fn tag_of(file: &Metadata) -> String {
    let written = file.modified().ok();
    let written = written.and_then(|at| at.duration_since(UNIX_EPOCH).ok());
    let nanoseconds = written.unwrap_or_default().as_nanos();
    format!("\"{nanoseconds:x}-{:x}\"", file.len())
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
    use http_body_util::BodyExt;
    use hyper::header::{IF_NONE_MATCH, IF_RANGE};

    use super::*;

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
            let response = answer(&root, &ask(Method::GET, path, None), &BasePath::default()).await;
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
        let refused = answer(
            &root,
            &ask(Method::POST, "/players/", None),
            &BasePath::default(),
        )
        .await;
        assert_eq!(refused.status(), StatusCode::METHOD_NOT_ALLOWED);
    }

    #[tokio::test]
    async fn a_folder_is_named_with_its_slash() {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(root.path().join("app 1/empty")).unwrap();
        std::fs::write(root.path().join("app 1/index.html"), "<p>hello").unwrap();
        let rows = [
            ("without its slash", "", "/app%201", Some("/app%201/")),
            ("a query", "", "/app%201?a=1&b", Some("/app%201/?a=1&b")),
            (
                "below a folder",
                "/media",
                "/app%201?a",
                Some("/media/app%201/?a"),
            ),
            ("no name of a server", "", "//app%201", Some("/app%201/")),
            ("a folder without a page", "", "/app%201/empty", None),
            ("no folder", "", "/app2", None),
        ];
        for (cause, base, target, location) in rows {
            let base = base.parse().unwrap();
            let response = answer(root.path(), &ask(Method::GET, target, None), &base).await;
            let expected = match location {
                Some(_) => StatusCode::MOVED_PERMANENTLY,
                None => StatusCode::NOT_FOUND,
            };
            assert_eq!(response.status(), expected, "{cause}");
            let told = response.headers().get(LOCATION);
            let told = told.map(|value| value.to_str().unwrap());
            assert_eq!(told, location, "{cause}");
        }
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
            let asked = ask(Method::GET, "/a.mp4", range);
            let response = answer(root.path(), &asked, &BasePath::default()).await;
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

    #[tokio::test]
    async fn a_file_that_a_client_has_is_not_sent_again() {
        let root = tempfile::tempdir().unwrap();
        std::fs::write(root.path().join("a.js"), "0123456789").unwrap();
        let asked = ask(Method::GET, "/a.js", None);
        let first = answer(root.path(), &asked, &BasePath::default()).await;
        let tag = first.headers().get(ETAG).expect("a tag").clone();
        for (header, known, range, status, body) in [
            (IF_NONE_MATCH, tag.as_bytes(), None, 304, ""),
            (IF_NONE_MATCH, b"\"other\"", None, 200, "0123456789"),
            (IF_RANGE, tag.as_bytes(), Some("bytes=0-1"), 206, "01"),
            (IF_RANGE, b"\"other\"", Some("bytes=0-1"), 200, "0123456789"),
        ] {
            let mut asked = ask(Method::GET, "/a.js", range);
            let known = HeaderValue::from_bytes(known).unwrap();
            asked.headers_mut().insert(header, known);
            let response = answer(root.path(), &asked, &BasePath::default()).await;
            assert_eq!(response.status().as_u16(), status);
            assert_eq!(response.headers().get(ETAG), Some(&tag));
            let bytes = response.into_body().collect().await.unwrap().to_bytes();
            assert_eq!(bytes, body);
        }
        std::fs::write(root.path().join("a.js"), "01234567890").unwrap();
        let asked = ask(Method::GET, "/a.js", None);
        let changed = answer(root.path(), &asked, &BasePath::default()).await;
        assert_ne!(changed.headers().get(ETAG), Some(&tag));
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
