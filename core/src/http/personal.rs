//! One playlist for many viewers, each of whom gets links of its own: it is rewritten once, with marks where the links
//! belong, and each viewer's copy gets its links in their places.
//!
//! A piece of a live stream gets a link whose end follows from when the viewing began and from the number of the piece, so
//! that it is the same in every playlist that lists the piece. Where a viewing began with a master playlist, which has no
//! numbers, the end follows from the [`Rhythm`] of the playlist that lists the piece.

use std::time::Duration;

use super::link::{Start, Viewing};
use super::route::{Piece, Route};

/// Which of a viewer's links belongs in a place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// One that is good for playlists and manifests.
    Listing,
    /// One that is good for pieces, for as long as the viewing may last.
    Piece,
    /// One that is good for pieces, until about when the piece of this number has left the playlist.
    Numbered(u64),
}

/// The playlist or manifest with a link in the place of every `mark`. A mark that [`marked`] made for a source gets the link
/// of that one.
pub fn fill(body: &str, mark: &str, mut link: impl FnMut(Place, Option<u8>) -> String) -> String {
    let lists_pieces = body.contains(TARGET_DURATION);
    let lives = lists_pieces && !body.contains(END);
    let mut sequence = sequence_of(body);
    let mut out = String::with_capacity(body.len() * 2);
    let mut last: Option<((Place, Option<u8>), String)> = None;
    for line in body.split_inclusive('\n') {
        let is_tag = line.starts_with('#');
        let is_ahead = AHEAD.iter().any(|tag| line.starts_with(tag));
        let place = if !body.starts_with(PLAYLIST) {
            Place::Piece
        } else if !lists_pieces || line.starts_with(REPORT) {
            Place::Listing
        } else if lives && (!is_tag || is_ahead || line.starts_with(PART) || line.starts_with(HINT))
        {
            Place::Numbered(sequence)
        } else {
            Place::Piece
        };
        let mut rest = line;
        while let Some((before, after)) = rest.split_once(mark) {
            out.push_str(before);
            let source = source_of(after);
            let place = match place {
                Place::Piece if leads_to_a_list(&out) => Place::Listing,
                place => place,
            };
            if last
                .as_ref()
                .is_none_or(|(known, _)| *known != (place, source))
            {
                last = Some(((place, source), link(place, source)));
            }
            if let Some((_, link)) = &last {
                out.push_str(link);
            }
            rest = after
                .get(usize::from(source.is_some())..)
                .unwrap_or_default();
        }
        out.push_str(rest);
        if is_ahead || !is_tag && !line.trim().is_empty() {
            sequence = sequence.saturating_add(1);
        }
    }
    out
}

/// Whether the URI that ends `text` is that of a playlist or a manifest: the new address of a manifest, or what is played in
/// between.
fn leads_to_a_list(text: &str) -> bool {
    let uri = text
        .rsplit(['"', '\'', '>', '\n'])
        .next()
        .unwrap_or_default();
    let route = Route::of(uri.trim_start());
    matches!(route, Route::Piece(Piece::Manifest | Piece::Playlist))
}

/// The mark of a source, where a playlist lists what several origins have.
pub fn marked(mark: &str, source: u8) -> String {
    let letter = FIRST_SOURCE.saturating_add(source % SOURCES);
    format!("{mark}{}", char::from(letter))
}

/// The source that a mark is of that `after` follows. A link in a URI ends with the URI, with a quote or with a fragment, so a
/// letter is part of the mark.
fn source_of(after: &str) -> Option<u8> {
    let letter = after.bytes().next()?;
    letter
        .checked_sub(FIRST_SOURCE)
        .filter(|source| *source < SOURCES)
}

/// Where a playlist of pieces stands; `None` for anything else.
pub fn start_of(body: &str) -> Option<Start> {
    let pace = number_after(body, TARGET_DURATION)?;
    Some(Start {
        sequence: sequence_of(body),
        pace: u32::try_from(pace).unwrap_or(u32::MAX).max(1),
    })
}

/// When the pieces of a live playlist come, by their numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rhythm {
    /// The number of the piece that the playlist listed first,
    sequence: u64,
    /// when it was seen, in seconds since 1970.
    seen: u64,
    /// Milliseconds that a piece lasts on average.
    pace: u64,
}

impl Rhythm {
    /// That of a playlist which is seen `now`; `None` where no pieces are listed.
    pub fn of(body: &str, now: u64) -> Option<Self> {
        let lengths = body.lines().filter_map(|line| {
            let (length, _) = line.strip_prefix(PIECE)?.split_once(',')?;
            length.trim().parse::<f64>().ok()
        });
        let (count, seconds) = lengths
            .filter(|length| (0.0..=LONGEST_PIECE).contains(length))
            .fold((0_u16, 0.0), |(count, sum), length| {
                (count.saturating_add(1), sum + length)
            });
        let pace = Duration::try_from_secs_f64(seconds / f64::from(count)).ok()?;
        Some(Self {
            sequence: sequence_of(body),
            seen: now,
            pace: u64::try_from(pace.as_millis()).ok()?.max(1),
        })
    }

    /// Whether it tells when the pieces of this playlist, which is seen `now`, came: not where the numbers began again, or
    /// the pieces have become longer or shorter.
    pub fn fits(&self, body: &str, now: u64) -> bool {
        let comes = self.comes(sequence_of(body));
        (now.saturating_sub(ASTRAY)..=now.saturating_add(ASTRAY)).contains(&comes)
    }

    fn comes(&self, sequence: u64) -> u64 {
        let after = |pieces: u64| pieces.saturating_mul(self.pace) / 1_000;
        match sequence.checked_sub(self.sequence) {
            Some(pieces) => self.seen.saturating_add(after(pieces)),
            None => self.seen.saturating_sub(after(self.sequence - sequence)),
        }
    }
}

/// When the link to a piece of a live stream is over, in seconds since 1970: rounded, so that many pieces have one, and
/// never before the piece has left a playlist of some minutes. `rhythm` is that of the playlist which lists it. Where neither
/// the viewing nor that tells when the piece comes, the time counts instead.
pub fn end_of_piece(viewing: &Viewing, rhythm: Option<&Rhythm>, sequence: u64, now: u64) -> u64 {
    let by_start = viewing.start.map(|start| {
        let pieces = sequence.saturating_sub(start.sequence);
        let after = pieces.saturating_mul(start.pace.into());
        viewing.since.saturating_add(after)
    });
    let by_rhythm = rhythm.map(|rhythm| rhythm.comes(sequence));
    let ends = [by_start, by_rhythm].into_iter().flatten().map(rounded);
    let mut lasting = ends.filter(|end| *end > now.saturating_add(SOON));
    lasting.next().unwrap_or_else(|| rounded(now))
}

/// Ten to twenty minutes after `time`.
const fn rounded(time: u64) -> u64 {
    (time / PIECE_LINK)
        .saturating_add(2)
        .saturating_mul(PIECE_LINK)
}

fn sequence_of(body: &str) -> u64 {
    number_after(body, SEQUENCE).unwrap_or(0)
}

fn number_after(body: &str, tag: &str) -> Option<u64> {
    let (_, rest) = body.split_once(tag)?;
    let end = rest
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(rest.len());
    rest.get(..end)?.parse().ok()
}

/// The letter after the mark of the first source, and how many there are.
const FIRST_SOURCE: u8 = b'a';
const SOURCES: u8 = 26;
/// Half the time that a link to a piece of a live stream lasts at most, in seconds.
const PIECE_LINK: u64 = 600;
/// A link to a piece that is listed now lasts at least this many seconds more: a player asks for it soon.
const SOON: u64 = 60;
/// Seconds by which a rhythm may be wrong: links last ten minutes at least.
const ASTRAY: u64 = 120;
/// Seconds of a piece, beyond which its length is nonsense.
const LONGEST_PIECE: f64 = 3_600.0;
const PIECE: &str = "#EXTINF:";
const PLAYLIST: &str = "#EXTM3U";
const TARGET_DURATION: &str = "#EXT-X-TARGETDURATION:";
const SEQUENCE: &str = "#EXT-X-MEDIA-SEQUENCE:";
const END: &str = "#EXT-X-ENDLIST";
const PART: &str = "#EXT-X-PART:";
const HINT: &str = "#EXT-X-PRELOAD-HINT:";
const REPORT: &str = "#EXT-X-RENDITION-REPORT:";
/// What names pieces that come after the ones that are listed.
const AHEAD: [&str; 2] = ["#EXT-X-PREFETCH:", "#EXT-X-TWITCH-PREFETCH:"];

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn filled(body: &str) -> String {
        fill(body, "MARK", |place, source| {
            let link = match place {
                Place::Listing => "list".to_owned(),
                Place::Piece => "piece".to_owned(),
                Place::Numbered(number) => number.to_string(),
            };
            link + &source.map_or_else(String::new, |source| format!("-of-{source}"))
        })
    }

    #[test]
    fn every_place_gets_its_link() {
        let rows = [
            (
                "a master playlist",
                "#EXTM3U\n#EXT-X-MEDIA:URI=\"a?MARK\"\n#EXT-X-STREAM-INF:BANDWIDTH=1\nv?MARK\n",
                "#EXTM3U\n#EXT-X-MEDIA:URI=\"a?list\"\n#EXT-X-STREAM-INF:BANDWIDTH=1\nv?list\n",
            ),
            (
                "a live playlist",
                "#EXTM3U\r\n#EXT-X-TARGETDURATION:4\r\n#EXT-X-MEDIA-SEQUENCE:7\r\n#EXT-X-MAP:URI=\"i?MARK\"\r\n#EXTINF:4,\r\na?MARK\r\n\r\nb?MARK\r\n",
                "#EXTM3U\r\n#EXT-X-TARGETDURATION:4\r\n#EXT-X-MEDIA-SEQUENCE:7\r\n#EXT-X-MAP:URI=\"i?piece\"\r\n#EXTINF:4,\r\na?7\r\n\r\nb?8\r\n",
            ),
            (
                "parts",
                "#EXTM3U\n#EXT-X-TARGETDURATION:4\na?MARK\n#EXT-X-PART:URI=\"p?MARK\"\n#EXT-X-PRELOAD-HINT:URI=\"q?MARK\"\n#EXT-X-RENDITION-REPORT:URI=\"r?MARK\"",
                "#EXTM3U\n#EXT-X-TARGETDURATION:4\na?0\n#EXT-X-PART:URI=\"p?1\"\n#EXT-X-PRELOAD-HINT:URI=\"q?1\"\n#EXT-X-RENDITION-REPORT:URI=\"r?list\"",
            ),
            (
                "pieces that come next",
                "#EXTM3U\n#EXT-X-TARGETDURATION:4\na?MARK\n#EXT-X-PREFETCH:b?MARK\n#EXT-X-PREFETCH:c?MARK\n",
                "#EXTM3U\n#EXT-X-TARGETDURATION:4\na?0\n#EXT-X-PREFETCH:b?1\n#EXT-X-PREFETCH:c?2\n",
            ),
            (
                "what is played in between",
                "#EXTM3U\n#EXT-X-TARGETDURATION:4\n#EXT-X-DATERANGE:X-ASSET-URI=\"https://h/b.m3u8?x&MARK\",X-ASSET-LIST=\"l?MARK\"\na?MARK\n",
                "#EXTM3U\n#EXT-X-TARGETDURATION:4\n#EXT-X-DATERANGE:X-ASSET-URI=\"https://h/b.m3u8?x&list\",X-ASSET-LIST=\"l?piece\"\na?0\n",
            ),
            (
                "a list of that",
                "{\"ASSETS\":[{\"URI\":\"https://h/b.m3u8?MARK\"}],\"RELOAD-URI\":\"https://h/s?MARK\"}",
                "{\"ASSETS\":[{\"URI\":\"https://h/b.m3u8?list\"}],\"RELOAD-URI\":\"https://h/s?piece\"}",
            ),
            (
                "the new address of a manifest",
                "<MPD><Location>\na.mpd?x&amp;MARK</Location><PatchLocation>p?MARK</PatchLocation><S media='a.m4s?MARK'/></MPD>",
                "<MPD><Location>\na.mpd?x&amp;list</Location><PatchLocation>p?piece</PatchLocation><S media='a.m4s?piece'/></MPD>",
            ),
            (
                "a recording",
                "#EXTM3U\n#EXT-X-TARGETDURATION:4\na?MARK\nb?MARK\n#EXT-X-ENDLIST",
                "#EXTM3U\n#EXT-X-TARGETDURATION:4\na?piece\nb?piece\n#EXT-X-ENDLIST",
            ),
            (
                "a manifest",
                "<MPD><S media=\"a?MARK\" init=\"b?MARK\"/></MPD>",
                "<MPD><S media=\"a?piece\" init=\"b?piece\"/></MPD>",
            ),
            ("no links", "#EXTM3U\n", "#EXTM3U\n"),
            (
                "pieces of other origins",
                "#EXTM3U\n#EXT-X-TARGETDURATION:4\n#EXT-X-MAP:URI=\"i?MARKb\"\na?MARKa\nb?MARK\n",
                "#EXTM3U\n#EXT-X-TARGETDURATION:4\n#EXT-X-MAP:URI=\"i?piece-of-1\"\na?0-of-0\nb?1\n",
            ),
        ];
        for (cause, body, expected) in rows {
            assert_eq!(filled(body), expected, "{cause}");
        }
    }

    #[test]
    fn where_a_playlist_stands() {
        let start = |body| start_of(body).map(|start| (start.sequence, start.pace));
        assert_eq!(
            start("#EXTM3U\n#EXT-X-TARGETDURATION:4\n#EXT-X-MEDIA-SEQUENCE:7\n"),
            Some((7, 4))
        );
        assert_eq!(start("#EXTM3U\n#EXT-X-TARGETDURATION:0\n"), Some((0, 1)));
        assert_eq!(start("#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\nv\n"), None);
    }

    #[test]
    fn a_rhythm_is_of_its_playlist() {
        let playlist = |sequence: u64, lengths: &[&str]| {
            let pieces = lengths
                .iter()
                .map(|length| format!("#EXTINF:{length},\na.ts\n"));
            let pieces: String = pieces.collect();
            format!("#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXT-X-MEDIA-SEQUENCE:{sequence}\n{pieces}")
        };
        let rhythm = |lengths: &[&str]| Rhythm::of(&playlist(10, lengths), 1_000);
        assert_eq!(rhythm(&[]), None);
        assert_eq!(rhythm(&["x", "-1", "NaN", "1e30"]), None);
        let rhythm = rhythm(&["2", "4.0", "3.000"]).unwrap();
        assert_eq!(
            (rhythm.comes(10), rhythm.comes(30), rhythm.comes(9)),
            (1_000, 1_060, 997)
        );
        for (cause, sequence, now, fits) in [
            ("as it goes on", 30, 1_060, true),
            ("a little late", 30, 1_150, true),
            ("it stood still", 30, 1_500, false),
            ("it began again", 0, 1_500, false),
            ("its pieces became shorter", 200, 1_060, false),
        ] {
            assert_eq!(rhythm.fits(&playlist(sequence, &[]), now), fits, "{cause}");
        }
    }

    proptest! {
        #[test]
        fn a_pieces_link_is_one_link_for_as_long_as_it_is_listed(
            since in 0..10_000_u64, sequence in 0..1000_u64, piece in 0..5_000_u64, pace in 1..12_u32, listed in 0..400_u64,
        ) {
            let viewing = Viewing {
                since,
                start: Some(Start { sequence, pace }),
                ..Viewing::default()
            };
            // It comes after as many pieces at the earliest, where all are as long as they may be, and stays for a while.
            let comes = since + piece * u64::from(pace);
            let end = end_of_piece(&viewing, None, sequence + piece, comes);
            let later = end_of_piece(&viewing, None, sequence + piece, comes + listed);
            prop_assert_eq!(end, later);
            prop_assert!(end > comes + listed + SOON);
            prop_assert!(end <= comes + 2 * PIECE_LINK);
        }

        #[test]
        fn no_link_is_over_when_it_is_given(since in 0..10_000_u64, sequence in 0..9_u64, piece: u64, now in 0..100_000_u64) {
            let viewing = Viewing {
                since,
                start: Some(Start { sequence, pace: 4 }),
                ..Viewing::default()
            };
            prop_assert!(end_of_piece(&viewing, None, piece, now) > now + SOON);
        }

        #[test]
        fn a_piece_has_one_link_in_a_playlist_that_goes_on_as_it_was(
            began in 1_000_000..1_010_000_u64, first in 0..10_000_u64, millis in 500..12_000_u64, listed in 3..20_u64, pieces in 1..3_000_u64,
        ) {
            let playlist = |sequence: u64| {
                let seconds = Duration::from_millis(millis).as_secs_f64();
                let one = format!("#EXTINF:{seconds:.3},\na.ts\n");
                format!("#EXTM3U\n#EXT-X-TARGETDURATION:12\n#EXT-X-MEDIA-SEQUENCE:{sequence}\n{}", one.repeat(3))
            };
            let rhythm = Rhythm::of(&playlist(first), began).unwrap();
            let (viewing, sequence) = (Viewing::default(), first + pieces);
            // It comes at the end of the list, and leaves at its beginning.
            let last_leaves = began + pieces * millis / 1_000;
            let comes = last_leaves.saturating_sub(listed * millis / 1_000);
            prop_assert!(rhythm.fits(&playlist(sequence), last_leaves));
            let end = end_of_piece(&viewing, Some(&rhythm), sequence, comes);
            prop_assert_eq!(end, end_of_piece(&viewing, Some(&rhythm), sequence, last_leaves));
            prop_assert!(end > last_leaves + SOON && end <= last_leaves + 2 * PIECE_LINK + 1);
        }
    }
}
