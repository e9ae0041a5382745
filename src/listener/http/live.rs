//! A live pull: an endless response, relayed from the origin that holds the stream.
//!
//! The first request of a connection is relayed here, raw. A pull behind another request is [`super::again`]'s.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::future::Either;
use hyper::header::{
    ACCESS_CONTROL_ALLOW_ORIGIN, CACHE_CONTROL, CONTENT_TYPE, HeaderValue, LOCATION,
};
use hyper::{HeaderMap, Response, StatusCode};
use sluicegate_core::access::credentials::Credentials;
use sluicegate_core::dialect::{Dialect, File};
use sluicegate_core::fleet::origin::OriginId;
use sluicegate_core::http::base::BasePath;
use sluicegate_core::http::framing::{BodyReader, Framing, Part};
use sluicegate_core::http::head::{Forwarded, RequestHead, ResponseHead, Version};
use sluicegate_core::http::page::Page;
use sluicegate_core::http::places;
use sluicegate_core::http::websocket::{self, ClientFrames, ServerFrames};
use sluicegate_core::media::viewer::Envelope;
use sluicegate_core::place::leg::LegEnd;
use sluicegate_core::place::redirect::place_of;
use sluicegate_core::place::rule::Via;
use sluicegate_core::stream::{Action, Protocol, Service, StreamError, StreamUrl};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tracing::debug;

use super::super::{pair, turned_away};
use super::refusal::{Refused, offers_basic, send, send_away};
use super::{Http, dialect_of, rewrite};
use crate::hub::{Joined, NotJoined, Recipe, Said, ViewerProtocol, Wanted, Watching, Wish};
use crate::net::accept::OriginSide;
use crate::net::entrance::Ends;
use crate::net::http::{Body, full};
use crate::net::relay::{DelayedAcks, Passage};
use crate::net::wire::Wire;
use crate::net::{forwarded, linger_close};
use crate::origin::elsewhere::Elsewhere;
use crate::proxy::{Attempt, DialError, Proxy, Refusal, Request, Session};
use crate::sessions::{Direction, EndReason, Over, Row, Tapped};
use crate::value::ClientAddr;

/// Why an origin's answer never came.
#[derive(Debug)]
pub(super) enum NoAnswer {
    /// The origin's bytes are something else, in words.
    Broken(String),
    /// The session was ended, or its client ended it.
    Ended(EndReason),
    /// The origin closed.
    OriginGone,
}

/// How the client of a live pull reaches us, for what its origin says of places.
pub(super) struct Led<'a> {
    host: &'a str,
    base: BasePath,
    row: &'a Row,
    proxy: &'a Proxy,
}

impl<'a> Led<'a> {
    pub(super) fn of(
        http: &Http,
        head: &'a RequestHead,
        ends: Ends,
        row: &'a Row,
        proxy: &'a Proxy,
    ) -> Self {
        Self {
            host: head.host().unwrap_or_default(),
            base: http.base(ends, head),
            row,
            proxy,
        }
    }

    /// Makes a head that is to be written right for the client.
    fn lead(&self, answer: &mut ResponseHead) {
        let mut names = places::HEADERS.iter();
        if !names.any(|name| answer.headers.contains(name)) {
            return;
        }
        let location = answer.headers.text("location").map(str::to_owned);
        self.with(location.as_deref(), |page| {
            answer.headers.change(|name, value| {
                let written = places::header(name, value.as_bytes(), page, false)?;
                String::from_utf8(written).ok()
            });
        });
    }

    /// The same for headers that hyper writes.
    pub(super) fn lead_headers(&self, headers: &mut HeaderMap) {
        if rewrite::names_places(headers) {
            let location = location(headers);
            self.with(location.as_deref(), |page| {
                rewrite::lead(headers, page, false);
            });
        }
    }

    /// The headers of what an origin said to the pull that the client shares.
    pub(super) fn headers_of(&self, said: &Said) -> HeaderMap {
        let mut headers = said.headers.clone();
        if rewrite::names_places(&headers) {
            let location = location(&headers);
            self.with_origin(&said.origin, location.as_deref(), |page| {
                rewrite::lead(&mut headers, page, false);
            });
        }
        headers
    }

    fn with(&self, location: Option<&str>, write: impl FnOnce(&Page<'_>)) {
        if let Some(origin) = self.row.placed().origin {
            self.with_origin(&origin, location, write);
        }
    }

    /// A redirect to another origin of the fleet that came too late to be followed leads to us, too.
    fn with_origin(
        &self,
        origin: &OriginId,
        location: Option<&str>,
        write: impl FnOnce(&Page<'_>),
    ) {
        let registry = self.proxy.registry();
        let Some(target) = registry.target(origin, Service::Http) else {
            return;
        };
        let there = location.and_then(|location| place_of(location, Service::Http));
        let there = there.filter(|place| registry.at(Service::Http, place).is_some());
        let names = [
            target.to_string(),
            places::at_port(self.host, target.port),
            there.unwrap_or_default(),
        ];
        let names = names.each_ref().map(String::as_str);
        write(&Page::without_link(self.host, &names, self.base.as_str()));
    }
}

fn location(headers: &HeaderMap) -> Option<String> {
    let location = headers.get(LOCATION)?;
    location.to_str().ok().map(str::to_owned)
}

/// A viewer and an origin, joined.
pub(super) type Pair = pair::Pair<Raw>;

/// A connection whose set-up is over.
pub(super) enum Served {
    Pair(Box<Pair>),
    Watching(Box<Watching>),
}

impl Served {
    // Without a future around the two, which would keep room for itself.
    pub(super) fn serve(self) -> impl Future<Output = ()> + Send {
        match self {
            Self::Pair(pair) => Either::Left(serve_pair(pair)),
            Self::Watching(watching) => Either::Right(watching.serve()),
        }
    }
}

/// Relays to the end; a viewer over a WebSocket that is ended here hears it.
async fn serve_pair(mut pair: Box<Pair>) {
    let over = pair.relay_leg().await;
    pair.session.over(over);
    let (Over::Session(reason), Some(frames)) = (over, pair.passage.frames.take()) else {
        return;
    };
    let Pair {
        client,
        mut origin,
        first,
        session,
        ..
    } = *pair;
    drop(session);
    Box::pin(close_socket(client, &mut origin, frames, &first, reason)).await;
}

/// Closes a WebSocket whose session ended for `reason`, which was not its client's: what is half said comes first, `rest` and
/// then what the origin has of it. A client that does not read it in time does not hear it.
pub(super) async fn close_socket(
    mut client: Wire,
    origin: &mut Wire,
    mut frames: Box<ServerFrames>,
    rest: &[u8],
    reason: EndReason,
) {
    if reason == EndReason::ClientClosed || frames.has_closed() {
        return;
    }
    let finished = async {
        client.write_all(rest).await?;
        while !frames.is_between_frames() {
            let mut bytes = Vec::with_capacity(OF_A_FRAME);
            let count = (&mut *origin)
                .take(frames.left())
                .read_buf(&mut bytes)
                .await?;
            if count == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            frames.pass(&bytes);
            client.write_all(&bytes).await?;
        }
        io::Result::Ok(())
    };
    if let Ok(Ok(())) = timeout(linger_close::TIME_LIMIT, finished).await {
        let last = reason.closing().frame();
        linger_close::say(&mut client, &last, linger_close::TIME_LIMIT).await;
    }
}

/// From the first request of a connection to a joined pair: its head is rewritten once, everything after it is to
/// pass raw. Or to a viewer of a feed. `None` when there is nothing to serve, and the viewer knows why.
pub(super) async fn set_up(
    http: &Http,
    mut client: Wire,
    request: &RequestHead,
    protocol: Protocol,
    ends: Ends,
    origin_side: &OriginSide,
    proxy: &Proxy,
) -> Option<Served> {
    if let Some(location) = redirect(request, protocol, ends, proxy).await {
        send_away(&mut client, &location).await;
        return None;
    }
    let identity = client.identity();
    let opened = open(http, request, protocol, ends, identity.as_deref(), proxy).await;
    let (mut session, forwarded, wish) = match opened {
        Ok(opened) => opened,
        Err(refused) => {
            refused.send(&mut client).await;
            return None;
        }
    };
    if let Some(wish) = wish {
        let wanted = http.hub.wants(&session, &wish);
        let recipe = recipe(&session, &request.target, ends);
        // Boxed: those who share no pull need no room for this.
        let row = Arc::clone(session.row());
        let led = Led::of(http, request, ends, &row, proxy);
        match Box::pin(watch(http, session, &wanted, recipe, &mut client)).await? {
            Ok(joined) => {
                let (first, voice) = greeting(request, &joined, &led);
                joined.take_origin_side(origin_side);
                return Some(Served::Watching(joined.watch(client, first, voice)));
            }
            Err(NotJoined::Alone(alone)) => session = alone,
            Err(NotJoined::Refused(session, refusal, said)) => {
                session.refuse(&refusal);
                refuse_viewer(&mut client, &refusal, said.as_deref(), &led).await;
                return None;
            }
        }
    }
    let mut head = Vec::with_capacity(1024);
    let mut outgoing = request.for_origin(&forwarded);
    outgoing.target = session.for_origin(&request.target).into_owned();
    outgoing.take_out(session.headers_taken_out());
    outgoing.write(&mut head);
    let (address, local) = (session.row().request.client, ends.local);
    let (head, outgoing, asked) = (head.as_slice(), &outgoing, &session.row().request);
    let dialect = dialect_of(request.host(), ends, proxy);
    let said_no = Mutex::new(None);
    let (note, elsewhere) = (&said_no, &Elsewhere::default());
    let send_head = |mut attempt: Attempt| async move {
        let registry = proxy.registry();
        let there = elsewhere.follow(registry, &mut attempt);
        let mut written = Vec::new();
        let other = with_target_of(outgoing, dialect, asked, &attempt, there)?;
        let head = match &other {
            Some(other) => {
                other.write(&mut written);
                written.as_slice()
            }
            None => head,
        };
        let mut origin = http.dialer.dial(&attempt, address, local).await?;
        origin
            .write_all(head)
            .await
            .map_err(|error| DialError::Failed(error.to_string()))?;
        let mut answering = Answering::new(origin);
        let heard = http.silence.wait(&attempt, answering.head(request)).await?;
        if let Some(Ok(answer)) = &heard {
            let location = answer.headers.text("location");
            if let Some(place) = attempt.moved_within(registry, answer.status, location) {
                let asked = &other.as_ref().unwrap_or(outgoing).target;
                return Err(elsewhere.over_http(place, location.unwrap_or_default(), asked));
            }
        }
        if let Some(Ok(answer)) = &heard
            && let Some(no) = refusal_of(answer)
        {
            *lock(note) = heard.and_then(Result::ok).map(|answer| (answer, answering));
            return Err(DialError::Refused(no));
        }
        Ok((answering, heard))
    };
    let dialled = tokio::select! {
        dialled = session.dial(send_head) => dialled,
        reason = surplus(&mut client) => Err(Refusal::Ended(reason)),
    };
    let (mut answering, heard) = match dialled {
        Ok(answering) => answering,
        Err(Refusal::Ended(reason)) => {
            let (status, words) = explain(&NoAnswer::Ended(reason), session.row());
            send(&mut client, status, &words).await;
            session.finish(reason);
            return None;
        }
        Err(refusal) => {
            let own = lock(&said_no).take();
            match (refusal, own) {
                (Refusal::Refused { .. }, Some((mut answer, answering))) => {
                    Led::of(http, request, ends, session.row(), proxy).lead(&mut answer);
                    pass_refusal(&mut client, answer, answering, session.row()).await;
                }
                (refusal, _) => {
                    send(&mut client, refusal.http_status(), &refusal.to_string()).await;
                }
            }
            return None;
        }
    };
    let row = session.row();
    row.count(Direction::ToOrigin, head.len());
    let heard = match heard {
        Some(heard) => heard,
        None => answer_of(&mut client, &mut answering, request, row).await,
    };
    let mut answer = match heard {
        Ok(answer) => answer,
        Err(no_answer) => {
            let (status, words) = explain(&no_answer, row);
            end_without_answer(&session, no_answer);
            send(&mut client, status, &words).await;
            return None;
        }
    };
    debug!(session = row.id, status = answer.status, "origin answered");
    session.answered();
    Led::of(http, request, ends, row, proxy).lead(&mut answer);
    if let Some(no) = refusal_of(&answer) {
        refuse(&session, no);
        pass_refusal(&mut client, answer, answering, session.row()).await;
        return None;
    }
    let Answering {
        origin,
        bytes: body,
    } = answering;
    let mut first = Vec::with_capacity(1024 + body.len());
    let mut passage = Raw::new(row, &body, answer.status == SWITCHING);
    let mut head = answer.for_client();
    // One of HTTP/1.0 knows no chunks (RFC 9112 §6.1): the end of the connection is that of the body.
    if request.version == Version::Http10
        && answer.headers.has_token("transfer-encoding", "chunked")
    {
        head.headers.remove("transfer-encoding");
        passage.chunks = Some(Box::default());
    }
    head.write(&mut first);
    first.extend_from_slice(passage.without_chunks(&body));
    row.count(Direction::ToClient, first.len());
    Some(Served::Pair(Box::new(Pair {
        client,
        origin,
        passage,
        first,
        session,
    })))
}

/// What a viewer watches that shares a pull, if it does.
fn wish(http: &Http, head: &RequestHead, request: &Request) -> Option<Wish> {
    // Players that can seek ask for everything like this.
    let range = head.headers.text("range");
    if range.is_some_and(|range| range.trim() != "bytes=0-") {
        return None;
    }
    let wish = http.hub.wish(request)?;
    if wish.is_checked() && head.headers.text("cookie").is_some() {
        // A shadow could not show it to the origin.
        return None;
    }
    // One that cannot be answered here is the origin's to answer.
    let is_flv = request.protocol == Protocol::HttpFlv;
    let answers = !head.is_websocket() || (is_flv && websocket::accept_key(head).is_some());
    answers.then_some(wish)
}

/// Waits for the pull that a viewer shares; `None` where it leaves meanwhile.
async fn watch(
    http: &Http,
    session: Session,
    wanted: &Wanted,
    recipe: Recipe,
    client: &mut Wire,
) -> Option<Result<Joined, NotJoined>> {
    let row = Arc::clone(session.row());
    tokio::select! {
        joined = http.hub.join(session, wanted, recipe) => Some(joined),
        reason = surplus(client) => {
            row.end(reason);
            None
        }
    }
}

/// Tells a viewer why it does not share a pull, and closes: as its origin said it, where it did by HTTP.
async fn refuse_viewer(client: &mut Wire, refusal: &Refusal, said: Option<&Said>, led: &Led<'_>) {
    let Some(said) = said else {
        let (status, words) = told(refusal, led.row);
        return send(client, status, &words).await;
    };
    let length = format!(
        "Connection: close\r\nContent-Length: {}\r\n",
        said.page.len()
    );
    let mut answer = head(said.status, &led.headers_of(said), &length);
    answer.extend_from_slice(&said.page);
    led.row.count(Direction::ToClient, answer.len());
    linger_close::say(client, &answer, linger_close::TIME_LIMIT).await;
}

/// The same for a viewer whose connection hyper has.
pub(super) fn refused_viewer(
    refusal: &Refusal,
    said: Option<&Said>,
    led: &Led<'_>,
) -> Result<Response<Body>, Refused> {
    let Some(said) = said else {
        return Err(told(refusal, led.row).into());
    };
    let mut response = Response::new(full(said.page.clone()));
    *response.status_mut() = said.status;
    *response.headers_mut() = led.headers_of(said);
    Ok(response)
}

/// What is said to a viewer of a refusal, in our words.
fn told(refusal: &Refusal, row: &Row) -> (StatusCode, String) {
    match refusal {
        Refusal::Ended(reason) => explain(&NoAnswer::Ended(*reason), row),
        refusal => (refusal.http_status(), refusal.to_string()),
    }
}

/// What is kept of a viewer's set-up, with the target as its origin would get it.
pub(super) fn recipe(session: &Session, target: &str, ends: Ends) -> Recipe {
    let target = session.for_origin(target);
    let query = target.split_once('?').map(|(_, query)| query);
    Recipe::of_http(&session.row().request.stream, query, ends.local)
}

/// The head that answers a viewer of a feed, and how its stream is framed.
fn greeting(request: &RequestHead, joined: &Joined, led: &Led<'_>) -> (Vec<u8>, ViewerProtocol) {
    if let Some(key) = Some(request).filter(|request| request.is_websocket()) {
        let key = websocket::accept_key(key).unwrap_or_default();
        let protocol = websocket::protocol(request)
            .map(|protocol| format!("Sec-WebSocket-Protocol: {protocol}\r\n"))
            .unwrap_or_default();
        let head = format!(
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Accept: {key}\r\n{protocol}\r\n"
        );
        return (
            head.into(),
            ViewerProtocol::WebSocket(ClientFrames::default()),
        );
    }
    let (coding, envelope) = match request.version {
        Version::Http11 => (
            "Connection: close\r\nTransfer-Encoding: chunked\r\n",
            Envelope::Chunked,
        ),
        Version::Http10 => ("Connection: close\r\n", Envelope::None),
    };
    let head = head(StatusCode::OK, &greeting_of(joined, led), coding);
    (head, ViewerProtocol::Http(joined.framing(envelope)))
}

/// A head as bytes, `end` being the last of its headers.
fn head(status: StatusCode, headers: &HeaderMap, end: &str) -> Vec<u8> {
    let reason = status.canonical_reason().unwrap_or_default();
    let start = format!("HTTP/1.1 {} {reason}\r\n", status.as_u16());
    let mut head = start.into_bytes();
    for (name, value) in headers {
        // As servers write them: not every small player takes other letters for the same.
        let mut begins = true;
        for letter in name.as_str().bytes() {
            head.push(if begins {
                letter.to_ascii_uppercase()
            } else {
                letter
            });
            begins = letter == b'-';
        }
        head.extend_from_slice(b": ");
        head.extend_from_slice(value.as_bytes());
        head.extend_from_slice(b"\r\n");
    }
    head.extend_from_slice(end.as_bytes());
    head.extend_from_slice(b"\r\n");
    head
}

/// What a viewer of a feed is told besides: what the origin said where it was asked over HTTP, and for the rest what SRS says.
pub(super) fn greeting_of(joined: &Joined, led: &Led<'_>) -> HeaderMap {
    let said = joined.said().map(|said| led.headers_of(said));
    let mut headers = said.unwrap_or_default();
    for (name, ours) in [
        // The pull names no page, and so an origin that speaks of sites only to pages has said nothing of them.
        (ACCESS_CONTROL_ALLOW_ORIGIN, "*"),
        (CONTENT_TYPE, content_type(joined.session())),
        (CACHE_CONTROL, "no-cache"),
    ] {
        headers
            .entry(name)
            .or_insert(HeaderValue::from_static(ours));
    }
    headers
}

/// The type of the body that a viewer of a feed gets: the one that SRS gives it.
fn content_type(session: &Session) -> &'static str {
    match session.row().request.protocol {
        Protocol::HttpAac => "audio/x-aac",
        Protocol::HttpMp3 => "audio/mpeg",
        Protocol::HttpTs => "video/MP2T",
        _ => "video/x-flv",
    }
}

/// An origin that is to answer.
struct Answering {
    origin: Wire,
    /// What came and was not taken: after the head, the body so far.
    bytes: Vec<u8>,
}

impl Answering {
    fn new(origin: Wire) -> Self {
        Self {
            origin,
            bytes: Vec::with_capacity(2048),
        }
    }

    /// Reads the head. It may be given up and called again: what came is kept.
    async fn head(&mut self, request: &RequestHead) -> Result<ResponseHead, NoAnswer> {
        loop {
            match ResponseHead::parse(&self.bytes) {
                // An interim answer is about the request, which is not waiting for one (RFC 9110 §15.2).
                Ok(Some((head, length))) if head.status < 200 && head.status != SWITCHING => {
                    self.bytes.drain(..length);
                    continue;
                }
                Ok(Some((head, length))) => {
                    check_switch(head.status, request)?;
                    self.bytes.drain(..length);
                    return Ok(head);
                }
                Ok(None) => {}
                Err(error) => return Err(NoAnswer::Broken(error.to_string())),
            }
            let read = self.origin.read_buf(&mut self.bytes).await;
            if !matches!(read, Ok(count) if count > 0) {
                return Err(NoAnswer::OriginGone);
            }
        }
    }
}

/// Reads the origin's head for as long as the client stays.
async fn answer_of(
    client: &mut Wire,
    answering: &mut Answering,
    request: &RequestHead,
    row: &Row,
) -> Result<ResponseHead, NoAnswer> {
    tokio::select! {
        biased;
        head = answering.head(request) => head,
        reason = surplus(client) => Err(NoAnswer::Ended(reason)),
        reason = row.ended() => Err(NoAnswer::Ended(reason)),
    }
}

/// What an origin says that refuses a stream.
fn refusal_of(answer: &ResponseHead) -> Option<String> {
    let reason = String::from_utf8_lossy(&answer.reason);
    let words = || format!("{} {reason}", answer.status);
    (answer.status >= REFUSES).then(|| words().trim_end().to_owned())
}

/// Ends a session whose origin said no after the two were joined.
pub(super) fn refuse(session: &Session, words: String) {
    let origin = session.row().placed().origin;
    session.refuse(&Refusal::Refused {
        origin: origin.unwrap_or_else(|| "-".into()),
        description: words,
    });
}

/// Passes an origin's refusal on, in its own words, and closes.
async fn pass_refusal(client: &mut Wire, answer: ResponseHead, answering: Answering, row: &Row) {
    let Answering { origin, bytes } = answering;
    let mut first = Vec::with_capacity(1024 + bytes.len());
    answer.for_client().write(&mut first);
    first.extend_from_slice(&bytes);
    let length = answer.headers.text("content-length");
    let length = length.and_then(|length| length.trim().parse().ok());
    let left = length.unwrap_or(MAX_REFUSAL).min(MAX_REFUSAL);
    let mut rest = origin.take(left.saturating_sub(bytes.len() as u64));
    let passed = async {
        client.write_all(&first).await?;
        tokio::io::copy(&mut rest, client).await
    };
    let passed = timeout(PASSED_WITHIN, passed).await;
    let count = passed.ok().and_then(Result::ok).unwrap_or_default();
    row.count(
        Direction::ToClient,
        first.len() + usize::try_from(count).unwrap_or_default(),
    );
    linger_close::say(client, &[], linger_close::TIME_LIMIT).await;
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Waits for what a viewer that has asked does next. Whatever it is, it is not patience: the end, or a request behind
/// an endless one.
async fn surplus(client: &mut Wire) -> EndReason {
    match client.read(&mut [0; 1]).await {
        Ok(count) if count > 0 => EndReason::ClientError,
        _ => EndReason::ClientClosed,
    }
}

/// An origin may switch protocols only where the client asked for it.
pub(super) fn check_switch(status: u16, request: &RequestHead) -> Result<(), NoAnswer> {
    if status == SWITCHING && !request.is_websocket() {
        return Err(NoAnswer::Broken(
            "it switched protocols without being asked".to_owned(),
        ));
    }
    Ok(())
}

/// Where a viewer is sent instead of being relayed, if a rule says so: the same path at another place.
pub(super) async fn redirect(
    head: &RequestHead,
    protocol: Protocol,
    ends: Ends,
    proxy: &Proxy,
) -> Option<String> {
    let stream = stream_of(head, ends, proxy).ok()?;
    let base = proxy.redirect(&stream, protocol, Via::Http).await?;
    debug!(%stream, location = base, "viewer sent away by rule");
    Some(format!("{base}{}", head.target))
}

/// The session of a pull: its stream is known by the one key, and its client is told to the origin; and whether it may share
/// one.
pub(super) async fn open(
    http: &Http,
    head: &RequestHead,
    protocol: Protocol,
    ends: Ends,
    identity: Option<&str>,
    proxy: &Proxy,
) -> Result<(Session, Forwarded, Option<Wish>), Refused> {
    let client = client_of(http, head, ends.client);
    let stream = stream_of(head, ends, proxy).map_err(|error| {
        turned_away::log(protocol.as_str(), client, "400", error);
        (StatusCode::BAD_REQUEST, error.to_string())
    })?;
    let forwarded = http.forwarded(ends);
    let request = Request {
        stream,
        action: Action::Play,
        protocol,
        client,
        by_way_of: Request::way(client, ends.peer),
        bond: None,
        credentials: credentials_of(head, &forwarded, &head.target, identity, proxy),
    };
    let wish = wish(http, head, &request);
    let offers_basic = offers_basic(proxy, &request, head);
    match proxy.open(request).await {
        Ok(session) => {
            let wish = wish.filter(|_| !session.is_renamed());
            Ok((session, forwarded, wish))
        }
        Err(refusal) => {
            let refused = Refused::from(&refusal);
            Err(refused.offering(offers_basic))
        }
    }
}

/// The stream that the target of a live pull names.
pub(super) fn stream_of(
    head: &RequestHead,
    ends: Ends,
    proxy: &Proxy,
) -> Result<StreamUrl, StreamError> {
    let dialect = dialect_of(head.host(), ends, proxy);
    let read = match dialect.file(head.host(), &head.target) {
        Some(file) => file.stream,
        None => StreamUrl::from_http(head.host(), &head.target),
    };
    let (_, query) = head.target.split_once('?').unwrap_or_default();
    proxy.dialects().named(read?, &[query])
}

/// The head of a live pull with the target that the origin of `attempt` is to be asked for: what another redirected it to `there`,
/// else the stream as that origin names it; `None` if that is the client's too.
pub(super) fn with_target_of(
    head: &RequestHead,
    dialect: Dialect,
    asked: &Request,
    attempt: &Attempt,
    there: Option<String>,
) -> Result<Option<RequestHead>, DialError> {
    let target = match there {
        Some(there) => there,
        None if attempt.naming.is_of(dialect) => return Ok(None),
        None => {
            let (_, query) = head.target.split_once('?').unwrap_or_default();
            let file = File::Live(asked.protocol);
            attempt.naming.file(dialect, &asked.stream, file, query)?
        }
    };
    let mut head = head.clone();
    head.target = target;
    Ok(Some(head))
}

/// What the client of a request showed, with the `target` it asked for and the name in its certificate.
pub(super) fn credentials_of(
    head: &RequestHead,
    forwarded: &Forwarded,
    target: &str,
    identity: Option<&str>,
    proxy: &Proxy,
) -> Option<Box<Credentials>> {
    let (scheme, host) = head.asked_at(forwarded);
    let shown = Credentials::of_target(target)
        .at(scheme, host)
        .with_authorization(head.headers.text("authorization"))
        .with_cookie(head.headers.text("cookie"))
        .with_certificate(identity);
    let shown = match proxy.asks_backends() {
        true => shown.with_surroundings(
            head.headers.text("referer"),
            head.headers.text("user-agent"),
        ),
        false => shown,
    };
    shown.boxed()
}

/// What a client hears whose origin did not answer.
pub(super) fn explain(no_answer: &NoAnswer, row: &Row) -> (StatusCode, String) {
    let stream = &row.request.stream;
    match no_answer {
        NoAnswer::Ended(EndReason::WaitedTooLong) => {
            let words = format!("{stream}: no media came in time");
            (StatusCode::GATEWAY_TIMEOUT, words)
        }
        NoAnswer::Ended(EndReason::ClientError) => {
            (StatusCode::BAD_REQUEST, NOTHING_FOLLOWS.to_owned())
        }
        NoAnswer::Ended(reason) => {
            let refusal = Refusal::Ended(*reason);
            (refusal.http_status(), refusal.to_string())
        }
        NoAnswer::OriginGone => (StatusCode::BAD_GATEWAY, format!("{stream}: {CLOSED}")),
        NoAnswer::Broken(_) => (StatusCode::BAD_GATEWAY, format!("{stream}: {NO_HTTP}")),
    }
}

/// Ends a session whose origin did not answer. One that closes instead, or says what is no answer, has refused.
pub(super) fn end_without_answer(session: &Session, no_answer: NoAnswer) {
    match no_answer {
        NoAnswer::Broken(problem) => refuse(session, format!("{NO_HTTP}: {problem}")),
        NoAnswer::Ended(reason) => session.row().end(reason),
        NoAnswer::OriginGone => refuse(session, CLOSED.to_owned()),
    }
}

/// The client for which trusted proxies connected, the last of which is `connected`.
pub(super) fn client_of(http: &Http, head: &RequestHead, connected: ClientAddr) -> ClientAddr {
    let lines: Vec<&str> = head
        .headers
        .all("x-forwarded-for")
        .filter_map(|line| str::from_utf8(line).ok())
        .collect();
    forwarded::client(&http.settings.trusted_proxies, connected, lines.into_iter())
}

/// Passes bytes as they are; what a viewer sends is only its end, unless the protocol was switched.
#[derive(Debug)]
pub(super) struct Raw {
    row: Arc<Row>,
    came: u64,
    /// Where the origin is in what it says, if the protocol was switched.
    pub(super) frames: Option<Box<ServerFrames>>,
    /// What takes a body out of its chunks, for a client that knows none.
    chunks: Option<Box<Chunks>>,
    unhurried: DelayedAcks,
}

/// A body in chunks, on its way to a client that knows none.
#[derive(Debug)]
struct Chunks {
    reader: BodyReader,
    /// What came and was not taken: part of a line between chunks, which is malformed where it is longer than a head may be.
    rest: Vec<u8>,
    /// Of the last bytes that came: what is the body's.
    body: Vec<u8>,
    /// The last chunk came, or what is none.
    over: Option<LegEnd>,
}

impl Default for Chunks {
    fn default() -> Self {
        Self {
            reader: BodyReader::new(Framing::Chunked),
            rest: Vec::new(),
            body: Vec::new(),
            over: None,
        }
    }
}

impl Chunks {
    fn take(&mut self, input: &[u8]) -> &[u8] {
        self.body.clear();
        if self.over.is_none() {
            self.rest.extend_from_slice(input);
        }
        let mut at = 0;
        while self.over.is_none() {
            let rest = self.rest.get(at..).unwrap_or_default();
            match self.reader.next(rest) {
                Ok(Part::Data(count)) => {
                    self.body
                        .extend_from_slice(rest.get(..count).unwrap_or_default());
                    at += count;
                }
                Ok(Part::Skip(count)) => at += count,
                Ok(Part::More) => break,
                Ok(Part::End) => self.over = Some(LegEnd::Closed),
                Err(_) => self.over = Some(LegEnd::Broken),
            }
        }
        self.rest.drain(..at);
        &self.body
    }
}

impl Raw {
    /// A passage after these first bytes of the body; `upgraded` says that the protocol was switched.
    pub(super) fn new(row: &Arc<Row>, first: &[u8], upgraded: bool) -> Self {
        let came = first.len() as u64;
        row.body_came(came);
        let mut frames = upgraded.then(Box::<ServerFrames>::default);
        if let Some(frames) = &mut frames {
            frames.pass(first);
        }
        Self {
            row: Arc::clone(row),
            came,
            frames,
            chunks: None,
            unhurried: DelayedAcks::default(),
        }
    }

    /// The bytes of the body in `input`, where it comes in chunks and its client knows none.
    fn without_chunks<'a>(&'a mut self, input: &'a [u8]) -> &'a [u8] {
        match &mut self.chunks {
            Some(chunks) => chunks.take(input),
            None => input,
        }
    }
}

impl Passage for Raw {
    fn read_from_origin(&mut self, origin: &TcpStream) {
        if self.row.first_media().is_some() {
            self.unhurried.read(origin);
        }
    }

    fn to_client<'a>(&'a mut self, input: &'a [u8]) -> Result<&'a [u8], LegEnd> {
        if self.row.tap.is_on() {
            self.row.tap.copy(input, || Some(Tapped::Flv));
        }
        if let Some(frames) = &mut self.frames {
            frames.pass(input);
        }
        self.came += input.len() as u64;
        self.row.body_came(self.came);
        Ok(self.without_chunks(input))
    }

    fn to_origin<'a>(&'a mut self, input: &'a [u8]) -> Result<&'a [u8], EndReason> {
        if self.frames.is_some() {
            Ok(input)
        } else {
            Err(EndReason::ClientError)
        }
    }

    /// An origin may keep its connection after the last chunk, whose client hears the end of the body by that of its own.
    fn leg_end(&self) -> Option<LegEnd> {
        self.chunks.as_ref()?.over
    }
}

/// What an origin did that gave no answer.
const CLOSED: &str = "its origin closed the connection without an answer";
const NO_HTTP: &str = "its origin's answer is not HTTP";
/// What a client hears that sends more than its pull.
pub(super) const NOTHING_FOLLOWS: &str = "nothing may follow a pull on its connection";
/// The first status that says no (RFC 9110 §15.5).
pub(super) const REFUSES: u16 = 400;
/// Bytes of the page that an origin refuses with.
const MAX_REFUSAL: u64 = 256 * 1024;
/// Bytes that are read at once of a frame that is to be finished.
const OF_A_FRAME: usize = 4 * 1024;
/// How long that page may take.
const PASSED_WITHIN: Duration = Duration::from_secs(5);
const SWITCHING: u16 = StatusCode::SWITCHING_PROTOCOLS.as_u16();
