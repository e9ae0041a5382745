//! Which stream the path of a request names a piece of.

use hyper::StatusCode;
use sluicegate_core::dialect::Dialect;
use sluicegate_core::http::link::Link;
use sluicegate_core::http::segment::Readings;
use sluicegate_core::stream::{Action, StreamError, StreamUrl};

use crate::proxy::Proxy;

/// The stream a path names a piece of: the first that is placed, of those that it may be.
pub(in crate::listener::http) fn stream_of(
    proxy: &Proxy,
    dialect: Dialect,
    host: Option<&str>,
    target: &str,
) -> Result<StreamUrl, (StatusCode, String)> {
    let bad = |error: StreamError| (StatusCode::BAD_REQUEST, error.to_string());
    let (_, query) = target.split_once('?').unwrap_or_default();
    let named = |stream| proxy.dialects().named(stream, &[query]).map_err(bad);
    if let Some(file) = dialect.file(host, target) {
        return file.stream.map_err(bad).and_then(named);
    }
    let readings = Readings::of(host, target).map_err(bad)?;
    let known = placed_of(proxy, readings.all, host, target);
    known.map_or_else(|| named(readings.likely), Ok)
}

/// The first that is placed of the `readings` of a path, and of the streams in whose folders it lies. Where an access rule
/// may be about one of these, only the path's own name counts: what is let in by one name may not get another's files.
fn placed_of(
    proxy: &Proxy,
    readings: Vec<StreamUrl>,
    host: Option<&str>,
    target: &str,
) -> Option<StreamUrl> {
    let (_, query) = target.split_once('?').unwrap_or_default();
    let named = |streams: Vec<StreamUrl>| -> Vec<StreamUrl> {
        let streams = streams.into_iter();
        let named = streams.filter_map(|stream| proxy.dialects().named(stream, &[query]).ok());
        named.collect()
    };
    let placed = |stream: &StreamUrl| proxy.registry().holder(&proxy.key(stream)).is_some();
    let guarded = |stream: &StreamUrl| proxy.may_judge(stream, Action::Play);
    let readings = named(readings);
    if let Some(known) = readings.iter().find(|stream| placed(stream)) {
        return Some(known.clone());
    }
    let folders = named(Readings::folders_of(host, target));
    let is_open = !readings.iter().chain(&folders).any(guarded);
    folders.into_iter().find(|stream| is_open && placed(stream))
}

/// Whether a path that is none of a known kind may be a file of a stream that is placed.
pub(in crate::listener::http) fn is_of_a_stream(
    proxy: &Proxy,
    dialect: Dialect,
    host: Option<&str>,
    target: &str,
) -> bool {
    if dialect.file(host, target).is_some() {
        return false;
    }
    let readings = Readings::of(host, target).map_or(Vec::new(), |readings| readings.all);
    placed_of(proxy, readings, host, target).is_some()
}

/// Every stream that a target may stand for. That of a link is its origin's own, and is read in the origin's dialect.
pub(super) fn readings(
    proxy: &Proxy,
    dialect: Dialect,
    link: Option<&Link>,
    host: Option<&str>,
    target: &str,
) -> Vec<StreamUrl> {
    let naming = link.and_then(|link| {
        let registry = proxy.registry();
        registry.of_member(&link.origin, |member| {
            member.origin.attributes.naming.clone()
        })
    });
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
