//! A live pull: an endless response, relayed from the origin that holds the stream.
//!
//! The first request of a connection is relayed here, raw. A pull after another request is [`super::again`]'s.
//!
//! | file | what it holds |
//! | --- | --- |
//! | `answer` | what an origin answers, or does in place of that |
//! | `led` | what an origin says of places, as its client is to hear it |
//! | `raw` | the bytes of a viewer and an origin that are joined |
//! | `socket` | the end of a WebSocket |
//! | `watched` | viewers that share a pull |

mod answer;
mod led;
mod raw;
mod socket;
mod watched;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hyper::StatusCode;
use sluicegate_core::dialect::{Dialect, File};
use sluicegate_core::http::head::{Forwarded, RequestHead, Version};
use sluicegate_core::http::segment::Owners;
use sluicegate_core::place::rule::Via;
use sluicegate_core::stream::{Action, Protocol, StreamError, StreamUrl};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tracing::debug;

use self::answer::{Answering, SWITCHING, answer_of, pass_refusal, refusal_of};
pub(super) use self::answer::{
    NoAnswer, REFUSES, check_switch, end_without_answer, explain, refuse,
};
pub(super) use self::led::Led;
use self::raw::Pair;
pub(super) use self::raw::{Raw, Served};
pub(super) use self::socket::close_socket;
use self::watched::{greeting, refuse_viewer, watch, wish};
pub(super) use self::watched::{greeting_of, recipe, refused_viewer};
use super::super::turned_away;
use super::client::client_of;
use super::refusal::{Refused, offers_basic, send, send_away};
use super::{Http, dialect_of, pieces};
use crate::hub::{NotJoined, Wish};
use crate::net::accept::OriginSide;
use crate::net::entrance::Ends;
use crate::net::wire::Wire;
use crate::origin::elsewhere::Elsewhere;
use crate::proxy::{Attempt, DialError, Proxy, Refusal, Request, Session};
use crate::sessions::{Direction, EndReason};

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

/// Where a viewer is sent instead of being relayed, if a rule says so: the same path at another place.
pub(super) async fn redirect(
    head: &RequestHead,
    protocol: Protocol,
    ends: Ends,
    proxy: &Proxy,
) -> Option<String> {
    let stream = stream_of(head, ends, proxy).ok()?;
    if proxy.may_judge_owners(&owners(head, protocol, ends, proxy)) {
        return None;
    }
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
        credentials: head.credentials(&head.target, &forwarded, identity, proxy.asks_backends()),
    };
    let wish = wish(http, head, &request);
    let owners = owners(head, protocol, ends, proxy);
    let offers_basic = offers_basic(proxy, &request, &owners, head);
    match proxy.open_for(request, &owners).await {
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

/// Whose file the target of a live pull may be as well.
fn owners(head: &RequestHead, protocol: Protocol, ends: Ends, proxy: &Proxy) -> Owners {
    let naming = (dialect_of(head.host(), ends, proxy), protocol);
    pieces::owners_of_live(proxy, naming, head.host(), &head.target)
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

/// What a client hears that sends more than its pull.
pub(super) const NOTHING_FOLLOWS: &str = "nothing may follow a pull on its connection";
