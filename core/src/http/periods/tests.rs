use std::collections::BTreeMap;

use proptest::prelude::*;
use quick_xml::events::{BytesStart, Event};
use quick_xml::reader::Reader;

use super::*;

/// A packager: what it has made, and how it names it.
#[derive(Debug, Clone)]
struct Packager {
    name: String,
    /// When its publication began, in milliseconds since 1970, and where its Period starts.
    anchor: u64,
    start: u64,
    /// Ticks of a second, the media time of its first segment, and what of it is offset.
    timescale: u64,
    first: u64,
    offset: u64,
    number: u64,
    /// The durations of its segments, in ticks: pictures, and sound.
    made: Vec<(u64, u64)>,
    window: usize,
    by_time: bool,
}

impl Packager {
    fn new(name: &str, anchor: u64) -> Self {
        Self {
            name: name.to_owned(),
            anchor,
            start: 0,
            timescale: 1000,
            first: 0,
            offset: 0,
            number: 1,
            made: Vec::new(),
            window: 5,
            by_time: false,
        }
    }

    fn makes(&mut self, count: usize, duration: u64) {
        self.made.extend(vec![(duration, duration); count]);
    }

    fn manifest(&self) -> String {
        let sets = [
            self.set("v", |(pictures, _)| pictures),
            self.set("a", |(_, sound)| sound),
        ];
        format!(
            "<MPD type=\"dynamic\" availabilityStartTime=\"{}\" minimumUpdatePeriod=\"PT4S\"><Period id=\"0\" start=\"{}\">{}</Period></MPD>",
            date(self.anchor),
            written(self.start * 1000),
            sets.concat()
        )
    }

    fn set(&self, track: &str, pick: impl Fn((u64, u64)) -> u64) -> String {
        let left_out = self.made.len().saturating_sub(self.window);
        let durations = self.made.iter().map(|made| pick(*made));
        let before: u64 = durations.clone().take(left_out).sum();
        let mut time = self.first + before;
        let mut list = String::new();
        for duration in durations.skip(left_out) {
            list.push_str(&format!("<S t=\"{time}\" d=\"{duration}\"/>"));
            time += duration;
        }
        let which = if self.by_time { "$Time$" } else { "$Number$" };
        format!(
            "<AdaptationSet><SegmentTemplate timescale=\"{}\" presentationTimeOffset=\"{}\" startNumber=\"{}\" \
             media=\"{track}{}-{which}.m4s\" initialization=\"{track}{}.mp4\"><SegmentTimeline>{list}</SegmentTimeline>\
             </SegmentTemplate><Representation id=\"{track}\"/></AdaptationSet>",
            self.timescale,
            self.offset,
            self.number + left_out as u64,
            self.name,
            self.name
        )
    }
}

/// A moment of 1970 to 2025, as a manifest writes it.
fn date(millis: u64) -> String {
    let (mut days, rest) = (millis / 86_400_000, millis % 86_400_000);
    let leap = |year: u64| {
        year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400))
    };
    let mut year = 1970;
    while days >= if leap(year) { 366 } else { 365 } {
        days -= if leap(year) { 366 } else { 365 };
        year += 1;
    }
    let mut month = 1;
    for length in [
        31,
        if leap(year) { 29 } else { 28 },
        31,
        30,
        31,
        30,
        31,
        31,
        30,
        31,
        30,
        31,
    ] {
        if days < length {
            break;
        }
        days -= length;
        month += 1;
    }
    let (hours, minutes) = (rest / 3_600_000, rest / 60_000 % 60);
    let seconds = format!("{:02}.{:03}", rest / 1000 % 60, rest % 1000);
    format!(
        "{year}-{month:02}-{:02}T{hours:02}:{minutes:02}:{seconds}Z",
        days + 1
    )
}

/// A viewer, which reads manifests by itself and notes what it was told.
#[derive(Debug, Default)]
struct Viewer {
    anchor: Option<String>,
    /// By the address of a segment, when it is presented, in microseconds.
    told: BTreeMap<String, (u64, u64)>,
    /// By track, the end of all that was told.
    ends: BTreeMap<char, u64>,
    /// The Periods that were listed last: name, start, duration.
    periods: Vec<(String, u64, Option<u64>)>,
}

#[derive(Debug, Default)]
struct Track {
    scale: u64,
    offset: u64,
    number: u64,
    media: String,
    time: u64,
}

impl Viewer {
    fn see(&mut self, listing: &Listing) {
        let pieces: Vec<Vec<u8>> = listing
            .pieces
            .iter()
            .map(|piece| piece.text.clone().into())
            .collect();
        let text = String::from_utf8(joined(&pieces)).unwrap();
        self.read(&text);
    }

    fn read(&mut self, text: &str) {
        let mut reader = Reader::from_str(text);
        let mut track = Track::default();
        self.periods.clear();
        loop {
            let event = reader
                .read_event()
                .unwrap_or_else(|error| panic!("{error}: {text}"));
            match event {
                Event::Start(element) | Event::Empty(element) => {
                    self.element(&element, &mut track, text);
                }
                Event::Eof => break,
                _ => {}
            }
        }
        for pair in self.periods.windows(2) {
            let [(id, start, duration), (next, then, _)] = pair else {
                continue;
            };
            let duration = duration.unwrap_or_else(|| panic!("a Period without an end: {text}"));
            assert!(start + duration <= *then, "Periods overlap: {text}");
            assert_ne!(id, next, "{text}");
        }
    }

    fn element(&mut self, element: &BytesStart<'_>, track: &mut Track, text: &str) {
        let of = |name: &str| {
            let raw: &str = element.as_ref();
            manifest::attribute(raw, name).map(str::to_owned)
        };
        let number = |name: &str| of(name).map_or(0, |text| text.parse::<u64>().unwrap());
        match element.name().as_ref() {
            "MPD" => {
                let anchor = of("availabilityStartTime");
                assert_eq!(
                    *self.anchor.get_or_insert_with(|| anchor.clone().unwrap()),
                    anchor.unwrap()
                );
                let update = clock::duration(&of("minimumUpdatePeriod").unwrap()).unwrap();
                assert!(update <= 4 * SECOND);
            }
            "Period" => {
                let time = |name: &str| of(name).map(|text| clock::duration(&text).unwrap());
                self.periods
                    .push((of("id").unwrap(), time("start").unwrap(), time("duration")));
            }
            "SegmentTemplate" => {
                *track = Track {
                    scale: number("timescale"),
                    offset: number("presentationTimeOffset"),
                    number: number("startNumber"),
                    media: of("media").unwrap(),
                    time: 0,
                };
            }
            "S" => {
                if let Some(time) = of("t") {
                    track.time = time.parse().unwrap();
                }
                for _ in 0..=number("r") {
                    self.segment(track, number("d"), text);
                }
            }
            _ => {}
        }
    }

    fn segment(&mut self, track: &mut Track, duration: u64, text: &str) {
        let (_, start, length) = self.periods.last().unwrap();
        let address = track.media.replace("$Number$", &track.number.to_string());
        let address = address.replace("$Time$", &track.time.to_string());
        let ticks = |ticks: u64| start + ticks * SECOND / track.scale;
        // What begins before its Period is shown from the start of it.
        let begin = ticks(track.time.saturating_sub(track.offset));
        let end = ticks((track.time + duration).saturating_sub(track.offset));
        if let Some(length) = length {
            assert!(
                end <= start + length + 2,
                "{address} ends after its Period: {text}"
            );
        }
        assert!(end > begin, "{address} is before its Period: {text}");
        let kind = address.chars().next().unwrap();
        match self.told.get(&address) {
            Some((from, to)) => {
                let same = from.abs_diff(begin) <= 2 && to.abs_diff(end) <= 2;
                assert!(same, "{address} was at {from} and is at {begin}: {text}");
            }
            None => {
                let last = self.ends.get(&kind).copied().unwrap_or(0);
                assert!(
                    begin + 2 >= last,
                    "{address} goes back from {last} to {begin}: {text}"
                );
                self.told.insert(address, (begin, end));
            }
        }
        let last = self.ends.entry(kind).or_default();
        *last = (*last).max(end);
        track.number += 1;
        track.time += duration;
    }

    fn tells(&self, address: &str) -> Option<(u64, u64)> {
        self.told.get(address).copied()
    }
}

fn run(origin: &OriginId) -> Run<'_> {
    Run {
        origin,
        authority: "10.0.0.1:8080",
        folder: None,
        gone: true,
    }
}

fn loss(since: u64, noted: u64) -> Loss {
    Loss {
        since,
        noted,
        until: noted + 30_000,
    }
}

const DAY: u64 = 20_000 * 86_400_000;

#[test]
fn a_manifest_stays_and_then_goes_on_elsewhere() {
    let (one, two) = (OriginId::from("one"), OriginId::from("two"));
    let mut first = Packager::new("x", DAY);
    first.makes(10, 2000);
    let mut viewer = Viewer::default();
    viewer.read(&first.manifest());
    let text = first.manifest();
    let manifest = Manifest::read(&text).unwrap();
    let lost = Periods::lose(
        None,
        &manifest,
        run(&one),
        loss(DAY + 20_100, DAY + 21_000),
        DAY + 20_900,
    )
    .unwrap();
    assert!(lost.is_away() && !lost.is_over(DAY + 50_999) && lost.is_over(DAY + 51_000));
    assert_eq!((lost.origin(), lost.gap_ms(DAY + 22_000)), ("one", 1_000));
    viewer.see(&lost.away().unwrap());
    assert_eq!(viewer.periods, [("0".to_owned(), 0, None)]);

    // Its publisher comes to another, whose packager has made nothing at first.
    let mut second = Packager::new("y", DAY + 22_500);
    second.first = 77_000;
    let text = second.manifest();
    assert_eq!(
        lost.found(&two, &Manifest::read(&text).unwrap(), DAY + 23_000),
        None
    );
    second.makes(1, 2000);
    let text = second.manifest();
    let manifest = Manifest::read(&text).unwrap();
    // 5 s after the last segment came, 2 s of them are there.
    let found = lost.found(&two, &manifest, DAY + 25_100).unwrap();
    assert_eq!(
        (found.is_away(), found.origin(), found.gap_ms(0)),
        (false, "two", 3_000)
    );
    viewer.see(&found.on(&manifest, DAY + 25_100).unwrap());
    let expected = [
        ("0".to_owned(), 0, Some(20 * SECOND)),
        ("0-2".to_owned(), 23 * SECOND, None),
    ];
    assert_eq!(viewer.periods, expected);
    assert_eq!(viewer.tells("vy-1.m4s"), Some((23 * SECOND, 25 * SECOND)));
    assert!(found.gave_up("one") && !found.gave_up("two"));
    for (path, expected) in [
        ("/live/vx-10.m4s?spbhid=1", true),
        ("/live/vx.mp4", true),
        ("/live/vx.mp4a", false),
        ("/live/vy-1.m4s", false),
    ] {
        assert_eq!(found.names_a_segment(path), expected, "{path}");
    }
    // The first Period is listed while players may be in it.
    second.makes(28, 2000);
    let text = second.manifest();
    viewer.see(
        &found
            .on(&Manifest::read(&text).unwrap(), DAY + 90_000)
            .unwrap(),
    );
    assert_eq!(viewer.periods.len(), 1);
    assert_eq!(Periods::read(&found.text()), Some(found));
}

#[test]
fn an_origin_that_has_it_again_goes_on_as_before() {
    let one = OriginId::from("one");
    let mut packager = Packager::new("x", DAY);
    packager.makes(10, 2000);
    let text = packager.manifest();
    let manifest = Manifest::read(&text).unwrap();
    let lost = Periods::lose(None, &manifest, run(&one), loss(DAY, DAY), DAY).unwrap();
    let mut viewer = Viewer::default();
    viewer.read(&text);
    packager.makes(2, 2000);
    let text = packager.manifest();
    let manifest = Manifest::read(&text).unwrap();
    let found = lost.found(&one, &manifest, DAY + 4000).unwrap();
    viewer.see(&found.on(&manifest, DAY + 4000).unwrap());
    assert_eq!(viewer.periods, [("0".to_owned(), 0, None)]);
    // One that was started again counts from another moment.
    let mut again = Packager::new("x", DAY + 9000);
    again.makes(20, 2000);
    let text = again.manifest();
    let manifest = Manifest::read(&text).unwrap();
    let found = lost.found(&one, &manifest, DAY + 9000).unwrap();
    assert_eq!(found.sources().len(), 1);
    assert!(
        found
            .on(&manifest, DAY + 9000)
            .unwrap()
            .text()
            .contains("id=\"0-2\"")
    );
}

#[test]
fn what_the_clock_lists_keeps_its_clock() {
    let regular = |anchor: u64| {
        format!(
            "<MPD type='dynamic' availabilityStartTime='{}' minimumUpdatePeriod='PT500S'><Period><AdaptationSet>\
             <SegmentTemplate media='{anchor}-$Number$.m4s' duration='2' startNumber='0'/><Representation/>\
             </AdaptationSet></Period></MPD>",
            date(anchor)
        )
    };
    let (one, two) = (OriginId::from("one"), OriginId::from("two"));
    let text = regular(DAY);
    let manifest = Manifest::read(&text).unwrap();
    assert!(in_time(&text).unwrap().contains("'PT2S'"));
    let lost = Periods::lose(
        None,
        &manifest,
        run(&one),
        loss(DAY + 20_000, DAY + 22_000),
        DAY + 21_000,
    )
    .unwrap();
    let away = lost.away().unwrap().text();
    assert!(
        away.contains("startNumber='0'><SegmentTimeline><S t=\"0\" d=\"2\" r=\"9\"/>"),
        "{away}"
    );
    // The other one has had the stream for longer.
    for (anchor, now, expected) in [
        (DAY + 22_300, DAY + 24_000, None),
        (
            DAY + 22_300,
            DAY + 24_300,
            Some(("PT22.3S", "startNumber='0'")),
        ),
        (DAY + 5_000, DAY + 22_999, None),
        (
            DAY + 5_000,
            DAY + 23_000,
            Some(("PT21S", "startNumber='8'")),
        ),
    ] {
        let text = regular(anchor);
        let manifest = Manifest::read(&text).unwrap();
        let found = lost.found(&two, &manifest, now);
        assert_eq!(found.is_some(), expected.is_some(), "{anchor} at {now}");
        let Some((found, (start, number))) = found.zip(expected) else {
            continue;
        };
        let shown = found.on(&manifest, now).unwrap().text();
        assert!(
            shown.contains(&format!("start=\"{start}\"")) && shown.contains(number),
            "{shown}"
        );
        assert!(shown.contains("duration=\"PT20S\""), "{shown}");
    }
}

#[test]
fn how_manifests_follow() {
    let mut packager = Packager::new("x", DAY);
    packager.makes(5, 2000);
    let before = packager.manifest();
    packager.makes(1, 2000);
    let after = packager.manifest();
    let mut other = packager.clone();
    other.anchor += 3000;
    let other = other.manifest();
    // Some origins compute availabilityStartTime for each answer, and give each viewer another name of the Period.
    packager.anchor += 1;
    let jitters = packager
        .manifest()
        .replace("Period id=\"0\"", "Period id=\"22\"");
    let ended = before.replace("dynamic", "static");
    let of = |one: &str, next: &str, same: bool| {
        follows(
            (&Manifest::read(one).unwrap(), 0),
            (&Manifest::read(next).unwrap(), 0),
            same,
        )
    };
    for (cause, one, next, same, expected) in [
        ("one more", &before, &after, true, Follows::On),
        ("as before", &before, &before, true, Follows::On),
        (
            "its answer took longer",
            &after,
            &before,
            true,
            Follows::Late,
        ),
        ("it was started again", &before, &other, true, Follows::Not),
        ("its clock jitters", &before, &jitters, true, Follows::On),
        ("another's does", &before, &jitters, false, Follows::Not),
        ("it has ended", &before, &ended, true, Follows::On),
        (
            "another has the same files",
            &before,
            &after,
            false,
            Follows::On,
        ),
        (
            "another has files of its own",
            &before,
            &other,
            false,
            Follows::Not,
        ),
    ] {
        assert_eq!(of(one, next, same), expected, "{cause}");
    }
}

#[test]
fn viewers_of_another_proxy_may_have_seen_more() {
    let one = OriginId::from("one");
    let mut packager = Packager::new("x", DAY);
    packager.makes(5, 2000);
    let text = packager.manifest();
    let less = Manifest::read(&text).unwrap();
    let lost = Periods::lose(None, &less, run(&one), loss(DAY, DAY + 1000), DAY).unwrap();
    packager.makes(1, 2000);
    let text = packager.manifest();
    let more = Manifest::read(&text).unwrap();
    let better = lost.outdone(&more, DAY, DAY + 500, DAY + 1100).unwrap();
    assert_eq!((better.epoch, better.end), (2, 12 * SECOND));
    assert_eq!(
        lost.outdone(&more, DAY, DAY + 500, DAY + 1000 + SETTLES),
        None
    );
    assert_eq!(better.outdone(&less, DAY, DAY + 500, DAY + 1100), None);
}

#[test]
fn patterns() {
    for (path, pattern, expected) in [
        (
            "/a/chunk-stream0-00012.m4s",
            "chunk-stream$RepresentationID$-$Number%05d$.m4s",
            true,
        ),
        (
            "/a/init-stream0.m4s",
            "chunk-stream$RepresentationID$-$Number%05d$.m4s",
            false,
        ),
        ("/a/b-12000.m4v", "b-$Time$.m4v", true),
        ("/a/b-init.m4v", "b-$Time$.m4v", false),
        ("/a/v/9", "v/$Number$", true),
        ("/a/v/", "v/$Number$", false),
        ("/a/12", "$Number$?x=1", true),
    ] {
        assert_eq!(is_named_by(path, pattern), expected, "{path}");
    }
}

/// A loss and what follows it.
#[derive(Debug, Clone)]
struct Cut {
    /// Segments that the origin makes before, and looks of the viewer while it has the stream.
    made: usize,
    /// Milliseconds from the last segment to the loss, and without an origin.
    late: u64,
    away: u64,
    /// How the next packager counts.
    timescale: u64,
    first: u64,
    offset: u64,
    start: u64,
    has: usize,
    window: usize,
    by_time: bool,
    durations: Vec<(u64, u64)>,
}

fn cut() -> impl Strategy<Value = Cut> {
    let times = (0_u64..4_000, 0_u64..20_000);
    let counts = (
        prop::sample::select(vec![1, 1000, 12_800, 90_000, 10_000_000]),
        0_u64..1 << 40,
        any::<bool>(),
        0_u64..100_000,
    );
    let lists = (1_usize..8, 0_usize..12, 1_usize..9, any::<bool>());
    let durations = prop::collection::vec((1_u64..6, 1_u64..6), 40);
    (times, counts, lists, durations).prop_map(|(times, counts, lists, durations)| Cut {
        made: lists.0,
        late: times.0,
        away: times.1,
        timescale: counts.0,
        first: counts.1,
        offset: if counts.2 { counts.1 } else { 0 },
        start: counts.3,
        has: lists.1,
        window: lists.2,
        by_time: lists.3,
        durations,
    })
}

proptest! {
    #[test]
    fn whatever_is_cut_goes_on_in_order(cuts in prop::collection::vec(cut(), 1..6)) {
        let mut viewer = Viewer::default();
        let mut now = DAY;
        let mut packager = Packager::new("p0", now);
        let mut periods: Option<Periods> = None;
        packager.makes(3, 2000);
        for (at, cut) in cuts.iter().enumerate() {
            let origin = OriginId::from(format!("o{at}"));
            for _ in 0..cut.made {
                let text = packager.manifest();
                let manifest = Manifest::read(&text).unwrap();
                match &periods {
                    None => viewer.read(&text),
                    Some(periods) => viewer.see(&periods.on(&manifest, now).unwrap()),
                }
                let next = cut.durations[packager.made.len() % 40];
                packager.made.push((next.0 * packager.timescale, next.0 * packager.timescale));
                now += next.0 * 1000;
            }
            let text = packager.manifest();
            let manifest = Manifest::read(&text).unwrap();
            match &periods {
                None => viewer.read(&text),
                Some(periods) => viewer.see(&periods.on(&manifest, now).unwrap()),
            }
            let lost = Periods::lose(periods.as_ref(), &manifest, run(&origin), loss(now, now + cut.late), now).unwrap();
            prop_assert!(lost.text().len() <= LONGEST);
            prop_assert_eq!(Periods::read(&lost.text()), Some(lost.clone()));
            now += cut.late;
            viewer.see(&lost.away().unwrap());
            now += cut.away;
            packager = Packager {
                start: cut.start,
                timescale: cut.timescale,
                first: cut.first,
                offset: cut.offset,
                number: cut.first % 1000,
                window: cut.window,
                by_time: cut.by_time,
                ..Packager::new(&format!("p{}", at + 1), now.saturating_sub(cut.has as u64 * 1000))
            };
            let next = OriginId::from(format!("o{}", at + 1));
            for has in 0..cut.has {
                let (pictures, sound) = cut.durations[has];
                // Sound is cut elsewhere than pictures.
                packager.made.push((pictures * cut.timescale, (pictures + sound % 2) * cut.timescale));
            }
            let found = loop {
                let text = packager.manifest();
                let manifest = Manifest::read(&text).unwrap();
                if let Some(found) = lost.found(&next, &manifest, now) {
                    break found;
                }
                prop_assert!(packager.made.is_empty());
                packager.made.push((2 * cut.timescale, 2 * cut.timescale));
                now += 2000;
            };
            let before = viewer.ends.values().copied().max().unwrap();
            let text = packager.manifest();
            viewer.see(&found.on(&Manifest::read(&text).unwrap(), now).unwrap());
            let started = viewer.periods.last().unwrap();
            prop_assert!(started.1 + 2 >= before, "it starts after all that was shown");
            let shown = viewer.ends.values().copied().max().unwrap();
            prop_assert!(shown > before, "something new is shown");
            periods = Some(found);
        }
    }
}
