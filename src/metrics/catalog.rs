//! The registry, and the description of each family for the reference.

use prometheus_client::collector::Collector;
use prometheus_client::encoding::EncodeMetric;
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Metric, Registry, Unit};

/// The description of one family.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Described {
    /// The name of its samples, without the suffixes of a histogram.
    pub name: String,
    /// `counter`, `gauge`, `histogram` or `info`.
    pub kind: &'static str,
    /// The help text.
    pub help: &'static str,
    /// The names of its labels.
    pub labels: &'static [&'static str],
}

/// The label names of a label set, in order.
pub trait Labels {
    /// One name for each label.
    const NAMES: &'static [&'static str];
}

/// Declares label sets, with the names of their labels for the reference.
macro_rules! labels {
    ($($(#[$doc:meta])* $name:ident { $($(#[$label_doc:meta])* $label:ident: $kind:ty),* $(,)? })*) => {
        $(
            $(#[$doc])*
            #[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
            pub struct $name { $($(#[$label_doc])* pub $label: $kind),* }

            impl Labels for $name {
                const NAMES: &'static [&'static str] = &[$(stringify!($label)),*];
            }
        )*
    };
}

pub(super) use labels;

/// A metric whose label names are known before it has a sample.
pub(super) trait Labelled {
    const LABELS: &'static [&'static str] = &[];
}

impl<N, A> Labelled for Counter<N, A> {}
impl<N, A> Labelled for Gauge<N, A> {}
impl Labelled for Histogram {}
impl Labelled for Info<Vec<(&'static str, &'static str)>> {
    const LABELS: &'static [&'static str] = &["version"];
}
impl<S: Labels, M, C> Labelled for Family<S, M, C> {
    const LABELS: &'static [&'static str] = S::NAMES;
}

/// Families under a common prefix.
#[derive(Debug, Default)]
pub(super) struct Catalog {
    registry: Registry,
    families: Vec<Described>,
    prefix: &'static str,
}

impl Catalog {
    pub(super) fn new(prefix: &'static str) -> Self {
        Self {
            registry: Registry::with_prefix(prefix),
            families: Vec::new(),
            prefix,
        }
    }

    /// Adds a family without a unit.
    pub(super) fn register<M: Metric + Labelled>(
        &mut self,
        name: &'static str,
        help: &'static str,
        metric: M,
    ) {
        self.describe(name.to_owned(), help, &metric);
        self.registry.register(name, help, metric);
    }

    /// Adds a family that counts in `unit`, which becomes part of its name.
    pub(super) fn register_with_unit<M: Metric + Labelled>(
        &mut self,
        name: &'static str,
        help: &'static str,
        unit: Unit,
        metric: M,
    ) {
        self.describe(format!("{name}_{}", unit.as_str()), help, &metric);
        self.registry.register_with_unit(name, help, unit, metric);
    }

    /// Adds families that are written again at each scrape; their names include their units.
    pub(super) fn register_collector(
        &mut self,
        families: [(
            &'static str,
            &'static str,
            MetricType,
            &'static [&'static str],
        ); 2],
        collector: impl Collector,
    ) {
        for (name, help, kind, labels) in families {
            self.tell(name.to_owned(), help, kind, labels);
        }
        self.registry.register_collector(Box::new(collector));
    }

    pub(super) fn families(&self) -> &[Described] {
        &self.families
    }

    /// Every family that has a sample, as OpenMetrics text.
    pub(super) fn encode(&self) -> String {
        let mut text = String::new();
        // Writing to a string cannot fail.
        let _ = prometheus_client::encoding::text::encode(&mut text, &self.registry);
        text
    }

    fn describe<M: EncodeMetric + Labelled>(
        &mut self,
        name: String,
        help: &'static str,
        metric: &M,
    ) {
        self.tell(name, help, metric.metric_type(), M::LABELS);
    }

    fn tell(
        &mut self,
        name: String,
        help: &'static str,
        kind: MetricType,
        labels: &'static [&'static str],
    ) {
        let (kind, suffix) = match kind {
            MetricType::Counter => ("counter", "_total"),
            MetricType::Gauge => ("gauge", ""),
            MetricType::Histogram => ("histogram", ""),
            MetricType::Info => ("info", "_info"),
            MetricType::Unknown => ("unknown", ""),
        };
        self.families.push(Described {
            name: format!("{}_{name}{suffix}", self.prefix),
            kind,
            help,
            labels,
        });
    }
}
