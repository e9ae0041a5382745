//! What playlists and manifests name besides media: lists of assets (RFC 8216bis appendix D) and steering manifests
//! (RFC 8216bis §7.1, ETSI TS 103 998). Both are JSON with URIs in known places.

use std::borrow::Cow;

use serde_json::Value;

use super::page::{Page, RewriteError};

/// `document` with every URI that points at the origin, or is relative, changed to point at us in full: players resolve
/// what is in there against their own page. Any other JSON stays unchanged.
pub fn rewrite<'a>(document: &'a [u8], page: &Page<'_>) -> Result<Cow<'a, [u8]>, RewriteError> {
    if document.len() > MAX_DOCUMENT {
        return Err(RewriteError::TooLong {
            kind: "document",
            limit: MAX_DOCUMENT,
            unit: "bytes",
        });
    }
    let parsed = serde_json::from_slice(document);
    let mut value: Value = parsed.map_err(|_| RewriteError::Kind("document"))?;
    let mut changed = value
        .get_mut("RELOAD-URI")
        .is_some_and(|uri| change(uri, page));
    let assets = value.get_mut("ASSETS").and_then(Value::as_array_mut);
    for asset in assets.into_iter().flatten() {
        changed |= asset.get_mut("URI").is_some_and(|uri| change(uri, page));
    }
    Ok(match changed {
        true => Cow::Owned(value.to_string().into_bytes()),
        false => Cow::Borrowed(document),
    })
}

fn change(value: &mut Value, page: &Page<'_>) -> bool {
    let Some(uri) = value.as_str() else {
        return false;
    };
    let mut written = Vec::with_capacity(uri.len() * 2);
    let changed = page.write_in_full(uri.as_bytes(), &mut written);
    if changed && let Ok(written) = String::from_utf8(written) {
        *value = written.into();
    }
    changed
}

/// Maximum bytes of a document: a break of a hundred advertisements has thirty thousand.
pub const MAX_DOCUMENT: usize = 1024 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: Page<'_> = Page::EXAMPLE;

    #[test]
    fn only_uris_in_their_places_change() {
        let rows = [
            (
                "assets",
                r#"{"ASSETS":[{"DURATION":4,"URI":"http://10.0.0.1:8080/ad/a.m3u8?x=1"},{"URI":"b.m3u8"}]}"#,
                r#"{"ASSETS":[{"DURATION":4,"URI":"https://play.example.com/ad/a.m3u8?x=1&spbhid=LINK"},{"URI":"https://play.example.com/live/b.m3u8?spbhid=LINK"}]}"#,
            ),
            (
                "steering",
                r#"{"RELOAD-URI":"/steer?a=1","TTL":10,"VERSION":1}"#,
                r#"{"RELOAD-URI":"https://play.example.com/steer?a=1&spbhid=LINK","TTL":10,"VERSION":1}"#,
            ),
            (
                "another server's assets",
                r#"{"ASSETS":[{"URI":"https://ads.example/a.m3u8"}]}"#,
                r#"{"ASSETS":[{"URI":"https://ads.example/a.m3u8"}]}"#,
            ),
            (
                "other JSON",
                r#"{"URI": "http://10.0.0.1:8080/a", "ASSETS": "none"}"#,
                r#"{"URI": "http://10.0.0.1:8080/a", "ASSETS": "none"}"#,
            ),
        ];
        for (cause, said, expected) in rows {
            let told = rewrite(said.as_bytes(), &PAGE).unwrap();
            assert_eq!(String::from_utf8_lossy(&told), expected, "{cause}");
            let again = rewrite(&told, &PAGE).unwrap();
            assert_eq!(again, told, "{cause}: twice is once");
        }
        assert!(rewrite(b"#EXTM3U", &PAGE).is_err());
    }
}
