//! Manifests with other values in their attributes; everything else stays as it was.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::ops::Range;

use super::clock::{SECOND, duration, written};
use super::manifest::{List, Manifest, Run, Template, attribute};
use crate::http::dash::Attributes;

/// A Period as viewers get it. Times are microseconds.
#[derive(Debug, Clone)]
pub(super) struct Shape<'a> {
    /// Its name, if it gets another.
    pub(super) id: Option<&'a str>,
    /// Where it starts, for viewers.
    pub(super) start: u64,
    /// What comes before this moment after its own start is not shown.
    pub(super) cut: u64,
    /// No more than the last few of its segments are listed, and nothing by the clock: it has ended at this age.
    pub(super) closed: Option<Closed>,
}

/// The end of a Period.
#[derive(Debug, Clone, Copy)]
pub(super) struct Closed {
    /// How long its origin had it.
    pub(super) age: u64,
    /// How many segments of each template are listed at most.
    pub(super) most: u64,
}

/// A Period in two parts: its start tag without the `>`, and the rest from there.
pub(super) fn period(manifest: &Manifest<'_>, shape: &Shape<'_>) -> (String, String) {
    let period = &manifest.period;
    let edits = period.templates.iter().filter_map(|one| {
        let changed = template(manifest.text, one, shape)?;
        Some((one.whole.clone(), changed))
    });
    let rest = edited(manifest.text, period.tag.end..period.whole.end, edits);
    let tag = part(manifest.text, &period.tag);
    let mut changes = vec![("start", Some(written(shape.start)))];
    if shape.closed.is_some() {
        changes.push(("duration", None));
    }
    if let Some(id) = shape.id {
        changes.push(("id", Some(id.to_owned())));
    }
    let tag = retagged(tag, &changes);
    let open = tag.trim_end_matches(['>', '/']).trim_end().to_owned();
    (open, [">", &rest].concat())
}

/// The declarations of namespaces of the whole that a start tag without its `>` lacks.
pub(super) fn namespaces(manifest: &Manifest<'_>, open: &str) -> String {
    let tag = part(manifest.text, &manifest.root);
    let mut lacking = String::new();
    for (name, value) in Attributes::of(tag.as_bytes()) {
        let (Some(name), Some(quoted)) = (tag.get(name), tag.get(value.start - 1..=value.end))
        else {
            continue;
        };
        if (name == "xmlns" || name.starts_with("xmlns:")) && attribute(open, name).is_none() {
            let _ = write!(lacking, " {name}={quoted}");
        }
    }
    lacking
}

/// What surrounds the Period of a manifest: with the moment from which viewers count, and updates at least as often as
/// [`UPDATE`]. `shift`: how much later its times are for viewers, and how much of that is the other way round.
pub(super) fn frame<'a>(
    manifest: &Manifest<'a>,
    anchor: &str,
    (later, earlier): (u64, u64),
) -> (String, Cow<'a, str>) {
    let (text, period) = (manifest.text, &manifest.period);
    let tag = part(text, &manifest.root);
    let mut changes = vec![
        ("availabilityStartTime", Some(anchor.to_owned())),
        // What its origin does not have then, another has.
        ("availabilityEndTime", None),
    ];
    if let Some(update) = manifest.root_attribute(UPDATES).and_then(duration) {
        changes.push((UPDATES, Some(written(update.min(UPDATE)))));
    }
    if let Some(whole) = manifest
        .root_attribute("mediaPresentationDuration")
        .and_then(duration)
    {
        let whole = whole.saturating_add(later).saturating_sub(earlier);
        changes.push(("mediaPresentationDuration", Some(written(whole))));
    }
    let drops = || {
        manifest
            .dropped
            .iter()
            .map(|range| (range.clone(), String::new()))
    };
    let head = drops().filter(|(range, _)| range.end <= period.whole.start);
    let head = std::iter::once((manifest.root.clone(), retagged(tag, &changes))).chain(head);
    let foot = drops().filter(|(range, _)| range.start >= period.whole.end);
    let foot = edited(text, period.whole.end..text.len(), foot);
    (edited(text, 0..period.whole.start, head), foot.into())
}

/// A manifest that players ask for again soon enough to hear that its origin was lost; `None` for one that is so already, and
/// for one that cannot go on elsewhere.
pub fn in_time(text: &str) -> Option<String> {
    let at = text.find(UPDATES)?;
    let value = text
        .get(at + UPDATES.len()..)?
        .trim_start_matches([' ', '=', '"', '\'']);
    let update = value.split(['"', '\'']).next().and_then(duration)?;
    if update <= SELDOM {
        return None;
    }
    let manifest = Manifest::read(text)
        .ok()
        .filter(|manifest| !manifest.ended)?;
    let tag = part(manifest.text, &manifest.root);
    let tag = retagged(tag, &[(UPDATES, Some(written(UPDATE)))]);
    Some(edited(
        manifest.text,
        0..manifest.text.len(),
        [(manifest.root.clone(), tag)],
    ))
}

/// A template as `shape` says; `None` where nothing changes.
fn template(text: &str, template: &Template, shape: &Shape<'_>) -> Option<String> {
    if shape.cut == 0 && shape.closed.is_none() {
        return None;
    }
    let cut = template.nearest(shape.cut);
    let mut changes = Vec::new();
    if shape.cut > 0 {
        let offset = template.offset.saturating_add(cut);
        changes.push(("presentationTimeOffset", Some(offset.to_string())));
    }
    let tag = part(text, &template.tag);
    if let (List::Regular(duration), None) = (&template.list, shape.closed) {
        let number = template.number.saturating_add(cut / duration.max(&1));
        changes.push(("startNumber", Some(number.to_string())));
        let whole = template.whole.clone();
        return Some(edited(
            text,
            whole,
            [(template.tag.clone(), retagged(tag, &changes))],
        ));
    }
    let age = shape.closed.map_or(0, |closed| closed.age);
    let (mut dropped, mut runs) = without_before(template, cut, age);
    if let Some(closed) = shape.closed {
        dropped += keep_last(&mut runs, closed.most);
    }
    changes.push((
        "startNumber",
        Some(template.number.saturating_add(dropped).to_string()),
    ));
    changes.push(("duration", None));
    let timeline = timeline(tag, &runs);
    let tag = retagged(tag, &changes);
    let whole = template.whole.clone();
    if let Some(at) = &template.timeline {
        return Some(edited(
            text,
            whole,
            [(template.tag.clone(), tag), (at.clone(), timeline)],
        ));
    }
    if let Some(open) = tag.strip_suffix("/>") {
        let name = name_of(&tag);
        return Some(format!("{open}>{timeline}</{name}>"));
    }
    Some(edited(
        text,
        whole,
        [(template.tag.clone(), tag + &timeline)],
    ))
}

/// The segments that end after `cut`, in ticks, and how many before them are left out.
pub(super) fn without_before(template: &Template, cut: u64, age: u64) -> (u64, Vec<Run>) {
    // What a millionth of a second cannot tell apart.
    let until = template
        .offset
        .saturating_add(cut)
        .saturating_add(template.timescale / 1000);
    let mut dropped = 0;
    let mut runs = Vec::new();
    for mut run in template.segments(age) {
        let before = match cut {
            0 => 0,
            _ => (until.saturating_sub(run.time) / run.duration.max(1)).min(run.count),
        };
        dropped += before;
        run.time = run.time.saturating_add(run.duration.saturating_mul(before));
        run.count -= before;
        if run.count > 0 {
            runs.push(run);
        }
    }
    (dropped, runs)
}

/// Leaves the last `most` segments. Returns how many went.
fn keep_last(runs: &mut Vec<Run>, most: u64) -> u64 {
    let count = runs
        .iter()
        .map(|run| run.count)
        .fold(0, u64::saturating_add);
    let mut surplus = count.saturating_sub(most);
    let dropped = surplus;
    runs.retain_mut(|run| {
        let gone = surplus.min(run.count);
        surplus -= gone;
        run.count -= gone;
        run.time = run.time.saturating_add(run.duration.saturating_mul(gone));
        run.count > 0
    });
    dropped
}

/// A `SegmentTimeline` beside a start tag, whose prefix it gets.
fn timeline(beside: &str, runs: &[Run]) -> String {
    let prefix = name_of(beside)
        .rsplit_once(':')
        .map_or("", |(prefix, _)| prefix);
    let colon = if prefix.is_empty() { "" } else { ":" };
    let mut text = format!("<{prefix}{colon}SegmentTimeline>");
    for run in runs {
        let _ = write!(
            text,
            "<{prefix}{colon}S t=\"{}\" d=\"{}\"",
            run.time, run.duration
        );
        if run.count > 1 {
            let _ = write!(text, " r=\"{}\"", run.count - 1);
        }
        text.push_str("/>");
    }
    let _ = write!(text, "</{prefix}{colon}SegmentTimeline>");
    text
}

/// The name of the element of a start tag, with its prefix.
fn name_of(tag: &str) -> &str {
    let name = tag.trim_start_matches('<');
    name.split([' ', '\t', '\r', '\n', '/', '>'])
        .next()
        .unwrap_or_default()
}

/// A start tag with other attributes; `None`: without that one. Values are written as they are.
fn retagged(tag: &str, changes: &[(&str, Option<String>)]) -> String {
    let mut edits: Vec<(Range<usize>, String)> = Vec::new();
    let mut added = String::new();
    let known: Vec<_> = Attributes::of(tag.as_bytes()).collect();
    for (name, change) in changes {
        let at = known
            .iter()
            .find(|(at, _)| tag.get(at.clone()) == Some(name));
        match (at, change) {
            (Some((_, value)), Some(change)) => edits.push((value.clone(), change.clone())),
            (Some((name, value)), None) => edits.push((name.start..value.end + 1, String::new())),
            (None, Some(change)) => {
                let _ = write!(added, " {name}=\"{change}\"");
            }
            (None, None) => {}
        }
    }
    let end = if tag.ends_with("/>") {
        tag.len() - 2
    } else {
        tag.len().saturating_sub(1)
    };
    edits.push((end..end, added));
    edited(tag, 0..tag.len(), edits)
}

/// `whole` of a text, with some of its parts replaced.
fn edited(
    text: &str,
    whole: Range<usize>,
    edits: impl IntoIterator<Item = (Range<usize>, String)>,
) -> String {
    let mut edits: Vec<_> = edits.into_iter().collect();
    edits.sort_by_key(|(range, _)| range.start);
    let mut out = String::with_capacity(whole.len());
    let mut at = whole.start;
    for (range, new) in edits {
        out.push_str(text.get(at..range.start).unwrap_or_default());
        out.push_str(&new);
        at = range.end;
    }
    out.push_str(text.get(at..whole.end).unwrap_or_default());
    out
}

fn part<'t>(text: &'t str, range: &Range<usize>) -> &'t str {
    text.get(range.clone()).unwrap_or_default()
}

/// The attribute that says how often players are to ask for a manifest.
const UPDATES: &str = "minimumUpdatePeriod";
/// How often players ask for a manifest that has changed its origin, or may soon.
pub(super) const UPDATE: u64 = 2 * SECOND;
/// Players that ask less often than this may have nothing left to play before they hear of a change.
const SELDOM: u64 = 10 * SECOND;

#[cfg(test)]
mod tests {
    use super::*;

    const LISTED: &str = "<MPD type='dynamic' availabilityStartTime='2026-11-29T06:00:00Z' minimumUpdatePeriod='PT500S' xmlns:x='y'>\
        <Period id='0' duration='PT9S'><AdaptationSet><SegmentTemplate media='$Number$' timescale='10'><SegmentTimeline>\
        <S t='40' d='20' r='2'/><S d='15'/></SegmentTimeline></SegmentTemplate><Representation/></AdaptationSet></Period></MPD>";

    fn shown(manifest: &str, shape: &Shape<'_>) -> String {
        let manifest = Manifest::read(manifest).unwrap();
        let (open, rest) = period(&manifest, shape);
        open + &rest
    }

    #[test]
    fn a_period_gets_another_place() {
        let shape = Shape {
            id: Some("0-2"),
            start: 90_500_000,
            cut: 6_000_000,
            closed: None,
        };
        let expected = "<Period id='0-2' duration='PT9S' start=\"PT90.5S\"><AdaptationSet><SegmentTemplate media='$Number$' \
            timescale='10' presentationTimeOffset=\"60\" startNumber=\"2\"><SegmentTimeline><S t=\"60\" d=\"20\" r=\"1\"/>\
            <S t=\"100\" d=\"15\"/></SegmentTimeline></SegmentTemplate><Representation/></AdaptationSet></Period>";
        assert_eq!(shown(LISTED, &shape), expected);
    }

    #[test]
    fn a_period_is_closed() {
        let shape = Shape {
            id: None,
            start: 0,
            cut: 0,
            closed: Some(Closed { age: 0, most: 2 }),
        };
        let expected = "<Period id='0'  start=\"PT0S\"><AdaptationSet><SegmentTemplate media='$Number$' timescale='10' \
            startNumber=\"3\"><SegmentTimeline><S t=\"80\" d=\"20\"/><S t=\"100\" d=\"15\"/></SegmentTimeline></SegmentTemplate>\
            <Representation/></AdaptationSet></Period>";
        assert_eq!(shown(LISTED, &shape), expected);
        // What the clock listed is listed one by one.
        let regular = "<m:MPD type='dynamic' availabilityStartTime='1970-01-01T00:00:00Z' minimumUpdatePeriod='PT1S'><m:Period>\
            <m:AdaptationSet><m:Representation><m:SegmentTemplate media='$Number$' duration='2' startNumber='5'/></m:Representation>\
            </m:AdaptationSet></m:Period></m:MPD>";
        let closed = Shape {
            closed: Some(Closed {
                age: 9_000_000,
                most: 3,
            }),
            ..shape
        };
        let expected = "<m:Period start=\"PT0S\"><m:AdaptationSet><m:Representation><m:SegmentTemplate media='$Number$'  \
            startNumber='6'><m:SegmentTimeline><m:S t=\"2\" d=\"2\" r=\"2\"/></m:SegmentTimeline></m:SegmentTemplate>\
            </m:Representation></m:AdaptationSet></m:Period>";
        assert_eq!(shown(regular, &closed), expected);
        let later = Shape {
            cut: 4_000_000,
            closed: None,
            ..closed
        };
        assert!(
            shown(regular, &later)
                .contains("duration='2' startNumber='7' presentationTimeOffset=\"4\"/>")
        );
    }

    #[test]
    fn what_surrounds_a_period() {
        let manifest = Manifest::read(LISTED).unwrap();
        let (head, foot) = frame(&manifest, "1999-01-01T00:00:00Z", (0, 0));
        assert_eq!(
            head,
            "<MPD type='dynamic' availabilityStartTime='1999-01-01T00:00:00Z' minimumUpdatePeriod='PT2S' xmlns:x='y'>"
        );
        assert_eq!(foot, "</MPD>");
        assert_eq!(namespaces(&manifest, "<Period"), " xmlns:x='y'");
        assert_eq!(namespaces(&manifest, "<Period xmlns:x='z'"), "");
        assert_eq!(in_time(LISTED), Some(LISTED.replace("PT500S", "PT2S")));
        for other in [
            LISTED.replace("PT500S", "PT5S"),
            LISTED.replace("dynamic", "static"),
            "<MPD/>".to_owned(),
        ] {
            assert_eq!(in_time(&other), None, "{other}");
        }
    }
}
