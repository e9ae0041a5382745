//! Joins a client and an origin: which requests pass, and what happens to a SETUP.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::time::Duration;

use super::farewell::Farewell;
use super::message::{Change, Message, Method, Refused, Speaker, Version};
use super::rewrite::{CONTROL, Rewrite, Unanswerable, authority, is_secure, path, to_origin};
use super::server::NamedStream;
use super::transport::{Carrier, Ports, Transport};
use crate::dialect::Dialect;
use crate::stream::{StreamUrl, with_escapes};

/// The conversation of one session.
#[derive(Debug)]
pub struct Join {
    stream: StreamUrl,
    dialect: Dialect,
    client: IpAddr,
    rewrite: Rewrite,
    /// Paths whose requests belong to the stream: the one the client asked for, and the names that the origin uses.
    paths: Vec<String>,
    /// SETUPs that the origin has yet to answer.
    asked: VecDeque<Pending>,
    /// The URIs of tracks that the client has set up.
    tracks: Vec<String>,
    /// The TEARDOWNs that the origin has yet to answer: the number of each, and its URI.
    leaving: VecDeque<(u32, String)>,
    /// The methods that the origin has, until the client knows: before the origin was known it heard of others.
    public: Option<String>,
    offers: u32,
    /// What the origin is told when its client leaves without a word.
    farewell: Farewell,
}

/// What is left to do with an origin when its client is gone.
#[derive(Debug, PartialEq, Eq)]
pub enum Parting {
    /// Nothing: it has no session, or was told.
    Over,
    /// It gets this, and is to answer.
    Say(Vec<u8>),
    /// It has yet to answer.
    Wait,
}

/// What happens to a message of the client.
#[derive(Debug, PartialEq, Eq)]
pub enum FromClient {
    /// It sets up a track over TCP and goes to the origin without the rest of its list: see [`Join::over_tcp`].
    OverTcp,
    /// It goes to the origin unchanged.
    Pass,
    /// It is refused.
    Refuse(Refused),
    /// It sets up a track over UDP: the shell finds ports for it, or refuses it.
    Setup(Offer),
}

/// A track that is to travel over UDP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offer {
    /// Identifies the track within its session.
    pub track: u32,
    /// The client's ports for media and reports.
    pub client_ports: Ports,
    cseq: u32,
    uri: String,
    /// Whether the client would also take it over TCP.
    tcp: bool,
}

/// What happens to a message of the origin.
#[derive(Debug, PartialEq, Eq)]
pub struct FromOrigin {
    /// What the client gets; `None` if the message passes unchanged.
    pub bytes: Option<Vec<u8>>,
    /// What the message means for the tracks.
    pub news: Option<News>,
}

/// What an origin's answer means for the tracks of its session.
#[derive(Debug, PartialEq, Eq)]
pub enum News {
    /// The client has left: all tracks end.
    AllEnd,
    /// This track does not use UDP.
    Denied(u32),
    /// The client has left the track that it set up by this URI.
    Ended(String),
    /// This track uses UDP, and these are the origin's ports, if it named them.
    Granted(u32, Option<Ports>),
    /// The origin asks for credentials that no client can show it, and the client is refused.
    Unanswerable {
        /// The track over UDP that it would have set up.
        track: Option<u32>,
        /// Why not.
        why: Unanswerable,
    },
    /// The origin answered with a transport that it was not asked for, and the client is refused.
    Unasked {
        /// The track.
        track: u32,
        /// What the origin answered.
        answered: String,
    },
}

/// A SETUP, and what the origin was asked for.
#[derive(Debug)]
struct Pending {
    cseq: u32,
    track: u32,
    /// The client's ports and ours, if it may answer UDP.
    datagrams: Option<(Ports, Ports)>,
    /// Whether it may answer TCP.
    tcp: bool,
}

impl Join {
    /// A conversation between a client at `client`, which asked for a stream, and an origin. `rewrite` holds the names
    /// of all three sides.
    pub fn new(asked: &NamedStream, client: IpAddr, mut rewrite: Rewrite) -> Self {
        if let Some(authority) = authority(asked.message.uri()) {
            authority.clone_into(&mut rewrite.authority);
        }
        rewrite.secure = is_secure(asked.message.uri());
        let named = path(asked.message.uri()).to_owned();
        // The stream's own path, because a client that starts with SETUP names a track.
        let own = asked.stream.path().to_owned();
        let mut join = Self {
            stream: asked.stream.clone(),
            dialect: asked.dialect,
            client,
            rewrite,
            paths: vec![named, own],
            asked: VecDeque::new(),
            tracks: Vec::new(),
            leaving: VecDeque::new(),
            public: None,
            offers: 0,
            farewell: Farewell::default(),
        };
        let first = join.for_origin(&asked.message);
        join.passes(&asked.message, first.as_ref().unwrap_or(&asked.message));
        join
    }

    /// The methods that the origin has, by its answer to OPTIONS: the first answer that the client gets tells of them.
    #[must_use]
    pub fn knowing(mut self, public: Option<&str>) -> Self {
        self.public = public.map(str::to_owned);
        self
    }

    /// Handles a message of the client.
    pub fn from_client(&mut self, message: &Message) -> FromClient {
        let Some(method) = message.method() else {
            // A response to a request of the origin.
            return FromClient::Pass;
        };
        if message.version() != Version::Rtsp10 {
            let words = "RTSP Version Not Supported: only RTSP/1.0 is";
            return FromClient::Refuse(Refused::new(505, words));
        }
        if !self.belongs(method, message.uri()) {
            let words = format!(
                "Method Not Valid in This State: this connection carries {}; open another one",
                self.stream
            );
            return FromClient::Refuse(Refused::new(455, words));
        }
        match method {
            Method::Setup => self.set_up(message),
            Method::Teardown => {
                if let Some(cseq) = message.cseq() {
                    if self.leaving.len() == MAX_PENDING {
                        self.leaving.pop_front();
                    }
                    let uri = message.uri().to_owned();
                    self.leaving.push_back((cseq, uri));
                }
                FromClient::Pass
            }
            _ => FromClient::Pass,
        }
    }

    /// A message of the client as the origin gets it, with the origin's path in its URI and without what was used up here;
    /// `None` if nothing of it changes.
    pub fn for_origin(&self, message: &Message) -> Option<Message> {
        let rest = self.rewrite.take_out.as_ref();
        let rest = rest.and_then(|take_out| take_out.rest_of(message));
        let rename = self.rewrite.rename.as_ref();
        let left = rest.as_ref().unwrap_or(message);
        let renamed = rename.and_then(|rename| left.with_path_of(rename, Speaker::Client));
        renamed.or(rest)
    }

    /// Notes a request that goes on to the origin; `as_asked` is what it is [for the origin](Self::for_origin).
    pub fn passes(&mut self, message: &Message, as_asked: &Message) {
        if message.method().is_some() {
            let is_tracks = self.tracks.iter().any(|track| track == message.uri());
            self.farewell.note_request(as_asked, is_tracks);
        }
    }

    /// What is left to do with the origin, which lives, when its client is gone.
    pub fn part(&mut self) -> Parting {
        match self.farewell.is_answered() {
            Some(true) => return Parting::Over,
            Some(false) => return Parting::Wait,
            None => {}
        }
        let leaves = |uri: &String| self.leaving.iter().any(|(_, own)| own == uri);
        let is_whole = |(_, uri): &(u32, String)| !self.tracks.contains(uri);
        let is_leaving = self.leaving.iter().any(is_whole) || self.tracks.iter().all(leaves);
        if self.farewell.has_session() && !self.leaving.is_empty() && is_leaving {
            // It said so itself.
            return Parting::Wait;
        }
        match self.farewell.words() {
            Some(words) => Parting::Say(words),
            // The answer to a SETUP tells whether there is one.
            None if !self.asked.is_empty() => Parting::Wait,
            None => Parting::Over,
        }
    }

    /// How long the origin keeps a session that it hears nothing of.
    pub fn session_timeout(&self) -> Duration {
        self.farewell.keeps()
    }

    /// The SETUP as the origin gets it, with `facing_origin` in place of the client's ports. The client will be told
    /// `facing_client`. `message` is the one that the offer was made from.
    pub fn grant(
        &mut self,
        offer: Offer,
        message: &Message,
        facing_origin: Ports,
        facing_client: Ports,
    ) -> Vec<u8> {
        self.asked.push_back(Pending {
            cseq: offer.cseq,
            track: offer.track,
            datagrams: Some((offer.client_ports, facing_client)),
            tcp: offer.tcp,
        });
        self.written(message, |transport| match transport.carrier() {
            Carrier::Udp => Some(transport.for_origin(facing_origin)),
            _ => Some(transport.without_addresses()),
        })
    }

    /// The SETUP as the origin gets it if there is no port for datagrams and the client would take TCP; otherwise its refusal.
    /// `message` is the one that the offer was made from.
    ///
    /// # Errors
    /// Its refusal.
    pub fn without_datagrams(
        &mut self,
        offer: &Offer,
        message: &Message,
    ) -> Result<Vec<u8>, Refused> {
        if !offer.tcp {
            let words = "Unsupported Transport: use RTP over TCP";
            return Err(Refused::new(461, words));
        }
        self.asked.push_back(Pending {
            cseq: offer.cseq,
            track: offer.track,
            datagrams: None,
            tcp: true,
        });
        Ok(self.over_tcp(message))
    }

    /// The SETUP with only those of its transports that go over TCP.
    pub fn over_tcp(&self, message: &Message) -> Vec<u8> {
        self.written(message, |transport| {
            (transport.carrier() == Carrier::Tcp).then(|| transport.without_addresses())
        })
    }

    /// Whether this answer of the origin asks for what no client can show it.
    pub fn is_unanswerable(&self, answer: &Message) -> bool {
        self.rewrite.unanswerable(answer).is_some()
    }

    /// Handles a message of the origin.
    pub fn from_origin(&mut self, message: &Message) -> FromOrigin {
        self.note_paths(message);
        let (mut transport, mut news) = (None, None);
        if let (Some(status @ 200..), Some(cseq)) = (message.status(), message.cseq()) {
            if let Some(pending) = self.answered(cseq) {
                (transport, news) = pending.settled(status, message);
            }
            if status < 300 {
                self.farewell.note_answer(message);
            }
            if self.farewell.hears_answer(cseq) {
                // One that does not know its own session has ended it before.
                let is_over = status < 300 || status == SESSION_NOT_FOUND;
                news = is_over.then(|| self.end_all());
            } else if let Some(uri) = self.left(cseq) {
                news = (status < 300).then(|| self.end(uri));
            }
        }
        if let Some(News::Unasked { .. }) = news {
            let bytes = Some(Refused::new(461, UNASKED).answer(message));
            return FromOrigin { bytes, news };
        }
        if let Some(why) = self.rewrite.unanswerable(message) {
            let track = match news {
                Some(News::Denied(track)) => Some(track),
                _ => None,
            };
            let bytes = Some(why.refused().answer(message));
            let news = Some(News::Unanswerable { track, why });
            return FromOrigin { bytes, news };
        }
        let mut bytes = self.rewrite.to_client(message, transport.as_deref());
        if message.status().is_some()
            && let Some(public) = self.public.take()
            && message.field("public").is_none()
        {
            let said = bytes.as_deref().unwrap_or_else(|| message.bytes());
            bytes = Some(with_field(said, &format!("Public: {public}\r\n")));
        }
        FromOrigin { bytes, news }
    }

    fn answered(&mut self, cseq: u32) -> Option<Pending> {
        let at = self.asked.iter().position(|pending| pending.cseq == cseq)?;
        self.asked.remove(at)
    }

    /// The URI of the TEARDOWN with this number.
    fn left(&mut self, cseq: u32) -> Option<String> {
        let at = self.leaving.iter().position(|(own, _)| *own == cseq)?;
        self.leaving.remove(at).map(|(_, uri)| uri)
    }

    /// What a TEARDOWN of `uri` ends: one track (RFC 2326 §10.7), or what remains.
    fn end(&mut self, uri: String) -> News {
        let Some(at) = self.tracks.iter().position(|track| *track == uri) else {
            return self.end_all();
        };
        self.tracks.swap_remove(at);
        if self.tracks.is_empty() {
            self.farewell.forget();
        }
        News::Ended(uri)
    }

    fn end_all(&mut self) -> News {
        self.tracks.clear();
        self.farewell.forget();
        News::AllEnd
    }

    fn set_up(&mut self, message: &Message) -> FromClient {
        let refuse = |status, words: &'static str| FromClient::Refuse(Refused::new(status, words));
        let uri = message.uri();
        if self.tracks.len() < MAX_TRACKS && !self.tracks.iter().any(|track| track == uri) {
            self.tracks.push(uri.to_owned());
        }
        let Ok(offers) = Transport::parse(message.field("transport").unwrap_or_default()) else {
            return refuse(400, "Bad Request: no usable Transport");
        };
        let relayed: Vec<&Transport<'_>> = offers
            .iter()
            .filter(|offer| self.obstacle(offer).is_none())
            .collect();
        if relayed.is_empty() {
            let obstacle = offers.first().and_then(|offer| self.obstacle(offer));
            let words = format!("Unsupported Transport: {}", obstacle.unwrap_or_default());
            return FromClient::Refuse(Refused::new(461, words));
        }
        self.offers = self.offers.wrapping_add(1);
        let tcp = relayed.iter().any(|offer| offer.carrier() == Carrier::Tcp);
        let datagrams = relayed.iter().find(|offer| offer.carrier() == Carrier::Udp);
        let Some(client_ports) = datagrams.and_then(|offer| offer.ports("client_port")) else {
            if let Some(cseq) = message.cseq().filter(|_| self.asked.len() < MAX_PENDING) {
                self.asked.push_back(Pending {
                    cseq,
                    track: self.offers,
                    datagrams: None,
                    tcp,
                });
            }
            return match relayed.len() == offers.len() {
                true => FromClient::Pass,
                false => FromClient::OverTcp,
            };
        };
        let Some(cseq) = message.cseq() else {
            return refuse(400, "Bad Request: no CSeq");
        };
        if self.asked.len() == MAX_PENDING {
            return refuse(453, "Not Enough Bandwidth: too many tracks at once");
        }
        FromClient::Setup(Offer {
            track: self.offers,
            client_ports,
            cseq,
            uri: uri.to_owned(),
            tcp,
        })
    }

    /// Why a transport that a client offers is not relayed.
    fn obstacle(&self, offer: &Transport<'_>) -> Option<&'static str> {
        let carrier = offer.carrier();
        let is_elsewhere = |address: &str| address.parse() != Ok(self.client);
        if carrier == Carrier::Multicast {
            return Some("there is no multicast here");
        }
        if offer.value("destination").is_some_and(is_elsewhere) {
            return Some("media is sent to whoever asks, not elsewhere");
        }
        let lacks_ports = carrier == Carrier::Udp && offer.ports("client_port").is_none();
        lacks_ports.then_some("no client_port")
    }

    /// Writes a SETUP with those of its transports that are relayed and for which `keep` returns a text.
    fn written(
        &self,
        message: &Message,
        mut keep: impl FnMut(&Transport<'_>) -> Option<String>,
    ) -> Vec<u8> {
        let offers = Transport::parse(message.field("transport").unwrap_or_default());
        let texts: Vec<String> = offers
            .iter()
            .flatten()
            .filter(|offer| self.obstacle(offer).is_none())
            .filter_map(&mut keep)
            .collect();
        let transport = texts.join(",");
        let changed = message.with(
            |name, _| {
                if name.eq_ignore_ascii_case("transport") {
                    Change::Value(transport.clone())
                } else {
                    Change::Keep
                }
            },
            None,
        );
        to_origin(message, changed)
    }

    /// Whether a request is about this session's stream.
    fn belongs(&self, method: Method, uri: &str) -> bool {
        let asked = path(uri);
        match method {
            Method::Announce | Method::Describe => {
                self.dialect
                    .rtsp(uri)
                    .is_ok_and(|stream| stream == self.stream)
                    || self.paths.iter().any(|own| own == asked)
            }
            Method::Pause | Method::Play | Method::Record | Method::Setup => {
                // A camera that names itself by its address alone has one stream.
                matches!(asked, "*" | "") || self.paths.iter().any(|own| is_under(asked, own))
            }
            _ => true,
        }
    }

    /// Notes the origin's names for the stream and its tracks, because requests for these belong to it too.
    fn note_paths(&mut self, message: &Message) {
        let named = message
            .url_field("content-base")
            .or_else(|| message.url_field("content-location"));
        let named = named.as_deref();
        if let Some(named) = named {
            note(&mut self.paths, path(named));
        }
        // Without a base, what was asked for is one (RFC 2326 §C.1.1). A slash at the end of a query is no folder.
        let has_slash = named.is_some_and(|named| named.ends_with('/') && !named.contains('?'));
        if message.field("content-type").is_none() {
            return;
        }
        let asked = self.paths.first().cloned().unwrap_or_default();
        let base = named.map_or(asked, |named| path(named).to_owned());
        // Some clients append a track's name to a base without a last slash, others put it in place of the last segment
        // (RFC 3986 §5.2.3).
        let beside = base.rsplit_once('/').map_or("", |(folder, _)| folder);
        let bases = match has_slash {
            true => vec![base.as_str()],
            false => vec![base.as_str(), beside],
        };
        for line in message.body().split(|byte| *byte == b'\n') {
            let Some(control) = line.strip_prefix(CONTROL) else {
                continue;
            };
            let control = with_escapes(control.trim_ascii());
            let control = control.as_ref();
            let relative = !control.contains("://") && !control.starts_with('/');
            if control == "*" {
                continue;
            }
            if !relative {
                note(&mut self.paths, path(control));
                continue;
            }
            for base in &bases {
                let track = format!("{base}/{}", path(control));
                note(&mut self.paths, track.trim_matches('/'));
            }
            if !has_slash {
                // Others put the two together as they are.
                note(&mut self.paths, &format!("{base}{}", path(control)));
            }
        }
    }
}

impl Offer {
    /// The track's URI as the client wrote it. A second SETUP for the same track replaces the first.
    pub fn uri(&self) -> &str {
        &self.uri
    }
}

impl Pending {
    /// What the origin's answer settles: the `Transport` that the client is shown, and what becomes of the track. An answer that
    /// names none, or one that cannot be read, passes as it came and agrees with what was asked for.
    fn settled(self, status: u16, answer: &Message) -> (Option<String>, Option<News>) {
        let denied = self.datagrams.map(|_| News::Denied(self.track));
        if status >= 300 {
            return (None, denied);
        }
        let header = answer.field("transport").unwrap_or_default();
        let answered = Transport::parse(header).unwrap_or_default();
        // There is to be one (RFC 2326 §12.39).
        let Some(agreed) = answered.first() else {
            let agrees = self.datagrams.is_some() && !self.tcp;
            let granted = agrees.then_some(News::Granted(self.track, None));
            return (None, granted.or(denied));
        };
        match (agreed.carrier(), self.datagrams) {
            (Carrier::Udp, Some((client, ours))) => {
                let ports = agreed.ports("server_port");
                let shown = agreed.for_client(client, ours);
                (Some(shown), Some(News::Granted(self.track, ports)))
            }
            (Carrier::Tcp, _) if self.tcp => (Some(agreed.without_addresses()), denied),
            _ => {
                let text = header.chars().filter(|c| !c.is_control());
                let unasked = News::Unasked {
                    track: self.track,
                    answered: text.take(MAX_ANSWERED).collect(),
                };
                (None, Some(unasked))
            }
        }
    }
}

/// A response with a further field, after its first line.
fn with_field(response: &[u8], field: &str) -> Vec<u8> {
    let line = response.iter().position(|byte| *byte == b'\n');
    let parts = line.and_then(|at| response.split_at_checked(at + 1));
    let (first, rest) = parts.unwrap_or_default();
    [first, field.as_bytes(), rest].concat()
}

fn note(paths: &mut Vec<String>, path: &str) {
    if !path.is_empty() && paths.len() < MAX_PATHS && !paths.iter().any(|own| own == path) {
        paths.push(path.to_owned());
    }
}

fn is_under(path: &str, root: &str) -> bool {
    path.strip_prefix(root)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Session Not Found (RFC 2326 §11.3.5).
const SESSION_NOT_FOUND: u16 = 454;
/// Maximum tracks that are known: a recorder that shows all its cameras in one stream has a dozen or two.
const MAX_TRACKS: usize = 32;
/// What a client is told where its origin picked a transport that it was not asked for. Players try another one then.
const UNASKED: &str =
    "Unsupported Transport: the origin answered with a transport that was not asked for";
/// Maximum characters of a transport that are told.
const MAX_ANSWERED: usize = 200;
/// Maximum SETUPs and TEARDOWNs under way: clients wait for one answer after the other, or nearly so.
const MAX_PENDING: usize = 16;
/// Maximum names of a stream and its tracks.
const MAX_PATHS: usize = 32;
