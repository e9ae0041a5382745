//! HTTP-FLV from an embedded origin: `GET /app/stream.flv`, chunked or ended by closing the connection. It waits for a
//! publisher if there is none yet.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use hyper::body::{Body, Frame, Incoming};
use hyper::header::{
    ACCESS_CONTROL_ALLOW_ORIGIN, ALLOW, CACHE_CONTROL, CONTENT_TYPE, HOST, HeaderValue, SERVER,
};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use sluicegate_core::media::gop::MediaMessage;
use sluicegate_core::rtmp::amf0::Value;
use sluicegate_core::rtmp::message::kind;
use sluicegate_core::stream::{Action, StreamUrl};
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

use super::hub::Subscription;
use super::seen::{End, Peer};
use super::{Inner, key};
use sluicegate_core::media::flv::{self, Tag};

/// Serves one connection until it ends, its player is too slow, or the origin stops.
pub(super) async fn serve(socket: TcpStream, address: SocketAddr, shared: &Inner) {
    let slow = CancellationToken::new();
    let service = service_fn(|request: Request<Incoming>| {
        let response = answer(&request, address, shared, &slow);
        async move { Ok::<_, Infallible>(response) }
    });
    let connection = http1::Builder::new().serve_connection(TokioIo::new(socket), service);
    // The journal learns how a player left when its body is dropped; a connection without a player has nothing to
    // report.
    tokio::select! {
        _ = connection => {}
        () = slow.cancelled() => {}
        () = shared.stop.cancelled() => {}
    }
}

fn answer(
    request: &Request<Incoming>,
    address: SocketAddr,
    shared: &Inner,
    slow: &CancellationToken,
) -> Response<Live> {
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        let mut response = text(
            StatusCode::METHOD_NOT_ALLOWED,
            "live streams are read by GET\n",
        );
        response
            .headers_mut()
            .insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        return response;
    }
    let target = request
        .uri()
        .path_and_query()
        .map_or("/", |target| target.as_str());
    let host = request
        .headers()
        .get(HOST)
        .and_then(|host| host.to_str().ok());
    let stream = match StreamUrl::from_http(host, target) {
        Ok(stream) if request.uri().path().ends_with(".flv") => key(&stream),
        Ok(_) | Err(_) => return text(StatusCode::NOT_FOUND, "streams are at /app/stream.flv\n"),
    };
    let body = if request.method() == Method::HEAD {
        Live::Text(None)
    } else {
        let id = shared.journal.enter(Peer {
            id: 0,
            action: Action::Play,
            address,
            preamble: None,
            stream: stream.clone(),
            name: target.to_owned(),
            arguments: Vec::new(),
            connect: Value::Null,
            headers: headers(request),
            messages: 0,
            end: None,
        });
        let mut subscription = shared.hub.play(&stream, slow.clone());
        let waiting = std::mem::take(&mut subscription.backlog).into();
        Live::Stream(Box::new(Playing {
            id,
            opened: false,
            shared: shared.clone(),
            slow: slow.clone(),
            subscription,
            waiting,
        }))
    };
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    headers.insert(SERVER, HeaderValue::from_static("sluicegate-demo-origin"));
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("video/x-flv"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    response
}

fn headers(request: &Request<Incoming>) -> Vec<(String, String)> {
    let headers = request.headers().iter();
    headers
        .map(|(name, value)| {
            (
                name.to_string(),
                String::from_utf8_lossy(value.as_bytes()).into_owned(),
            )
        })
        .collect()
}

fn text(status: StatusCode, words: &'static str) -> Response<Live> {
    let mut response = Response::new(Live::Text(Some(Bytes::from_static(words.as_bytes()))));
    *response.status_mut() = status;
    response.headers_mut().insert(
        CONTENT_TYPE,
        HeaderValue::from_static("text/plain; charset=utf-8"),
    );
    response
}

/// The body of a response.
enum Live {
    Stream(Box<Playing>),
    Text(Option<Bytes>),
}

impl Body for Live {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match self.get_mut() {
            Self::Stream(playing) => playing
                .poll_bytes(context)
                .map(|bytes| bytes.map(|bytes| Ok(Frame::data(bytes)))),
            Self::Text(words) => Poll::Ready(words.take().map(|words| Ok(Frame::data(words)))),
        }
    }
}

/// A player over HTTP; dropping it closes its entry in the journal.
struct Playing {
    id: u64,
    opened: bool,
    shared: Inner,
    slow: CancellationToken,
    subscription: Subscription,
    waiting: VecDeque<MediaMessage>,
}

impl Playing {
    /// The next bytes of the file: the header at once, then everything that waits, in chunks of limited size.
    fn poll_bytes(&mut self, context: &mut Context<'_>) -> Poll<Option<Bytes>> {
        let mut bytes = Vec::new();
        if !self.opened {
            self.opened = true;
            bytes.extend_from_slice(&self.header());
        } else if self.waiting.is_empty() {
            let Some(message) = ready!(self.subscription.queue.poll_recv(context)) else {
                return Poll::Ready(None);
            };
            self.waiting.push_back(message);
        }
        let mut count = 0;
        while bytes.len() < PIECE
            && let Some(message) = self
                .waiting
                .pop_front()
                .or_else(|| self.subscription.queue.try_recv().ok())
        {
            // FLV has three kinds of tags; RTMP's other messages do not fit.
            if matches!(message.kind, kind::AUDIO | kind::VIDEO | kind::DATA_AMF0) {
                let tag = Tag {
                    kind: message.kind,
                    timestamp: message.timestamp(),
                    payload: &message.body,
                };
                flv::write_tag(&tag, &mut bytes);
            }
            count += 1;
        }
        self.shared.journal.count(self.id, count);
        Poll::Ready(Some(bytes.into()))
    }

    /// The file header, which announces the known tracks; all tracks while none is known.
    fn header(&self) -> [u8; 13] {
        let has = |kind| self.waiting.iter().any(|message| message.kind == kind);
        match (has(kind::AUDIO), has(kind::VIDEO)) {
            (false, false) => flv::header(true, true),
            (audio, video) => flv::header(audio, video),
        }
    }
}

impl Drop for Playing {
    fn drop(&mut self) {
        let end = match () {
            () if self.slow.is_cancelled() => End::Slow,
            () if self.shared.stop.is_cancelled() => End::Stopped,
            () => End::Left,
        };
        self.shared.journal.leave(self.id, end);
    }
}

/// About how many bytes are passed to the connection at a time.
const PIECE: usize = 64 << 10;
