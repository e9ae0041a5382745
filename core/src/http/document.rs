//! What playlists and manifests name besides media: lists of assets (RFC 8216bis appendix D) and steering manifests
//! (RFC 8216bis §7.1, ETSI TS 103 998). Both are JSON with URIs in known places.

use std::borrow::Cow;

use serde_json::{Map, Value};

use super::link::PARAMETER;
use super::page::{Page, RewriteError, Whereto};

/// `document` with every URI that points at the origin, or is relative, changed to point at us in full: players resolve
/// what is in there against their own page. Relative ones are known by their names, and those in full wherever they are. Any
/// other JSON stays unchanged.
///
/// What the clones of a pathway put in the place of a host goes to other servers, if they name one: those do not get the link.
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
    Ok(match change(&mut value, "", page) {
        true => Cow::Owned(value.to_string().into_bytes()),
        false => Cow::Borrowed(document),
    })
}

/// Changes what is within the value of `name`. The parser bounds how deep that is. Returns whether anything changed.
fn change(value: &mut Value, name: &str, page: &Page<'_>) -> bool {
    match value {
        Value::Array(values) => {
            let mut changed = false;
            for value in values {
                changed |= change(value, "", page);
            }
            changed
        }
        Value::Object(fields) => {
            let mut changed = name == REPLACEMENT && replace(fields, page);
            for (name, value) in fields.iter_mut() {
                changed |= change(value, name, page);
            }
            changed
        }
        Value::String(uri) => {
            let is_uri = NAMES.iter().any(|known| name.eq_ignore_ascii_case(known));
            if !is_uri && !page.names_origin(uri.as_bytes()) {
                return false;
            }
            let mut written = Vec::with_capacity(uri.len() * 2);
            let changed = page.write_in_full(uri.as_bytes(), &mut written);
            match String::from_utf8(written) {
                Ok(written) if changed => {
                    *uri = written;
                    true
                }
                _ => false,
            }
        }
        Value::Bool(_) | Value::Null | Value::Number(_) => false,
    }
}

/// Changes what the clone of a pathway puts in the place of parts of our URIs (RFC 8216bis §7.2).
fn replace(fields: &mut Map<String, Value>, page: &Page<'_>) -> bool {
    let Some(host) = fields.get("HOST").and_then(Value::as_str) else {
        return false;
    };
    let authority = [b"//".as_slice(), host.as_bytes()].concat();
    let there = page.toward(&authority);
    let ours = page.site.split_once("://").map_or("", |(_, host)| host);
    if there.whereto(&authority) == Whereto::Origin(b"") {
        let (is_named, is_another) = (host != ours, there.link != page.link);
        fields.insert("HOST".to_owned(), ours.into());
        if is_another && let Some(parameters) = parameters_of(fields) {
            parameters.insert(PARAMETER.to_owned(), there.link.into());
        }
        return is_named || is_another;
    }
    let leads_back = ["PER-VARIANT-URIS", "PER-RENDITION-URIS"]
        .iter()
        .any(|name| {
            let uris = fields.get(*name).and_then(Value::as_object);
            let mut uris = uris
                .into_iter()
                .flat_map(Map::values)
                .filter_map(Value::as_str);
            uris.any(|uri| {
                page.toward(uri.as_bytes()).whereto(uri.as_bytes()) != Whereto::Elsewhere
            })
        });
    let has_link = |parameters: &Value| parameters.get(PARAMETER).is_some();
    if leads_back || fields.get("PARAMS").is_some_and(has_link) {
        return false;
    }
    let parameters = parameters_of(fields);
    parameters.is_some_and(|parameters| {
        parameters.insert(PARAMETER.to_owned(), "".into());
        true
    })
}

/// The parameters of its query that a clone sets.
fn parameters_of(fields: &mut Map<String, Value>) -> Option<&mut Map<String, Value>> {
    let parameters = fields.entry("PARAMS");
    parameters
        .or_insert_with(|| Map::new().into())
        .as_object_mut()
}

/// Names of fields that hold a URI, whatever the case: those of assets (RFC 8216bis appendix D), of steering (§7.1), and of
/// pictures in lists of chapters.
const NAMES: [&str; 5] = ["href", "reload-uri", "src", "uri", "url"];
const REPLACEMENT: &str = "URI-REPLACEMENT";

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
                "chapters",
                r#"[{"chapter":1,"images":[{"pixel-width":9,"url":"../c/1.jpg"},{"url":"https://cdn.example/2.jpg"}]}]"#,
                r#"[{"chapter":1,"images":[{"pixel-width":9,"url":"https://play.example.com/live/../c/1.jpg?spbhid=LINK"},{"url":"https://cdn.example/2.jpg"}]}]"#,
            ),
            (
                "a clone at the origin",
                r#"{"PATHWAY-CLONES":[{"BASE-ID":"a","ID":"b","URI-REPLACEMENT":{"HOST":"10.0.0.1:8080","PER-VARIANT-URIS":{"v":"http://10.0.0.1:8080/v.m3u8"}}}]}"#,
                r#"{"PATHWAY-CLONES":[{"BASE-ID":"a","ID":"b","URI-REPLACEMENT":{"HOST":"play.example.com","PER-VARIANT-URIS":{"v":"https://play.example.com/v.m3u8?spbhid=LINK"}}}]}"#,
            ),
            (
                "a clone elsewhere",
                r#"{"PATHWAY-CLONES":[{"URI-REPLACEMENT":{"HOST":"cdn.example","PARAMS":{"t":"1"}}},{"URI-REPLACEMENT":{"HOST":"cdn.example"}}]}"#,
                r#"{"PATHWAY-CLONES":[{"URI-REPLACEMENT":{"HOST":"cdn.example","PARAMS":{"spbhid":"","t":"1"}}},{"URI-REPLACEMENT":{"HOST":"cdn.example","PARAMS":{"spbhid":""}}}]}"#,
            ),
            (
                "a field of its own",
                r#"{"poster":"http://10.0.0.1:8080/a.jpg","note":"a.jpg"}"#,
                r#"{"note":"a.jpg","poster":"https://play.example.com/a.jpg?spbhid=LINK"}"#,
            ),
            (
                "other JSON",
                r#"{"URI": 7, "ASSETS": "none", "urls": "a.ts", "a": null}"#,
                r#"{"URI": 7, "ASSETS": "none", "urls": "a.ts", "a": null}"#,
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
