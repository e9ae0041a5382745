//! The segments of a playlist as viewers get them, each with where it came from.

use std::borrow::Cow;
use std::fmt::Write;

use super::media::{DISCONTINUITY, DURATION, GAP, KEY, MAP, Media, PART, Segment, TIME, path_of};
use super::{On, Splice, Stage};
use crate::http::link::{ABSENT, PARAMETER};

/// A playlist in pieces, of which each lists what one origin has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listing {
    /// In order.
    pub pieces: Vec<Piece>,
}

/// A piece of a playlist, of whole lines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Piece {
    /// Which of [`Splice::sources`] its segments came from; `None`: the origin that is asked now.
    pub source: Option<u8>,
    /// Its segments can be had nowhere: their URIs are to get the link [`ABSENT`].
    pub gap: bool,
    /// The lines.
    pub text: String,
}

impl Listing {
    /// All of it.
    pub fn text(&self) -> String {
        self.pieces
            .iter()
            .map(|piece| piece.text.as_str())
            .collect()
    }
}

/// What a player gets of the gaps in a playlist.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gaps {
    /// They are listed, each with its mark.
    Listed,
    /// It does not know the mark: it would ask for the first, and take the refusal for the end of the stream. It is listed what
    /// follows the last gap, with the numbers that this has, and nothing as long as nothing does.
    LeftOut,
}

/// Whether a request is for a segment that is marked as a gap.
pub fn is_gap(target: &str) -> bool {
    let (_, query) = target.split_once('?').unwrap_or_default();
    let link = |pair: &str| {
        pair.strip_prefix(PARAMETER)?
            .strip_prefix('=')
            .map(|link| link == ABSENT)
    };
    query.split('&').any(|pair| link(pair) == Some(true))
}

/// A segment on its way into a playlist.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Item<'a> {
    /// Its tags.
    pub(super) lines: Vec<Cow<'a, str>>,
    pub(super) uri: Cow<'a, str>,
    pub(super) source: Option<u8>,
    pub(super) gap: bool,
}

/// What is listed, and how it is counted.
pub(super) struct Listed<'a> {
    /// The number of the first of `items`.
    pub(super) first: u64,
    /// The discontinuity sequence number before it.
    pub(super) breaks: u64,
    pub(super) items: Vec<Item<'a>>,
}

/// Segments that are no longer listed.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Dropped {
    pub(super) count: u64,
    /// How many of them followed a discontinuity.
    pub(super) breaks: u64,
}

impl Item<'_> {
    /// Nobody can get it any more: only its name stays, and what places it in time.
    pub(super) fn give_up(&mut self) {
        self.gap = true;
        let kept = |line: &Cow<'_, str>| {
            line.starts_with(DURATION) || line.starts_with(TIME) || *line == DISCONTINUITY
        };
        self.lines.retain(kept);
        self.lines.push(Cow::Borrowed(GAP));
        let path = path_of(&self.uri).len();
        match &mut self.uri {
            Cow::Borrowed(uri) => *uri = uri.get(..path).unwrap_or_default(),
            Cow::Owned(uri) => uri.truncate(path),
        }
    }

    /// Whether it may name the viewer whom it was listed for, or needs what its playlist defined.
    pub(super) fn is_for_one(&self) -> bool {
        let texts = self.lines.iter().chain([&self.uri]);
        texts
            .into_iter()
            .any(|text| text.contains('?') || text.contains("{$"))
    }

    fn has(&self, tag: &str) -> bool {
        self.lines.iter().any(|line| line.starts_with(tag))
    }

    fn breaks(&self) -> u64 {
        self.lines
            .iter()
            .filter(|line| **line == DISCONTINUITY)
            .count() as u64
    }
}

/// The init section and the keys that apply to segments until others are named (§4.4.4.4, §4.4.4.5).
#[derive(Default)]
struct InForce<'a> {
    source: Option<u8>,
    map: Option<Cow<'a, str>>,
    keys: Vec<Cow<'a, str>>,
}

impl<'a> InForce<'a> {
    fn pass(&mut self, item: &Item<'a>) {
        if item.gap {
            return;
        }
        if item.source != self.source {
            *self = Self::default();
            self.source = item.source;
        }
        let mut after_key = false;
        for line in &item.lines {
            if line.starts_with(MAP) {
                self.map = Some(line.clone());
            }
            let is_key = line.starts_with(KEY);
            if is_key && !after_key {
                self.keys.clear();
            }
            if is_key {
                self.keys.push(line.clone());
            }
            after_key = is_key;
        }
    }

    fn apply(self, item: &mut Item<'a>) {
        if item.gap || item.source != self.source {
            return;
        }
        if let Some(map) = self.map.filter(|_| !item.has(MAP)) {
            item.lines.insert(0, map);
        }
        if !item.has(KEY) {
            item.lines.splice(0..0, self.keys);
        }
    }

    fn encrypts(&self) -> bool {
        self.keys.iter().any(|key| !key.contains("METHOD=NONE"))
    }
}

/// The last `count` of `items`, with what applies to them from before.
pub(super) fn keep_last(mut items: Vec<Item<'_>>, count: usize) -> (Vec<Item<'_>>, Dropped) {
    let cut = items.len().saturating_sub(count);
    let mut dropped = Dropped::default();
    let mut in_force = InForce::default();
    for item in items.drain(..cut) {
        dropped.count += 1;
        dropped.breaks += item.breaks();
        in_force.pass(&item);
    }
    if let Some(first) = items.first_mut() {
        in_force.apply(first);
    }
    (items, dropped)
}

/// A segment of the origin that is asked now.
pub(super) fn item<'a>(segment: &Segment<'a>) -> Item<'a> {
    Item {
        lines: segment
            .lines
            .iter()
            .map(|line| Cow::Borrowed(*line))
            .collect(),
        uri: Cow::Borrowed(segment.uri),
        source: None,
        gap: false,
    }
}

/// What viewers get listed where an origin lists `media`. `reaches`: whether an origin still has what it listed earlier.
pub(super) fn listed<'a>(
    before: Option<&'a Splice>,
    media: &'a Media<'_>,
    reaches: impl Fn(&str) -> bool,
) -> Listed<'a> {
    let all = (media.sequence..).zip(&media.segments);
    let Some((splice, on)) = before.and_then(|splice| match &splice.stage {
        Stage::On(on) => Some((splice, on)),
        Stage::Away(_) => None,
    }) else {
        return Listed {
            first: media.sequence,
            breaks: media.breaks,
            items: all.map(|(_, segment)| item(segment)).collect(),
        };
    };
    let base = splice.base(on);
    if media.sequence > on.first {
        return Listed {
            first: base.saturating_add(media.sequence - on.first),
            breaks: splice.breaks_at(on, media.breaks),
            items: all.map(|(_, segment)| item(segment)).collect(),
        };
    }
    let (earlier, shown): (Vec<_>, Vec<_>) = all.partition(|(number, _)| *number < on.first);
    let mut in_force = InForce::default();
    for (_, segment) in earlier {
        in_force.pass(&item(segment));
    }
    let mut theirs: Vec<Item<'a>> = shown
        .into_iter()
        .map(|(_, segment)| item(segment))
        .collect();
    let room = splice.window.saturating_sub(theirs.len() as u64);
    let (mut items, dropped) = splice.before(on.gaps, room, reaches);
    let mut breaks = splice.breaks.saturating_add(dropped.breaks);
    if let Some(first) = theirs.first_mut() {
        in_force.apply(first);
        items = join(items, first, on);
    }
    let first = base.saturating_sub(items.len() as u64);
    if items.is_empty() {
        breaks = splice.all_breaks();
    }
    items.append(&mut theirs);
    Listed {
        first,
        breaks,
        items,
    }
}

/// `old`, so that `first` of another origin can follow.
fn join<'a>(mut old: Vec<Item<'a>>, first: &mut Item<'a>, on: &On) -> Vec<Item<'a>> {
    if !first.has(MAP) && old.iter().any(|item| item.has(MAP)) {
        // An init section cannot be revoked.
        for item in old.iter_mut().filter(|item| !item.gap) {
            item.give_up();
        }
    }
    let mut in_force = InForce::default();
    for item in &old {
        in_force.pass(item);
    }
    if in_force.encrypts() && !first.has(KEY) {
        first.lines.insert(0, Cow::Borrowed(NO_KEY));
    }
    if on.marked {
        first.lines.insert(0, Cow::Borrowed(DISCONTINUITY));
    }
    old
}

impl Splice {
    /// The discontinuity sequence number after the tail.
    pub(super) fn all_breaks(&self) -> u64 {
        let lines = self.tail.iter().flat_map(|entry| &entry.lines);
        let breaks = lines.filter(|line| *line == DISCONTINUITY).count();
        self.breaks.saturating_add(breaks as u64)
    }

    /// The discontinuity sequence number once the first segment of `on` is listed no more, where the origin's own is `theirs`.
    /// An origin that counts none has still shown the one that its first segment came with.
    pub(super) fn breaks_at(&self, on: &On, theirs: u64) -> u64 {
        let since = theirs.saturating_sub(on.breaks).max(u64::from(on.own));
        self.all_breaks()
            .saturating_add(u64::from(on.marked))
            .saturating_add(since)
    }
}

impl Listed<'_> {
    /// The same as a player with these `gaps` gets it.
    pub(super) fn with(self, gaps: Gaps) -> Self {
        let last = self.items.iter().rposition(|item| item.gap);
        let (Gaps::LeftOut, Some(last)) = (gaps, last) else {
            return self;
        };
        let after = self.items.len() - last - 1;
        let (items, dropped) = keep_last(self.items, after);
        Self {
            first: self.first.saturating_add(dropped.count),
            breaks: self.breaks.saturating_add(dropped.breaks),
            items,
        }
    }

    /// The playlist, with the tags `head` of all of it and what comes after its last segment.
    pub(super) fn written<'h>(
        self,
        target: u64,
        version: u64,
        head: impl Iterator<Item = &'h str>,
        rest: &[&str],
    ) -> Listing {
        let mut writer = Writer {
            piece: Piece {
                source: None,
                gap: false,
                text: format!(
                    "#EXTM3U\n#EXT-X-VERSION:{version}\n#EXT-X-TARGETDURATION:{target}\n#EXT-X-MEDIA-SEQUENCE:{}\n\
                     #EXT-X-DISCONTINUITY-SEQUENCE:{}\n",
                    self.first, self.breaks
                ),
            },
            pieces: Vec::new(),
        };
        head.for_each(|line| writer.line(line));
        for item in &self.items {
            writer.turn_to(item.source, item.gap);
            for line in &item.lines {
                // Parts of what is whole by now, at an origin that has gone.
                if item.source.is_none() || !line.starts_with(PART) {
                    writer.line(line);
                }
            }
            writer.line(&item.uri);
        }
        writer.turn_to(None, false);
        rest.iter().for_each(|line| writer.line(line));
        writer.pieces.push(writer.piece);
        Listing {
            pieces: writer.pieces,
        }
    }
}

struct Writer {
    piece: Piece,
    pieces: Vec<Piece>,
}

impl Writer {
    fn line(&mut self, line: &str) {
        let _ = writeln!(self.piece.text, "{line}");
    }

    fn turn_to(&mut self, source: Option<u8>, gap: bool) {
        if (self.piece.source, self.piece.gap) != (source, gap) {
            let next = Piece {
                source,
                gap,
                text: String::new(),
            };
            self.pieces.push(std::mem::replace(&mut self.piece, next));
        }
    }
}

const NO_KEY: &str = "#EXT-X-KEY:METHOD=NONE";
