//! Requests for media playlists: which playlist one is for, and the directives in it (RFC 8216bis §6.2.5).

use std::fmt::Write;

use sha2::{Digest, Sha256};

use crate::http::sharing::is_of_a_viewer;

/// The name of a playlist among all of a cluster: of its stream, by the `key` that it is placed under, and of the path and
/// the query that it is asked for by. What tells viewers apart counts for nothing: directives, parameters that are known to
/// hold a session or a credential, and those of which `is_ignored` says so.
pub fn name_of(key: &str, target: &str, is_ignored: impl Fn(&str) -> bool) -> String {
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let mut hash = Sha256::new();
    for text in [key, path] {
        hash.update(text.as_bytes());
        hash.update([0]);
    }
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let name = pair.split('=').next().unwrap_or_default();
        if !name.starts_with(DIRECTIVE) && !is_of_a_viewer(name) && !is_ignored(name) {
            hash.update(pair.as_bytes());
            hash.update([0]);
        }
    }
    let mut name = String::with_capacity(NAME_BYTES * 2);
    for byte in hash.finalize().iter().take(NAME_BYTES) {
        let _ = write!(name, "{byte:02x}");
    }
    name
}

/// Whether the query of a target names a session or a credential of its viewer: what [`name_of`] leaves out and is no directive.
pub fn is_for_a_viewer(target: &str, is_ignored: impl Fn(&str) -> bool) -> bool {
    let (_, query) = target.split_once('?').unwrap_or_default();
    query.split('&').any(|pair| {
        let name = pair.split('=').next().unwrap_or_default();
        !name.starts_with(DIRECTIVE) && (is_of_a_viewer(name) || is_ignored(name))
    })
}

/// The number of the segment that a request waits for.
pub fn waits_for(target: &str) -> Option<u64> {
    let (_, query) = target.split_once('?')?;
    query
        .split('&')
        .find_map(|pair| pair.strip_prefix(NUMBER)?.parse().ok())
}

/// Whether a target has directives.
pub fn has_directives(target: &str) -> bool {
    let (_, query) = target.split_once('?').unwrap_or_default();
    query.split('&').any(|pair| pair.starts_with(DIRECTIVE))
}

/// A target that waits for segment `number`, as the origin counts; with `None`, it waits for nothing. Either way the whole
/// playlist is asked for.
pub fn waiting_for(target: &str, number: Option<u64>) -> String {
    let Some((path, query)) = target.split_once('?') else {
        return target.to_owned();
    };
    let mut pairs: Vec<String> = Vec::new();
    for pair in query.split('&') {
        if !pair.starts_with(DIRECTIVE) {
            pairs.push(pair.to_owned());
        } else if let Some(number) = number {
            if pair.starts_with(NUMBER) {
                pairs.push(format!("{NUMBER}{number}"));
            } else if !pair.starts_with(SKIP) {
                pairs.push(pair.to_owned());
            }
        }
    }
    match pairs.is_empty() {
        true => path.to_owned(),
        false => format!("{path}?{}", pairs.join("&")),
    }
}

/// Where the only variant of a master playlist is that was the answer to `target`: packagers that make a session for each
/// viewer answer so to one whose session they do not know. `authority` is how the origin may name itself. `None` where a
/// player would have to choose, and for what is not on that origin.
pub fn only_variant(text: &str, target: &str, authority: &str) -> Option<String> {
    let mut variants = text
        .lines()
        .map(str::trim_end)
        .filter(|line| !line.is_empty() && !line.starts_with('#'));
    let uri = variants
        .next()
        .filter(|_| variants.next().is_none())?
        .trim_start();
    let master = text.contains("#EXT-X-STREAM-INF:") && !text.contains("#EXT-X-MEDIA:");
    let rooted = ["http://", "https://"]
        .iter()
        .find_map(|scheme| uri.strip_prefix(scheme)?.strip_prefix(authority));
    let uri = rooted.unwrap_or(uri);
    let path = uri.split(['?', '#']).next().unwrap_or_default();
    let is_plain =
        !path.contains("..") && !path.contains("//") && !path.contains(':') && !uri.contains('{');
    if !master || !is_plain || path.is_empty() {
        return None;
    }
    let uri = uri.split('#').next().unwrap_or_default();
    if uri.starts_with('/') {
        return Some(uri.to_owned());
    }
    let folder = target.split('?').next().unwrap_or_default();
    Some(format!("{}{uri}", folder.get(..=folder.rfind('/')?)?))
}

/// What the names of directives begin with.
const DIRECTIVE: &str = "_HLS_";
const NUMBER: &str = "_HLS_msn=";
const SKIP: &str = "_HLS_skip";
/// Enough that no two playlists share a name by accident.
const NAME_BYTES: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_playlist_has_one_name_for_all_viewers() {
        let name = |target: &str| name_of("h/live/a", target, |name| name == "mine");
        let plain = name("/live/a.m3u8");
        assert_eq!(plain.len(), 32);
        for same in [
            "/live/a.m3u8?hls_ctx=3x5y",
            "/live/a.m3u8?_HLS_msn=4&_HLS_part=1",
            "/live/a.m3u8?token=x&mine=1",
            "/live/a.m3u8?",
        ] {
            assert_eq!(name(same), plain, "{same}");
        }
        for other in ["/live/b.m3u8", "/live/a.m3u8?track=2"] {
            assert_ne!(name(other), plain, "{other}");
        }
        assert_ne!(name_of("h/live/b", "/live/a.m3u8", |_| false), plain);
        let of_viewer = |target| is_for_a_viewer(target, |name| name == "mine");
        assert!(of_viewer("/live/a.m3u8?track=2&hls_ctx=3x5y") && of_viewer("/live/a.m3u8?mine=1"));
        assert!(!of_viewer("/live/a.m3u8?track=2&_HLS_msn=4") && !of_viewer("/live/a.m3u8"));
    }

    #[test]
    fn the_only_variant_of_a_master_playlist() {
        let of = |uri: &str, more: &str| {
            let text = format!("#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\n{uri}\n{more}");
            only_variant(&text, "/live/a.m3u8?hls_ctx=old", "10.0.0.1:8080")
        };
        let rows = [
            ("/live/a.m3u8?hls_ctx=new", Some("/live/a.m3u8?hls_ctx=new")),
            ("a.m3u8?hls_ctx=new", Some("/live/a.m3u8?hls_ctx=new")),
            ("v/a.m3u8", Some("/live/v/a.m3u8")),
            ("http://10.0.0.1:8080/live/a.m3u8", Some("/live/a.m3u8")),
            ("http://10.0.0.2:8080/live/a.m3u8", None),
            ("//10.0.0.2/a.m3u8", None),
            ("../a.m3u8", None),
        ];
        for (uri, expected) in rows {
            assert_eq!(of(uri, "").as_deref(), expected, "{uri}");
        }
        let choices = [
            "#EXT-X-STREAM-INF:BANDWIDTH=2\nb.m3u8\n",
            "#EXT-X-MEDIA:TYPE=AUDIO,URI=\"s.m3u8\"\n",
        ];
        for more in choices {
            assert_eq!(of("a.m3u8", more), None, "{more}");
        }
        assert_eq!(
            only_variant("#EXTM3U\n#EXTINF:4,\na.ts\n", "/live/a.m3u8", ""),
            None
        );
    }

    #[test]
    fn directives_are_translated_or_left_out() {
        let rows = [
            (
                "/a.m3u8?_HLS_msn=7&_HLS_part=2",
                Some(3),
                "/a.m3u8?_HLS_msn=3&_HLS_part=2",
            ),
            (
                "/a.m3u8?x=1&_HLS_msn=7&_HLS_skip=YES",
                Some(3),
                "/a.m3u8?x=1&_HLS_msn=3",
            ),
            ("/a.m3u8?_HLS_msn=7&_HLS_part=2", None, "/a.m3u8"),
            ("/a.m3u8?_HLS_skip=v2&x=1", None, "/a.m3u8?x=1"),
            ("/a.m3u8", None, "/a.m3u8"),
        ];
        for (target, number, expected) in rows {
            assert_eq!(waiting_for(target, number), expected, "{target}");
        }
        assert_eq!(waits_for("/a.m3u8?x=1&_HLS_msn=7"), Some(7));
        assert_eq!(waits_for("/a.m3u8?_HLS_skip=YES"), None);
        assert!(has_directives("/a.m3u8?_HLS_skip=YES"));
        assert!(!has_directives("/a.m3u8?x=1"));
    }
}
