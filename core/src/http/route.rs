//! What a path on the HTTP port asks for.

use super::link::PARAMETER;
use crate::stream::Protocol;

/// What a request is for, judged by its target alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Route {
    /// A health check of this proxy; answered on this port only if that is set.
    Health(Probe),
    /// A live stream in an endless body.
    Live(Protocol),
    /// Anything else: a file, if there is one.
    Other,
    /// A playlist, a manifest or a segment.
    Piece(Piece),
    /// A query for our version.
    Versions,
}

impl Route {
    /// The route of an origin-form request target, such as `/live/a.flv?token=1`.
    pub fn of(target: &str) -> Self {
        let (path, query) = target.split_once(['?', '#']).unwrap_or((target, ""));
        match path {
            "/api/v1/versions" => return Self::Versions,
            "/livez" => return Self::Health(Probe::Live),
            "/readyz" => return Self::Health(Probe::Ready),
            _ => {}
        }
        let (folder, name) = path.rsplit_once('/').unwrap_or(("", path));
        let (stem, extension) = name.rsplit_once('.').unwrap_or((name, ""));
        let known = |(text, _): &&(&str, Piece)| extension.eq_ignore_ascii_case(text);
        if let Some((_, piece)) = PIECE_EXTENSIONS.iter().find(known) {
            return Self::Piece(*piece);
        }
        let live = LIVE_EXTENSIONS
            .iter()
            .find(|(text, _)| extension.eq_ignore_ascii_case(text));
        match live {
            // No playlist lists FLV: a link makes no piece of what has no end.
            Some((_, Protocol::HttpFlv)) => Self::Live(Protocol::HttpFlv),
            // A link counts whatever the name: a playlist of ours listed it.
            _ if query.split('&').any(is_token) => Self::Piece(Piece::Segment),
            Some(_) if is_numbered(folder, stem) => Self::Piece(Piece::Segment),
            Some((_, protocol)) => Self::Live(*protocol),
            None => Self::Other,
        }
    }

    /// The live stream that a path may also name: `a-12.ts` is a segment of `a`, or an endless stream `a-12`.
    pub fn live(target: &str) -> Option<Protocol> {
        let (path, query) = target.split_once(['?', '#']).unwrap_or((target, ""));
        let (_, extension) = path.rsplit_once('.')?;
        let live = LIVE_EXTENSIONS
            .iter()
            .find(|(text, _)| extension.eq_ignore_ascii_case(text))
            .map(|(_, protocol)| *protocol);
        live.filter(|_| !query.split('&').any(is_token))
    }
}

/// Whether the path of a target ends as the files of segmented formats do.
///
/// ```
/// use sluicegate_core::http::route::has_media_ending;
///
/// assert!(has_media_ending("/live/a-12.ts?x=1") && has_media_ending("/live/a.M3U8"));
/// assert!(!has_media_ending("/stat") && !has_media_ending("/live/a.flv"));
/// ```
pub fn has_media_ending(target: &str) -> bool {
    let Some((_, extension)) = name_of(target).rsplit_once('.') else {
        return false;
    };
    let pieces = PIECE_EXTENSIONS.iter().map(|(text, _)| text);
    let live = LIVE_EXTENSIONS
        .iter()
        .filter(|(_, protocol)| *protocol != Protocol::HttpFlv);
    pieces
        .chain(live.map(|(text, _)| text))
        .any(|text| extension.eq_ignore_ascii_case(text))
}

/// Whether the path of a target has an ending of any kind, as files have it.
pub fn has_ending(target: &str) -> bool {
    let name = name_of(target);
    name.rsplit_once('.')
        .is_some_and(|(stem, extension)| !stem.is_empty() && !extension.is_empty())
}

/// What follows the last slash of a target's path.
fn name_of(target: &str) -> &str {
    let path = target.split(['?', '#']).next().unwrap_or_default();
    path.rsplit('/').next().unwrap_or_default()
}

/// The kinds of files in segmented formats.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Piece {
    /// A DASH manifest.
    Manifest,
    /// An HLS playlist, of media or of other playlists.
    Playlist,
    /// What playlists and manifests list: media, init sections, keys, subtitles.
    Segment,
}

impl Piece {
    /// The name in metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Manifest => "manifest",
            Self::Playlist => "playlist",
            Self::Segment => "segment",
        }
    }
}

/// A health check by an orchestrator.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Probe {
    /// Whether this process should be restarted.
    Live,
    /// Whether this process should get new clients.
    Ready,
}

/// The formats that origins remux a live stream into.
const LIVE_EXTENSIONS: [(&str, Protocol); 4] = [
    ("aac", Protocol::HttpAac),
    ("flv", Protocol::HttpFlv),
    ("mp3", Protocol::HttpMp3),
    ("ts", Protocol::HttpTs),
];

/// Extensions that no endless stream has.
const PIECE_EXTENSIONS: [(&str, Piece); 14] = [
    ("cmfa", Piece::Segment),
    ("cmft", Piece::Segment),
    ("cmfv", Piece::Segment),
    ("key", Piece::Segment),
    ("m3u", Piece::Playlist),
    ("m3u8", Piece::Playlist),
    ("m4a", Piece::Segment),
    ("m4s", Piece::Segment),
    ("m4v", Piece::Segment),
    ("mp4", Piece::Segment),
    ("mpd", Piece::Manifest),
    ("ttml", Piece::Segment),
    ("vtt", Piece::Segment),
    ("webvtt", Piece::Segment),
];

fn is_token(parameter: &str) -> bool {
    parameter
        .strip_prefix(PARAMETER)
        .is_some_and(|rest| rest.starts_with('='))
}

/// Whether a name is like `a-12`, or like `12` in a folder of its own below an app, as segments are named.
fn is_numbered(folder: &str, stem: &str) -> bool {
    let digits = |number: &str| !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit());
    let folders = folder.split('/').filter(|name| !name.is_empty());
    let is_counted = stem
        .rsplit_once(['-', '_'])
        .is_some_and(|(name, number)| !name.is_empty() && digits(number));
    is_counted || digits(stem) && folders.count() > 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ending_is_that_of_the_last_name() {
        // A description; the target; whether its path ends as media does; whether it has any ending.
        let cases = [
            ("a segment", "/live/a-1.ts", true, true),
            ("in other letters", "/live/a.MPD", true, true),
            ("a query", "/live/a.m4s?x", true, true),
            ("FLV", "/live/a.flv", false, true),
            ("a document", "/live/a/assets.json", false, true),
            ("a page", "/stat", false, false),
            ("in the query only", "/stat?x=.ts", false, false),
            ("in a fragment only", "/stat#x.ts", false, false),
            ("in a folder only", "/a.ts/stat", false, false),
            ("a hidden name", "/live/.ts", true, false),
            ("a dot at the end", "/live/a.", false, false),
            ("nothing", "", false, false),
        ];
        for (cause, target, media, any) in cases {
            assert_eq!(
                (has_media_ending(target), has_ending(target)),
                (media, any),
                "{cause}"
            );
        }
    }

    #[test]
    fn a_path_asks_for_one_thing() {
        let cases = [
            ("flv", "/live/a.flv", Route::Live(Protocol::HttpFlv)),
            (
                "a token behind it",
                "/live/a.flv?token=b.ts",
                Route::Live(Protocol::HttpFlv),
            ),
            ("ts", "/live/a.ts", Route::Live(Protocol::HttpTs)),
            ("aac", "/live/a.aac", Route::Live(Protocol::HttpAac)),
            ("mp3", "/live/a.mp3", Route::Live(Protocol::HttpMp3)),
            (
                "case does not count",
                "/live/a.FLV",
                Route::Live(Protocol::HttpFlv),
            ),
            ("a dot earlier in the path", "/v1.flv/a", Route::Other),
            ("a page", "/index.html", Route::Other),
            (
                "a playlist",
                "/live/a.m3u8?hls_ctx=1",
                Route::Piece(Piece::Playlist),
            ),
            ("a manifest", "/live/a.MPD", Route::Piece(Piece::Manifest)),
            ("fMP4", "/live/a/init.mp4", Route::Piece(Piece::Segment)),
            ("a key", "/live/a-0.key", Route::Piece(Piece::Segment)),
            (
                "TS with a number is a segment",
                "/live/a-12.ts",
                Route::Piece(Piece::Segment),
            ),
            (
                "TS with our token is a segment",
                "/live/a.ts?x=1&spbhid=abc",
                Route::Piece(Piece::Segment),
            ),
            (
                "anything with our token was listed",
                "/keys/12?spbhid=abc",
                Route::Piece(Piece::Segment),
            ),
            (
                "another parameter that starts like it",
                "/live/a.ts?spbhidden=1",
                Route::Live(Protocol::HttpTs),
            ),
            (
                "FLV with our token is a live stream",
                "/live/a.flv?spbhid=abc",
                Route::Live(Protocol::HttpFlv),
            ),
            (
                "FLV has no segments",
                "/live/a-12.flv",
                Route::Live(Protocol::HttpFlv),
            ),
            (
                "a name that is a number only",
                "/live/12.ts",
                Route::Live(Protocol::HttpTs),
            ),
            (
                "a number in the folder of a stream",
                "/live/a/12.ts",
                Route::Piece(Piece::Segment),
            ),
            (
                "a number in the folder of a rendition",
                "/live/a/720p/12.aac",
                Route::Piece(Piece::Segment),
            ),
            (
                "a number in the app, after two slashes",
                "//live//12.ts",
                Route::Live(Protocol::HttpTs),
            ),
            (
                "a number of FLV in a folder",
                "/live/a/12.flv",
                Route::Live(Protocol::HttpFlv),
            ),
            (
                "a name in a folder",
                "/live/a/seg12.ts",
                Route::Live(Protocol::HttpTs),
            ),
            (
                "an extension in the query only",
                "/live/a?x=.flv",
                Route::Other,
            ),
            ("versions", "/api/v1/versions", Route::Versions),
            (
                "versions, cache broken",
                "/api/v1/versions?x=1",
                Route::Versions,
            ),
            ("liveness", "/livez", Route::Health(Probe::Live)),
            ("readiness", "/readyz", Route::Health(Probe::Ready)),
            ("the server itself", "*", Route::Other),
            ("nothing", "", Route::Other),
        ];
        for (cause, target, expected) in cases {
            assert_eq!(Route::of(target), expected, "{cause}");
        }
    }
}
