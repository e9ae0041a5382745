//! A media playlist, read far enough to go on with it at another origin.

/// A media playlist as an origin wrote it (RFC 8216bis §4.4).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Media<'a> {
    /// The number of the first segment that is listed.
    pub sequence: u64,
    /// The discontinuity sequence number that it begins with.
    pub breaks: u64,
    /// The target duration in seconds, at least 1.
    pub target: u64,
    /// The protocol version.
    pub version: u64,
    /// Whether nothing will be added to it.
    pub ended: bool,
    /// Tags that speak of the whole playlist and are kept as they are.
    pub(super) head: Vec<&'a str>,
    /// What is listed.
    pub(super) segments: Vec<Segment<'a>>,
    /// What follows the last segment: parts of the next, hints, reports.
    pub(super) rest: Vec<&'a str>,
}

/// A segment with the tags that apply to it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Segment<'a> {
    pub(super) lines: Vec<&'a str>,
    pub(super) uri: &'a str,
}

impl<'a> Media<'a> {
    /// Reads a playlist. `None` for everything that is not a playlist of media segments: one of other playlists, one of
    /// I-frames.
    pub fn read(text: &'a str) -> Option<Self> {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        if !text.starts_with("#EXTM3U") {
            return None;
        }
        let mut media = Self {
            sequence: 0,
            breaks: 0,
            target: 0,
            version: 1,
            ended: false,
            head: Vec::new(),
            segments: Vec::new(),
            rest: Vec::new(),
        };
        let mut skipped = 0;
        for line in text.lines().map(str::trim_end) {
            if line.is_empty() {
                continue;
            }
            if !line.starts_with('#') {
                let lines = std::mem::take(&mut media.rest);
                let uri = line.trim_start();
                media.segments.push(Segment { lines, uri });
                continue;
            }
            let (name, value) = line.split_once(':').unwrap_or((line, ""));
            match name {
                "#EXTM3U" | "#EXT-X-PLAYLIST-TYPE" => {}
                "#EXT-X-I-FRAMES-ONLY" | "#EXT-X-STREAM-INF" => return None,
                "#EXT-X-ENDLIST" => media.ended = true,
                "#EXT-X-VERSION" => media.version = number(value)?,
                "#EXT-X-TARGETDURATION" => media.target = number(value)?.max(1),
                "#EXT-X-MEDIA-SEQUENCE" => media.sequence = number(value)?,
                "#EXT-X-DISCONTINUITY-SEQUENCE" => media.breaks = number(value)?,
                "#EXT-X-SKIP" => skipped = number(value.strip_prefix("SKIPPED-SEGMENTS=")?)?,
                _ if OF_ALL.contains(&name) => media.head.push(line),
                _ => media.rest.push(line),
            }
        }
        // A discontinuity that is skipped is not seen: packagers list those near the live edge in full.
        media.sequence = media.sequence.saturating_add(skipped);
        (media.target > 0).then_some(media)
    }

    /// The number of the segment that comes after those that are listed.
    pub fn end(&self) -> u64 {
        self.sequence.saturating_add(self.segments.len() as u64)
    }

    /// Whether parts of the next segment are listed already.
    pub(super) fn has_parts(&self) -> bool {
        self.rest.iter().any(|line| line.starts_with(PART))
    }

    /// The segment of this number.
    pub(super) fn segment(&self, number: u64) -> Option<&Segment<'a>> {
        let at = number.checked_sub(self.sequence)?;
        self.segments.get(usize::try_from(at).ok()?)
    }
}

/// The line among `lines` that says how long a segment is.
pub(super) fn duration<'a>(mut lines: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    lines.find(|line| line.starts_with(DURATION))
}

/// How long a segment with these lines is, in milliseconds; 0 where that cannot be read.
pub(super) fn millis<'a>(lines: impl Iterator<Item = &'a str>) -> u64 {
    let value = duration(lines).and_then(|line| line.strip_prefix(DURATION));
    let value = value.and_then(|value| value.split(',').next()?.trim().parse().ok());
    value.map_or(0, |seconds: f64| (seconds * 1000.0) as u64)
}

/// A URI without its query and fragment: what tells segments apart, for all viewers alike.
pub(super) fn path_of(uri: &str) -> &str {
    uri.split(['?', '#']).next().unwrap_or_default()
}

/// The decimal number that a value begins with (§4.2); attributes may follow it.
fn number(value: &str) -> Option<u64> {
    let value = value.trim_start();
    let end = value.find(|letter: char| !letter.is_ascii_digit());
    value.get(..end.unwrap_or(value.len()))?.parse().ok()
}

pub(super) const END: &str = "#EXT-X-ENDLIST";
pub(super) const DISCONTINUITY: &str = "#EXT-X-DISCONTINUITY";
pub(super) const DURATION: &str = "#EXTINF:";
pub(super) const GAP: &str = "#EXT-X-GAP";
pub(super) const KEY: &str = "#EXT-X-KEY:";
pub(super) const MAP: &str = "#EXT-X-MAP:";
pub(super) const PART: &str = "#EXT-X-PART:";
pub(super) const REPORT: &str = "#EXT-X-RENDITION-REPORT:";
pub(super) const TIME: &str = "#EXT-X-PROGRAM-DATE-TIME:";

/// Tags that speak of a whole playlist, besides those that are counted.
const OF_ALL: [&str; 6] = [
    "#EXT-X-ALLOW-CACHE",
    "#EXT-X-DEFINE",
    "#EXT-X-INDEPENDENT-SEGMENTS",
    "#EXT-X-PART-INF",
    "#EXT-X-SERVER-CONTROL",
    "#EXT-X-START",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_live_playlist_is_read() {
        let text = "\u{feff}#EXTM3U\r\n#EXT-X-VERSION:6\r\n#EXT-X-TARGETDURATION:4\r\n#EXT-X-MEDIA-SEQUENCE:7\r\n\
            #EXT-X-DISCONTINUITY-SEQUENCE:2\r\n#EXT-X-INDEPENDENT-SEGMENTS\r\n#EXT-X-MAP:URI=\"i.mp4\"\r\n#EXTINF:4,\r\n\
            a.m4s?x=1\r\n\r\n#EXT-X-DISCONTINUITY\r\n#EXTINF:3.5,b\r\nb.m4s\r\n#EXT-X-PART:URI=\"c0.m4s\",DURATION=1\r\n";
        let media = Media::read(text).unwrap();
        assert_eq!((media.sequence, media.end(), media.breaks), (7, 9, 2));
        assert_eq!((media.target, media.version), (4, 6));
        assert_eq!(media.head, ["#EXT-X-INDEPENDENT-SEGMENTS"]);
        let second = media.segment(8).unwrap();
        assert_eq!(second.lines, [DISCONTINUITY, "#EXTINF:3.5,b"]);
        assert_eq!(second.uri, "b.m4s");
        assert_eq!(
            duration(second.lines.iter().copied()),
            Some("#EXTINF:3.5,b")
        );
        assert!(media.has_parts());
        assert_eq!(path_of(media.segment(7).unwrap().uri), "a.m4s");
        assert_eq!(media.segment(9), None);
        assert_eq!(media.segment(6), None);
    }

    #[test]
    fn what_is_skipped_counts() {
        let text = "#EXTM3U\n#EXT-X-TARGETDURATION:4\n#EXT-X-MEDIA-SEQUENCE:7\n#EXT-X-SKIP:SKIPPED-SEGMENTS=3,X=1\n#EXTINF:4,\na\n";
        let media = Media::read(text).unwrap();
        assert_eq!((media.sequence, media.end()), (10, 11));
    }

    #[test]
    fn anything_else_is_none() {
        let rows = [
            ("no playlist", "<html>"),
            (
                "one of others",
                "#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\na.m3u8\n",
            ),
            (
                "I-frames",
                "#EXTM3U\n#EXT-X-TARGETDURATION:4\n#EXT-X-I-FRAMES-ONLY\n#EXTINF:4,\na\n",
            ),
            ("no target duration", "#EXTM3U\n#EXTINF:4,\na\n"),
            (
                "a number that is none",
                "#EXTM3U\n#EXT-X-TARGETDURATION:4\n#EXT-X-MEDIA-SEQUENCE:x\n",
            ),
            (
                "a number beyond all",
                "#EXTM3U\n#EXT-X-TARGETDURATION:4\n#EXT-X-MEDIA-SEQUENCE:99999999999999999999\n",
            ),
        ];
        for (cause, text) in rows {
            assert_eq!(Media::read(text), None, "{cause}");
        }
    }
}
