//! Series per stream, if enabled: the first streams, up to a limit, have series of their own; all others share `other`.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Unit;
use tokio::time::Instant;

use super::catalog::Catalog;

/// The series of streams; a cheap clone.
#[derive(Debug, Clone)]
pub struct Streams {
    table: Arc<Mutex<Table>>,
}

#[derive(Debug, Default)]
struct Table {
    /// Maximum number of streams with series of their own; 0 turns all series per stream off.
    most: usize,
    own: HashMap<String, Sums>,
    other: Sums,
}

/// The sums of one stream, or of all others.
#[derive(Debug, Default)]
struct Sums {
    publishers: i64,
    players: i64,
    to_client: u64,
    to_origin: u64,
    seen: Option<Instant>,
}

/// What a session adds to the series of its stream.
#[derive(Debug, Clone, Copy)]
pub(crate) struct StreamShare {
    /// Whether the session publishes.
    pub(crate) publishes: bool,
    /// Whether the session is open.
    pub(crate) open: bool,
    /// Bytes to the client since the last report.
    pub(crate) to_client: u64,
    /// Bytes to the origin since the last report.
    pub(crate) to_origin: u64,
}

impl Streams {
    pub(super) fn new(registry: &mut Catalog) -> Self {
        let streams = Self {
            table: Arc::default(),
        };
        let families = [
            (
                SESSIONS,
                SESSIONS_HELP,
                MetricType::Gauge,
                &["stream", "action"][..],
            ),
            (
                BYTES_NAME,
                BYTES_HELP,
                MetricType::Counter,
                &["stream", "direction"],
            ),
        ];
        registry.register_collector(families, streams.clone());
        streams
    }

    /// Gives up to `most` streams series of their own, and a shared one to all others; 0 gives none.
    pub fn keep(&self, most: usize) {
        self.lock().most = most;
    }

    /// Whether series per stream are enabled.
    pub(crate) fn wanted(&self) -> bool {
        self.lock().most > 0
    }

    /// Prepares a scrape: sessions are counted again from the shares of all sessions, and streams that had none for
    /// [`KEPT`] make room.
    pub(crate) fn settle<'a>(&self, shares: impl IntoIterator<Item = (&'a str, StreamShare)>) {
        let now = Instant::now();
        let mut table = self.lock();
        let fresh = |sums: &Sums| {
            sums.publishers + sums.players > 0 || sums.seen.is_some_and(|seen| now - seen < KEPT)
        };
        table.own.retain(|_, sums| fresh(sums));
        let Table { own, other, .. } = &mut *table;
        for sums in own.values_mut().chain([other]) {
            (sums.publishers, sums.players) = (0, 0);
        }
        for (stream, share) in shares {
            table.add(stream, share, now);
        }
    }

    /// Adds the share of one session.
    pub(crate) fn add(&self, stream: &str, share: StreamShare) {
        self.lock().add(stream, share, Instant::now());
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table {
    fn add(&mut self, stream: &str, share: StreamShare, now: Instant) {
        if self.most == 0 {
            return;
        }
        if self.own.len() < self.most && !self.own.contains_key(stream) {
            self.own.insert(stream.to_owned(), Sums::default());
        }
        let sums = self.own.get_mut(stream).unwrap_or(&mut self.other);
        sums.seen = Some(now);
        sums.publishers += i64::from(share.open && share.publishes);
        sums.players += i64::from(share.open && !share.publishes);
        sums.to_client += share.to_client;
        sums.to_origin += share.to_origin;
    }

    fn all(&self) -> impl Iterator<Item = (&str, &Sums)> {
        let own = self.own.iter().map(|(name, sums)| (name.as_str(), sums));
        own.chain([(OTHER, &self.other)])
    }
}

/// Written straight from the table: families would keep each name twice more.
impl Collector for Streams {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let table = self.lock();
        if table.most == 0 {
            return Ok(());
        }
        let mut family =
            encoder.encode_descriptor(SESSIONS, SESSIONS_HELP, None, MetricType::Gauge)?;
        for (stream, sums) in table.all() {
            for (action, count) in [("publish", sums.publishers), ("play", sums.players)] {
                let labels = [("stream", stream), ("action", action)];
                ConstGauge::new(count).encode(family.encode_family(&labels)?)?;
            }
        }
        let unit = Some(&Unit::Bytes);
        let mut family = encoder.encode_descriptor(BYTES, BYTES_HELP, unit, MetricType::Counter)?;
        for (stream, sums) in table.all() {
            for (direction, bytes) in [("to_client", sums.to_client), ("to_origin", sums.to_origin)]
            {
                let labels = [("stream", stream), ("direction", direction)];
                ConstCounter::new(bytes).encode(family.encode_family(&labels)?)?;
            }
        }
        Ok(())
    }
}

const SESSIONS: &str = "stream_sessions";
const SESSIONS_HELP: &str = "Open sessions of a stream; only with metrics.streams";
const BYTES: &str = "stream_relayed";
const BYTES_NAME: &str = "stream_relayed_bytes";
const BYTES_HELP: &str = "Bytes passed on for a stream; only with metrics.streams";
/// The label of all streams without series of their own. The names of streams contain slashes, so no stream has this
/// name.
const OTHER: &str = "other";
/// How long the series of a stream without sessions are kept: long enough for the last bytes to be scraped.
const KEPT: Duration = Duration::from_secs(300);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::Metrics;

    fn share(to_client: u64) -> StreamShare {
        StreamShare {
            publishes: false,
            open: true,
            to_client,
            to_origin: 0,
        }
    }

    #[tokio::test(start_paused = true)]
    async fn streams_beyond_the_cap_share_one_series_and_old_ones_make_room() {
        let metrics = Metrics::new();
        let streams = &metrics.streams_by_name;
        streams.settle([("v/live/a", share(1))]);
        assert!(
            !metrics.render().contains("stream_sessions"),
            "off at first"
        );
        streams.keep(1);
        streams.settle([
            ("v/live/a", share(10)),
            ("v/live/b", share(20)),
            ("v/live/c", share(30)),
        ]);
        let text = metrics.render();
        for line in [
            "sluicegate_stream_relayed_bytes_total{stream=\"v/live/a\",direction=\"to_client\"} 10",
            "sluicegate_stream_relayed_bytes_total{stream=\"other\",direction=\"to_client\"} 50",
            "sluicegate_stream_sessions{stream=\"other\",action=\"play\"} 2",
        ] {
            assert!(text.contains(line), "{line}\n{text}");
        }
        streams.settle([]);
        tokio::time::advance(KEPT).await;
        streams.settle([("v/live/b", share(5))]);
        let text = metrics.render();
        assert!(!text.contains("v/live/a"), "{text}");
        assert!(text.contains("{stream=\"v/live/b\",direction=\"to_client\"} 5"));
        assert!(
            text.contains("{stream=\"other\",direction=\"to_client\"} 50"),
            "{text}"
        );
    }
}
