//! What the process was started with, for people: settings, listeners, and how to reach a stream.

use std::net::SocketAddr;

use axum::Json;
use axum::extract::{ConnectInfo, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use sluicegate_core::stream::{Protocol, StreamUrl};

use super::asked::Query;
use super::fleet::data;
use super::list::answered;
use super::{System, lookup, problem};
use crate::api::{Envelope, Links, Listener, Said, Setting, Settings, StreamAddress};
use crate::net::entrance::Ends;

/// What is told of the process.
#[derive(Debug, Clone, Default)]
pub struct Shown {
    /// Every setting in effect; secrets are masked.
    pub settings: Vec<Setting>,
    /// Each listener by its name (`rtmp`, `http`, `api`, `srt`, `rtsp`, `rtc`), with its first address; `rtmp_tls` and so on where
    /// TLS has a port of its own.
    pub listeners: Vec<(&'static str, SocketAddr)>,
    /// Listeners that take no client without TLS on any of their ports.
    pub tls_alone: Vec<&'static str>,
    /// How clients reach a listener, by its name: `rtmp` → `rtmp://live.example.com`.
    pub public: Vec<(String, String)>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Wanted {
    stream: String,
}

/// `GET /api/v1/settings`.
pub(super) async fn settings(State(system): State<System>) -> Json<Envelope<Settings>> {
    let listeners = system
        .shown
        .listeners
        .iter()
        .map(|(name, address)| Listener {
            name: (*name).to_owned(),
            address: address.to_string(),
        });
    data(Settings {
        settings: system.shown.settings.clone(),
        listeners: listeners.collect(),
    })
}

/// `GET /api/v1/links`.
pub(super) async fn links(
    State(system): State<System>,
    ConnectInfo(ends): ConnectInfo<Ends>,
    Query(wanted): Query<Wanted>,
    headers: HeaderMap,
) -> Response {
    let stream = match lookup::stream(&wanted.stream) {
        Ok(stream) => stream,
        Err(words) => return problem(StatusCode::BAD_REQUEST, &words),
    };
    let host = headers.get(header::HOST);
    let host = host.and_then(|host| host.to_str().ok());
    let host = host.unwrap_or("localhost");
    let front = system.front(ends, &headers, host);
    let links = system
        .shown
        .links(&stream, without_port(host), front.as_deref());
    data(Links {
        stream: stream.to_string(),
        links,
    })
    .into_response()
}

/// `GET /api/v1/said`: what the origins say of a stream.
pub(super) async fn said(
    State(system): State<System>,
    Query(wanted): Query<Wanted>,
    headers: HeaderMap,
) -> Response {
    let stream = match lookup::stream(&wanted.stream) {
        Ok(stream) => stream,
        Err(words) => return problem(StatusCode::BAD_REQUEST, &words),
    };
    let document = match &system.fleet {
        Some(fleet) => fleet.said(&stream).await,
        None => Said::default(),
    };
    answered(&headers, &document)
}

impl Shown {
    /// The protocols of clients for which there is a listener, in order.
    pub(super) fn protocols(&self) -> impl Iterator<Item = Protocol> {
        let listens = |wanted| self.reached(wanted).is_some();
        let all = Protocol::ALL.into_iter();
        all.filter(move |protocol| match protocol {
            Protocol::HttpAac
            | Protocol::HttpFlv
            | Protocol::HttpMp3
            | Protocol::HttpSegments
            | Protocol::HttpTs => listens("http"),
            Protocol::Rtmp => listens("rtmp"),
            Protocol::Rtsp => listens("rtsp"),
            Protocol::Srt => listens("srt"),
            // Where calls are made, and where their media arrives.
            Protocol::WebRtc => listens("api") && listens("rtc"),
        })
    }

    /// Where clients reach a listener, and whether they have to come with TLS: where it takes others too, they need not.
    fn reached(&self, name: &str) -> Option<(SocketAddr, bool)> {
        let at = |wanted: &str| {
            let mut all = self.listeners.iter();
            all.find(|(known, _)| *known == wanted)
                .map(|(_, address)| *address)
        };
        let shared = at(name);
        if let Some(address) = shared.filter(|_| !self.tls_alone.contains(&name)) {
            return Some((address, false));
        }
        Some((at(&format!("{name}_tls")).or(shared)?, true))
    }

    /// Every address of a stream, on the machine that the caller calls `host` unless the settings say another. What speaks HTTP is
    /// below `front`, where the caller comes by a web server that serves a folder from here.
    fn links(&self, stream: &StreamUrl, host: &str, front: Option<&str>) -> Vec<StreamAddress> {
        let path = format!("{}/{}", stream.app(), stream.stream());
        let mut links = Vec::new();
        for (name, scheme, forms) in FORMS {
            let public = self.public.iter().find(|(known, _)| known == name);
            let front = front.filter(|_| *scheme == "http");
            let base = match (public, self.reached(name), front) {
                (Some((_, base)), ..) => base.trim_end_matches('/').to_owned(),
                (None, Some(_), Some(front)) => front.to_owned(),
                (None, Some((address, is_tls)), None) => {
                    let secure = if is_tls { "s" } else { "" };
                    format!("{scheme}{secure}://{host}:{}", address.port())
                }
                (None, None, _) => continue,
            };
            for (protocol, action, form) in *forms {
                let rest = form
                    .replace("{path}", &path)
                    .replace("{app}", stream.app())
                    .replace("{stream}", stream.stream());
                links.push(StreamAddress {
                    protocol: (*protocol).to_owned(),
                    action: (*action).to_owned(),
                    url: format!("{base}{rest}"),
                });
            }
        }
        links
    }
}

/// A `Host` without its port.
fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    }
}

/// The protocol, the action, and what follows the address of a listener.
type Forms = &'static [(&'static str, &'static str, &'static str)];

/// A listener, its scheme, to which TLS adds an `s`, and its forms of a stream's address.
const FORMS: &[(&str, &str, Forms)] = &[
    (
        "rtmp",
        "rtmp",
        &[("RTMP", "publish", "/{path}"), ("RTMP", "play", "/{path}")],
    ),
    (
        "srt",
        "srt",
        &[
            ("SRT", "publish", "?streamid=#!::r={path},m=publish"),
            ("SRT", "play", "?streamid=#!::r={path},m=request"),
        ],
    ),
    (
        "api",
        "http",
        &[
            ("WHIP", "publish", "/rtc/v1/whip/?app={app}&stream={stream}"),
            ("WHEP", "play", "/rtc/v1/whep/?app={app}&stream={stream}"),
        ],
    ),
    (
        "http",
        "http",
        &[
            ("HTTP-FLV", "play", "/{path}.flv"),
            ("HTTP-TS", "play", "/{path}.ts"),
            ("HLS", "play", "/{path}.m3u8"),
            ("DASH", "play", "/{path}.mpd"),
        ],
    ),
    (
        "rtsp",
        "rtsp",
        &[("RTSP", "publish", "/{path}"), ("RTSP", "play", "/{path}")],
    ),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_speaks_http_is_below_the_folder_of_the_web_server_in_front() {
        let shown = Shown {
            listeners: vec![
                ("rtsp", "0.0.0.0:10554".parse().expect("an address")),
                ("api", "0.0.0.0:11985".parse().expect("an address")),
            ],
            ..Shown::default()
        };
        let stream = StreamUrl::new("", "live", "cam").expect("a stream");
        let links = shown.links(
            &stream,
            "example.com",
            Some("https://example.com:8443/media"),
        );
        let urls: Vec<&str> = links.iter().map(|link| link.url.as_str()).collect();
        assert_eq!(
            urls[0],
            "https://example.com:8443/media/rtc/v1/whip/?app=live&stream=cam"
        );
        assert_eq!(urls[2], "rtsp://example.com:10554/live/cam");
    }

    #[test]
    fn who_has_to_come_with_tls_is_told_so_by_the_scheme() {
        let port = |port: u16| SocketAddr::from(([0, 0, 0, 0], port));
        let all =
            |name: &'static str, own: &'static str| vec![(name, port(1000)), (own, port(2000))];
        let stream = StreamUrl::new("", "live", "cam").expect("a stream");
        // What listens, which of them takes nobody without TLS, how the stream is published and how it is played first (an empty
        // text if it is not), and the protocols.
        type Row<'a> = (
            Vec<(&'static str, SocketAddr)>,
            Vec<&'static str>,
            &'a str,
            &'a str,
            &'a [&'a str],
        );
        let http: &[&str] = &[
            "http_aac",
            "http_flv",
            "http_mp3",
            "http_segments",
            "http_ts",
        ];
        let rows: [Row<'_>; 11] = [
            (vec![], vec![], "", "", &[]),
            (
                all("rtmp", "rtmp_tls"),
                vec![],
                "rtmp://a:1000/live/cam",
                "rtmp://a:1000/live/cam",
                &["rtmp"],
            ),
            (
                vec![("rtmp_tls", port(2000))],
                vec![],
                "rtmps://a:2000/live/cam",
                "rtmps://a:2000/live/cam",
                &["rtmp"],
            ),
            (
                vec![("rtmp", port(1000))],
                vec!["rtmp"],
                "rtmps://a:1000/live/cam",
                "rtmps://a:1000/live/cam",
                &["rtmp"],
            ),
            (
                all("rtmp", "rtmp_tls"),
                vec!["rtmp"],
                "rtmps://a:2000/live/cam",
                "rtmps://a:2000/live/cam",
                &["rtmp"],
            ),
            (
                vec![("rtsp_tls", port(2000))],
                vec![],
                "rtsps://a:2000/live/cam",
                "rtsps://a:2000/live/cam",
                &["rtsp"],
            ),
            (
                vec![("http_tls", port(2000))],
                vec![],
                "",
                "https://a:2000/live/cam.flv",
                http,
            ),
            (
                all("http", "http_tls"),
                vec!["rtmp"],
                "",
                "http://a:1000/live/cam.flv",
                http,
            ),
            (
                vec![("api_tls", port(2000)), ("rtc", port(3000))],
                vec![],
                "https://a:2000/rtc/v1/whip/?app=live&stream=cam",
                "https://a:2000/rtc/v1/whep/?app=live&stream=cam",
                &["webrtc"],
            ),
            (
                vec![("srt", port(1000))],
                vec![],
                "srt://a:1000?streamid=#!::r=live/cam,m=publish",
                "srt://a:1000?streamid=#!::r=live/cam,m=request",
                &["srt"],
            ),
            (vec![("system_tls", port(2000))], vec![], "", "", &[]),
        ];
        for (listeners, tls_alone, publish, play, protocols) in rows {
            let what = format!("{listeners:?} {tls_alone:?}");
            let shown = Shown {
                listeners,
                tls_alone,
                ..Shown::default()
            };
            let links = shown.links(&stream, "a", None);
            let first = |action: &str| {
                let link = links.iter().find(|link| link.action == action);
                link.map_or("", |link| link.url.as_str())
            };
            assert_eq!((first("publish"), first("play")), (publish, play), "{what}");
            let mut spoken: Vec<&str> = shown.protocols().map(Protocol::as_str).collect();
            spoken.sort_unstable();
            assert_eq!(spoken, protocols, "{what}");
        }
    }

    #[test]
    fn links_name_what_listens_under_the_name_that_the_caller_used() {
        let shown = Shown {
            listeners: vec![
                ("rtmp", "0.0.0.0:11935".parse().expect("an address")),
                ("srt", "[::]:20080".parse().expect("an address")),
            ],
            public: vec![("rtmp".to_owned(), "rtmps://live.example.com/".to_owned())],
            ..Shown::default()
        };
        let stream = StreamUrl::new("", "live", "cam").expect("a stream");
        let links = shown.links(&stream, "[::1]", None);
        let urls: Vec<&str> = links.iter().map(|link| link.url.as_str()).collect();
        assert_eq!(
            urls,
            [
                "rtmps://live.example.com/live/cam",
                "rtmps://live.example.com/live/cam",
                "srt://[::1]:20080?streamid=#!::r=live/cam,m=publish",
                "srt://[::1]:20080?streamid=#!::r=live/cam,m=request",
            ]
        );
        for (host, expected) in [
            ("a:80", "a"),
            ("[::1]:80", "[::1]"),
            ("a", "a"),
            ("[::1]", "[::1]"),
        ] {
            assert_eq!(without_port(host), expected, "{host}");
        }
    }
}
