//! The static directory, served so that nothing outside it can be named.

use std::path::{Component, Path, PathBuf};

use hyper::header::{ALLOW, CONTENT_LENGTH, CONTENT_TYPE, HeaderValue};
use hyper::{Method, Response, StatusCode};

use crate::net::http::{Body, full, text};

/// Answers `path`, still percent-encoded, from `root`.
pub(super) async fn answer(root: &Path, method: &Method, path: &str) -> Response<Body> {
    if !matches!(*method, Method::GET | Method::HEAD) {
        let mut refused = text(StatusCode::METHOD_NOT_ALLOWED, "files are read with GET");
        refused
            .headers_mut()
            .insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        return refused;
    }
    let Some(file) = find(root, path).await else {
        return text(StatusCode::NOT_FOUND, "nothing is here");
    };
    match tokio::fs::read(&file).await {
        Ok(bytes) => {
            let length = bytes.len();
            let mut response = Response::new(full(if method == Method::HEAD {
                Vec::new()
            } else {
                bytes
            }));
            response
                .headers_mut()
                .insert(CONTENT_TYPE, HeaderValue::from_static(content_type(&file)));
            response
                .headers_mut()
                .insert(CONTENT_LENGTH, HeaderValue::from(length));
            response
        }
        Err(_) => text(StatusCode::NOT_FOUND, "nothing is here"),
    }
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
        "css" => "text/css; charset=utf-8",
        "gif" => "image/gif",
        "html" | "htm" => "text/html; charset=utf-8",
        "ico" => "image/x-icon",
        "jpg" | "jpeg" => "image/jpeg",
        "js" | "mjs" => "text/javascript; charset=utf-8",
        "json" | "map" => "application/json",
        "mp4" => "video/mp4",
        "png" => "image/png",
        "svg" => "image/svg+xml",
        "txt" => "text/plain; charset=utf-8",
        "wasm" => "application/wasm",
        "xml" => "text/xml; charset=utf-8",
        _ => "application/octet-stream",
    }
}

/// Players and their scripts are far smaller; recordings belong on a file server.
const MAX_FILE: u64 = 32 * 1024 * 1024;

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
            let response = answer(&root, &Method::GET, path).await;
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
        let refused = answer(&root, &Method::POST, "/players/").await;
        assert_eq!(refused.status(), StatusCode::METHOD_NOT_ALLOWED);
    }
}
