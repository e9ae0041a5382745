//! What a client hears that comes without TLS where TLS is required.

use std::sync::Arc;
use std::time::Duration;

use hyper::header::{ACCESS_CONTROL_ALLOW_ORIGIN, HOST, HeaderValue, LOCATION};
use hyper::{Method, Request, Response, StatusCode};
use sluicegate_core::http::base::{BasePath, FORWARDED_PREFIX};
use sluicegate_core::http::head::RequestHead;
use sluicegate_core::rtsp::message::{Message, Speaker, response};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};
use tokio::time::timeout;
use tracing::info;

use super::challenges::Challenges;
use crate::net::entrance::Ends;
use crate::net::http::{Body, text};
use crate::net::{forwarded, linger_close};

/// How a client is refused, in its protocol's words.
#[derive(Debug, Clone)]
pub enum Words {
    /// A redirect for GET and HEAD, and 403 for the rest: what a client has sent in the clear cannot be taken back, so
    /// nothing more of it is asked for.
    Http {
        /// The port where HTTPS has one of its own.
        port: Option<u16>,
        /// Answered without TLS: the caller wants to know whether there may be a certificate.
        challenges: Option<Arc<Challenges>>,
    },
    /// Nothing: the connection is closed. RTMP has no word before its handshake.
    Rtmp,
    /// 403.
    Rtsp,
}

impl Words {
    /// Hears a client out, which has sent `early`, and refuses it, or leads it to TLS. Returns whether it was refused. A
    /// client of HTTP that asked for nothing was not: anybody may look whether a port is open.
    pub(super) async fn say(
        &self,
        client: &mut (impl AsyncRead + AsyncWrite + Unpin),
        early: Vec<u8>,
        time_limit: Duration,
    ) -> bool {
        let hearing = async {
            let mut heard = early;
            loop {
                match self.answer(&heard) {
                    Answer::Later => {}
                    Answer::Close => return None,
                    Answer::Lead(words) => return Some((words, false)),
                    Answer::Refuse(words) => return Some((words, true)),
                }
                if client.read_buf(&mut heard).await.ok()? == 0 {
                    return None;
                }
            }
        };
        let Ok(Some((words, refused))) = timeout(time_limit, hearing).await else {
            return !matches!(self, Self::Http { .. });
        };
        linger_close::say(client, &words, linger_close::TIME_LIMIT).await;
        refused
    }

    fn answer(&self, heard: &[u8]) -> Answer {
        match self {
            Self::Rtmp => Answer::Close,
            Self::Http { port, challenges } => match RequestHead::parse(heard) {
                Ok(Some((request, _))) => {
                    let challenges = challenges.as_ref();
                    let met = challenges.and_then(|pending| pending.answer(&request.target));
                    met.map_or_else(|| http(&request, *port), |met| Answer::Lead(meet(&met)))
                }
                Ok(None) => Answer::Later,
                Err(_) => Answer::Close,
            },
            Self::Rtsp => match Message::parse(heard, Speaker::Client) {
                Ok(Some((request, _))) => {
                    let words = "Forbidden: only RTSP over TLS is served here; use rtsps://";
                    Answer::Refuse(response(
                        403,
                        words,
                        Some(&request),
                        "Connection: close\r\n",
                    ))
                }
                Ok(None) => Answer::Later,
                Err(_) => Answer::Close,
            },
        }
    }
}

enum Answer {
    Close,
    Later,
    /// What it asked for, or where that is.
    Lead(Vec<u8>),
    Refuse(Vec<u8>),
}

/// The answer to a challenge (RFC 8555 §8.3).
fn meet(answer: &str) -> Vec<u8> {
    let length = answer.len();
    let head = "HTTP/1.1 200 OK\r\nContent-Type: application/octet-stream\r\nConnection: close\r\n";
    format!("{head}Content-Length: {length}\r\n\r\n{answer}").into_bytes()
}

fn http(request: &RequestHead, port: Option<u16>) -> Answer {
    let reads = matches!(request.method.as_str(), "GET" | "HEAD");
    let host = request.host().filter(|_| reads);
    let place = host.and_then(|host| location(host, &request.target, port));
    if let Some(place) = place {
        let head = format!(
            "HTTP/1.1 301 Moved Permanently\r\nLocation: {place}\r\nContent-Length: 0\r\n\
             Access-Control-Allow-Origin: *\r\nConnection: close\r\n\r\n"
        );
        return Answer::Lead(head.into_bytes());
    }
    let words = "only HTTPS is served here\n";
    let head = format!(
        "HTTP/1.1 403 Forbidden\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: {}\r\n\
         Access-Control-Allow-Origin: *\r\nConnection: close\r\n\r\n",
        words.len()
    );
    let body = if request.method == "HEAD" { "" } else { words };
    Answer::Refuse([head.as_bytes(), body.as_bytes()].concat())
}

/// What is said to a request that lacks the TLS which is required: a trusted proxy sent it on for a client that came to that
/// without. It is sent to the usual port of HTTPS, since TLS is the proxy's to serve.
/// `usual` is the folder of a web server in front that says none. A refusal is logged.
pub fn lacking<B>(request: &Request<B>, ends: Ends, usual: &BasePath) -> Option<Response<Body>> {
    let headers = request.headers();
    if !ends.lacks_tls(forwarded::told_secure(headers)) {
        return None;
    }
    let refuse = || {
        let (client, method) = (ends.client, request.method());
        info!(%client, %method, "request refused: a trusted proxy sent it on for a client that came without TLS");
        open_to_all(text(StatusCode::FORBIDDEN, "only HTTPS is served here"))
    };
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        return Some(refuse());
    }
    let told = headers
        .get("x-forwarded-host")
        .or_else(|| headers.get(HOST));
    let host = told.and_then(|host| host.to_str().ok()).unwrap_or_default();
    let host = host.split(',').next().unwrap_or_default().trim();
    let folders = headers.get_all(FORWARDED_PREFIX).into_iter();
    let told = BasePath::told(folders.map(|folder| folder.as_bytes()));
    let folder = told.as_ref().unwrap_or(usual);
    let target = request.uri().path_and_query().map_or("", |t| t.as_str());
    let place = location(
        host,
        &format!("{}{target}", folder.as_str()),
        Some(HTTPS_PORT),
    );
    let Some(place) = place.and_then(|place| HeaderValue::try_from(place).ok()) else {
        return Some(refuse());
    };
    let mut response = text(StatusCode::MOVED_PERMANENTLY, "it is served by HTTPS");
    response.headers_mut().insert(LOCATION, place);
    Some(open_to_all(response))
}

/// Lets any page read an answer.
fn open_to_all(mut response: Response<Body>) -> Response<Body> {
    let any = HeaderValue::from_static("*");
    response
        .headers_mut()
        .insert(ACCESS_CONTROL_ALLOW_ORIGIN, any);
    response
}

/// Where the same is served over TLS; `None` if the client did not say whom it asks. Without a port of its own, HTTPS is
/// where the client came to.
fn location(host: &str, target: &str, port: Option<u16>) -> Option<String> {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-._:[]".contains(c);
    if host.is_empty() || !host.chars().all(is_plain) || !target.starts_with('/') {
        return None;
    }
    let (name, asked) = match host.rsplit_once(':') {
        // The colons within brackets are those of an IPv6 address.
        Some((name, asked)) if !asked.contains(']') => (name, asked.parse().ok()?),
        _ => (host, HTTP_PORT),
    };
    let authority = match port.unwrap_or(asked) {
        HTTPS_PORT => name.to_owned(),
        port => format!("{name}:{port}"),
    };
    Some(format!("https://{authority}{target}"))
}

/// The ports that URLs need not name (RFC 9110 §4.2).
const HTTP_PORT: u16 = 80;
const HTTPS_PORT: u16 = 443;

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt;

    use super::*;

    fn said(words: &Words, heard: &str) -> Option<String> {
        match words.answer(heard.as_bytes()) {
            Answer::Lead(words) | Answer::Refuse(words) => String::from_utf8(words).ok(),
            Answer::Close => None,
            Answer::Later => Some("later".to_owned()),
        }
    }

    fn http(port: Option<u16>) -> Words {
        Words::Http {
            port,
            challenges: None,
        }
    }

    #[test]
    fn who_asks_for_a_pending_challenge_is_answered() {
        let challenges = Arc::new(Challenges::default());
        let _pending = challenges.answer_with("token-1", "token-1.thumb");
        let words = Words::Http {
            port: None,
            challenges: Some(challenges),
        };
        let ask = |token: &str| {
            let path = format!("/.well-known/acme-challenge/{token}");
            said(&words, &format!("GET {path} HTTP/1.1\r\nHost: h\r\n\r\n")).unwrap()
        };
        assert!(ask("token-1").ends_with("\r\n\r\ntoken-1.thumb"));
        assert!(ask("token-2").starts_with("HTTP/1.1 301 "));
    }

    #[test]
    fn who_reads_is_sent_to_https() {
        let [same, own, elsewhere] = [None, Some(443), Some(8443)].map(http);
        let [same, own, elsewhere] = [&same, &own, &elsewhere];
        let rows = [
            (
                "the same port",
                same,
                "h.example:8080",
                "https://h.example:8080/a?k=v",
            ),
            ("port 80", same, "h.example", "https://h.example:80/a?k=v"),
            (
                "its own port",
                own,
                "h.example:8080",
                "https://h.example/a?k=v",
            ),
            (
                "another port",
                elsewhere,
                "h.example",
                "https://h.example:8443/a?k=v",
            ),
            (
                "IPv6",
                elsewhere,
                "[2001:db8::1]",
                "https://[2001:db8::1]:8443/a?k=v",
            ),
            (
                "IPv6 with a port",
                same,
                "[2001:db8::1]:8080",
                "https://[2001:db8::1]:8080/a?k=v",
            ),
        ];
        for (cause, words, host, expected) in rows {
            for method in ["GET", "HEAD"] {
                let request = format!("{method} /a?k=v HTTP/1.1\r\nHost: {host}\r\n\r\n");
                let answer = said(words, &request).unwrap();
                let place = answer
                    .lines()
                    .find_map(|line| line.strip_prefix("Location: "));
                assert!(answer.starts_with("HTTP/1.1 301 "), "{cause}: {answer}");
                assert_eq!(place, Some(expected), "{cause}");
            }
        }
    }

    #[test]
    fn a_trusted_proxy_says_how_its_client_came() {
        let peer: std::net::SocketAddr = "10.0.0.9:7".parse().unwrap();
        let ends = Ends {
            needs_tls: true,
            ..Ends::direct(peer.into())
        };
        let at = "https://media.example/a?k=v";
        // A description; the method; what its headers say; the status and the place of the refusal, if it is one.
        type Case<'a> = (
            &'a str,
            &'a str,
            &'a [(&'a str, &'a str)],
            Option<(u16, Option<&'a str>)>,
        );
        let rows: [Case<'_>; 8] = [
            ("it says nothing", "GET", &[], Some((301, Some(at)))),
            ("with TLS", "GET", &[("X-Forwarded-Proto", "https")], None),
            ("a WebSocket", "GET", &[("X-Forwarded-Proto", "wss")], None),
            (
                "RFC 7239",
                "POST",
                &[("Forwarded", "for=192.0.2.1;proto=https")],
                None,
            ),
            (
                "without",
                "HEAD",
                &[("X-Forwarded-Proto", "http")],
                Some((301, Some(at))),
            ),
            (
                "one that writes",
                "POST",
                &[("X-Forwarded-Proto", "http")],
                Some((403, None)),
            ),
            (
                "known by another name and a folder",
                "GET",
                &[
                    ("X-Forwarded-Host", "pub.example:80, in.example"),
                    ("X-Forwarded-Prefix", "/m"),
                ],
                Some((301, Some("https://pub.example/m/a?k=v"))),
            ),
            (
                "a name that is none",
                "GET",
                &[("X-Forwarded-Host", "a@b")],
                Some((403, None)),
            ),
        ];
        for (cause, method, headers, expected) in rows {
            let mut request = Request::builder()
                .method(method)
                .uri("/a?k=v")
                .header("Host", "media.example:8080");
            for (name, value) in headers {
                request = request.header(*name, *value);
            }
            let request = request.body(()).unwrap();
            let refusal = lacking(&request, ends, &BasePath::default());
            let told = refusal.as_ref().map(|refusal| {
                let place = refusal.headers().get(LOCATION);
                let place = place.map(|place| place.to_str().unwrap());
                let open = refusal.headers().get(ACCESS_CONTROL_ALLOW_ORIGIN);
                assert!(open.is_some(), "{cause}: pages may read it");
                (refusal.status().as_u16(), place)
            });
            assert_eq!(told, expected, "{cause}");
            let other = Ends {
                needs_tls: false,
                ..ends
            };
            let refusal = lacking(&request, other, &BasePath::default());
            assert!(refusal.is_none(), "{cause}");
        }
        let request = Request::get("/a").header("Host", "media.example");
        let usual = "/media".parse().unwrap();
        let refusal = lacking(&request.body(()).unwrap(), ends, &usual).unwrap();
        let place = &refusal.headers()[LOCATION];
        assert_eq!(place, "https://media.example/media/a", "the usual folder");
    }

    #[test]
    fn everything_else_is_refused() {
        let http = &http(None);
        for (cause, words, heard, expected) in [
            (
                "writes",
                http,
                "POST / HTTP/1.1\r\nHost: h\r\n\r\n",
                Some("HTTP/1.1 403 "),
            ),
            (
                "no host",
                http,
                "GET / HTTP/1.0\r\n\r\n",
                Some("HTTP/1.1 403 "),
            ),
            (
                "a host that is none",
                http,
                "GET / HTTP/1.1\r\nHost: a@b\r\n\r\n",
                None,
            ),
            ("no HTTP", http, "\u{3}\r\n\r\n", None),
            ("half a head", http, "GET / HT", Some("later")),
            (
                "RTSP",
                &Words::Rtsp,
                "OPTIONS rtsp://h/a RTSP/1.0\r\nCSeq: 7\r\n\r\n",
                Some("RTSP/1.0 403 Forbidden"),
            ),
            ("RTMP", &Words::Rtmp, "\u{3}", None),
        ] {
            let answer = said(words, heard);
            match (&answer, expected) {
                (Some(answer), Some(start)) => {
                    assert!(answer.starts_with(start), "{cause}: {answer}");
                }
                (answer, expected) => assert_eq!(answer.as_deref(), expected, "{cause}"),
            }
        }
    }

    #[tokio::test]
    async fn who_is_refused_is_told_from_who_is_led_on() {
        let challenges = Arc::new(Challenges::default());
        let _pending = challenges.answer_with("token-1", "token-1.thumb");
        let http = &Words::Http {
            port: None,
            challenges: Some(challenges),
        };
        for (cause, words, heard, refused) in [
            ("reads", http, "GET / HTTP/1.1\r\nHost: h\r\n\r\n", false),
            (
                "looks for a challenge",
                http,
                "GET /.well-known/acme-challenge/token-1 HTTP/1.1\r\nHost: h\r\n\r\n",
                false,
            ),
            ("writes", http, "POST / HTTP/1.1\r\nHost: h\r\n\r\n", true),
            (
                "a preflight",
                http,
                "OPTIONS / HTTP/1.1\r\nHost: h\r\n\r\n",
                true,
            ),
            (
                "reads, and names no host",
                http,
                "GET / HTTP/1.0\r\n\r\n",
                true,
            ),
            ("no HTTP", http, "\u{3}\r\n\r\n", false),
            ("half a head", http, "GET / HT", false),
            (
                "RTSP",
                &Words::Rtsp,
                "OPTIONS rtsp://h/a RTSP/1.0\r\nCSeq: 7\r\n\r\n",
                true,
            ),
            ("half of RTSP", &Words::Rtsp, "OPTIONS", true),
            ("RTMP", &Words::Rtmp, "\u{3}", true),
        ] {
            let (mut ours, theirs) = tokio::io::duplex(1024);
            let (_answer, mut sends) = tokio::io::split(theirs);
            sends.shutdown().await.unwrap();
            let limit = Duration::from_secs(1);
            let told = words.say(&mut ours, heard.as_bytes().to_vec(), limit).await;
            assert_eq!(told, refused, "{cause}");
        }
    }
}
