//! MPEG-DASH manifests (ISO/IEC 23009-1), rewritten element by element: only URIs change.

use std::borrow::Cow;

use quick_xml::events::Event;
use quick_xml::reader::Reader;

use super::page::{Page, RewriteError, Whereto, split_byte_order_mark};
use super::stamp::resolved;

/// `manifest` with every URI that points at the origin changed to point at us, with the page's link.
///
/// A base that is a folder is only made root-relative: a player does not pass its query down, so the templates and
/// segments below it carry the link. Where one of several bases is on another server, that one would get the link too, so
/// everything below stays unchanged, and what is asked of us is found by its path. Unknown elements and all other bytes stay
/// unchanged. The patch of a manifest is rewritten in the same way, and so are the elements that `xlink:href` leads to.
pub fn rewrite<'a>(manifest: &'a [u8], page: &Page<'_>) -> Result<Cow<'a, [u8]>, RewriteError> {
    if manifest.len() > MAX_MANIFEST {
        return Err(RewriteError::TooLong {
            kind: "manifest",
            limit: MAX_MANIFEST,
            unit: "bytes",
        });
    }
    let (mark, source) = split_byte_order_mark(manifest);
    let text = std::str::from_utf8(source).map_err(|_| RewriteError::Kind("manifest"))?;
    let mut rewriter = Rewriter {
        page,
        source,
        written: 0,
        out: Vec::with_capacity(manifest.len() * 2),
        open: Vec::new(),
    };
    rewriter.out.extend(mark);
    rewriter.run(&mut Reader::from_str(text))?;
    Ok(if rewriter.written == 0 {
        Cow::Borrowed(manifest)
    } else {
        rewriter.copy_to(source.len());
        Cow::Owned(rewriter.out)
    })
}

struct Rewriter<'a, 'p> {
    page: &'p Page<'p>,
    source: &'a [u8],
    /// How much of the source has been written, changed or not.
    written: usize,
    out: Vec<u8>,
    open: Vec<Open>,
}

/// An element whose end tag has not come yet.
struct Open {
    holds: Option<Holds>,
    /// Where the element's content begins.
    content: usize,
    /// Whether the element's content is on another server, according to the bases so far.
    elsewhere: bool,
    /// Whether the element has a base of its own.
    based: bool,
    /// The folder on the origin that its first base names.
    folder: Option<Vec<u8>>,
}

/// What the text of an element is.
#[derive(Clone, Copy)]
enum Holds {
    /// A URI that other URIs are resolved against.
    Base,
    /// A URI of its own, resolved against the manifest's.
    Location,
    /// A server that says where to play from.
    Steering,
}

impl Rewriter<'_, '_> {
    fn run(&mut self, reader: &mut Reader<&[u8]>) -> Result<(), RewriteError> {
        let mut is_manifest = false;
        loop {
            let start = position(reader.buffer_position());
            let event = reader
                .read_event()
                .map_err(|_| RewriteError::Xml(reader.error_position()))?;
            let end = position(reader.buffer_position());
            match event {
                Event::Start(element) => {
                    let name = element.local_name();
                    is_manifest = is_manifest || ROOTS.contains(&name.as_ref());
                    if !is_manifest {
                        return Err(RewriteError::Kind("manifest"));
                    }
                    self.attributes(name.as_ref(), start, end)?;
                    self.enter(name.as_ref(), end)?;
                }
                Event::Empty(element) => {
                    self.attributes(element.local_name().as_ref(), start, end)?;
                }
                Event::End(_) => self.leave(start)?,
                Event::Eof if is_manifest && self.open.is_empty() => return Ok(()),
                Event::Eof => return Err(RewriteError::Kind("manifest")),
                _ => {}
            }
        }
    }

    fn enter(&mut self, name: &str, content: usize) -> Result<(), RewriteError> {
        if self.open.len() == MAX_DEPTH {
            return Err(RewriteError::Nested(MAX_DEPTH));
        }
        self.open.push(Open {
            holds: match name {
                "BaseURL" => Some(Holds::Base),
                "ContentSteering" => Some(Holds::Steering),
                "Location" | "PatchLocation" => Some(Holds::Location),
                _ => None,
            },
            content,
            elsewhere: self.open.last().is_some_and(|parent| parent.elsewhere),
            based: false,
            folder: None,
        });
        Ok(())
    }

    /// Ends an element whose end tag begins at `end`.
    fn leave(&mut self, end: usize) -> Result<(), RewriteError> {
        let Some(element) = self.open.pop() else {
            return Ok(());
        };
        let Some(holds) = element.holds else {
            return Ok(());
        };
        let Some((at, text)) = self.text(element.content, end) else {
            return Ok(());
        };
        let raw = self.source.get(at..at + text.len()).unwrap_or_default();
        let is_data = raw.starts_with(CDATA);
        let uri = if is_data {
            let inner = raw
                .strip_prefix(CDATA)
                .and_then(|raw| raw.strip_suffix(b"]]>"));
            inner.unwrap_or_default().to_vec()
        } else {
            unescape(raw)
        };
        let changed = match holds {
            Holds::Location => self.changed(&uri),
            Holds::Steering => self.in_full(&uri),
            Holds::Base => self.base(&uri),
        };
        let Some(changed) = changed else {
            return Ok(());
        };
        self.copy_to(at);
        escape(&changed, &mut self.out);
        self.skip_to(at + raw.len())
    }

    /// The position and the text between two tags, without white space around it; `None` if there is more than text.
    fn text(&self, start: usize, end: usize) -> Option<(usize, &[u8])> {
        let text = self.source.get(start..end)?;
        let trimmed = text.trim_ascii_start();
        let at = start + text.len() - trimmed.len();
        let trimmed = trimmed.trim_ascii_end();
        let markup = trimmed.strip_prefix(CDATA).unwrap_or(trimmed);
        (!trimmed.is_empty() && !markup.contains(&b'<')).then_some((at, trimmed))
    }

    /// Takes a base of the innermost open element. Returns the base's new text, if it changes.
    fn base(&mut self, uri: &[u8]) -> Option<Vec<u8>> {
        let whereto = self.page.whereto(uri);
        let parents = self
            .open
            .split_last()
            .map_or(&[][..], |(_, parents)| parents);
        let inherited = parents.last().is_some_and(|parent| parent.elsewhere);
        let outer = self.folder_of(parents).to_vec();
        let elsewhere = match whereto {
            Whereto::Elsewhere => true,
            Whereto::Origin(_) => false,
            Whereto::Relative => inherited,
        };
        if let Some(owner) = self.open.last_mut() {
            owner.elsewhere = elsewhere || owner.based && owner.elsewhere;
            owner.based = true;
        }
        if elsewhere {
            return None;
        }
        let (target, is_named) = match whereto {
            Whereto::Origin(target) => (target, true),
            _ => (uri, false),
        };
        let path_end = target.iter().position(|byte| b"?#".contains(byte));
        let path = path_end.map_or(Some(target), |end| target.get(..end))?;
        let is_folder = path.is_empty() || path.ends_with(b"/") || path.ends_with(b".");
        let from: &[u8] = if is_named { b"/" } else { &outer };
        if let Some(owner) = self.open.last_mut() {
            owner.folder.get_or_insert_with(|| folder_at(from, path));
        }
        match (is_folder, is_named) {
            (false, _) => self.changed_below(uri, &outer),
            (true, false) => None,
            (true, true) => Some(self.page.rooted(target)),
        }
    }

    /// Writes the URIs among the attributes of the tag at `start..end` of the source.
    fn attributes(&mut self, name: &str, start: usize, end: usize) -> Result<(), RewriteError> {
        let tag = self.source.get(start..end).unwrap_or_default();
        let known = ATTRIBUTES.iter().find(|(element, _)| *element == name);
        let is_clock = name == CLOCK;
        let links = tag.windows(HREF.len()).any(|part| part == HREF);
        if known.is_none() && !is_clock && !links {
            return Ok(());
        }
        let elsewhere = self.open.last().is_some_and(|parent| parent.elsewhere);
        let wanted = known.map_or(&[][..], |(_, wanted)| wanted);
        let by_http = tag.windows(BY_HTTP.len()).any(|part| part == BY_HTTP);
        for (attribute, value) in Attributes::of(tag) {
            let attribute = tag.get(attribute).unwrap_or_default();
            let is_wanted = wanted.iter().any(|wanted| wanted.as_bytes() == attribute);
            let uri = unescape(tag.get(value.clone()).unwrap_or_default());
            let changed = match attribute {
                b"value" if is_clock => self.clocks(&uri, by_http),
                b"proxyServerURL" if name == STEERING => self.in_full(&uri),
                // What it leads to is part of the manifest, and resolved as such.
                href if href.ends_with(HREF) => self.changed(&uri),
                _ if is_wanted && !elsewhere => {
                    self.changed_below(&uri, self.folder_of(&self.open))
                }
                _ => None,
            };
            if let Some(changed) = changed {
                self.copy_to(start + value.start);
                escape(&changed, &mut self.out);
                self.skip_to(start + value.end)?;
            }
        }
        Ok(())
    }

    /// The addresses of a clock, of which there may be several (ISO/IEC 23009-1 §5.8.5.7). `by_http` says that they are
    /// URIs, which may be relative.
    fn clocks(&self, value: &[u8], by_http: bool) -> Option<Vec<u8>> {
        let mut changed = false;
        let mut out = Vec::with_capacity(value.len() * 2);
        for (index, clock) in value.split(u8::is_ascii_whitespace).enumerate() {
            if index > 0 {
                out.push(b' ');
            }
            match self.page.whereto(clock) {
                Whereto::Origin(_) => changed |= self.page.write_in_full(clock, &mut out),
                Whereto::Relative if by_http => {
                    changed |= self.page.write_in_full(clock, &mut out);
                }
                Whereto::Elsewhere | Whereto::Relative => out.extend(clock),
            }
        }
        changed.then_some(out)
    }

    fn in_full(&self, uri: &[u8]) -> Option<Vec<u8>> {
        let mut changed = Vec::new();
        self.page
            .write_in_full(uri, &mut changed)
            .then_some(changed)
    }

    fn changed(&self, uri: &[u8]) -> Option<Vec<u8>> {
        self.changed_below(uri, self.page.at.as_bytes())
    }

    fn changed_below(&self, uri: &[u8], folder: &[u8]) -> Option<Vec<u8>> {
        let mut changed = Vec::new();
        self.page
            .write_below(uri, folder, &mut changed)
            .then_some(changed)
    }

    /// The folder on the origin that URIs within the innermost of these elements are relative to.
    fn folder_of<'s>(&'s self, open: &'s [Open]) -> &'s [u8] {
        let inside_out = open.iter().rev();
        let mut folders = inside_out.filter_map(|element| element.folder.as_deref());
        folders.next().unwrap_or(self.page.at.as_bytes())
    }

    fn copy_to(&mut self, end: usize) {
        self.out
            .extend(self.source.get(self.written..end).unwrap_or_default());
        self.written = end;
    }

    fn skip_to(&mut self, end: usize) -> Result<(), RewriteError> {
        self.written = end;
        if self.out.len() > MAX_REWRITTEN {
            return Err(RewriteError::TooLong {
                kind: "manifest",
                limit: MAX_REWRITTEN,
                unit: "bytes with its links",
            });
        }
        Ok(())
    }
}

/// The folder that a base in `folder` names.
fn folder_at(folder: &[u8], base: &[u8]) -> Vec<u8> {
    let mut path = resolved(folder, base);
    let end = path.iter().rposition(|&byte| byte == b'/');
    path.truncate(end.map_or(0, |end| end + 1));
    path
}

/// Iterates over the attributes of a well-formed tag: the position of each name, and of its value within the quotes.
pub(super) struct Attributes<'a> {
    tag: &'a [u8],
    at: usize,
}

impl<'a> Attributes<'a> {
    /// The attributes of `tag`, which includes its `<`.
    pub(super) fn of(tag: &'a [u8]) -> Self {
        let at = tag.iter().position(u8::is_ascii_whitespace);
        Self {
            tag,
            at: at.unwrap_or(tag.len()),
        }
    }
}

impl Iterator for Attributes<'_> {
    type Item = (std::ops::Range<usize>, std::ops::Range<usize>);

    fn next(&mut self) -> Option<Self::Item> {
        let rest = self.tag.get(self.at..)?;
        let start = self.at + rest.len() - rest.trim_ascii_start().len();
        let rest = self.tag.get(start..)?;
        let equals = rest.iter().position(|&byte| byte == b'=')?;
        let name = start..start + rest.get(..equals)?.trim_ascii_end().len();
        let quoted = rest.get(equals + 1..)?;
        let blanks = quoted.len() - quoted.trim_ascii_start().len();
        let (&quote, value) = quoted.get(blanks..)?.split_first()?;
        if !b"\"'".contains(&quote) {
            return None;
        }
        let length = value.iter().position(|&byte| byte == quote)?;
        let first = start + equals + 1 + blanks + 1;
        self.at = first + length + 1;
        Some((name, first..first + length))
    }
}

/// Resolves the five entities of XML and character references; everything else stays.
pub(super) fn unescape(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((&first, after)) = rest.split_first() {
        match entity(rest).filter(|_| first == b'&') {
            Some((letter, after)) => {
                out.extend(letter.encode_utf8(&mut [0; 4]).bytes());
                rest = after;
            }
            None => {
                out.push(first);
                rest = after;
            }
        }
    }
    out
}

/// The character of the entity that `text` begins with, and what follows the entity.
fn entity(text: &[u8]) -> Option<(char, &[u8])> {
    let end = text
        .iter()
        .take(MAX_ENTITY)
        .position(|&byte| byte == b';')?;
    let (name, after) = text.split_at_checked(end)?;
    let letter = match name.strip_prefix(b"&")? {
        b"amp" => '&',
        b"lt" => '<',
        b"gt" => '>',
        b"quot" => '"',
        b"apos" => '\'',
        reference => {
            let digits = std::str::from_utf8(reference.strip_prefix(b"#")?).ok()?;
            let code = match digits.strip_prefix('x') {
                Some(digits) => u32::from_str_radix(digits, 16),
                None => digits.parse(),
            };
            char::from_u32(code.ok()?)?
        }
    };
    Some((letter, after.get(1..)?))
}

/// Writes `text` so that it can be between tags and between quotes of either kind.
fn escape(text: &[u8], out: &mut Vec<u8>) {
    for &byte in text {
        match byte {
            b'&' => out.extend(b"&amp;"),
            b'<' => out.extend(b"&lt;"),
            b'>' => out.extend(b"&gt;"),
            b'"' => out.extend(b"&quot;"),
            b'\'' => out.extend(b"&apos;"),
            byte => out.push(byte),
        }
    }
}

/// Converts a position in a text that is in memory, so it fits.
pub(super) fn position(place: u64) -> usize {
    usize::try_from(place).unwrap_or(usize::MAX)
}

/// The root elements: a manifest, a patch of one (ISO/IEC 23009-1 §5.15), or a part that a manifest links to (§5.5).
const ROOTS: [&str; 6] = [
    "AdaptationSet",
    "EventStream",
    "MPD",
    "Patch",
    "Period",
    "SegmentList",
];

/// The element that names a clock, and what the schemes of clocks have in common that are asked over HTTP.
const CLOCK: &str = "UTCTiming";
const BY_HTTP: &[u8] = b":http-";

/// The element that names a steering server.
const STEERING: &str = "ContentSteering";

/// The attribute that leads to a part of the manifest, whatever the prefix of its namespace.
const HREF: &[u8] = b":href";

/// Every attribute that is the URI of something to fetch, by element.
const ATTRIBUTES: [(&str, &[&str]); 6] = [
    ("BitstreamSwitching", &["sourceURL"]),
    (STEERING, &[]),
    ("Initialization", &["sourceURL"]),
    ("RepresentationIndex", &["sourceURL"]),
    (
        "SegmentTemplate",
        &["media", "initialization", "index", "bitstreamSwitching"],
    ),
    ("SegmentURL", &["media", "index"]),
];

const CDATA: &[u8] = b"<![CDATA[";

/// Maximum bytes of a manifest from an origin. A list of two-second segments for a day has three million.
pub const MAX_MANIFEST: usize = 4 * 1024 * 1024;

/// Maximum bytes of a manifest with its links.
const MAX_REWRITTEN: usize = 32 * 1024 * 1024;

/// Maximum nesting of elements. Manifests have six levels.
pub(super) const MAX_DEPTH: usize = 32;

/// Characters of the longest entity, `&#x10ffff;`.
const MAX_ENTITY: usize = 10;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fleet::origin::Target;
    use crate::http::link::{Link, LinkKey};
    use crate::http::stamp::{Stamping, is_listed};

    const PAGE: Page<'_> = Page::EXAMPLE;

    fn rewritten(manifest: &str) -> String {
        let out = rewrite(manifest.as_bytes(), &PAGE).unwrap().into_owned();
        let again = rewrite(&out, &PAGE).unwrap();
        assert!(
            matches!(again, Cow::Borrowed(_)),
            "twice is once: {manifest}"
        );
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn only_uris_change() {
        let cases = [
            (
                "a template",
                r#"<SegmentTemplate media="c-$Number%05d$.m4s" startNumber='1' initialization='i.m4s'/>"#,
                r#"<SegmentTemplate media="c-$Number%05d$.m4s?spbhid=LINK" startNumber='1' initialization='i.m4s?spbhid=LINK'/>"#,
            ),
            (
                "a template with a timeline",
                "<SegmentTemplate media=\"c-$Time$.m4s\"\n  ><SegmentTimeline><S t=\"0\" d=\"9\" r=\"-1\" /></SegmentTimeline></SegmentTemplate>",
                "<SegmentTemplate media=\"c-$Time$.m4s?spbhid=LINK\"\n  ><SegmentTimeline><S t=\"0\" d=\"9\" r=\"-1\" /></SegmentTimeline></SegmentTemplate>",
            ),
            (
                "a query",
                r#"<SegmentTemplate media = "c.m4s?a=1&amp;b=2"/>"#,
                r#"<SegmentTemplate media = "c.m4s?a=1&amp;b=2&amp;spbhid=LINK"/>"#,
            ),
            (
                "a list",
                r#"<SegmentList><Initialization sourceURL="i.mp4"/><SegmentURL media="1.m4s" index="1.idx"/><SegmentURL mediaRange="0-1"/></SegmentList>"#,
                r#"<SegmentList><Initialization sourceURL="i.mp4?spbhid=LINK"/><SegmentURL media="1.m4s?spbhid=LINK" index="1.idx?spbhid=LINK"/><SegmentURL mediaRange="0-1"/></SegmentList>"#,
            ),
            (
                "a file as base",
                "<BaseURL> a.mp4\n</BaseURL>",
                "<BaseURL> a.mp4?spbhid=LINK\n</BaseURL>",
            ),
            (
                "a folder as base",
                "<BaseURL>v/</BaseURL>",
                "<BaseURL>v/</BaseURL>",
            ),
            (
                "our folder as base",
                "<BaseURL>http://10.0.0.1:8080/v/</BaseURL><SegmentTemplate media='a'/>",
                "<BaseURL>/v/</BaseURL><SegmentTemplate media='a?spbhid=LINK'/>",
            ),
            (
                "another server's folder as base",
                "<BaseURL>https://cdn.net/v/</BaseURL><Period><BaseURL>w/</BaseURL><SegmentTemplate media='a'/></Period>",
                "<BaseURL>https://cdn.net/v/</BaseURL><Period><BaseURL>w/</BaseURL><SegmentTemplate media='a'/></Period>",
            ),
            (
                "a folder of ours beside another server's",
                "<BaseURL>https://cdn.net/</BaseURL><BaseURL>/v/</BaseURL><SegmentTemplate media='a'/>",
                "<BaseURL>https://cdn.net/</BaseURL><BaseURL>/v/</BaseURL><SegmentTemplate media='a'/>",
            ),
            (
                "another server's folder beside ours",
                "<BaseURL>http://10.0.0.1:8080/v/</BaseURL><BaseURL>https://cdn.net/</BaseURL><SegmentTemplate media='a'/>",
                "<BaseURL>/v/</BaseURL><BaseURL>https://cdn.net/</BaseURL><SegmentTemplate media='a'/>",
            ),
            (
                "a base of its own below those of several servers",
                "<BaseURL>https://cdn.net/</BaseURL><BaseURL>/v/</BaseURL><Period><BaseURL>/w/</BaseURL><SegmentTemplate media='a'/></Period>",
                "<BaseURL>https://cdn.net/</BaseURL><BaseURL>/v/</BaseURL><Period><BaseURL>/w/</BaseURL><SegmentTemplate media='a'/></Period>",
            ),
            (
                "a base ends with its element",
                "<Period><BaseURL>https://cdn.net/</BaseURL></Period><Period><SegmentTemplate media='a'/></Period>",
                "<Period><BaseURL>https://cdn.net/</BaseURL></Period><Period><SegmentTemplate media='a?spbhid=LINK'/></Period>",
            ),
            (
                "a location",
                "<Location>http://play.example.com/a.mpd?x=1&amp;y</Location>",
                "<Location>/a.mpd?x=1&amp;y&amp;spbhid=LINK</Location>",
            ),
            (
                "a patch location",
                "<PatchLocation ttl='60'>a.mpp</PatchLocation>",
                "<PatchLocation ttl='60'>a.mpp?spbhid=LINK</PatchLocation>",
            ),
            (
                "unparsed text",
                "<Location><![CDATA[a.mpd?x&y]]></Location>",
                "<Location>a.mpd?x&amp;y&amp;spbhid=LINK</Location>",
            ),
            (
                "a clock of the origin, and one elsewhere",
                "<UTCTiming schemeIdUri='urn:x' value='http://10.0.0.1:8080/t https://time.net/'/>",
                "<UTCTiming schemeIdUri='urn:x' value='https://play.example.com/t?spbhid=LINK https://time.net/'/>",
            ),
            (
                "a clock by its path",
                "<UTCTiming schemeIdUri='urn:mpeg:dash:utc:http-iso:2014' value='t'/>",
                "<UTCTiming schemeIdUri='urn:mpeg:dash:utc:http-iso:2014' value='https://play.example.com/live/t?spbhid=LINK'/>",
            ),
            (
                "a time in place of a clock",
                "<UTCTiming schemeIdUri='urn:mpeg:dash:utc:direct:2014' value='2026-11-28T12:00:00Z'/>",
                "<UTCTiming schemeIdUri='urn:mpeg:dash:utc:direct:2014' value='2026-11-28T12:00:00Z'/>",
            ),
            (
                "steering",
                "<ContentSteering defaultServiceLocation='a' proxyServerURL='/p'>http://10.0.0.1:8080/s</ContentSteering>",
                "<ContentSteering defaultServiceLocation='a' proxyServerURL='https://play.example.com/p?spbhid=LINK'>https://play.example.com/s?spbhid=LINK</ContentSteering>",
            ),
            (
                "a part of the manifest",
                "<Period xlink:href='period.xml' xlink:actuate='onLoad'/>",
                "<Period xlink:href='period.xml?spbhid=LINK' xlink:actuate='onLoad'/>",
            ),
            (
                "a part of the manifest that is none",
                "<Period xlink:href='urn:mpeg:dash:resolve-to-zero:2013'/>",
                "<Period xlink:href='urn:mpeg:dash:resolve-to-zero:2013'/>",
            ),
            (
                "a namespace",
                "<m:BaseURL>a.mp4</m:BaseURL>",
                "<m:BaseURL>a.mp4?spbhid=LINK</m:BaseURL>",
            ),
            (
                "a comment",
                "<!-- <BaseURL>a.mp4</BaseURL> -->",
                "<!-- <BaseURL>a.mp4</BaseURL> -->",
            ),
            (
                "an attribute of another element",
                "<S media='a'/>",
                "<S media='a'/>",
            ),
            (
                "a sign of another attribute",
                "<SegmentTemplate x=' media=1' media='a>b'/>",
                "<SegmentTemplate x=' media=1' media='a&gt;b?spbhid=LINK'/>",
            ),
        ];
        for (cause, inner, expected) in cases {
            for (head, foot) in [
                ("<MPD>", "</MPD>"),
                (
                    "<?xml version=\"1.0\"?>\r\n<Patch a='b'>\r\n",
                    "\r\n</Patch>\n",
                ),
                ("\u{feff}<MPD>", "</MPD>"),
            ] {
                let manifest = format!("{head}{inner}{foot}");
                assert_eq!(
                    rewritten(&manifest),
                    format!("{head}{expected}{foot}"),
                    "{cause}"
                );
            }
        }
    }

    #[test]
    fn what_is_below_a_base_is_listed_where_that_leads() {
        let key = LinkKey::new(b"k");
        let link = Link {
            stream: "h.example/live/a".parse().unwrap(),
            origin: "one".into(),
            target: Target::plain("10.0.0.1".parse().unwrap(), 8080),
            expires: 1,
            viewing: None,
        };
        let stamping = Stamping {
            key: &key,
            stream: &link.stream,
            origin: &link.origin,
        };
        let page = Page {
            stamping: Some(stamping),
            ..PAGE
        };
        // A description; the bases, outermost first; where the template leads.
        let rows: [(&str, &[&str], &str); 7] = [
            ("none", &[], "/live/v0/12"),
            ("a folder", &["dash/"], "/live/dash/v0/12"),
            ("two folders", &["dash/", "v/"], "/live/dash/v/v0/12"),
            ("from the root", &["dash/", "/v/"], "/v/v0/12"),
            ("in full", &["http://10.0.0.1:8080/d/"], "/d/v0/12"),
            ("a file", &["dash/a.mp4"], "/live/dash/v0/12"),
            ("a folder up", &["dash/", "../"], "/live/v0/12"),
        ];
        for (cause, bases, path) in rows {
            let mut body = "<SegmentTemplate media='$RepresentationID$/$Number$'/>".to_owned();
            for base in bases.iter().rev() {
                body = format!("<Period><BaseURL>{base}</BaseURL>{body}</Period>");
            }
            let manifest = format!("<MPD>{body}</MPD>");
            let out = rewrite(manifest.as_bytes(), &page).unwrap();
            let out = String::from_utf8(out.into_owned()).unwrap();
            let (_, stamp) = out.split_once("$?spbhid=LINK.").expect(cause);
            let (stamp, _) = stamp.split_once('\'').expect(cause);
            assert!(is_listed(&key, &link, stamp, path), "{cause}: {out}");
            for other in ["/stat", "/live/x/v0/12", "/v0/12", "/x/y/12"] {
                assert!(!is_listed(&key, &link, stamp, other), "{cause}: {other}");
            }
        }
    }

    #[test]
    fn what_is_no_manifest_is_said_to_be_none() {
        let kind = RewriteError::Kind("manifest");
        let deep = format!("<MPD>{}", "<a>".repeat(40));
        let cases = [
            ("nothing", "", kind),
            ("a page", "<html></html>", kind),
            ("a playlist", "#EXTM3U\n", kind),
            ("cut short", "<MPD><Period>", kind),
            ("crossed tags", "<MPD><a></MPD></a>", RewriteError::Xml(8)),
            ("too deep", &deep, RewriteError::Nested(MAX_DEPTH)),
        ];
        for (cause, manifest, expected) in cases {
            assert_eq!(
                rewrite(manifest.as_bytes(), &PAGE),
                Err(expected),
                "{cause}"
            );
        }
    }
}
