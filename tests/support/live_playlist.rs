//! A packager that stands in for an origin's, and a viewer that holds it to what players need of a playlist.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// A stream as one origin packages it: segments of a second, of which the last six are listed.
#[derive(Clone)]
pub(crate) struct Show {
    name: &'static str,
    first: u64,
    /// How many segments there are; none: the origin does not have the stream.
    made: Arc<AtomicU64>,
}

impl Show {
    /// With segments that are named after `name` and counted from `first`.
    pub(crate) fn new(name: &'static str, first: u64) -> Self {
        Self {
            name,
            first,
            made: Arc::default(),
        }
    }

    pub(crate) fn makes(&self, count: u64) {
        self.made.fetch_add(count, Ordering::SeqCst);
    }

    /// The packager begins again, with another publication.
    pub(crate) fn restarts(&self) {
        self.made.store(0, Ordering::SeqCst);
    }

    /// What it lists; `None` where there is nothing.
    pub(crate) fn playlist(&self) -> Option<String> {
        let made = self.made.load(Ordering::SeqCst);
        let from = made.saturating_sub(6);
        let first = self.first + from;
        let mut text = format!(
            "#EXTM3U\n#EXT-X-VERSION:3\n#EXT-X-TARGETDURATION:1\n#EXT-X-MEDIA-SEQUENCE:{first}\n"
        );
        for number in first..self.first + made {
            text.push_str(&format!(
                "#EXTINF:1.00{},\n{}-{number}.ts\n",
                number % 7,
                self.name
            ));
        }
        (made > 0).then_some(text)
    }

    /// Whether a path names a segment of it.
    pub(crate) fn has(&self, path: &str) -> bool {
        let number = path
            .strip_prefix(&format!("/live/{}-", self.name))
            .and_then(|rest| rest.strip_suffix(".ts"))
            .and_then(|number| number.parse::<u64>().ok());
        let made = self.made.load(Ordering::SeqCst);
        number.is_some_and(|number| (self.first..self.first + made).contains(&number))
    }
}

/// What a viewer of a playlist has seen of it.
#[derive(Debug, Default)]
pub(crate) struct Watcher {
    /// The path that each number named, and the discontinuities before it.
    known: BTreeMap<u64, (String, u64)>,
    first: u64,
    /// The number that comes next.
    pub(crate) end: u64,
    /// The URI of each segment that is listed now, with its link, and whether it is marked as a gap.
    pub(crate) listed: Vec<(String, bool)>,
    /// The discontinuity sequence number that is written now.
    pub(crate) breaks: u64,
    /// Segments that follow a discontinuity and are listed now.
    pub(crate) discontinuities: usize,
}

impl Watcher {
    /// Reads the playlist again: its numbers do not go back, and each names what it named before.
    pub(crate) fn see(&mut self, text: &str) {
        let (mut number, mut breaks, mut gap) = (0, 0, false);
        let mut first = None;
        self.listed.clear();
        self.discontinuities = 0;
        for line in text.lines() {
            let value = |tag: &str| {
                line.strip_prefix(tag)
                    .map(|value| value.parse().expect("a number"))
            };
            if let Some(sequence) = value("#EXT-X-MEDIA-SEQUENCE:") {
                number = sequence;
                first = Some(sequence);
            } else if let Some(sequence) = value("#EXT-X-DISCONTINUITY-SEQUENCE:") {
                (breaks, self.breaks) = (sequence, sequence);
            } else if line == "#EXT-X-DISCONTINUITY" {
                breaks += 1;
                self.discontinuities += 1;
            } else if line == "#EXT-X-GAP" {
                gap = true;
            } else if !line.starts_with('#') && !line.is_empty() {
                let path = line.split('?').next().expect("a path").to_owned();
                let named = (path, breaks);
                let known = self.known.entry(number).or_insert_with(|| named.clone());
                assert_eq!(*known, named, "number {number} names one segment: {text}");
                self.listed.push((line.to_owned(), gap));
                (number, gap) = (number + 1, false);
            }
        }
        let first = first.unwrap_or_else(|| panic!("it has a number: {text}"));
        assert!(
            first >= self.first,
            "the numbers go back from {}: {text}",
            self.first
        );
        assert!(
            number >= self.end,
            "the end goes back from {}: {text}",
            self.end
        );
        (self.first, self.end) = (first, number);
    }

    /// The URI of the segment of this name, where it is listed.
    pub(crate) fn uri(&self, name: &str) -> Option<&str> {
        let mut uris = self.listed.iter().map(|(uri, _)| uri.as_str());
        uris.find(|uri| uri.split('?').next() == Some(name))
    }

    /// How many of those listed are marked as gaps.
    pub(crate) fn gaps(&self) -> usize {
        self.listed.iter().filter(|(_, gap)| *gap).count()
    }
}
