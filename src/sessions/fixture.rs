//! A table of sessions, and a session in it, for tests of whatever has to do with one.

use std::sync::Arc;
use std::time::Duration;

use sluicegate_core::stream::{Action, Protocol, StreamUrl, VhostRule};

use super::{Limits, OpenRow, Request, Sessions};
use crate::metrics::Metrics;

/// A table for `max` sessions.
pub(crate) fn sessions(max: usize) -> Arc<Sessions> {
    let limits = Limits {
        publisher_idle: Duration::from_secs(30),
        player_idle: Duration::from_secs(30),
        play_wait: Duration::from_secs(600),
        write_stall: Duration::from_secs(20),
        max,
    };
    Arc::new(Sessions::new(limits, Arc::new(Metrics::new())))
}

/// One more session of `live/a`, over RTMP; `None` where the table is full.
pub(crate) fn opened(table: &Arc<Sessions>, action: Action) -> Option<OpenRow> {
    let request = Request {
        stream: StreamUrl::new("", "live", "a").expect("a stream"),
        action,
        protocol: Protocol::Rtmp,
        client: "192.0.2.1:5000".parse().expect("an address"),
        by_way_of: None,
        bond: None,
        credentials: None,
    };
    let key = VhostRule::Ignored.key(&request.stream);
    table.open(request, key)
}
