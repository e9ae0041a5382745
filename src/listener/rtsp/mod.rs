//! RTSP: a client is heard until it has named its stream, its request goes on as it came, and from then on the two
//! talk through us.
//!
//! | file | what it does |
//! | --- | --- |
//! | `mod` | from the first byte to a joined pair, with as many tries as credentials take |
//! | `challenge` | in which ways a client may say who it is, and its answer |
//! | `leg` | the origin side while it is asked |
//! | `pair` | a joined pair, and what is watched and changed as it talks |
//! | `datagrams` | the tracks that travel over UDP |
//! | `told` | of which origins the log was told lately that no client can log in there |

mod challenge;
mod datagrams;
mod leg;
mod pair;
mod told;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use sluicegate_core::access::credentials::Credentials;
use sluicegate_core::access::question::UsedHeader;
use sluicegate_core::dialect::Rename;
use sluicegate_core::place::origins_no::may_mean_busy;
use sluicegate_core::preface::mistaken;
use sluicegate_core::rtsp::challenge::rejects;
use sluicegate_core::rtsp::join::{FromOrigin, Join, News};
use sluicegate_core::rtsp::message::{Message, Method, Refused, Speaker, response};
use sluicegate_core::rtsp::rewrite::{Rewrite, authority, path};
use sluicegate_core::rtsp::server::{NamedStream, Server};
use sluicegate_core::rtsp::take_out::TakeOut;
use sluicegate_core::rtsp::walk::WalkError;
use sluicegate_core::stream::{Action, Protocol, StreamUrl};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{Instant, timeout, timeout_at};
use tokio_util::sync::CancellationToken;
use tracing::debug;

use self::challenge::{Challenge, answer};
use self::leg::{AnswerMeaning, Leg};
use self::pair::Pair;
use super::turned_away;
use crate::config;
use crate::net::entrance::{Ends, Visitor};
use crate::net::wire::Wire;
use crate::net::{linger_close, relay};
use crate::origin::dial::Dialer;
use crate::origin::elsewhere::Elsewhere;
use crate::proxy::{Attempt, DialError, Proxy, Refusal, Request, Session, Why};
use crate::sessions::{Direction, EndReason};
use crate::value::LocalAddr;

pub use self::datagrams::UdpPorts;
pub use self::told::ToldOrigins;

/// What the RTSP listener is set to.
#[derive(Debug, Clone)]
pub struct Rtsp {
    /// Its section of the settings.
    pub settings: Arc<config::Rtsp>,
    /// Reaches origins.
    pub dialer: Arc<Dialer>,
    /// Ports for media over UDP; without any it is refused.
    pub udp: Option<Arc<UdpPorts>>,
    /// The origins that the log was told of, at which no client can log in.
    pub told: Arc<ToldOrigins>,
    /// Clients that have not said what they want are let go at this.
    pub stop: CancellationToken,
}

/// Why a client never got as far as a request.
#[derive(Debug, thiserror::Error)]
enum NoRequest {
    #[error("{rule}")]
    Broken { status: u16, rule: String },
    #[error("the client closed")]
    Closed,
    #[error("the session was ended")]
    Ended,
    #[error("the client took too long to name its stream")]
    Slow,
    #[error("this proxy is stopping")]
    Stopping,
}

/// How a request ended that found no origin to talk to.
enum RequestEnd {
    /// The client is gone, or has to go.
    Gone,
    /// It was told why, and may ask for something else; it may have done so already.
    Told(Option<Box<NamedStream>>),
}

impl Rtsp {
    /// Serves one connection from accept to close.
    pub fn connection(
        self,
        visitor: Visitor,
        proxy: Proxy,
    ) -> impl Future<Output = ()> + Send + 'static {
        relay::set_up_then(self.set_up(visitor, proxy), Pair::serve)
    }

    /// From the first byte to a joined pair; `None` when there is nothing to relay, and the client knows why.
    async fn set_up(self, visitor: Visitor, proxy: Proxy) -> Option<Box<Pair>> {
        let Visitor {
            wire: mut client,
            early,
            ends,
            ..
        } = visitor;
        let mut server = Server::of_clients(Arc::clone(proxy.dialects()), ends.local.port());
        server.feed(&early);
        let mut known = None;
        // A challenge holds for this connection.
        let mut nonce = None;
        loop {
            let asked = match known.take() {
                Some(asked) => asked,
                None => match self
                    .identify(
                        &mut client,
                        &mut server,
                        &ends,
                        self.settings.identify_timeout,
                    )
                    .await
                {
                    Ok(asked) => asked,
                    Err(NoRequest::Broken { status, rule }) => {
                        turned_away::log("rtsp", ends.client, status, rule);
                        return None;
                    }
                    Err(error) => {
                        debug!(client = %ends.client, %error, "no RTSP request came");
                        return None;
                    }
                },
            };
            match self
                .place(&mut client, &mut server, &proxy, (asked, &mut nonce), ends)
                .await
            {
                Ok((session, leg, join, asked, first)) => {
                    let (walk, rest) = server.into_rest();
                    let talk = (join, walk);
                    let pair = Pair::new(client, leg, talk, session, ends, self.udp.clone());
                    return pair.begin(first, &asked.message, rest).await;
                }
                Err(RequestEnd::Told(asked)) => known = asked.map(|asked| *asked),
                Err(RequestEnd::Gone) => return None,
            }
        }
    }

    /// Answers the client until it has said what it wants.
    async fn identify(
        &self,
        client: &mut Wire,
        server: &mut Server,
        ends: &Ends,
        time_limit: Duration,
    ) -> Result<NamedStream, NoRequest> {
        let deadline = Instant::now() + time_limit;
        let mut buffer = Vec::new();
        loop {
            let heard = server.poll();
            let answers = server.take_output();
            if let Some(refused) = server.take_refused() {
                turned_away::log("rtsp", ends.client, refused.status, refused.rule());
            }
            if heard.is_err() {
                linger_close::say(client, &answers, linger_close::TIME_LIMIT).await;
            } else if !answers.is_empty() {
                // A client that does not read its answers is as slow as one that does not speak.
                let written = timeout_at(deadline, client.write_all(&answers)).await;
                written
                    .map_err(|_| NoRequest::Slow)?
                    .map_err(|_| NoRequest::Closed)?;
            }
            let heard = heard.map_err(|error| NoRequest::Broken {
                status: error.status(),
                rule: error.to_string(),
            });
            if let Some(asked) = heard? {
                return Ok(asked);
            }
            buffer.clear();
            buffer.reserve(SETUP_READ);
            let read = tokio::select! {
                read = timeout_at(deadline, client.read_buf(&mut buffer)) => read,
                () = self.stop.cancelled() => return Err(NoRequest::Stopping),
            };
            match read.map_err(|_| NoRequest::Slow)? {
                Ok(count) if count > 0 => match mistaken(&buffer) {
                    Some(other) => {
                        return Err(NoRequest::Broken {
                            status: 400,
                            rule: other.to_owned(),
                        });
                    }
                    None => server.feed(&buffer),
                },
                _ => return Err(NoRequest::Closed),
            }
        }
    }

    /// Finds the origin of a stream and asks it, until it has something to say other than to ask for credentials.
    async fn place(
        &self,
        client: &mut Wire,
        server: &mut Server,
        proxy: &Proxy,
        (mut asked, nonce): (NamedStream, &mut Option<String>),
        ends: Ends,
    ) -> Result<(Session, Leg, Join, NamedStream, Vec<u8>), RequestEnd> {
        find_stream(&mut asked, proxy).await;
        let agent = asked.message.field("user-agent");
        let agent = agent.filter(|_| proxy.asks_backends());
        let request = Request {
            stream: asked.stream.clone(),
            action: asked.action,
            protocol: Protocol::Rtsp,
            client: ends.client,
            by_way_of: Request::way(ends.client, ends.peer),
            bond: None,
            credentials: Credentials::of_target(asked.message.uri())
                .with_authorization(asked.message.field("authorization"))
                .with_answer(answer(&asked.message, nonce.as_deref()))
                .with_certificate(client.identity().as_deref())
                .with_surroundings(None, agent)
                .boxed(),
        };
        let challenge = Challenge {
            challenges: proxy.challenges(&request),
            nonce,
        };
        let session = match proxy.open(request).await {
            Ok(session) => session,
            Err(refusal) => {
                let words = challenge.refused(&refusal, &asked.message);
                return Err(self.tell(client, &words).await);
            }
        };
        let take_out = TakeOut::new(
            session.taken_out(),
            session
                .headers_taken_out()
                .contains(&UsedHeader::Authorization),
            asked.message.uri(),
        );
        let kept = WaitingLeg::default();
        // The origin's last challenge.
        let mut last: Option<Message> = None;
        loop {
            let said = Said::default();
            let heard = tokio::select! {
                biased;
                heard = session
                    .dial(|attempt| {
                        let stream = &session.row().request.stream;
                        let taken = take_out.clone();
                        let asking = Asking {
                            proxy,
                            asked: &asked,
                            stream,
                            kept: &kept,
                            said: &said,
                            ends,
                        };
                        self.ask(attempt, asking, taken)
                    }) => heard,
                () = client.closed() => Err(Refusal::Ended(EndReason::ClientClosed)),
            };
            let (leg, answer) = match heard {
                Ok(heard) => heard,
                Err(Refusal::Ended(_)) => return Err(RequestEnd::Gone),
                Err(refusal) => {
                    let words = said.refused(&refusal, &asked.message);
                    return Err(self.tell(client, &words).await);
                }
            };
            session.answered();
            let row = session.row();
            row.count(Direction::ToOrigin, asked.message.bytes().len());
            let mut join = leg.join(&asked, ends);
            let first = answer.as_ref();
            let first = first.map(|message| leg::to_client(&mut join, message));
            let first = first.unwrap_or_default();
            row.count(Direction::ToClient, first.len());
            let Some(challenge) = answer.filter(|_| leg.is_challenging()) else {
                return Ok((session, leg, join, asked, first));
            };
            let rest = take_out.as_ref();
            let rest = rest.and_then(|take_out| take_out.rest_of(&asked.message));
            let showed = rest.as_ref().unwrap_or(&asked.message);
            let is_rejected = rejects(showed, last.as_ref(), &challenge);
            if is_rejected {
                let refusal = Refusal::Refused {
                    origin: leg.origin().clone(),
                    description: leg::status_line(&challenge),
                };
                proxy.note_refusal(&row.request, &refusal);
            }
            last = Some(challenge);
            kept.put(leg);
            let left = match is_rejected {
                true => EndReason::Refused,
                false => EndReason::ClientClosed,
            };
            if !matches!(self.tell(client, &first).await, RequestEnd::Told(_)) {
                session.finish(left);
                return Err(RequestEnd::Gone);
            }
            let next = tokio::select! {
                next = self.identify(client, server, &ends, CREDENTIALS) => next,
                _ = row.ended() => Err(NoRequest::Ended),
            };
            match next {
                Ok(next) if next.stream == asked.stream && next.action == asked.action => {
                    asked = next;
                }
                // Another stream is another session.
                Ok(other) => {
                    session.finish(left);
                    return Err(RequestEnd::Told(Some(Box::new(other))));
                }
                Err(error) => {
                    debug!(client = %ends.client, %error, "no credentials came");
                    session.finish(left);
                    return Err(RequestEnd::Gone);
                }
            }
        }
    }

    /// Asks one origin: what it can do, which shows that it lives, and then the client's own request.
    async fn ask(
        &self,
        mut attempt: Attempt,
        asking: Asking<'_>,
        take_out: Option<TakeOut>,
    ) -> Result<(Leg, Option<Message>), DialError> {
        let Asking { asked, ends, .. } = asking;
        let rest = take_out
            .as_ref()
            .and_then(|take_out| take_out.rest_of(&asked.message));
        let request = rest.as_ref().unwrap_or(&asked.message);
        if let Some(mut leg) = asking.kept.take(&attempt) {
            let renamed = renamed(request, leg.rename());
            match leg.exchange(renamed.as_ref().unwrap_or(request)).await {
                Ok(answer) => return self.judge(leg, &attempt, answer, asking).await,
                // It closed after it had asked for credentials: a new connection takes them too.
                Err(error) => {
                    debug!(origin = %attempt.origin, ?error, "asked again on a new connection");
                }
            }
        }
        let named = stream_path(path(asked.message.uri()), asked);
        let rename = attempt.naming.rtsp(asked.dialect, asking.stream, named)?;
        let registry = asking.proxy.registry();
        let rename = match asking.said.elsewhere.follow(registry, &mut attempt) {
            Some(url) if !path(&url).is_empty() => redirected(&url, named, request.uri()),
            _ => rename,
        };
        let wire = self.dialer.dial(&attempt, ends.client, ends.local).await?;
        let mut leg = Leg::new(attempt.origin.clone(), wire, rename, take_out);
        leg.greet(asked, attempt.time_limit).await?;
        let again = || self.dialer.dial(&attempt, ends.client, ends.local);
        if leg.is_closing() {
            leg = leg.anew(again().await?);
        }
        if request.method() == Some(Method::Setup) {
            // What becomes of a SETUP is decided where the two talk.
            return Ok((leg, None));
        }
        let renamed = renamed(request, leg.rename());
        let request = renamed.as_ref().unwrap_or(request);
        let mut answer = leg.exchange(request).await;
        // Some cameras want credentials for everything, and close without them. The client's request may have some.
        if matches!(answer, Err(DialError::HungUp(_))) && leg.refused_greeting() {
            leg = leg.anew(again().await?);
            answer = leg.exchange(request).await;
        }
        let answer = answer.inspect_err(|_| asking.said.note_unread(leg.unread()))?;
        self.judge(leg, &attempt, answer, asking).await
    }

    /// What the answer of an origin means for the request.
    async fn judge(
        &self,
        mut leg: Leg,
        attempt: &Attempt,
        answer: Message,
        asking: Asking<'_>,
    ) -> Result<(Leg, Option<Message>), DialError> {
        let note_no = |words: Vec<u8>| {
            let no = &asking.said.no;
            *no.lock().unwrap_or_else(PoisonError::into_inner) = Some(words);
        };
        match AnswerMeaning::of(&answer) {
            AnswerMeaning::Grants => Ok((leg, Some(answer))),
            AnswerMeaning::Challenges => {
                let mut join = leg.join(asking.asked, asking.ends);
                if let FromOrigin {
                    bytes: Some(words),
                    news: Some(News::Unanswerable { why, .. }),
                } = join.from_origin(&answer)
                {
                    self.told.tell_of(leg.origin(), why);
                    let status = leg::status_line(&answer);
                    note_no(words);
                    let reason = format!("{status}: {}", why.as_str());
                    return Err(DialError::Refused(reason));
                }
                leg.note_challenge();
                Ok((leg, Some(answer)))
            }
            AnswerMeaning::Moves(url) => {
                let place = attempt.place_of(&url).unwrap_or_default();
                let registry = asking.proxy.registry();
                let connector = &self.dialer.connector;
                let place = connector.as_registered(registry, attempt, place).await;
                let for_one = leg.is_asked_for_another(asking.asked.message.uri(), &url);
                asking.said.elsewhere.note(place.clone(), url);
                Err(DialError::Moved { place, for_one })
            }
            AnswerMeaning::Refuses => {
                let mut join = leg.join(asking.asked, asking.ends);
                let words = leg::to_client(&mut join, &answer);
                note_no(words);
                let reason = leg::status_line(&answer);
                let may_be_busy = answer.status().is_some_and(may_mean_busy);
                Err(match asking.asked.action {
                    Action::Publish if may_be_busy => DialError::Busy(reason),
                    Action::Play | Action::Publish => DialError::Refused(reason),
                })
            }
        }
    }

    /// Writes to a client that may ask again.
    async fn tell(&self, client: &mut Wire, words: &[u8]) -> RequestEnd {
        match timeout(self.settings.identify_timeout, client.write_all(words)).await {
            Ok(Ok(())) => RequestEnd::Told(None),
            _ => RequestEnd::Gone,
        }
    }
}

/// For whom an origin is asked for what.
#[derive(Clone, Copy)]
struct Asking<'a> {
    proxy: &'a Proxy,
    asked: &'a NamedStream,
    stream: &'a StreamUrl,
    kept: &'a WaitingLeg,
    said: &'a Said,
    ends: Ends,
}

/// What origins say that do not join.
#[derive(Default)]
struct Said {
    /// What the client gets of one that says no.
    no: Mutex<Option<Vec<u8>>>,
    /// Why the answer of the last one cannot be read.
    unread: Mutex<Option<WalkError>>,
    /// The URL of a redirect.
    elsewhere: Elsewhere<String>,
}

impl Said {
    fn note_unread(&self, error: Option<WalkError>) {
        *self.unread.lock().unwrap_or_else(PoisonError::into_inner) = error;
    }

    /// What a client gets that no origin joined, for this reason.
    fn refused(self, refusal: &Refusal, request: &Message) -> Vec<u8> {
        let no = self.no.into_inner();
        let unread = self.unread.into_inner();
        let no = no.unwrap_or_else(PoisonError::into_inner);
        let unread = unread.unwrap_or_else(PoisonError::into_inner);
        match (no, refusal, unread) {
            (Some(no), ..) => no,
            (None, Refusal::HungUp { .. }, Some(error)) => {
                let words = format!("Bad Gateway: {refusal}: {error}");
                Refused::new(502, words).answer(request)
            }
            (None, ..) => refused(refusal, request, ""),
        }
    }
}

/// A request of the client as an origin gets it that calls the stream otherwise; `None` if nothing of it changes.
fn renamed(request: &Message, rename: Option<&Rename>) -> Option<Message> {
    request.with_path_of(rename?, Speaker::Client)
}

/// The two names of a stream that the client calls `named` in `uri`, and that an origin redirects to `url`; `None` if they are
/// the same. A query of the client's own stays where the redirect has none.
fn redirected(url: &str, named: &str, uri: &str) -> Option<Rename> {
    let with = |path: &str, query: Option<String>| match query {
        Some(query) => [path, "?", &query].concat(),
        None => path.to_owned(),
    };
    let wanted = query_of(url);
    let own = wanted.is_some().then(|| query_of(uri)).flatten();
    let (named, to) = (with(named, own), with(path(url), wanted));
    (named != to).then(|| Rename::new(&named, &to))
}

fn query_of(url: &str) -> Option<String> {
    Some(url.split_once('?')?.1.split('#').next()?.to_owned())
}

/// A connection to an origin that waits for credentials.
#[derive(Default)]
struct WaitingLeg(Mutex<Option<Leg>>);

impl WaitingLeg {
    fn put(&self, leg: Leg) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(leg);
    }

    fn take(&self, attempt: &Attempt) -> Option<Leg> {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.take().filter(|leg| leg.origin() == &attempt.origin)
    }
}

/// A refusal in RTSP's words: the status says whose turn it is, and the rest says why, without an address.
/// `challenge` are the fields that say in which ways the client may say who it is, where that is what is missing.
fn refused(refusal: &Refusal, request: &Message, challenge: &str) -> Vec<u8> {
    let (status, phrase) = match refusal {
        Refusal::AllClosed { .. }
        | Refusal::AllFailed { .. }
        | Refusal::HungUp { .. }
        | Refusal::Redirected { .. }
        | Refusal::Refused { .. } => (502, "Bad Gateway"),
        Refusal::Draining
        | Refusal::Ended(_)
        | Refusal::Gone { .. }
        | Refusal::NoOrigin { .. }
        | Refusal::NotYet { .. } => (503, "Service Unavailable"),
        Refusal::Exhausted { .. }
        | Refusal::Full
        | Refusal::Limited { .. }
        | Refusal::NoRoom { .. }
        | Refusal::TooManyClaims => (453, "Not Enough Bandwidth"),
        Refusal::Denied {
            why: Why::Unknown, ..
        } => (401, "Unauthorized"),
        Refusal::Denied { .. } | Refusal::Published { .. } => (403, "Forbidden"),
        Refusal::TooSlow { .. } => (504, "Gateway Time-out"),
        Refusal::CannotAsk { .. } | Refusal::WrongService { .. } => (404, "Not Found"),
    };
    response(
        status,
        &format!("{phrase}: {refusal}"),
        Some(request),
        challenge,
    )
}

/// Finds the stream of a SETUP that comes first, as that of a player that asked for media over UDP, got none, and asks again
/// on a new connection. What is placed says where the stream's name ends and the track's begins.
async fn find_stream(asked: &mut NamedStream, proxy: &Proxy) {
    let mut readings = asked.readings(proxy.dialects());
    let streams: Vec<&StreamUrl> = readings.iter().map(|(stream, _)| stream).collect();
    if let Some(at) = proxy.first_placed(&streams).await {
        (asked.stream, asked.track) = readings.swap_remove(at);
    }
}

/// The path of the stream in a URL that may name a track of it.
fn stream_path<'a>(named: &'a str, asked: &NamedStream) -> &'a str {
    (0..asked.track).fold(named, |path, _| {
        path.rsplit_once('/').map_or(path, |(stream, _)| stream)
    })
}

/// What the client calls us: by its URI, else by where it reached us.
fn own_name(asked: &NamedStream, local: LocalAddr) -> String {
    authority(asked.message.uri()).map_or_else(|| local.to_string(), str::to_owned)
}

impl Leg {
    /// Whether a client that the origin redirects to `url` is to ask for something else there than in `uri`, as the origin got
    /// that.
    fn is_asked_for_another(&self, uri: &str, url: &str) -> bool {
        let asked = match self.rename() {
            Some(rename) => rename.url_to_origin(uri),
            None => uri.into(),
        };
        !path(url).is_empty() && redirected(url, path(&asked), &asked).is_some()
    }

    /// The talk of the two.
    fn join(&self, asked: &NamedStream, ends: Ends) -> Join {
        let rewrite = Rewrite {
            authority: own_name(asked, ends.local),
            local: ends.local.ip(),
            secure: false,
            rename: self.rename().cloned(),
            take_out: self.take_out().cloned(),
        };
        Join::new(asked, ends.client.ip(), rewrite).knowing(self.public())
    }
}

const SETUP_READ: usize = 4 * 1024;
/// Players ask a person for a name and a password.
const CREDENTIALS: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;

    fn size<F: Future>(_: impl Fn(Rtsp, Visitor, Proxy) -> F) -> usize {
        size_of::<F>()
    }

    #[test]
    fn a_relaying_connection_keeps_no_room_for_its_set_up() {
        let bytes = size(Rtsp::connection) + size_of::<Pair>();
        assert!(bytes <= 2 * 1024, "{bytes} bytes");
    }
}
