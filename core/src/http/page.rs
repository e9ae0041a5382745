//! How a URI in a playlist or manifest changes on its way through us.

use super::link::{ABSENT, PARAMETER};
use super::route::has_media_ending;
use super::stamp::{Stamping, resolved};
use crate::fleet::origin::OriginId;

/// A playlist or manifest on its way from an origin to a player: the names and the link for its URIs.
#[derive(Debug, Clone, Copy)]
pub struct Page<'a> {
    /// `host:port` as the client asked for it, port optional: the name for us.
    pub host: &'a str,
    /// Each `host:port` by which the origin may name itself. A host without a port has the default port of the scheme.
    pub origin: &'a [&'a str],
    /// The sealed link ([`super::link::LinkKey::seal`]); empty where URIs get none.
    pub link: &'a str,
    /// The link for other renditions of what is played: the viewer's own, since it knows them by that one.
    pub report: &'a str,
    /// The folder of our site under which a web server in front of us has put us, such as `/media`; empty if none has.
    pub base: &'a str,
    /// The folder of the page on the origin, such as `/live/a/`, if the client asked for the page by another path: what
    /// is relative to the page is relative to this folder.
    pub folder: Option<&'a str>,
    /// The scheme and host by which the client reached us, such as `https://play.example.com`: for URIs that players resolve
    /// against a page of their own.
    pub site: &'a str,
    /// The folder of the page as the client asked for it, such as `/live/`.
    pub at: &'a str,
    /// What is said of the paths that the page lists and that do not end as media does: without it their links open nothing.
    pub stamping: Option<Stamping<'a>>,
    /// Other origins of the fleet that the page names.
    pub others: &'a [Other<'a>],
}

/// Another origin of the fleet that a page names in full.
#[derive(Debug, Clone, Copy)]
pub struct Other<'a> {
    /// The `host:port` by which the page names it, port optional.
    pub authority: [&'a str; 1],
    /// The link for what it has.
    pub link: &'a str,
    /// Which one it is.
    pub origin: &'a OriginId,
}

/// Why a playlist or manifest is not rewritten. Pass it on unchanged: players may know better what it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RewriteError {
    /// It does not begin like a document of its kind.
    #[error("this is no {0}")]
    Kind(&'static str),
    /// Its elements are nested deeper than in any manifest.
    #[error("elements are nested more than {0} deep")]
    Nested(usize),
    /// It is too long to be held in memory as a whole.
    #[error("the {kind} has more than {limit} {unit}")]
    TooLong {
        /// `playlist` or `manifest`.
        kind: &'static str,
        /// The limit.
        limit: usize,
        /// The unit of the limit.
        unit: &'static str,
    },
    /// It is not well-formed XML.
    #[error("the manifest is not well-formed XML (near byte {0})")]
    Xml(u64),
}

/// Where a URI points.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Whereto<'a> {
    /// Another server, or no server at all: the URI stays unchanged.
    Elsewhere,
    /// Our origin, named in full; this is what follows the authority.
    Origin(&'a [u8]),
    /// The server that the page itself is on.
    Relative,
}

impl<'a> Page<'a> {
    /// What stands for a page where a head names places and gives nobody a link: how the client named us, each name of the
    /// origin, and our folder.
    pub const fn without_link(host: &'a str, origin: &'a [&'a str], base: &'a str) -> Self {
        Self {
            host,
            origin,
            link: ABSENT,
            report: ABSENT,
            base,
            folder: None,
            site: "",
            at: "/",
            stamping: None,
            others: &[],
        }
    }

    /// The page by whose rules `uri` is written: this one, or that of another origin which the URI names.
    pub(super) fn toward(&self, uri: &[u8]) -> Self {
        if self.others.is_empty() || self.whereto(uri) != Whereto::Elsewhere {
            return *self;
        }
        let page = |other: &'a Other<'a>| Self {
            host: "",
            origin: &other.authority,
            link: other.link,
            report: other.link,
            stamping: self.stamping.map(|stamping| Stamping {
                origin: other.origin,
                ..stamping
            }),
            others: &[],
            ..*self
        };
        let mut pages = self.others.iter().map(page);
        let named = pages.find(|page| page.whereto(uri) != Whereto::Elsewhere);
        named.unwrap_or(*self)
    }
}

impl Page<'_> {
    /// Where `uri` points.
    pub(super) fn whereto<'a>(&self, uri: &'a [u8]) -> Whereto<'a> {
        let (scheme, rest) = split_scheme(uri);
        let port = match scheme {
            None => None,
            Some(scheme) if scheme.eq_ignore_ascii_case(b"http") => Some("80"),
            Some(scheme) if scheme.eq_ignore_ascii_case(b"https") => Some("443"),
            Some(_) => return Whereto::Elsewhere,
        };
        let Some(rest) = rest.strip_prefix(b"//") else {
            // `http:a.ts` is an oddity that every reader resolves in its own way.
            return match scheme {
                None => Whereto::Relative,
                Some(_) => Whereto::Elsewhere,
            };
        };
        let end = rest
            .iter()
            .position(|byte| b"/?#\\".contains(byte))
            .unwrap_or(rest.len());
        let (authority, target) = rest.split_at_checked(end).unwrap_or((rest, b""));
        let authority = match authority.iter().rposition(|&byte| byte == b'@') {
            Some(at) => authority.get(at + 1..).unwrap_or_default(),
            None => authority,
        };
        // A proxy in front of us may ask us by another name than its client asked it.
        let (_, site) = self.site.split_once("://").unwrap_or_default();
        let names_us = std::str::from_utf8(authority).is_ok_and(|named| {
            [self.host, site]
                .iter()
                .chain(self.origin)
                .any(|known| same_authority(named, known, port))
        });
        if names_us {
            Whereto::Origin(target)
        } else {
            Whereto::Elsewhere
        }
    }

    /// Whether `text`, which need not be a URI, names the origin as one in full.
    pub(super) fn names_origin(&self, text: &[u8]) -> bool {
        let origins = Page {
            host: "",
            site: "",
            ..self.toward(text)
        };
        position_of(IN_FULL, text).is_some() && matches!(origins.whereto(text), Whereto::Origin(_))
    }

    /// `text`, in which every full URI that names an origin names us instead, by our scheme and host, and has the link. `None`
    /// where there is no such URI.
    pub fn write_uris_in(&self, text: &[u8]) -> Option<Vec<u8>> {
        let (mut out, mut written, mut at) = (Vec::new(), 0, 0);
        while let Some(found) = position_of(IN_FULL, text.get(at..)?) {
            let before = text.get(at..at + found)?;
            let is_of_scheme = |byte: &u8| byte.is_ascii_alphanumeric() || b"+-.".contains(byte);
            let start = before.iter().rposition(|byte| !is_of_scheme(byte));
            let start = at + start.map_or(0, |last| last + 1);
            let after = at + found + IN_FULL.len();
            let end = text
                .get(after..)?
                .iter()
                .position(|byte| ENDS_URI.contains(byte));
            let end = end.map_or(text.len(), |length| after + length);
            let uri = text.get(start..end)?;
            if self.names_origin(uri) {
                out.extend(text.get(written..start)?);
                self.write_in_full(uri, &mut out);
                written = end;
            }
            at = end;
        }
        out.extend(text.get(written..)?);
        (written > 0).then_some(out)
    }

    /// Writes the new form of a URI that stands by itself, such as a redirect; see the rules for pages.
    pub fn write_uri(&self, uri: &[u8], out: &mut Vec<u8>) {
        self.write(uri, out);
    }

    /// Writes the new form of such a URI without a link.
    pub(super) fn write_bare(&self, uri: &[u8], out: &mut Vec<u8>) {
        match self.whereto(uri) {
            Whereto::Origin(target) => out.extend(self.rooted(target)),
            Whereto::Relative if uri.starts_with(b"/") => {
                out.extend(self.base.as_bytes());
                out.extend(uri);
            }
            Whereto::Relative if !matches!(uri.first(), None | Some(b'?' | b'#')) => {
                if let Some(folder) = self.folder {
                    out.extend(self.base.as_bytes());
                    out.extend(folder.as_bytes());
                }
                out.extend(uri);
            }
            Whereto::Elsewhere | Whereto::Relative => out.extend(uri),
        }
    }

    /// Writes the new form of `uri`: root-relative if it named the origin in full, and with the link in its query.
    /// Returns whether the text changed.
    pub(super) fn write(&self, uri: &[u8], out: &mut Vec<u8>) -> bool {
        self.write_below(uri, self.at.as_bytes(), out)
    }

    /// The same for a URI that is relative to `folder`, which a part of the page names.
    pub(super) fn write_below(&self, uri: &[u8], folder: &[u8], out: &mut Vec<u8>) -> bool {
        if !self.others.is_empty() {
            let page = Page {
                others: &[],
                ..self.toward(uri)
            };
            return page.write_below(uri, folder, out);
        }
        let start = out.len();
        match self.whereto(uri) {
            Whereto::Elsewhere => out.extend(uri),
            Whereto::Origin(target) => {
                out.extend(self.base.as_bytes());
                write_rooted(target, out);
                self.write_target(strip_rooted(target), b"/", out);
            }
            Whereto::Relative if uri.is_empty() || uri.starts_with(b"#") => out.extend(uri),
            Whereto::Relative => {
                let mut below = folder;
                if uri.starts_with(b"/") {
                    out.extend(self.base.as_bytes());
                } else if let Some(folder) = self.folder.filter(|_| !uri.starts_with(b"?")) {
                    out.extend(self.base.as_bytes());
                    out.extend(folder.as_bytes());
                    below = folder.as_bytes();
                }
                self.write_target(uri, below, out);
            }
        }
        out.get(start..) != Some(uri)
    }

    /// Whether a URI on the server that the page is on begins in another place for clients.
    pub(super) fn moves(&self, uri: &[u8]) -> bool {
        let is_rooted = uri.starts_with(b"/");
        self.folder.is_some() || is_rooted && !self.base.is_empty()
    }

    /// Whether the link of a URI that is relative to the page has to say that the page listed it.
    pub(super) fn stamps(&self, uri: &[u8]) -> bool {
        let (target, _) = split_before(uri, b'#');
        let (path, _) = split_before(target, b'?');
        self.stamp(path, self.at.as_bytes()).is_some()
    }

    /// What follows the link of `path`, which is relative to `folder`.
    fn stamp(&self, path: &[u8], folder: &[u8]) -> Option<String> {
        let stamping = self
            .stamping
            .filter(|_| !["", ABSENT].contains(&self.link))?;
        // Without a path it is the page itself, of which only the folder is known here.
        let is_page = path.is_empty() && folder != b"/";
        let is_media = std::str::from_utf8(path).is_ok_and(has_media_ending);
        if is_page || is_media && !stamping.lets_in {
            return None;
        }
        let path = resolved(folder, path);
        (!is_media || !stamping.owns(&path)).then(|| stamping.stamp(&path))
    }

    /// Writes the new form of `uri` in full, with our scheme and host, and with the link in its query. Returns whether the
    /// text changed.
    pub(super) fn write_in_full(&self, uri: &[u8], out: &mut Vec<u8>) -> bool {
        if !self.others.is_empty() {
            let page = Page {
                others: &[],
                ..self.toward(uri)
            };
            return page.write_in_full(uri, out);
        }
        let start = out.len();
        match self.whereto(uri) {
            Whereto::Relative if uri.is_empty() || uri.starts_with(b"#") => out.extend(uri),
            Whereto::Relative if uri.starts_with(b"?") => return self.write(uri, out),
            Whereto::Elsewhere => out.extend(uri),
            Whereto::Origin(_) => {
                out.extend(self.site.as_bytes());
                self.write(uri, out);
            }
            Whereto::Relative => {
                out.extend(self.site.as_bytes());
                let is_rooted = uri.starts_with(b"/");
                if !is_rooted && self.folder.is_none() {
                    out.extend(self.base.as_bytes());
                    out.extend(self.at.as_bytes());
                }
                self.write(uri, out);
            }
        }
        out.get(start..) != Some(uri)
    }

    /// The same page, where links are those for other renditions.
    pub(super) const fn reporting(&self) -> Self {
        Self {
            link: self.report,
            ..*self
        }
    }

    /// The root-relative form of what followed an authority, without a link.
    pub(super) fn rooted(&self, target: &[u8]) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.base.len() + target.len() + 1);
        out.extend(self.base.as_bytes());
        write_rooted(target, &mut out);
        out.extend(strip_rooted(target));
        out
    }

    /// Writes `target`, which is relative to `folder`, with the link as the last parameter of its query, and the only one of
    /// that name.
    fn write_target(&self, target: &[u8], folder: &[u8], out: &mut Vec<u8>) {
        let (target, fragment) = split_before(target, b'#');
        let (path, query) = split_before(target, b'?');
        out.extend(path);
        let mut mark = b'?';
        if let Some(query) = query.get(1..).filter(|query| !query.is_empty()) {
            for pair in query.split(|&byte| byte == b'&') {
                if !is_link(pair) {
                    out.push(mark);
                    out.extend(pair);
                    mark = b'&';
                }
            }
        }
        if !self.link.is_empty() {
            out.push(mark);
            out.extend(PARAMETER.as_bytes());
            out.push(b'=');
            out.extend(self.link.as_bytes());
        }
        if let Some(stamp) = self.stamp(path, folder) {
            out.push(b'.');
            out.extend(stamp.as_bytes());
        }
        out.extend(fragment);
    }
}

/// What a URI in full has after its scheme.
pub(super) const IN_FULL: &[u8] = b"://";

/// What ends a URI in a text (RFC 3986 appendix C), and a string in what is written in JSON.
pub(super) const ENDS_URI: &[u8] = b" \t\r\n\"<>\\`{}|^";

/// Where `part` begins in a text.
fn position_of(part: &[u8], text: &[u8]) -> Option<usize> {
    text.windows(part.len()).position(|window| window == part)
}

/// Splits off the byte order mark that some editors put before a text.
pub fn split_byte_order_mark(text: &[u8]) -> (&[u8], &[u8]) {
    match text.split_first_chunk::<3>() {
        Some((mark @ b"\xef\xbb\xbf", text)) => (mark, text),
        _ => (b"", text),
    }
}

/// Makes the start of what followed an authority root-relative.
fn write_rooted(target: &[u8], out: &mut Vec<u8>) {
    match target {
        // Two slashes would name an authority: `/.//` is how URLs write such a path without one.
        [b'/' | b'\\', b'/' | b'\\', ..] => out.extend(b"/./"),
        _ => out.push(b'/'),
    }
}

fn strip_rooted(target: &[u8]) -> &[u8] {
    match target {
        [b'/' | b'\\', rest @ ..] => rest,
        rest => rest,
    }
}

fn is_link(pair: &[u8]) -> bool {
    pair.strip_prefix(PARAMETER.as_bytes())
        .is_some_and(|value| value.starts_with(b"="))
}

/// What precedes the first `mark`, and the rest beginning with it.
fn split_before(text: &[u8], mark: u8) -> (&[u8], &[u8]) {
    let at = text
        .iter()
        .position(|&byte| byte == mark)
        .unwrap_or(text.len());
    text.split_at_checked(at).unwrap_or((text, b""))
}

/// The scheme of a URI (RFC 3986 §3.1), if it has one, and what follows its colon.
fn split_scheme(uri: &[u8]) -> (Option<&[u8]>, &[u8]) {
    let Some(colon) = uri.iter().position(|byte| b":/?#".contains(byte)) else {
        return (None, uri);
    };
    match uri.split_at_checked(colon) {
        Some((scheme @ [first, ..], [b':', rest @ ..]))
            if first.is_ascii_alphabetic()
                && scheme
                    .iter()
                    .all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(byte)) =>
        {
            (Some(scheme), rest)
        }
        _ => (None, uri),
    }
}

/// Whether both name the same server. `port` is the default of the scheme; without a scheme, 80 and 443 count.
fn same_authority(named: &str, known: &str, port: Option<&str>) -> bool {
    let (named_host, named_port) = split_port(named);
    let (known_host, known_port) = split_port(known);
    if named_host.is_empty() || !named_host.eq_ignore_ascii_case(known_host) {
        return false;
    }
    match (named_port.or(port), known_port) {
        (Some(named), Some(known)) => named == known,
        (Some(named), None) => port.is_none_or(|own| own == named) && is_default(named),
        (None, Some(known)) => is_default(known),
        (None, None) => true,
    }
}

fn is_default(port: &str) -> bool {
    ["80", "443"].contains(&port)
}

/// The host of an authority, and its port if it names one.
pub(super) fn split_port(authority: &str) -> (&str, Option<&str>) {
    match authority.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => {
            (host, Some(port).filter(|port| !port.is_empty()))
        }
        _ => (authority, None),
    }
}

#[cfg(test)]
impl Page<'static> {
    /// A page of the origin at `10.0.0.1:8080`, for tests.
    pub(super) const EXAMPLE: Self = Page {
        host: "play.example.com",
        origin: &["10.0.0.1:8080"],
        link: "LINK",
        report: "LINK",
        base: "",
        folder: None,
        site: "https://play.example.com",
        at: "/live/",
        stamping: None,
        others: &[],
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: Page<'_> = Page {
        origin: &["10.0.0.1:8080", "[2001:db8::1]:8080", "Origin.internal"],
        ..Page::EXAMPLE
    };

    #[test]
    fn the_name_that_a_proxy_in_front_says_is_ours_too() {
        let page = Page {
            host: "10.0.0.7:18080",
            site: "https://play.example.com",
            base: "/media",
            ..Page::EXAMPLE
        };
        for (uri, expected) in [
            ("https://play.example.com/a.ts", "/media/a.ts?spbhid=LINK"),
            (
                "https://play.example.com:443/a.ts",
                "/media/a.ts?spbhid=LINK",
            ),
            ("http://10.0.0.7:18080/a.ts", "/media/a.ts?spbhid=LINK"),
            (
                "https://cdn.example.com/a.ts",
                "https://cdn.example.com/a.ts",
            ),
        ] {
            let mut out = Vec::new();
            page.write_uri(uri.as_bytes(), &mut out);
            assert_eq!(String::from_utf8(out).as_deref(), Ok(expected));
        }
    }

    #[test]
    fn without_a_link_a_uri_names_us_and_nothing_else_changes() {
        let page = Page { link: "", ..PAGE };
        for (uri, expected) in [
            ("a-1.ts", "a-1.ts"),
            ("a-1.ts?hls_ctx=9#t=1", "a-1.ts?hls_ctx=9#t=1"),
            ("/live/a-1.ts", "/live/a-1.ts"),
            ("http://10.0.0.1:8080/live/a.ts?b=1", "/live/a.ts?b=1"),
            (
                "https://cdn.example.com/a.ts",
                "https://cdn.example.com/a.ts",
            ),
        ] {
            let mut out = Vec::new();
            assert_eq!(
                page.write(uri.as_bytes(), &mut out),
                uri != expected,
                "{uri}"
            );
            assert_eq!(String::from_utf8(out).as_deref(), Ok(expected));
        }
    }

    #[test]
    fn a_uri_becomes_what_its_target_asks_for() {
        let cases = [
            ("relative", "a-1.ts", "a-1.ts?spbhid=LINK"),
            ("in a folder", "../b/a-1.ts", "../b/a-1.ts?spbhid=LINK"),
            ("root-relative", "/live/a-1.ts", "/live/a-1.ts?spbhid=LINK"),
            (
                "with a query",
                "a-1.ts?hls_ctx=9",
                "a-1.ts?hls_ctx=9&spbhid=LINK",
            ),
            ("with an empty query", "a-1.ts?", "a-1.ts?spbhid=LINK"),
            ("a query alone", "?n=1", "?n=1&spbhid=LINK"),
            (
                "with a fragment",
                "a-1.ts?x#t=1",
                "a-1.ts?x&spbhid=LINK#t=1",
            ),
            ("a fragment alone", "#t=1", "#t=1"),
            ("nothing", "", ""),
            ("linked", "a.ts?spbhid=LINK", "a.ts?spbhid=LINK"),
            (
                "linked by another",
                "a.ts?spbhid=1a2b3c4&x=1",
                "a.ts?x=1&spbhid=LINK",
            ),
            (
                "a name like ours",
                "a.ts?spbhids=1",
                "a.ts?spbhids=1&spbhid=LINK",
            ),
            (
                "a question mark in the query",
                "a.ts?b=?",
                "a.ts?b=?&spbhid=LINK",
            ),
            (
                "a colon behind a digit",
                "12:30:00.ts",
                "12:30:00.ts?spbhid=LINK",
            ),
            ("a colon in the path", "./a:b.ts", "./a:b.ts?spbhid=LINK"),
            (
                "our own host",
                "http://play.example.com/a.ts",
                "/a.ts?spbhid=LINK",
            ),
            (
                "our own host, encrypted",
                "https://PLAY.example.com/a.ts",
                "/a.ts?spbhid=LINK",
            ),
            (
                "our own host, its port said",
                "https://play.example.com:443/a.ts",
                "/a.ts?spbhid=LINK",
            ),
            (
                "our own host, another port",
                "http://play.example.com:81/a.ts",
                "http://play.example.com:81/a.ts",
            ),
            (
                "the origin",
                "http://10.0.0.1:8080/live/a.ts?b=1",
                "/live/a.ts?b=1&spbhid=LINK",
            ),
            (
                "the origin, in IPv6",
                "http://[2001:DB8::1]:8080/a.ts",
                "/a.ts?spbhid=LINK",
            ),
            (
                "the origin, by name",
                "http://origin.internal/a.ts",
                "/a.ts?spbhid=LINK",
            ),
            (
                "the origin, with a user",
                "http://u:p@10.0.0.1:8080/a.ts",
                "/a.ts?spbhid=LINK",
            ),
            (
                "the origin, by no scheme",
                "//10.0.0.1:8080/a.ts",
                "/a.ts?spbhid=LINK",
            ),
            (
                "the origin alone",
                "http://origin.internal",
                "/?spbhid=LINK",
            ),
            (
                "the origin, a query alone",
                "http://origin.internal?x",
                "/?x&spbhid=LINK",
            ),
            (
                "the origin, a path like an authority",
                "http://origin.internal//evil.com/a",
                "/.//evil.com/a?spbhid=LINK",
            ),
            (
                "the origin, a backslash",
                "http://origin.internal\\a",
                "/a?spbhid=LINK",
            ),
            (
                "another port of it",
                "http://10.0.0.1:8081/a.ts",
                "http://10.0.0.1:8081/a.ts",
            ),
            (
                "another host",
                "https://cdn.example.com/a.ts",
                "https://cdn.example.com/a.ts",
            ),
            (
                "another host behind our name",
                "http://play.example.com@cdn.net/a",
                "http://play.example.com@cdn.net/a",
            ),
            (
                "another host that begins like ours",
                "http://play.example.com.evil.com/a",
                "http://play.example.com.evil.com/a",
            ),
            (
                "another host, by no scheme",
                "//cdn.example.com/a.ts",
                "//cdn.example.com/a.ts",
            ),
            (
                "data",
                "data:text/plain;base64,AA==",
                "data:text/plain;base64,AA==",
            ),
            (
                "a key service",
                "skd://10.0.0.1:8080/k",
                "skd://10.0.0.1:8080/k",
            ),
            ("a name", "urn:uuid:1", "urn:uuid:1"),
            ("a scheme without an authority", "http:a.ts", "http:a.ts"),
        ];
        for (cause, uri, expected) in cases {
            let mut out = Vec::new();
            let changed = PAGE.write(uri.as_bytes(), &mut out);
            assert_eq!(String::from_utf8(out.clone()).unwrap(), expected, "{cause}");
            assert_eq!(changed, uri != expected, "{cause}");
            let mut again = Vec::new();
            assert!(!PAGE.write(&out, &mut again), "{cause}: twice is once");
        }
    }
}
