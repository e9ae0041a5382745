//! Media playlists that go on while the origin of their stream changes (RFC 8216bis §6.2).
//!
//! Players of HLS give up where the numbers of segments go back, where a number names another segment than before, and
//! where a playlist is missing. So what viewers have of a playlist is kept here when its origin is lost: while the stream is
//! away it grows by one segment a target duration, marked as a gap, and what another origin lists after that gets the
//! numbers that follow, behind one discontinuity.
//!
//! A playlist that has had one origin is passed on as it is, and nothing of this is needed for it.

pub mod ask;
mod list;
mod media;

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

pub use self::list::{Gaps, Listing, Piece, is_gap};
use self::list::{Item, keep_last};
pub use self::media::Media;
use self::media::{DISCONTINUITY, KEY, MAP, duration, millis, path_of};
use crate::fleet::origin::OriginId;

/// How a media playlist goes on that has had more than one origin, or that has none now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Splice {
    /// Grows with every change.
    pub epoch: u64,
    /// The number of the first segment of `tail`, as viewers count.
    first: u64,
    /// The discontinuity sequence number before it.
    breaks: u64,
    /// What viewers had when the last origin was lost.
    tail: Vec<Entry>,
    /// How many segments viewers were shown.
    window: u64,
    /// The longest target duration so far, in seconds.
    target: u64,
    /// The highest protocol version so far.
    version: u64,
    /// Where the segments of `tail` came from.
    sources: Vec<Source>,
    stage: Stage,
}

/// A segment that viewers have.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Entry {
    /// Its tags, a line each.
    lines: Vec<String>,
    uri: String,
    /// Which of the sources.
    source: u8,
    /// Nobody can get it.
    gap: bool,
}

impl Entry {
    fn of(item: Item<'_>, source: u8) -> Self {
        Self {
            lines: item.lines.into_iter().map(Cow::into_owned).collect(),
            uri: item.uri.into_owned(),
            source,
            gap: item.gap,
        }
    }
}

/// An origin that segments came from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Source {
    /// Its id.
    pub origin: String,
    /// The `host:port` by which it may name itself.
    pub authority: String,
    /// The folder of the playlist there, if clients know it by another path.
    pub folder: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
enum Stage {
    /// No origin has the stream.
    Away(Away),
    /// An origin has it.
    On(On),
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Away {
    /// The origin that had it.
    origin: String,
    /// The number that comes next there, and how many of the tail's last segments it listed.
    end: u64,
    run: u64,
    /// Viewers had parts of the next segment.
    partial: bool,
    /// When the last segment came, in milliseconds since 1970.
    since: u64,
    /// When the loss was noticed.
    noted: u64,
    /// Until when the playlist grows.
    until: u64,
    /// Tags of the whole playlist.
    head: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct On {
    origin: String,
    /// The number there of the first segment that is shown.
    first: u64,
    /// The discontinuity sequence number there before it.
    breaks: u64,
    /// Segments between the tail and it.
    gaps: u64,
    /// Whether it got a discontinuity of ours.
    marked: bool,
    /// Whether it came with a discontinuity of the origin's own. Records of earlier builds do not say.
    #[serde(default)]
    own: bool,
    /// Since when it has it, in milliseconds since 1970.
    at: u64,
}

/// Whom a playlist came from.
#[derive(Debug, Clone, Copy)]
pub struct Run<'a> {
    /// The origin.
    pub origin: &'a OriginId,
    /// The `host:port` by which it may name itself.
    pub authority: &'a str,
    /// The folder of the playlist there, if clients know it by another path.
    pub folder: Option<&'a str>,
    /// What it listed can be had no more.
    pub gone: bool,
}

/// The place of a source among `sources`, to which it is added if it is new: as long as there are fewer than `most`, and the
/// last one stands for it otherwise.
pub(super) fn index_in(sources: &mut Vec<Source>, source: &Source, most: usize) -> usize {
    let known = sources.iter().position(|known| known == source);
    known.unwrap_or_else(|| {
        if sources.len() < most {
            sources.push(source.clone());
        }
        sources.len() - 1
    })
}

/// When a stream was lost, in milliseconds since 1970.
#[derive(Debug, Clone, Copy)]
pub struct Loss {
    /// When its last segment came.
    pub since: u64,
    /// When that was noticed.
    pub noted: u64,
    /// Until when its playlist grows.
    pub until: u64,
}

/// What viewers may have seen of a playlist while no origin had it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seen {
    /// It, as it was until this moment, in milliseconds since 1970.
    pub until: u64,
    /// Numbers of segments that are not known here.
    pub spare: u64,
}

impl Seen {
    /// It, as it has been until `now`.
    pub const fn all(now: u64) -> Self {
        Self {
            until: now,
            spare: 0,
        }
    }
}

/// How a playlist follows on an earlier one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Follows {
    /// It goes on.
    On,
    /// It is older than the earlier one: its answer took longer.
    Late,
    /// It has nothing to do with it: another publication, or another packager.
    Not,
}

/// How `media` follows on `last`. `same`: both are of one origin. `waited`: milliseconds since `last` was new, and since it
/// was last seen.
pub fn follows(last: &Media<'_>, media: &Media<'_>, same: bool, waited: Waited) -> Follows {
    let (mut equal, mut differs, mut listed) = (0, false, 0_u64);
    for number in last.sequence.max(media.sequence)..last.end().min(media.end()) {
        let (Some(one), Some(other)) = (last.segment(number), media.segment(number)) else {
            break;
        };
        let lines = (one.lines.iter().copied(), other.lines.iter().copied());
        listed = listed.saturating_add(millis(lines.1.clone()));
        match is_equal(lines.0, one.uri, lines.1, other.uri) {
            true => equal += 1,
            false => differs = true,
        }
    }
    let goes_on = media.end() >= last.end();
    if differs && !(same && is_no_restart(listed, waited.seen)) {
        return Follows::Not;
    }
    match same {
        true if goes_on => Follows::On,
        true if waited.new <= last.target.saturating_mul(1000) => Follows::Late,
        true => Follows::Not,
        // Origins that serve the same files. Names alone prove little: most packagers count from 0.
        false if equal < ALIKE => Follows::Not,
        false if goes_on => Follows::On,
        false => Follows::Late,
    }
}

/// For how long, in milliseconds, a playlist that is compared with a later one has been known.
#[derive(Debug, Clone, Copy)]
pub struct Waited {
    /// Since its last segment was new.
    pub new: u64,
    /// Since an answer with it came.
    pub seen: u64,
}

/// Whether an origin that lists other segments under the numbers it used before still has the same publication, which it names
/// otherwise for each viewer or at each answer: tokens in paths, hosts, times that jitter, a newest segment that grows. Another
/// publication needs the time that it lists, `listed` milliseconds, and had only `passed`.
fn is_no_restart(listed: u64, passed: u64) -> bool {
    passed.saturating_mul(2) < listed
}

fn is_equal<'a>(
    one: impl Iterator<Item = &'a str> + Clone,
    one_uri: &str,
    other: impl Iterator<Item = &'a str> + Clone,
    other_uri: &str,
) -> bool {
    let time = |mut lines: Box<dyn Iterator<Item = &'a str> + '_>| -> Option<&'a str> {
        lines.find(|line| line.starts_with(media::TIME))
    };
    path_of(one_uri) == path_of(other_uri)
        && duration(one.clone()) == duration(other.clone())
        && time(Box::new(one)) == time(Box::new(other))
}

impl Splice {
    /// The stream of a playlist is lost whose viewers have `media` of `run`, continued as `before` says. `None` where
    /// there is nothing to go on with.
    pub fn lose(
        before: Option<&Self>,
        media: &Media<'_>,
        run: Run<'_>,
        loss: Loss,
    ) -> Option<Self> {
        if before.is_some_and(Self::is_away) || media.segments.is_empty() || media.ended {
            return None;
        }
        let listed = list::listed(before, media, |_| true);
        let (items, dropped) = keep_last(listed.items, MOST_KEPT);
        let count = items.len() as u64;
        let mut splice = Self {
            epoch: before.map_or(1, |before| before.epoch.saturating_add(1)),
            first: listed.first.saturating_add(dropped.count),
            breaks: listed.breaks.saturating_add(dropped.breaks),
            tail: Vec::new(),
            window: count.max(LEAST_SHOWN),
            target: before.map_or(0, |before| before.target).max(media.target),
            version: before.map_or(0, |before| before.version).max(media.version),
            sources: Vec::new(),
            stage: Stage::Away(Away {
                origin: run.origin.as_str().to_owned(),
                end: media.end(),
                run: count.min(media.segments.len() as u64),
                partial: media.has_parts(),
                since: loss.since,
                noted: loss.noted,
                until: loss.until,
                head: media.head.iter().map(|line| (*line).to_owned()).collect(),
            }),
        };
        let here = Source {
            origin: run.origin.as_str().to_owned(),
            authority: run.authority.to_owned(),
            folder: run.folder.map(str::to_owned),
        };
        for mut item in items {
            let source = match item.source {
                Some(known) => before?.sources.get(usize::from(known))?,
                None => &here,
            };
            if item.source.is_none() && (run.gone || item.is_for_one()) {
                item.give_up();
            }
            let source = splice.number_of(source);
            splice.tail.push(Entry::of(item, source));
        }
        splice.fit().then_some(splice)
    }

    /// An origin has the stream, and lists `media`. Before what it lists stand the gaps that viewers may have seen; where the list
    /// of another origin begins, there are as many as time has passed. `None` while it lists nothing new.
    pub fn found(
        &self,
        origin: &OriginId,
        media: &Media<'_>,
        now: u64,
        seen: Seen,
    ) -> Option<Self> {
        let Stage::Away(away) = &self.stage else {
            return None;
        };
        let goes_on = self.goes_on(away, origin, media, now);
        let first = match goes_on {
            true => away.end.max(media.sequence),
            false => media.sequence,
        };
        let begins = media.segment(first)?;
        // One that was only out of reach for a moment lists what it made meanwhile.
        let until = if goes_on { seen.until.min(now) } else { now };
        let gaps = self.gaps(until).max(seen.spare);
        let gaps = gaps.max(u64::from(away.partial));
        let has_break = begins.lines.contains(&DISCONTINUITY);
        let before = (media.sequence..first).filter_map(|number| media.segment(number));
        let breaks = before.filter(|segment| segment.lines.contains(&DISCONTINUITY));
        Some(Self {
            epoch: self.epoch.saturating_add(1),
            target: self.target.max(media.target),
            version: self.version.max(media.version),
            stage: Stage::On(On {
                origin: origin.as_str().to_owned(),
                first,
                breaks: media.breaks.saturating_add(breaks.count() as u64),
                gaps,
                marked: !has_break && (!goes_on || gaps > 0 || first > away.end),
                own: has_break,
                at: now,
            }),
            ..self.clone()
        })
    }

    /// The same, where viewers have seen more of the lost origin: it listed `media`, whose last segment came at `since`. `None`
    /// where that is nothing new, or no gap may be moved any more.
    pub fn outdone(&self, media: &Media<'_>, since: u64, now: u64) -> Option<Self> {
        let Stage::Away(away) = &self.stage else {
            return None;
        };
        let origin = OriginId::from(away.origin.as_str());
        let known = media.sequence <= away.end && self.goes_on(away, &origin, media, now);
        if !known || media.end() == away.end || now >= away.noted.saturating_add(SETTLES) {
            return None;
        }
        let last = self.tail.last()?;
        let mut splice = self.clone();
        for number in away.end..media.end() {
            let segment = media.segment(number)?;
            let mut item = list::item(segment);
            if last.gap || item.is_for_one() {
                item.give_up();
            }
            splice.tail.push(Entry::of(item, last.source));
        }
        while splice.tail.len() > MOST_KEPT {
            splice.drop_first();
        }
        splice.epoch = self.epoch.saturating_add(1);
        splice.stage = Stage::Away(Away {
            end: media.end(),
            run: away
                .run
                .saturating_add(media.end() - away.end)
                .min(MOST_KEPT as u64),
            partial: media.has_parts(),
            since: since.max(away.since),
            ..away.clone()
        });
        splice.fit().then_some(splice)
    }

    /// The stream went to another origin, and nobody here knows what viewers have of the last one: what follows is counted from
    /// beyond all that it may have listed since.
    pub fn lost_unseen(&self, now: u64) -> Option<Self> {
        let Stage::On(on) = &self.stage else {
            return None;
        };
        let since = now.saturating_sub(on.at) / (self.pace() / SHORTEST) + 1;
        Some(Self {
            epoch: self.epoch.saturating_add(1),
            first: self
                .base(on)
                .saturating_add(LONGEST_LIST)
                .saturating_add(since),
            breaks: self.breaks_at(on, 0),
            tail: Vec::new(),
            window: LEAST_SHOWN,
            sources: Vec::new(),
            stage: Stage::Away(Away {
                origin: on.origin.clone(),
                end: 0,
                run: 0,
                partial: false,
                since: now,
                noted: now,
                until: now,
                head: Vec::new(),
            }),
            ..*self
        })
    }

    /// Whether `media`, which is listed `now`, goes on with what the lost origin listed.
    fn goes_on(&self, away: &Away, origin: &OriginId, media: &Media<'_>, now: u64) -> bool {
        let (mut equal, mut differs, mut listed) = (0, 0, 0_u64);
        let run = usize::try_from(away.run).unwrap_or(usize::MAX);
        for (back, entry) in (1..).zip(self.tail.iter().rev().take(run)) {
            let segment = away.end.checked_sub(back).and_then(|at| media.segment(at));
            let Some(segment) = segment else { continue };
            let lines = entry.lines.iter().map(String::as_str);
            let others = segment.lines.iter().copied();
            listed = listed.saturating_add(millis(others.clone()));
            match is_equal(lines, &entry.uri, others, segment.uri) {
                true => equal += 1,
                false => differs += 1,
            }
        }
        let same = origin.as_str() == away.origin;
        let differs_only_in_name = same && is_no_restart(listed, now.saturating_sub(away.since));
        let enough = if same { 1 } else { ALIKE };
        let alike = match differs {
            0 => equal,
            _ if differs_only_in_name => equal + differs,
            _ => 0,
        };
        alike >= enough && media.end() >= away.end
    }

    /// Whether no origin has the stream.
    pub const fn is_away(&self) -> bool {
        matches!(self.stage, Stage::Away(_))
    }

    /// Whether the time is over for which the playlist grows without an origin.
    pub const fn is_over(&self, now: u64) -> bool {
        matches!(&self.stage, Stage::Away(away) if now >= away.until)
    }

    /// The origin that has the stream, or that had it.
    pub fn origin(&self) -> &str {
        match &self.stage {
            Stage::Away(away) => &away.origin,
            Stage::On(on) => &on.origin,
        }
    }

    /// Milliseconds for which viewers got gaps, by `now`.
    pub fn gap_ms(&self, now: u64) -> u64 {
        match &self.stage {
            Stage::Away(away) => now.saturating_sub(away.noted),
            Stage::On(on) => on.gaps.saturating_mul(self.pace()),
        }
    }

    /// Where the segments of the tail came from.
    pub fn sources(&self) -> &[Source] {
        &self.sources
    }

    /// Whether a segment that `origin` listed is among those that nobody can get.
    pub fn gave_up(&self, origin: &str) -> bool {
        // One that has it again may have its files as well.
        if !self.is_away() && self.origin() == origin {
            return false;
        }
        let known = |source: u8| self.sources.get(usize::from(source));
        let mut lost = self.tail.iter().filter(|entry| entry.gap);
        lost.any(|entry| known(entry.source).is_some_and(|source| source.origin == origin))
    }

    /// The number at the origin of a segment that viewers know by `number`; `None` where it has none that is so old, and
    /// while no origin has the stream.
    pub fn theirs(&self, number: u64) -> Option<u64> {
        let Stage::On(on) = &self.stage else {
            return None;
        };
        let after = number.checked_sub(self.base(on))?;
        on.first.checked_add(after)
    }

    /// When the playlist grows next while no origin has the stream, in milliseconds since 1970.
    pub fn grows_at(&self, now: u64) -> Option<u64> {
        let Stage::Away(away) = &self.stage else {
            return None;
        };
        let next = away
            .since
            .saturating_add((self.gaps(now) + 1).saturating_mul(self.pace()));
        Some(next.max(away.noted.saturating_add(SETTLES)))
    }

    /// The playlist while no origin has the stream. `reaches`: whether an origin still has what it listed.
    pub fn away(&self, now: u64, reaches: impl Fn(&str) -> bool, gaps: Gaps) -> Option<Listing> {
        let Stage::Away(away) = &self.stage else {
            return None;
        };
        let (items, dropped) = self.before(self.gaps(now), self.window, reaches);
        let listed = list::Listed {
            first: self.first.saturating_add(dropped.count),
            breaks: self.breaks.saturating_add(dropped.breaks),
            items,
        };
        let head = away.head.iter().map(String::as_str);
        Some(
            listed
                .with(gaps)
                .written(self.target, self.version, head, &[]),
        )
    }

    /// `media`, as it follows on what viewers had before.
    pub fn on(&self, media: &Media<'_>, reaches: impl Fn(&str) -> bool, gaps: Gaps) -> Listing {
        let listed = list::listed(Some(self), media, reaches).with(gaps);
        let target = self.target.max(media.target);
        let version = self.version.max(media.version);
        // What it says of other playlists counts as the origin does.
        let rest = media
            .rest
            .iter()
            .filter(|line| !line.starts_with(media::REPORT));
        let end = media.ended.then_some(&media::END);
        let rest: Vec<&str> = rest.chain(end).copied().collect();
        listed.written(target, version, media.head.iter().copied(), &rest)
    }

    /// The last `count` segments of the tail and the `gaps` after it.
    fn before(
        &self,
        gaps: u64,
        count: u64,
        reaches: impl Fn(&str) -> bool,
    ) -> (Vec<Item<'_>>, list::Dropped) {
        let count = usize::try_from(count).unwrap_or(usize::MAX).min(MOST_KEPT);
        let mut items: Vec<Item<'_>> = self
            .tail
            .iter()
            .map(|entry| self.item(entry, &reaches))
            .collect();
        // No more of them than are shown.
        let skipped = gaps.saturating_sub(count as u64);
        let after = self.first.saturating_add(self.tail.len() as u64);
        let source = self.tail.last().map(|entry| entry.source);
        items.extend((skipped..gaps).map(|gap| self.gap(after.saturating_add(gap), source)));
        let (items, mut dropped) = keep_last(items, count);
        dropped.count = dropped.count.saturating_add(skipped);
        (items, dropped)
    }

    fn item<'a>(&self, entry: &'a Entry, reaches: impl Fn(&str) -> bool) -> Item<'a> {
        let lines = entry.lines.iter();
        let mut item = Item {
            lines: lines.map(|line| Cow::Borrowed(line.as_str())).collect(),
            uri: Cow::Borrowed(&entry.uri),
            source: Some(entry.source),
            gap: entry.gap,
        };
        let source = self.sources.get(usize::from(entry.source));
        if !item.gap && !source.is_some_and(|source| reaches(&source.origin)) {
            item.give_up();
        }
        item
    }

    /// A segment that there never was.
    fn gap(&self, number: u64, source: Option<u8>) -> Item<'_> {
        let last = self.tail.last().map_or("", |entry| path_of(&entry.uri));
        let extension = last.rsplit_once('.').map_or("", |(_, extension)| extension);
        let is_plain = extension
            .bytes()
            .all(|letter| letter.is_ascii_alphanumeric());
        let extension = match extension {
            "" => "ts",
            known if is_plain && known.len() <= LONGEST_EXTENSION => known,
            _ => "ts",
        };
        Item {
            lines: vec![
                Cow::Owned(format!("{}{}.000,", media::DURATION, self.target)),
                Cow::Borrowed(media::GAP),
            ],
            uri: Cow::Owned(format!("{GAP_NAME}{number}.{extension}")),
            source,
            gap: true,
        }
    }

    /// How many segments the playlist has grown by without an origin.
    fn gaps(&self, now: u64) -> u64 {
        match &self.stage {
            Stage::On(on) => on.gaps,
            Stage::Away(away) if now < away.noted.saturating_add(SETTLES) => 0,
            Stage::Away(away) => now.min(away.until).saturating_sub(away.since) / self.pace(),
        }
    }

    /// Milliseconds between two gaps.
    fn pace(&self) -> u64 {
        self.target.clamp(1, LONGEST_TARGET) * 1000
    }

    /// The number by which viewers know the first segment of the origin that has the stream.
    fn base(&self, on: &On) -> u64 {
        let tail = self.tail.len() as u64;
        self.first.saturating_add(tail).saturating_add(on.gaps)
    }

    /// The number of a source, which is added if it is new. Of more than a few, the last one counts for all: its segments
    /// are too old to matter.
    fn number_of(&mut self, source: &Source) -> u8 {
        let at = index_in(&mut self.sources, source, MOST_SOURCES);
        u8::try_from(at).unwrap_or_default()
    }

    /// Lets the oldest segments go until a record can hold the rest. False where that is not enough.
    fn fit(&mut self) -> bool {
        while self.text().len() > LONGEST {
            if self.tail.len() < 2 {
                return false;
            }
            self.drop_first();
        }
        true
    }

    /// Lets the oldest segment go. What applies to it applies to the next.
    fn drop_first(&mut self) {
        let gone = self.tail.remove(0);
        self.first = self.first.saturating_add(1);
        let breaks = gone.lines.iter().filter(|line| *line == DISCONTINUITY);
        self.breaks = self.breaks.saturating_add(breaks.count() as u64);
        let Some(next) = self.tail.first_mut().filter(|next| !next.gap && !gone.gap) else {
            return;
        };
        for tag in [MAP, KEY] {
            let has = |lines: &[String]| lines.iter().any(|line| line.starts_with(tag));
            if next.source == gone.source && !has(&next.lines) {
                let kept = gone.lines.iter().filter(|line| line.starts_with(tag));
                next.lines.splice(0..0, kept.cloned());
            }
        }
    }

    /// It, as proxies write it down. Equal ones have equal texts, of at most [`LONGEST`] bytes.
    pub fn text(&self) -> String {
        serde_json::to_string(self).expect("numbers, texts and lists of them are JSON")
    }

    /// Reads what [`text`](Self::text) wrote; `None` if it makes no sense.
    pub fn read(text: &str) -> Option<Self> {
        let splice: Self = serde_json::from_str(text).ok()?;
        splice.is_sound().then_some(splice)
    }

    fn is_sound(&self) -> bool {
        let known = |entry: &Entry| usize::from(entry.source) < self.sources.len();
        let one_line = |text: &str| !text.contains(['\n', '\r']);
        let plain =
            |entry: &Entry| one_line(&entry.uri) && entry.lines.iter().all(|line| one_line(line));
        let counts = [self.first, self.breaks, self.window];
        self.target > 0
            && counts.iter().all(|count| *count < u64::MAX / 4)
            && self.tail.len() <= MOST_KEPT
            && self.tail.iter().all(|entry| known(entry) && plain(entry))
    }
}

/// The longest text of a splice, in bytes: a dozen segments with their tags.
pub const LONGEST: usize = 8_192;
/// Segments of different origins that have to be equal before both count as one publication.
const ALIKE: u64 = 2;
/// The segments that are kept of what viewers had: players start three before the end, and keep no more than a minute.
const MOST_KEPT: usize = 12;
/// Players want three target durations (RFC 8216bis §6.2.2).
const LEAST_SHOWN: u64 = 3;
/// Origins whose segments are told apart in a tail.
const MOST_SOURCES: usize = 4;
/// How long a loss is known before the first gap, in milliseconds: other proxies may have shown more.
pub const SETTLES: u64 = 300;
/// Seconds that a gap may stand for at most; packagers write 1 to 12.
const LONGEST_TARGET: u64 = 60;
/// A segment is a quarter of the target duration at least, where nobody counted them.
const SHORTEST: u64 = 4;
/// Segments that a playlist lists when it is first seen, where nobody counted them: an hour of four seconds.
const LONGEST_LIST: u64 = 1_000;
const LONGEST_EXTENSION: usize = 5;
/// What the names of segments begin with that there never were.
const GAP_NAME: &str = "sluicegate-gap-";

#[cfg(test)]
mod tests;
