//! An address taken apart, and a path written into a URL.

use std::borrow::Cow;
use std::fmt::Write as _;

use super::{CallAsked, Dialect, File};
use crate::access::credentials::Credentials;
use crate::access::query::strip;
use crate::stream::{
    Action, SrtStreamId, StreamError, StreamUrl, decode_name, split_authority, split_query, unquote,
};

/// An RTMP request as it came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RtmpAsked<'a> {
    /// The `tcUrl` of the client's `connect`, or its `app` alone.
    pub tc_url: &'a str,
    /// The name in its `publish` or `play`; may be empty.
    pub name: &'a str,
}

/// An RTMP request as an origin gets it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RtmpAddress {
    /// The `tcUrl` of `connect`, with the host that the client used: servers read their vhost from it.
    pub tc_url: String,
    /// The `app` of `connect`.
    pub app: String,
    /// The name in `publish` or `play`.
    pub name: String,
}

impl RtmpAddress {
    /// The same without the query parameters that are called one of `names`.
    #[must_use]
    pub fn without(&self, names: &[Box<str>]) -> Self {
        let names: Vec<&str> = names.iter().map(|name| &**name).collect();
        Self {
            tc_url: strip(&self.tc_url, &names),
            app: strip(&self.app, &names),
            name: strip(&self.name, &names),
        }
    }
}

impl RtmpAddress {
    /// What an origin is asked for in place of this by a redirect to `url`; `None` where that names the same stream. A URL
    /// that is not `whole` ends in the app, and the stream keeps its name.
    ///
    /// The host stays as it is, since it means a place here and a vhost to servers.
    #[must_use]
    pub fn redirected(&self, url: &str, whole: bool) -> Option<Self> {
        let (_, target) = split_authority(unquote(url));
        let (path, query) = split_query(target);
        let path = path.trim_matches('/');
        let (own_app, app_query) = split_query(&self.app);
        let (own_name, own_query) = split_query(&self.name);
        let (app, name) = match whole {
            true => path.rsplit_once('/')?,
            false => (path, own_name),
        };
        if app.is_empty() || name.is_empty() {
            return None;
        }
        // SRS writes both queries into a redirect, and a vhost that it read from elsewhere.
        let own = || {
            [app_query, own_query]
                .into_iter()
                .flat_map(|query| query.split('&'))
        };
        let is_own = |part: &str| part.starts_with("vhost=") || own().any(|own| own == part);
        let keeps_query = !whole || query.is_empty() || query.split('&').all(is_own);
        if app == own_app && name == own_name && keeps_query {
            return None;
        }
        let tc_url = unquote(&self.tc_url);
        let (_, path) = split_authority(tc_url);
        let front = tc_url.get(..tc_url.len() - path.len()).unwrap_or_default();
        let query = match keeps_query {
            true => own_query,
            false => query,
        };
        Some(Self::new(front, app, app_query, name, query))
    }
}

/// The parts of an RTMP request.
pub(super) struct RtmpParts<'a> {
    /// Everything of the tcUrl that precedes its path: `rtmp://example.com:1935`.
    pub(super) front: &'a str,
    pub(super) host: &'a str,
    pub(super) app: &'a str,
    pub(super) app_query: &'a str,
    pub(super) name: &'a str,
    pub(super) name_query: &'a str,
}

impl<'a> RtmpAsked<'a> {
    /// The host and port that the client used, if its tcUrl names them.
    pub fn host(&self) -> Option<&'a str> {
        split_authority(unquote(self.tc_url)).0
    }

    /// The tcUrl for an origin, with `host` in it where the client named none: some servers take no `connect` without.
    pub fn tc_url_at(&self, host: &str) -> Cow<'a, str> {
        match self.host() {
            Some(_) => Cow::Borrowed(self.tc_url),
            None => {
                let path = unquote(self.tc_url).trim_start_matches('/');
                Cow::Owned(format!("rtmp://{host}/{path}"))
            }
        }
    }

    /// The queries of the tcUrl and of the name.
    pub fn queries(&self) -> [&'a str; 2] {
        let parts = self.parts();
        [parts.app_query, parts.name_query]
    }

    pub(super) fn parts(&self) -> RtmpParts<'a> {
        let tc_url = unquote(self.tc_url);
        let (host, target) = split_authority(tc_url);
        let front = tc_url.get(..tc_url.len() - target.len());
        let (app, app_query) = split_query(target);
        let (name, name_query) = split_query(self.name);
        RtmpParts {
            front: front.unwrap_or_default(),
            host: host.unwrap_or_default(),
            app,
            app_query,
            name,
            name_query,
        }
    }
}

impl RtmpParts<'_> {
    /// The stream whose path is the app and then the name, both decoded.
    pub(super) fn stream(&self) -> Result<StreamUrl, StreamError> {
        let (app, name) = (decode_name(self.app), decode_name(self.name));
        StreamUrl::of_path(self.host, &[&app, "/", &*name].concat())
    }

    /// Both queries as one.
    pub(super) fn query(&self) -> String {
        match (self.app_query, self.name_query) {
            ("", query) | (query, "") => query.to_owned(),
            (one, two) => [one, "&", two].concat(),
        }
    }
}

impl RtmpAddress {
    pub(super) fn new(front: &str, app: &str, app_query: &str, name: &str, query: &str) -> Self {
        let with = |text: &str, query: &str| match query {
            "" => text.to_owned(),
            query => [text, "?", query].concat(),
        };
        Self {
            tc_url: [front, "/", &with(app, app_query)].concat(),
            app: with(app, app_query),
            name: with(name, query),
        }
    }
}

/// The stream of a URL whose whole path is its name.
pub(super) fn stream_of_url(url: &str) -> Result<StreamUrl, StreamError> {
    let (host, target) = split_authority(url);
    let (path, _) = split_query(target);
    StreamUrl::of_path(host.unwrap_or_default(), &decode_name(path))
}

/// The stream that a path of an HTTP request names as a whole.
pub(super) fn stream_of_path(host: Option<&str>, path: &str) -> Result<StreamUrl, StreamError> {
    StreamUrl::of_path(host.unwrap_or_default(), &decode_name(path))
}

/// A request for a call whose path ends in `whip` or `whep`, with the stream before that.
pub(super) fn call_by_path(host: Option<&str>, target: &str) -> Option<CallAsked> {
    let (path, _) = split_query(target);
    let path = path.strip_suffix('/').unwrap_or(path);
    let (path, last) = path.rsplit_once('/')?;
    let action = match last {
        "whep" => Action::Play,
        "whip" => Action::Publish,
        _ => return None,
    };
    let stream = stream_of_path(host, path);
    Some(CallAsked { stream, action })
}

/// An SRT id of the access control guidelines (`#!::r=,m=,u=,s=,h=`), with the path taken literally. Without `m`, the
/// port says the direction.
pub(super) fn guideline_id(
    dialect: Dialect,
    pairs: &str,
    port: Option<Action>,
    by_default: Option<Action>,
) -> Result<SrtStreamId, StreamError> {
    let (mut path, mut host, mut action) = ("", "", port.or(by_default));
    let pairs = pairs.split(',').filter_map(|pair| pair.split_once('='));
    for (key, value) in pairs.clone() {
        match key.trim() {
            "h" => host = value,
            "m" => {
                action = match unquote(value) {
                    "publish" => Some(Action::Publish),
                    "request" => Some(Action::Play),
                    _ => return Err(StreamError::SrtMode),
                }
            }
            "r" => path = unquote(value),
            _ => {}
        }
    }
    let Some(action) = action else {
        return refuse(dialect, NO_DIRECTION);
    };
    let (path, query) = split_query(path);
    let mut credentials = Credentials::of_srt(pairs.filter(|(key, _)| ["u", "s"].contains(key)));
    credentials.query = Credentials::of_target(&["?", query].concat()).query;
    Ok(SrtStreamId {
        stream: StreamUrl::of_path(host, &decode_name(path))?,
        action,
        credentials: credentials.boxed(),
    })
}

/// The same, at a server that has no SRT and therefore no form of its own; `rule` says so.
pub(super) fn guideline_id_only(
    dialect: Dialect,
    id: &str,
    port: Option<Action>,
    rule: &'static str,
) -> Result<SrtStreamId, StreamError> {
    match id.strip_prefix("#!::") {
        Some(pairs) => guideline_id(dialect, pairs, port, None),
        None => refuse(dialect, rule),
    }
}

/// The refusal of an address that breaks `rule`.
pub(super) fn refuse<T>(dialect: Dialect, rule: &'static str) -> Result<T, StreamError> {
    let dialect = dialect.as_str();
    Err(StreamError::Dialect { dialect, rule })
}

/// Writes a path into a URL: what RFC 3986 §3.3 does not allow in a segment is escaped.
pub(super) fn escape(path: &str) -> Cow<'_, str> {
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._~!$'()*+,;=:@/".contains(byte);
    if path.as_bytes().iter().all(plain) {
        return Cow::Borrowed(path);
    }
    escaped(path, plain)
}

/// Writes a text into the value of a query's parameter.
pub(super) fn escape_value(text: &str) -> Cow<'_, str> {
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._~/:,@".contains(byte);
    if text.as_bytes().iter().all(plain) {
        return Cow::Borrowed(text);
    }
    escaped(text, plain)
}

fn escaped(text: &str, plain: impl Fn(&u8) -> bool) -> Cow<'_, str> {
    let mut out = String::with_capacity(text.len() * 2);
    for byte in text.bytes() {
        if plain(&byte) {
            out.push(byte.into());
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
    }
    Cow::Owned(out)
}

/// A query in an id whose own marks are `marks`, all of them ASCII: these are escaped, and what reads a query undoes that.
pub(super) fn escape_marks<'a>(query: &'a str, marks: &[char]) -> Cow<'a, str> {
    if !query.contains(marks) {
        return Cow::Borrowed(query);
    }
    let mut out = String::with_capacity(query.len() + 8);
    for letter in query.chars() {
        if marks.contains(&letter) {
            let _ = write!(out, "%{:02X}", u32::from(letter));
        } else {
            out.push(letter);
        }
    }
    Cow::Owned(out)
}

/// `path` with a query, if there is one.
pub(super) fn with_query(path: &str, query: &str) -> String {
    match query {
        "" => path.to_owned(),
        query => {
            let mark = if path.contains('?') { "&" } else { "?" };
            [path, mark, query].concat()
        }
    }
}

/// The target of the playlist `file` in the folder of a stream, at a server that has nothing else over HTTP.
pub(super) fn playlist_only(
    path: &str,
    playlist: &str,
    file: File,
    query: &str,
) -> Result<String, &'static str> {
    match file {
        File::Playlist => Ok(with_query(&["/", &escape(path), playlist].concat(), query)),
        File::Live(_) | File::Manifest => Err("over HTTP it has HLS only"),
    }
}

/// Whether a path has no more than this many segments, and no fewer than that many.
pub(super) fn has_segments(path: &str, range: std::ops::RangeInclusive<usize>) -> bool {
    range.contains(&path.split('/').count())
}

/// What an SRT id must say, one way or the other.
pub(super) const NO_DIRECTION: &str =
    "an SRT id says publish or request, or its port does (clients.rules)";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_is_told_a_whole_address() {
        let rows = [
            (
                "whole",
                "rtmp://h.example/live?k=v",
                "rtmp://h.example/live?k=v",
            ),
            ("an app alone", "live?k=v", "rtmp://10.0.0.2:1935/live?k=v"),
            ("with a slash", "/live", "rtmp://10.0.0.2:1935/live"),
            (
                "in quotation marks",
                "\"live\"",
                "rtmp://10.0.0.2:1935/live",
            ),
            ("nothing", "", "rtmp://10.0.0.2:1935/"),
        ];
        for (cause, tc_url, expected) in rows {
            let asked = RtmpAsked { tc_url, name: "a" };
            assert_eq!(asked.tc_url_at("10.0.0.2:1935"), expected, "{cause}");
        }
    }

    #[test]
    fn what_a_redirect_asks_for() {
        let asked = |app: &str, name: &str| RtmpAddress {
            tc_url: format!("rtmp://media.example/{app}"),
            app: app.to_owned(),
            name: name.to_owned(),
        };
        let at = "rtmp://10.0.0.2:1936";
        // A cause; the app and the name that were asked for, the URL, whether it is whole; what is asked for instead.
        let rows = [
            ("the same", ("live", "a?k=v"), "/live/a?k=v", true, None),
            (
                "without its query",
                ("live", "a?k=v"),
                "/live/a",
                true,
                None,
            ),
            (
                "with its vhost, as SRS says it",
                ("live", "a?k=v"),
                "/live/a?k=v&vhost=x",
                true,
                None,
            ),
            (
                "another name",
                ("live", "a?k=v"),
                "/live/b",
                true,
                Some(("live", "b?k=v")),
            ),
            (
                "another query",
                ("live", "a?k=v"),
                "/live/a?t=1",
                true,
                Some(("live", "a?t=1")),
            ),
            (
                "another app",
                ("live", "a"),
                "/moved/a",
                true,
                Some(("moved", "a")),
            ),
            (
                "a deeper app",
                ("live", "a"),
                "/live/sub/a",
                true,
                Some(("live/sub", "a")),
            ),
            (
                "an app alone",
                ("live", "a?k=v"),
                "/moved",
                false,
                Some(("moved", "a?k=v")),
            ),
            (
                "the app's query stays",
                ("live?vhost=x", "a"),
                "/moved/a",
                true,
                Some(("moved?vhost=x", "a")),
            ),
            ("the same app", ("live", "a"), "/live/", false, None),
            ("no name", ("live", "a"), "/live", true, None),
            ("nothing", ("live", "a"), "", true, None),
        ];
        for (cause, (app, name), target, whole, expected) in rows {
            let told = asked(app, name).redirected(&[at, target].concat(), whole);
            let expected = expected.map(|(app, name)| asked(app, name));
            assert_eq!(told, expected, "{cause}");
        }
    }
}
