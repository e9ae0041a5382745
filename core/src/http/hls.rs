//! HLS playlists (RFC 8216bis), rewritten line by line: only URIs change.

use std::borrow::Cow;

use super::link::PARAMETER;
use super::page::{IN_FULL, Page, RewriteError, Whereto, split_byte_order_mark};

/// `playlist` with every URI that points at the origin changed to point at us, with the page's link.
///
/// URIs are on lines of their own, and in the `URI` and `SERVER-URI` attributes of the tags that have them; an attribute of any
/// other name is one if it names the origin in full. URIs of other servers, `data:` and similar ones, unknown tags, line ends and
/// everything else stay unchanged.
pub fn rewrite<'a>(playlist: &'a [u8], page: &Page<'_>) -> Result<Cow<'a, [u8]>, RewriteError> {
    let too_long = |limit, unit| RewriteError::TooLong {
        kind: "playlist",
        limit,
        unit,
    };
    if playlist.len() > MAX_PLAYLIST {
        return Err(too_long(MAX_PLAYLIST, "bytes"));
    }
    let (mark, text) = split_byte_order_mark(playlist);
    if !text.starts_with(b"#EXTM3U") {
        return Err(RewriteError::Kind("playlist"));
    }
    let mut rewriter = Rewriter {
        page: *page,
        variables: Vec::new(),
        out: Vec::with_capacity(usual_length(playlist, page)),
        changed: false,
    };
    rewriter.out.extend(mark);
    for (count, line) in text.split_inclusive(|&byte| byte == b'\n').enumerate() {
        if count == MAX_LINES {
            return Err(too_long(MAX_LINES, "lines"));
        }
        rewriter.line(line);
        if rewriter.out.len() > MAX_REWRITTEN {
            return Err(too_long(MAX_REWRITTEN, "bytes with its links"));
        }
    }
    Ok(if rewriter.changed {
        Cow::Owned(rewriter.out)
    } else {
        Cow::Borrowed(playlist)
    })
}

/// Bytes that most playlists have with their links: every other line is a URI.
fn usual_length(playlist: &[u8], page: &Page<'_>) -> usize {
    let lines = playlist.iter().filter(|byte| **byte == b'\n').count();
    let link = PARAMETER.len() + page.link.len() + 2;
    playlist.len() + (lines.min(MAX_LINES) / 2 + 1) * link
}

/// A playlist of pieces of which each has a page of its own, rewritten as [`rewrite`] does it. The first piece begins with the
/// head of the playlist.
pub fn rewrite_pieces<'a, 'p>(pieces: impl IntoIterator<Item = (&'a str, Page<'p>)>) -> Vec<u8> {
    let mut rewriter: Option<Rewriter<'_, '_>> = None;
    for (text, page) in pieces {
        let rewriter = rewriter.get_or_insert_with(|| Rewriter {
            page,
            variables: Vec::new(),
            out: Vec::with_capacity(text.len() * 2),
            changed: false,
        });
        rewriter.page = page;
        for line in text.as_bytes().split_inclusive(|&byte| byte == b'\n') {
            rewriter.line(line);
        }
    }
    rewriter.map_or_else(Vec::new, |rewriter| rewriter.out)
}

struct Rewriter<'a, 'p> {
    page: Page<'p>,
    /// The variables that `EXT-X-DEFINE` has defined so far.
    variables: Vec<(&'a [u8], &'a [u8])>,
    out: Vec<u8>,
    changed: bool,
}

impl<'a> Rewriter<'a, '_> {
    /// Handles a line, including its line end.
    fn line(&mut self, line: &'a [u8]) {
        let bare = line.trim_ascii_end();
        let end = line.get(bare.len()..).unwrap_or_default();
        match bare.strip_prefix(b"#") {
            Some(tag) => self.tag(bare, tag),
            None => {
                let uri = bare.trim_ascii_start();
                self.out
                    .extend(bare.get(..bare.len() - uri.len()).unwrap_or_default());
                self.uri(uri);
            }
        }
        self.out.extend(end);
    }

    /// Handles a line that begins with `#`; `tag` is what follows it.
    fn tag(&mut self, line: &'a [u8], tag: &'a [u8]) {
        let Some(colon) = tag.iter().position(|&byte| byte == b':') else {
            self.out.extend(line);
            return;
        };
        let (name, attributes) = tag.split_at_checked(colon).unwrap_or((tag, b""));
        let attributes = attributes.get(1..).unwrap_or_default();
        if name == DEFINE {
            self.define(attributes);
        }
        if BARE.contains(&name) {
            let before = line.len() - attributes.len();
            self.out.extend(line.get(..before).unwrap_or_default());
            self.uri(attributes);
            return;
        }
        let known = TAGS.iter().find(|(known, ..)| *known == name);
        let others = name != DEFINE && name.starts_with(b"EXT-X-") && has_uri(attributes);
        if known.is_none() && !others {
            self.out.extend(line);
            return;
        }
        let mut written = 0;
        for attribute in Attributes::new(attributes) {
            let known = known.filter(|(_, wanted, _)| wanted.contains(&attribute.name));
            let form = match known {
                Some((_, _, form)) => form,
                None if others && self.page.names_origin(attribute.value) => &Form::Full,
                None => continue,
            };
            // What precedes the value: the tag and the attributes so far.
            let before = line.len() - attributes.len() + attribute.at;
            self.out
                .extend(line.get(written..before).unwrap_or_default());
            self.uri_as(attribute.value, *form);
            written = before + attribute.value.len();
        }
        self.out.extend(line.get(written..).unwrap_or_default());
    }

    fn define(&mut self, attributes: &'a [u8]) {
        let (mut name, mut value) = (None, None);
        for attribute in Attributes::new(attributes) {
            match attribute.name {
                b"NAME" => name = Some(attribute.value),
                b"VALUE" => value = Some(attribute.value),
                _ => {}
            }
        }
        if let Some(variable) = name
            .zip(value)
            .filter(|_| self.variables.len() < MAX_VARIABLES)
        {
            self.variables.push(variable);
        }
    }

    fn uri(&mut self, uri: &[u8]) {
        self.uri_as(uri, Form::Rooted);
    }

    fn uri_as(&mut self, uri: &[u8], form: Form) {
        let meant = self.resolve(uri);
        let page = self.page.toward(&meant);
        let write = |uri: &[u8], out: &mut Vec<u8>| match form {
            Form::Full => page.write_in_full(uri, out),
            Form::Report => page.reporting().write(uri, out),
            Form::Rooted => page.write(uri, out),
        };
        let whereto = page.whereto(&meant);
        // A variable of another playlist may name any server, or this one.
        let unknown = whereto == Whereto::Relative && meant.starts_with(b"{$");
        match whereto {
            _ if unknown => self.out.extend(uri),
            Whereto::Elsewhere => self.out.extend(uri),
            // The variable may hold the authority, so it has to be replaced.
            Whereto::Origin(_) => self.changed |= write(&meant, &mut self.out),
            // What a path says of itself is said of what it means, and our folder comes before the variable.
            Whereto::Relative if uri != &*meant && (page.stamps(&meant) || page.moves(&meant)) => {
                self.changed |= write(&meant, &mut self.out);
            }
            Whereto::Relative => self.changed |= write(uri, &mut self.out),
        }
    }

    /// `uri` with the variables that this playlist defines replaced by their values (RFC 8216bis §4.3).
    fn resolve<'u>(&self, uri: &'u [u8]) -> Cow<'u, [u8]> {
        if self.variables.is_empty() || !uri.contains(&b'$') {
            return Cow::Borrowed(uri);
        }
        let mut meant = Vec::with_capacity(uri.len());
        let mut rest = uri;
        while let Some((&first, after)) = rest.split_first() {
            match self.variable_at(rest) {
                Some((value, after)) if meant.len() < MAX_URI => {
                    meant.extend(value);
                    rest = after;
                }
                _ => {
                    meant.push(first);
                    rest = after;
                }
            }
        }
        Cow::Owned(meant)
    }

    /// The value of the variable that `text` begins with, and what follows it.
    fn variable_at<'u>(&self, text: &'u [u8]) -> Option<(&'a [u8], &'u [u8])> {
        let text = text.strip_prefix(b"{$")?;
        let end = text.iter().position(|&byte| byte == b'}')?;
        let (name, after) = text.split_at_checked(end)?;
        let (_, value) = self.variables.iter().find(|(known, _)| *known == name)?;
        Some((value, after.get(1..)?))
    }
}

/// An attribute of a tag (RFC 8216bis §4.2).
struct Attribute<'a> {
    name: &'a [u8],
    /// The value without its quotes.
    value: &'a [u8],
    /// Where the value begins in the list.
    at: usize,
}

/// Iterates over `NAME=value,NAME="value"`. It ends at the first text that is not part of such a list.
struct Attributes<'a> {
    list: &'a [u8],
    at: usize,
}

impl<'a> Attributes<'a> {
    const fn new(list: &'a [u8]) -> Self {
        Self { list, at: 0 }
    }
}

impl<'a> Iterator for Attributes<'a> {
    type Item = Attribute<'a>;

    fn next(&mut self) -> Option<Attribute<'a>> {
        let rest = self.list.get(self.at..)?;
        let equals = rest.iter().position(|&byte| byte == b'=')?;
        let (name, value) = rest.split_at_checked(equals)?;
        let value = value.get(1..)?;
        let (value, quote) = match value.strip_prefix(b"\"") {
            Some(quoted) => (quoted, 1),
            None => (value, 0),
        };
        let mark = if quote == 1 { b'"' } else { b',' };
        let length = match value.iter().position(|&byte| byte == mark) {
            Some(length) => length,
            // A quote that is never closed.
            None if quote == 1 => return None,
            None => value.len(),
        };
        let at = self.at + equals + 1 + quote;
        let after = at + length + quote;
        let comma = self
            .list
            .get(after..)?
            .iter()
            .position(|&byte| byte == b',');
        self.at = comma.map_or(self.list.len(), |comma| after + comma + 1);
        Some(Attribute {
            name: name.trim_ascii(),
            value: value.get(..length)?,
            at,
        })
    }
}

fn has_uri(attributes: &[u8]) -> bool {
    attributes
        .windows(IN_FULL.len())
        .any(|part| part == IN_FULL)
}

/// How a URI is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    /// In full, because players resolve it against a page of their own.
    Full,
    /// With the link that the viewer knows its renditions by.
    Report,
    /// Relative to the playlist, or from the root.
    Rooted,
}

/// A tag, the attributes of it that hold URIs, and how they are written.
type Tag = (&'static [u8], &'static [&'static [u8]], Form);

/// Every tag with URIs (RFC 8216bis §4.4, appendix D).
const TAGS: [Tag; 12] = [
    (b"EXT-X-PART", &[b"URI"], Form::Rooted),
    (b"EXT-X-PRELOAD-HINT", &[b"URI"], Form::Rooted),
    (b"EXT-X-RENDITION-REPORT", &[b"URI"], Form::Report),
    (b"EXT-X-KEY", &[b"URI"], Form::Rooted),
    (b"EXT-X-MAP", &[b"URI"], Form::Rooted),
    (b"EXT-X-MEDIA", &[b"URI"], Form::Rooted),
    (b"EXT-X-I-FRAME-STREAM-INF", &[b"URI"], Form::Rooted),
    (b"EXT-X-IMAGE-STREAM-INF", &[b"URI"], Form::Rooted),
    (b"EXT-X-SESSION-DATA", &[b"URI"], Form::Rooted),
    (b"EXT-X-SESSION-KEY", &[b"URI"], Form::Rooted),
    (b"EXT-X-CONTENT-STEERING", &[b"SERVER-URI"], Form::Rooted),
    (
        b"EXT-X-DATERANGE",
        &[b"X-ASSET-URI", b"X-ASSET-LIST"],
        Form::Full,
    ),
];

const DEFINE: &[u8] = b"EXT-X-DEFINE";

/// Tags that have a URI in place of attributes: segments that come next, as FFmpeg and Twitch list them.
const BARE: [&[u8]; 2] = [b"EXT-X-PREFETCH", b"EXT-X-TWITCH-PREFETCH"];

/// Maximum bytes of a playlist from an origin. Two-second segments for a day have three million.
pub const MAX_PLAYLIST: usize = 4 * 1024 * 1024;

/// Maximum bytes of a playlist with its links: a hundred for each of the maximum lines.
const MAX_REWRITTEN: usize = 32 * 1024 * 1024;

/// Maximum lines of a playlist. Two-second segments for a day have 130,000.
const MAX_LINES: usize = 200_000;

/// Maximum variables of a playlist. Packagers use one or two.
const MAX_VARIABLES: usize = 64;

/// Maximum bytes of a URI after its variables are replaced.
const MAX_URI: usize = 64 * 1024;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::page::Other;

    const PAGE: Page<'_> = Page {
        report: "OLD",
        ..Page::EXAMPLE
    };

    #[test]
    fn only_uris_change() {
        let cases = [
            (
                "a segment",
                "#EXTINF:4.000,a,b\na-1.ts",
                "#EXTINF:4.000,a,b\na-1.ts?spbhid=LINK",
            ),
            (
                "a segment of a session",
                "a-1.ts?hls_ctx=9",
                "a-1.ts?hls_ctx=9&spbhid=LINK",
            ),
            ("blanks", " a-1.ts\t", " a-1.ts?spbhid=LINK\t"),
            (
                "a rendition",
                "#EXT-X-STREAM-INF:BANDWIDTH=1,NAME=\"a.ts\"\nv/index.m3u8",
                "#EXT-X-STREAM-INF:BANDWIDTH=1,NAME=\"a.ts\"\nv/index.m3u8?spbhid=LINK",
            ),
            (
                "a key",
                "#EXT-X-KEY:METHOD=AES-128,URI=\"k.key?a=1,2\",IV=0x01",
                "#EXT-X-KEY:METHOD=AES-128,URI=\"k.key?a=1,2&spbhid=LINK\",IV=0x01",
            ),
            (
                "a key of a service",
                "#EXT-X-KEY:METHOD=SAMPLE-AES,URI=\"skd://k\"",
                "#EXT-X-KEY:METHOD=SAMPLE-AES,URI=\"skd://k\"",
            ),
            ("no key", "#EXT-X-KEY:METHOD=NONE", "#EXT-X-KEY:METHOD=NONE"),
            (
                "a session key",
                "#EXT-X-SESSION-KEY:METHOD=AES-128,URI=\"k\"",
                "#EXT-X-SESSION-KEY:METHOD=AES-128,URI=\"k?spbhid=LINK\"",
            ),
            (
                "session data",
                "#EXT-X-SESSION-DATA:DATA-ID=\"x\",URI=\"d.json\"",
                "#EXT-X-SESSION-DATA:DATA-ID=\"x\",URI=\"d.json?spbhid=LINK\"",
            ),
            (
                "an init segment",
                "#EXT-X-MAP:URI=\"init.mp4\",BYTERANGE=\"7@0\"",
                "#EXT-X-MAP:URI=\"init.mp4?spbhid=LINK\",BYTERANGE=\"7@0\"",
            ),
            (
                "a rendition of sound",
                "#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID=\"URI=x\", URI=\"/a/b.m3u8\",NAME=\"n\"",
                "#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID=\"URI=x\", URI=\"/a/b.m3u8?spbhid=LINK\",NAME=\"n\"",
            ),
            (
                "I-frames",
                "#EXT-X-I-FRAME-STREAM-INF:BANDWIDTH=1,URI=\"i.m3u8\"",
                "#EXT-X-I-FRAME-STREAM-INF:BANDWIDTH=1,URI=\"i.m3u8?spbhid=LINK\"",
            ),
            (
                "a part",
                "#EXT-X-PART:DURATION=0.2,URI=\"a-1.0.m4s\",INDEPENDENT=YES",
                "#EXT-X-PART:DURATION=0.2,URI=\"a-1.0.m4s?spbhid=LINK\",INDEPENDENT=YES",
            ),
            (
                "a hint",
                "#EXT-X-PRELOAD-HINT:TYPE=PART,URI=\"a-1.1.m4s\"",
                "#EXT-X-PRELOAD-HINT:TYPE=PART,URI=\"a-1.1.m4s?spbhid=LINK\"",
            ),
            (
                "a report",
                "#EXT-X-RENDITION-REPORT:URI=\"../b/i.m3u8\",LAST-MSN=1",
                "#EXT-X-RENDITION-REPORT:URI=\"../b/i.m3u8?spbhid=OLD\",LAST-MSN=1",
            ),
            (
                "steering",
                "#EXT-X-CONTENT-STEERING:SERVER-URI=\"/s?x=1\",PATHWAY-ID=\"a\"",
                "#EXT-X-CONTENT-STEERING:SERVER-URI=\"/s?x=1&spbhid=LINK\",PATHWAY-ID=\"a\"",
            ),
            (
                "the origin in full",
                "http://10.0.0.1:8080/live/a.ts",
                "/live/a.ts?spbhid=LINK",
            ),
            (
                "another server",
                "https://cdn.net/a.ts",
                "https://cdn.net/a.ts",
            ),
            (
                "a skip",
                "#EXT-X-SKIP:SKIPPED-SEGMENTS=3",
                "#EXT-X-SKIP:SKIPPED-SEGMENTS=3",
            ),
            (
                "an asset",
                "#EXT-X-DATERANGE:ID=\"a\",X-ASSET-URI=\"../ad/a.m3u8\",CUE=\"PRE\"",
                "#EXT-X-DATERANGE:ID=\"a\",X-ASSET-URI=\"https://play.example.com/live/../ad/a.m3u8?spbhid=LINK\",CUE=\"PRE\"",
            ),
            (
                "a list of assets on the origin",
                "#EXT-X-DATERANGE:ID=\"a\",X-ASSET-LIST=\"http://10.0.0.1:8080/l.json\"",
                "#EXT-X-DATERANGE:ID=\"a\",X-ASSET-LIST=\"https://play.example.com/l.json?spbhid=LINK\"",
            ),
            (
                "a list of assets elsewhere",
                "#EXT-X-DATERANGE:ID=\"a\",X-ASSET-LIST=\"https://ads.example/l.json\"",
                "#EXT-X-DATERANGE:ID=\"a\",X-ASSET-LIST=\"https://ads.example/l.json\"",
            ),
            (
                "a date range without one",
                "#EXT-X-DATERANGE:ID=\"a\",X-COM-EXAMPLE=\"a.m3u8\"",
                "#EXT-X-DATERANGE:ID=\"a\",X-COM-EXAMPLE=\"a.m3u8\"",
            ),
            (
                "a date range with another address of the origin",
                "#EXT-X-DATERANGE:ID=\"a\",X-BEACON=\"http://10.0.0.1:8080/b?x\",X-NOTE=\"https://ads.example/n\"",
                "#EXT-X-DATERANGE:ID=\"a\",X-BEACON=\"https://play.example.com/b?x&spbhid=LINK\",X-NOTE=\"https://ads.example/n\"",
            ),
            (
                "segments that come next",
                "#EXT-X-PREFETCH:a-2.m4s\n#EXT-X-TWITCH-PREFETCH:http://10.0.0.1:8080/a-3.ts\n#EXT-X-PREFETCH:https://cdn.net/a.ts",
                "#EXT-X-PREFETCH:a-2.m4s?spbhid=LINK\n#EXT-X-TWITCH-PREFETCH:/a-3.ts?spbhid=LINK\n#EXT-X-PREFETCH:https://cdn.net/a.ts",
            ),
            (
                "an unknown tag that names the origin",
                "#EXT-X-OURS:A=1,B=\"http://10.0.0.1:8080/b.png\"",
                "#EXT-X-OURS:A=1,B=\"https://play.example.com/b.png?spbhid=LINK\"",
            ),
            (
                "an unknown tag",
                "#EXT-X-OURS:URI=\"a.ts\"",
                "#EXT-X-OURS:URI=\"a.ts\"",
            ),
            ("a comment", "# a.ts", "# a.ts"),
            (
                "an open quote",
                "#EXT-X-MAP:URI=\"init.mp4",
                "#EXT-X-MAP:URI=\"init.mp4",
            ),
            (
                "no quotes",
                "#EXT-X-MAP:URI=init.mp4,A=b",
                "#EXT-X-MAP:URI=init.mp4?spbhid=LINK,A=b",
            ),
            (
                "a variable",
                "#EXT-X-DEFINE:NAME=\"p\",VALUE=\"v1\"\n{$p}/a.ts",
                "#EXT-X-DEFINE:NAME=\"p\",VALUE=\"v1\"\n{$p}/a.ts?spbhid=LINK",
            ),
            (
                "a variable that names another server",
                "#EXT-X-DEFINE:NAME=\"p\",VALUE=\"//cdn.net\"\n{$p}/a.ts",
                "#EXT-X-DEFINE:NAME=\"p\",VALUE=\"//cdn.net\"\n{$p}/a.ts",
            ),
            (
                "a variable that names the origin",
                "#EXT-X-DEFINE:NAME=\"p\",VALUE=\"http://10.0.0.1:8080\"\n{$p}/a.ts",
                "#EXT-X-DEFINE:NAME=\"p\",VALUE=\"http://10.0.0.1:8080\"\n/a.ts?spbhid=LINK",
            ),
            (
                "a variable of another playlist",
                "#EXT-X-DEFINE:IMPORT=\"p\"\n{$p}/a.ts",
                "#EXT-X-DEFINE:IMPORT=\"p\"\n{$p}/a.ts",
            ),
            ("empty lines", "\n\na.ts\n", "\n\na.ts?spbhid=LINK\n"),
        ];
        for (cause, inner, expected) in cases {
            for (head, end) in [
                ("#EXTM3U\n", "\n"),
                ("#EXTM3U\n", ""),
                ("\u{feff}#EXTM3U\n", "\n"),
            ] {
                for line_end in ["\n", "\r\n"] {
                    let [text, expected] = [inner, expected]
                        .map(|text| format!("{head}{text}{end}").replace('\n', line_end));
                    let out = rewrite(text.as_bytes(), &PAGE).unwrap();
                    assert_eq!(String::from_utf8_lossy(&out), expected, "{cause}");
                    let again = rewrite(&out, &PAGE).unwrap();
                    assert!(matches!(again, Cow::Borrowed(_)), "{cause}: twice is once");
                }
            }
        }
    }

    #[test]
    fn a_variable_that_begins_at_the_root_is_below_the_folder_that_clients_know() {
        let below = Page {
            base: "/media",
            ..PAGE
        };
        let apart = Page {
            folder: Some("/hls/a/"),
            ..below
        };
        // A description; the page; the value; what stands for `{$p}/a.ts`.
        let rows = [
            ("from the root", &below, "/v1", "/media/v1/a.ts?spbhid=LINK"),
            ("relative", &below, "v1", "{$p}/a.ts?spbhid=LINK"),
            (
                "from the root, with no folder",
                &PAGE,
                "/v1",
                "{$p}/a.ts?spbhid=LINK",
            ),
            (
                "from the root, at another path",
                &apart,
                "/v1",
                "/media/v1/a.ts?spbhid=LINK",
            ),
            (
                "relative, at another path",
                &apart,
                "v1",
                "/media/hls/a/v1/a.ts?spbhid=LINK",
            ),
        ];
        for (cause, page, value, expected) in rows {
            let head = format!("#EXTM3U\n#EXT-X-DEFINE:NAME=\"p\",VALUE=\"{value}\"\n");
            let playlist = format!("{head}{{$p}}/a.ts\n");
            let out = rewrite(playlist.as_bytes(), page).unwrap();
            let out = String::from_utf8(out.into_owned()).unwrap();
            assert_eq!(out, format!("{head}{expected}\n"), "{cause}");
        }
    }

    #[test]
    fn other_origins_of_the_fleet_are_named_by_their_own_links() {
        let origin = "two".into();
        let other = |authority| Other {
            authority: [authority],
            link: "TWO",
            origin: &origin,
        };
        let others = [other("10.0.0.2:8080"), other("two.internal")];
        let page = Page {
            others: &others,
            ..PAGE
        };
        let rows = [
            ("b.m3u8", "b.m3u8?spbhid=LINK"),
            ("http://10.0.0.1:8080/b.m3u8", "/b.m3u8?spbhid=LINK"),
            ("http://10.0.0.2:8080/b.m3u8?x", "/b.m3u8?x&spbhid=TWO"),
            ("https://two.internal/b.ts", "/b.ts?spbhid=TWO"),
            ("http://10.0.0.3:8080/b.ts", "http://10.0.0.3:8080/b.ts"),
            (
                "#EXT-X-DATERANGE:X-ASSET-URI=\"http://10.0.0.2:8080/a.m3u8\"",
                "#EXT-X-DATERANGE:X-ASSET-URI=\"https://play.example.com/a.m3u8?spbhid=TWO\"",
            ),
            (
                "#EXT-X-OURS:A=\"http://10.0.0.2:8080/a.png\"",
                "#EXT-X-OURS:A=\"https://play.example.com/a.png?spbhid=TWO\"",
            ),
        ];
        for (line, expected) in rows {
            let text = format!("#EXTM3U\n{line}");
            let out = rewrite(text.as_bytes(), &page).unwrap();
            let expected = format!("#EXTM3U\n{expected}");
            assert_eq!(String::from_utf8_lossy(&out), expected);
        }
    }

    #[test]
    fn what_is_no_playlist_is_said_to_be_none() {
        for text in ["", "EXTM3U", "<html>", " #EXTM3U"] {
            let expected = Err(RewriteError::Kind("playlist"));
            assert_eq!(rewrite(text.as_bytes(), &PAGE), expected, "{text}");
        }
        let long = format!("#EXTM3U\n{}", "\n".repeat(MAX_LINES));
        assert!(matches!(
            rewrite(long.as_bytes(), &PAGE),
            Err(RewriteError::TooLong { unit: "lines", .. })
        ));
        assert!(rewrite(&vec![b'#'; MAX_PLAYLIST + 1], &PAGE).is_err());
    }
}
