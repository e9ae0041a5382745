//! What somebody who plays a stream reads in its HLS playlists (RFC 8216bis): where the media is, and nothing for those who choose
//! between qualities.

/// A playlist, as a player of one quality reads it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Playlist<'a> {
    /// It lists others; this is the URI of the one that needs the least bandwidth.
    Variants(&'a str),
    /// It lists segments.
    Segments(Segments<'a>),
}

/// A playlist of segments.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Segments<'a> {
    /// The longest that a segment lasts, in seconds; at least 1.
    pub target: u64,
    /// The number of the first one that is listed.
    pub first: u64,
    /// Those that are listed, oldest first; at most [`MOST_SEGMENTS`] of the newest.
    pub list: Vec<Segment<'a>>,
    /// Whether nothing will be added.
    pub ended: bool,
}

/// One segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Segment<'a> {
    /// Where it is, relative to the playlist.
    pub uri: &'a str,
    /// Where the initialisation is that it needs, if it needs one.
    pub init: Option<&'a str>,
}

/// Why a playlist is not played.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PlaylistError {
    /// Its segments are encrypted.
    #[error("its segments are encrypted")]
    Encrypted,
    /// It is no playlist, or lists nothing.
    #[error("it is no playlist with media in it")]
    NotAPlaylist,
    /// Its segments are ranges of larger files.
    #[error("its segments are parts of larger files")]
    Ranges,
}

impl<'a> Playlist<'a> {
    /// Reads a playlist.
    ///
    /// # Errors
    /// [`PlaylistError`].
    pub fn read(text: &'a str) -> Result<Self, PlaylistError> {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        if !text.starts_with("#EXTM3U") {
            return Err(PlaylistError::NotAPlaylist);
        }
        match least_variant(text) {
            Some(uri) => Ok(Self::Variants(uri)),
            None => Segments::read(text).map(Self::Segments),
        }
    }
}

impl<'a> Segments<'a> {
    fn read(text: &'a str) -> Result<Self, PlaylistError> {
        let mut read = Self {
            target: 0,
            first: 0,
            list: Vec::new(),
            ended: false,
        };
        let mut init = None;
        for line in lines(text) {
            if !line.starts_with('#') {
                read.list.push(Segment { uri: line, init });
                continue;
            }
            let (name, value) = line.split_once(':').unwrap_or((line, ""));
            let number = || value.trim().parse::<u64>().unwrap_or_default();
            match name {
                "#EXT-X-TARGETDURATION" => read.target = number().max(1),
                "#EXT-X-MEDIA-SEQUENCE" => read.first = number().min(LARGEST),
                "#EXT-X-ENDLIST" => read.ended = true,
                "#EXT-X-BYTERANGE" => return Err(PlaylistError::Ranges),
                "#EXT-X-KEY" if attribute(value, "METHOD") != Some("NONE") => {
                    return Err(PlaylistError::Encrypted);
                }
                "#EXT-X-MAP" if attribute(value, "BYTERANGE").is_some() => {
                    return Err(PlaylistError::Ranges);
                }
                "#EXT-X-MAP" => init = attribute(value, "URI"),
                _ => {}
            }
        }
        let skipped = read.list.len().saturating_sub(MOST_SEGMENTS);
        read.list.drain(..skipped);
        read.first = read.first.saturating_add(skipped as u64);
        match read.target > 0 && !read.list.is_empty() {
            true => Ok(read),
            false => Err(PlaylistError::NotAPlaylist),
        }
    }

    /// The segments from number `next` on, each with its number; without a number, from [`BEHIND`] before the newest.
    pub fn from(&self, next: Option<u64>) -> impl Iterator<Item = (u64, Segment<'a>)> {
        let end = self.first.saturating_add(self.list.len() as u64);
        let newest = end.saturating_sub(BEHIND);
        // An origin that restarted counts from zero again.
        let next = next.filter(|next| *next <= end).unwrap_or(newest);
        let numbered = (self.first..).zip(self.list.iter().copied());
        numbered.filter(move |(number, _)| *number >= next)
    }
}

/// The URI of the variant with pictures that needs the least bandwidth.
fn least_variant(text: &str) -> Option<&str> {
    let mut least: Option<(bool, u64, &str)> = None;
    let mut described = None;
    for line in lines(text) {
        if let Some(attributes) = line.strip_prefix("#EXT-X-STREAM-INF:") {
            let bandwidth = attribute(attributes, "BANDWIDTH");
            let bandwidth = bandwidth.and_then(|text| text.parse().ok());
            let has_no_picture = attribute(attributes, "RESOLUTION").is_none();
            described = Some((has_no_picture, bandwidth.unwrap_or(u64::MAX)));
        } else if !line.starts_with('#')
            && let Some((has_no_picture, bandwidth)) = described.take()
            && least.is_none_or(|least| (has_no_picture, bandwidth) < (least.0, least.1))
        {
            least = Some((has_no_picture, bandwidth, line));
        }
    }
    least.map(|(_, _, uri)| uri)
}

/// The lines that say something.
fn lines(text: &str) -> impl Iterator<Item = &str> {
    text.lines().map(str::trim).filter(|line| !line.is_empty())
}

/// The value of an attribute, without its quotes.
fn attribute<'a>(list: &'a str, wanted: &str) -> Option<&'a str> {
    let mut rest = list;
    loop {
        let (name, value) = rest.split_once('=')?;
        let (value, after) = match value.strip_prefix('"') {
            Some(quoted) => quoted.split_once('"')?,
            None => value.split_at(value.find(',').unwrap_or(value.len())),
        };
        if name.trim() == wanted {
            return Some(value);
        }
        rest = after.strip_prefix(',')?;
    }
}

/// With how many segments somebody begins who comes now: one may still be written.
pub const BEHIND: u64 = 2;
/// The largest number of a first segment: those that follow have numbers too.
const LARGEST: u64 = u64::MAX / 2;
/// Segments that are looked at: who plays live needs the newest few.
pub const MOST_SEGMENTS: usize = 100;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_player_learns_where_the_media_is() {
        let segments = |target, first, list: &[(&'static str, Option<&'static str>)], ended| {
            let list = list.iter().map(|(uri, init)| Segment { uri, init: *init });
            Ok(Playlist::Segments(Segments {
                target,
                first,
                list: list.collect(),
                ended,
            }))
        };
        let rows = [
            (
                "segments of MPEG-TS",
                "#EXTM3U\r\n#EXT-X-TARGETDURATION:4\r\n#EXT-X-MEDIA-SEQUENCE:7\r\n#EXTINF:4,\r\na-7.ts\r\n#EXTINF:4,\r\na-8.ts?x=1\r\n",
                segments(4, 7, &[("a-7.ts", None), ("a-8.ts?x=1", None)], false),
            ),
            (
                "fragments, and an end",
                "#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXT-X-MAP:URI=\"init.mp4\"\n#EXTINF:2,\na.m4s\n#EXT-X-ENDLIST\n",
                segments(2, 0, &[("a.m4s", Some("init.mp4"))], true),
            ),
            (
                "an end of encryption",
                "#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXT-X-KEY:METHOD=NONE\n#EXTINF:2,\na.ts\n",
                segments(2, 0, &[("a.ts", None)], false),
            ),
            (
                "the least of several",
                "#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=64000,CODECS=\"mp4a.40.2\"\nsound.m3u8\n\
                 #EXT-X-STREAM-INF:BANDWIDTH=5000000,CODECS=\"avc1.64001f,mp4a.40.2\",RESOLUTION=1920x1080\nhigh.m3u8\n\
                 #EXT-X-STREAM-INF:BANDWIDTH=800000,RESOLUTION=640x360\nlow.m3u8\n",
                Ok(Playlist::Variants("low.m3u8")),
            ),
            (
                "encrypted",
                "#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXT-X-KEY:METHOD=AES-128,URI=\"k\"\n#EXTINF:2,\na.ts\n",
                Err(PlaylistError::Encrypted),
            ),
            (
                "parts of a file",
                "#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\n#EXT-X-BYTERANGE:10@0\na.ts\n",
                Err(PlaylistError::Ranges),
            ),
            (
                "nothing yet",
                "#EXTM3U\n#EXT-X-TARGETDURATION:2\n",
                Err(PlaylistError::NotAPlaylist),
            ),
            ("a page", "<html>", Err(PlaylistError::NotAPlaylist)),
        ];
        for (cause, text, expected) in rows {
            assert_eq!(Playlist::read(text), expected, "{cause}");
        }
    }

    #[test]
    fn somebody_who_comes_now_begins_near_the_newest_segment() {
        let text = "#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXT-X-MEDIA-SEQUENCE:5\n\
             #EXTINF:2,\n5.ts\n#EXTINF:2,\n6.ts\n#EXTINF:2,\n7.ts\n#EXTINF:2,\n8.ts\n";
        let Ok(Playlist::Segments(read)) = Playlist::read(text) else {
            panic!("segments");
        };
        let rows = [
            ("now", None, vec![7, 8]),
            ("on from six", Some(7), vec![7, 8]),
            ("nothing new", Some(9), vec![]),
            ("behind", Some(3), vec![5, 6, 7, 8]),
            ("an origin that restarted", Some(90), vec![7, 8]),
        ];
        for (cause, next, expected) in rows {
            let numbers: Vec<u64> = read.from(next).map(|(number, _)| number).collect();
            assert_eq!(numbers, expected, "{cause}");
        }
    }

    #[test]
    fn the_list_is_bounded() {
        let mut text = "#EXTM3U\n#EXT-X-TARGETDURATION:2\n".to_owned();
        for number in 0..1_000 {
            text.push_str(&format!("#EXTINF:2,\n{number}.ts\n"));
        }
        let Ok(Playlist::Segments(read)) = Playlist::read(&text) else {
            panic!("segments");
        };
        assert_eq!((read.list.len(), read.first), (MOST_SEGMENTS, 900));
    }
}
