//! Session descriptions (RFC 8866), line by line: the addresses in them become ours, and no other byte changes.
//!
//! A client's addresses must never reach an origin, or media would go around us; an origin's must never reach a client.
//! The danger is a line that another parser reads and we do not, so a text is refused when another parser might see
//! more lines in it than we do.

use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

/// How a description begins (RFC 8866 §5.1).
pub const BEGINNING: &[u8] = b"v=0";

/// A description with its addresses replaced.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rewritten {
    /// The description to send on.
    pub sdp: String,
    /// The ICE credentials of each media section, in order. Credentials before the first section apply to sections
    /// without their own.
    pub credentials: Vec<Option<Credentials>>,
}

/// The name of an ICE agent, and the password that signs checks sent to it (RFC 8839 §5.4).
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    /// `ice-ufrag`.
    pub fragment: String,
    /// `ice-pwd`.
    pub password: String,
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Credentials")
            .field("fragment", &self.fragment)
            .finish_non_exhaustive()
    }
}

/// How the checks of one transport are recognised.
#[derive(Clone, PartialEq, Eq)]
pub struct Check {
    /// The USERNAME of the client's requests: the origin's fragment, a colon, and the client's fragment.
    pub username: String,
    /// The origin's password, which signs the requests.
    pub password: String,
}

impl std::fmt::Debug for Check {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Check")
            .field("username", &self.username)
            .finish_non_exhaustive()
    }
}

/// Where clients find us.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Announced {
    /// Our public addresses, preferred ones first. There is at least one.
    pub addresses: Vec<SocketAddr>,
    /// Whether the same addresses serve ICE over TCP.
    pub tcp: bool,
}

/// Why a description is refused. No variant repeats the text of the description.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SdpError {
    /// It holds a control character, or a line end other than LF and CR LF.
    #[error("it holds a control character or an unusual line end")]
    ControlCharacter,
    /// A line is not a letter, `=` and a value.
    #[error("a line is not of the form letter=value")]
    Line,
    /// There is no media section, or ICE credentials are missing where they are needed.
    #[error("it has no media section with ice-ufrag and ice-pwd")]
    NoCredentials,
    /// It is not UTF-8.
    #[error("it is not UTF-8 text")]
    NotText,
    /// A fragment or a password does not have the form that ICE requires.
    #[error(
        "an ice-ufrag or ice-pwd is too short, too long, or holds other than printable characters"
    )]
    Secret,
    /// There are more of something than allowed.
    #[error("it has more than {limit} {what}")]
    TooMany {
        /// Of what there are too many: `bytes`, `candidates` or `media sections`.
        what: &'static str,
        /// The limit.
        limit: usize,
    },
    /// It does not start like a description.
    #[error("it does not start with v=0")]
    Version,
}

/// Rewrites a client's offer: its candidates are removed, and addresses elsewhere are replaced by one that says
/// nothing. Each section gets one candidate that leads to the origin itself, since some stacks (aioice is one) give up
/// at once without any.
///
/// # Errors
/// [`SdpError`], for what no origin should have to read.
pub fn offer(text: &[u8]) -> Result<Rewritten, SdpError> {
    let mut rewriter = Rewriter::new(text, Side::Client { placeholder: true })?;
    rewriter.whole()
}

/// Rewrites an origin's answer: its host candidates become ours, others are removed, and no address of its network is
/// left.
///
/// # Errors
/// [`SdpError`], for what no client could use.
pub fn answer(text: &[u8], announced: &Announced) -> Result<Rewritten, SdpError> {
    let mut rewriter = Rewriter::new(text, Side::Origin(announced))?;
    rewriter.whole()
}

/// Rewrites what a client adds to its offer (RFC 8840 §9): its candidates are removed.
///
/// # Errors
/// [`SdpError`], as for an offer, except that nothing is required.
pub fn client_fragment(text: &[u8]) -> Result<Rewritten, SdpError> {
    Rewriter::new(text, Side::Client { placeholder: false })?.lines()
}

/// Rewrites an origin's answer to such an addition, for example after an ICE restart.
///
/// # Errors
/// [`SdpError`], as for an answer, except that nothing is required.
pub fn origin_fragment(text: &[u8], announced: &Announced) -> Result<Rewritten, SdpError> {
    Rewriter::new(text, Side::Origin(announced))?.lines()
}

/// The checks that a client will send after this `offer` and `answer`, one for each transport.
///
/// # Errors
/// [`SdpError::NoCredentials`] when no section has credentials on both sides, [`SdpError::TooMany`] when there are more
/// than [`MAX_TRANSPORTS`].
pub fn checks(
    offer: &[Option<Credentials>],
    answer: &[Option<Credentials>],
) -> Result<Vec<Check>, SdpError> {
    let mut checks: Vec<Check> = Vec::new();
    for (client, origin) in offer.iter().zip(answer) {
        let (Some(client), Some(origin)) = (client, origin) else {
            continue;
        };
        let check = Check {
            username: format!("{}:{}", origin.fragment, client.fragment),
            password: origin.password.clone(),
        };
        if !checks.contains(&check) {
            checks.push(check);
        }
    }
    if checks.is_empty() {
        return Err(SdpError::NoCredentials);
    }
    within("transports", checks.len(), MAX_TRANSPORTS)?;
    Ok(checks)
}

/// The side that wrote the description.
#[derive(Clone, Copy)]
enum Side<'a> {
    Client { placeholder: bool },
    Origin(&'a Announced),
}

/// One pass over the lines of a description.
struct Rewriter<'a> {
    text: &'a str,
    side: Side<'a>,
    out: String,
    /// What was found, first for the session, then for each section.
    found: Vec<Found>,
    candidates: usize,
}

#[derive(Default)]
struct Found {
    fragment: Option<String>,
    password: Option<String>,
    /// Whether the answerer rejected the section (RFC 8829 §5.3.1).
    rejected: bool,
    /// Whether our candidates are already in the section.
    announced: bool,
}

impl<'a> Rewriter<'a> {
    fn new(text: &'a [u8], side: Side<'a>) -> Result<Self, SdpError> {
        within("bytes", text.len(), MAX_SDP)?;
        let text = str::from_utf8(text).map_err(|_| SdpError::NotText)?;
        Ok(Self {
            text,
            side,
            out: String::with_capacity(text.len() + SPARE),
            found: vec![Found::default()],
            candidates: 0,
        })
    }

    /// Rewrites a whole description.
    fn whole(&mut self) -> Result<Rewritten, SdpError> {
        if !matches!(self.text.lines().next(), Some("v=0")) {
            return Err(SdpError::Version);
        }
        let rewritten = self.lines()?;
        if self.found.len() < 2 || rewritten.credentials.iter().all(Option::is_none) {
            return Err(SdpError::NoCredentials);
        }
        Ok(rewritten)
    }

    fn lines(&mut self) -> Result<Rewritten, SdpError> {
        // If the origin names no address at all, its first section gets ours.
        let silent = !self
            .text
            .lines()
            .any(|line| attribute(line, "candidate").is_some());
        for line in self.text.split_inclusive('\n') {
            let (line, end) = split_end(line);
            check(line)?;
            self.line(line, end, silent)?;
        }
        Ok(Rewritten {
            sdp: std::mem::take(&mut self.out),
            credentials: self.credentials()?,
        })
    }

    fn line(&mut self, line: &str, end: &str, silent: bool) -> Result<(), SdpError> {
        if line.starts_with("m=") {
            within("media sections", self.found.len(), MAX_SECTIONS)?;
            let rejected = port_of(line) == Some("0");
            self.found.push(Found {
                rejected,
                ..Found::default()
            });
            self.media(line);
            self.out.push_str(end);
            return Ok(());
        }
        if line.starts_with("a=") {
            self.before_attributes(end, silent);
        }
        if attribute(line, "candidate").is_some() {
            self.candidates += 1;
            within("candidates", self.candidates, MAX_CANDIDATES)?;
            self.announce(end);
            return Ok(());
        }
        if attribute(line, "remote-candidates").is_some() {
            return Ok(());
        }
        if let Some(section) = self.found.last_mut() {
            if let Some(value) = attribute(line, "ice-ufrag") {
                section.fragment = Some(secret(value, 1)?);
            } else if let Some(value) = attribute(line, "ice-pwd") {
                section.password = Some(secret(value, MIN_PASSWORD)?);
            }
        }
        match line.as_bytes() {
            [b'c', b'=', ..] => self.address(line, 2),
            [b'o', b'=', ..] if matches!(self.side, Side::Origin(_)) => self.address(line, 5),
            _ if attribute(line, "rtcp").is_some() => self.rtcp(line),
            _ => self.out.push_str(line),
        }
        self.out.push_str(end);
        Ok(())
    }

    /// Writes what has to precede the first attribute of a section.
    fn before_attributes(&mut self, end: &str, silent: bool) {
        match self.side {
            Side::Client { placeholder: true } if self.found.len() > 1 => self.announce(end),
            Side::Origin(_) if silent && self.found.len() > 1 => {
                if !self.found.iter().any(|section| section.announced) {
                    self.announce(end);
                }
            }
            Side::Client { .. } | Side::Origin(_) => {}
        }
    }

    /// Writes the candidates of a section, once.
    fn announce(&mut self, end: &str) {
        let Some(section) = self.found.last_mut() else {
            return;
        };
        if section.announced || section.rejected {
            return;
        }
        section.announced = true;
        let end = if end.is_empty() { "\r\n" } else { end };
        match self.side {
            Side::Client { placeholder: true } => {
                self.out.push_str(PLACEHOLDER);
                self.out.push_str(end);
            }
            Side::Client { placeholder: false } => {}
            Side::Origin(announced) => write_candidates(&mut self.out, announced, end),
        }
    }

    /// Rewrites `m=video 9 UDP/TLS/RTP/SAVPF 96`: a port that belongs to an address becomes ours, or the port that
    /// means none.
    fn media(&mut self, line: &str) {
        let port = match (port_of(line), self.side) {
            (None | Some("0" | "9"), _) => return self.out.push_str(line),
            (Some(_), Side::Client { .. }) => NO_PORT,
            (Some(_), Side::Origin(announced)) => announced.first().port(),
        };
        let mut words = line.split(' ');
        self.out.push_str(words.next().unwrap_or_default());
        let _ = write!(self.out, " {port}");
        for word in words.skip(1) {
            self.out.push(' ');
            self.out.push_str(word);
        }
    }

    /// Rewrites a line whose word at `index` is an address, after its network and its kind: `c=IN IP4 10.0.0.1`.
    fn address(&mut self, line: &str, index: usize) {
        let words: Vec<&str> = line.split(' ').collect();
        let says_nothing = words
            .get(index)
            .is_none_or(|word| *word == "0.0.0.0" || *word == "::");
        if says_nothing && words.len() == index + 1 {
            return self.out.push_str(line);
        }
        match (index, words.as_slice()) {
            (5, [user, session, version, _, _, _, ..]) => {
                let _ = write!(self.out, "{user} {session} {version} ");
            }
            (5, _) => self.out.push_str("o=- 0 0 "),
            _ => self.out.push_str("c="),
        }
        let ip = self.shown();
        let kind = if ip.is_ipv4() { "IP4" } else { "IP6" };
        let _ = write!(self.out, "IN {kind} {ip}");
    }

    /// Rewrites `a=rtcp:9 IN IP4 10.0.0.1` (RFC 3605); the address may be missing.
    fn rtcp(&mut self, line: &str) {
        let port = match self.side {
            Side::Client { .. } => NO_PORT,
            Side::Origin(announced) => announced.first().port(),
        };
        let value = attribute(line, "rtcp").unwrap_or_default();
        if value == "9" || value == "9 IN IP4 0.0.0.0" || value == "9 IN IP6 ::" {
            return self.out.push_str(line);
        }
        let ip = self.shown();
        let kind = if ip.is_ipv4() { "IP4" } else { "IP6" };
        let _ = write!(self.out, "a=rtcp:{port} IN {kind} {ip}");
    }

    /// The address that is shown in place of a real one.
    fn shown(&self) -> IpAddr {
        match self.side {
            Side::Client { .. } => Ipv4Addr::UNSPECIFIED.into(),
            Side::Origin(announced) => announced.first().ip(),
        }
    }

    fn credentials(&self) -> Result<Vec<Option<Credentials>>, SdpError> {
        let Some((session, sections)) = self.found.split_first() else {
            return Ok(Vec::new());
        };
        let of = |section: &Found| {
            let fragment = section.fragment.as_ref().or(session.fragment.as_ref());
            let password = section.password.as_ref().or(session.password.as_ref());
            match (fragment, password) {
                (Some(fragment), Some(password)) => Some(Credentials {
                    fragment: fragment.clone(),
                    password: password.clone(),
                }),
                _ => None,
            }
        };
        // A fragment may have no section at all.
        if sections.is_empty() {
            return Ok(vec![of(session)]);
        }
        Ok(sections.iter().map(of).collect())
    }
}

impl Announced {
    fn first(&self) -> SocketAddr {
        self.addresses
            .first()
            .copied()
            .unwrap_or_else(|| SocketAddr::from((Ipv4Addr::UNSPECIFIED, NO_PORT)))
    }
}

/// Writes our candidates (RFC 8839 §5.1, RFC 6544 §4.5): UDP first, TCP with a lower priority.
fn write_candidates(out: &mut String, announced: &Announced, end: &str) {
    let mut number = 0;
    for (address, rank) in announced.addresses.iter().zip((0..=u16::MAX).rev()) {
        number += 1;
        let priority = priority(UDP_PREFERENCE, rank);
        let (ip, port) = (address.ip(), address.port());
        let _ = write!(
            out,
            "a=candidate:{number} 1 udp {priority} {ip} {port} typ host{end}"
        );
    }
    if !announced.tcp {
        return;
    }
    for (address, rank) in announced.addresses.iter().zip((0..=u16::MAX).rev()) {
        number += 1;
        let priority = priority(TCP_PREFERENCE, rank);
        let (ip, port) = (address.ip(), address.port());
        let _ = write!(
            out,
            "a=candidate:{number} 1 tcp {priority} {ip} {port} typ host tcptype passive{end}"
        );
    }
}

/// The priority of a candidate for the first component (RFC 8445 §5.1.2.1).
fn priority(preference: u32, rank: u16) -> u32 {
    (preference << 24) + (u32::from(rank) << 8) + 255
}

/// A line without its line end, and the line end.
fn split_end(line: &str) -> (&str, &str) {
    let content = line.strip_suffix('\n').unwrap_or(line);
    let content = content.strip_suffix('\r').unwrap_or(content);
    line.split_at_checked(content.len()).unwrap_or((line, ""))
}

/// Refuses a line that another parser might split differently.
fn check(line: &str) -> Result<(), SdpError> {
    let strange = |c: char| (c.is_control() && c != '\t') || matches!(c, '\u{2028}' | '\u{2029}');
    if line.contains(strange) {
        return Err(SdpError::ControlCharacter);
    }
    match line.as_bytes() {
        [] => Ok(()),
        [b'a'..=b'z', b'=', ..] => Ok(()),
        _ => Err(SdpError::Line),
    }
}

/// The value of `a=name:value`. White space and case do not hide a name.
fn attribute<'a>(line: &'a str, name: &str) -> Option<&'a str> {
    let (found, value) = line.strip_prefix("a=")?.split_once(':')?;
    found.trim().eq_ignore_ascii_case(name).then_some(value)
}

/// The port of an `m=` line.
fn port_of(line: &str) -> Option<&str> {
    line.split(' ').nth(1)
}

/// Reads a fragment or a password (RFC 8839 §5.4). Most characters are tolerated; a colon would end a fragment early.
fn secret(value: &str, least: usize) -> Result<String, SdpError> {
    let value = value.trim();
    let fits = (least..=MAX_SECRET).contains(&value.len());
    if !fits || !value.bytes().all(|b| b.is_ascii_graphic() && b != b':') {
        return Err(SdpError::Secret);
    }
    Ok(value.to_owned())
}

const fn within(what: &'static str, count: usize, limit: usize) -> Result<(), SdpError> {
    if count > limit {
        return Err(SdpError::TooMany { what, limit });
    }
    Ok(())
}

/// Maximum bytes of a description: a browser's offer with every codec has ten to twenty thousand.
pub const MAX_SDP: usize = 128 * 1024;

/// Maximum candidates in a description: a machine with many interfaces and TURN servers has a few dozen per section.
pub const MAX_CANDIDATES: usize = 512;

/// Maximum media sections: an ordinary call has two.
pub const MAX_SECTIONS: usize = 32;

/// Maximum transports that are not bundled: each costs a flow.
pub const MAX_TRANSPORTS: usize = 4;

/// Maximum characters of an `ice-ufrag` or `ice-pwd` (RFC 8839 §5.4).
const MAX_SECRET: usize = 256;

/// Minimum characters of an `ice-pwd`: 128 bits of randomness (RFC 8839 §5.4).
const MIN_PASSWORD: usize = 22;

/// Bytes by which a rewritten description may grow without a new allocation.
const SPARE: usize = 512;

/// The port that means none (RFC 8840 §4.1.1).
const NO_PORT: u16 = 9;

/// A candidate that leads the origin to itself, to the discard port. The origin replaces it with what it learns from
/// our first check (a peer-reflexive candidate, RFC 8445 §7.3.1.3).
const PLACEHOLDER: &str = "a=candidate:1 1 udp 1 127.0.0.1 9 typ host";

/// Type preferences (RFC 8445 §5.1.2.2, RFC 6544 §4.2): host, and host over TCP.
const UDP_PREFERENCE: u32 = 126;
const TCP_PREFERENCE: u32 = 90;
