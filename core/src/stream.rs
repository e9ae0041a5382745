//! What a client asks for: a stream, with the same name however a protocol spells it.
//!
//! Every protocol has its own way to say "live/a on example.com": RTMP splits it between `tcUrl` and a play name, HTTP
//! puts the domain into `Host` and an extension after the name, SRT packs all of it into one stream id. The functions
//! here turn each spelling into one [`StreamUrl`], and a [`VhostRule`] turns that into the [`PlacementKey`] under which
//! origins are chosen. They follow what SRS origins do with the same bytes, because a publisher and a player meet only
//! if both are sent to the same origin:
//!
//! - the last path segment is the stream, everything before it is the app;
//! - repeated, leading and trailing slashes, white space and `_definst_` do not count, percent-escapes are resolved;
//! - the vhost is the query's `vhost`, else its `domain`, else the host; addresses and names without a dot are the
//!   default vhost.
//!
//! `core/tests/names.rs` holds the table of cases.

mod protocol;
mod srt;
mod text;

use std::borrow::{Borrow, Cow};
use std::cmp::Ordering;
use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

pub use self::protocol::{Action, Protocol, Service};
pub use self::srt::SrtStreamId;
pub(crate) use self::srt::given_or;
use self::text::WHITE_SPACE;
pub(crate) use self::text::{
    decode, decode_name, escape_at, query_value, split_authority, split_query, unquote,
    with_escapes,
};

/// One stream: a vhost and a path of one or more segments, equal for every protocol's spelling of it.
///
/// The vhost is a lower-case domain name or [`DEFAULT_VHOST`]. The last segment of the path is the stream, those before
/// it are the app. Only clients of a [dialect](crate::dialect) that knows no apps name a path of one segment. No segment
/// is empty, holds a control character or white space around it, or is `.` or `..`.
///
/// Where parameters of a query belong to a name ([`NameRule`](crate::place::rule::NameRule)), they are the last segment,
/// and the only one that begins with a question mark: `cam/realmonitor/?channel=1`.
///
/// ```
/// use sluicegate_core::stream::StreamUrl;
///
/// let published = StreamUrl::from_rtmp("rtmp://example.com/live", "a?token=1").unwrap();
/// let played = StreamUrl::from_http(Some("example.com:8080"), "/live/a.flv?token=2").unwrap();
/// assert_eq!(published, played);
/// assert_eq!(published.to_string(), "example.com/live/a");
/// ```
// One text, because each open session keeps one, and shares it with the key that it is placed under. Neither a vhost nor
// the name of a stream contains a slash.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct StreamUrl(Arc<str>);

impl StreamUrl {
    /// The stream `stream` of `app` on `vhost`. If `stream` contains slashes, what precedes the last one moves into the
    /// app. An empty app is [`DEFAULT_APP`].
    pub fn new(vhost: &str, app: &str, stream: &str) -> Result<Self, StreamError> {
        if let Some(parameters) = stream.strip_prefix('?') {
            let mut path = Path::default();
            path.push(app)?;
            let bare = path.literally_on(&fold_vhost(vhost)?)?;
            return bare.with_parameters(parameters);
        }
        let mut path = Path::default();
        path.push(app)?;
        if !path.push(stream)? {
            return Err(StreamError::EmptyStream);
        }
        path.on(fold_vhost(vhost)?)
    }

    /// The stream that `path` names on `host`, where every segment counts. White space and `_definst_` are refused, where other
    /// spellings leave them out; a space of other scripts is a letter in all of them.
    pub fn of_path(host: &str, path: &str) -> Result<Self, StreamError> {
        let odd = |segment: &str| segment == DEFAULT_INSTANCE || segment.contains(WHITE_SPACE);
        if path.split('/').any(odd) {
            return Err(StreamError::OddSegment);
        }
        let mut named = Path::default();
        named.push(path)?;
        named.literally_on(&fold_vhost(host)?)
    }

    /// This stream, with `parameters` such as `channel=1&subtype=0` as a part of its name.
    ///
    /// # Errors
    /// [`StreamError`], for parameters whose values are not made of letters, digits and `. _ ~ -`: one text must not be
    /// another's with a parameter more.
    pub fn with_parameters(&self, parameters: &str) -> Result<Self, StreamError> {
        let is_pair = |pair: &str| {
            let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._~-".contains(&byte);
            pair.split_once('=').is_some_and(|(name, value)| {
                !name.is_empty() && [name, value].into_iter().flat_map(str::bytes).all(plain)
            })
        };
        if !parameters.split('&').all(is_pair) || self.stream().starts_with('?') {
            return Err(StreamError::Parameter);
        }
        within("stream", parameters, MAX_STREAM - 1)?;
        within("app", self.path(), MAX_APP)?;
        Ok(Self([self.as_str(), "/?", parameters].concat().into()))
    }

    /// What an RTMP client asks for: `tc_url` from its `connect` and `name` from its `publish` or `play`. Either may
    /// carry a query.
    ///
    /// Without a name, the last segment of an app with several becomes the stream, as in SRS; otherwise the stream is
    /// empty and refused. A `tc_url` without a scheme is taken as a path.
    pub fn from_rtmp(tc_url: &str, name: &str) -> Result<Self, StreamError> {
        // Clients that cannot send a query write `app...vhost...example.com`.
        let tc_url = tc_url.replace(DOTTED_VHOST, "?vhost=");
        let name = name.replace(DOTTED_VHOST, "?vhost=");
        let (host, target) = split_authority(&tc_url);
        // Flash encoders write `rtmp://h/app?k=v/stream`: the query of the tcUrl comes before the name, so each is
        // split by itself. A slash inside a query never counts.
        let (app, app_query) = split_query(target);
        let (name, name_query) = split_query(&name);

        let mut path = Path::default();
        path.push(&decode_name(app))?;
        let named = path.push(&decode_name(name))?;
        if !named && path.app.is_empty() {
            return Err(StreamError::EmptyStream);
        }
        path.on(vhost_of([app_query, name_query], host)?)
    }

    /// What an HTTP client asks for: the `Host` header and an origin-form request target, such as
    /// `/live/a.flv?vhost=example.com`. A known media extension is not part of the name.
    ///
    /// The form `/?app=live&stream=a` is understood only if the path names nothing: an origin serves the path, and two
    /// readings of one request must not differ.
    pub fn from_http(host: Option<&str>, target: &str) -> Result<Self, StreamError> {
        let (text, query) = split_query(target);
        let mut path = Path::default();
        if !path.push(&decode_name(text))? {
            path.push(&query_value([query], "app")?.unwrap_or_default())?;
            if !path.push(&query_value([query], "stream")?.unwrap_or_default())? {
                return Err(StreamError::EmptyStream);
            }
        }
        path.drop_extension()?;
        path.on(vhost_of([query, ""], host)?)
    }

    /// What a WHIP or WHEP client asks for: the `Host` header and a request target such as
    /// `/rtc/v1/whip/?app=live&stream=a`. As in SRS, the defaults are the app `live` and the stream `livestream`.
    pub fn from_whip(host: Option<&str>, target: &str) -> Result<Self, StreamError> {
        let (_, query) = split_query(target);
        let app = query_value([query], "app")?;
        let stream = query_value([query], "stream")?;
        let mut path = Path::default();
        path.push(app.as_deref().unwrap_or(WHIP_APP))?;
        if !path.push(stream.as_deref().unwrap_or(WHIP_STREAM))? {
            return Err(StreamError::EmptyStream);
        }
        path.on(vhost_of([query, ""], host)?)
    }

    /// What a WebRTC client asks for: `webrtc://example.com/live/a?token=1`, or a path together with the `Host` header.
    /// The vhost is that of the URL if it names a host.
    pub fn from_webrtc(host: Option<&str>, url: &str) -> Result<Self, StreamError> {
        let (named, target) = split_authority(url);
        let (text, query) = split_query(target);
        let mut path = Path::default();
        path.push(&decode_name(text))?;
        path.on(vhost_of([query, ""], named.or(host))?)
    }

    /// What an RTSP client asks for: `rtsp://example.com:554/live/a?token=1`.
    pub fn from_rtsp(url: &str) -> Result<Self, StreamError> {
        let (host, target) = split_authority(url);
        let (text, query) = split_query(target);
        let mut path = Path::default();
        path.push(&decode_name(text))?;
        path.on(vhost_of([query, ""], host)?)
    }

    /// A lower-case domain name, or [`DEFAULT_VHOST`].
    pub fn vhost(&self) -> &str {
        self.parts().0
    }

    /// The application: the segments before the last one; empty if there is only one.
    pub fn app(&self) -> &str {
        self.parts().1
    }

    /// The path without the vhost: the app and the stream.
    pub fn path(&self) -> &str {
        self.0.split_once('/').unwrap_or_default().1
    }

    /// The path without the parameters that belong to the name.
    pub fn bare_path(&self) -> &str {
        let path = self.path();
        path.split_once("/?").map_or(path, |(bare, _)| bare)
    }

    /// The parameters that belong to the name; empty if there are none.
    pub fn parameters(&self) -> &str {
        self.path().split_once("/?").unwrap_or_default().1
    }

    /// The name of the stream within its app, which has one segment.
    pub fn stream(&self) -> &str {
        self.parts().2
    }

    /// `vhost/app/stream`
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The vhost, the app and the stream.
    fn parts(&self) -> (&str, &str, &str) {
        let (vhost, path) = self.0.split_once('/').unwrap_or_default();
        let (app, stream) = path.rsplit_once('/').unwrap_or(("", path));
        (vhost, app, stream)
    }
}

impl Ord for StreamUrl {
    fn cmp(&self, other: &Self) -> Ordering {
        self.parts().cmp(&other.parts())
    }
}

impl PartialOrd for StreamUrl {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Display for StreamUrl {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl FromStr for StreamUrl {
    type Err = StreamError;

    /// The inverse of `Display`. Only a domain name or [`DEFAULT_VHOST`] may be followed by one segment: `live/a` lacks it.
    fn from_str(text: &str) -> Result<Self, StreamError> {
        let (vhost, path) = text.split_once('/').ok_or(StreamError::Incomplete)?;
        let Some((app, stream)) = path.rsplit_once('/') else {
            if path.is_empty() || !(vhost == DEFAULT_VHOST || is_domain(vhost)) {
                return Err(StreamError::Incomplete);
            }
            return Self::of_path(vhost, path);
        };
        if vhost.is_empty() || app.is_empty() {
            return Err(StreamError::Incomplete);
        }
        Self::new(vhost, app, stream)
    }
}

/// How vhosts affect placement.
///
/// An origin tells vhosts apart itself, so two streams that share a placement are always served correctly. A publisher
/// that uses a domain name and a player that uses an address would miss each other if they had different placements.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum VhostRule {
    /// Streams that differ only in their vhost share a placement.
    #[default]
    Ignored,
    /// Only these vhosts count; all others share the default placement. Use [`VhostRule::listed`].
    Listed(BTreeSet<String>),
    /// Every vhost counts: for many tenants with equal stream names, or for a store shared with other kinds of proxies.
    Separate,
}

impl VhostRule {
    /// The rule under which only these `names` count; each must be a domain name.
    pub fn listed<S: AsRef<str>>(names: impl IntoIterator<Item = S>) -> Result<Self, StreamError> {
        names
            .into_iter()
            .map(|name| match fold_vhost(name.as_ref())? {
                vhost if vhost == DEFAULT_VHOST => Err(StreamError::NotAVhost),
                vhost => Ok(vhost),
            })
            .collect::<Result<_, _>>()
            .map(Self::Listed)
    }

    /// The key under which `url` is placed.
    pub fn key(&self, url: &StreamUrl) -> PlacementKey {
        let vhost = url.vhost();
        let counts = match self {
            Self::Ignored => false,
            Self::Listed(names) => names.contains(vhost),
            Self::Separate => true,
        };
        if counts || vhost == DEFAULT_VHOST {
            return PlacementKey(Arc::clone(&url.0));
        }
        PlacementKey([DEFAULT_VHOST, "/", url.path()].concat().into())
    }
}

/// The name under which a stream is placed: `vhost/app/stream`, with the vhost as the [`VhostRule`] maps it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PlacementKey(Arc<str>);

impl PlacementKey {
    /// The key as text, which is also the key in a shared store.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Borrow<str> for PlacementKey {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for PlacementKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// Why a client's name for a stream is refused. No variant repeats what the client wrote.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum StreamError {
    /// A part of the name holds a control character.
    #[error("the name holds a control character")]
    ControlCharacter,
    /// An address that the clients' dialect has no reading for.
    #[error("{dialect} clients: {rule}")]
    Dialect {
        /// The name of the dialect.
        dialect: &'static str,
        /// The rule that it breaks.
        rule: &'static str,
    },
    /// A segment is `.` or `..`.
    #[error("the name holds a `.` or `..` segment")]
    DotSegment,
    /// The stream has no name.
    #[error("no stream is named")]
    EmptyStream,
    /// A text in the form `vhost/app/stream` has too few parts.
    #[error("a stream is written as vhost/app/stream")]
    Incomplete,
    /// A listed vhost is an address or has no dot.
    #[error(
        "a vhost is a domain name with a dot; addresses and single words are the default vhost"
    )]
    NotAVhost,
    /// The percent-escapes of what is shown beside a name do not decode to UTF-8.
    #[error("the name is not UTF-8")]
    NotUtf8,
    /// A segment holds white space, is `_definst_` or begins with a question mark.
    #[error(
        "the name holds white space, the segment _definst_ or one that begins with a question mark"
    )]
    OddSegment,
    /// A parameter that belongs to the name has several values, or one with other characters.
    #[error("a parameter that belongs to the name has one value, of letters, digits and . _ ~ -")]
    Parameter,
    /// The mode of an SRT stream id is unknown.
    #[error("the mode of an SRT stream id is publish, request or bidirectional")]
    SrtMode,
    /// A part of the name is too long.
    #[error("the {part} is longer than {limit} bytes")]
    TooLong {
        /// Which part: `vhost`, `app` or `stream`.
        part: &'static str,
        /// Maximum bytes of the part.
        limit: usize,
    },
}

/// A path that grows segment by segment: the last segment so far, and what precedes it.
#[derive(Default)]
struct Path {
    app: String,
    stream: Option<String>,
}

impl Path {
    /// Adds the segments of `text`; returns whether there was one.
    fn push(&mut self, text: &str) -> Result<bool, StreamError> {
        let mut named = false;
        for segment in text.split('/') {
            // SRS removes spaces anywhere in names, and hand-typed stream keys end in line breaks.
            let mut segment = Cow::Borrowed(segment.trim_matches(WHITE_SPACE));
            if segment.contains(' ') {
                segment = segment.replace(' ', "").into();
            }
            match &*segment {
                "" | DEFAULT_INSTANCE => continue,
                "." | ".." => return Err(StreamError::DotSegment),
                other if other.starts_with('?') => return Err(StreamError::OddSegment),
                other if has_control(other) => return Err(StreamError::ControlCharacter),
                _ => {}
            }
            if let Some(before) = self.stream.replace(segment.into_owned()) {
                if !self.app.is_empty() {
                    self.app.push('/');
                }
                self.app.push_str(&before);
            }
            within("app", &self.app, MAX_APP)?;
            named = true;
        }
        Ok(named)
    }

    /// Takes a media file's extension off the stream's name; the rest is read as a name of its own.
    fn drop_extension(&mut self) -> Result<(), StreamError> {
        let named = self.stream.take().unwrap_or_default();
        let name = match named.rsplit_once('.') {
            Some((stem, extension)) if is_media_extension(extension) => stem,
            _ => {
                self.stream = Some(named);
                return Ok(());
            }
        };
        let is_page = |extension: &str| {
            let mut pages = PAGE_EXTENSIONS.iter();
            pages.any(|page| extension.eq_ignore_ascii_case(page))
        };
        if self.push(name)? {
            return Ok(());
        }
        // `/app/stream.isml/.m3u8`: the pages of a Unified Origin have no name but their stream's.
        if name.is_empty() && named.strip_prefix('.').is_some_and(is_page) && !self.app.is_empty() {
            let (app, stream) = self.app.rsplit_once('/').unwrap_or(("", &self.app));
            self.stream = Some(stream.to_owned());
            self.app = app.to_owned();
            return Ok(());
        }
        Err(StreamError::EmptyStream)
    }

    fn on(mut self, vhost: String) -> Result<StreamUrl, StreamError> {
        if self.app.is_empty() {
            DEFAULT_APP.clone_into(&mut self.app);
        }
        self.literally_on(&vhost)
    }

    /// All segments so far.
    fn joined(&self) -> String {
        let stream = self.stream.as_deref().unwrap_or_default();
        let slash = if self.app.is_empty() { "" } else { "/" };
        [&self.app, slash, stream].concat()
    }

    /// The stream, whose app is empty if there is only one segment.
    fn literally_on(self, vhost: &str) -> Result<StreamUrl, StreamError> {
        let stream = self.stream.ok_or(StreamError::EmptyStream)?;
        within("stream", &stream, MAX_STREAM)?;
        let slash = if self.app.is_empty() { "" } else { "/" };
        let parts = [vhost, "/", &self.app, slash, &stream];
        Ok(StreamUrl(parts.concat().into()))
    }
}

fn has_control(text: &str) -> bool {
    match text.is_ascii() {
        true => text.bytes().any(|byte| byte.is_ascii_control()),
        false => text.contains(char::is_control),
    }
}

fn within(part: &'static str, text: &str, limit: usize) -> Result<(), StreamError> {
    if text.len() > limit {
        return Err(StreamError::TooLong { part, limit });
    }
    Ok(())
}

/// The vhost that the `queries` name, or else `host`.
fn vhost_of(queries: [&str; 2], host: Option<&str>) -> Result<String, StreamError> {
    let named = match query_value(queries, "vhost")? {
        None => query_value(queries, "domain")?,
        vhost => vhost,
    };
    match named.as_deref().map(str::trim) {
        // In SRS too, naming the default vhost is the same as naming none.
        None | Some(DEFAULT_VHOST) => fold_vhost(host.unwrap_or_default()),
        Some(vhost) => fold_vhost(vhost),
    }
}

/// The canonical form of a host or vhost: no port, lower case; [`DEFAULT_VHOST`] for anything that is not a domain
/// name of two labels or more.
pub(crate) fn fold_vhost(host: &str) -> Result<String, StreamError> {
    let host = host.trim_matches([' ', '\t', '\r', '\n', '/']);
    if has_control(host) {
        return Err(StreamError::ControlCharacter);
    }
    let name = match host.split_once(':') {
        None => host,
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        // An IPv6 address, or nothing readable.
        Some(_) => "",
    };
    let name = name.strip_suffix('.').unwrap_or(name);
    if !is_domain(name) {
        return Ok(DEFAULT_VHOST.to_owned());
    }
    within("vhost", name, MAX_VHOST)?;
    Ok(name.to_ascii_lowercase())
}

/// Whether `name` has two labels or more and does not end in a number, as an IPv4 address does.
fn is_domain(name: &str) -> bool {
    let Some((_, last)) = name.rsplit_once('.') else {
        return false;
    };
    let is_label = |label: &str| {
        !label.is_empty()
            && label
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
    };
    name.split('.').all(is_label) && !last.bytes().all(|byte| byte.is_ascii_digit())
}

/// Whether a stream can have this vhost, in any case of its letters.
pub(crate) fn is_vhost(text: &str) -> bool {
    text.eq_ignore_ascii_case(DEFAULT_VHOST) || is_domain(text) && text.len() <= MAX_VHOST
}

/// Whether a stream can have this app, which names no default by being empty.
pub(crate) fn is_app(text: &str) -> bool {
    let mut path = Path::default();
    let is_kept = path.push(text).is_ok_and(|named| named) && path.joined() == text;
    is_kept && text.len() <= MAX_APP
}

/// Whether a stream can have this name within its app.
pub(crate) fn is_stream(text: &str) -> bool {
    // Parameters that belong to the name stand alone.
    let segment = text.strip_prefix('?').unwrap_or(text);
    let mut path = Path::default();
    let is_kept = path.push(segment).is_ok_and(|named| named) && path.joined() == segment;
    is_kept && path.app.is_empty() && text.len() <= MAX_STREAM
}

pub(crate) fn is_media_extension(extension: &str) -> bool {
    MEDIA_EXTENSIONS
        .iter()
        .any(|known| extension.eq_ignore_ascii_case(known))
}

/// The vhost of clients that do not name one.
pub const DEFAULT_VHOST: &str = "__defaultVhost__";

/// The app of streams that do not name one.
pub const DEFAULT_APP: &str = "__defaultApp__";

/// Maximum characters of a domain name: 253 (RFC 1035 §2.3.4, without the root dot).
pub const MAX_VHOST: usize = 253;

/// Maximum bytes of an app. Real ones have a few dozen. Together with the other limits, this bounds every key, row and
/// log line.
pub const MAX_APP: usize = 256;

/// Maximum bytes of a stream's name: as long as an SRT stream id may be. Signed names are the longest seen, at about a
/// hundred.
pub const MAX_STREAM: usize = 512;

/// A segment that Flash encoders put between the app and the stream; it names nothing.
const DEFAULT_INSTANCE: &str = "_definst_";

/// The marker before a vhost, for clients that cannot send a query.
const DOTTED_VHOST: &str = "...vhost...";

/// Extensions that may follow a stream's name over HTTP without being part of it.
const MEDIA_EXTENSIONS: [&str; 8] = ["aac", "flv", "m3u8", "m4s", "mp3", "mp4", "mpd", "ts"];

/// Those of them that may stand alone, in the folder of their stream.
const PAGE_EXTENSIONS: [&str; 2] = ["m3u8", "mpd"];

/// SRS's defaults for WHIP and WHEP.
const WHIP_APP: &str = "live";
const WHIP_STREAM: &str = "livestream";
