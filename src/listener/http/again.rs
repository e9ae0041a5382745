//! A pull that is not the first request of its connection, or a HEAD: hyper frames it on both sides, and
//! everything else is as it is for a first one.

use std::future::{self, poll_fn};
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::{Body as HttpBody, Frame, Incoming, SizeHint};
use hyper::header::{ACCESS_CONTROL_ALLOW_ORIGIN, CACHE_CONTROL, HeaderValue, LOCATION};
use hyper::upgrade::OnUpgrade;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use sluicegate_core::http::head::{Body as RequestBody, RequestHead};
use sluicegate_core::place::leg::LegEnd;
use sluicegate_core::stream::Protocol;
use tokio::io::AsyncWriteExt;

use super::super::turned_away;
use super::live::{
    Led, NoAnswer, REFUSES, Raw, check_switch, close_socket, end_without_answer, explain,
    greeting_of, lock, open, recipe, redirect, refuse, refused_viewer, with_target_of,
};
use super::refusal::Refused;
use super::{Http, dialect_of};
use crate::hub::{Joined, NotJoined, Shown};
use crate::net::accept::OriginSide;
use crate::net::entrance::Ends;
use crate::net::http::{Body, BoxError, Identity, full, into_wire, status_words, text};
use crate::net::wire::Wire;
use crate::net::{head, relay};
use crate::origin::elsewhere::Elsewhere;
use crate::origin::http::{self as exchange, AnswerBody};
use crate::proxy::{Attempt, DialError, Proxy, Refusal, Session};
use crate::sessions::{Direction, EndReason, Over, Row, Tapped};

/// What a connection shares with the pull that is in progress on it.
#[derive(Default)]
pub(super) struct Current {
    origin_side: OriginSide,
    ended: Mutex<Option<Pin<Box<dyn Future<Output = EndReason> + Send>>>>,
    switched: Mutex<Option<Switched>>,
}

impl Current {
    /// Of a connection with this place for its origin side.
    pub(super) fn with(origin_side: OriginSide) -> Self {
        Self {
            origin_side,
            ..Self::default()
        }
    }

    /// Resolves when the pull in progress was ended from outside. Hyper does not ask a body for more while its
    /// client takes nothing, so the connection has to watch. It is polled by the task that serves the connection.
    pub(super) async fn ended(&self) {
        poll_fn(|cx| match lock(&self.ended).as_mut() {
            Some(ended) => ended.as_mut().poll(cx).map(|_| ()),
            None => Poll::Pending,
        })
        .await;
    }

    /// What the connection goes on with in another protocol, if its last answer switched.
    pub(super) fn switched(&self) -> Option<Switched> {
        lock(&self.switched).take()
    }

    fn watch(&self, row: &Arc<Row>) {
        *lock(&self.ended) = Some(Box::pin(Arc::clone(row).into_ended()));
    }

    fn forget(&self) {
        *lock(&self.ended) = None;
    }
}

/// Sends a viewer elsewhere. Nobody may keep that: the next time, the stream may be at another origin.
pub(super) fn elsewhere(location: &str) -> Result<Response<Body>, (StatusCode, String)> {
    let broken = |_| {
        let words = "the place it is at cannot be written down".to_owned();
        (StatusCode::BAD_GATEWAY, words)
    };
    let mut response = text(StatusCode::FOUND, "it is elsewhere");
    let location = HeaderValue::try_from(location).map_err(broken)?;
    let headers = response.headers_mut();
    headers.insert(LOCATION, location);
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    Ok(response)
}

/// Answers a pull, or says why not.
pub(super) async fn answer(
    http: &Http,
    mut request: Request<Incoming>,
    protocol: Protocol,
    ends: Ends,
    proxy: &Proxy,
    current: &Arc<Current>,
) -> Result<Response<Body>, Refused> {
    let broken = |status: StatusCode, rule: String| {
        turned_away::log(protocol.as_str(), ends.client, status.as_u16(), &rule);
        Refused::from((status, rule))
    };
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        let rule = "streams are pulled with GET".to_owned();
        return Err(broken(StatusCode::METHOD_NOT_ALLOWED, rule));
    }
    let head = head::of_request(&request)
        .map_err(|error| broken(head::status_of(error), error.to_string()))?;
    if head.body() != RequestBody::None {
        let rule = "a pull has no body".to_owned();
        return Err(broken(StatusCode::BAD_REQUEST, rule));
    }
    if let Some(location) = redirect(&head, protocol, ends, proxy).await {
        return Ok(elsewhere(&location)?);
    }
    let (mut session, forwarded, wish) = open(
        http,
        &head,
        protocol,
        ends,
        Identity::of(request.extensions()),
        proxy,
    )
    .await?;
    // A WebSocket that is asked for on a connection that hyper has gets a leg of its own.
    if !head.is_websocket()
        && let Some(wish) = wish
    {
        let wanted = http.hub.wants(&session, &wish);
        let recipe = recipe(&session, &head.target, ends);
        let row = Arc::clone(session.row());
        let led = Led::of(http, &head, ends, &row, proxy);
        match http.hub.join(session, &wanted, recipe).await {
            Ok(joined) => return Ok(show(joined, &led, current)),
            Err(NotJoined::Alone(alone)) => session = alone,
            Err(NotJoined::Refused(session, refusal, said)) => {
                session.refuse(&refusal);
                return refused_viewer(&refusal, said.as_deref(), &led);
            }
        }
    }
    let pull = LivePull {
        session,
        current: Arc::clone(current),
    };
    let row = Arc::clone(pull.session.row());
    let (address, local) = (row.request.client, ends.local);
    let mut outgoing = head.for_origin(&forwarded);
    outgoing.target = pull.session.for_origin(&head.target).into_owned();
    outgoing.take_out(pull.session.headers_taken_out());
    let outgoing = &outgoing;
    let dialect = dialect_of(head.host(), ends, proxy);
    let asked = &row.request;
    // What an origin that says no answers.
    let said_no = Mutex::new(None);
    let (note, elsewhere) = (&said_no, &Elsewhere::default());
    let send = |mut attempt: Attempt| async move {
        let there = elsewhere.follow(proxy.registry(), &mut attempt);
        let other = with_target_of(outgoing, dialect, asked, &attempt, there)?;
        let origin = http.dialer.dial(&attempt, address, local).await?;
        let outgoing = other.unwrap_or_else(|| outgoing.clone());
        let asked = outgoing.target.clone();
        let mut answer: Awaited<'_> = Box::pin(async move { ask(origin, &outgoing).await });
        let heard = http.silence.wait(&attempt, &mut answer).await?;
        if let Some(Ok(response)) = &heard
            && let Some(place) = moved(proxy, &attempt, response)
        {
            return Err(elsewhere.over_http(place, location(response), &asked));
        }
        Ok(match heard {
            Some(Ok(response)) if refuses(&response) => {
                let words = status_words(response.status());
                *lock(note) = Some(response);
                return Err(DialError::Refused(words));
            }
            Some(answered) => Box::pin(future::ready(answered)),
            None => answer,
        })
    };
    let dialled = pull.session.dial(send).await;
    let own = lock(&said_no).take();
    let led = Led::of(http, &head, ends, &row, proxy);
    let answer = match (dialled, own) {
        (Ok(answer), _) => answer,
        (Err(Refusal::Refused { .. }), Some(response)) => {
            return passed_on(response, &led).map_err(|no_answer| explain(&no_answer, &row).into());
        }
        (Err(Refusal::Ended(reason)), _) => {
            return Err(explain(&NoAnswer::Ended(reason), &row).into());
        }
        (Err(refusal), _) => {
            return Err((refusal.http_status(), refusal.to_string()).into());
        }
    };
    let answered = tokio::select! {
        answered = answer => answered,
        reason = row.ended() => Err(NoAnswer::Ended(reason)),
    };
    let answered = answered.and_then(|response| {
        check_switch(response.status().as_u16(), &head)?;
        pull.session.answered();
        Ok((rebuilt(&response, &led)?, response))
    });
    match answered {
        Ok((rebuilt, response)) if refuses(&response) => {
            refuse(&pull.session, status_words(response.status()));
            Ok(rebuilt.map(|()| response.into_body().map_err(Into::into).boxed_unsync()))
        }
        Ok((rebuilt, mut response)) if response.status() == StatusCode::SWITCHING_PROTOCOLS => {
            let client = hyper::upgrade::on(&mut request);
            let origin = hyper::upgrade::on(&mut response);
            *lock(&current.switched) = Some(Switched {
                pull,
                client,
                origin,
                _answer: response.into_body(),
            });
            Ok(rebuilt.map(|()| full("")))
        }
        Ok((rebuilt, response)) => {
            let body = response.into_body();
            if body.is_end_stream() {
                pull.session.over(Over::Leg(LegEnd::Closed));
            } else {
                current.watch(&row);
            }
            Ok(rebuilt.map(|()| {
                LiveBody {
                    body,
                    came: 0,
                    pull,
                }
                .boxed_unsync()
            }))
        }
        Err(no_answer) => {
            let told = explain(&no_answer, &row);
            end_without_answer(&pull.session, no_answer);
            Err(told.into())
        }
    }
}

/// The place in the fleet that an origin sends a request to.
pub(super) fn moved<B>(proxy: &Proxy, attempt: &Attempt, response: &Response<B>) -> Option<String> {
    let (registry, status) = (proxy.registry(), response.status().as_u16());
    attempt.moved_within(registry, status, Some(location(response)))
}

/// The URL that an answer names.
pub(super) fn location<B>(response: &Response<B>) -> &str {
    let location = response.headers().get(LOCATION);
    let location = location.and_then(|location| location.to_str().ok());
    location.unwrap_or_default()
}

/// Whether an origin says no.
fn refuses(response: &Response<AnswerBody>) -> bool {
    response.status().as_u16() >= REFUSES
}

/// An origin's refusal, in its own words.
fn passed_on(response: Response<AnswerBody>, led: &Led<'_>) -> Result<Response<Body>, NoAnswer> {
    let rebuilt = rebuilt(&response, led)?;
    Ok(rebuilt.map(|()| response.into_body().map_err(Into::into).boxed_unsync()))
}

/// The head of an origin's answer, as it goes to a client.
fn rebuilt<B>(answer: &Response<B>, led: &Led<'_>) -> Result<Response<()>, NoAnswer> {
    let headers = head::for_client(answer.status(), answer.headers().clone());
    let mut rebuilt = Response::new(());
    *rebuilt.status_mut() = answer.status();
    *rebuilt.headers_mut() = headers.map_err(|error| NoAnswer::Broken(error.to_string()))?;
    led.lead_headers(rebuilt.headers_mut());
    Ok(rebuilt)
}

/// The answer to a viewer of a feed.
fn show(joined: Joined, led: &Led<'_>, current: &Arc<Current>) -> Response<Body> {
    current.watch(joined.session().row());
    joined.find_origin_side(&current.origin_side);
    let headers = greeting_of(&joined, led);
    let body = FedBody {
        shown: joined.show(),
        current: Arc::clone(current),
    };
    let mut response = Response::new(body.boxed_unsync());
    *response.headers_mut() = headers;
    response
}

/// A feed as a body; dropping it takes the session with it.
struct FedBody {
    shown: Shown,
    current: Arc<Current>,
}

impl HttpBody for FedBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        Pin::new(&mut self.shown).poll_frame(cx)
    }
}

impl Drop for FedBody {
    fn drop(&mut self) {
        self.current.forget();
    }
}

/// An answer that may have come already.
type Awaited<'a> = Pin<Box<dyn Future<Output = Result<Answered, NoAnswer>> + Send + 'a>>;
type Answered = Response<AnswerBody>;

/// Sends a request over a connection of its own.
async fn ask(origin: Wire, head: &RequestHead) -> Result<Answered, NoAnswer> {
    let request = head::to_request(head).body(Full::default());
    let request = request.map_err(|problem| NoAnswer::Broken(problem.to_string()))?;
    exchange::once(origin, request).await.map_err(|error| {
        if error.is_parse() {
            NoAnswer::Broken(error.to_string())
        } else {
            NoAnswer::OriginGone
        }
    })
}

/// A session whose client may leave at any moment: then hyper drops everything, and this says why.
struct LivePull {
    session: Session,
    current: Arc<Current>,
}

impl Drop for LivePull {
    fn drop(&mut self) {
        self.current.forget();
        // The first reason stands: this one counts only where there was no other.
        self.session.row().end(EndReason::ClientClosed);
    }
}

/// A pull that goes on in another protocol, once the answer that says so is out.
pub(super) struct Switched {
    pull: LivePull,
    client: OnUpgrade,
    origin: OnUpgrade,
    /// It holds the connection until the other protocol has it.
    _answer: AnswerBody,
}

impl Switched {
    /// Relays both ways until one side closes or the session is ended.
    pub(super) async fn relay(self) {
        let row = self.pull.session.row();
        let (Ok(client), Ok(origin)) = (self.client.await, self.origin.await) else {
            return;
        };
        let client = into_wire(client);
        let origin = origin.downcast::<TokioIo<Wire>>();
        let (Some((early, mut viewer)), Ok(origin)) = (client, origin) else {
            return;
        };
        let mut holder = origin.io.into_inner();
        row.count(Direction::ToClient, origin.read_buf.len());
        row.count(Direction::ToOrigin, early.len());
        if holder.write_all(&early).await.is_err() {
            return self.pull.session.over(Over::Leg(LegEnd::Reset));
        }
        let mut passage = Raw::new(row, &origin.read_buf, true);
        let ending = relay::join(
            &mut viewer,
            &mut holder,
            row,
            &mut passage,
            origin.read_buf.into(),
        )
        .await;
        self.pull.session.over(ending.over);
        if let (Over::Session(reason), Some(frames)) = (ending.over, passage.frames) {
            drop(self.pull);
            close_socket(viewer, &mut holder, frames, &ending.rest, reason).await;
        }
    }
}

/// A body that counts what passes and takes the session with it.
struct LiveBody {
    body: AnswerBody,
    came: u64,
    pull: LivePull,
}

impl HttpBody for LiveBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = &mut *self;
        let row = this.pull.session.row();
        // Hyper asks again as soon as it has room: until then the client takes nothing.
        row.blocked(Direction::ToClient, false);
        let frame = ready!(Pin::new(&mut this.body).poll_frame(cx));
        if let Some(Ok(frame)) = &frame {
            let count = frame.data_ref().map_or(0, Bytes::len);
            row.count(Direction::ToClient, count);
            if row.tap.is_on() {
                let bytes = frame.data_ref().map_or(&[][..], |data| data);
                row.tap.copy(bytes, || Some(Tapped::Flv));
            }
            this.came += count as u64;
            row.body_came(this.came);
            row.blocked(Direction::ToClient, true);
        }
        // Behind its last frame a body may not be asked again.
        if !matches!(frame, Some(Ok(_))) || this.body.is_end_stream() {
            this.pull.current.forget();
            this.pull.session.over(Over::Leg(LegEnd::Closed));
        }
        Poll::Ready(frame.map(|frame| frame.map_err(Into::into)))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
