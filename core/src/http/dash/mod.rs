//! MPEG-DASH manifests (ISO/IEC 23009-1), rewritten element by element: only URIs change.

use std::borrow::Cow;

use quick_xml::events::Event;
use quick_xml::reader::Reader;

use super::page::{IN_FULL, Page, RewriteError, Whereto, split_byte_order_mark};
use super::stamp::resolved;

/// `manifest` with every URI that points at the origin changed to point at us, with the page's link.
///
/// A base that is a folder is only made root-relative: a player does not pass its query down, so the templates and
/// segments below it carry the link: that of another origin of the fleet, where the base names one. Where one of several bases is
/// on another server, or they are on several origins, each would get one link, so everything below stays unchanged, and what is
/// asked of us is found by its path. Unknown elements and all other bytes stay unchanged. The patch of a manifest is rewritten in
/// the same way, and so are the elements that `xlink:href` leads to. Whatever else names the origin in full names us instead.
pub fn rewrite<'a>(manifest: &'a [u8], page: &Page<'_>) -> Result<Cow<'a, [u8]>, RewriteError> {
    if manifest.len() > MAX_MANIFEST {
        return Err(RewriteError::TooLong {
            kind: "manifest",
            limit: MAX_MANIFEST,
            unit: "bytes",
        });
    }
    let (mark, source) = split_byte_order_mark(manifest);
    let Ok(text) = std::str::from_utf8(source) else {
        return rewrite_bytes(manifest, page).map(Cow::Owned);
    };
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

/// The same for a manifest in another encoding that has the letters of ASCII: nothing but those is looked at and written.
fn rewrite_bytes(manifest: &[u8], page: &Page<'_>) -> Result<Vec<u8>, RewriteError> {
    let text: String = manifest.iter().map(|byte| char::from(*byte)).collect();
    let rewritten = rewrite(text.as_bytes(), page)?;
    let rewritten = String::from_utf8_lossy(&rewritten);
    let mut out = Vec::with_capacity(rewritten.len());
    for letter in rewritten.chars() {
        match u8::try_from(letter) {
            Ok(byte) => out.push(byte),
            // It came as a reference.
            Err(_) => out.extend(format!("&#{};", u32::from(letter)).bytes()),
        }
    }
    Ok(out)
}

struct Rewriter<'a, 'p> {
    page: &'p Page<'p>,
    source: &'a [u8],
    /// How much of the source has been written, changed or not.
    written: usize,
    out: Vec<u8>,
    open: Vec<Open<'p>>,
}

/// An element whose end tag has not come yet.
struct Open<'p> {
    holds: Holds,
    /// Where the element's content begins.
    content: usize,
    /// Whether the element's content is on another server, according to the bases so far.
    elsewhere: bool,
    /// Whether the element has a base of its own.
    based: bool,
    /// The folder on the origin that its first base names.
    folder: Option<Vec<u8>>,
    /// The page by whose rules the element's content is written, where it has a base of its own.
    page: Option<Page<'p>>,
}

/// What the text of an element is.
#[derive(Clone, Copy)]
enum Holds {
    /// Anything, perhaps a URI.
    Any,
    /// The value that a patch gives to an attribute of this element.
    Attribute(&'static str),
    /// A URI that other URIs are resolved against.
    Base,
    /// The same that a patch puts in the place of another.
    BaseAnew,
    /// A URI of its own, which players resolve each in its own way.
    InFull,
    /// A URI of its own, resolved against the manifest's.
    Location,
}

impl<'p> Rewriter<'_, 'p> {
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
                    let holds = self.holds(name.as_ref(), start, end);
                    self.attributes(name.as_ref(), start, end)?;
                    self.enter(holds, end)?;
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

    /// What the text is of an element with this name, whose tag is at `start..end` of the source.
    fn holds(&self, name: &str, start: usize, end: usize) -> Holds {
        match name {
            "BaseURL" => Holds::Base,
            STEERING | "Certurl" => Holds::InFull,
            "ImportedMPD" | "Location" | "PatchLocation" => Holds::Location,
            "add" | "replace" => changed_by(self.source.get(start..end).unwrap_or_default()),
            _ => Holds::Any,
        }
    }

    fn enter(&mut self, holds: Holds, content: usize) -> Result<(), RewriteError> {
        if self.open.len() == MAX_DEPTH {
            return Err(RewriteError::Nested(MAX_DEPTH));
        }
        self.open.push(Open {
            holds,
            content,
            elsewhere: self.open.last().is_some_and(|parent| parent.elsewhere),
            based: false,
            folder: None,
            page: None,
        });
        Ok(())
    }

    /// Ends an element whose end tag begins at `end`.
    fn leave(&mut self, end: usize) -> Result<(), RewriteError> {
        let Some(element) = self.open.pop() else {
            return Ok(());
        };
        let holds = element.holds;
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
            Holds::Any => self.named(&uri),
            Holds::Attribute(CLOCK) => self.clocks(&uri, true),
            Holds::InFull => self.in_full(&uri),
            Holds::Attribute(_) | Holds::Location => self.changed(&uri),
            Holds::Base => self.base(&uri),
            Holds::BaseAnew => match self.page.whereto(&uri) {
                Whereto::Origin(target) if is_folder(target) => Some(self.page.rooted(target)),
                Whereto::Relative if is_folder(&uri) => self.below_our_folder(&uri),
                _ => self.changed(&uri),
            },
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
        let named = self.page.toward(uri);
        let whereto = named.whereto(uri);
        let parents = self
            .open
            .split_last()
            .map_or(&[][..], |(_, parents)| parents);
        let inherited = parents.last().is_some_and(|parent| parent.elsewhere);
        let outer = self.folder_of(parents).to_vec();
        let outer_page = self.page_of(parents);
        let page = match whereto {
            Whereto::Origin(_) => named,
            Whereto::Elsewhere | Whereto::Relative => outer_page,
        };
        let mut elsewhere = match whereto {
            Whereto::Elsewhere => true,
            Whereto::Origin(_) => false,
            Whereto::Relative => inherited,
        };
        if let Some(owner) = self.open.last_mut() {
            // What is below several origins cannot have a link of each.
            let is_of_another = owner.page.is_some_and(|before| before.link != page.link);
            elsewhere |= owner.based && owner.elsewhere || is_of_another;
            owner.elsewhere = elsewhere;
            owner.based = true;
            owner.page.get_or_insert(page);
        }
        let (target, is_named) = match whereto {
            Whereto::Elsewhere => return None,
            Whereto::Origin(target) => (target, true),
            Whereto::Relative => (uri, false),
        };
        if elsewhere {
            return match is_named {
                true => Some(page.rooted(target)),
                // Beside another server's, and not below it.
                false if !inherited => self.below_our_folder(uri),
                false => None,
            };
        }
        let (path, is_folder) = (path_of(target), is_folder(target));
        let from: &[u8] = if is_named { b"/" } else { &outer };
        if let Some(owner) = self.open.last_mut() {
            owner.folder.get_or_insert_with(|| folder_at(from, path));
        }
        match (is_folder, is_named) {
            (false, _) => written(&page, uri, &outer),
            (true, false) => self.below_our_folder(uri),
            (true, true) => Some(page.rooted(target)),
        }
    }

    /// The new form of a base that is a folder of the server that the manifest is on, if it changes.
    fn below_our_folder(&self, uri: &[u8]) -> Option<Vec<u8>> {
        let moves = uri.starts_with(b"/") && !self.page.base.is_empty();
        moves.then(|| self.page.rooted(uri))
    }

    /// Writes the URIs among the attributes of the tag at `start..end` of the source.
    fn attributes(&mut self, name: &str, start: usize, end: usize) -> Result<(), RewriteError> {
        let tag = self.source.get(start..end).unwrap_or_default();
        let known = ATTRIBUTES.iter().find(|(element, _)| *element == name);
        let is_clock = name == CLOCK;
        let has = |text: &[u8]| tag.windows(text.len()).any(|part| part == text);
        let leads_on = name.ends_with(PROPERTY) && LEAD_ON.iter().any(|scheme| has(scheme));
        let is_known = known.is_some() || is_clock || leads_on;
        if !is_known && !has(HREF) && !has(IN_FULL) && !may_have_uri(tag) {
            return Ok(());
        }
        let elsewhere = self.open.last().is_some_and(|parent| parent.elsewhere);
        let wanted = known.map_or(&[][..], |(_, wanted)| wanted);
        let by_http = has(BY_HTTP);
        for (attribute, value) in Attributes::of(tag) {
            let attribute = tag.get(attribute).unwrap_or_default();
            let is_wanted = wanted.iter().any(|wanted| wanted.as_bytes() == attribute);
            let uri = unescape(tag.get(value.clone()).unwrap_or_default());
            let changed = match attribute {
                b"value" if is_clock => self.clocks(&uri, by_http),
                b"value" if leads_on => self.clocks(&uri, true),
                b"proxyServerURL" if name == STEERING => self.in_full(&uri),
                // What it leads to is part of the manifest, and resolved as such.
                href if href.ends_with(HREF) => self.changed(&uri),
                _ if (is_wanted || is_uri_by_name(attribute)) && !elsewhere => self.below(&uri),
                _ => self.named(&uri),
            };
            if let Some(changed) = changed {
                self.copy_to(start + value.start);
                escape(&changed, &mut self.out);
                self.skip_to(start + value.end)?;
            }
        }
        Ok(())
    }

    /// The addresses of a clock, or of other manifests, of which there may be several (ISO/IEC 23009-1 §5.8.5.7). `by_http` says
    /// that they are URIs, which may be relative.
    fn clocks(&self, value: &[u8], by_http: bool) -> Option<Vec<u8>> {
        let mut changed = false;
        let mut out = Vec::with_capacity(value.len() * 2);
        for (index, clock) in value.split(u8::is_ascii_whitespace).enumerate() {
            if index > 0 {
                out.push(b' ');
            }
            match self.page.toward(clock).whereto(clock) {
                Whereto::Origin(_) => changed |= self.page.write_in_full(clock, &mut out),
                Whereto::Relative if by_http => {
                    changed |= self.page.write_in_full(clock, &mut out);
                }
                Whereto::Elsewhere | Whereto::Relative => out.extend(clock),
            }
        }
        changed.then_some(out)
    }

    /// What need not be a URI, if it names the origin as one, or has one in it that does.
    fn named(&self, text: &[u8]) -> Option<Vec<u8>> {
        let mut windows = text.windows(IN_FULL.len());
        let first = windows.position(|part| part == IN_FULL)?;
        let has_one = !windows.any(|part| part == IN_FULL);
        if has_one && first <= LONGEST_SCHEME && self.page.names_origin(text) {
            return self.in_full(text);
        }
        self.page.write_uris_in(text)
    }

    fn in_full(&self, uri: &[u8]) -> Option<Vec<u8>> {
        let mut changed = Vec::new();
        self.page
            .write_in_full(uri, &mut changed)
            .then_some(changed)
    }

    fn changed(&self, uri: &[u8]) -> Option<Vec<u8>> {
        written(self.page, uri, self.page.at.as_bytes())
    }

    /// The same for a URI that is resolved against the bases so far.
    fn below(&self, uri: &[u8]) -> Option<Vec<u8>> {
        let page = match self.page.toward(uri).whereto(uri) {
            Whereto::Relative => self.page_of(&self.open),
            Whereto::Elsewhere | Whereto::Origin(_) => *self.page,
        };
        written(&page, uri, self.folder_of(&self.open))
    }

    /// The page by whose rules URIs within the innermost of these elements are written.
    fn page_of(&self, open: &[Open<'p>]) -> Page<'p> {
        let mut inside_out = open.iter().rev();
        let named = inside_out.find_map(|element| element.page);
        named.unwrap_or(*self.page)
    }

    /// The folder on the origin that URIs within the innermost of these elements are relative to.
    fn folder_of<'s>(&'s self, open: &'s [Open<'p>]) -> &'s [u8] {
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

/// A URI below `folder`, if it changes.
fn written(page: &Page<'_>, uri: &[u8], folder: &[u8]) -> Option<Vec<u8>> {
    let mut changed = Vec::new();
    page.write_below(uri, folder, &mut changed)
        .then_some(changed)
}

/// Whether an attribute of any element is a URI, by its name: other presentations to play (ISO/IEC 23009-1), fonts, and where
/// players report (both ETSI TS 103 285).
fn is_uri_by_name(attribute: &[u8]) -> bool {
    let local = attribute.rsplit(|&byte| byte == b':').next();
    matches!(local, Some(b"reportingUrl" | b"uri" | b"url"))
}

/// Whether a tag may have such an attribute.
fn may_have_uri(tag: &[u8]) -> bool {
    let mut windows = tag.windows(3);
    windows.any(|part| matches!(part, b"Url" | b"uri" | b"url"))
}

/// What a URI without an authority has before its query.
fn path_of(target: &[u8]) -> &[u8] {
    let end = target.iter().position(|byte| b"?#".contains(byte));
    target.get(..end.unwrap_or(target.len())).unwrap_or(target)
}

/// Whether a base is a folder, so that what follows it in other URIs is within.
fn is_folder(base: &[u8]) -> bool {
    let path = path_of(base);
    path.is_empty() || path.ends_with(b"/") || path.ends_with(b".")
}

/// What the text of a change in a patch is (RFC 5261 §4.3 and §4.4), by the tag of that change.
fn changed_by(tag: &[u8]) -> Holds {
    let value = |wanted: &[u8]| {
        let mut found =
            Attributes::of(tag).filter(|(name, _)| tag.get(name.clone()) == Some(wanted));
        let (_, value) = found.next()?;
        String::from_utf8(unescape(tag.get(value)?)).ok()
    };
    let Some(selected) = value(b"sel") else {
        return Holds::Any;
    };
    let steps = steps_of(&selected);
    let (last, before) = match steps.as_slice() {
        [.., before, last] => (*last, *before),
        [last] => (*last, ""),
        [] => return Holds::Any,
    };
    // `<add sel="…/SegmentTemplate" type="@media">` or `<replace sel="…/SegmentTemplate/@media">`
    let (element, attribute) = match (value(b"type"), last.strip_prefix('@')) {
        (Some(kind), _) => (last, kind.strip_prefix('@').map(str::to_owned)),
        (None, Some(attribute)) => (before, Some(attribute.to_owned())),
        (None, None) if last == "text()" => (before, None),
        (None, None) => (last, None),
    };
    let Some(attribute) = attribute else {
        return match element {
            "BaseURL" => Holds::BaseAnew,
            STEERING => Holds::InFull,
            "Location" | "PatchLocation" => Holds::Location,
            _ => Holds::Any,
        };
    };
    let attribute = local(&attribute);
    if attribute == "href" {
        return Holds::Location;
    }
    let known = ATTRIBUTES.iter().find(|(known, _)| *known == element);
    let known = known.and_then(|(element, names)| {
        names
            .contains(&attribute)
            .then_some(Holds::Attribute(element))
    });
    match (element, attribute) {
        (CLOCK, "value") => Holds::Attribute(CLOCK),
        (STEERING, "proxyServerURL") => Holds::InFull,
        _ => known.unwrap_or(Holds::Any),
    }
}

/// The steps of a selector, without their conditions and prefixes: `/MPD/Period[@id="a/b"]/@start` has three.
fn steps_of(selector: &str) -> Vec<&str> {
    let (mut steps, mut start, mut quote, mut within) = (Vec::new(), 0, None, 0_usize);
    let mut end = None;
    for (at, letter) in selector.char_indices() {
        match (letter, quote) {
            (letter, Some(open)) if letter == open => quote = None,
            (_, Some(_)) => {}
            ('"' | '\'', None) => quote = Some(letter),
            ('[', None) => {
                end = end.or(Some(at));
                within += 1;
            }
            (']', None) => within = within.saturating_sub(1),
            ('/', None) if within == 0 => {
                steps.push(selector.get(start..end.unwrap_or(at)).unwrap_or_default());
                (start, end) = (at + 1, None);
            }
            _ => {}
        }
    }
    let rest = selector.get(start..end.unwrap_or(selector.len()));
    steps.push(rest.unwrap_or_default());
    let steps = steps
        .into_iter()
        .map(str::trim)
        .filter(|step| !step.is_empty());
    // An attribute keeps its sign.
    let bare = steps.map(|step| {
        if step.starts_with('@') {
            step
        } else {
            local(step)
        }
    });
    bare.collect()
}

/// A name without the prefix of its namespace.
fn local(name: &str) -> &str {
    name.rsplit_once(':').map_or(name, |(_, local)| local)
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

/// How elements end that say more of others, and the schemes of those that lead to other manifests: to one that follows, and to ones
/// in this one's place (ISO/IEC 23009-1 §5.11).
const PROPERTY: &str = "Property";
const LEAD_ON: [&[u8]; 3] = [
    b"urn:mpeg:dash:chaining:",
    b"urn:mpeg:dash:fallback:",
    b"urn:mpeg:dash:mpd-chaining:",
];

/// Characters of the longest scheme by which an origin is named.
const LONGEST_SCHEME: usize = "https".len();

/// The element that names a steering server.
const STEERING: &str = "ContentSteering";

/// The attribute that leads to a part of the manifest, whatever the prefix of its namespace.
const HREF: &[u8] = b":href";

/// Every attribute that is the URI of something to fetch, by element.
const ATTRIBUTES: [(&str, &[&str]); 7] = [
    ("BitstreamSwitching", &["sourceURL"]),
    (STEERING, &[]),
    ("Initialization", &["sourceURL"]),
    ("InitializationSet", &["initialization"]),
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
mod tests;
