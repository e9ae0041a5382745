use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

/// A packager that counts from `first` and lists the last `window` segments.
#[derive(Debug, Clone)]
struct Packager {
    name: String,
    first: u64,
    made: u64,
    window: u64,
    tags: &'static str,
    /// It breaks by itself after each run of this many segments; 0: never.
    breaks_every: u64,
}

impl Packager {
    fn new(name: &str, first: u64) -> Self {
        Self {
            name: name.to_owned(),
            first,
            made: 0,
            window: 6,
            tags: "",
            breaks_every: 0,
        }
    }

    fn made(&self, made: u64) -> Self {
        Self {
            made,
            ..self.clone()
        }
    }

    fn breaks(&self, made: u64) -> bool {
        self.breaks_every > 0 && made > 0 && made.is_multiple_of(self.breaks_every)
    }

    fn text(&self) -> String {
        let from = self.made.saturating_sub(self.window);
        let before = (0..from).filter(|made| self.breaks(*made)).count();
        let mut text = format!(
            "#EXTM3U\n#EXT-X-VERSION:3\n#EXT-X-TARGETDURATION:2\n#EXT-X-MEDIA-SEQUENCE:{}\n#EXT-X-DISCONTINUITY-SEQUENCE:{before}\n{}",
            self.first + from,
            self.tags,
        );
        for made in from..self.made {
            if self.breaks(made) {
                text.push_str("#EXT-X-DISCONTINUITY\n");
            }
            text.push_str(&format!(
                "#EXTINF:2.00{},\n{}-{}.ts\n",
                made % 10,
                self.name,
                self.first + made
            ));
        }
        text
    }

    fn id(&self) -> OriginId {
        OriginId::from(self.name.as_str())
    }

    fn run<'a>(&self, id: &'a OriginId, gone: bool) -> Run<'a> {
        Run {
            origin: id,
            authority: "10.0.0.1:80",
            folder: None,
            gone,
        }
    }
}

fn lose(before: Option<&Splice>, packager: &Packager, now: u64) -> Splice {
    let (text, id) = (packager.text(), packager.id());
    let media = Media::read(&text).unwrap();
    let loss = Loss {
        since: now,
        noted: now,
        until: now + 30_000,
    };
    Splice::lose(before, &media, packager.run(&id, true), loss).unwrap()
}

/// The loss of the origin `a`, which listed `text` last and is `gone` with it or not.
fn lose_text(text: &str, gone: bool) -> Splice {
    let id = OriginId::from("a");
    let run = Run {
        origin: &id,
        authority: "10.0.0.1:80",
        folder: None,
        gone,
    };
    let loss = Loss {
        since: 0,
        noted: 0,
        until: 9,
    };
    Splice::lose(None, &Media::read(text).unwrap(), run, loss).unwrap()
}

fn found(splice: &Splice, packager: &Packager, now: u64) -> Option<Splice> {
    let text = packager.text();
    splice.found(
        &packager.id(),
        &Media::read(&text).unwrap(),
        now,
        Seen::all(now),
    )
}

fn on(splice: &Splice, packager: &Packager) -> String {
    let text = packager.text();
    splice
        .on(&Media::read(&text).unwrap(), |_| false, Gaps::Listed)
        .text()
}

/// What follows the head of a playlist.
fn listed(text: &str) -> String {
    let lines = text.lines().filter(|line| {
        !["#EXTM3U", "#EXT-X-VERSION", "#EXT-X-TARGETDURATION"]
            .iter()
            .any(|tag| line.starts_with(tag))
    });
    lines.map(|line| format!("{line} ")).collect()
}

#[test]
fn a_stream_that_is_away_grows_by_a_gap_a_target_duration() {
    let packager = Packager {
        window: 3,
        ..Packager::new("a", 10)
    };
    let splice = lose(None, &packager.made(5), 1_000);
    let rows = [
        (
            1_000,
            "12",
            "#EXTINF:2.002, #EXT-X-GAP a-12.ts #EXTINF:2.003, #EXT-X-GAP a-13.ts #EXTINF:2.004, #EXT-X-GAP a-14.ts ",
        ),
        (
            2_999,
            "12",
            "#EXTINF:2.002, #EXT-X-GAP a-12.ts #EXTINF:2.003, #EXT-X-GAP a-13.ts #EXTINF:2.004, #EXT-X-GAP a-14.ts ",
        ),
        (
            3_000,
            "13",
            "#EXTINF:2.003, #EXT-X-GAP a-13.ts #EXTINF:2.004, #EXT-X-GAP a-14.ts #EXTINF:2.000, #EXT-X-GAP sluicegate-gap-15.ts ",
        ),
        (
            9_000,
            "16",
            "#EXTINF:2.000, #EXT-X-GAP sluicegate-gap-16.ts #EXTINF:2.000, #EXT-X-GAP sluicegate-gap-17.ts #EXTINF:2.000, #EXT-X-GAP sluicegate-gap-18.ts ",
        ),
        (
            99_000,
            "27",
            "#EXTINF:2.000, #EXT-X-GAP sluicegate-gap-27.ts #EXTINF:2.000, #EXT-X-GAP sluicegate-gap-28.ts #EXTINF:2.000, #EXT-X-GAP sluicegate-gap-29.ts ",
        ),
    ];
    for (now, first, rest) in rows {
        let text = splice.away(now, |_| false, Gaps::Listed).unwrap().text();
        let expected =
            format!("#EXT-X-MEDIA-SEQUENCE:{first} #EXT-X-DISCONTINUITY-SEQUENCE:0 {rest}");
        assert_eq!(listed(&text), expected, "at {now}");
    }
    assert_eq!(splice.grows_at(1_000), Some(3_000));
    assert_eq!(splice.grows_at(3_000), Some(5_000));
    assert!(!splice.is_over(30_999));
    assert!(splice.is_over(31_000));
}

#[test]
fn a_player_that_knows_no_gaps_is_listed_what_follows_the_last() {
    let old = Packager {
        window: 3,
        ..Packager::new("a", 10)
    };
    let new = Packager {
        window: 3,
        ..Packager::new("b", 0)
    };
    let away = lose(None, &old.made(5), 1_000);
    let of = |listing: Listing| listed(&listing.text());
    for (now, first) in [(1_000, 15), (3_000, 16), (9_000, 19)] {
        let all = away.away(now, |_| false, Gaps::LeftOut).unwrap();
        let expected = format!("#EXT-X-MEDIA-SEQUENCE:{first} #EXT-X-DISCONTINUITY-SEQUENCE:0 ");
        assert_eq!(of(all), expected, "at {now}");
    }
    // Where the origin lives, its player has what it listed all the same.
    let moved = away.away(3_000, |_| true, Gaps::LeftOut).unwrap();
    assert_eq!(
        of(moved),
        "#EXT-X-MEDIA-SEQUENCE:16 #EXT-X-DISCONTINUITY-SEQUENCE:0 "
    );
    let spliced = found(&away, &new.made(1), 3_100).unwrap();
    let rows = [
        (
            1,
            "#EXT-X-MEDIA-SEQUENCE:16 #EXT-X-DISCONTINUITY-SEQUENCE:0 #EXT-X-DISCONTINUITY #EXTINF:2.000, b-0.ts ",
        ),
        (
            2,
            "#EXT-X-MEDIA-SEQUENCE:16 #EXT-X-DISCONTINUITY-SEQUENCE:0 #EXT-X-DISCONTINUITY #EXTINF:2.000, b-0.ts #EXTINF:2.001, b-1.ts ",
        ),
    ];
    for (made, expected) in rows {
        let text = new.made(made).text();
        let media = Media::read(&text).unwrap();
        let listing = spliced.on(&media, |_| false, Gaps::LeftOut);
        assert_eq!(of(listing), expected, "{made} made");
    }
    // Without a gap nothing changes.
    let text = new.made(5).text();
    let media = Media::read(&text).unwrap();
    let listing = |gaps| spliced.on(&media, |_| false, gaps);
    assert_eq!(listing(Gaps::LeftOut), listing(Gaps::Listed));
    // A break that is no longer listed counts.
    let again = lose(Some(&spliced), &new.made(1), 9_000);
    let all = again.away(11_000, |_| false, Gaps::LeftOut).unwrap();
    assert_eq!(
        of(all),
        "#EXT-X-MEDIA-SEQUENCE:18 #EXT-X-DISCONTINUITY-SEQUENCE:1 "
    );
}

#[test]
fn another_origin_goes_on_behind_one_discontinuity() {
    let old = Packager {
        window: 3,
        ..Packager::new("a", 10)
    };
    let new = Packager {
        window: 3,
        ..Packager::new("b", 0)
    };
    let away = lose(None, &old.made(5), 1_000);
    assert_eq!(
        found(&away, &new.made(0), 3_100),
        None,
        "it lists nothing yet"
    );
    let spliced = found(&away, &new.made(1), 3_100).unwrap();
    assert_eq!(
        (spliced.epoch, spliced.origin(), spliced.gap_ms(0)),
        (2, "b", 2_000)
    );
    let rows = [
        (
            1,
            "14",
            "0",
            "#EXTINF:2.004, #EXT-X-GAP a-14.ts #EXTINF:2.000, #EXT-X-GAP sluicegate-gap-15.ts #EXT-X-DISCONTINUITY #EXTINF:2.000, b-0.ts ",
        ),
        (
            2,
            "15",
            "0",
            "#EXTINF:2.000, #EXT-X-GAP sluicegate-gap-15.ts #EXT-X-DISCONTINUITY #EXTINF:2.000, b-0.ts #EXTINF:2.001, b-1.ts ",
        ),
        (
            3,
            "16",
            "0",
            "#EXT-X-DISCONTINUITY #EXTINF:2.000, b-0.ts #EXTINF:2.001, b-1.ts #EXTINF:2.002, b-2.ts ",
        ),
        (
            4,
            "17",
            "1",
            "#EXTINF:2.001, b-1.ts #EXTINF:2.002, b-2.ts #EXTINF:2.003, b-3.ts ",
        ),
    ];
    for (made, first, breaks, rest) in rows {
        let expected =
            format!("#EXT-X-MEDIA-SEQUENCE:{first} #EXT-X-DISCONTINUITY-SEQUENCE:{breaks} {rest}");
        assert_eq!(
            listed(&on(&spliced, &new.made(made))),
            expected,
            "after {made}"
        );
    }
    assert_eq!(spliced.theirs(18), Some(2));
    assert_eq!(spliced.theirs(15), None, "it is none of its own");
    assert!(spliced.gave_up("a") && !spliced.gave_up("b"));
}

#[test]
fn a_discontinuity_of_the_other_origins_own_counts_whether_it_counts_it_or_not() {
    let old = "#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\na-0.ts\n#EXTINF:2,\na-1.ts\n";
    let lost = lose_text(old, true);
    let begins = "#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXT-X-DISCONTINUITY\n#EXTINF:2,\nb-0.ts\n";
    let begins = Media::read(begins).unwrap();
    let spliced = lost
        .found(&OriginId::from("b"), &begins, 0, Seen::all(0))
        .unwrap();
    let text = spliced.on(&begins, |_| false, Gaps::Listed).text();
    assert!(text.contains("#EXT-X-DISCONTINUITY-SEQUENCE:0\n"), "{text}");
    assert_eq!(text.matches("#EXT-X-DISCONTINUITY\n").count(), 1, "{text}");
    // Once it has left the list, with nothing said, as nginx-rtmp does; and counted.
    for counted in ["", "#EXT-X-DISCONTINUITY-SEQUENCE:1\n"] {
        let later = format!(
            "#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXT-X-MEDIA-SEQUENCE:1\n{counted}#EXTINF:2,\nb-1.ts\n"
        );
        let media = Media::read(&later).unwrap();
        let text = spliced.on(&media, |_| false, Gaps::Listed).text();
        assert!(
            text.contains("#EXT-X-DISCONTINUITY-SEQUENCE:1\n"),
            "{counted}{text}"
        );
        let again = spliced.lost_unseen(0).unwrap();
        assert_eq!(again.all_breaks(), 1, "{counted}");
    }
}

#[test]
fn an_origin_that_was_only_out_of_reach_goes_on_where_it_was() {
    let packager = Packager::new("a", 0);
    let away = lose(None, &packager.made(5), 1_000);
    assert_eq!(found(&away, &packager.made(5), 1_500), None, "nothing new");
    // Back before the first gap: as if nothing had been.
    let spliced = found(&away, &packager.made(6), 1_500).unwrap();
    let text = on(&spliced, &packager.made(7));
    assert!(text.contains("#EXT-X-MEDIA-SEQUENCE:2\n"), "{text}");
    assert!(!text.contains("DISCONTINUITY\n"), "{text}");
    // Back after a gap: what is new gets the numbers after it.
    let spliced = found(&away, &packager.made(7), 3_500).unwrap();
    let text = on(&spliced, &packager.made(7));
    assert!(text.ends_with("sluicegate-gap-5.ts\n#EXT-X-DISCONTINUITY\n#EXTINF:2.005,\na-5.ts\n#EXTINF:2.006,\na-6.ts\n"), "{text}");
    assert_eq!(spliced.theirs(7), Some(6));
}

#[test]
fn a_packager_that_counts_from_nothing_again_is_another_one() {
    let packager = Packager::new("a", 0);
    let away = lose(None, &packager.made(9), 1_000);
    let again = packager;
    let spliced = found(&away, &again.made(1), 1_100).unwrap();
    let text = on(&spliced, &again.made(1));
    assert!(
        text.ends_with("a-8.ts\n#EXT-X-DISCONTINUITY\n#EXTINF:2.000,\na-0.ts\n"),
        "{text}"
    );
    assert!(text.contains("#EXT-X-MEDIA-SEQUENCE:4\n"), "{text}");
}

#[test]
fn gaps_that_nobody_saw_are_none() {
    let packager = Packager {
        window: 3,
        ..Packager::new("a", 10)
    };
    let away = lose(None, &packager.made(5), 1_000);
    let text = packager.made(6).text();
    let again = Media::read(&text).unwrap();
    // When a viewer saw it last, and how many gaps stand before what is new; it has discontinuities for these alone.
    for (until, gaps) in [(1_500, 0), (2_900, 0), (3_100, 1), (5_100, 2), (9_000, 2)] {
        let on = away
            .found(&packager.id(), &again, 5_200, Seen::all(until))
            .unwrap();
        let shown = on.on(&again, |_| true, Gaps::Listed).text();
        assert_eq!(
            shown.matches("sluicegate-gap").count(),
            gaps,
            "{until}: {shown}"
        );
        assert_eq!(
            shown.matches("#EXT-X-DISCONTINUITY\n").count(),
            gaps.min(1),
            "{until}: {shown}"
        );
    }
}

#[test]
fn an_origin_that_comes_back_may_name_its_segments_anew() {
    let packager = Packager::new("a", 0);
    let away = lose(None, &packager.made(9), 1_000);
    let text = packager.made(10).text().replace("a-", "token-2/a-");
    let again = Media::read(&text).unwrap();
    for (now, new) in [(4_000, 1), (31_000, 6)] {
        let on = away
            .found(&packager.id(), &again, now, Seen::all(now))
            .unwrap();
        let text = on.on(&again, |_| false, Gaps::Listed).text();
        assert_eq!(text.matches("token-2").count(), new, "at {now}: {text}");
    }
}

#[test]
fn how_playlists_follow_each_other() {
    let one = Packager::new("a", 0);
    let other = Packager::new("b", 0);
    let rows = [
        (
            "one more segment",
            one.made(9),
            one.made(10),
            true,
            0,
            Follows::On,
        ),
        (
            "the same",
            one.made(9),
            one.made(9),
            true,
            99_000,
            Follows::On,
        ),
        (
            "a long pause",
            one.made(9),
            one.made(99),
            true,
            99_000,
            Follows::On,
        ),
        (
            "an older answer",
            one.made(9),
            one.made(8),
            true,
            500,
            Follows::Late,
        ),
        (
            "from nothing again",
            one.made(9),
            one.made(1),
            true,
            9_000,
            Follows::Not,
        ),
        (
            "from nothing again, with other names",
            one.made(9),
            other.made(9),
            true,
            20_000,
            Follows::Not,
        ),
        (
            "names that change faster than anybody could make so many segments",
            one.made(9),
            other.made(10),
            true,
            2_000,
            Follows::On,
        ),
        (
            "the same, of another origin",
            one.made(9),
            other.made(10),
            false,
            2_000,
            Follows::Not,
        ),
        (
            "two origins with the same files",
            one.made(9),
            one.made(10),
            false,
            0,
            Follows::On,
        ),
        (
            "the same, and it lags",
            one.made(9),
            one.made(8),
            false,
            0,
            Follows::Late,
        ),
        (
            "names that are alike by chance",
            one.made(1),
            one.made(1),
            false,
            0,
            Follows::Not,
        ),
        (
            "another origin",
            one.made(9),
            other.made(9),
            false,
            0,
            Follows::Not,
        ),
        (
            "another origin, elsewhere",
            one.made(9),
            Packager::new("a", 50).made(3),
            false,
            0,
            Follows::Not,
        ),
    ];
    for (cause, last, next, same, waited, expected) in rows {
        let (last, next) = (last.text(), next.text());
        let (last, next) = (Media::read(&last).unwrap(), Media::read(&next).unwrap());
        assert_eq!(
            follows(
                &last,
                &next,
                same,
                Waited {
                    new: waited,
                    seen: waited
                }
            ),
            expected,
            "{cause}"
        );
    }
}

#[test]
fn a_stream_that_ends_ends_where_viewers_count() {
    let (old, new) = (Packager::new("a", 10), Packager::new("b", 0));
    let spliced = found(&lose(None, &old.made(5), 1_000), &new.made(1), 1_100).unwrap();
    let text = new.made(9).text() + "#EXT-X-ENDLIST\n";
    let media = Media::read(&text).unwrap();
    let shown = spliced.on(&media, |_| false, Gaps::Listed).text();
    assert!(
        shown.contains("#EXT-X-MEDIA-SEQUENCE:18\n") && shown.ends_with("b-8.ts\n#EXT-X-ENDLIST\n"),
        "{shown}"
    );
    let id = new.id();
    let loss = Loss {
        since: 0,
        noted: 0,
        until: 9,
    };
    assert_eq!(
        Splice::lose(Some(&spliced), &media, new.run(&id, true), loss),
        None,
        "it is over"
    );
}

#[test]
fn what_names_a_viewer_is_not_kept() {
    let text = "#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXT-X-KEY:METHOD=AES-128,URI=\"k?token=secret\"\n#EXTINF:2,\n\
        a-0.ts?hls_ctx=secret\n#EXTINF:2,\na-1.ts\n";
    let splice = lose_text(text, false);
    assert!(!splice.text().contains("secret"));
    let listing = splice.away(0, |_| true, Gaps::Listed).unwrap();
    assert!(
        listing
            .text()
            .contains("#EXT-X-GAP\na-0.ts\n#EXTINF:2,\na-1.ts\n"),
        "{}",
        listing.text()
    );
    let gaps: Vec<bool> = listing.pieces.iter().map(|piece| piece.gap).collect();
    assert_eq!(gaps, [false, true, false, false]);
}

#[test]
fn what_applies_to_segments_goes_with_them() {
    let old = "#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXT-X-MAP:URI=\"i.mp4\"\n#EXT-X-KEY:METHOD=AES-128,URI=\"k\"\n#EXTINF:2,\n\
        a-0.m4s\n#EXTINF:2,\na-1.m4s\n#EXTINF:2,\na-2.m4s\n";
    let splice = lose_text(old, false);
    let map = "#EXT-X-MAP:URI=\"j.mp4\"\n";
    let new = |head: &str| format!("#EXTM3U\n#EXT-X-TARGETDURATION:2\n{head}#EXTINF:2,\nb-0.m4s\n");
    let shown = |text: &str| {
        let media = Media::read(text).unwrap();
        let splice = splice
            .found(&OriginId::from("b"), &media, 0, Seen::all(0))
            .unwrap();
        splice.on(&media, |_| true, Gaps::Listed).text()
    };
    let text = shown(&new(map));
    assert!(
        text.ends_with("#EXT-X-KEY:METHOD=AES-128,URI=\"k\"\n#EXT-X-MAP:URI=\"i.mp4\"\n#EXTINF:2,\na-1.m4s\n#EXTINF:2,\na-2.m4s\n\
            #EXT-X-DISCONTINUITY\n#EXT-X-KEY:METHOD=NONE\n#EXT-X-MAP:URI=\"j.mp4\"\n#EXTINF:2,\nb-0.m4s\n"),
        "{text}"
    );
    // An init section cannot be revoked, so nothing that has one stays.
    let text = shown(&new(""));
    assert!(
        !text.contains("MAP")
            && text.contains("#EXT-X-GAP\na-2.m4s\n#EXT-X-DISCONTINUITY\n#EXTINF:2,\nb-0.m4s\n"),
        "{text}"
    );
}

#[test]
fn what_nobody_here_has_seen_is_left_out_in_numbers() {
    let (old, new) = (Packager::new("a", 10), Packager::new("b", 0));
    let on_b = found(&lose(None, &old.made(5), 1_000), &new.made(1), 1_100).unwrap();
    let third = Packager::new("c", 0);
    let lost = on_b.lost_unseen(601_100).unwrap();
    let spliced = found(&lost, &third.made(2), 601_100).unwrap();
    let text = on(&spliced, &third.made(2));
    // Ten minutes of half a second each, and more, after number 15.
    assert!(text.contains("#EXT-X-MEDIA-SEQUENCE:2216\n"), "{text}");
    assert!(
        text.contains("#EXT-X-DISCONTINUITY-SEQUENCE:1\n#EXT-X-DISCONTINUITY\n"),
        "{text}"
    );
    assert_eq!(lost.lost_unseen(0), None);
}

#[test]
fn parts_of_a_segment_that_never_came_make_it_a_gap() {
    let old = "#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXT-X-PART-INF:PART-TARGET=0.5\n#EXTINF:2,\na-0.m4s\n#EXT-X-PART:URI=\"a-1.0.m4s\"\n";
    let splice = lose_text(old, true);
    let new = "#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\nb-0.m4s\n#EXT-X-RENDITION-REPORT:URI=\"x\",LAST-MSN=0\n";
    let media = Media::read(new).unwrap();
    let spliced = splice
        .found(&OriginId::from("b"), &media, 0, Seen::all(0))
        .unwrap();
    let text = spliced.on(&media, |_| false, Gaps::Listed).text();
    assert!(
        text.ends_with("sluicegate-gap-1.m4s\n#EXT-X-DISCONTINUITY\n#EXTINF:2,\nb-0.m4s\n"),
        "{text}"
    );
}

#[test]
fn who_has_seen_more_says_so_before_the_first_gap() {
    let packager = Packager::new("a", 10);
    let away = lose(None, &packager.made(5), 1_000);
    let outdone = |made: u64, now: u64| {
        let text = packager.made(made).text();
        away.outdone(&Media::read(&text).unwrap(), 1_010, now)
    };
    assert_eq!(outdone(5, 1_100), None, "nothing new");
    assert_eq!(outdone(4, 1_100), None, "less");
    assert_eq!(outdone(6, 1_300), None, "too late");
    let better = outdone(6, 1_299).unwrap();
    let text = better.away(1_300, |_| false, Gaps::Listed).unwrap().text();
    assert!(
        text.ends_with("#EXT-X-GAP\na-14.ts\n#EXTINF:2.005,\n#EXT-X-GAP\na-15.ts\n"),
        "{text}"
    );
    let text = better.away(3_010, |_| false, Gaps::Listed).unwrap().text();
    assert!(text.ends_with("sluicegate-gap-16.ts\n"), "{text}");
    let many = outdone(11, 1_100);
    assert_eq!(many, None, "the playlists have nothing in common");
}

#[test]
fn a_record_is_read_as_it_was_written_or_not_at_all() {
    let splice = lose(None, &Packager::new("a", 10).made(5), 1_000);
    assert_eq!(Splice::read(&splice.text()), Some(splice.clone()));
    let long = Packager {
        name: "n".repeat(900),
        ..Packager::new("", 0)
    };
    let cut = lose(None, &long.made(6), 0);
    assert!(cut.text().len() <= LONGEST && cut.tail.len() < 12);
    assert_eq!(cut.first + cut.tail.len() as u64, 6);
    for text in [
        "",
        "{}",
        &splice.text().replace("\"source\":0", "\"source\":9"),
        &splice.text().replace("a-10.ts", "a\\nb"),
        &splice.text().replace("\"target\":2", "\"target\":0"),
    ] {
        assert_eq!(Splice::read(text), None, "{text}");
    }
}

/// What a viewer has learnt: what each number names, and the discontinuity sequence number of it.
#[derive(Debug, Default)]
struct Viewer {
    known: BTreeMap<u64, (String, u64)>,
    first: u64,
    end: u64,
}

impl Viewer {
    /// Reads a playlist as another parser understands it.
    fn see(&mut self, text: &str) {
        let (_, list) = m3u8_rs::parse_media_playlist(text.as_bytes()).expect("a playlist");
        assert!(
            list.media_sequence >= self.first,
            "back to {} from {}: {text}",
            list.media_sequence,
            self.first
        );
        let mut breaks = list.discontinuity_sequence;
        for (number, segment) in (list.media_sequence..).zip(&list.segments) {
            breaks += u64::from(segment.discontinuity);
            let named = (segment.uri.clone(), breaks);
            let known = self.known.entry(number).or_insert_with(|| named.clone());
            assert_eq!(*known, named, "number {number}: {text}");
            assert!(segment.duration.round() <= 2.0);
        }
        let end = list.media_sequence + list.segments.len() as u64;
        assert!(end >= self.end, "end {end} after {}: {text}", self.end);
        (self.first, self.end) = (list.media_sequence, end);
    }

    /// Reads the same playlist as a player gets it that knows no gaps: the end of it, under the same numbers.
    fn sees_the_end_in(&self, text: &str) {
        let (_, list) = m3u8_rs::parse_media_playlist(text.as_bytes()).expect("a playlist");
        assert!(!text.contains("#EXT-X-GAP"), "{text}");
        let mut breaks = list.discontinuity_sequence;
        for (number, segment) in (list.media_sequence..).zip(&list.segments) {
            breaks += u64::from(segment.discontinuity);
            let named = (segment.uri.clone(), breaks);
            assert_eq!(self.known.get(&number), Some(&named), "{number}: {text}");
        }
        let end = list.media_sequence + list.segments.len() as u64;
        assert_eq!(end, self.end, "{text}");
    }
}

#[derive(Debug, Clone)]
enum Event {
    /// Segments are made.
    Makes(u64),
    /// Time passes.
    Waits(u64),
    /// The origin is lost, and what it listed with it or not.
    Lost(bool),
    /// Another origin has the stream: the number it counts from, and how many segments it has made.
    Elsewhere(u64, u64),
    /// The origin that was lost is back.
    Back,
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let event = prop_oneof![
        4 => (1..4_u64).prop_map(Event::Makes),
        3 => (0..7_000_u64).prop_map(Event::Waits),
        2 => any::<bool>().prop_map(Event::Lost),
        2 => (0..200_u64, 0..9_u64).prop_map(|(first, made)| Event::Elsewhere(first, made)),
        1 => Just(Event::Back),
    ];
    prop::collection::vec(event, 1..60)
}

proptest! {
    /// Any history of origins: numbers never go back, and each names one segment for ever.
    #[test]
    fn each_number_names_one_segment_for_ever(
        events in events(), window in 1..9_u64, breaks_every in 0..4_u64, reaches: bool,
    ) {
        let packager = |name: &str, first| Packager { window, breaks_every, ..Packager::new(name, first) };
        let (mut origin, mut splice, mut now, mut names) = (packager("o0", 5).made(1), None::<Splice>, 1_000, 0);
        let mut viewer = Viewer::default();
        let (mut is_away, mut shown_at) = (false, 0);
        for event in events {
            match event {
                Event::Makes(count) => origin.made += count,
                Event::Waits(time) => now += time,
                Event::Lost(gone) if !is_away => {
                    let (text, id) = (origin.text(), origin.id());
                    let loss = Loss { since: now, noted: now, until: now + 30_000 };
                    let lost = Splice::lose(splice.as_ref(), &Media::read(&text).unwrap(), origin.run(&id, gone), loss);
                    is_away = lost.is_some();
                    splice = lost.or(splice);
                }
                Event::Elsewhere(first, made) if is_away => {
                    names += 1;
                    let other = packager(&format!("o{names}"), first).made(made);
                    let text = other.text();
                    let went = splice.as_ref().unwrap().found(&other.id(), &Media::read(&text).unwrap(), now, Seen::all(shown_at));
                    if went.is_some() {
                        (origin, splice, is_away) = (other, went, false);
                    }
                }
                Event::Back if is_away => {
                    origin.made += 1;
                    let text = origin.text();
                    let went = splice.as_ref().unwrap().found(&origin.id(), &Media::read(&text).unwrap(), now, Seen::all(shown_at));
                    if went.is_some() {
                        (splice, is_away) = (went, false);
                    }
                }
                _ => {}
            }
            if let Some(splice) = &splice {
                let read = Splice::read(&splice.text());
                prop_assert_eq!(read.as_ref(), Some(splice));
            }
            let text = origin.text();
            let shown = |gaps| match &splice {
                None => None,
                Some(splice) if is_away => splice.away(now, |_| reaches, gaps),
                Some(splice) => Some(splice.on(&Media::read(&text).unwrap(), |_| reaches, gaps)),
            };
            viewer.see(&shown(Gaps::Listed).map_or_else(|| text.clone(), |listing| listing.text()));
            if let Some(shown) = shown(Gaps::LeftOut) {
                viewer.sees_the_end_in(&shown.text());
            }
            shown_at = now;
        }
    }

    #[test]
    fn any_text_is_read_or_left(text in "(#EXTM3U\n#EXT-X-TARGETDURATION:2\n)?(#EXT[A-Z-]{0,9}:?[0-9]{0,20}\n|[a-z]{1,3}\n){0,9}") {
        if let Some(media) = Media::read(&text) {
            let id = OriginId::from("a");
            let run = Run { origin: &id, authority: "", folder: None, gone: true };
            let loss = Loss { since: 0, noted: 0, until: u64::MAX };
            if let Some(splice) = Splice::lose(None, &media, run, loss) {
                let _ = splice.away(u64::MAX, |_| true, Gaps::Listed);
                let _ = splice.found(&id, &media, u64::MAX, Seen { until: u64::MAX, spare: u64::MAX });
            }
        }
    }
}
