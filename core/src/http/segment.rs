//! Which stream the path of a playlist or segment names, if it has no link.
//!
//! Packagers put a stream's name into paths in their own ways: `live/a-12.ts`, `live/a/12.ts`,
//! `live/a/chunk-stream0-00001.m4s`. Some of these are also names of streams, so a path has several readings. A caller
//! that knows which streams exist takes the first reading that does.

use crate::stream::{Protocol, StreamError, StreamUrl, decode_name};

/// The readings of a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Readings {
    /// Every reading, beginning with the literal one. At most [`MAX_READINGS`].
    pub all: Vec<StreamUrl>,
    /// The reading to take if none of them is known to exist.
    pub likely: StreamUrl,
}

impl Readings {
    /// The readings of a `Host` header and an origin-form request target.
    pub fn of(host: Option<&str>, target: &str) -> Result<Self, StreamError> {
        let path = target.split(['?', '#']).next().unwrap_or_default();
        let kind = Kind::of(path);
        let letter = without_extension(StreamUrl::from_http(host, target)?)?;
        let mut all = vec![letter.clone()];
        let mut likely = letter.clone();
        let mut folders = letter.app();
        let mut name = letter.stream();

        // A file that is named after its role, or by a number alone, does not name the stream; its folder does. The
        // first folder is an app, never a stream.
        let mut stripped = strip(name, kind);
        while stripped.is_empty() {
            let Some((app, folder)) = folders.rsplit_once('/') else {
                // `live/stream-12.ts`: there is no better name. A number in that of a playlist is its own.
                stripped = match kind {
                    Kind::Index => name,
                    Kind::Segment => strip_number(name),
                };
                break;
            };
            (folders, name) = (app, folder);
            let is_outermost = !app.contains('/');
            if is_outermost || !is_generic(folder) && !is_rendition(folder) {
                stripped = folder;
                likely = StreamUrl::new(letter.vhost(), folders, name)?;
                push(&mut all, &likely);
            }
        }
        if !stripped.is_empty() && stripped.len() < name.len() {
            let counted = StreamUrl::new(letter.vhost(), folders, stripped)?;
            push(&mut all, &counted);
            if kind == Kind::Segment && !is_live_name(path, name) {
                likely = counted;
            }
        }
        if let Some(base) = base_of(&likely) {
            push(&mut all, &base);
        }
        Ok(Self { all, likely })
    }

    /// The streams whose folder a target lies in, the innermost first; at most [`MAX_FOLDERS`]. They count where one of them
    /// is known to exist: `live/a/cover.jpg` may be a file of `live/a`.
    pub fn folders_of(host: Option<&str>, target: &str) -> Vec<StreamUrl> {
        let mut folders = Vec::new();
        let Ok(whole) = StreamUrl::from_http(host, target) else {
            return folders;
        };
        let mut path = whole.app();
        while folders.len() < MAX_FOLDERS
            && let Some((app, stream)) = path.rsplit_once('/')
        {
            folders.extend(StreamUrl::new(whole.vhost(), app, stream));
            path = app;
        }
        folders
    }
}

/// The streams that a file may belong to, for those who decide who may have it: a name that is missing here would be a way
/// around what was decided about its stream. None of them for what is no file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Owners {
    /// The stream that the path names by itself; all its names, where clients know it by more than one.
    pub named: Vec<StreamUrl>,
    /// What the path says literally, where that is another, and the streams whose folder it lies in.
    pub around: Vec<StreamUrl>,
    /// Streams of which it is a rendition or a numbered file, if it is not a stream of its own: `show` of `show_hd.m3u8`.
    pub beside: Vec<StreamUrl>,
}

impl Owners {
    /// The owners of a `Host` header and an origin-form request target.
    pub fn of(host: Option<&str>, target: &str) -> Result<Self, StreamError> {
        let Readings { all, likely } = Readings::of(host, target)?;
        let literal = all.first().filter(|literal| **literal != likely).cloned();
        let mut around: Vec<StreamUrl> = literal.into_iter().collect();
        let whole = StreamUrl::from_http(host, target)?;
        // The outermost come first: a stream deeper than that is nobody's.
        let slashes = whole.app().match_indices('/').map(|(slash, _)| slash);
        let ends = slashes.skip(1).chain([whole.app().len()]);
        for end in ends.take(MOST_AROUND) {
            let folder = whole.app().get(..end).and_then(|it| it.rsplit_once('/'));
            let folder = folder.map(|(app, name)| StreamUrl::new(whole.vhost(), app, name));
            let folder = folder.and_then(Result::ok);
            around.extend(folder.filter(|folder| *folder != likely));
        }
        let is_owner = |name: &StreamUrl| *name == likely || around.contains(name);
        let mut beside: Vec<StreamUrl> = Vec::new();
        let renditions = all.iter().chain(&around).filter_map(base_of);
        for name in all.iter().cloned().chain(renditions) {
            if !is_owner(&name) && !beside.contains(&name) {
                beside.push(name);
            }
        }
        Ok(Self {
            named: vec![likely],
            around,
            beside,
        })
    }

    /// The owners of a path that names a stream without end, and may name a segment or a recording as well.
    pub fn of_live(
        protocol: Protocol,
        host: Option<&str>,
        target: &str,
    ) -> Result<Self, StreamError> {
        let mut all = Self::of(host, target)?;
        let stream = StreamUrl::from_http(host, target)?;
        all.around.append(&mut all.named);
        all.around.retain(|name| *name != stream);
        if protocol == Protocol::HttpFlv {
            // No playlist lists FLV, but it may lie in a stream's folder.
            let is_within = |name: &StreamUrl| {
                let rest = stream.path().strip_prefix(name.path());
                rest.is_some_and(|rest| rest.starts_with('/'))
            };
            all.around.retain(is_within);
            all.beside.clear();
        }
        all.named.push(stream);
        Ok(all)
    }

    /// All names.
    pub fn all(&self) -> impl Iterator<Item = &StreamUrl> {
        self.own().chain(&self.beside)
    }

    /// The names that the path says by itself.
    pub fn own(&self) -> impl Iterator<Item = &StreamUrl> {
        self.named.iter().chain(&self.around)
    }

    /// The same with `names_of` each name in its place.
    #[must_use]
    pub fn renamed(self, names_of: impl Fn(Vec<StreamUrl>) -> Vec<StreamUrl>) -> Self {
        Self {
            named: names_of(self.named),
            around: names_of(self.around),
            beside: names_of(self.beside),
        }
    }
}

/// The stream that `stream` is a rendition of, if it is one: `a` of `a_720p`.
fn base_of(stream: &StreamUrl) -> Option<StreamUrl> {
    let (base, end) = stream.stream().rsplit_once('_')?;
    let is_one = !base.is_empty() && is_rendition(end);
    let base = is_one.then(|| StreamUrl::new(stream.vhost(), stream.app(), base))?;
    base.ok()
}

/// Whether the path of a target has a segment `.` or `..`, as it is or escaped: it leads elsewhere than it says.
pub fn has_dot_segments(target: &str) -> bool {
    let path = target.split(['?', '#']).next().unwrap_or_default();
    decode_name(path)
        .split('/')
        .any(|segment| matches!(segment, "." | ".."))
}

/// `path`, which begins with a slash, without its segments `.` and `..` (RFC 3986 §5.2.4).
pub(super) fn without_dot_segments(path: &[u8]) -> Vec<u8> {
    let mut kept: Vec<&[u8]> = Vec::new();
    let mut segments = path.split(|&byte| byte == b'/').skip(1).peekable();
    while let Some(segment) = segments.next() {
        match segment {
            b"." => {}
            b".." => drop(kept.pop()),
            segment => {
                kept.push(segment);
                continue;
            }
        }
        // What ends in a dot segment ends in a folder.
        if segments.peek().is_none() {
            kept.push(b"");
        }
    }
    let mut whole = Vec::with_capacity(path.len());
    for segment in kept {
        whole.push(b'/');
        whole.extend(segment);
    }
    whole
}

/// What kind of file a path names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// A file that lists others. Its name is the stream's, unless it is generic.
    Index,
    /// A file that is listed. Its name ends in a number.
    Segment,
}

impl Kind {
    fn of(path: &str) -> Self {
        match path.rsplit_once('.') {
            Some((_, extension)) if one_of(&INDEXES, extension) => Self::Index,
            _ => Self::Segment,
        }
    }
}

/// `name` without what a packager appends to it; empty if nothing else is left.
fn strip(name: &str, kind: Kind) -> &str {
    let name = name.strip_prefix(FORMAT_BEFORE).unwrap_or(name);
    if is_generic(name) || is_rendition(name) {
        return "";
    }
    if kind == Kind::Index {
        return name;
    }
    strip_words(strip_number(strip_words(name)))
}

/// `name` without the number at its end.
fn strip_number(name: &str) -> &str {
    let before = name.trim_end_matches(|letter: char| letter.is_ascii_digit());
    if before.len() == name.len() {
        return name;
    }
    before.trim_end_matches(SEPARATORS)
}

/// `name` without the generic words at its end.
fn strip_words(name: &str) -> &str {
    let mut rest = name;
    loop {
        if is_generic(rest) {
            return "";
        }
        match rest.rsplit_once(SEPARATORS) {
            Some((before, word)) if is_word(word) => rest = before,
            _ => return rest,
        }
    }
}

/// Whether a name says what a file is, but not which stream it belongs to: `index`, `init`, `stream0`, `12`.
fn is_generic(name: &str) -> bool {
    is_word(name) || name.bytes().all(|byte| byte.is_ascii_digit())
}

fn is_word(name: &str) -> bool {
    let word = name.trim_end_matches(|letter: char| letter.is_ascii_digit());
    // A single letter is as good a name as any.
    word.len() < name.len() && one_of(&TRACKS, word) || one_of(&WORDS, word)
}

/// Whether a name is the height of a picture or similar: `720p`, `1080p60`, `low`.
fn is_rendition(name: &str) -> bool {
    let height = name.trim_start_matches(|letter: char| letter.is_ascii_digit());
    let rate = height.strip_prefix(['p', 'P']);
    let is_height = (3..=4).contains(&(name.len() - height.len()))
        && rate.is_some_and(|rate| rate.bytes().all(|byte| byte.is_ascii_digit()));
    is_height || one_of(&RENDITIONS, name)
}

/// Whether a file name that a live stream could also have, such as `cam12.ts`, is taken literally.
fn is_live_name(path: &str, name: &str) -> bool {
    let is_live = path
        .rsplit_once('.')
        .is_some_and(|(_, extension)| one_of(&LIVE, extension));
    let before = name.trim_end_matches(|letter: char| letter.is_ascii_digit());
    is_live && before.len() < name.len() && !before.ends_with(SEPARATORS)
}

/// Removes a segment's extension; [`StreamUrl::from_http`] knows only the extensions of streams.
fn without_extension(url: StreamUrl) -> Result<StreamUrl, StreamError> {
    match url.stream().rsplit_once('.') {
        Some((stem, extension)) if !stem.is_empty() && one_of(&EXTENSIONS, extension) => {
            StreamUrl::new(url.vhost(), url.app(), stem)
        }
        _ => Ok(url),
    }
}

fn push(all: &mut Vec<StreamUrl>, url: &StreamUrl) {
    if !all.contains(url) && all.len() < MAX_READINGS {
        all.push(url.clone());
    }
}

fn one_of(known: &[&str], name: &str) -> bool {
    known.iter().any(|known| name.eq_ignore_ascii_case(known))
}

/// What OvenMediaEngine writes before the name of a playlist of MPEG-TS.
const FORMAT_BEFORE: &str = "ts:";

/// Maximum folders of a path that are looked at: packagers nest renditions and tracks.
pub const MAX_FOLDERS: usize = 4;

/// Maximum folders of a path that count for who may have a file.
const MOST_AROUND: usize = 16;

/// Maximum readings of a path: literal, its folder, without its number, without its rendition.
pub const MAX_READINGS: usize = 4;

/// The extensions of files that list segments.
const INDEXES: [&str; 2] = ["m3u8", "mpd"];

/// The extensions of segments that a live stream may have as well.
const LIVE: [&str; 2] = ["aac", "ts"];

/// The extensions of segments, keys and subtitles that no stream is requested with.
const EXTENSIONS: [&str; 6] = ["cmfa", "cmfv", "key", "m4a", "m4v", "vtt"];

/// Names that packagers use for playlists, init segments, tracks and segments, with or without a number after them.
const WORDS: [&str; 23] = [
    "audio",
    "chunk",
    "chunklist",
    "enc",
    "frag",
    "fragment",
    "header",
    "index",
    "init",
    "key",
    "llhls",
    "manifest",
    "master",
    "media",
    "part",
    "playlist",
    "seg",
    "segment",
    "stream",
    "sub",
    "subtitles",
    "track",
    "video",
];

/// Names of tracks that are one letter and a number.
const TRACKS: [&str; 2] = ["a", "v"];

/// Names of renditions other than their height, as in nginx-rtmp's own examples.
const RENDITIONS: [&str; 6] = ["hd", "hi", "high", "low", "mid", "src"];

/// Separators between the parts of a file name.
const SEPARATORS: [char; 3] = ['-', '_', '.'];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dot_segments_are_found_as_they_are_and_escaped() {
        let rows = [
            ("two dots", "/live/a/../", true),
            ("one dot", "/live/./a.ts", true),
            ("escaped", "/live/%2e%2E/a.ts", true),
            ("an escaped slash", "/live/..%2fa.ts", true),
            ("dots in a name", "/live/a..b/.c/d...ts", false),
            ("in the query only", "/live/a.ts?b=/../", false),
            ("escaped twice", "/live/%252e%252e/a.ts", false),
        ];
        for (cause, target, expected) in rows {
            assert_eq!(has_dot_segments(target), expected, "{cause}");
        }
    }

    #[test]
    fn a_path_is_read_in_every_way_that_makes_sense() {
        // A description; the path; the likely reading; the others.
        let cases: &[(&str, &str, &str, &[&str])] = &[
            ("a playlist", "live/a.m3u8", "live/a", &[]),
            ("a manifest", "live/a.mpd", "live/a", &[]),
            ("SRS, nginx-rtmp", "live/a-12.ts", "live/a", &["live/a-12"]),
            (
                "a number in the name",
                "live/cam-1-12.ts",
                "live/cam-1",
                &["live/cam-1-12"],
            ),
            (
                "a number in a playlist's name",
                "live/cam-1.m3u8",
                "live/cam-1",
                &[],
            ),
            ("ffmpeg, flat", "live/a12.m4s", "live/a", &["live/a12"]),
            (
                "ffmpeg, or a live stream",
                "live/a12.ts",
                "live/a12",
                &["live/a"],
            ),
            (
                "nginx-rtmp nested",
                "live/a/index.m3u8",
                "live/a",
                &["live/a/index"],
            ),
            (
                "nginx-rtmp nested, a segment",
                "live/a/12.ts",
                "live/a",
                &["live/a/12"],
            ),
            (
                "nginx-rtmp DASH",
                "live/a-1200.m4v",
                "live/a",
                &["live/a-1200"],
            ),
            (
                "nginx-rtmp DASH, init",
                "live/a-init.m4a",
                "live/a",
                &["live/a-init"],
            ),
            ("nginx-rtmp key", "live/a-12.key", "live/a", &["live/a-12"]),
            (
                "SRS DASH",
                "live/a/video-12.m4s",
                "live/a",
                &["live/a/video-12"],
            ),
            (
                "SRS DASH, init",
                "live/a/audio-init.mp4",
                "live/a",
                &["live/a/audio-init"],
            ),
            (
                "SRS fMP4, init",
                "live/a/init.mp4",
                "live/a",
                &["live/a/init"],
            ),
            (
                "ffmpeg DASH",
                "live/a/chunk-stream0-00001.m4s",
                "live/a",
                &["live/a/chunk-stream0-00001"],
            ),
            (
                "ffmpeg DASH, init",
                "live/a/init-stream0.m4s",
                "live/a",
                &["live/a/init-stream0"],
            ),
            (
                "ffmpeg DASH, playlist",
                "live/a/media_0.m3u8",
                "live/a/media_0",
                &[],
            ),
            (
                "a playlist of renditions",
                "live/a/master.m3u8",
                "live/a",
                &["live/a/master"],
            ),
            (
                "a rendition's folder",
                "live/a/720p/index.m3u8",
                "live/a",
                &["live/a/720p/index"],
            ),
            (
                "a track's folder",
                "live/a/v0/seg-1.m4s",
                "live/a",
                &["live/a/v0/seg-1"],
            ),
            (
                "a rendition in the name",
                "live/a_720p.m3u8",
                "live/a_720p",
                &["live/a"],
            ),
            (
                "a rendition's name as folder",
                "live/a_720p60/index.m3u8",
                "live/a_720p60",
                &["live/a_720p60/index", "live/a"],
            ),
            (
                "a rendition's segment",
                "live/a_low-12.ts",
                "live/a_low",
                &["live/a_low-12", "live/a"],
            ),
            (
                "a part",
                "live/a-12-part3.m4s",
                "live/a",
                &["live/a-12-part3"],
            ),
            ("subtitles", "live/a-12.vtt", "live/a", &["live/a-12"]),
            ("the app is no stream", "live/index.m3u8", "live/index", &[]),
            (
                "a number at the end of a generic name",
                "live/stream1.m3u8",
                "live/stream1",
                &[],
            ),
            (
                "the app is no stream, a segment",
                "live/12.ts",
                "live/12",
                &[],
            ),
            (
                "an app of two folders",
                "x/live/a-12.ts",
                "x/live/a",
                &["x/live/a-12"],
            ),
            (
                "a name that is a number",
                "live/2026/index.m3u8",
                "live/2026",
                &["live/2026/index"],
            ),
            (
                "a generic name",
                "live/stream-12.ts",
                "live/stream",
                &["live/stream-12"],
            ),
            ("a query", "live/a-12.ts?x=/b.ts", "live/a", &["live/a-12"]),
            ("an escape", "live/%61-12.ts", "live/a", &["live/a-12"]),
            (
                "OvenMediaEngine",
                "live/a/llhls.m3u8",
                "live/a",
                &["live/a/llhls"],
            ),
            (
                "OvenMediaEngine, MPEG-TS",
                "live/a/ts:playlist.m3u8",
                "live/a",
                &["live/a/ts:playlist"],
            ),
            ("a name of one separator", "live/-12.ts", "live/-12", &[]),
        ];
        for (cause, path, likely, others) in cases {
            let readings = Readings::of(Some("example.com"), &format!("/{path}")).unwrap();
            let name = |url: &StreamUrl| format!("{}/{}", url.app(), url.stream());
            assert_eq!(name(&readings.likely), *likely, "{cause}");
            assert_eq!(readings.likely.vhost(), "example.com", "{cause}");
            let found: Vec<String> = readings.all.iter().map(name).collect();
            assert!(
                found.iter().any(|found| found == likely),
                "{cause}: {found:?}"
            );
            let found: Vec<&String> = found.iter().filter(|name| name != likely).collect();
            assert_eq!(found, *others, "{cause}");
        }
        assert_eq!(Readings::of(None, "/"), Err(StreamError::EmptyStream));
    }

    /// A description; a path; the stream that it names; what is around it; what it may be a file of besides.
    type Row<'a> = (&'a str, &'a str, &'a str, &'a [&'a str], &'a [&'a str]);

    #[test]
    fn a_file_has_every_owner_that_its_path_may_mean() {
        let rows: &[Row<'_>] = &[
            ("a playlist", "live/a.m3u8", "live/a", &[], &[]),
            (
                "generic in a folder",
                "live/a/index.m3u8",
                "live/a",
                &["live/a/index"],
                &[],
            ),
            (
                "a variant in a folder",
                "live/a/stream_0.m3u8",
                "live/a/stream_0",
                &["live/a"],
                &[],
            ),
            (
                "of a name of its own",
                "live/a/x.m4s",
                "live/a/x",
                &["live/a"],
                &[],
            ),
            ("a number", "live/a/0.ts", "live/a", &["live/a/0"], &[]),
            (
                "a rendition",
                "live/show_hd.m3u8",
                "live/show_hd",
                &[],
                &["live/show"],
            ),
            (
                "a rendition's folder",
                "live/show_hd/x.m4s",
                "live/show_hd/x",
                &["live/show_hd"],
                &["live/show"],
            ),
            (
                "a rendition's segment",
                "live/show_hd-1.ts",
                "live/show_hd",
                &["live/show_hd-1"],
                &["live/show"],
            ),
            ("ffmpeg, flat", "live/a12.ts", "live/a12", &[], &["live/a"]),
            (
                "a rendition, flat",
                "live/a_hd12.ts",
                "live/a_hd12",
                &[],
                &["live/a_hd", "live/a"],
            ),
            (
                "a folder in a folder",
                "live/a/720p/1.ts",
                "live/a",
                &["live/a/720p/1", "live/a/720p"],
                &[],
            ),
            (
                "an app of two folders",
                "x/live/a.m3u8",
                "x/live/a",
                &["x/live"],
                &[],
            ),
        ];
        for (cause, path, named, around, beside) in rows {
            let owners = Owners::of(None, &format!("/{path}")).unwrap();
            let paths = |of: &[StreamUrl]| -> Vec<String> {
                of.iter().map(|stream| stream.path().to_owned()).collect()
            };
            assert_eq!(paths(&owners.named), [*named], "{cause}");
            assert_eq!(paths(&owners.around), *around, "{cause}");
            assert_eq!(paths(&owners.beside), *beside, "{cause}");
        }
        let rows: &[(&str, Protocol, &str, &[&str])] = &[
            (
                "/live/a/seg1.ts",
                Protocol::HttpTs,
                "live/a/seg1",
                &["live/a"],
            ),
            ("/live/a1.aac", Protocol::HttpAac, "live/a1", &["live/a"]),
            ("/live/a1.flv", Protocol::HttpFlv, "live/a1", &[]),
            (
                "/live/a_hd/1.flv",
                Protocol::HttpFlv,
                "live/a_hd/1",
                &["live/a_hd"],
            ),
        ];
        for (target, protocol, named, others) in rows {
            let owners = Owners::of_live(*protocol, None, target).unwrap();
            let all: Vec<&str> = owners.all().map(StreamUrl::path).collect();
            assert_eq!(all.split_first(), Some((named, *others)), "{target}");
        }
        let deep = format!("/live/a{}/x.ts", "/y".repeat(100));
        let owners = Owners::of(None, &deep).unwrap();
        assert_eq!(owners.around.len(), MOST_AROUND);
        assert_eq!(owners.around[0].path(), "live/a", "the outermost counts");
    }

    #[test]
    fn a_file_lies_in_the_folders_of_streams() {
        let rows: [(&str, &[&str]); 5] = [
            ("/live/a.jpg", &[]),
            ("/live/a/cover.jpg?x=1", &["live/a"]),
            ("/live/a/v0/cover.jpg", &["live/a/v0", "live/a"]),
            (
                "/a/b/c/d/e/f/g.xml",
                &["a/b/c/d/e/f", "a/b/c/d/e", "a/b/c/d", "a/b/c"],
            ),
            ("/", &[]),
        ];
        for (target, expected) in rows {
            let folders = Readings::folders_of(Some("example.com"), target);
            let names: Vec<&str> = folders.iter().map(StreamUrl::path).collect();
            assert_eq!(names, expected, "{target}");
        }
    }
}
