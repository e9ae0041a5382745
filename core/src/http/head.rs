//! The head of an HTTP/1 request or response (RFC 9112), for a relay that forwards it.
//!
//! A request is read strictly. Where two servers are known to read the same bytes differently (line ends, folded lines,
//! lengths, `Host`), it is refused, so that the origin serves what we placed. A response comes from an origin that we
//! chose; it is read with tolerance and written cleanly.

use std::net::IpAddr;

use super::base::FORWARDED_PREFIX;
use crate::access::credentials::Credentials;
use crate::access::question::UsedHeader;

/// The head of a request, with its target in origin form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestHead {
    /// The method, a token such as `GET`.
    pub method: String,
    /// The target. It starts with `/` and includes the query, exactly as sent; or it is `*`, for `OPTIONS`.
    pub target: String,
    /// The client's version of HTTP.
    pub version: Version,
    /// The header fields in the order sent.
    pub headers: Headers,
}

impl RequestHead {
    /// Reads a head from the front of `input`. Returns the head and how many bytes it took, or `None` if it is not
    /// complete yet. An error is final, whatever bytes follow.
    ///
    /// A target in absolute form is turned into origin form, and its authority becomes the `Host` (RFC 9112 §3.2.2).
    pub fn parse(input: &[u8]) -> Result<Option<(Self, usize)>, HeadError> {
        let Some(length) = head_length(input, LineEnds::Strict)? else {
            return Ok(None);
        };
        let text = input.get(..length).unwrap_or_default();
        let mut lines = text.split(|byte| *byte == b'\n').map(without_return);
        // A client may send an empty line before its request (RFC 9112 §2.2).
        let first = lines.by_ref().find(|line| !line.is_empty());
        let (method, target, version) = request_line(first.unwrap_or_default())?;
        let mut headers = Headers::default();
        for line in lines.take_while(|line| !line.is_empty()) {
            if line.starts_with(b" ") || line.starts_with(b"\t") {
                return Err(HeadError::Folded);
            }
            let (name, value) = line.split_once_at(b':').ok_or(HeadError::Header)?;
            headers.add(name, value)?;
        }
        let mut head = Self {
            method: method.to_owned(),
            target: target.to_owned(),
            version,
            headers,
        };
        head.check_host()?;
        head.check_target()?;
        head.check_length()?;
        Ok(Some((head, length)))
    }

    /// Appends the head, including its empty line.
    pub fn write(&self, out: &mut Vec<u8>) {
        self.write_as(&self.target, self.version, out);
    }

    /// Appends the head with another target and version, including its empty line.
    pub fn write_as(&self, target: &str, version: Version, out: &mut Vec<u8>) {
        for text in [
            self.method.as_str(),
            " ",
            target,
            " ",
            version.as_str(),
            "\r\n",
        ] {
            out.extend_from_slice(text.as_bytes());
        }
        self.headers.write(out);
    }

    /// The `Host` header; absent only in HTTP/1.0.
    pub fn host(&self) -> Option<&str> {
        self.headers.text("host")
    }

    /// How the body after this head is framed.
    pub fn body(&self) -> Body {
        if self.headers.contains("transfer-encoding") {
            return Body::Chunked;
        }
        match self.headers.text("content-length").and_then(length_number) {
            None | Some(0) => Body::None,
            Some(length) => Body::Length(length),
        }
    }

    /// Whether the client asks to switch to WebSocket (RFC 6455 §4.1).
    pub fn is_websocket(&self) -> bool {
        self.version == Version::Http11
            && self.method == "GET"
            && self.headers.has_token("connection", "upgrade")
            && self.headers.has_token("upgrade", "websocket")
    }

    /// This head as it goes to an origin, on a connection that is used once.
    ///
    /// The request line, `Host` and every end-to-end header stay unchanged. Headers of a single connection (RFC 9110
    /// §7.6.1) are dropped, except for a WebSocket upgrade. `X-Forwarded-For`, `-Proto` and `-Host` name the client:
    /// what a trusted proxy wrote is kept and extended, and what anyone else wrote is replaced. `X-Forwarded-Prefix` ends
    /// here: links get the prefix on their way back, and an origin that knew it would write it twice.
    pub fn for_origin(&self, client: &Forwarded) -> Self {
        let mut head = self.clone();
        head.headers.remove_hop_by_hop();
        if self.is_websocket() {
            head.headers.push("Connection", "Upgrade");
            head.headers.push("Upgrade", "websocket");
        } else {
            head.headers.push("Connection", "close");
        }
        head.headers.forward(client, self.host());
        head
    }

    /// What the client of this request showed, with the `target` that it asked for and the name in its certificate. What it
    /// says of its page and its program counts where `asks_backends`.
    pub fn credentials(
        &self,
        target: &str,
        client: &Forwarded,
        identity: Option<&str>,
        asks_backends: bool,
    ) -> Option<Box<Credentials>> {
        let (scheme, host) = self.asked_at(client);
        let lines = self.headers.all("cookie");
        let cookies: Vec<&str> = lines.filter_map(|line| str::from_utf8(line).ok()).collect();
        let shown = Credentials::of_target(target)
            .at(scheme, host)
            .with_authorization(self.headers.text("authorization"))
            .with_cookie(Some(&cookies.join("; ")))
            .with_certificate(identity);
        let shown = match asks_backends {
            true => shown.with_surroundings(
                self.headers.text("referer"),
                self.headers.text("user-agent"),
            ),
            false => shown,
        };
        shown.boxed()
    }

    /// Takes out the headers in which a client showed who it is.
    pub fn take_out(&mut self, used: &[UsedHeader]) {
        for header in used {
            match header {
                UsedHeader::Authorization => self.headers.remove("authorization"),
                UsedHeader::Cookie(name) => self.take_cookie(name),
            }
        }
    }

    fn take_cookie(&mut self, name: &str) {
        let lines: Vec<String> = self
            .headers
            .all("cookie")
            .map(|line| {
                let line = String::from_utf8_lossy(line);
                let others = line.split(';').map(str::trim).filter(|pair| {
                    let own = pair.split_once('=').map_or(*pair, |(own, _)| own);
                    own.trim() != name
                });
                others.collect::<Vec<_>>().join("; ")
            })
            .collect();
        self.headers.remove("cookie");
        for line in lines.iter().filter(|line| !line.is_empty()) {
            self.headers.push("Cookie", line);
        }
    }

    /// The scheme and the host of the URL by which the client asked. A trusted proxy is believed about both.
    pub fn asked_at(&self, client: &Forwarded) -> (&'static str, &str) {
        let told = |name| {
            let text = self.headers.text(name).filter(|_| client.trusted)?;
            text.split(',').next().map(str::trim)
        };
        let told_secure = self.headers.told_secure().filter(|_| client.trusted);
        let secure = told_secure.unwrap_or(client.secure);
        let scheme = match (self.is_websocket(), secure) {
            (false, false) => "http",
            (false, true) => "https",
            (true, false) => "ws",
            (true, true) => "wss",
        };
        let host = told("x-forwarded-host").or_else(|| self.host());
        (scheme, host.unwrap_or_default())
    }

    fn check_host(&self) -> Result<(), HeadError> {
        let mut hosts = self.headers.all("host");
        match (hosts.next(), hosts.next()) {
            (None, _) if self.version == Version::Http10 => Ok(()),
            (Some(host), None) if is_host(host) => Ok(()),
            _ => Err(HeadError::Host),
        }
    }

    fn check_target(&mut self) -> Result<(), HeadError> {
        if self.target.contains('#') {
            return Err(HeadError::Target);
        }
        if self.target.starts_with('/') || (self.target == "*" && self.method == "OPTIONS") {
            return Ok(());
        }
        let (scheme, rest) = self.target.split_once("://").ok_or(HeadError::Target)?;
        if !scheme.eq_ignore_ascii_case("http") && !scheme.eq_ignore_ascii_case("https") {
            return Err(HeadError::Target);
        }
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at_checked(end).ok_or(HeadError::Target)?;
        if authority.is_empty() || !is_host(authority.as_bytes()) {
            return Err(HeadError::Host);
        }
        let slash = if path.starts_with('/') { "" } else { "/" };
        let target = format!("{slash}{path}");
        self.headers.set("Host", authority);
        self.target = target;
        Ok(())
    }

    /// Refuses every request whose end two servers might see at different places (RFC 9112 §6.3).
    fn check_length(&mut self) -> Result<(), HeadError> {
        let chunked = self.is_chunked()?;
        let lengths: Vec<&[u8]> = self.headers.all("content-length").collect();
        let Some((first, others)) = lengths.split_first() else {
            return Ok(());
        };
        if chunked || others.iter().any(|other| other != first) {
            return Err(HeadError::Length);
        }
        let length = str::from_utf8(first).ok().and_then(length_number);
        let length = length.ok_or(HeadError::Length)?;
        // Repeated with the same value, or with leading zeros: the origin gets it once, in plain form.
        self.headers.set("Content-Length", &length.to_string());
        Ok(())
    }

    fn is_chunked(&self) -> Result<bool, HeadError> {
        let mut encodings = self.headers.all("transfer-encoding");
        match (encodings.next(), encodings.next()) {
            (None, _) => Ok(false),
            (Some(encoding), None)
                if encoding.eq_ignore_ascii_case(b"chunked") && self.version == Version::Http11 =>
            {
                Ok(true)
            }
            _ => Err(HeadError::TransferEncoding),
        }
    }
}

/// The head of a response.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResponseHead {
    /// The origin's version of HTTP.
    pub version: Version,
    /// The status, 100 to 999.
    pub status: u16,
    /// The reason phrase; may be empty.
    pub reason: Vec<u8>,
    /// The header fields in the order sent.
    pub headers: Headers,
}

impl ResponseHead {
    /// Reads a head from the front of `input`. Returns the head and how many bytes it took, or `None` if it is not
    /// complete yet.
    ///
    /// Lines may end in a bare line feed, folded lines are joined, and a space before the colon of a header is dropped,
    /// as RFC 9112 §2.2 and §5 require of a proxy.
    pub fn parse(input: &[u8]) -> Result<Option<(Self, usize)>, HeadError> {
        let Some(length) = head_length(input, LineEnds::Tolerant)? else {
            return Ok(None);
        };
        let text = input.get(..length).unwrap_or_default();
        let mut lines = text.split(|byte| *byte == b'\n').map(without_return);
        let (version, status, reason) = status_line(lines.next().unwrap_or_default())?;
        let mut headers = Headers::default();
        for line in lines.take_while(|line| !line.is_empty()) {
            if line.starts_with(b" ") || line.starts_with(b"\t") {
                headers.fold(line)?;
                continue;
            }
            let (name, value) = line.split_once_at(b':').ok_or(HeadError::Header)?;
            headers.add(name.trim_ascii_end(), value)?;
        }
        let head = Self {
            version,
            status,
            reason,
            headers,
        };
        Ok(Some((head, length)))
    }

    /// Appends the head, including its empty line.
    pub fn write(&self, out: &mut Vec<u8>) {
        let start = format!("{} {} ", self.version.as_str(), self.status);
        out.extend_from_slice(start.as_bytes());
        out.extend_from_slice(&self.reason);
        out.extend_from_slice(b"\r\n");
        self.headers.write(out);
    }

    /// This head as it goes to a client, on a connection that ends with the body.
    ///
    /// Status and end-to-end headers stay as the origin gave them. So do `Content-Length` and `Transfer-Encoding`,
    /// because the body passes unchanged. If the origin says nothing about CORS, every page may play the stream. A
    /// switch of protocols (101) keeps its `Upgrade`.
    pub fn for_client(&self) -> Self {
        let mut head = self.clone();
        head.headers.remove_hop_by_hop();
        if self.status == SWITCHING_PROTOCOLS {
            head.headers.push("Connection", "Upgrade");
            for upgrade in self.headers.all("upgrade") {
                head.headers
                    .entries
                    .push(("Upgrade".to_owned(), upgrade.to_vec()));
            }
            return head;
        }
        head.headers.push("Connection", "close");
        if !head.headers.entries.iter().any(|(name, _)| is_cors(name)) {
            for (name, value) in CORS {
                head.headers.push(name, value);
            }
        }
        head
    }
}

/// A version of HTTP/1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Version {
    /// HTTP/1.0: no chunked coding; one request per connection unless agreed otherwise.
    Http10,
    /// HTTP/1.1.
    Http11,
}

impl Version {
    /// `HTTP/1.0` or `HTTP/1.1`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Http10 => "HTTP/1.0",
            Self::Http11 => "HTTP/1.1",
        }
    }

    fn read(text: &[u8]) -> Result<Self, HeadError> {
        match text {
            b"HTTP/1.0" => Ok(Self::Http10),
            b"HTTP/1.1" => Ok(Self::Http11),
            other if other.starts_with(b"HTTP/") => Err(HeadError::Version),
            _ => Err(HeadError::StartLine),
        }
    }
}

/// How the body of a request is framed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Body {
    /// Chunked, up to the last chunk.
    Chunked,
    /// This many bytes, more than 0.
    Length(u64),
    /// No body.
    None,
}

/// The client, for the headers that tell the origin about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Forwarded {
    /// The address that the request came from.
    pub client: IpAddr,
    /// Whether the request came over TLS.
    pub secure: bool,
    /// Whether that address is a proxy whose own `X-Forwarded-*` headers are believed.
    pub trusted: bool,
}

/// Header fields in the order sent. Names keep their case, and are compared without regard to it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Headers {
    entries: Vec<(String, Vec<u8>)>,
}

impl Headers {
    /// The name and value of every field.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.entries
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_slice()))
    }

    /// Every value of `name`.
    pub fn all(&self, name: &str) -> impl Iterator<Item = &[u8]> {
        self.iter()
            .filter(move |(known, _)| known.eq_ignore_ascii_case(name))
            .map(|(_, value)| value)
    }

    /// The first value of `name`, if it is UTF-8.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.all(name)
            .next()
            .and_then(|value| str::from_utf8(value).ok())
    }

    /// Whether there is a field `name`.
    pub fn contains(&self, name: &str) -> bool {
        self.all(name).next().is_some()
    }

    /// Whether `token` is in the comma-separated lists that are the values of `name`.
    pub fn has_token(&self, name: &str, token: &str) -> bool {
        self.all(name)
            .flat_map(|value| value.split(|byte| *byte == b','))
            .any(|member| member.trim_ascii().eq_ignore_ascii_case(token.as_bytes()))
    }

    /// Appends a field of our own making.
    pub fn push(&mut self, name: &str, value: &str) {
        self.entries
            .push((name.to_owned(), value.as_bytes().to_vec()));
    }

    /// Removes every field `name`.
    pub fn remove(&mut self, name: &str) {
        self.entries
            .retain(|(known, _)| !known.eq_ignore_ascii_case(name));
    }

    /// Changes values to what `change` makes of a name and a value that is UTF-8; `None` leaves one as it is.
    pub fn change(&mut self, change: impl Fn(&str, &str) -> Option<String>) {
        for (name, value) in &mut self.entries {
            let changed = str::from_utf8(value)
                .ok()
                .and_then(|text| change(name, text));
            if let Some(changed) = changed {
                *value = changed.into_bytes();
            }
        }
    }

    /// Makes `value` the only value of `name`, in the place of the first.
    fn set(&mut self, name: &str, value: &str) {
        let mut value = Some(value);
        self.entries.retain_mut(|(known, old)| {
            if !known.eq_ignore_ascii_case(name) {
                return true;
            }
            let Some(value) = value.take() else {
                return false;
            };
            *old = value.as_bytes().to_vec();
            true
        });
        if let Some(value) = value {
            self.push(name, value);
        }
    }

    fn add(&mut self, name: &[u8], value: &[u8]) -> Result<(), HeadError> {
        if self.entries.len() == MAX_HEADERS {
            return Err(HeadError::TooManyHeaders);
        }
        let name = token(name).ok_or(HeadError::Header)?;
        let value = field_value(value)?;
        self.entries.push((name.to_owned(), value.to_vec()));
        Ok(())
    }

    /// Joins a folded line to the value before it (RFC 9112 §5.2).
    fn fold(&mut self, line: &[u8]) -> Result<(), HeadError> {
        let line = field_value(line)?;
        let (_, value) = self.entries.last_mut().ok_or(HeadError::Header)?;
        if !value.is_empty() && !line.is_empty() {
            value.push(b' ');
        }
        value.extend_from_slice(line);
        Ok(())
    }

    fn remove_hop_by_hop(&mut self) {
        let single = SingleConnection::of(self.all("connection"));
        self.entries.retain(|(name, _)| !single.has(name));
    }

    fn forward(&mut self, client: &Forwarded, host: Option<&str>) {
        let mut chain = client.client.to_canonical().to_string();
        if client.trusted {
            let before: Vec<&str> = self
                .all("x-forwarded-for")
                .filter_map(|value| str::from_utf8(value).ok())
                .filter(|value| !value.is_empty())
                .collect();
            if !before.is_empty() {
                chain = format!("{}, {chain}", before.join(", "));
            }
        } else {
            CLAIMS.iter().for_each(|name| self.remove(name));
        }
        self.remove(FORWARDED_PREFIX);
        self.set("X-Forwarded-For", &chain);
        if !self.contains("x-forwarded-proto") {
            // What a stranger said of it is gone by now.
            let secure = self.told_secure().unwrap_or(client.secure);
            self.push("X-Forwarded-Proto", if secure { "https" } else { "http" });
        }
        if let Some(host) = host.filter(|_| !self.contains("x-forwarded-host")) {
            self.push("X-Forwarded-Host", host);
        }
    }

    fn write(&self, out: &mut Vec<u8>) {
        for (name, value) in self.iter() {
            out.extend_from_slice(name.as_bytes());
            out.extend_from_slice(b": ");
            out.extend_from_slice(value);
            out.extend_from_slice(b"\r\n");
        }
        out.extend_from_slice(b"\r\n");
    }
}

/// The headers that go no further: those of a single connection (RFC 9110 §7.6.1), which are those that always are and those
/// that `Connection` names, but never the ones that frame the message; and words about a whole host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SingleConnection {
    named: Vec<Vec<u8>>,
}

impl SingleConnection {
    /// Reads the values of `Connection`.
    pub fn of<'a>(connection: impl Iterator<Item = &'a [u8]>) -> Self {
        let named = connection
            .flat_map(|value| value.split(|byte| *byte == b','))
            .map(<[u8]>::trim_ascii)
            .filter(|member| {
                let is = |name: &&str| member.eq_ignore_ascii_case(name.as_bytes());
                !FRAMING.iter().any(is) && !HOP_BY_HOP.iter().any(is)
            })
            .map(<[u8]>::to_vec)
            .collect();
        Self { named }
    }

    /// Whether `name` is one of them, in any case.
    pub fn has(&self, name: &str) -> bool {
        let named = |known: &Vec<u8>| name.as_bytes().eq_ignore_ascii_case(known);
        let mut known = HOP_BY_HOP.iter().chain(&ABOUT_HOST);
        known.any(|known| name.eq_ignore_ascii_case(known))
            || starts_with_ignore_case(name, "proxy-")
            || self.named.iter().any(named)
    }
}

/// Whether a header is a word about other sites' pages (CORS). Where an origin says none, [`CORS`] is said.
pub fn is_cors(name: &str) -> bool {
    starts_with_ignore_case(name, "access-control-")
}

impl IntoIterator for Headers {
    type Item = (String, Vec<u8>);
    type IntoIter = std::vec::IntoIter<Self::Item>;

    fn into_iter(self) -> Self::IntoIter {
        self.entries.into_iter()
    }
}

/// Why a head is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HeadError {
    /// A line ends in LF without CR, or holds a CR elsewhere.
    #[error("a line does not end in CR LF")]
    LineEnd,
    /// A header is continued on the next line.
    #[error("a header is folded over two lines")]
    Folded,
    /// A line is not `name: value`.
    #[error("a header is malformed")]
    Header,
    /// `Host` is absent, occurs twice, or is not a host.
    #[error("the Host header is missing, repeated or malformed")]
    Host,
    /// `Content-Length` is not a number, contradicts itself, or comes together with `Transfer-Encoding`.
    #[error("the length of the body is ambiguous")]
    Length,
    /// The method is `CONNECT`.
    #[error("the method is not supported")]
    Method,
    /// The first line is not a request line or status line.
    #[error("the first line is malformed")]
    StartLine,
    /// The target is not in origin or absolute form.
    #[error("the request target is malformed")]
    Target,
    /// The head is longer than [`MAX_HEAD`] bytes.
    #[error("the head is longer than {MAX_HEAD} bytes")]
    TooLong,
    /// There are more than [`MAX_HEADERS`] headers.
    #[error("the head has more than {MAX_HEADERS} headers")]
    TooManyHeaders,
    /// The body of a request is encoded in another way than chunked.
    #[error("the transfer encoding is not supported")]
    TransferEncoding,
    /// The version is neither HTTP/1.0 nor HTTP/1.1.
    #[error("the protocol is neither HTTP/1.0 nor HTTP/1.1")]
    Version,
}

impl HeadError {
    /// The status with which a request is refused for this error.
    pub const fn status(self) -> u16 {
        match self {
            Self::Method | Self::TransferEncoding => 501,
            Self::TooLong | Self::TooManyHeaders => 431,
            Self::Version => 505,
            _ => 400,
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum LineEnds {
    Strict,
    Tolerant,
}

/// The length of the head at the front of `input`, including its empty line; `None` if it is not complete yet.
fn head_length(input: &[u8], ends: LineEnds) -> Result<Option<usize>, HeadError> {
    let mut length = 0;
    let mut started = false;
    let bounded = input.get(..MAX_HEAD).unwrap_or(input);
    for line in bounded.split_inclusive(|byte| *byte == b'\n') {
        let Some(text) = line.strip_suffix(b"\n") else {
            break;
        };
        if ends == LineEnds::Strict && !text.ends_with(b"\r") {
            return Err(HeadError::LineEnd);
        }
        let text = without_return(text);
        if text.contains(&b'\r') {
            return Err(HeadError::LineEnd);
        }
        length += line.len();
        if text.is_empty() && started {
            return Ok(Some(length));
        }
        // One empty line may come before a request, but not more.
        if text.is_empty() && (length > line.len() || ends == LineEnds::Tolerant) {
            return Err(HeadError::StartLine);
        }
        started |= !text.is_empty();
    }
    if input.len() >= MAX_HEAD {
        return Err(HeadError::TooLong);
    }
    Ok(None)
}

fn without_return(line: &[u8]) -> &[u8] {
    line.strip_suffix(b"\r").unwrap_or(line)
}

/// Reads `method SP target SP version`, with one space each (RFC 9112 §3).
fn request_line(line: &[u8]) -> Result<(&str, &str, Version), HeadError> {
    let (method, rest) = line.split_once_at(b' ').ok_or(HeadError::StartLine)?;
    let (target, version) = rest.split_once_at(b' ').ok_or(HeadError::StartLine)?;
    let version = Version::read(version)?;
    let method = token(method).ok_or(HeadError::StartLine)?;
    if method == "CONNECT" {
        return Err(HeadError::Method);
    }
    // Escaped or not: some players send names in unescaped UTF-8.
    let target = str::from_utf8(target).map_err(|_| HeadError::Target)?;
    if target.is_empty() || target.contains(char::is_control) {
        return Err(HeadError::Target);
    }
    Ok((method, target, version))
}

/// Reads `version SP status SP reason`; the reason and the space before it may be missing.
fn status_line(line: &[u8]) -> Result<(Version, u16, Vec<u8>), HeadError> {
    let (version, rest) = line.split_once_at(b' ').ok_or(HeadError::StartLine)?;
    let version = Version::read(version)?;
    let (status, reason) = rest.split_once_at(b' ').unwrap_or((rest, &[]));
    let status = match str::from_utf8(status).map(str::parse) {
        Ok(Ok(number @ 100..=999)) if status.len() == 3 => number,
        _ => return Err(HeadError::StartLine),
    };
    let reason = field_value(reason).map_err(|_| HeadError::StartLine)?;
    Ok((version, status, reason.to_vec()))
}

/// Reads a token (RFC 9110 §5.6.2).
pub(super) fn token(bytes: &[u8]) -> Option<&str> {
    let is_token = |byte: &u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte);
    let text = str::from_utf8(bytes).ok()?;
    (!bytes.is_empty() && bytes.iter().all(is_token)).then_some(text)
}

/// A value without the white space around it. Control characters are refused; bytes above ASCII are not.
fn field_value(bytes: &[u8]) -> Result<&[u8], HeadError> {
    if bytes
        .iter()
        .any(|byte| byte.is_ascii_control() && *byte != b'\t')
    {
        return Err(HeadError::Header);
    }
    Ok(bytes.trim_ascii())
}

/// Whether the bytes are a host and an optional port (RFC 9110 §7.2); they may be empty.
fn is_host(bytes: &[u8]) -> bool {
    let (host, port) = match bytes.strip_prefix(b"[") {
        Some(rest) => {
            let Some((address, port)) = rest.split_once_at(b']') else {
                return false;
            };
            if !address
                .iter()
                .all(|byte| byte.is_ascii_hexdigit() || b":.".contains(byte))
            {
                return false;
            }
            match port {
                [] | [b':', ..] => (&[][..], port.strip_prefix(b":").unwrap_or_default()),
                _ => return false,
            }
        }
        None => bytes.split_once_at(b':').unwrap_or((bytes, &[])),
    };
    let is_name = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=%".contains(byte);
    host.iter().all(is_name) && port.iter().all(u8::is_ascii_digit)
}

/// Reads a `Content-Length`: digits only, and few enough that no parser overflows.
pub(super) fn length_number(text: &str) -> Option<u64> {
    text.bytes()
        .all(|byte| byte.is_ascii_digit())
        .then(|| text.parse().ok())?
}

fn starts_with_ignore_case(text: &str, prefix: &str) -> bool {
    text.get(..prefix.len())
        .is_some_and(|start| start.eq_ignore_ascii_case(prefix))
}

/// A stand-in for `slice::split_once`, which is not stable yet.
trait SplitOnceAt {
    fn split_once_at(&self, separator: u8) -> Option<(&[u8], &[u8])>;
}

impl SplitOnceAt for [u8] {
    fn split_once_at(&self, separator: u8) -> Option<(&[u8], &[u8])> {
        let position = self.iter().position(|byte| *byte == separator)?;
        let (before, rest) = self.split_at_checked(position)?;
        Some((before, rest.split_first()?.1))
    }
}

/// Maximum bytes of a head. Browsers and CDNs stay below 8 KiB; signed URLs and cookies are the largest part.
pub const MAX_HEAD: usize = 16 * 1024;

/// Maximum headers in a head; browsers send about twenty.
pub const MAX_HEADERS: usize = 100;

/// The status of the answer to an accepted upgrade.
const SWITCHING_PROTOCOLS: u16 = 101;

/// Headers of a single connection (RFC 9110 §7.6.1), besides `Proxy-*`.
///
const HOP_BY_HOP: [&str; 5] = ["connection", "keep-alive", "te", "trailer", "upgrade"];

/// Words of an origin about its whole host, which go no further, because clients would take them for words about ours: which other
/// ports of it they may use (RFC 7838), that they reach it by TLS alone from now on (RFC 6797), by which certificates (RFC 7469,
/// RFC 9163), whom they tell what goes wrong there (Network Error Logging), and that they forget what it has given them (Clear Site
/// Data).
const ABOUT_HOST: [&str; 8] = [
    "alt-svc",
    "clear-site-data",
    "expect-ct",
    "nel",
    "public-key-pins",
    "public-key-pins-report-only",
    "report-to",
    "strict-transport-security",
];

/// Headers that `Connection` cannot remove: without them the next server would read a different message.
const FRAMING: [&str; 3] = ["content-length", "host", "transfer-encoding"];

/// Headers in which a client may make claims about itself; believed from trusted proxies only.
const CLAIMS: [&str; 5] = [
    "forwarded",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-proto",
    "x-real-ip",
];

/// Headers that a page on another site needs to play a stream.
pub const CORS: [(&str, &str); 4] = [
    ("Access-Control-Allow-Origin", "*"),
    ("Access-Control-Allow-Methods", "*"),
    ("Access-Control-Allow-Headers", "*"),
    ("Access-Control-Expose-Headers", "*"),
];
