//! Signalling for WebRTC over HTTP: which paths ask for a call (WHIP is RFC 9725, WHEP is its counterpart for players,
//! and SRS has its own), and where the resource of a call is.

use super::segment::without_dot_segments;
use crate::dialect::Dialect;
use crate::stream::{Action, StreamError, StreamUrl};

/// What a request's path is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Path<'a> {
    /// A new call with an offer in JSON: SRS's older API. The body names the stream.
    Json(Action),
    /// A new call with an offer as its body.
    Offer(CallRequest),
    /// An existing call, by the id that we gave it.
    Resource(&'a str),
}

/// A call as its path and query ask for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CallRequest {
    /// The stream, or the reason why its name is refused.
    pub stream: Result<StreamUrl, StreamError>,
    /// Whether the client sends or receives.
    pub action: Action,
    /// The target for the origin: SRS redirects a path without its last slash.
    pub target: String,
}

/// A path of WHIP or WHEP in the form that other servers use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern {
    segments: Vec<Segment>,
    action: Action,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Segment {
    App,
    Literal(String),
    Stream,
}

/// Why a text is not a path pattern.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    /// It has neither or both of the two words that tell a publisher from a player.
    #[error("one segment has to be whip or whep, which tells publishers from players")]
    Action,
    /// A part of the name occurs twice, or `{stream}` is missing.
    #[error("{{stream}} stands in it once, and {{app}} at most once")]
    Name,
    /// It is not a path, or has braces around something else.
    #[error("it is a path such as /{{app}}/{{stream}}/whip")]
    Path,
}

impl<'a> Path<'a> {
    /// What a request target asks for; `None` if it has nothing to do with WebRTC. `patterns` are tried after the paths
    /// of SRS. A slash at the end of a path does not matter.
    pub fn of(host: Option<&str>, target: &'a str, patterns: &[Pattern]) -> Option<Self> {
        Self::of_client(Dialect::Srs, host, target, patterns)
    }

    /// As [`of`](Self::of), for a client that speaks `dialect`: its own paths come first.
    pub fn of_client(
        dialect: Dialect,
        host: Option<&str>,
        target: &'a str,
        patterns: &[Pattern],
    ) -> Option<Self> {
        if !target.starts_with(RESOURCES)
            && let Some(asked) = dialect.call(host, target)
        {
            return Some(Self::Offer(CallRequest {
                stream: asked.stream,
                action: asked.action,
                target: target.to_owned(),
            }));
        }
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let path = path.strip_suffix('/').unwrap_or(path);
        let action = match path {
            "/rtc/v1/play" => return Some(Self::Json(Action::Play)),
            "/rtc/v1/publish" => return Some(Self::Json(Action::Publish)),
            "/rtc/v1/whep" | "/rtc/v1/whip-play" => Action::Play,
            "/rtc/v1/whip" if has_pair(query, "action", "play") => Action::Play,
            "/rtc/v1/whip" => Action::Publish,
            _ => {
                if let Some(id) = path.strip_prefix(RESOURCES) {
                    return Some(Self::Resource(id));
                }
                let matched = patterns
                    .iter()
                    .find_map(|pattern| pattern.asked(host, path, query));
                return matched.map(Self::Offer);
            }
        };
        Some(Self::Offer(CallRequest {
            stream: StreamUrl::from_whip(host, target),
            action,
            target: with_query(&format!("{path}/"), query),
        }))
    }
}

impl Pattern {
    /// Reads a pattern such as `/{app}/{stream}/whip`. Without `{app}`, the app is `live`.
    ///
    /// # Errors
    /// [`PatternError`], for a text that would match nothing or is incomplete.
    pub fn parse(text: &str) -> Result<Self, PatternError> {
        let path = text.trim().strip_prefix('/').ok_or(PatternError::Path)?;
        let path = path.strip_suffix('/').unwrap_or(path);
        let mut segments = Vec::new();
        let mut actions = Vec::new();
        for segment in path.split('/') {
            segments.push(match segment {
                "{app}" => Segment::App,
                "{stream}" => Segment::Stream,
                "" => return Err(PatternError::Path),
                other if other.contains(['{', '}', '?', '#']) => return Err(PatternError::Path),
                literal => {
                    actions.extend(action_of(literal));
                    Segment::Literal(literal.to_owned())
                }
            });
        }
        let count = |wanted: &Segment| segments.iter().filter(|found| *found == wanted).count();
        if count(&Segment::Stream) != 1 || count(&Segment::App) > 1 {
            return Err(PatternError::Name);
        }
        let [action] = actions[..] else {
            return Err(PatternError::Action);
        };
        Ok(Self { segments, action })
    }

    fn asked(&self, host: Option<&str>, path: &str, query: &str) -> Option<CallRequest> {
        let mut found = path.strip_prefix('/')?.split('/');
        let (mut app, mut stream) = (DEFAULT_APP, "");
        for segment in &self.segments {
            let text = found.next()?;
            match segment {
                Segment::App => app = text,
                Segment::Literal(literal) if literal == text => {}
                Segment::Literal(_) => return None,
                Segment::Stream => stream = text,
            }
        }
        if found.next().is_some() {
            return None;
        }
        let named = with_query(&format!("/{app}/{stream}"), query);
        Some(CallRequest {
            stream: StreamUrl::from_webrtc(host, &named),
            action: self.action,
            target: with_query(path, query),
        })
    }
}

/// Whether a `Content-Type` is that of a description, [`SDP`].
pub fn is_sdp(kind: &str) -> bool {
    kind.trim().to_ascii_lowercase().starts_with(SDP)
}

/// The type of a description (RFC 9725 §4.2).
pub const SDP: &str = "application/sdp";

/// The path of a call's resource, for its `Location`.
pub fn resource(id: &str) -> String {
    format!("{RESOURCES}{id}")
}

/// Where an origin keeps the resource of a call: its `Location`, resolved against the target of the request (RFC 3986
/// §5.2), in origin form. A host other than the origin itself is not followed. `None` if it leads nowhere.
pub fn resolve(target: &str, location: &str) -> Option<String> {
    let location = location.trim();
    let location = location.split('#').next().unwrap_or_default();
    if location.is_empty()
        || location.len() > MAX_LOCATION
        || !location.bytes().all(|byte| byte.is_ascii_graphic())
    {
        return None;
    }
    let rest = match location.split_once("://") {
        Some((scheme, rest)) if scheme.bytes().all(|byte| byte.is_ascii_alphabetic()) => Some(rest),
        _ => location.strip_prefix("//"),
    };
    if let Some(rest) = rest {
        let start = rest.find('/')?;
        return rest.get(start..).map(straight);
    }
    if location.starts_with('/') {
        return Some(straight(location));
    }
    let (path, _) = target.split_once('?').unwrap_or((target, ""));
    if location.starts_with('?') {
        return Some(format!("{path}{location}"));
    }
    let (folder, _) = path.rsplit_once('/')?;
    Some(straight(&format!("{folder}/{location}")))
}

/// A target whose path has no segment `.` or `..`.
fn straight(target: &str) -> String {
    let (path, query) = target.split_at(target.find('?').unwrap_or(target.len()));
    let path = without_dot_segments(path.as_bytes());
    String::from_utf8_lossy(&path).into_owned() + query
}

fn action_of(segment: &str) -> Option<Action> {
    match segment {
        "whep" => Some(Action::Play),
        "whip" => Some(Action::Publish),
        _ => None,
    }
}

fn has_pair(query: &str, name: &str, value: &str) -> bool {
    query
        .split('&')
        .any(|pair| pair.split_once('=') == Some((name, value)))
}

fn with_query(path: &str, query: &str) -> String {
    if query.is_empty() {
        return path.to_owned();
    }
    format!("{path}?{query}")
}

/// The path under which the resources of calls are.
const RESOURCES: &str = "/rtc/v1/session/";

/// Maximum bytes of an origin's `Location`: SRS's has about two hundred plus the name of the stream.
const MAX_LOCATION: usize = 2048;

/// The app of a pattern that has none, as for a WHIP request without one.
const DEFAULT_APP: &str = "live";

#[cfg(test)]
mod tests {
    use super::*;

    fn patterns() -> Vec<Pattern> {
        [
            "/{app}/{stream}/whip",
            "/{app}/{stream}/whep",
            "/whip/{stream}",
        ]
        .map(|text| Pattern::parse(text).unwrap())
        .to_vec()
    }

    fn offer(stream: &str, action: Action, target: &str) -> Option<Path<'static>> {
        Some(Path::Offer(CallRequest {
            stream: stream.parse(),
            action,
            target: target.to_owned(),
        }))
    }

    #[test]
    fn a_path_asks_for_a_call() {
        let d = "__defaultVhost__";
        let (play, publish) = (Action::Play, Action::Publish);
        let cases = [
            (
                "whip",
                "/rtc/v1/whip/?app=a&stream=b",
                offer(&format!("{d}/a/b"), publish, "/rtc/v1/whip/?app=a&stream=b"),
            ),
            (
                "no slash",
                "/rtc/v1/whip?app=a&stream=b",
                offer(&format!("{d}/a/b"), publish, "/rtc/v1/whip/?app=a&stream=b"),
            ),
            (
                "nothing named",
                "/rtc/v1/whip/",
                offer(&format!("{d}/live/livestream"), publish, "/rtc/v1/whip/"),
            ),
            (
                "whip that plays",
                "/rtc/v1/whip/?action=play&stream=b",
                offer(
                    &format!("{d}/live/b"),
                    play,
                    "/rtc/v1/whip/?action=play&stream=b",
                ),
            ),
            (
                "whep",
                "/rtc/v1/whep/?app=a&stream=b",
                offer(&format!("{d}/a/b"), play, "/rtc/v1/whep/?app=a&stream=b"),
            ),
            (
                "its old name",
                "/rtc/v1/whip-play/?stream=b",
                offer(&format!("{d}/live/b"), play, "/rtc/v1/whip-play/?stream=b"),
            ),
            (
                "a vhost",
                "/rtc/v1/whep/?stream=b&vhost=x.org",
                offer("x.org/live/b", play, "/rtc/v1/whep/?stream=b&vhost=x.org"),
            ),
            ("json", "/rtc/v1/publish/", Some(Path::Json(publish))),
            ("json, no slash", "/rtc/v1/play", Some(Path::Json(play))),
            (
                "a call",
                "/rtc/v1/session/ab12",
                Some(Path::Resource("ab12")),
            ),
            (
                "a pattern",
                "/cam/one/whep?token=x",
                offer(&format!("{d}/cam/one"), play, "/cam/one/whep?token=x"),
            ),
            (
                "a pattern, slash",
                "/cam/one/whip/",
                offer(&format!("{d}/cam/one"), publish, "/cam/one/whip"),
            ),
            (
                "a pattern without an app",
                "/whip/one",
                offer(&format!("{d}/live/one"), publish, "/whip/one"),
            ),
            (
                "a pattern, escaped",
                "/cam/o%6ee/whip",
                offer(&format!("{d}/cam/one"), publish, "/cam/o%6ee/whip"),
            ),
            ("a pattern and more", "/cam/one/whip/more", None),
            ("versions", "/api/v1/versions", None),
            ("nothing", "", None),
        ];
        for (cause, target, expected) in cases {
            assert_eq!(Path::of(None, target, &patterns()), expected, "{cause}");
        }
    }

    #[test]
    fn a_pattern_says_enough_or_is_refused() {
        let cases = [
            ("not a path", "whip/{stream}", PatternError::Path),
            ("an empty segment", "/whip//{stream}", PatternError::Path),
            ("an unknown part", "/whip/{name}", PatternError::Path),
            ("no stream", "/whip/{app}", PatternError::Name),
            ("two streams", "/whip/{stream}/{stream}", PatternError::Name),
            ("no action", "/{app}/{stream}", PatternError::Action),
            ("two actions", "/whip/whep/{stream}", PatternError::Action),
        ];
        for (cause, text, expected) in cases {
            assert_eq!(Pattern::parse(text), Err(expected), "{cause}");
        }
    }

    #[test]
    fn a_location_is_resolved_on_the_origin() {
        let target = "/rtc/v1/whip/?app=live&stream=a";
        let cases = [
            (
                "a path",
                "/rtc/v1/whip/?action=delete&token=t",
                Some("/rtc/v1/whip/?action=delete&token=t"),
            ),
            (
                "a whole address",
                "http://10.0.0.5:1985/x/1?y",
                Some("/x/1?y"),
            ),
            ("an address without a scheme", "//10.0.0.5/x", Some("/x")),
            ("beside the target", "one", Some("/rtc/v1/whip/one")),
            (
                "another query",
                "?session=1",
                Some("/rtc/v1/whip/?session=1"),
            ),
            ("a folder up", "../s/1?t", Some("/rtc/v1/s/1?t")),
            ("this folder", "./1", Some("/rtc/v1/whip/1")),
            ("folders in between", "/a/./b/../c", Some("/a/c")),
            ("beyond the top", "/../../x", Some("/x")),
            ("up at the end", "/a/b/..", Some("/a/")),
            ("dots in a query", "/x?y=/../z", Some("/x?y=/../z")),
            ("an empty segment", "/a//b", Some("/a//b")),
            ("a fragment", "/x#y", Some("/x")),
            (
                "a URL in a query",
                "/x?next=http://y/z",
                Some("/x?next=http://y/z"),
            ),
            ("no path", "http://10.0.0.5", None),
            ("nothing", "", None),
            ("a space", "/x y", None),
            ("a line end", "/x\r\nY: z", None),
        ];
        for (cause, location, expected) in cases {
            assert_eq!(resolve(target, location).as_deref(), expected, "{cause}");
        }
    }
}
