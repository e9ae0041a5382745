//! A live manifest, read far enough to go on with it at another origin.

use std::ops::Range;

use quick_xml::events::Event;
use quick_xml::reader::Reader;

use super::clock::{SECOND, date_time, duration};
use crate::http::dash::{Attributes, MAX_DEPTH, position, unescape};

/// A live manifest of one Period, as an origin wrote it (ISO/IEC 23009-1 §5.3). Times are microseconds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manifest<'a> {
    pub(super) text: &'a str,
    /// The start tag of all.
    pub(super) root: Range<usize>,
    /// The moment since 1970 from which presentation times count.
    pub(super) anchor: u64,
    pub(super) period: Period,
    /// Elements that are true of one origin only: where the manifest and its patches are.
    pub(super) dropped: Vec<Range<usize>>,
    /// Whether nothing will be added to it.
    pub ended: bool,
}

/// The Period of a manifest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Period {
    pub(super) whole: Range<usize>,
    pub(super) tag: Range<usize>,
    pub(super) start: u64,
    pub(super) templates: Vec<Template>,
}

/// A `SegmentTemplate` (§5.3.9.4).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Template {
    pub(super) whole: Range<usize>,
    pub(super) tag: Range<usize>,
    /// Where its `SegmentTimeline` is.
    pub(super) timeline: Option<Range<usize>>,
    /// Ticks of a second.
    pub(super) timescale: u64,
    /// The media time at which the Period starts, in ticks.
    pub(super) offset: u64,
    /// The number of the first segment.
    pub(super) number: u64,
    pub(super) list: List,
    /// The pattern of the addresses of its segments.
    pub(super) media: String,
    /// That of its initialization segment.
    pub(super) initial: Option<String>,
}

/// The segments of a template, in ticks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum List {
    /// They are listed.
    Each(Vec<Run>),
    /// They are as long as this, and each is there when its time is over.
    Regular(u64),
}

/// Segments of equal duration, one after the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Run {
    pub(super) time: u64,
    pub(super) duration: u64,
    pub(super) count: u64,
}

/// Why a live manifest cannot go on at another origin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    /// It is no manifest, or not well-formed.
    #[error("it is no manifest that can be read")]
    Unreadable,
    /// It does not say from when on its times count.
    #[error("it has no availabilityStartTime")]
    NoAnchor,
    /// Players are not to ask for it again.
    #[error("it has no minimumUpdatePeriod, so players would not hear of a change")]
    NoUpdates,
    /// It has several Periods, or none, or some that are elsewhere.
    #[error("it does not have exactly one Period of its own")]
    Periods,
    /// Segments of different origins would have one base.
    #[error("it has a BaseURL for all its Periods")]
    Base,
    /// It has events, whose times count from the start of a Period that has to be cut.
    #[error("it has an EventStream")]
    Events,
    /// Its segments are not all named by one template each that numbers or times them.
    #[error("not all of its segments are named by a SegmentTemplate with $Number$ or $Time$")]
    Templates,
    /// It lists segments until an end that is not known.
    #[error("its SegmentTimeline has no end")]
    Open,
}

impl<'a> Manifest<'a> {
    /// Reads a manifest.
    ///
    /// # Errors
    /// [`Unfit`], for one that cannot go on elsewhere.
    pub fn read(text: &'a str) -> Result<Self, Unfit> {
        let mut reading = Reading {
            text: text.strip_prefix('\u{feff}').unwrap_or(text),
            ..Reading::default()
        };
        reading.run()?;
        reading.finish()
    }

    /// When the last of its segments ends, from the start of its Period. `seen`: when it was read, in milliseconds since 1970.
    pub fn end(&self, seen: u64) -> u64 {
        let ends = self.period.templates.iter();
        ends.map(|template| template.end(self.age(seen)))
            .max()
            .unwrap_or(0)
    }

    /// Microseconds from the start of its Period to `seen`, in milliseconds since 1970.
    pub(super) fn age(&self, seen: u64) -> u64 {
        let started = self.anchor.saturating_add(self.period.start);
        seen.saturating_mul(1000).saturating_sub(started)
    }

    /// Whether its segments are there by the clock, and not by a list.
    pub(super) fn is_regular(&self) -> bool {
        let mut templates = self.period.templates.iter();
        templates.any(|template| matches!(template.list, List::Regular(_)))
    }

    /// The text of an attribute of its Period, as it stands there.
    pub(super) fn period_attribute(&self, name: &str) -> Option<&'a str> {
        attribute(self.text.get(self.period.tag.clone())?, name)
    }

    /// The text of an attribute of all of it, as it stands there.
    pub(super) fn root_attribute(&self, name: &str) -> Option<&'a str> {
        attribute(self.text.get(self.root.clone())?, name)
    }
}

impl Template {
    /// The segments that are there when the Period has lasted for `age` microseconds.
    pub(super) fn segments(&self, age: u64) -> Vec<Run> {
        match &self.list {
            List::Each(runs) => runs.clone(),
            List::Regular(duration) => {
                let count = self.ticks(age) / duration.max(&1);
                let run = Run {
                    time: self.offset,
                    duration: *duration,
                    count,
                };
                (count > 0).then_some(run).into_iter().collect()
            }
        }
    }

    /// When the last of them ends, from the start of the Period.
    pub(super) fn end(&self, age: u64) -> u64 {
        self.segments(age)
            .last()
            .map_or(0, |run| self.since_start(run.end()))
    }

    /// When the first of them begins, from the start of the Period.
    pub(super) fn begin(&self, age: u64) -> Option<u64> {
        Some(self.since_start(self.segments(age).first()?.time))
    }

    /// A media time, from the start of the Period, in microseconds.
    pub(super) fn since_start(&self, time: u64) -> u64 {
        let ticks = u128::from(time.saturating_sub(self.offset));
        let micros = ticks * u128::from(SECOND) / u128::from(self.timescale.max(1));
        u64::try_from(micros).unwrap_or(u64::MAX)
    }

    /// The whole ticks in a time of `micros` microseconds.
    fn ticks(&self, micros: u64) -> u64 {
        let ticks = u128::from(micros) * u128::from(self.timescale) / u128::from(SECOND);
        u64::try_from(ticks).unwrap_or(u64::MAX)
    }

    /// The ticks that are nearest to `micros` microseconds: those that the time was made from.
    pub(super) fn nearest(&self, micros: u64) -> u64 {
        let half = u128::from(SECOND / 2);
        let ticks = (u128::from(micros) * u128::from(self.timescale) + half) / u128::from(SECOND);
        u64::try_from(ticks).unwrap_or(u64::MAX)
    }
}

impl Run {
    pub(super) const fn end(&self) -> u64 {
        self.time
            .saturating_add(self.duration.saturating_mul(self.count))
    }
}

/// What kind of element is open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Root,
    Period,
    Set,
    Representation,
    Template,
    Timeline,
    Dropped,
    Other,
}

/// An element whose end tag has not come yet.
#[derive(Debug)]
struct Open {
    kind: Kind,
    start: usize,
    /// Whether it has a template.
    templated: bool,
}

#[derive(Debug, Default)]
struct Reading<'a> {
    text: &'a str,
    open: Vec<Open>,
    root: Option<Range<usize>>,
    period: Option<Period>,
    dropped: Vec<Range<usize>>,
}

impl<'a> Reading<'a> {
    fn run(&mut self) -> Result<(), Unfit> {
        let mut reader = Reader::from_str(self.text);
        loop {
            let start = position(reader.buffer_position());
            let event = reader.read_event().map_err(|_| Unfit::Unreadable)?;
            let end = position(reader.buffer_position());
            match event {
                Event::Start(element) => {
                    let open = self.enter(element.local_name().as_ref(), start..end)?;
                    if self.open.len() == MAX_DEPTH {
                        return Err(Unfit::Unreadable);
                    }
                    self.open.push(open);
                }
                Event::Empty(element) => {
                    let open = self.enter(element.local_name().as_ref(), start..end)?;
                    self.leave(&open, end)?;
                }
                Event::End(_) => {
                    let open = self.open.pop().ok_or(Unfit::Unreadable)?;
                    self.leave(&open, end)?;
                }
                Event::Eof if self.open.is_empty() => return Ok(()),
                Event::Eof => return Err(Unfit::Unreadable),
                _ => {}
            }
        }
    }

    fn enter(&mut self, name: &str, tag: Range<usize>) -> Result<Open, Unfit> {
        let parent = self.open.last().map(|open| open.kind);
        let kind = match (name, parent) {
            ("MPD", None) if self.root.is_none() => {
                self.root = Some(tag.clone());
                Kind::Root
            }
            (_, None) => return Err(Unfit::Unreadable),
            ("BaseURL", Some(Kind::Root)) => return Err(Unfit::Base),
            ("Location" | "PatchLocation", Some(Kind::Root)) => Kind::Dropped,
            ("Period", Some(Kind::Root)) => self.enter_period(&tag)?,
            ("EventStream", _) => return Err(Unfit::Events),
            ("AdaptationSet", Some(Kind::Period)) if self.is_linked(&tag) => {
                return Err(Unfit::Periods);
            }
            ("AdaptationSet", Some(Kind::Period)) => Kind::Set,
            ("Representation", Some(Kind::Set)) => Kind::Representation,
            ("SegmentTemplate", Some(Kind::Period | Kind::Set | Kind::Representation)) => {
                self.enter_template(&tag)?
            }
            ("SegmentTimeline", Some(Kind::Template)) => Kind::Timeline,
            ("S", Some(Kind::Timeline)) => {
                self.add_run(&tag)?;
                Kind::Other
            }
            ("SegmentList" | "SegmentBase", _) => return Err(Unfit::Templates),
            _ => Kind::Other,
        };
        Ok(Open {
            kind,
            start: tag.start,
            templated: false,
        })
    }

    fn leave(&mut self, open: &Open, end: usize) -> Result<(), Unfit> {
        match (open.kind, &mut self.period) {
            (Kind::Dropped, _) => self.dropped.push(open.start..end),
            (Kind::Period, Some(period)) => period.whole.end = end,
            (Kind::Template, Some(period)) => {
                if let Some(template) = period.templates.last_mut() {
                    template.whole.end = end;
                }
            }
            (Kind::Timeline, Some(period)) => {
                if let Some(template) = period.templates.last_mut() {
                    template.timeline = Some(open.start..end);
                }
            }
            (Kind::Representation, _) => {
                let above = self.open.iter().any(|above| above.templated);
                if !open.templated && !above {
                    return Err(Unfit::Templates);
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn enter_period(&mut self, tag: &Range<usize>) -> Result<Kind, Unfit> {
        if self.period.is_some() || self.is_linked(tag) {
            return Err(Unfit::Periods);
        }
        let start = match self.attribute(tag, "start") {
            Some(start) => duration(start).ok_or(Unfit::Unreadable)?,
            None => 0,
        };
        self.period = Some(Period {
            whole: tag.clone(),
            tag: tag.clone(),
            start,
            templates: Vec::new(),
        });
        Ok(Kind::Period)
    }

    fn enter_template(&mut self, tag: &Range<usize>) -> Result<Kind, Unfit> {
        // A template takes what it lacks from those above it, which is more than has to be understood here.
        if self.open.iter().any(|open| open.templated) {
            return Err(Unfit::Templates);
        }
        let number = |name: &str, default: u64| match self.attribute(tag, name) {
            Some(text) => text.trim().parse().map_err(|_| Unfit::Templates),
            None => Ok(default),
        };
        let media = self.attribute(tag, "media").ok_or(Unfit::Templates)?;
        let text =
            |raw: &str| String::from_utf8(unescape(raw.as_bytes())).map_err(|_| Unfit::Templates);
        let media = text(media)?;
        let initial = self.attribute(tag, "initialization").map(text);
        let initial = initial.transpose()?;
        let regular = number("duration", 0)?;
        let is_numbered = media.contains("$Number");
        let fits =
            (is_numbered || media.contains("$Time")) && self.attribute(tag, "endNumber").is_none();
        let timescale = number("timescale", 1)?;
        if !fits || timescale == 0 {
            return Err(Unfit::Templates);
        }
        let template = Template {
            whole: tag.clone(),
            tag: tag.clone(),
            timeline: None,
            timescale,
            offset: number("presentationTimeOffset", 0)?,
            number: number("startNumber", 1)?,
            list: match regular {
                0 => List::Each(Vec::new()),
                duration => List::Regular(duration),
            },
            media,
            initial,
        };
        if let Some(owner) = self.open.last_mut() {
            owner.templated = true;
        }
        let period = self.period.as_mut().ok_or(Unfit::Periods)?;
        period.templates.push(template);
        Ok(Kind::Template)
    }

    fn add_run(&mut self, tag: &Range<usize>) -> Result<(), Unfit> {
        let number = |name: &str| match self.attribute(tag, name) {
            Some(text) => text.trim().parse().map(Some).map_err(|_| Unfit::Open),
            None => Ok(None),
        };
        let (time, duration, more) = (number("t")?, number("d")?, number("r")?);
        let is_plain = ["n", "k"]
            .iter()
            .all(|name| self.attribute(tag, name).is_none());
        let duration = duration.filter(|duration| *duration > 0 && is_plain);
        let template = self
            .period
            .as_mut()
            .and_then(|period| period.templates.last_mut());
        let (Some(template), Some(duration)) = (template, duration) else {
            return Err(Unfit::Templates);
        };
        if let List::Regular(_) = template.list {
            template.list = List::Each(Vec::new());
        }
        if let List::Each(runs) = &mut template.list {
            let last = runs.last().map_or(0, Run::end);
            let time = time.unwrap_or(last);
            if time < last {
                return Err(Unfit::Templates);
            }
            runs.push(Run {
                time,
                duration,
                count: more.unwrap_or(0_u64).saturating_add(1),
            });
        }
        Ok(())
    }

    fn finish(self) -> Result<Manifest<'a>, Unfit> {
        let root = self.root.clone().ok_or(Unfit::Unreadable)?;
        let period = self.period.ok_or(Unfit::Periods)?;
        let tag = self.text.get(root.clone()).unwrap_or_default();
        let lives = attribute(tag, "type") == Some("dynamic");
        let anchor = attribute(tag, "availabilityStartTime").and_then(date_time);
        let anchor = match (anchor, lives) {
            (Some(anchor), _) => anchor,
            (None, false) => 0,
            (None, true) => return Err(Unfit::NoAnchor),
        };
        if lives
            && attribute(tag, "minimumUpdatePeriod")
                .and_then(duration)
                .is_none()
        {
            return Err(Unfit::NoUpdates);
        }
        let manifest = Manifest {
            text: self.text,
            root,
            anchor,
            period,
            dropped: self.dropped,
            ended: !lives,
        };
        let templates = &manifest.period.templates;
        let all_regular = templates
            .iter()
            .all(|one| matches!(one.list, List::Regular(_)));
        // What the clock says of segments that are named by their times is not said exactly.
        let by_time = templates.iter().any(|one| !one.media.contains("$Number"));
        if templates.is_empty() || manifest.is_regular() && (!all_regular || by_time) {
            return Err(Unfit::Templates);
        }
        Ok(manifest)
    }

    fn attribute(&self, tag: &Range<usize>, name: &str) -> Option<&'a str> {
        attribute(self.text.get(tag.clone())?, name)
    }

    /// Whether an element is elsewhere (§5.5).
    fn is_linked(&self, tag: &Range<usize>) -> bool {
        let tag = self.text.get(tag.clone()).unwrap_or_default();
        tag.contains(":href")
    }
}

/// The text of an attribute of a start tag, as it stands there.
pub(super) fn attribute<'t>(tag: &'t str, name: &str) -> Option<&'t str> {
    let (_, value) =
        Attributes::of(tag.as_bytes()).find(|(at, _)| tag.get(at.clone()) == Some(name))?;
    tag.get(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(super) const LISTED: &str = r#"<?xml version="1.0"?>
<MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="dynamic" availabilityStartTime="2026-11-29T06:00:00Z" minimumUpdatePeriod="PT2S">
<Location>http://10.0.0.1/live/a.mpd</Location>
<Period id="0" start="PT1S"><AdaptationSet><SegmentTemplate timescale="1000" startNumber="7" media="c$Number%05d$.m4s" initialization="i.m4s"
><SegmentTimeline><S t="4000" d="2000" r="1"/><S d="1500"/></SegmentTimeline></SegmentTemplate><Representation id="v"/></AdaptationSet></Period></MPD>"#;

    #[test]
    fn a_list_is_read() {
        let manifest = Manifest::read(LISTED).unwrap();
        assert_eq!(manifest.end(0), 9_500_000);
        assert_eq!((manifest.ended, manifest.period.start), (false, SECOND));
        let [template] = &manifest.period.templates[..] else {
            panic!("{manifest:?}");
        };
        assert_eq!((template.number, template.timescale), (7, 1000));
        assert_eq!(template.begin(0), Some(4_000_000));
        assert_eq!(
            LISTED.get(manifest.dropped[0].clone()),
            Some("<Location>http://10.0.0.1/live/a.mpd</Location>")
        );
        assert_eq!(manifest.period_attribute("id"), Some("0"));
        let timeline = LISTED.get(template.timeline.clone().unwrap()).unwrap();
        assert!(
            timeline.starts_with("<SegmentTimeline>") && timeline.ends_with("</SegmentTimeline>")
        );
        assert!(
            LISTED
                .get(template.whole.clone())
                .unwrap()
                .ends_with("</SegmentTemplate>")
        );
    }

    #[test]
    fn what_the_clock_lists_is_counted() {
        let text = r#"<MPD type="dynamic" availabilityStartTime="1970-01-01T00:00:10Z" minimumUpdatePeriod="PT500S"><Period start="PT5S">
            <AdaptationSet><Representation><SegmentTemplate media="$Number$" duration="2"/></Representation></AdaptationSet></Period></MPD>"#;
        let manifest = Manifest::read(text).unwrap();
        assert!(manifest.is_regular());
        for (seen, end) in [
            (0, 0),
            (16_999, 0),
            (17_000, 2 * SECOND),
            (20_999, 4 * SECOND),
        ] {
            assert_eq!(manifest.end(seen), end, "{seen}");
        }
    }

    #[test]
    fn why_others_cannot_go_on() {
        let of = |change: (&str, &str)| {
            let text = LISTED.replace(change.0, change.1);
            assert_ne!(text, LISTED, "{change:?}");
            Manifest::read(&text).map(|_| ()).unwrap_err()
        };
        for (change, expected) in [
            (("<MPD", "<Patch"), Unfit::Unreadable),
            (("</Period>", ""), Unfit::Unreadable),
            (("availabilityStartTime", "publishTime"), Unfit::NoAnchor),
            (("minimumUpdatePeriod", "minBufferTime"), Unfit::NoUpdates),
            (("</Period>", "</Period><Period/>"), Unfit::Periods),
            (("<Period id", "<Period xlink:href='x' id"), Unfit::Periods),
            (
                ("<Location", "<BaseURL>/x/</BaseURL><Location"),
                Unfit::Base,
            ),
            (
                ("<AdaptationSet>", "<EventStream/><AdaptationSet>"),
                Unfit::Events,
            ),
            (
                ("<Representation id", "<SegmentList/><Representation id"),
                Unfit::Templates,
            ),
            (("$Number%05d$", "$Bandwidth$"), Unfit::Templates),
            (("timescale=\"1000\"", "timescale=\"0\""), Unfit::Templates),
            (
                (
                    "<Representation id=\"v\"/>",
                    "<Representation><SegmentTemplate media='$Time$'/></Representation>",
                ),
                Unfit::Templates,
            ),
            (
                (
                    "</Period>",
                    "<AdaptationSet><Representation/></AdaptationSet></Period>",
                ),
                Unfit::Templates,
            ),
            (("r=\"1\"", "r=\"-1\""), Unfit::Open),
            (("d=\"1500\"", "d=\"0\""), Unfit::Templates),
            (("<S d=", "<S t=\"0\" d="), Unfit::Templates),
        ] {
            assert_eq!(of(change), expected, "{change:?}");
        }
        assert_eq!(Manifest::read("").unwrap_err(), Unfit::Unreadable);
        let ended = LISTED.replace("dynamic", "static");
        assert!(Manifest::read(&ended).unwrap().ended);
    }
}
