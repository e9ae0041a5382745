//! RTMP: the client is answered up to its `publish` or `play`, joined with the origin of its stream, and from
//! then on watched, not translated.

use std::borrow::Cow;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::future::Either;
use sluicegate_core::access::challenge::Answer;
use sluicegate_core::access::credentials::Credentials;
use sluicegate_core::dialect::{RtmpAddress, RtmpAsked, Unsayable};
use sluicegate_core::fleet::origin::OriginId;
use sluicegate_core::media::tap;
use sluicegate_core::place::leg::LegEnd;
use sluicegate_core::place::rule::Via;
use sluicegate_core::preface::mistaken;
use sluicegate_core::rtmp::amf0::Value;
use sluicegate_core::rtmp::join::{Join, Joined, Progress};
use sluicegate_core::rtmp::server::{Identified, Server, ServerEvent, StreamRequest};
use sluicegate_core::stream::{Action, Protocol, StreamUrl};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info};

mod held;
mod login;
mod moves;
mod refused;

use self::held::Again;
use self::moves::Move;
use self::refused::{
    StatusFor, carries_another, follows_redirects, no, refuse, refuse_as, send_away, status,
};
use super::{pair, turned_away};
use crate::config;
use crate::hub::{self, Hub, NotJoined, Recipe, ViewerProtocol, Wanted, Watching};
use crate::net::entrance::{Ends, Visitor};
use crate::net::linger_close;
use crate::net::relay::{self, DelayedAcks, Passage, acknowledge_at_once};
use crate::net::wire::Wire;
use crate::origin::dial::Dialer;
use crate::origin::elsewhere::{Elsewhere, Redirect};
use crate::proxy::{Attempt, DialError, Proxy, Refusal, Request, Session, Welcome};
use crate::sessions::{Direction, EndReason, Over, Row, State, Tapped};

/// What the RTMP listener is set to.
#[derive(Debug, Clone)]
pub struct Rtmp {
    /// Its section of the settings.
    pub settings: Arc<config::Rtmp>,
    /// Reaches origins.
    pub dialer: Arc<Dialer>,
    /// Serves viewers that share a pull.
    pub hub: Hub,
    /// Clients that have not said what they want are let go at this.
    pub stop: CancellationToken,
}

/// Why a client never got as far as a request.
#[derive(Debug, thiserror::Error)]
enum NoRequest {
    #[error("{0}")]
    Broken(String),
    #[error("the client closed")]
    Closed,
    #[error("the client has to log in first, and was told how")]
    Login,
    #[error("the client took too long to {0}")]
    Slow(&'static str),
    #[error("this proxy is stopping")]
    Stopping,
}

impl Rtmp {
    /// Serves one connection from accept to close.
    pub fn connection(
        self,
        visitor: Visitor,
        proxy: Proxy,
    ) -> impl Future<Output = ()> + Send + 'static {
        relay::set_up_then(self.set_up(visitor, proxy), Served::serve)
    }

    /// From the first byte to a joined pair, or to a viewer of a feed; `None` when there is nothing to serve, and the
    /// client knows why.
    async fn set_up(self, visitor: Visitor, proxy: Proxy) -> Option<Served> {
        let Visitor {
            wire: mut client,
            early,
            ends,
            origin_side,
        } = visitor;
        let identified = self.identify(&mut client, early, &proxy, ends).await;
        let (mut identified, server, answer) = match identified {
            Ok(identified) => identified,
            Err(NoRequest::Broken(detail)) => {
                let peer = Request::way(ends.client, ends.peer);
                let peer = peer.as_ref().map(tracing::field::display);
                info!(client = %ends.client, peer, detail, "refused: what came is no RTMP request");
                return None;
            }
            Err(error) => {
                debug!(client = %ends.client, %error, "no RTMP request came");
                return None;
            }
        };
        let asked = StatusFor {
            action: identified.request.action,
            stream_id: identified.request.stream_id,
        };
        let named = RtmpAsked {
            tc_url: &identified.request.tc_url,
            name: &identified.request.name,
        };
        let (dialects, port) = (proxy.dialects(), ends.local.port());
        let (dialect, _) = dialects.of(named.host(), port);
        let read = dialects.rtmp(&named, port);
        let by_parameters = dialects.rtmp_names_by_parameters(&named, port);
        (identified.dialect, identified.by_parameters) = (dialect, by_parameters);
        let stream = match read {
            Ok(stream) => stream,
            Err(error) => {
                turned_away::log("rtmp", ends.client, no(asked.action), error);
                return refuse(&mut client, asked, &error.to_string()).await;
            }
        };
        if asked.action == Action::Play
            && follows_redirects(&identified.request.connect)
            && let Some(base) = proxy.redirect(&stream, Protocol::Rtmp, Via::Rtmp).await
        {
            debug!(client = %ends.client, %stream, to = base, "edge sent away by rule");
            let name = &identified.request.name;
            return send_away(&mut client, &base, &stream, name).await;
        }
        let shown = Credentials::of_rtmp(&identified.request.tc_url, &identified.request.name);
        let shown = match proxy.asks_backends() {
            true => with_connect(shown, &identified.request),
            false => shown,
        };
        let request = Request {
            stream: stream.clone(),
            action: asked.action,
            protocol: Protocol::Rtmp,
            client: ends.client,
            by_way_of: Request::way(ends.client, ends.peer),
            bond: None,
            credentials: shown
                .with_certificate(client.identity().as_deref())
                .with_answer(answer)
                .boxed(),
        };
        let wish = self.hub.wish(&request).filter(|_| is_live(&identified));
        let mut session = match proxy.open(request).await {
            Ok(session) => session,
            Err(refusal) => return refuse_as(&mut client, asked, &refusal).await,
        };
        if let Some(wish) = wish.filter(|_| !session.is_renamed()) {
            let wanted = self.hub.wants(&session, &wish);
            let recipe = Recipe::of_rtmp(&identified.request, dialect, ends.local);
            // Boxed: those who share no pull need no room for this.
            let watched = Box::pin(self.watch(session, &wanted, recipe, &mut client)).await?;
            match watched {
                Ok(joined) => {
                    let voice = ViewerProtocol::Rtmp {
                        server: Box::new(server),
                        stream_id: asked.stream_id,
                        dialects: Arc::clone(proxy.dialects()),
                        port: ends.local.port(),
                    };
                    joined.take_origin_side(&origin_side);
                    return Some(Served::Watching(joined.watch(client, Vec::new(), voice)));
                }
                Err(NotJoined::Alone(alone)) => session = alone,
                Err(NotJoined::Refused(session, refusal, _)) => {
                    session.refuse(&refusal);
                    return match refusal {
                        Refusal::Ended(_) => None,
                        refusal => refuse_as(&mut client, asked, &refusal).await,
                    };
                }
            }
        }
        // What an origin that says no says to the client.
        let said = Mutex::new(None);
        let elsewhere = Elsewhere::default();
        let hold = session.hold_for();
        identified.keeps_recipe = hold.is_some();
        let asking = Asking {
            proxy: &proxy,
            stream: &session.row().request.stream,
            identified: &identified,
            ends,
            is_held: false,
            taken_out: session.taken_out(),
            said: &said,
            elsewhere: &elsewhere,
        };
        let joined = tokio::select! {
            biased;
            joined = session.dial(|attempt| self.ask(attempt, asking)) => joined,
            () = client.closed() => Err(Refusal::Ended(EndReason::ClientClosed)),
        };
        let (origin, joined, first) = match joined {
            Ok(leg) => leg,
            Err(Refusal::Ended(reason)) => {
                session.finish(reason);
                return None;
            }
            Err(refusal) => {
                let own = said.lock().unwrap_or_else(PoisonError::into_inner).take();
                return match (refusal, own) {
                    (Refusal::Refused { .. }, Some(own)) => {
                        session.row().count(Direction::ToClient, own.len());
                        linger_close::say(&mut client, &own, linger_close::TIME_LIMIT).await;
                        None
                    }
                    (refusal, _) => refuse_as(&mut client, asked, &refusal).await,
                };
            }
        };
        let mut passage = Watched {
            joined,
            stream_id: asked.stream_id,
            flows: false,
            unhurried: DelayedAcks::default(),
            row: Arc::clone(session.row()),
            again: hold.map(|hold| Again::new(self, proxy, ends, hold, session.taken_out())),
        };
        if passage.again.is_some() {
            held::notice_early(&origin);
            passage.row.allow_hold();
        }
        // What was said during set-up counts too.
        passage
            .row
            .count(Direction::ToOrigin, identified.replay.len());
        passage.row.count(Direction::ToClient, first.len());
        passage.note_media();
        passage.date_error();
        Some(Served::Pair(Box::new(Pair {
            client,
            origin,
            passage,
            first,
            session,
        })))
    }

    /// Waits for the pull that a player shares; `None` when the player has left.
    async fn watch(
        &self,
        session: Session,
        wanted: &Wanted,
        recipe: Recipe,
        client: &mut Wire,
    ) -> Option<Result<hub::Joined, NotJoined>> {
        tokio::select! {
            biased;
            joined = self.hub.join(session, wanted, recipe) => Some(joined),
            () = client.closed() => None,
        }
    }

    /// Answers the client until it has said what it wants.
    async fn identify(
        &self,
        client: &mut Wire,
        early: Vec<u8>,
        proxy: &Proxy,
        ends: Ends,
    ) -> Result<(Identified, Server, Option<Answer>), NoRequest> {
        let mut server = Server::identifying(seed(), proxy.registry().enhanced());
        if proxy.has_logins() {
            server = server.asking_at_connect();
        }
        let mut answer = None;
        let mut deadline = Instant::now() + self.settings.handshake_timeout;
        let mut buffer = early;
        buffer.reserve(SETUP_READ);
        let (mut begun, mut shaken) = (false, false);
        loop {
            if !begun && let Some(other) = mistaken(&buffer) {
                return Err(NoRequest::Broken(other.to_owned()));
            }
            begun |= !buffer.is_empty();
            let slow = if shaken {
                "publish or play"
            } else {
                "shake hands"
            };
            let mut fed = server.feed(&buffer);
            loop {
                while let Some(bytes) = server.poll_output() {
                    // A client that does not read its answers is as slow as one that does not speak.
                    let written = timeout_at(deadline, client.write_all(&bytes)).await;
                    written
                        .map_err(|_| NoRequest::Slow(slow))?
                        .map_err(|_| NoRequest::Closed)?;
                }
                match server.poll_event() {
                    None => break,
                    Some(ServerEvent::Connect(connect)) => {
                        match login::welcome(proxy, &connect, ends) {
                            Welcome::Come(said) => {
                                answer = said;
                                fed = fed.and_then(|()| server.welcome());
                            }
                            Welcome::Login(words) => {
                                server.turn_away(&words);
                                let no = server.poll_output().unwrap_or_default();
                                linger_close::say(client, &no, linger_close::TIME_LIMIT).await;
                                return Err(NoRequest::Login);
                            }
                        }
                    }
                    Some(ServerEvent::Request(_)) => {
                        let (identified, server) =
                            server.into_serving().ok_or(NoRequest::Closed)?;
                        return Ok((identified, server, answer));
                    }
                    Some(_) => {}
                }
            }
            fed.map_err(|error| NoRequest::Broken(error.to_string()))?;
            if !shaken && server.handshake_done() {
                shaken = true;
                deadline = Instant::now() + self.settings.identify_timeout;
            }
            buffer.clear();
            let read = tokio::select! {
                read = timeout_at(deadline, client.read_buf(&mut buffer)) => read,
                () = self.stop.cancelled() => return Err(NoRequest::Stopping),
            };
            match read.map_err(|_| NoRequest::Slow(slow))? {
                Ok(count) if count > 0 => {}
                _ => return Err(NoRequest::Closed),
            }
        }
    }

    /// Asks one origin, first in one write; step by step where that is what it takes.
    async fn ask(
        &self,
        mut attempt: Attempt,
        asking: Asking<'_>,
    ) -> Result<(Wire, Joined, Vec<u8>), DialError> {
        let Asking {
            proxy,
            stream,
            identified,
            ends,
            is_held,
            taken_out,
            said,
            elsewhere,
        } = asking;
        let note = |own| *said.lock().unwrap_or_else(PoisonError::into_inner) = own;
        note(None);
        let address = address_at(&attempt, stream, identified)?;
        let address = match elsewhere.follow(proxy.registry(), &mut attempt) {
            Some(Redirect { url, whole }) => {
                let asked = address.clone().unwrap_or_else(|| identified.address());
                asked.redirected(&url, whole).or(address)
            }
            None => address,
        };
        let address = match taken_out {
            [] => address,
            used => Some(
                address
                    .unwrap_or_else(|| identified.address())
                    .without(used),
            ),
        };
        let renamed = address.map(|address| identified.renamed(&address));
        let plain = identified.request.action == Action::Publish
            && attempt.naming.dialect.reads_only_plain_chunks();
        let has_to_be_steps = renamed.is_some() || plain;
        let mut steps = attempt.step_by_step || has_to_be_steps;
        let identified = renamed.as_ref().unwrap_or(identified);
        loop {
            let join = if plain {
                Join::in_plain_chunks(identified, seed())
            } else if steps {
                Join::step_by_step(identified, seed())
            } else {
                Join::replaying(identified, seed())
            };
            let join = join.map_err(|error| DialError::Refused(error.to_string()))?;
            let mut origin = self.dialer.dial(&attempt, ends.client, ends.local).await?;
            match converse(&mut origin, join, attempt.time_limit).await {
                Err(Interrupted::Steps) if !steps => {
                    info!(origin = %attempt.origin, "origin is asked step by step from now on");
                    proxy.registry().note_step_by_step(&attempt.origin);
                    steps = true;
                }
                // It hung up before it answered: the commands may have come too fast for it, once.
                Err(Interrupted::Closed {
                    answered: false,
                    shaken: true,
                }) if !steps => steps = true,
                Err(interrupted) => {
                    let error =
                        interrupted.into_dial_error(is_held, &attempt, identified, elsewhere);
                    let (connector, registry) = (&self.dialer.connector, proxy.registry());
                    let error = elsewhere.as_registered(error, &attempt, connector, registry);
                    return Err(error.await);
                }
                Ok((mut joined, first)) => {
                    if let Some(no) = joined.take_refusal() {
                        note(Some(first));
                        return Err(match no.is_busy {
                            true => DialError::Busy(no.words),
                            false => DialError::Refused(no.words),
                        });
                    }
                    if steps && !has_to_be_steps {
                        proxy.registry().note_step_by_step(&attempt.origin);
                    }
                    note_enhanced(proxy, &attempt.origin, &mut joined);
                    return Ok((origin, joined, first));
                }
            }
        }
    }
}

/// For whom an origin is asked for what.
#[derive(Debug, Clone, Copy)]
struct Asking<'a> {
    proxy: &'a Proxy,
    stream: &'a StreamUrl,
    identified: &'a Identified,
    ends: Ends,
    /// Its client is held: it lost an origin in the middle of its stream.
    is_held: bool,
    /// The query parameters that origins do not get.
    taken_out: &'a [Box<str>],
    /// What an origin that says no says to the client.
    said: &'a Mutex<Option<Vec<u8>>>,
    /// Where an origin sends the client.
    elsewhere: &'a Elsewhere<Redirect>,
}

/// Why an origin that was reached did not join.
#[derive(Debug)]
enum Interrupted {
    Broken(String),
    Closed { answered: bool, shaken: bool },
    Moved(Redirect),
    Rejected(String),
    Silent,
    Steps,
}

impl Interrupted {
    /// What it means for the candidates that the origin of `attempt` was asked for what is `identified`. `is_held`: origins had
    /// taken this client before, so that one which closes without a word has not said no to it. A redirect is noted in
    /// `elsewhere`.
    fn into_dial_error(
        self,
        is_held: bool,
        attempt: &Attempt,
        identified: &Identified,
        elsewhere: &Elsewhere<Redirect>,
    ) -> DialError {
        match self {
            Self::Broken(why) => DialError::Failed(why),
            Self::Closed { answered: true, .. } if is_held => {
                DialError::HungUp("closed the connection before it took the stream".to_owned())
            }
            // Some servers say in no other way that the stream has a publisher.
            Self::Closed { answered: true, .. } => {
                DialError::Busy("its origin closed the connection without a reason".to_owned())
            }
            Self::Closed { shaken: true, .. } => {
                DialError::HungUp("closed the connection during set-up".to_owned())
            }
            Self::Closed { .. } => {
                DialError::Closed("closed the connection without a word".to_owned())
            }
            Self::Moved(redirect) => elsewhere.over_rtmp(redirect, &identified.address(), attempt),
            Self::Rejected(words) => DialError::Refused(words),
            Self::Silent => {
                DialError::Silent("accepted the connection and sent nothing".to_owned())
            }
            Self::Steps => DialError::Failed("hands out another stream id each time".to_owned()),
        }
    }
}

/// The address that the origin of `attempt` is asked by; `None` when the client's passes as it came.
fn address_at(
    attempt: &Attempt,
    stream: &StreamUrl,
    identified: &Identified,
) -> Result<Option<RtmpAddress>, Unsayable> {
    let StreamRequest { tc_url, name, .. } = &identified.request;
    let asked = RtmpAsked { tc_url, name };
    let tc_url = asked.tc_url_at(&attempt.target.host_for(stream));
    let asked = RtmpAsked {
        tc_url: &tc_url,
        name,
    };
    let address = attempt.naming.rtmp(identified.dialect, stream, &asked)?;
    Ok(match tc_url {
        Cow::Borrowed(_) => address,
        Cow::Owned(tc_url) => Some(address.unwrap_or_else(|| RtmpAddress {
            tc_url,
            ..identified.address()
        })),
    })
}

/// Exchanges bytes with an origin until it speaks of the stream.
async fn converse(
    origin: &mut Wire,
    mut join: Join,
    time_limit: Duration,
) -> Result<(Joined, Vec<u8>), Interrupted> {
    let mut buffer = Vec::with_capacity(SETUP_READ);
    let mut shaken = false;
    loop {
        let out = join.take_output();
        let closed = Interrupted::Closed {
            answered: *join.progress() == Progress::Answered,
            shaken,
        };
        if !out.is_empty() && origin.write_all(&out).await.is_err() {
            return Err(closed);
        }
        match join.progress() {
            Progress::Asking | Progress::Answered => {}
            Progress::Joined => return Ok(join.into_joined()),
            Progress::NeedsSteps => return Err(Interrupted::Steps),
            Progress::Redirected { url, whole } => {
                let (url, whole) = (url.clone(), *whole);
                return Err(Interrupted::Moved(Redirect { url, whole }));
            }
            Progress::Rejected(words) => return Err(Interrupted::Rejected(words.clone())),
        }
        buffer.clear();
        let read = if shaken {
            origin.read_buf(&mut buffer).await
        } else {
            // A stopped process still accepts connections; only its first bytes show that it lives.
            timeout(time_limit, origin.read_buf(&mut buffer))
                .await
                .map_err(|_| Interrupted::Silent)?
        };
        match read {
            Ok(count) if count > 0 => shaken = true,
            _ => return Err(closed),
        }
        acknowledge_at_once(origin.tcp(), true);
        join.feed(&buffer)
            .map_err(|error| Interrupted::Broken(error.to_string()))?;
    }
}

/// A connection whose set-up is over.
enum Served {
    Pair(Box<Pair>),
    Watching(Box<Watching>),
}

impl Served {
    // Without a future around the two, which would keep room for itself.
    fn serve(self) -> impl Future<Output = ()> + Send {
        match self {
            Self::Pair(pair) => Either::Left(pair.relay_and_tell()),
            Self::Watching(watching) => Either::Right(watching.serve()),
        }
    }
}

/// A client and an origin, joined.
type Pair = pair::Pair<Watched>;

impl Pair {
    /// Relays to the end, from one origin to the next where a publisher is held, and tells a client that asked for a
    /// second stream why it is let go.
    async fn relay_and_tell(mut self: Box<Self>) {
        let over = loop {
            let over = self.relay_leg().await;
            if self.is_told_no(over) {
                break Over::Leg(LegEnd::Refused);
            }
            if let Over::Leg(end) = over
                && let Some(moving) = self.passage.take_move()
            {
                // Boxed: what relays for hours keeps no room for it.
                Box::pin(self.make_move(end, moving)).await;
                continue;
            }
            let (Over::Leg(end), Some(again)) = (over, self.passage.may_be_held()) else {
                break over;
            };
            // Boxed: what relays for hours keeps no room for it.
            if let Err(over) = Box::pin(self.hold(end, again)).await {
                break over;
            }
        };
        self.session.over(over);
        if over == Over::Leg(LegEnd::Refused) {
            // Boxed: what relays for hours keeps no room for it.
            let said = linger_close::say(&mut self.client, &self.first, linger_close::TIME_LIMIT);
            return Box::pin(said).await;
        }
        let client_is_current = self.first.is_empty();
        if let Some(bytes) = self.linger_close().filter(|_| client_is_current) {
            // Boxed: what relays for hours keeps no room for it.
            let said = timeout(linger_close::TIME_LIMIT, self.client.write_all(&bytes));
            let _ = Box::pin(said).await;
        }
    }

    /// Whether what is over ends by the origin's no, which the client heard: then the refusal is told here as well. What an
    /// origin says that loses the stream in another way concerns nobody after it.
    fn is_told_no(&mut self, over: Over) -> bool {
        let error = self.passage.joined.take_error();
        let is_an_end = match over {
            Over::Leg(end) => !matches!(end, LegEnd::Drained | LegEnd::Moved),
            Over::Session(reason) => reason == EndReason::ClientClosed,
        };
        let now = Instant::now().into_std();
        let Some(no) = error.filter(|error| is_an_end && error.is_no(now)) else {
            return false;
        };
        let row = self.session.row();
        let Some(origin) = row.origin() else {
            return false;
        };
        let refusal = Refusal::Refused {
            origin,
            description: no.into_words().into(),
        };
        self.session.proxy().note_refusal(&row.request, &refusal);
        true
    }

    /// What a client hears that asked for a second stream, if it is between two messages now.
    fn linger_close(&mut self) -> Option<Vec<u8>> {
        let asked = self.passage.asked();
        let joined = &mut self.passage.joined;
        let words = carries_another(
            self.session.row(),
            joined.second_request()?,
            joined.client_has_left(),
        );
        let message = status(asked, no(asked.action), &words);
        joined.message_to_client(&message)
    }
}

/// The walks of a session, and what they tell its row.
#[derive(Debug)]
struct Watched {
    joined: Joined,
    /// The message stream of its request.
    stream_id: u32,
    /// Media has been seen, and the row knows.
    flows: bool,
    unhurried: DelayedAcks,
    row: Arc<Row>,
    /// What finds another origin for a publisher, where it may be held.
    again: Option<Box<Again>>,
}

impl Watched {
    fn asked(&self) -> StatusFor {
        StatusFor {
            action: self.row.request.action,
            stream_id: self.stream_id,
        }
    }

    /// The move whose other origin has taken the publisher.
    fn take_move(&mut self) -> Option<Box<Move>> {
        self.again.as_mut()?.take_move()
    }

    fn note_media(&mut self) {
        if self.flows {
            return;
        }
        self.flows = match self.row.request.action {
            Action::Play => self.joined.origin_sent_media(),
            Action::Publish => self.joined.client_sent_media(),
        };
        if self.flows {
            self.row.media_flows();
            if let Some(recipe) = self.joined.recipe() {
                self.row.goes_on(recipe.dropped());
            }
        }
    }

    /// Notes when the origin reported an error of the stream.
    fn date_error(&mut self) {
        self.joined.date_error(|| Instant::now().into_std());
    }

    /// What finds another origin for a publisher whose media has flowed. One that an origin lets go before that is not
    /// wanted there, and hears so at once; one that has given up its stream wants none.
    fn may_be_held(&mut self) -> Option<Box<Again>> {
        let has_flowed = self.flows || self.row.state() == State::Held;
        if has_flowed && !self.joined.client_has_left() {
            self.again.take()
        } else {
            None
        }
    }
}

impl Passage for Watched {
    fn to_client<'a>(&'a mut self, input: &'a [u8]) -> Result<&'a [u8], LegEnd> {
        if self.row.tap.is_on() && self.row.request.action == Action::Play {
            let reader = || self.joined.reader_of_origin(tap::MAX_PARTIAL);
            let start = || reader().map(|reader| Tapped::Rtmp(Box::new(reader)));
            self.row.tap.copy(input, start);
        }
        let session = self.row.id;
        self.joined.to_client(input).map_err(|error| {
            info!(session, %error, "the origin's RTMP cannot be read");
            LegEnd::Broken
        })
    }

    fn to_origin<'a>(&'a mut self, input: &'a [u8]) -> Result<&'a [u8], EndReason> {
        if self.row.tap.is_on() && self.row.request.action == Action::Publish {
            let reader = || self.joined.reader_of_client(tap::MAX_PARTIAL);
            let start = || reader().map(|reader| Tapped::Rtmp(Box::new(reader)));
            self.row.tap.copy(input, start);
        }
        let again = self.again.as_deref_mut();
        let question = again.and_then(|again| again.question(&mut self.joined, &self.row));
        let passed = self.joined.to_origin(input);
        let session = self.row.id;
        let passed = passed.map_err(|error| {
            info!(session, %error, "the client's RTMP cannot be read");
            EndReason::ClientError
        })?;
        match (question, &mut self.again) {
            (Some(question), Some(again)) => Ok(again.before(&question, passed)),
            _ => Ok(passed),
        }
    }

    fn read_from_origin(&mut self, origin: &TcpStream) {
        if self.flows {
            self.unhurried.read(origin);
        } else {
            acknowledge_at_once(origin, true);
        }
    }

    fn words(&mut self) -> Option<Vec<u8>> {
        if let Some(place) = self.joined.take_withheld() {
            let row = &self.row;
            info!(
                session = row.id,
                stream = %row.request.stream,
                origin = row.origin().as_ref().map_or("-", OriginId::as_str),
                to = &*place,
                "the origin asked its client to connect elsewhere, which the client was not told"
            );
        }
        if let Some(words) = self.joined.take_words() {
            return Some(words);
        }
        let other = self.joined.other_request()?;
        let asked = StatusFor {
            action: other.action,
            stream_id: other.stream_id,
        };
        let words = carries_another(&self.row, &other.name, self.joined.client_has_left());
        let message = status(asked, no(asked.action), &words);
        let bytes = self.joined.message_to_client(&message)?;
        self.joined.other_refused();
        Some(bytes)
    }

    fn poll_beside(&mut self, cx: &mut Context<'_>, is_even: bool) -> Poll<Over> {
        let Some(again) = &mut self.again else {
            return Poll::Pending;
        };
        if !again.is_moving() && !self.row.has_order() {
            return Poll::Pending;
        }
        again
            .poll_move(cx, &mut self.joined, &self.row, is_even)
            .map(Over::Leg)
    }

    fn passed(&mut self) -> Result<(), EndReason> {
        self.note_media();
        self.date_error();
        if let Some(recipe) = self.joined.recipe() {
            self.row.note_keyframes(recipe.keyframes_apart());
        }
        if self.joined.second_request().is_some() {
            Err(EndReason::SecondStream)
        } else {
            Ok(())
        }
    }
}

/// What a client showed, with what it says of itself in `connect`.
fn with_connect(shown: Credentials, request: &StreamRequest) -> Credentials {
    let said = |field: &str| {
        let said = request.connect.object.field(field);
        said.and_then(Value::as_str).unwrap_or_default()
    };
    let page = Some(said("pageUrl")).filter(|page| !page.is_empty());
    shown.with_surroundings(page, None).with_connect(
        said("tcUrl"),
        said("flashVer"),
        said("swfUrl"),
    )
}

/// Whether a player wants what is live: a start that it names is a place in a recording.
fn is_live(identified: &Identified) -> bool {
    let start = identified.request.command.arguments.get(1);
    start
        .and_then(Value::as_number)
        .is_none_or(|start| start < 0.0)
}

fn note_enhanced(proxy: &Proxy, origin: &OriginId, joined: &mut Joined) {
    if let Some(enhanced) = joined.take_enhanced() {
        proxy.registry().note_enhanced(origin, enhanced);
    }
}

/// Randomness for a handshake. It is no secret; a kernel without entropy still gets sessions.
fn seed() -> [u8; 32] {
    let mut seed = [0; 32];
    let _ = getrandom::fill(&mut seed);
    seed
}

const SETUP_READ: usize = 4 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    fn size<F: Future>(_: impl Fn(Rtmp, Visitor, Proxy) -> F) -> usize {
        size_of::<F>()
    }

    #[test]
    fn a_relaying_connection_keeps_no_room_for_its_set_up() {
        let bytes = size(Rtmp::connection) + size_of::<Pair>();
        assert!(bytes <= 950, "{bytes} bytes");
    }
}
