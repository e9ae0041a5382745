//! Live manifests that go on while the origin of their stream changes (ISO/IEC 23009-1 §5.4): the Period that viewers have is
//! closed, and what another origin lists follows as a Period of its own.
//!
//! Presentation times count from one moment for all Periods, `availabilityStartTime`, which stays as viewers know it. A
//! Period of another origin starts where the media of the last one ended, or later by the time that passed without any; what
//! it lists from before is not shown. While no origin has the stream, the manifest lists what it listed last.
//!
//! Names of segments and their media times stay those of their origins, so that a segment is asked for as it was listed.
//! A manifest that has had one origin is passed on as it is, and nothing of this is needed for it.

mod clock;
mod manifest;
mod write;

use std::iter;

use serde::{Deserialize, Serialize};

use self::clock::{SECOND, date_time, written};
pub use self::manifest::{Manifest, Unfit};
pub use self::write::in_time;
use self::write::{Closed, Shape, frame, namespaces, period, without_before};
use super::splice::{Follows, LONGEST, Listing, Loss, Piece, Run, SETTLES, Source, index_in};
use crate::fleet::origin::OriginId;

/// How a manifest goes on that has had more than one origin, or that has none now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Periods {
    /// Grows with every change.
    pub epoch: u64,
    /// The moment from which viewers count, as it stands in their manifests.
    anchor: String,
    /// The Periods that viewers had before, in order.
    earlier: Vec<Earlier>,
    /// Where they came from.
    sources: Vec<Source>,
    /// Before this presentation time nothing new is shown, in microseconds.
    end: u64,
    stage: Stage,
}

/// A Period whose origin is lost.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Earlier {
    /// Its start tag, without the `>`, and the rest.
    open: String,
    rest: String,
    /// Its presentation times, in microseconds.
    start: u64,
    end: u64,
    /// Which of the sources.
    source: u8,
    /// The patterns of its segments.
    media: Vec<String>,
    /// Those of its initialization segments, where it has some.
    #[serde(default)]
    initial: Vec<String>,
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
    /// How its Period was shown.
    was: On,
    /// What it was known by there, and how far it had come, in microseconds from the start of its Period.
    own_anchor: String,
    own_start: u64,
    own_end: u64,
    /// When its last segment came, in milliseconds since 1970.
    since: u64,
    /// When the loss was noticed.
    noted: u64,
    /// Until when viewers are held.
    until: u64,
    /// What surrounds the Periods.
    head: String,
    foot: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct On {
    origin: String,
    /// The name of its Period, where that is not its own.
    id: Option<String>,
    /// Where its Period starts, as presentation time; and how much of what it had before is not shown. In microseconds.
    start: u64,
    cut: u64,
    /// How long there was no media before it, in milliseconds.
    gap: u64,
    /// Since when it has the stream, in milliseconds since 1970.
    at: u64,
}

/// How `manifest` follows on `last`. `same`: both are of one origin. `seen`: when each was read, in milliseconds since 1970.
pub fn follows(last: (&Manifest<'_>, u64), manifest: (&Manifest<'_>, u64), same: bool) -> Follows {
    let ((last, last_seen), (manifest, seen)) = (last, manifest);
    let (before, now) = (last.end(last_seen), manifest.end(seen));
    if manifest.ended && same {
        return Follows::On;
    }
    if !is_one_run(last, manifest, same) || !same && !lists_the_same(last, manifest) {
        return Follows::Not;
    }
    if now >= before {
        Follows::On
    } else {
        Follows::Late
    }
}

/// Whether two manifests show the same publication: they have the same `availabilityStartTime`, and the same Period. The same
/// origin (`same`) may compute that time for each answer, a little differently, and give each viewer another name of the Period.
fn is_one_run(one: &Manifest<'_>, other: &Manifest<'_>, same: bool) -> bool {
    let jitter = if same { JITTER } else { 0 };
    one.anchor.abs_diff(other.anchor) <= jitter
        && one.period.start == other.period.start
        && (same || one.period_attribute("id") == other.period_attribute("id"))
        && one.period.templates.len() == other.period.templates.len()
}

/// Whether origins serve the same files: they list segments alike, apart from the oldest and the newest.
fn lists_the_same(one: &Manifest<'_>, other: &Manifest<'_>) -> bool {
    let mut pairs = one.period.templates.iter().zip(&other.period.templates);
    let same_clock = one.is_regular() && other.is_regular();
    pairs.all(|(one, other)| {
        if same_clock {
            return (&one.list, one.number, &one.media)
                == (&other.list, other.number, &other.media);
        }
        let times = |template: &manifest::Template| {
            let runs = template.segments(0);
            let each = runs.into_iter().flat_map(|run| {
                let count = run.count.min(MOST_COMPARED);
                let first = run.count - count;
                (first..run.count).map(move |at| {
                    (
                        run.time.saturating_add(run.duration.saturating_mul(at)),
                        run.duration,
                    )
                })
            });
            each.collect::<Vec<_>>()
        };
        let (these, those) = (times(one), times(other));
        let alike = these
            .iter()
            .filter(|segment| those.contains(segment))
            .count();
        one.media == other.media && one.timescale == other.timescale && alike >= ALIKE
    })
}

impl Periods {
    /// The stream of a manifest is lost whose viewers have what `run` listed, continued as `before` says. `seen`: when it
    /// was read, in milliseconds since 1970. `None` where there is nothing to go on with.
    pub fn lose(
        before: Option<&Self>,
        manifest: &Manifest<'_>,
        run: Run<'_>,
        loss: Loss,
        seen: u64,
    ) -> Option<Self> {
        let was = match before.map(|before| &before.stage) {
            Some(Stage::Away(_)) => return None,
            Some(Stage::On(on)) => on.clone(),
            None => On {
                origin: run.origin.as_str().to_owned(),
                id: None,
                start: manifest.period.start,
                cut: 0,
                gap: 0,
                at: loss.since,
            },
        };
        let own_end = manifest.end(seen);
        if manifest.ended || own_end <= was.cut {
            return None;
        }
        let anchor = match before {
            Some(before) => before.anchor.clone(),
            None => manifest.root_attribute("availabilityStartTime")?.to_owned(),
        };
        let (head, foot) = frame(manifest, &anchor, (0, 0));
        let mut periods = Self {
            epoch: before.map_or(1, |before| before.epoch.saturating_add(1)),
            earlier: before.map_or_else(Vec::new, |before| before.shown_earlier(own_end, &was)),
            sources: before.map_or_else(Vec::new, |before| before.sources.clone()),
            end: was.start.saturating_add(own_end - was.cut),
            stage: Stage::Away(Away {
                origin: run.origin.as_str().to_owned(),
                own_anchor: manifest.root_attribute("availabilityStartTime")?.to_owned(),
                own_start: manifest.period.start,
                own_end,
                since: loss.since,
                noted: loss.noted,
                until: loss.until,
                head,
                foot: foot.into_owned(),
                was: was.clone(),
            }),
            anchor,
        };
        let source = periods.number_of(&Source {
            origin: run.origin.as_str().to_owned(),
            authority: run.authority.to_owned(),
            folder: run.folder.map(str::to_owned),
        })?;
        periods.fit(manifest, &was, source, seen).then_some(periods)
    }

    /// Adds the Period that is lost: as many of its segments as a record can hold, with the Periods before it if they fit.
    fn fit(&mut self, manifest: &Manifest<'_>, was: &On, source: u8, seen: u64) -> bool {
        let mut most = MOST_KEPT;
        loop {
            let shape = Shape {
                id: was.id.as_deref(),
                start: was.start,
                cut: was.cut,
                closed: Some(Closed {
                    age: manifest.age(seen),
                    most,
                }),
            };
            let (open, rest) = period(manifest, &shape);
            let open = [open.as_str(), &namespaces(manifest, &open)].concat();
            let templates = manifest.period.templates.iter();
            self.earlier.push(Earlier {
                open,
                rest,
                start: was.start,
                end: self.end,
                source,
                media: templates
                    .clone()
                    .map(|template| template.media.clone())
                    .collect(),
                initial: templates
                    .filter_map(|template| template.initial.clone())
                    .collect(),
            });
            if self.text().len() <= LONGEST {
                return true;
            }
            self.earlier.pop();
            if !self.earlier.is_empty() {
                self.earlier.remove(0);
            } else if most > 1 {
                most /= 2;
            } else {
                return false;
            }
        }
    }

    /// An origin has the stream, and lists `manifest`, as read at `now`. `None` while it lists nothing new, and once nothing
    /// will be added to it.
    pub fn found(&self, origin: &OriginId, manifest: &Manifest<'_>, now: u64) -> Option<Self> {
        let Stage::Away(away) = &self.stage else {
            return None;
        };
        if self.resumes(away, origin, manifest, now) {
            let mut periods = self.clone();
            periods.earlier.pop();
            periods.epoch = self.epoch.saturating_add(1);
            periods.stage = Stage::On(On {
                origin: origin.as_str().to_owned(),
                ..away.was.clone()
            });
            return Some(periods);
        }
        let (start, cut) = match manifest.is_regular() {
            true => self.place_by_clock(manifest, now)?,
            false => self.place_by_list(away, manifest, now)?,
        };
        let epoch = self.epoch.saturating_add(1);
        let id = manifest.period_attribute("id").unwrap_or("p");
        // Of a name that it got before, only what the origin called it stays.
        let id = id.get(..id.len().min(LONGEST_ID)).unwrap_or("p");
        (!manifest.ended).then(|| Self {
            epoch,
            stage: Stage::On(On {
                origin: origin.as_str().to_owned(),
                id: Some(format!("{id}-{epoch}")),
                start,
                cut,
                gap: start.saturating_sub(self.end) / 1000,
                at: now,
            }),
            ..self.clone()
        })
    }

    /// Whether `manifest` goes on with what the lost origin listed.
    fn resumes(&self, away: &Away, origin: &OriginId, manifest: &Manifest<'_>, now: u64) -> bool {
        origin.as_str() == away.origin
            && date_time(&away.own_anchor)
                .is_some_and(|own| own.abs_diff(manifest.anchor) <= JITTER)
            && manifest.period.start == away.own_start
            && manifest.end(now) >= away.own_end
            && self.earlier.last().is_some_and(|last| {
                let templates = manifest.period.templates.iter();
                templates.map(|template| &template.media).eq(&last.media)
            })
    }

    /// Where a Period starts for viewers, and how much of it is left out, where the clock says which segments are there:
    /// each has to be there when viewers believe it is.
    fn place_by_clock(&self, manifest: &Manifest<'_>, now: u64) -> Option<(u64, u64)> {
        let anchor = date_time(&self.anchor)?;
        let longest = manifest.period.templates.iter().map(|template| {
            let manifest::List::Regular(duration) = template.list else {
                return 0;
            };
            template.since_start(template.offset.saturating_add(duration))
        });
        let duration = longest.max().filter(|duration| *duration > 0)?;
        let own = manifest.anchor.saturating_add(manifest.period.start);
        let until = anchor.saturating_add(self.end);
        let skipped = until.saturating_sub(own).div_ceil(duration);
        let cut = skipped.saturating_mul(duration);
        let start = own.saturating_add(cut).checked_sub(anchor)?;
        (manifest.age(now) >= cut.saturating_add(duration)).then_some((start, cut))
    }

    /// The same, where segments are listed. Viewers are as far behind as they were: what is listed now is what came while
    /// there was nothing else.
    fn place_by_list(&self, away: &Away, manifest: &Manifest<'_>, now: u64) -> Option<(u64, u64)> {
        let templates = &manifest.period.templates;
        let begins = templates.iter().map(|template| template.begin(0));
        // A packager that has listed its sound has listed its pictures a moment later.
        let first = begins.collect::<Option<Vec<u64>>>()?.into_iter().min()?;
        let last = manifest.end(now);
        let waited = now.saturating_sub(away.since).saturating_mul(1000);
        let longest = templates.iter().max_by_key(|template| {
            let runs = template.segments(0);
            runs.last()
                .map(|run| template.since_start(template.offset.saturating_add(run.duration)))
        })?;
        let mut cut = first;
        if last.saturating_sub(first) > waited {
            let wanted = last.saturating_sub(waited);
            let (_, runs) = without_before(longest, longest.nearest(wanted), 0);
            let kept = match runs.first() {
                Some(run) => run.time,
                None => {
                    let run = *longest.segments(0).last()?;
                    run.end().saturating_sub(run.duration)
                }
            };
            cut = longest.since_start(kept).max(first);
        }
        let shown = last.saturating_sub(cut);
        let start = self.end.saturating_add(waited.saturating_sub(shown));
        Some((start, cut))
    }

    /// The same loss, where viewers have seen more of the lost origin: it listed `manifest`, read at `seen`, whose last
    /// segment came at `since`. `None` where that is nothing new, or others may have gone on already.
    pub fn outdone(
        &self,
        manifest: &Manifest<'_>,
        seen: u64,
        since: u64,
        now: u64,
    ) -> Option<Self> {
        let Stage::Away(away) = &self.stage else {
            return None;
        };
        let origin = OriginId::from(away.origin.as_str());
        let is_more = manifest.end(seen) > away.own_end;
        let settles = now < away.noted.saturating_add(SETTLES);
        if !is_more || !settles || !self.resumes(away, &origin, manifest, seen) {
            return None;
        }
        let mut before = self.clone();
        let lost = before.earlier.pop()?;
        let source = self.sources.get(usize::from(lost.source))?;
        before.stage = Stage::On(away.was.clone());
        let run = Run {
            origin: &origin,
            authority: &source.authority,
            folder: source.folder.as_deref(),
            gone: true,
        };
        let loss = Loss {
            since: since.max(away.since),
            noted: away.noted,
            until: away.until,
        };
        Self::lose(Some(&before), manifest, run, loss, seen)
    }

    /// The stream went to another origin, and nobody here knows what viewers have of the last one: what follows starts after
    /// all that it may have listed since.
    pub fn lost_unseen(&self, now: u64) -> Option<Self> {
        let Stage::On(on) = &self.stage else {
            return None;
        };
        let since = now.saturating_sub(on.at).saturating_mul(1000);
        Some(Self {
            epoch: self.epoch.saturating_add(1),
            earlier: Vec::new(),
            sources: Vec::new(),
            end: on.start.saturating_add(since).saturating_add(UNSEEN),
            stage: Stage::Away(Away {
                origin: on.origin.clone(),
                was: on.clone(),
                own_anchor: String::new(),
                own_start: 0,
                own_end: 0,
                since: now,
                noted: now,
                until: now,
                head: String::new(),
                foot: String::new(),
            }),
            anchor: self.anchor.clone(),
        })
    }

    /// Whether no origin has the stream.
    pub const fn is_away(&self) -> bool {
        matches!(self.stage, Stage::Away(_))
    }

    /// Whether the time is over for which viewers are held without an origin.
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

    /// Milliseconds for which viewers got nothing, by `now`.
    pub fn gap_ms(&self, now: u64) -> u64 {
        match &self.stage {
            Stage::Away(away) => now.saturating_sub(away.noted),
            Stage::On(on) => on.gap,
        }
    }

    /// Where the segments of the earlier Periods came from.
    pub fn sources(&self) -> &[Source] {
        &self.sources
    }

    /// Whether `origin` may have listed segments to viewers that it does not have, or will never have.
    pub fn gave_up(&self, origin: &str) -> bool {
        if self.origin() == origin {
            return self.is_away();
        }
        self.sources.iter().any(|source| source.origin == origin)
    }

    /// The manifest while no origin has the stream: as it was.
    pub fn away(&self) -> Option<Listing> {
        let Stage::Away(away) = &self.stage else {
            return None;
        };
        let last = self.earlier.last()?;
        let frame = Piece {
            source: Some(last.source),
            gap: false,
            text: [away.head.as_str(), MARK, &away.foot].concat(),
        };
        let open = self.earlier.len() - 1;
        let shown = self.earlier.iter().enumerate();
        let mut pieces: Vec<Piece> = shown.map(|(at, one)| one.piece(at < open)).collect();
        pieces.push(frame);
        Some(Listing { pieces })
    }

    /// `manifest`, as it follows on what viewers had before.
    pub fn on(&self, manifest: &Manifest<'_>, seen: u64) -> Option<Listing> {
        let Stage::On(on) = &self.stage else {
            return None;
        };
        let shape = Shape {
            id: on.id.as_deref(),
            start: on.start,
            cut: on.cut,
            closed: None,
        };
        let (open, rest) = period(manifest, &shape);
        let moved = (on.start, on.cut.saturating_add(manifest.period.start));
        let (head, foot) = frame(manifest, &self.anchor, moved);
        let earlier = self.shown_earlier(manifest.end(seen), on);
        let mut pieces: Vec<Piece> = earlier.iter().map(|one| one.piece(true)).collect();
        pieces.push(Piece {
            source: None,
            gap: false,
            text: [&head, MARK, &open, &rest, &*foot].concat(),
        });
        Some(Listing { pieces })
    }

    /// The Periods before one whose segments end at `own_end`: those that players may still be in.
    fn shown_earlier(&self, own_end: u64, on: &On) -> Vec<Earlier> {
        let end = on.start.saturating_add(own_end.saturating_sub(on.cut));
        let earlier = self.earlier.iter();
        let near = earlier.filter(|one| one.end.saturating_add(KEPT) > end);
        near.cloned().collect()
    }

    /// Whether a target names a segment of an earlier Period. Those that initialize it are segments, too (§5.3.9.5.2).
    pub fn names_a_segment(&self, target: &str) -> bool {
        let named = |one: &Earlier| {
            let mut patterns = one.media.iter().chain(&one.initial);
            patterns.any(|pattern| is_named_by(target, pattern))
        };
        self.earlier.iter().any(named)
    }

    /// The number of a source, which is added if it is new.
    fn number_of(&mut self, source: &Source) -> Option<u8> {
        if self.sources.len() > MOST_SOURCES {
            self.forget_sources();
        }
        u8::try_from(index_in(&mut self.sources, source, usize::MAX)).ok()
    }

    /// Leaves the sources of the Periods that are kept.
    fn forget_sources(&mut self) {
        let mut kept = Vec::new();
        for one in &mut self.earlier {
            let Some(source) = self.sources.get(usize::from(one.source)) else {
                continue;
            };
            let at = index_in(&mut kept, source, usize::MAX);
            one.source = u8::try_from(at).unwrap_or_default();
        }
        self.sources = kept;
    }

    /// It, as proxies write it down. Equal ones have equal texts, of at most [`LONGEST`] bytes.
    pub fn text(&self) -> String {
        serde_json::to_string(self).expect("numbers, texts and lists of them are JSON")
    }

    /// Reads what [`text`](Self::text) wrote; `None` if it makes no sense.
    pub fn read(text: &str) -> Option<Self> {
        let periods: Self = serde_json::from_str(text).ok()?;
        let known = |one: &Earlier| usize::from(one.source) < periods.sources.len();
        let sound = date_time(&periods.anchor).is_some() && periods.earlier.iter().all(known);
        sound.then_some(periods)
    }
}

impl Earlier {
    /// It as a piece of a manifest; `closed`: others follow.
    fn piece(&self, closed: bool) -> Piece {
        let mut text = self.open.clone();
        if closed {
            let duration = written(self.end.saturating_sub(self.start));
            text.push_str(&format!(" duration=\"{duration}\""));
        }
        text.push_str(&self.rest);
        Piece {
            source: Some(self.source),
            gap: false,
            text,
        }
    }
}

/// The manifest whose pieces these are: the last surrounds the others.
pub fn joined(pieces: &[Vec<u8>]) -> Vec<u8> {
    let Some((frame, earlier)) = pieces.split_last() else {
        return Vec::new();
    };
    let mark = MARK.as_bytes();
    let at = frame.windows(mark.len()).position(|part| part == mark);
    let Some((head, foot)) = at.and_then(|at| frame.split_at_checked(at)) else {
        return frame.clone();
    };
    let mut whole = head.to_vec();
    earlier.iter().for_each(|piece| whole.extend(piece));
    whole.extend(foot.get(mark.len()..).unwrap_or_default());
    whole
}

impl Manifest<'_> {
    /// Whether a target names a segment of it. Those that initialize it are segments, too (§5.3.9.5.2).
    pub fn names_a_segment(&self, target: &str) -> bool {
        self.period.templates.iter().any(|template| {
            let mut patterns = iter::once(&template.media).chain(&template.initial);
            patterns.any(|pattern| is_named_by(target, pattern))
        })
    }
}

/// Whether the end of a target's path is what a pattern of segments names (§5.3.9.4.4).
fn is_named_by(target: &str, pattern: &str) -> bool {
    let path = target.split('?').next().unwrap_or_default();
    let pattern = pattern.split(['?', '#']).next().unwrap_or_default();
    // How its folder is found is for the base to say.
    let (name, pattern) = (last(path), last(pattern));
    let mut rest = name;
    let mut is_literal = true;
    let mut identifier: Option<&str> = None;
    for part in pattern.split('$') {
        if is_literal && !part.is_empty() {
            let Some(at) = rest
                .find(part)
                .filter(|at| *at == 0 || identifier.is_some())
            else {
                return false;
            };
            if !stands_for(rest.get(..at).unwrap_or_default(), identifier.take()) {
                return false;
            }
            rest = rest.get(at + part.len()..).unwrap_or_default();
        } else if !is_literal {
            identifier = Some(part);
        }
        is_literal = !is_literal;
    }
    stands_for(rest, identifier)
}

/// Whether a text may stand where a pattern has this identifier.
fn stands_for(text: &str, identifier: Option<&str>) -> bool {
    match identifier {
        None => text.is_empty(),
        Some(name) if name.starts_with("RepresentationID") => !text.is_empty(),
        Some(_) => !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()),
    }
}

/// The last part of a path.
fn last(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or_default()
}

/// Where the earlier Periods come into a manifest.
const MARK: &str = "<!--sluicegate: earlier periods-->";
/// The segments of each template that are kept of a Period that is lost.
const MOST_KEPT: u64 = 12;
/// How long after its end players may still be in a Period, in microseconds.
const KEPT: u64 = 60 * SECOND;
/// Origins whose Periods are kept apart.
const MOST_SOURCES: usize = 4;
/// How much may have been listed unseen beyond what the clock says, in microseconds.
const UNSEEN: u64 = 10 * SECOND;
/// How far apart one origin may say that the same publication began, in microseconds.
const JITTER: u64 = SECOND / 2;
/// Segments of different origins that have to be equal before both count as one publication.
const ALIKE: usize = 2;
/// The segments of a run that are compared.
const MOST_COMPARED: u64 = 8;
/// Bytes of the name of a Period that stay when it gets another.
const LONGEST_ID: usize = 64;

/// What a viewer gets in the place of a segment that was lost: a box without content (ISO/IEC 14496-12 §8.1.2), which
/// players take, and which shows nothing.
pub const NOTHING: &[u8] = b"\0\0\0\x08free";

#[cfg(test)]
mod tests;
