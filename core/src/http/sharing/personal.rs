//! Playlists and manifests that were made for one viewer.

/// Whether a playlist or manifest was made for one viewer: something that it lists carries a session or a credential
/// that the request for it, by its `target`, did not have.
///
/// SRS gives each viewer of a master playlist an `hls_ctx`, MediaMTX and OvenMediaEngine a `session`, Flussonic a
/// `token`, go2rtc an `id`, Wowza a number in the name of each chunk list; viewers who got
/// the same playlist would share one session, its limits and its end.
pub fn is_personal(body: &[u8], target: &str) -> bool {
    let (_, asked) = target.split_once('?').unwrap_or_default();
    let ends = |byte: &u8| byte.is_ascii_whitespace() || b"\"'<>".contains(byte);
    body.split(ends).any(|uri| {
        let (path, query) = match uri.iter().position(|byte| *byte == b'?') {
            Some(at) => uri.split_at(at),
            None => (uri, &[][..]),
        };
        let query = query.strip_prefix(b"?").unwrap_or_default();
        let mut pairs = query.split(|byte| *byte == b'&');
        numbers_a_viewer(path, target)
            || pairs.any(|pair| {
                // As XML writes it.
                let pair = pair.strip_prefix(b"amp;").unwrap_or(pair);
                names_a_viewer(pair, path) && asked.split('&').all(|known| known.as_bytes() != pair)
            })
    })
}

/// Whether a query parameter of this name is known to hold a session or a credential.
pub(in crate::http) fn is_of_a_viewer(name: &str) -> bool {
    OF_A_VIEWER
        .iter()
        .any(|known| known.eq_ignore_ascii_case(name))
}

/// Whether a parameter of a query tells viewers apart.
fn names_a_viewer(pair: &[u8], path: &[u8]) -> bool {
    let Some(at) = pair.iter().position(|byte| *byte == b'=') else {
        return false;
    };
    let (name, value) = pair.split_at(at);
    let name = name.to_ascii_lowercase();
    let lists = || {
        let path = path.to_ascii_lowercase();
        path.ends_with(b".m3u8") || path.ends_with(b".mpd")
    };
    value.len() > 1
        && (OF_A_VIEWER.iter().any(|known| known.as_bytes() == name) || (name == b"id" && lists()))
}

/// Whether a path has the number that Wowza gives to each viewer, `chunklist_w123.m3u8`, and the request had not.
fn numbers_a_viewer(path: &[u8], target: &str) -> bool {
    let name = path.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
    if !name.starts_with(b"chunklist") && !name.starts_with(b"media") {
        return false;
    }
    let mut words = name.split(|byte| matches!(byte, b'_' | b'.')).skip(1);
    words.any(|word| {
        let digits = word.strip_prefix(b"w").unwrap_or_default();
        let is_number = !digits.is_empty() && digits.iter().all(u8::is_ascii_digit);
        let mut asked = target.split(['_', '.', '?']);
        is_number && asked.all(|known| known.as_bytes() != word)
    })
}

/// Query parameters, in small letters, in which packagers and CDNs hand a viewer's session or credential down.
const OF_A_VIEWER: [&str; 24] = [
    "aws.sessionid",
    "hdnea",
    "hdntl",
    "hdnts",
    "hls_ctx",
    "jwt",
    "key-pair-id",
    "nimblesessionid",
    "policy",
    "sessid",
    "session",
    "session_id",
    "sessionid",
    "sid",
    "signature",
    "subscribercode",
    "subscriberid",
    "tkn",
    "token",
    "uid",
    "viewer",
    "wmsauthsign",
    "wowzasessionid",
    "x-amz-signature",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_playlist_that_names_a_viewer_is_known_by_what_it_lists() {
        for (cause, target, body, expected) in [
            (
                "SRS",
                "/live/a.m3u8",
                "#EXTM3U\n/live/a.m3u8?hls_ctx=3x5y\n",
                true,
            ),
            (
                "its own context again",
                "/live/a.m3u8?hls_ctx=3x5y",
                "a-1.ts?hls_ctx=3x5y\n",
                false,
            ),
            (
                "another context",
                "/live/a.m3u8?hls_ctx=zzzz",
                "a-1.ts?hls_ctx=3x5y\n",
                true,
            ),
            (
                "MediaMTX",
                "/a/index.m3u8",
                "video1_stream.m3u8?session=6d0f\r\n",
                true,
            ),
            (
                "OvenMediaEngine",
                "/app/a/master.m3u8",
                "chunklist_0_video_k_llhls.m3u8?session=1_k\n",
                true,
            ),
            (
                "go2rtc",
                "/api/stream.m3u8?src=a",
                "hls/playlist.m3u8?id=AbCdEfGh\n",
                true,
            ),
            (
                "go2rtc, below",
                "/api/hls/playlist.m3u8?id=AbCdEfGh",
                "segment.ts?id=AbCdEfGh&n=1\n",
                false,
            ),
            ("an id of a segment", "/a.m3u8", "seg.ts?id=12\n", false),
            (
                "Flussonic",
                "/a/index.m3u8",
                "tracks-v1/mono.m3u8?token=abc\n",
                true,
            ),
            (
                "its own token handed down",
                "/a/index.m3u8?token=abc",
                "mono.m3u8?token=abc\n",
                false,
            ),
            ("mist", "/hls/a/index.m3u8", "0_1/index.m3u8?tkn=12\n", true),
            (
                "Nimble",
                "/live/a/playlist.m3u8",
                "chunks.m3u8?nimblesessionid=12\n",
                true,
            ),
            (
                "Wowza",
                "/live/a/playlist.m3u8",
                "chunklist_w1405012.m3u8\n",
                true,
            ),
            (
                "Wowza with a bitrate",
                "/live/a/playlist.m3u8",
                "chunklist_b800_w1405012.m3u8\n",
                true,
            ),
            (
                "Wowza, below",
                "/live/a/chunklist_w1405012.m3u8",
                "media_w1405012_7.ts\n",
                false,
            ),
            (
                "a number that is no session",
                "/live/a/playlist.m3u8",
                "media_7.ts\nclip_w640.ts\n",
                false,
            ),
            (
                "an attribute",
                "/a.m3u8",
                "#EXT-X-MEDIA:TYPE=AUDIO,URI=\"b.m3u8?session=1\"\n",
                true,
            ),
            (
                "a key",
                "/a.m3u8",
                "#EXT-X-KEY:METHOD=AES-128,URI=\"k.key?jwt=e.y.J\"\n",
                true,
            ),
            (
                "a manifest",
                "/a.mpd",
                "<BaseURL>b/?x=1&amp;token=abc</BaseURL>",
                true,
            ),
            (
                "a manifest's attribute",
                "/a.mpd",
                "<S media='$Number$.m4s?sid=1'/>",
                true,
            ),
            ("another case", "/a.m3u8", "b.m3u8?SessionId=1\n", true),
            ("no value", "/a.m3u8", "b.m3u8?session=\n", false),
            ("our own link", "/a.m3u8", "a-1.ts?spbhid=AbC\n", false),
            ("a parameter of all", "/a.m3u8", "a-1.ts?v=3\n", false),
            ("nothing", "/a.m3u8", "", false),
        ] {
            assert_eq!(is_personal(body.as_bytes(), target), expected, "{cause}");
        }
    }
}
