//! A pull that is not the first request of its connection, or a HEAD: hyper frames it on both sides, and
//! everything else is as it is for a first one.

use std::future::{self, poll_fn};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::body::{Body as HttpBody, Frame, Incoming, SizeHint};
use hyper::header::{
    ACCESS_CONTROL_ALLOW_ORIGIN, CACHE_CONTROL, CONNECTION, HeaderMap, HeaderValue, LOCATION,
    TRANSFER_ENCODING,
};
use hyper::upgrade::OnUpgrade;
use hyper::{Method, Request, Response, StatusCode, Version};
use hyper_util::rt::TokioIo;
use sluicegate_core::http::head::{Body as RequestBody, HeadError, RequestHead, ResponseHead};
use sluicegate_core::place::leg::LegEnd;
use sluicegate_core::stream::Protocol;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio_util::task::AbortOnDropHandle;
use tracing::debug;

use super::Http;
use super::live::{NoAnswer, Raw, check_switch, explain, open, redirect};
use crate::net::entrance::Ends;
use crate::net::http::{Body, BoxError, full, into_wire, text};
use crate::net::relay;
use crate::proxy::{Attempt, Proxy, Refusal, Session};
use crate::sessions::{Direction, EndReason, Over, Piece, Row};

/// What a connection shares with the pull that is in progress on it.
#[derive(Default)]
pub(super) struct Current {
    ended: Mutex<Option<Pin<Box<dyn Future<Output = EndReason> + Send>>>>,
    switched: Mutex<Option<Switched>>,
}

impl Current {
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
) -> Result<Response<Body>, (StatusCode, String)> {
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        return Err((
            StatusCode::METHOD_NOT_ALLOWED,
            "streams are pulled with GET".to_owned(),
        ));
    }
    let head = head_of(&request).map_err(|error| (StatusCode::BAD_REQUEST, error.to_string()))?;
    if head.body() != RequestBody::None {
        return Err((StatusCode::BAD_REQUEST, "a pull has no body".to_owned()));
    }
    if let Some(location) = redirect(&head, protocol, proxy).await {
        return elsewhere(&location);
    }
    let (session, forwarded) = open(http, &head, protocol, ends, proxy).await?;
    let pull = Pull {
        session,
        current: Arc::clone(current),
    };
    let row = Arc::clone(pull.session.row());
    let (address, local) = (row.request.client, ends.local);
    let outgoing = &head.for_origin(&forwarded);
    let send = |attempt: Attempt| async move {
        let origin = http.dialer.dial(&attempt, address, local).await?;
        let mut answer: Awaited<'_> = Box::pin(ask(origin, outgoing));
        Ok(match http.silence.wait(&attempt, &mut answer).await? {
            Some(answered) => Box::pin(future::ready(answered)),
            None => answer,
        })
    };
    let dialled = pull.session.dial(send).await;
    let answer = dialled.map_err(|refusal| match refusal {
        Refusal::Ended(reason) => {
            let (_, status, words) = explain(NoAnswer::Ended(reason), &row);
            (status, words)
        }
        refusal => (refusal.http_status(), refusal.to_string()),
    })?;
    let answered = tokio::select! {
        answered = answer => answered,
        reason = row.ended() => Err(NoAnswer::Ended(reason)),
    };
    let answered = answered.and_then(|(response, leg)| {
        check_switch(response.status().as_u16(), &head)?;
        pull.session.answered();
        let rebuilt = for_client(&response).map_err(|error| NoAnswer::Broken(error.to_string()))?;
        Ok((rebuilt, response, leg))
    });
    match answered {
        Ok((rebuilt, mut response, leg))
            if response.status() == StatusCode::SWITCHING_PROTOCOLS =>
        {
            let client = hyper::upgrade::on(&mut request);
            let origin = hyper::upgrade::on(&mut response);
            *lock(&current.switched) = Some(Switched {
                pull,
                client,
                origin,
                _leg: leg,
            });
            Ok(rebuilt.map(|()| full("")))
        }
        Ok((rebuilt, response, leg)) => {
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
                    _leg: leg,
                }
                .boxed_unsync()
            }))
        }
        Err(no_answer) => {
            let (reason, status, words) = explain(no_answer, &row);
            row.end(reason);
            Err((status, words))
        }
    }
}

/// An answer that may have come already.
type Awaited<'a> = Pin<Box<dyn Future<Output = Result<Answered, NoAnswer>> + Send + 'a>>;
type Answered = (Response<Incoming>, AbortOnDropHandle<()>);

/// Sends a request over a fresh connection. The task that drives the connection ends with the returned guard.
async fn ask(origin: TcpStream, head: &RequestHead) -> Result<Answered, NoAnswer> {
    let broken = |problem: hyper::http::Error| NoAnswer::Broken(problem.to_string());
    let no_answer = |error: hyper::Error| {
        if error.is_parse() {
            NoAnswer::Broken(error.to_string())
        } else {
            NoAnswer::OriginGone
        }
    };
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(origin))
        .await
        .map_err(no_answer)?;
    let leg = AbortOnDropHandle::new(tokio::spawn(async move {
        if let Err(error) = connection.with_upgrades().await {
            debug!(%error, "origin leg ended");
        }
    }));
    let version = if head.host().is_some() {
        Version::HTTP_11
    } else {
        Version::HTTP_10
    };
    let mut request = Request::builder()
        .method(head.method.as_str())
        .uri(&head.target)
        .version(version);
    for (name, value) in head.headers.iter() {
        request = request.header(name, value);
    }
    let request = request.body(Empty::<Bytes>::new()).map_err(broken)?;
    let response = sender.send_request(request).await.map_err(no_answer)?;
    Ok((response, leg))
}

/// The head of a request that hyper read, held to the rules of a first one.
pub(super) fn head_of(request: &Request<Incoming>) -> Result<RequestHead, HeadError> {
    let target = request
        .uri()
        .path_and_query()
        .map_or("/", |target| target.as_str());
    let start = format!("{} {target} {:?}", request.method(), request.version());
    let (head, _) =
        RequestHead::parse(&written(&start, request.headers()))?.ok_or(HeadError::StartLine)?;
    Ok(head)
}

/// The head of an origin's response as it goes to a client; how its body is framed is hyper's affair.
pub(super) fn for_client<B>(response: &Response<B>) -> Result<Response<()>, BoxError> {
    let start = format!("HTTP/1.1 {} -", response.status().as_u16());
    let (head, _) =
        ResponseHead::parse(&written(&start, response.headers()))?.ok_or(HeadError::StartLine)?;
    let mut rebuilt = Response::builder().status(head.status);
    for (name, value) in head.for_client().headers.iter() {
        rebuilt = rebuilt.header(name, value);
    }
    let mut rebuilt = rebuilt.body(())?;
    rebuilt.headers_mut().remove(TRANSFER_ENCODING);
    if response.status() != StatusCode::SWITCHING_PROTOCOLS {
        rebuilt.headers_mut().remove(CONNECTION);
    }
    Ok(rebuilt)
}

/// A head as bytes.
fn written(start: &str, headers: &HeaderMap) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(1024);
    bytes.extend_from_slice(start.as_bytes());
    for (name, value) in headers {
        for part in [b"\r\n", name.as_str().as_bytes(), b": ", value.as_bytes()] {
            bytes.extend_from_slice(part);
        }
    }
    bytes.extend_from_slice(b"\r\n\r\n");
    bytes
}

/// A session whose client may leave at any moment: then hyper drops everything, and this says why.
struct Pull {
    session: Session,
    current: Arc<Current>,
}

impl Drop for Pull {
    fn drop(&mut self) {
        self.current.forget();
        // The first reason stands: this one counts only where there was no other.
        self.session.row().end(EndReason::ClientClosed);
    }
}

/// A pull that goes on in another protocol, once the answer that says so is out.
pub(super) struct Switched {
    pull: Pull,
    client: OnUpgrade,
    origin: OnUpgrade,
    _leg: AbortOnDropHandle<()>,
}

impl Switched {
    /// Relays both ways until one side closes or the session is ended.
    pub(super) async fn relay(self) {
        let row = self.pull.session.row();
        let (Ok(client), Ok(origin)) = (self.client.await, self.origin.await) else {
            return;
        };
        let client = into_wire(client);
        let origin = origin.downcast::<TokioIo<TcpStream>>();
        let (Some((early, mut viewer)), Ok(origin)) = (client, origin) else {
            return;
        };
        let mut holder = origin.io.into_inner();
        row.count(Direction::ToClient, origin.read_buf.len());
        row.count(Direction::ToOrigin, early.len());
        if holder.write_all(&early).await.is_err() {
            return self.pull.session.over(Over::Leg(LegEnd::Reset));
        }
        let mut passage = Raw::new(row, origin.read_buf.len(), true);
        let ending = relay::join(
            &mut viewer,
            &mut holder,
            row,
            &mut passage,
            origin.read_buf.into(),
        )
        .await;
        self.pull.session.over(ending.over);
    }
}

/// A body that counts what passes and takes the session with it.
struct LiveBody {
    body: Incoming,
    came: u64,
    pull: Pull,
    _leg: AbortOnDropHandle<()>,
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
                row.tap.copy(bytes, || Some(Piece::Flv));
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

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
