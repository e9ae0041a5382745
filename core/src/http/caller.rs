//! Where a request for an API comes from, and whether it may be answered at all.
//!
//! An API that lets callers on its own machine do everything can be misled in three ways. A web page of another site
//! may send requests, since browsers send them wherever the page likes. A foreign name may be made to point at this
//! machine (DNS rebinding), since browsers then take the page for one of ours. And a reverse proxy on this machine
//! brings in callers from anywhere. Each of these shows in the head of a request. Nothing here grants a right: what a
//! head says can only take rights away.

use std::net::{IpAddr, Ipv6Addr};

use crate::fleet::origin::Host;

/// The caller of a request, as far as its connection and its head tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Caller {
    peer: IpAddr,
    /// Whom a PROXY protocol header names, where one was read.
    client: Option<IpAddr>,
    /// Whether a proxy passed the request on.
    is_forwarded: bool,
    /// Whether it names this machine by one of its own names, or names none, as HTTP/1.0 may.
    asks_for_us: bool,
    page: Page,
    /// Whether the browser says that a page of another site sends it.
    is_cross_site: bool,
    /// Whether it has the header [`PROGRAM`].
    is_program: bool,
}

/// What a surface knows about a request besides its [`Caller`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Terms {
    /// Whether it has a valid credential.
    pub is_proven: bool,
    /// Whether an address of this machine gives rights here without a credential.
    pub goes_by_address: bool,
    /// Whether it starts work although its method promises to change nothing.
    pub starts_work: bool,
    /// Whether pages of other sites may use the surface if they send a credential.
    pub opens_to_pages: bool,
}

/// Why a request is not answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unwelcome {
    /// It names this machine by a name that is not its own.
    #[error(
        "this machine is asked for by a name that is not its own; ask for 127.0.0.1, localhost or its host name, or set a token and show it"
    )]
    OtherName,
    /// A web page of another site sent it.
    #[error("web pages of other sites may not ask for this")]
    OtherSite,
    /// It starts work, and any web page could have sent it.
    #[error("this starts work, so it needs a token or the header X-Sluicegate: 1")]
    Plain,
}

/// The names, besides those of loopback, that callers on this machine may use for it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct OwnNames(Vec<HostForm>);

/// The page that sent a request, according to its `Origin` (RFC 6454 §7).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Page {
    /// There is no page, or its browser does not name it.
    Unsaid,
    /// A page of the same host and port as the request.
    Ours,
    /// A page of another site, or one whose site the browser would not name.
    Foreign,
}

/// A host, in the form in which it is compared.
#[derive(Debug, Clone, PartialEq, Eq)]
enum HostForm {
    Ip(IpAddr),
    /// A name in lower case, without the dot at its end.
    Name(String),
}

/// The values of a header that may occur only once.
#[derive(Debug, Clone, Copy)]
enum Values<'a> {
    None,
    One(&'a [u8]),
    Several,
}

impl Caller {
    /// Reads the head of a request that came over a connection from `peer`. `authority` is that of a target in absolute
    /// form; header names may be in any case.
    pub fn of<'a>(
        peer: IpAddr,
        authority: Option<&str>,
        headers: impl IntoIterator<Item = (&'a str, &'a [u8])>,
        names: &OwnNames,
    ) -> Self {
        let (mut host, mut origin) = (Values::None, Values::None);
        let (mut site, mut mode, mut destination) = (Values::None, Values::None, Values::None);
        let (mut is_forwarded, mut is_program) = (false, false);
        for (name, value) in headers {
            let is = |known: &str| name.eq_ignore_ascii_case(known);
            is_forwarded |= tells_of_a_proxy(name);
            is_program |= is(PROGRAM);
            for (known, values) in [
                ("host", &mut host),
                ("origin", &mut origin),
                ("sec-fetch-site", &mut site),
                ("sec-fetch-mode", &mut mode),
                ("sec-fetch-dest", &mut destination),
            ] {
                if is(known) {
                    values.add(value);
                }
            }
        }
        let is_own = |text: &str| read(text).is_some_and(|(place, _)| names.contain(&place));
        let host_is_own = match host {
            Values::None => true,
            Values::One(_) | Values::Several => host.text().is_some_and(is_own),
        };
        // A user who follows a link sees the answer; the page with the link does not.
        let follows_link = mode.is("navigate") && destination.is("document");
        Self {
            peer: peer.to_canonical(),
            client: None,
            is_forwarded,
            asks_for_us: host_is_own && authority.is_none_or(is_own),
            page: Page::of(origin, host.text()),
            is_cross_site: site.is("cross-site") && !follows_link,
            is_program,
        }
    }

    /// The same caller on a connection that began with a PROXY protocol header, which names `client`; a header that
    /// names nobody leaves the peer.
    #[must_use]
    pub fn behind_header(self, client: IpAddr) -> Self {
        Self {
            client: Some(client.to_canonical()),
            ..self
        }
    }

    /// Where the caller is, as far as its connection tells: at the peer's address, or at the one that a PROXY protocol
    /// header names; never at one that a header of HTTP names. `None` for a request that a proxy passed on and that
    /// seems to come from this machine, because its sender is somewhere else.
    pub fn address(&self) -> Option<IpAddr> {
        let address = self.client.unwrap_or(self.peer);
        let passed_on = self.is_forwarded || self.client.is_some();
        (!passed_on || !address.is_loopback()).then_some(address)
    }

    /// Whether the caller has a right that goes by addresses, those that `lists` tells. Behind a PROXY protocol header
    /// its sender has to have the right too, so that nobody gains one by a header.
    pub fn is_in(&self, lists: impl Fn(IpAddr) -> bool) -> bool {
        let sender_too = self.client.is_none() || lists(self.peer);
        sender_too && self.address().is_some_and(lists)
    }

    /// Whether the caller itself is on this machine.
    pub fn is_local(&self) -> bool {
        let address = self.address();
        self.client.is_none() && address.is_some_and(|address| address.is_loopback())
    }

    /// Whether the request may be answered, provided that its caller has the right to ask.
    ///
    /// # Errors
    /// [`Unwelcome`], for a request that a web page or a foreign name brought here.
    pub fn check(&self, terms: Terms) -> Result<(), Unwelcome> {
        let page_may = terms.is_proven && terms.opens_to_pages;
        if self.page == Page::Foreign && !page_may {
            return Err(Unwelcome::OtherSite);
        }
        if terms.is_proven {
            return Ok(());
        }
        if self.is_cross_site {
            return Err(Unwelcome::OtherSite);
        }
        let from_here = self.client.is_none() && self.peer.is_loopback();
        if terms.goes_by_address && from_here && !self.asks_for_us {
            return Err(Unwelcome::OtherName);
        }
        if terms.starts_work && !self.is_program {
            return Err(Unwelcome::Plain);
        }
        Ok(())
    }
}

impl Unwelcome {
    /// The status of the answer; 421 is defined in RFC 9110 §15.5.20.
    pub const fn status(self) -> u16 {
        match self {
            Self::OtherName => 421,
            Self::OtherSite | Self::Plain => 403,
        }
    }
}

impl OwnNames {
    /// The names of a machine that calls itself `name`, with or without a domain.
    pub fn of(name: &str) -> Self {
        let short = name.split('.').next().unwrap_or_default();
        let places = [name, short].map(read_host);
        let mut names = Self::default();
        for place in places.into_iter().flatten() {
            names.add(place);
        }
        names
    }

    /// Adds `host` to the names.
    #[must_use]
    pub fn and(mut self, host: &Host) -> Self {
        if let Some(place) = read_host(&host.to_string()) {
            self.add(place);
        }
        self
    }

    fn add(&mut self, place: HostForm) {
        if !self.0.contains(&place) {
            self.0.push(place);
        }
    }

    fn contain(&self, place: &HostForm) -> bool {
        let is_loopback = match place {
            HostForm::Ip(ip) => ip.is_loopback(),
            HostForm::Name(name) => {
                LOOPBACK_NAMES.contains(&name.as_str()) || name.ends_with(".localhost")
            }
        };
        is_loopback || self.0.contains(place)
    }
}

impl Page {
    /// Judges the values of `Origin` by the host that the request names.
    fn of(origin: Values<'_>, host: Option<&str>) -> Self {
        if let Values::None = origin {
            return Self::Unsaid;
        }
        let same = origin.text().zip(host).is_some_and(|(origin, host)| {
            let Some((scheme, authority)) = origin.split_once("://") else {
                return false;
            };
            let usual = match scheme.to_ascii_lowercase().as_str() {
                "http" => 80,
                "https" => 443,
                _ => return false,
            };
            let whole = |text| read(text).map(|(place, port)| (place, port.unwrap_or(usual)));
            whole(authority).is_some_and(|page| whole(host) == Some(page))
        });
        if same { Self::Ours } else { Self::Foreign }
    }
}

impl<'a> Values<'a> {
    fn add(&mut self, value: &'a [u8]) {
        *self = match self {
            Self::None => Self::One(value),
            Self::One(_) | Self::Several => Self::Several,
        };
    }

    /// The only value, if it is text.
    fn text(self) -> Option<&'a str> {
        match self {
            Self::One(value) => std::str::from_utf8(value).ok().map(str::trim),
            Self::None | Self::Several => None,
        }
    }

    fn is(self, word: &str) -> bool {
        self.text()
            .is_some_and(|text| text.eq_ignore_ascii_case(word))
    }
}

/// Whether only proxies add a header of this name.
fn tells_of_a_proxy(name: &str) -> bool {
    let starts_so = name
        .get(..FORWARDED_PREFIX.len())
        .is_some_and(|start| start.eq_ignore_ascii_case(FORWARDED_PREFIX));
    starts_so
        || ["forwarded", "via", "x-real-ip"]
            .iter()
            .any(|known| name.eq_ignore_ascii_case(known))
}

/// Reads `host[:port]`; `None` for anything else. The port may be empty (RFC 3986 §3.2.3).
fn read(text: &str) -> Option<(HostForm, Option<u16>)> {
    let end = match text.strip_prefix('[') {
        Some(rest) => rest.find(']')? + 2,
        None => text.find(':').unwrap_or(text.len()),
    };
    let (host, rest) = text.split_at_checked(end)?;
    let port = match rest.strip_prefix(':') {
        None if rest.is_empty() => None,
        None => return None,
        Some("") => None,
        Some(digits) if digits.bytes().all(|byte| byte.is_ascii_digit()) => {
            Some(digits.parse().ok()?)
        }
        Some(_) => return None,
    };
    Some((read_host(host)?, port))
}

fn read_host(text: &str) -> Option<HostForm> {
    if let Some(inside) = text.strip_prefix('[') {
        let ip: Ipv6Addr = inside.strip_suffix(']')?.parse().ok()?;
        return Some(HostForm::Ip(IpAddr::V6(ip).to_canonical()));
    }
    if let Ok(ip) = text.parse::<IpAddr>() {
        return Some(HostForm::Ip(ip.to_canonical()));
    }
    let name = text.strip_suffix('.').unwrap_or(text);
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
    let is_name = !name.is_empty() && name.bytes().all(fits);
    is_name.then(|| HostForm::Name(name.to_ascii_lowercase()))
}

/// A header that our own programs send. Browsers let no page send it to another site unless that site agrees.
pub const PROGRAM: &str = "x-sluicegate";
const FORWARDED_PREFIX: &str = "x-forwarded-";
/// The names of loopback in the hosts files of common systems. Nobody can register one of these: `localhost` is
/// reserved (RFC 6761 §6.3), `localdomain` is not a top-level domain, and the others have no dot.
const LOOPBACK_NAMES: [&str; 8] = [
    "ip6-localhost",
    "ip6-loopback",
    "localhost",
    "localhost.localdomain",
    "localhost4",
    "localhost4.localdomain4",
    "localhost6",
    "localhost6.localdomain6",
];

#[cfg(test)]
mod tests {
    use super::Unwelcome::{OtherName, OtherSite, Plain};
    use super::*;

    /// A surface that gives rights by address if no credential is sent.
    const OPEN: Terms = Terms {
        is_proven: false,
        goes_by_address: true,
        starts_work: false,
        opens_to_pages: false,
    };
    const PROVEN: Terms = Terms {
        is_proven: true,
        ..OPEN
    };

    fn caller(peer: &str, headers: &[(&str, &str)]) -> Caller {
        let headers = headers
            .iter()
            .map(|(name, value)| (*name, value.as_bytes()));
        let names = OwnNames::of("Studio-1.example.net").and(&"proxy.lan".parse().unwrap());
        Caller::of(peer.parse().unwrap(), None, headers, &names)
    }

    #[test]
    fn names_by_which_a_caller_on_this_machine_may_ask_for_it() {
        let here = ["127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1"];
        for (cause, host, expected) in [
            ("an address", "127.0.0.1:12025", Ok(())),
            ("the usual port", "127.0.0.1", Ok(())),
            ("an empty port", "127.0.0.1:", Ok(())),
            ("all of 127/8 is loopback", "127.3.4.5:1", Ok(())),
            ("IPv6", "[::1]:12025", Ok(())),
            ("IPv6 without a port", "[::1]", Ok(())),
            ("IPv6, written out", "[0:0:0:0:0:0:0:1]:12025", Ok(())),
            ("IPv4 in IPv6", "[::ffff:127.0.0.1]:12025", Ok(())),
            ("a name", "localhost:12025", Ok(())),
            ("in capitals", "LocalHost:12025", Ok(())),
            ("with the root's dot", "localhost.:12025", Ok(())),
            ("beneath localhost", "console.localhost:12025", Ok(())),
            ("as Red Hat has it", "localhost.localdomain:12025", Ok(())),
            ("as Debian has it", "ip6-localhost:12025", Ok(())),
            ("a forwarded port", "localhost:40123", Ok(())),
            ("the machine's name", "studio-1.example.net:12025", Ok(())),
            ("its first label", "STUDIO-1:12025", Ok(())),
            ("what it advertises", "proxy.lan:12025", Ok(())),
            ("a foreign name", "evil.example:12025", Err(OtherName)),
            ("dressed up", "localhost.evil.example", Err(OtherName)),
            ("no label of ours", "evil-localhost", Err(OtherName)),
            (
                "an address as a name",
                "127.0.0.1.evil.example",
                Err(OtherName),
            ),
            ("two dots", "localhost..:12025", Err(OtherName)),
            (
                "our label elsewhere",
                "studio-1.evil.example",
                Err(OtherName),
            ),
            ("another address", "192.0.2.7:12025", Err(OtherName)),
            ("no address", "0.0.0.0:12025", Err(OtherName)),
            ("IPv6 of others", "[2001:db8::1]:12025", Err(OtherName)),
            ("IPv6 with a zone", "[::1%25lo]:12025", Err(OtherName)),
            ("not closed", "[::1:12025", Err(OtherName)),
            ("more after it", "[::1]x:12025", Err(OtherName)),
            ("an abbreviation", "127.1:12025", Err(OtherName)),
            ("a number", "2130706433:12025", Err(OtherName)),
            ("a user", "localhost@evil.example", Err(OtherName)),
            ("a port in words", "localhost:http", Err(OtherName)),
            ("a port too high", "localhost:65536", Err(OtherName)),
            ("a path", "localhost/x", Err(OtherName)),
            ("empty", "", Err(OtherName)),
        ] {
            for peer in here {
                let caller = caller(peer, &[("Host", host)]);
                assert_eq!(caller.check(OPEN), expected, "{cause}: {host} from {peer}");
                assert_eq!(caller.check(PROVEN), Ok(()), "a token opens: {host}");
                let token = Terms {
                    goes_by_address: false,
                    ..OPEN
                };
                assert_eq!(caller.check(token), Ok(()), "no right goes by address");
            }
            let elsewhere = caller("192.0.2.9", &[("Host", host)]);
            assert_eq!(elsewhere.check(OPEN), Ok(()), "not from here: {host}");
        }
        let ask = |headers: &[(&str, &str)]| caller("127.0.0.1", headers).check(OPEN);
        assert_eq!(ask(&[]), Ok(()), "HTTP/1.0 names none");
        let twice = [("Host", "localhost"), ("host", "localhost")];
        assert_eq!(ask(&twice), Err(OtherName), "two are one too many");
    }

    #[test]
    fn a_target_in_absolute_form_names_a_host_too() {
        for (authority, expected) in [
            ("localhost:12025", Ok(())),
            ("evil.example:12025", Err(OtherName)),
        ] {
            let host: [(&str, &[u8]); 1] = [("host", b"localhost:12025")];
            let peer = "127.0.0.1".parse().unwrap();
            let caller = Caller::of(peer, Some(authority), host, &OwnNames::default());
            assert_eq!(caller.check(OPEN), expected, "{authority}");
        }
        let host: [(&str, &[u8]); 1] = [("host", b"caf\xe9")];
        let peer = "127.0.0.1".parse().unwrap();
        let caller = Caller::of(peer, None, host, &OwnNames::default());
        assert_eq!(caller.check(OPEN), Err(OtherName), "not UTF-8");
    }

    #[test]
    fn pages_of_other_sites_are_refused_wherever_the_browser_is() {
        for (cause, host, origin, expected) in [
            (
                "our own page",
                "127.0.0.1:12025",
                "http://127.0.0.1:12025",
                Ok(()),
            ),
            (
                "in capitals",
                "localhost:12025",
                "HTTP://LOCALHOST:12025",
                Ok(()),
            ),
            ("the usual port", "localhost", "http://localhost:80", Ok(())),
            ("a proxy ends TLS", "localhost", "https://localhost", Ok(())),
            (
                "IPv6, written out",
                "[::1]:12025",
                "http://[0:0:0:0:0:0:0:1]:12025",
                Ok(()),
            ),
            (
                "another site",
                "localhost:12025",
                "https://evil.example",
                Err(OtherSite),
            ),
            (
                "another port",
                "localhost:12025",
                "http://localhost:8080",
                Err(OtherSite),
            ),
            (
                "no port is another",
                "localhost:12025",
                "http://localhost",
                Err(OtherSite),
            ),
            (
                "another name of ours",
                "localhost:12025",
                "http://127.0.0.1:12025",
                Err(OtherSite),
            ),
            (
                "a page that hides",
                "localhost:12025",
                "null",
                Err(OtherSite),
            ),
            (
                "an extension",
                "localhost:12025",
                "chrome-extension://abc",
                Err(OtherSite),
            ),
            (
                "another scheme",
                "localhost:12025",
                "ftp://localhost:12025",
                Err(OtherSite),
            ),
            ("empty", "localhost:12025", "", Err(OtherSite)),
            (
                "two in one",
                "localhost:12025",
                "http://localhost:12025 http://evil.example",
                Err(OtherSite),
            ),
        ] {
            for peer in ["127.0.0.1", "192.0.2.9"] {
                let caller = caller(peer, &[("Host", host), ("Origin", origin)]);
                assert_eq!(caller.check(OPEN), expected, "{cause}");
                assert_eq!(caller.check(PROVEN), expected, "{cause}, with a token");
                let pages = Terms {
                    opens_to_pages: true,
                    ..PROVEN
                };
                assert_eq!(caller.check(pages), Ok(()), "{cause}, where pages may");
                let pages = Terms {
                    opens_to_pages: true,
                    ..OPEN
                };
                assert_eq!(caller.check(pages), expected, "{cause}, unproven");
            }
        }
        let ask = |headers: &[(&str, &str)]| caller("127.0.0.1", headers).check(OPEN);
        let ours = "http://localhost:12025";
        assert_eq!(ask(&[("Origin", ours)]), Err(OtherSite), "no Host");
        let host = ("Host", "localhost:12025");
        let twice = [host, ("Origin", ours), ("Origin", "http://evil.example")];
        assert_eq!(ask(&twice), Err(OtherSite), "two of them");
        let rebound = [
            ("Host", "evil.example:12025"),
            ("Origin", "http://evil.example:12025"),
        ];
        assert_eq!(
            ask(&rebound),
            Err(OtherName),
            "to the browser it is our page"
        );
    }

    #[test]
    fn what_the_browser_says_of_the_page_counts_besides() {
        for (cause, site, mode, destination, expected) in [
            ("an address bar", "none", "navigate", "document", Ok(())),
            ("our own page", "same-origin", "cors", "empty", Ok(())),
            ("a port of ours", "same-site", "no-cors", "image", Ok(())),
            (
                "a link of another site",
                "cross-site",
                "navigate",
                "document",
                Ok(()),
            ),
            (
                "a frame",
                "cross-site",
                "navigate",
                "iframe",
                Err(OtherSite),
            ),
            ("an image", "cross-site", "no-cors", "image", Err(OtherSite)),
            (
                "a script",
                "cross-site",
                "no-cors",
                "script",
                Err(OtherSite),
            ),
        ] {
            let headers = [
                ("Host", "localhost:12025"),
                ("Sec-Fetch-Site", site),
                ("Sec-Fetch-Mode", mode),
                ("Sec-Fetch-Dest", destination),
            ];
            let caller = caller("127.0.0.1", &headers);
            assert_eq!(caller.check(OPEN), expected, "{cause}");
            assert_eq!(caller.check(PROVEN), Ok(()), "{cause}, with a token");
        }
    }

    #[test]
    fn work_is_started_by_those_who_show_that_they_are_no_page() {
        let work = Terms {
            starts_work: true,
            ..OPEN
        };
        let plain = caller("127.0.0.1", &[("Host", "localhost")]);
        assert_eq!(plain.check(OPEN), Ok(()));
        assert_eq!(plain.check(work), Err(Plain));
        let proven = Terms {
            is_proven: true,
            ..work
        };
        assert_eq!(plain.check(proven), Ok(()));
        let program = [("Host", "localhost"), ("X-Sluicegate", "1")];
        assert_eq!(caller("127.0.0.1", &program).check(work), Ok(()));
        let rebound = [("Host", "evil.example"), ("X-Sluicegate", "1")];
        assert_eq!(caller("127.0.0.1", &rebound).check(work), Err(OtherName));
    }

    #[test]
    fn rights_of_this_machine_do_not_travel() {
        for (cause, peer, header, expected) in [
            ("here", "127.0.0.1", None, Some("127.0.0.1")),
            ("here, IPv6", "::1", None, Some("::1")),
            ("here, mapped", "::ffff:127.0.0.1", None, Some("127.0.0.1")),
            ("elsewhere", "192.0.2.9", None, Some("192.0.2.9")),
            ("a proxy here", "127.0.0.1", Some("X-Forwarded-For"), None),
            ("in capitals", "::1", Some("X-FORWARDED-PROTO"), None),
            (
                "of its own making",
                "127.0.0.1",
                Some("X-Forwarded-Whatever"),
                None,
            ),
            ("RFC 7239", "127.0.0.1", Some("Forwarded"), None),
            ("RFC 9110", "127.0.0.1", Some("Via"), None),
            ("nginx", "127.0.0.1", Some("X-Real-IP"), None),
            (
                "another header",
                "127.0.0.1",
                Some("X-Forward"),
                Some("127.0.0.1"),
            ),
            (
                "a proxy elsewhere",
                "192.0.2.9",
                Some("X-Forwarded-For"),
                Some("192.0.2.9"),
            ),
        ] {
            // Whatever the header says, even that the client is on this machine.
            let headers = header.map(|name| (name, "127.0.0.1"));
            let caller = caller(peer, headers.as_slice());
            let expected: Option<IpAddr> = expected.map(|address| address.parse().unwrap());
            assert_eq!(caller.address(), expected, "{cause}");
            let local = expected.is_some_and(|address| address.is_loopback());
            assert_eq!(caller.is_local(), local, "{cause}");
        }
        let passed_on = [("Host", "evil.example"), ("X-Forwarded-For", "192.0.2.1")];
        assert_eq!(
            caller("127.0.0.1", &passed_on).check(OPEN),
            Err(OtherName),
            "a page of a foreign name can say that it was passed on"
        );
    }

    #[test]
    fn statuses() {
        for (refusal, status) in [(OtherName, 421), (OtherSite, 403), (Plain, 403)] {
            assert_eq!(refusal.status(), status);
        }
    }

    #[test]
    fn a_proxy_protocol_header_gives_no_right_that_its_sender_lacks() {
        let lists = |ip: IpAddr| match ip {
            IpAddr::V4(v4) => matches!(v4.octets()[0], 10 | 127),
            IpAddr::V6(_) => false,
        };
        for (cause, peer, client, listed, local) in [
            ("a listed peer", "10.0.0.5", None, true, false),
            ("this machine", "127.0.0.1", None, true, true),
            ("both listed", "10.0.0.9", Some("10.0.0.5"), true, false),
            (
                "a balancer here",
                "127.0.0.1",
                Some("10.0.0.5"),
                true,
                false,
            ),
            ("a stranger", "10.0.0.9", Some("192.0.2.1"), false, false),
            ("by a stranger", "192.0.2.1", Some("10.0.0.5"), false, false),
            ("its loopback", "10.0.0.9", Some("127.0.0.1"), false, false),
            (
                "it names nobody",
                "127.0.0.1",
                Some("127.0.0.1"),
                false,
                false,
            ),
        ] {
            let direct = caller(peer, &[("Host", "example.com")]);
            let caller = client.map_or(direct, |client| {
                direct.behind_header(client.parse().unwrap())
            });
            assert_eq!(caller.is_in(lists), listed, "{cause}");
            assert_eq!(caller.is_local(), local, "{cause}");
            let refused = local.then_some(OtherName);
            assert_eq!(caller.check(OPEN).err(), refused, "{cause}");
        }
    }
}
