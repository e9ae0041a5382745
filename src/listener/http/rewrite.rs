//! What becomes of an origin's answer on its way to players: its URIs, and the headers that speak of its bytes.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::{BodyExt, Limited};
use hyper::HeaderMap;
use hyper::header::{
    ACCEPT_RANGES, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, ETAG, HeaderName, HeaderValue,
    LAST_MODIFIED,
};
use sluicegate_core::fleet::origin::{OriginId, Target};
use sluicegate_core::http::base::BasePath;
use sluicegate_core::http::head::{Forwarded, RequestHead};
use sluicegate_core::http::page::{Other, Page};
use sluicegate_core::http::route::{Piece, Route};
use sluicegate_core::http::sharing::Audience;
use sluicegate_core::http::splice::Listing;
use sluicegate_core::http::stamp::Stamping;
use sluicegate_core::http::{dash, document, encoding, hls, link, periods, places, vtt};
use tokio::time::timeout;
use tracing::debug;

use super::share::Head;
use crate::metrics::{KindLabel, Metrics};
use crate::net::coding;
use crate::origin::line::LineBody;

/// What is rewritten.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// Cues of WebVTT, which may be pictures.
    Cues,
    /// JSON that a playlist or manifest names.
    Document,
    /// A manifest, or a part of one.
    Manifest,
    Playlist,
}

impl Form {
    /// The form of an answer that is none of the files that players begin with, by what it says of itself; one that says nothing
    /// is known by the ending of its `target`.
    pub(super) fn of_document(headers: &HeaderMap, target: &str) -> Option<Self> {
        let kind = headers
            .get(CONTENT_TYPE)
            .and_then(|kind| kind.to_str().ok());
        let kind = kind
            .unwrap_or_default()
            .split(';')
            .next()
            .unwrap_or_default();
        match kind.trim().to_ascii_lowercase().as_str() {
            "application/json" | "text/json" | "application/vnd.apple.steering-list" => {
                Some(Self::Document)
            }
            "application/dash+xml"
            | "application/dash-patch+xml"
            | "application/xml"
            | "text/xml" => Some(Self::Manifest),
            "application/vnd.apple.mpegurl"
            | "application/x-mpegurl"
            | "audio/mpegurl"
            | "audio/x-mpegurl" => Some(Self::Playlist),
            "" | "application/octet-stream" | "binary/octet-stream" | "text/plain" => {
                Self::by_ending(target)
            }
            "text/vtt" => Some(Self::Cues),
            kind if kind.ends_with("+json") => Some(Self::Document),
            _ => None,
        }
    }

    fn by_ending(target: &str) -> Option<Self> {
        let path = target.split('?').next().unwrap_or_default();
        let (_, ending) = path.rsplit_once('.')?;
        match ending.to_ascii_lowercase().as_str() {
            "json" => Some(Self::Document),
            "mpp" | "xml" => Some(Self::Manifest),
            "vtt" | "webvtt" => Some(Self::Cues),
            _ => None,
        }
    }

    const fn as_str(self) -> &'static str {
        match self {
            Self::Cues => "cues",
            Self::Document => "document",
            Self::Manifest => "manifest",
            Self::Playlist => "playlist",
        }
    }
}

/// How a client reached us, for URIs in full: a proxy in front of us that is believed says how its client did.
pub(super) fn site(head: &RequestHead, forwarded: &Forwarded) -> String {
    let told = |name: &str| {
        let value = head.headers.text(name).filter(|_| forwarded.trusted)?;
        let first = value.split(',').next().unwrap_or_default().trim();
        Some(first).filter(|first| !first.is_empty())
    };
    let told_secure = || head.headers.told_secure().filter(|_| forwarded.trusted);
    let secure = forwarded.secure || told_secure() == Some(true);
    let scheme = if secure { "https" } else { "http" };
    let host = told("x-forwarded-host").or_else(|| head.host());
    format!("{scheme}://{}", host.unwrap_or_default())
}

/// A playlist or manifest on its way to players.
#[derive(Clone, Copy)]
pub(super) struct Rewriting<'a> {
    pub(super) form: Form,
    /// How the client names us.
    pub(super) host: &'a str,
    /// Where it came from.
    pub(super) target: &'a Target,
    /// The sealed link that every URI gets.
    pub(super) link: &'a str,
    /// The folder under which clients reach us.
    pub(super) base: &'a BasePath,
    /// The link for other renditions.
    pub(super) report: &'a str,
    /// Where it lies on the origin, if clients ask for it by another path.
    pub(super) folder: Option<&'a str>,
    /// How the client reached us.
    pub(super) site: &'a str,
    /// The folder that the client asked in.
    pub(super) at: &'a str,
    /// What it says of the paths that it lists.
    pub(super) stamping: Stamping<'a>,
    /// Other origins of the fleet that it names.
    pub(super) others: &'a [Other<'a>],
}

impl Rewriting<'_> {
    fn page<'p>(&'p self, origin: &'p [&'p str]) -> Page<'p> {
        Page {
            host: self.host,
            origin,
            link: self.link,
            report: self.report,
            base: self.base.as_str(),
            folder: self.folder,
            site: self.site,
            at: self.at,
            stamping: Some(self.stamping),
            others: self.others,
        }
    }

    /// The body as players get it; `head` speaks of the new one then. What cannot be read passes as it is, but for where it names
    /// an origin: players may know better what it is.
    pub(super) fn apply(&self, head: &mut Head, body: Bytes, metrics: &Metrics) -> Bytes {
        let began = Instant::now();
        let names = [
            self.target.to_string(),
            places::at_port(self.host, self.target.port),
        ];
        let origin = names.each_ref().map(String::as_str);
        let page = self.page(&origin);
        let rewritten = match self.form {
            Form::Playlist => hls::rewrite(&body, &page),
            Form::Manifest => dash::rewrite(&body, &page),
            Form::Document => document::rewrite(&body, &page),
            Form::Cues => vtt::rewrite(&body, &page),
        };
        metrics
            .rewrite
            .get_or_create(&KindLabel {
                kind: self.form.as_str(),
            })
            .observe(began.elapsed().as_secs_f64());
        let rewritten = match rewritten {
            Ok(Cow::Owned(rewritten)) => Some(Bytes::from(rewritten)),
            Ok(Cow::Borrowed(_)) => None,
            Err(error) => {
                debug!(%error, kind = self.form.as_str(), "passed without being read");
                page.write_uris_in(&body).map(Bytes::from)
            }
        };
        let body = rewritten.unwrap_or(body);
        speak_of(head, &body);
        body
    }

    /// A playlist or manifest that several origins have, as players get it; `parts` say for each of its pieces whose it is. No
    /// validator of an origin speaks of it.
    pub(super) fn join(&self, head: &mut Head, listing: &Listing, parts: &[Part]) -> Bytes {
        let origins: Vec<[&str; 1]> = parts.iter().map(|part| [part.authority.as_str()]).collect();
        let pages = parts.iter().zip(&origins).map(|(part, origin)| Page {
            link: &part.link,
            folder: part.folder.as_deref(),
            stamping: Some(Stamping {
                origin: &part.origin,
                ..self.stamping
            }),
            ..self.page(origin)
        });
        let texts = listing.pieces.iter().map(|piece| piece.text.as_str());
        let body = match self.form {
            Form::Manifest => {
                let rewritten = |(text, page): (&str, Page<'_>)| {
                    let whole = dash::rewrite(text.as_bytes(), &page);
                    whole.map_or_else(|_| text.as_bytes().to_vec(), Cow::into_owned)
                };
                let pieces: Vec<Vec<u8>> = texts.zip(pages).map(rewritten).collect();
                periods::joined(&pieces)
            }
            Form::Cues | Form::Document | Form::Playlist => hls::rewrite_pieces(texts.zip(pages)),
        };
        let body = Bytes::from(body);
        speak_of(head, &body);
        for name in [ETAG, LAST_MODIFIED] {
            head.headers.remove(name);
        }
        body
    }
}

/// Where the segments of a piece of a playlist are.
#[derive(Debug)]
pub(super) struct Part {
    /// Who has them.
    pub(super) origin: OriginId,
    /// The `host:port` by which their origin may name itself.
    pub(super) authority: String,
    /// The link that they get.
    pub(super) link: Arc<str>,
    /// The folder of the playlist there, if clients ask for it by another path.
    pub(super) folder: Option<String>,
}

/// Makes a head speak of `body`, which is not the origin's.
pub(super) fn speak_of(head: &mut Head, body: &Bytes) {
    for name in ABOUT_BYTES {
        head.headers.remove(name);
    }
    head.headers.remove(ACCEPT_RANGES);
    head.headers
        .insert(CONTENT_LENGTH, HeaderValue::from(body.len()));
}

/// A playlist of pieces, as the only variant of a master playlist: from here on a viewer asks for it by a link that lets
/// it in, however soon what it showed at first is over.
///
/// `renamed` is the origin's own target, where clients ask by another path.
pub(super) fn as_variant(
    head: &mut Head,
    target: &str,
    renamed: Option<&str>,
    base: &BasePath,
    link: &str,
) -> Bytes {
    let target = renamed.unwrap_or(target);
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let (base, name) = match renamed {
        Some(_) => (base.as_str(), path),
        None => ("", path.rsplit('/').next().unwrap_or_default()),
    };
    let query = match query {
        "" => String::new(),
        query => format!("{query}&"),
    };
    // Players have to be told a bandwidth (RFC 8216 §4.3.4.2), and choose nothing by the only one.
    let body = format!(
        "#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=2000000\n{base}{name}?{query}{}={link}\n",
        link::PARAMETER
    );
    let body = Bytes::from(body);
    speak_of(head, &body);
    head.headers.remove(ETAG);
    body
}

/// Asks for a body without a coding.
pub(super) fn uncoded(head: &mut RequestHead) {
    head.headers.remove("accept-encoding");
    head.headers.push("Accept-Encoding", "identity");
}

/// Asks for a whole, plain body. A validator of ours is the origin's, made weak.
pub(super) fn plain(head: &mut RequestHead) {
    for name in ["range", "if-range", "if-match"] {
        head.headers.remove(name);
    }
    uncoded(head);
    // Its length is that of the rewritten body, which has to be made for it.
    head.method = "GET".to_owned();
    if let Some(tags) = head.headers.text("if-none-match").map(str::to_owned) {
        let strong: Vec<&str> = tags
            .split(',')
            .map(|tag| tag.trim().trim_start_matches("W/"))
            .collect();
        head.headers.remove("if-none-match");
        head.headers.push("If-None-Match", &strong.join(", "));
    }
}

/// Asks for the body whatever the client has of it: the links in that may be over, or of a viewing that is.
pub(super) fn unconditional(head: &mut RequestHead) {
    for name in ["if-modified-since", "if-none-match"] {
        head.headers.remove(name);
    }
}

/// The bytes behind an `ETag` are not the origin's any more, but mean the same (RFC 9110 §8.8.1).
pub(super) fn weaken(headers: &mut HeaderMap) {
    let Some(tag) = headers.get(ETAG).and_then(|tag| tag.to_str().ok()) else {
        return;
    };
    if tag.starts_with("W/") {
        return;
    }
    match HeaderValue::from_str(&format!("W/{tag}")) {
        Ok(weak) => headers.insert(ETAG, weak),
        Err(_) => headers.remove(ETAG),
    };
}

/// Whether a head says something of places.
pub(super) fn names_places(headers: &HeaderMap) -> bool {
    let mut names = places::HEADERS.iter();
    names.any(|name| headers.contains_key(*name))
}

/// Makes what a head says of places right for clients: redirects, links and cookies. They may hold the link of
/// `page` where it `may_link`.
pub(super) fn lead(headers: &mut HeaderMap, page: &Page<'_>, may_link: bool) {
    for name in places::HEADERS {
        if !headers.contains_key(name) {
            continue;
        }
        let values = headers.get_all(name).into_iter().map(|value| {
            let written = places::header(name, value.as_bytes(), page, may_link);
            let written = written.and_then(|written| HeaderValue::try_from(written).ok());
            written.unwrap_or_else(|| value.clone())
        });
        let values: Vec<HeaderValue> = values.collect();
        headers.remove(name);
        for value in values {
            headers.append(HeaderName::from_static(name), value);
        }
    }
}

/// Whether what a page lists by this target may name other files itself: it has no ending of media, or is a list of cues.
pub(super) fn may_name_files(target: &str) -> bool {
    Route::of(target) == Route::Other || Form::by_ending(target).is_some()
}

/// The whole body of an answer that is read here, as UTF-8 in no coding, and whether it came so. Where it did not, `headers`
/// speak of what it is now.
///
/// # Errors
/// Why there is no whole body.
pub(super) async fn whole_text(
    headers: &mut HeaderMap,
    answer: LineBody,
) -> Result<(Bytes, bool), &'static str> {
    let came = collect(answer).await?;
    let decoded = coding::decoded(headers, &came, MAX_BODY)?;
    let text = encoding::from_utf16(decoded.as_ref().unwrap_or(&came)).map(Bytes::from);
    Ok(match text.or(decoded) {
        Some(plain) => {
            forget_encoding(headers);
            (plain, false)
        }
        None => (came, true),
    })
}

/// Takes out of a head what it says of an encoding that its body has no longer: of a coding, and of letters.
fn forget_encoding(headers: &mut HeaderMap) {
    headers.remove(CONTENT_ENCODING);
    let Some(kind) = headers
        .get(CONTENT_TYPE)
        .and_then(|kind| kind.to_str().ok())
    else {
        return;
    };
    let is_charset = |part: &&str| {
        let name = part.split('=').next().unwrap_or_default();
        name.trim().eq_ignore_ascii_case("charset")
    };
    let kept: Vec<&str> = kind.split(';').filter(|part| !is_charset(part)).collect();
    if let Ok(kept) = HeaderValue::try_from(kept.join(";")) {
        headers.insert(CONTENT_TYPE, kept);
    }
}

/// A body in memory.
async fn collect(answer: LineBody) -> Result<Bytes, &'static str> {
    let whole = Limited::new(answer, MAX_BODY).collect();
    match timeout(COLLECT, whole).await {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(_)) => Err("its origin's answer broke off, or is too long"),
        Err(_) => Err("its origin's answer did not come in time"),
    }
}

/// How long an answer may be given to later requests: by what it is, and never longer than its origin says.
pub(super) fn lifetime(kind: Piece, audience: Audience, body: &[u8]) -> Option<Duration> {
    let ours = match kind {
        Piece::Segment => SEGMENT_LIFE,
        Piece::Playlist => playlist_life(body),
        Piece::Manifest => MANIFEST_LIFE,
    };
    match audience {
        Audience::Asker | Audience::Meanwhile => None,
        Audience::Everybody(None) => Some(ours),
        Audience::Everybody(Some(seconds)) => Some(ours.min(Duration::from_secs(seconds))),
    }
}

/// A quarter of the target duration, so that a player is never more than that behind; of a part in a low-latency
/// playlist.
fn playlist_life(body: &[u8]) -> Duration {
    let text = String::from_utf8_lossy(body.get(..PLAYLIST_HEAD).unwrap_or(body));
    let after = |mark: &str| -> Option<f64> {
        let (_, rest) = text.split_once(mark)?;
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.');
        rest.get(..end.unwrap_or(rest.len()))?.parse().ok()
    };
    let target = after("PART-TARGET=").or_else(|| after("#EXT-X-TARGETDURATION:"));
    Duration::from_secs_f64((target.unwrap_or(1.0) / 4.0).clamp(0.05, 2.0))
}

/// What speaks of the origin's very bytes.
const ABOUT_BYTES: [HeaderName; 5] = [
    HeaderName::from_static("content-digest"),
    HeaderName::from_static("content-md5"),
    HeaderName::from_static("content-range"),
    HeaderName::from_static("digest"),
    HeaderName::from_static("repr-digest"),
];

/// The largest playlist and manifest that are rewritten.
const MAX_BODY: usize = if hls::MAX_PLAYLIST > dash::MAX_MANIFEST {
    hls::MAX_PLAYLIST
} else {
    dash::MAX_MANIFEST
};
/// How long the body of a playlist may take after its head.
const COLLECT: Duration = Duration::from_secs(10);
/// The tags that say a playlist's pace stand at its start.
const PLAYLIST_HEAD: usize = 4096;
const MANIFEST_LIFE: Duration = Duration::from_millis(500);
const SEGMENT_LIFE: Duration = Duration::from_secs(120);
