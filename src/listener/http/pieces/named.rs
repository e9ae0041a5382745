//! Which stream the path of a request names a piece of.

use hyper::StatusCode;
use sluicegate_core::dialect::{Dialect, Naming};
use sluicegate_core::http::link::Link;
use sluicegate_core::http::route::{Route, has_ending, has_media_ending};
use sluicegate_core::http::segment::{Owners, Readings, has_dot_segments};
use sluicegate_core::http::stamp::is_listed;
use sluicegate_core::stream::{Action, Protocol, StreamError, StreamUrl};

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

/// The first that is placed of the `readings` of a path, and of the streams in whose folders it lies.
fn placed_of(
    proxy: &Proxy,
    readings: &[StreamUrl],
    host: Option<&str>,
    target: &str,
) -> Option<StreamUrl> {
    let placed = |stream: &StreamUrl| proxy.registry().holder(&proxy.key(stream)).is_some();
    if let Some(known) = readings.iter().find(|stream| placed(stream)) {
        return Some(known.clone());
    }
    let folders = all_named(proxy, Readings::folders_of(host, target), target);
    folders.into_iter().find(placed)
}

/// Whether a path lies in the folder of a stream that is placed.
pub(in crate::listener::http) fn is_in_a_placed_folder(
    proxy: &Proxy,
    host: Option<&str>,
    target: &str,
) -> bool {
    let folders = all_named(proxy, Readings::folders_of(host, target), target);
    let mut keys = folders.iter().map(|stream| proxy.key(stream));
    keys.any(|key| proxy.registry().holder(&key).is_some())
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
    let owners = owners(proxy, dialect, Some(link), host, target);
    let mut all = owners.all();
    is_plain_file(target) && all.any(|name| belongs(name, &link.stream))
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
    let linked = link.is_some_and(|link| proxy.may_judge(&link.stream, Action::Play));
    linked || proxy.may_judge_owners(&owners(proxy, dialect, link, host, target))
}

/// Whose file a target may be. A link's stream is its origin's own, and its files are read in the origin's dialect.
pub(in crate::listener::http) fn owners(
    proxy: &Proxy,
    dialect: Dialect,
    link: Option<&Link>,
    host: Option<&str>,
    target: &str,
) -> Owners {
    let naming = link.and_then(|link| naming_of(proxy, link));
    let dialect = naming.as_ref().map_or(dialect, |naming| naming.dialect);
    let read = dialect.file(host, target).and_then(|file| file.stream.ok());
    let by_path = || Owners::of(host, target).unwrap_or_default();
    let all = match read {
        None => by_path(),
        Some(read) if link.is_none() => Owners {
            named: vec![read],
            ..Owners::default()
        },
        Some(read) => {
            let mut all = by_path();
            all.around.append(&mut all.named);
            all.named.push(read);
            all
        }
    };
    let Some(naming) = naming else {
        return all.renamed(|names| with_parameters(proxy, names, target));
    };
    all.renamed(|names| {
        let names = names.iter();
        names.flat_map(|name| naming.names_of(name)).collect()
    })
}

/// Whose file the address of a stream without end may be as well.
pub(in crate::listener::http) fn owners_of_live(
    proxy: &Proxy,
    (dialect, protocol): (Dialect, Protocol),
    host: Option<&str>,
    target: &str,
) -> Owners {
    let is_open = !proxy.has_rules() && !proxy.has_bans();
    if is_open || dialect.file(host, target).is_some() {
        return Owners::default();
    }
    let all = Owners::of_live(protocol, host, target).unwrap_or_default();
    Owners {
        named: all_named(proxy, all.named.clone(), target),
        ..all.renamed(|names| with_parameters(proxy, names, target))
    }
}

/// Streams by their names, and before these by their whole names, where parameters of the query belong to them.
fn with_parameters(proxy: &Proxy, mut names: Vec<StreamUrl>, target: &str) -> Vec<StreamUrl> {
    let mut called = all_named(proxy, names.clone(), target);
    called.retain(|name| !names.contains(name));
    called.append(&mut names);
    called
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
