//! Which stream the path of a request names a piece of.

use hyper::StatusCode;
use sluicegate_core::dialect::{Dialect, Naming};
use sluicegate_core::http::link::Link;
use sluicegate_core::http::route::{Route, has_ending, has_media_ending};
use sluicegate_core::http::segment::{Readings, has_dot_segments};
use sluicegate_core::http::stamp::is_listed;
use sluicegate_core::stream::{Action, StreamError, StreamUrl};

use crate::listener::http::Http;
use crate::listener::http::granted::belongs;
use crate::proxy::Proxy;

/// The streams that a path may name a piece of, as far as the path says.
#[derive(Debug)]
pub(super) enum Named {
    /// No other.
    One(StreamUrl),
    /// The first that is placed of these, and of the streams in whose folders the path lies; else the likely one.
    OneOf {
        readings: Vec<StreamUrl>,
        likely: Result<StreamUrl, StreamError>,
    },
}

impl Named {
    /// The streams that `target` may name a piece of.
    pub(super) fn by(
        proxy: &Proxy,
        dialect: Dialect,
        host: Option<&str>,
        target: &str,
    ) -> Result<Self, StreamError> {
        let (_, query) = target.split_once('?').unwrap_or_default();
        let named = |stream| proxy.dialects().named(stream, &[query]);
        if let Some(file) = dialect.file(host, target) {
            return file.stream.and_then(named).map(Self::One);
        }
        let readings = Readings::of(host, target)?;
        Ok(Self::OneOf {
            readings: all_named(proxy, readings.all, target),
            likely: named(readings.likely),
        })
    }

    /// The stream, as things stand now.
    pub(super) fn stream(
        &self,
        proxy: &Proxy,
        host: Option<&str>,
        target: &str,
    ) -> Result<StreamUrl, StreamError> {
        match self {
            Self::One(stream) => Ok(stream.clone()),
            Self::OneOf { readings, likely } => {
                let known = placed_of(proxy, readings, host, target);
                known.map_or_else(|| likely.clone(), Ok)
            }
        }
    }
}

/// The stream a path names a piece of: the first that is placed, of those that it may be.
pub(in crate::listener::http) fn stream_of(
    proxy: &Proxy,
    dialect: Dialect,
    host: Option<&str>,
    target: &str,
) -> Result<StreamUrl, (StatusCode, String)> {
    let named = Named::by(proxy, dialect, host, target);
    let stream = named.and_then(|named| named.stream(proxy, host, target));
    stream.map_err(no_stream)
}

/// What is said to a path that names no stream.
pub(super) fn no_stream(error: StreamError) -> (StatusCode, String) {
    (StatusCode::BAD_REQUEST, error.to_string())
}

/// Streams by their whole names, where parameters of the query belong to these.
fn all_named(proxy: &Proxy, streams: Vec<StreamUrl>, target: &str) -> Vec<StreamUrl> {
    let (_, query) = target.split_once('?').unwrap_or_default();
    let streams = streams.into_iter();
    let named = streams.filter_map(|stream| proxy.dialects().named(stream, &[query]).ok());
    named.collect()
}

/// The first that is placed of the `readings` of a path, and of the streams in whose folders it lies. Where an access rule
/// may be about one of these, only the path's own name counts: what is let in by one name may not get another's files.
fn placed_of(
    proxy: &Proxy,
    readings: &[StreamUrl],
    host: Option<&str>,
    target: &str,
) -> Option<StreamUrl> {
    let placed = |stream: &StreamUrl| proxy.registry().holder(&proxy.key(stream)).is_some();
    let guarded = |stream: &StreamUrl| proxy.may_judge(stream, Action::Play);
    if let Some(known) = readings.iter().find(|stream| placed(stream)) {
        return Some(known.clone());
    }
    let folders = all_named(proxy, Readings::folders_of(host, target), target);
    let is_open = !readings.iter().chain(&folders).any(guarded);
    folders.into_iter().find(|stream| is_open && placed(stream))
}

/// Whether a page of the link's stream listed a target, by the stamp that came with the link.
pub(in crate::listener::http) fn was_listed(
    http: &Http,
    link: Option<&Link>,
    stamp: Option<&str>,
    target: &str,
) -> bool {
    let shown = link.zip(stamp);
    shown.is_some_and(|(link, stamp)| is_listed(&http.pieces.key, link, stamp, target))
}

/// Whether an origin may be asked for a target at all, if no page listed it. On the port of its media an origin may have more
/// than media, so a path that does not end as media does has to be a file of a stream: of the link's, or of one that is placed.
pub(in crate::listener::http) fn may_ask(
    proxy: &Proxy,
    dialect: Dialect,
    link: Option<&Link>,
    host: Option<&str>,
    target: &str,
) -> bool {
    if has_media_ending(target) {
        return true;
    }
    let Some(link) = link else {
        return match dialect.file(host, target) {
            Some(file) => matches!(file.route, Route::Piece(_)),
            None => is_of_a_stream(proxy, dialect, host, target),
        };
    };
    let readings = readings(proxy, dialect, Some(link), host, target);
    is_plain_file(target) && readings.iter().any(|name| belongs(name, &link.stream))
}

/// Whether a path names a file by an ending, there where it says. Interfaces of servers have none.
fn is_plain_file(target: &str) -> bool {
    has_ending(target) && !has_dot_segments(target)
}

/// Whether a path that is none of a known kind may be a file of a stream that is placed.
pub(in crate::listener::http) fn is_of_a_stream(
    proxy: &Proxy,
    dialect: Dialect,
    host: Option<&str>,
    target: &str,
) -> bool {
    if dialect.file(host, target).is_some() || !is_plain_file(target) {
        return false;
    }
    let readings = Readings::of(host, target).map_or(Vec::new(), |readings| readings.all);
    let readings = all_named(proxy, readings, target);
    placed_of(proxy, &readings, host, target).is_some()
}

/// Whether an access rule may be about the stream of a link or about any that a target may stand for.
pub(in crate::listener::http) fn is_guarded(
    proxy: &Proxy,
    dialect: Dialect,
    link: Option<&Link>,
    host: Option<&str>,
    target: &str,
) -> bool {
    if !proxy.has_rules() {
        return false;
    }
    let linked = link.map(|link| link.stream.clone());
    let mut all = readings(proxy, dialect, link, host, target)
        .into_iter()
        .chain(linked);
    all.any(|stream| proxy.may_judge(&stream, Action::Play))
}

/// Every stream that a target may stand for. That of a link is its origin's own, and is read in the origin's dialect.
pub(super) fn readings(
    proxy: &Proxy,
    dialect: Dialect,
    link: Option<&Link>,
    host: Option<&str>,
    target: &str,
) -> Vec<StreamUrl> {
    let naming = link.and_then(|link| naming_of(proxy, link));
    let dialect = naming.as_ref().map_or(dialect, |naming| naming.dialect);
    let read = dialect.file(host, target).and_then(|file| file.stream.ok());
    let mut all: Vec<StreamUrl> = read.into_iter().collect();
    if all.is_empty() || link.is_some() {
        all.extend(Readings::of(host, target).map_or(Vec::new(), |readings| readings.all));
    }
    match naming {
        Some(naming) => all
            .iter()
            .flat_map(|stream| naming.names_of(stream))
            .collect(),
        None => all,
    }
}

/// Whether what is asked for as a piece of `stream` is the address of a stream without end: of that one, or of another that is
/// placed. No page of ours lists one.
pub(super) fn has_no_end(
    proxy: &Proxy,
    dialect: Dialect,
    (stream, link): (&StreamUrl, Option<&Link>),
    host: Option<&str>,
    target: &str,
) -> bool {
    let naming = link.and_then(|link| naming_of(proxy, link));
    let dialect = naming.as_ref().map_or(dialect, |naming| naming.dialect);
    if let Some(file) = dialect.file(host, target) {
        return matches!(file.route, Route::Live(_));
    }
    let (_, query) = target.split_once('?').unwrap_or_default();
    let read = || StreamUrl::from_http(host, target).ok();
    let read = Route::live(target).and_then(|_| read());
    let Some(named) = read.and_then(|read| proxy.dialects().named(read, &[query]).ok()) else {
        return false;
    };
    let names = match naming {
        Some(naming) => naming.names_of(&named),
        None => vec![named],
    };
    let is_placed = |name: &StreamUrl| proxy.registry().holder(&proxy.key(name)).is_some();
    let mut names = names.iter();
    names.any(|name| name.path() == stream.path() || is_placed(name))
}

/// How the origin of a link names streams, if it is known.
fn naming_of(proxy: &Proxy, link: &Link) -> Option<Naming> {
    let registry = proxy.registry();
    registry.of_member(&link.origin, |member| {
        member.origin.attributes.naming.clone()
    })
}
