//! A packager of MPEG-DASH that stands in for an origin's, and a viewer that holds it to what players need of a manifest.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// A stream as one origin packages it: segments of a second, of which the last six are listed.
#[derive(Clone)]
pub(crate) struct Show {
    name: &'static str,
    /// From when on it counts.
    anchor: &'static str,
    first: u64,
    made: Arc<AtomicU64>,
}

impl Show {
    /// With segments that are named after `name` and counted from `first`, and times that count from `anchor`.
    pub(crate) fn new(name: &'static str, anchor: &'static str, first: u64) -> Self {
        Self {
            name,
            anchor,
            first,
            made: Arc::default(),
        }
    }

    pub(crate) fn makes(&self, count: u64) {
        self.made.fetch_add(count, Ordering::SeqCst);
    }

    /// What it lists; `None` where there is nothing.
    pub(crate) fn manifest(&self) -> Option<String> {
        let made = self.made.load(Ordering::SeqCst);
        let left_out = made.saturating_sub(6);
        let listed = (made - left_out).saturating_sub(1);
        let text = format!(
            "<?xml version=\"1.0\"?>\n<MPD xmlns=\"urn:mpeg:dash:schema:mpd:2011\" type=\"dynamic\" availabilityStartTime=\"{}\" \
             minimumUpdatePeriod=\"PT1S\">\n<Period id=\"0\" start=\"PT0S\"><AdaptationSet><SegmentTemplate timescale=\"1000\" \
             media=\"{name}-$Number$.m4s\" initialization=\"{name}-init.mp4\" startNumber=\"{}\"><SegmentTimeline>\
             <S t=\"{}\" d=\"1000\" r=\"{listed}\"/></SegmentTimeline></SegmentTemplate><Representation id=\"v\"/></AdaptationSet>\
             </Period>\n</MPD>\n",
            self.anchor,
            self.first + left_out,
            left_out * 1000,
            name = self.name,
        );
        (made > 0).then_some(text)
    }

    /// Whether a path names a segment of it, or what comes before its segments.
    pub(crate) fn has(&self, path: &str) -> bool {
        let Some(rest) = path.strip_prefix(&format!("/live/{}-", self.name)) else {
            return false;
        };
        let number = rest
            .strip_suffix(".m4s")
            .and_then(|number| number.parse::<u64>().ok());
        let made = self.made.load(Ordering::SeqCst);
        rest == "init.mp4"
            || number.is_some_and(|number| (self.first..self.first + made).contains(&number))
    }
}

/// What a viewer of a manifest has seen of it.
#[derive(Debug, Default)]
pub(crate) struct Watcher {
    anchor: Option<String>,
    /// When each segment is presented, in milliseconds.
    told: BTreeMap<String, u64>,
    /// Until when there is something to present.
    pub(crate) end: u64,
    /// The Periods that are listed now: name, start and duration in milliseconds.
    pub(crate) periods: Vec<(String, u64, Option<u64>)>,
    /// The address of each segment that is listed now, with its link.
    pub(crate) listed: Vec<String>,
}

impl Watcher {
    /// Reads the manifest again: its Periods are in order, and a segment stays where it is in time.
    pub(crate) fn see(&mut self, text: &str) {
        let anchor = attribute(text, "availabilityStartTime").expect("it counts from somewhere");
        assert_eq!(*self.anchor.get_or_insert_with(|| anchor.clone()), anchor);
        self.periods.clear();
        self.listed.clear();
        for period in text.split("<Period").skip(1) {
            let time = |name: &str| attribute(period, name).map(|text| millis(&text));
            let start = time("start").expect("it starts");
            if let Some((_, before, duration)) = self.periods.last() {
                let duration = duration.unwrap_or_else(|| panic!("a Period has no end: {text}"));
                assert!(before + duration <= start, "Periods overlap: {text}");
            }
            let tag = period.split('>').next().unwrap_or_default();
            let duration = attribute(tag, "duration").map(|text| millis(&text));
            let id = attribute(tag, "id").expect("a name");
            self.periods.push((id, start, duration));
            self.see_segments(period, start, text);
        }
        assert!(!self.periods.is_empty(), "{text}");
    }

    fn see_segments(&mut self, period: &str, start: u64, text: &str) {
        let number = |from: &str, name: &str| {
            attribute(from, name).and_then(|text| text.parse::<u64>().ok())
        };
        let media = attribute(period, "media").expect("a pattern");
        let mut count = number(period, "startNumber").unwrap_or(1);
        let offset = number(period, "presentationTimeOffset").unwrap_or(0);
        for run in period.split("<S").filter(|run| run.starts_with(" t=")) {
            let mut time = number(run, "t").expect("a time");
            for _ in 0..=number(run, "r").unwrap_or(0) {
                let address = media.replace("$Number$", &count.to_string());
                let name = address.split('?').next().unwrap_or_default().to_owned();
                let at = start + time - offset;
                let end = self.end;
                let known = *self.told.entry(name).or_insert_with(|| {
                    assert!(at >= end, "{address} goes back to {at} from {end}: {text}");
                    at
                });
                assert_eq!(known, at, "{address}: {text}");
                self.end = self.end.max(at + 1000);
                self.listed.push(address);
                time += 1000;
                count += 1;
            }
        }
    }

    /// The address of the segment of this name, where it is listed.
    pub(crate) fn address(&self, name: &str) -> Option<&str> {
        let mut listed = self.listed.iter().map(String::as_str);
        listed.find(|address| address.split('?').next() == Some(name))
    }
}

/// The value of the first attribute of this name.
fn attribute(text: &str, name: &str) -> Option<String> {
    let (_, rest) = text.split_once(&format!(" {name}=\""))?;
    Some(rest.split('"').next()?.replace("&amp;", "&"))
}

/// Milliseconds of a duration in seconds.
fn millis(text: &str) -> u64 {
    let seconds = text
        .strip_prefix("PT")
        .and_then(|text| text.strip_suffix('S'));
    let seconds: f64 = seconds.and_then(|text| text.parse().ok()).expect("seconds");
    (seconds * 1000.0).round() as u64
}
