//! What a path on the HTTP port asks for.

use crate::stream::Protocol;

/// What a request is for, going by its target alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Route {
    /// A question about our own health; answered on this port only if so set.
    Health(Probe),
    /// A live stream in an endless body.
    Live(Protocol),
    /// None of the others: a file, if there is one.
    Other,
    /// Which version this is.
    Versions,
}

impl Route {
    /// The route of an origin-form request target, such as `/live/a.flv?token=1`.
    pub fn of(target: &str) -> Self {
        let (path, _) = target.split_once(['?', '#']).unwrap_or((target, ""));
        match path {
            "/api/v1/versions" => return Self::Versions,
            "/livez" => return Self::Health(Probe::Live),
            "/readyz" => return Self::Health(Probe::Ready),
            _ => {}
        }
        let Some((_, extension)) = path.rsplit_once('.') else {
            return Self::Other;
        };
        LIVE_EXTENSIONS
            .iter()
            .find(|(known, _)| extension.eq_ignore_ascii_case(known))
            .map_or(Self::Other, |(_, protocol)| Self::Live(*protocol))
    }
}

/// What an orchestrator asks about us.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Probe {
    /// Should this process be restarted?
    Live,
    /// Should this process get new clients?
    Ready,
}

/// The formats that origins remux a live stream into.
const LIVE_EXTENSIONS: [(&str, Protocol); 4] = [
    ("aac", Protocol::HttpAac),
    ("flv", Protocol::HttpFlv),
    ("mp3", Protocol::HttpMp3),
    ("ts", Protocol::HttpTs),
];

#[cfg(test)]
mod tests {
    use super::*;

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
