//! Asking the operator's own backend: what it is asked, in the shape that it knows, and what its answer means.
//!
//! | shape | asked with | yes |
//! | --- | --- | --- |
//! | SRS `http_hooks` | JSON, one document for each event | 200 or 201, and the body is `0` or has the code 0 |
//! | nginx-rtmp notify | a form, `call=publish` or `call=play` | a status that begins with 2, or with 3 and a `Location` that is a name |
//! | MediaMTX `authMethod: http` | JSON | a status that begins with 2 |
//! | ours | JSON | 200 and `{"allow": true}` |

use std::borrow::Cow;
use std::time::Duration;

use serde_json::{Value, json};

use super::identity::Identity;
use super::limits::Most;
use super::query::Query;
use super::question::Question;
use super::verdict::{Denial, Grant, Verdict, Why};
use crate::stream::{Action, DEFAULT_APP, Protocol, StreamUrl};

/// A backend that is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hook {
    /// How it is asked.
    pub shape: Shape,
    /// Where a connection is announced, before what it asks for (SRS only).
    pub on_connect: Option<Box<str>>,
    /// Where a publisher is asked about; without it, publishers may.
    pub on_publish: Option<Box<str>>,
    /// Where a player is asked about; without it, players may.
    pub on_play: Option<Box<str>>,
    /// Where the end of a publisher is told.
    pub on_unpublish: Option<Box<str>>,
    /// Where the end of a player is told.
    pub on_stop: Option<Box<str>>,
    /// Where the end of a connection is told, after what it asked for (SRS only).
    pub on_close: Option<Box<str>>,
    /// What a publisher gets while nobody answers: in, or told to come again.
    pub publish_unanswered: Unanswered,
    /// What a player gets then.
    pub play_unanswered: Unanswered,
    /// How long an answer may take.
    pub timeout: Duration,
}

/// What is spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// `authMethod: http` of MediaMTX.
    MediaMtx,
    /// `on_publish` and the like of nginx-rtmp.
    NginxRtmp,
    /// Our own.
    Ours,
    /// `http_hooks` of SRS.
    Srs,
}

/// What counts while nobody answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Unanswered {
    /// They may.
    Allow,
    /// They are told to come again.
    #[default]
    Deny,
}

/// One POST.
#[derive(Clone, PartialEq, Eq)]
pub struct Post {
    /// Where to.
    pub url: Box<str>,
    /// The type of the body.
    pub content_type: &'static str,
    /// The body, which may hold what the client showed.
    pub body: String,
}

/// What a backend answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Said<'a> {
    /// The status.
    pub status: u16,
    /// The `Location` field.
    pub location: Option<&'a str>,
    /// The body.
    pub body: &'a [u8],
}

/// The end of a session, as a backend is told of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionEnd {
    /// The id that its beginning was asked about with.
    pub session: Box<str>,
    /// Bytes from the client.
    pub received: u64,
    /// Bytes to the client.
    pub sent: u64,
    /// How long it lasted.
    pub seconds: u64,
}

impl Hook {
    /// What it is asked about a request, one after the other; all have to be answered with yes. `session` is in the word
    /// of the session's end as well.
    pub fn questions(&self, question: &Question<'_>, session: &str) -> Vec<Post> {
        let (url, event) = match question.action {
            Action::Play => (&self.on_play, "on_play"),
            Action::Publish => (&self.on_publish, "on_publish"),
        };
        let connect = self
            .on_connect
            .as_deref()
            .filter(|_| self.shape == Shape::Srs);
        let connect = connect.map(|url| (url, "on_connect"));
        let asked = connect
            .into_iter()
            .chain(url.as_deref().map(|url| (url, event)));
        asked
            .map(|(url, event)| self.post(url, event, question, session, None))
            .collect()
    }

    /// What it is told of the end of a session that it was asked about, one after the other.
    pub fn news(&self, question: &Question<'_>, ended: &SessionEnd) -> Vec<Post> {
        let (url, event) = match question.action {
            Action::Play => (&self.on_stop, "on_stop"),
            Action::Publish => (&self.on_unpublish, "on_unpublish"),
        };
        let told = [(url, event), (&self.on_close, "on_close")];
        let told = told
            .into_iter()
            .filter_map(|(url, event)| Some((url.as_deref()?, event)));
        told.map(|(url, event)| self.post(url, event, question, &ended.session, Some(ended)))
            .collect()
    }

    /// Whether it counts sessions by what it is asked and told, so that no answer stands for two of them.
    pub const fn counts(&self) -> bool {
        self.on_unpublish.is_some() || self.on_stop.is_some() || self.on_close.is_some()
    }

    /// What an answer to a question means; `None` if it means nothing, as when there was none.
    pub fn verdict(&self, said: &Said<'_>, question: &Question<'_>) -> Option<Verdict> {
        let Said {
            status,
            location,
            body,
        } = *said;
        let yes = || Some(Verdict::Yes(Grant::default()));
        let no = || Some(Verdict::No(Denial::new(Why::Forbidden, NOT_ALLOWED)));
        match self.shape {
            Shape::MediaMtx => match status {
                200..300 => yes(),
                401 => Some(Verdict::No(Denial::new(Why::Unknown, NOT_ALLOWED))),
                500.. => None,
                _ => no(),
            },
            Shape::NginxRtmp => match status {
                200..300 => yes(),
                300..400 => Some(location.map_or_else(
                    || Verdict::No(Denial::new(Why::Forbidden, NOT_ALLOWED)),
                    |location| nginx_rename(location, question),
                )),
                500.. => None,
                _ => no(),
            },
            Shape::Ours => ours(status, body, question),
            Shape::Srs => match status {
                200 | 201 if is_zero(body) => yes(),
                500.. => None,
                _ => no(),
            },
        }
    }

    /// What of an answer with this status says no, where it does, for who keeps the backend.
    pub const fn why_not(&self, status: u16) -> &'static str {
        match (self.shape, status) {
            (Shape::Srs, 200 | 201) => {
                "its body is neither the number 0 nor an object with the number 0 as its code"
            }
            (Shape::Ours, 200..300) => "its body says so",
            _ => "its status says so",
        }
    }

    /// What counts if nobody answers a request.
    pub const fn unanswered(&self, action: Action) -> Unanswered {
        match action {
            Action::Play => self.play_unanswered,
            Action::Publish => self.publish_unanswered,
        }
    }

    fn post(
        &self,
        url: &str,
        event: &str,
        question: &Question<'_>,
        session: &str,
        ended: Option<&SessionEnd>,
    ) -> Post {
        let (content_type, body) = match self.shape {
            Shape::MediaMtx => (JSON, mediamtx(question, session).to_string()),
            Shape::NginxRtmp => (FORM, nginx(event, question, session)),
            Shape::Ours => (
                JSON,
                our_question(event, question, session, ended).to_string(),
            ),
            Shape::Srs => (JSON, srs(event, question, session, ended).to_string()),
        };
        Post {
            url: url.into(),
            content_type,
            body,
        }
    }
}

impl std::fmt::Debug for Post {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Post(***)")
    }
}

impl Shape {
    /// The word that the settings have for it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::MediaMtx => "mediamtx",
            Self::NginxRtmp => "nginx-rtmp",
            Self::Ours => "sluicegate",
            Self::Srs => "srs",
        }
    }

    /// The shape that the settings call `name`.
    pub fn named(name: &str) -> Option<Self> {
        let all = [Self::MediaMtx, Self::NginxRtmp, Self::Ours, Self::Srs];
        all.into_iter().find(|shape| shape.name() == name)
    }
}

/// `http_hooks` of SRS: all are texts but the counters.
fn srs(event: &str, question: &Question<'_>, session: &str, ended: Option<&SessionEnd>) -> Value {
    let stream = question.stream;
    let param = match question.query().0 {
        "" => String::new(),
        query => format!("?{query}"),
    };
    let mut document = json!({
        "server_id": "sluicegate",
        "service_id": "sluicegate",
        "action": event,
        "client_id": session,
        "ip": question.client.to_string(),
        "vhost": stream.vhost(),
        "app": stream.app(),
        "tcUrl": tc_url(question),
        "stream": stream.stream(),
        "param": param,
        "stream_url": format!("/{}/{}", stream.app(), stream.stream()),
        "stream_id": session,
        "pageUrl": question.credentials.page.as_deref().unwrap_or_default(),
    });
    if let Some(ended) = ended {
        document["recv_bytes"] = ended.received.into();
        document["send_bytes"] = ended.sent.into();
        document["duration"] = ended.seconds.into();
    }
    document
}

/// The `tcUrl` of an RTMP client as it sent it, or what one would have sent for the stream.
fn tc_url<'a>(question: &Question<'a>) -> Cow<'a, str> {
    let said = question.credentials.connect.as_deref();
    match said.map(|connect| &*connect.tc_url) {
        Some(said) if !said.is_empty() => Cow::Borrowed(said),
        _ => {
            let stream = question.stream;
            Cow::Owned(format!("rtmp://{}/{}", stream.vhost(), stream.app()))
        }
    }
}

/// The form of nginx-rtmp. What the client sent comes after our own fields and cannot repeat one of them: readers differ
/// in which of two counts.
fn nginx(event: &str, question: &Question<'_>, session: &str) -> String {
    let stream = question.stream;
    let (call, kind) = match event {
        "on_play" => (
            "play",
            [("start", "0"), ("duration", "0"), ("reset", "0")].as_slice(),
        ),
        "on_publish" => ("publish", [("type", "live")].as_slice()),
        "on_stop" => ("play_done", [].as_slice()),
        _ => ("publish_done", [].as_slice()),
    };
    let tc_url = tc_url(question);
    let connect = question.credentials.connect.as_deref();
    let address = question.client.to_string();
    let page = question.credentials.page.as_deref().unwrap_or_default();
    let mut fields = vec![
        ("app", stream.app()),
        ("flashver", connect.map_or("", |said| &said.flash_ver)),
        ("swfurl", connect.map_or("", |said| &said.swf_url)),
        ("tcurl", &tc_url),
        ("pageurl", page),
        ("addr", &address),
        ("clientid", session),
        ("call", call),
        ("name", stream.stream()),
    ];
    fields.extend(kind);
    let own: Vec<&str> = fields
        .iter()
        .map(|(name, _)| *name)
        .chain(NGINX_FIELDS)
        .collect();
    let mut form: Vec<String> = fields
        .iter()
        .map(|(name, value)| format!("{name}={}", escaped(value)))
        .collect();
    let shown = question.query().pairs();
    let others = shown.filter(|(name, _)| {
        let name = unescaped(name);
        !own.iter().any(|own| own.eq_ignore_ascii_case(&name))
    });
    form.extend(others.map(|(name, value)| {
        format!(
            "{}={}",
            escaped(&unescaped(name)),
            escaped(&unescaped(value))
        )
    }));
    form.join("&")
}

/// `authMethod: http` of MediaMTX.
fn mediamtx(question: &Question<'_>, session: &str) -> Value {
    let login = question.login();
    let part = |text: Option<&str>| text.unwrap_or_default().to_owned();
    let token = question.credentials.bearer.as_deref().map(str::to_owned);
    let token = token.or_else(|| Some(question.query().value("token")?.into_owned()));
    json!({
        "ip": question.client.to_string(),
        "user": part(login.as_ref().map(|login| &*login.user)),
        "password": part(login.as_ref().map(|login| &*login.password)),
        "token": token.unwrap_or_default(),
        "action": match question.action {
            Action::Play => "read",
            Action::Publish => "publish",
        },
        "path": question.path(),
        "protocol": match question.protocol {
            Protocol::Rtmp | Protocol::HttpFlv => "rtmp",
            Protocol::Rtsp => "rtsp",
            Protocol::Srt => "srt",
            Protocol::WebRtc => "webrtc",
            Protocol::HttpAac | Protocol::HttpMp3 | Protocol::HttpSegments | Protocol::HttpTs => "hls",
        },
        "id": session,
        "query": question.query().0,
        "userAgent": part(question.credentials.agent.as_deref()),
    })
}

fn our_question(
    event: &str,
    question: &Question<'_>,
    session: &str,
    ended: Option<&SessionEnd>,
) -> Value {
    let login = question.login();
    let part = |text: Option<&str>| text.map(str::to_owned);
    let mut document = json!({
        "version": 1,
        "event": event,
        "session": session,
        "action": question.action.as_str(),
        "protocol": question.protocol.as_str(),
        "vhost": question.stream.vhost(),
        "app": question.stream.app(),
        "stream": question.stream.stream(),
        "address": question.client.to_string(),
        "user": part(login.as_ref().map(|login| &*login.user)),
        "password": part(login.as_ref().map(|login| &*login.password)),
        "token": part(question.credentials.bearer.as_deref()),
        "query": question.query().0,
    });
    if let Some(ended) = ended {
        document["received_bytes"] = ended.received.into();
        document["sent_bytes"] = ended.sent.into();
        document["seconds"] = ended.seconds.into();
    }
    document
}

/// The name in the `Location` of nginx-rtmp, in the app that was asked for. A URL would be a relay to another server, which
/// is no yes here.
fn nginx_rename(location: &str, question: &Question<'_>) -> Verdict {
    let (name, _) = location.split_once('?').unwrap_or((location, ""));
    if name.contains("://") || name.trim_matches('/').is_empty() {
        return Verdict::No(Denial::new(Why::Forbidden, NOT_ALLOWED));
    }
    let name = name.trim_matches('/');
    let path = match question.stream.app() {
        DEFAULT_APP => name.to_owned(),
        app => [app, "/", name].concat(),
    };
    let grant = renamed(Grant::default(), &path, question);
    grant.map_or_else(Verdict::No, Verdict::Yes)
}

/// The grant for another stream than was asked for: on the same vhost, with a name that a client could have given.
fn renamed(grant: Grant, path: &str, question: &Question<'_>) -> Result<Grant, Denial> {
    let named = StreamUrl::of_path(question.stream.vhost(), path);
    let named = named.map_err(|_| Denial::new(Why::Forbidden, NOT_ALLOWED))?;
    Ok(Grant {
        stream: Some(named).filter(|named| named != question.stream),
        ..grant
    })
}

/// `{"allow": true, "viewer": "seven", "stream": "live/b"}`, or `{"allow": false, "reason": "…"}`.
fn ours(status: u16, body: &[u8], question: &Question<'_>) -> Option<Verdict> {
    if status != 200 {
        let denied = Denial::new(Why::Forbidden, NOT_ALLOWED);
        return (400..500).contains(&status).then_some(Verdict::No(denied));
    }
    let document: Value = serde_json::from_slice(body).ok()?;
    let text = |name: &str| document.get(name).and_then(Value::as_str);
    if document.get("allow")?.as_bool()? {
        let grant = Grant {
            who: Identity::viewer(text("viewer").unwrap_or_default()),
            limits: document.get("limits").map(most),
            ..Grant::default()
        };
        return Some(match document.get("stream") {
            None | Some(Value::Null) => Verdict::Yes(grant),
            Some(named) => {
                let path = named.as_str().unwrap_or_default();
                renamed(grant, path, question).map_or_else(Verdict::No, Verdict::Yes)
            }
        });
    }
    let reason = text("reason").unwrap_or(NOT_ALLOWED);
    let reason: String = reason
        .chars()
        .filter(|c| !c.is_control())
        .take(MAX_REASON)
        .collect();
    Some(Verdict::No(Denial::new(Why::Forbidden, reason)))
}

/// `{"sessions": 2, "publish_kbps": 8000}`; what is no number limits nothing.
fn most(limits: &Value) -> Most {
    let number = |name: &str| {
        let number = limits.get(name)?.as_u64()?;
        Some(u32::try_from(number).unwrap_or(u32::MAX))
    };
    Most {
        publishers: number("publishers"),
        viewers: number("viewers"),
        sessions: number("sessions"),
        publish_kbps: number("publish_kbps"),
        new_per_second: None,
        failures_per_minute: None,
    }
}

/// Whether SRS would take the body for a yes: `0`, or an object with the code 0. An empty body is a no.
fn is_zero(body: &[u8]) -> bool {
    match serde_json::from_slice::<Value>(body) {
        Ok(Value::Number(number)) => number.as_i64() == Some(0),
        Ok(document) => document.get("code").and_then(Value::as_i64) == Some(0),
        Err(_) => false,
    }
}

fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~/:".contains(&byte) {
            escaped.push(char::from(byte));
        } else {
            escaped.push_str(&format!("%{byte:02X}"));
        }
    }
    escaped
}

fn unescaped(text: &str) -> String {
    // A parameter of the same text has that text as its value, unescaped. A plus that was escaped is no space.
    let pair = format!("x={}", text.replace('+', "%20"));
    Query(&pair)
        .value("x")
        .map_or_else(|| text.to_owned(), |value| value.into_owned())
}

const JSON: &str = "application/json";
const FORM: &str = "application/x-www-form-urlencoded";
const NOT_ALLOWED: &str = "this is not allowed";
/// Characters of a reason that go to a client.
const MAX_REASON: usize = 200;
/// Fields of nginx-rtmp that its other calls have.
const NGINX_FIELDS: [&str; 7] = [
    "epoch",
    "type",
    "start",
    "duration",
    "reset",
    "time",
    "timestamp",
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::credentials::{Basic, Credentials};

    fn hook(shape: Shape) -> Hook {
        let url = |path: &str| Some(format!("http://10.0.0.9/{path}").into());
        Hook {
            shape,
            on_connect: url("connect"),
            on_publish: url("publish"),
            on_play: url("play"),
            on_unpublish: url("unpublish"),
            on_stop: None,
            on_close: url("close"),
            publish_unanswered: Unanswered::Deny,
            play_unanswered: Unanswered::Allow,
            timeout: Duration::from_secs(3),
        }
    }

    fn asked(shape: Shape, query: &str) -> Vec<Post> {
        let stream: StreamUrl = "__defaultVhost__/live/cam1".parse().unwrap();
        let credentials = Credentials {
            query: Some(query.into()),
            basic: Some(Basic {
                user: "u".into(),
                password: "p".into(),
            }),
            page: Some("https://site.example/live?a=1".into()),
            agent: Some("player/1".into()),
            ..Credentials::default()
        };
        let question = Question {
            stream: &stream,
            action: Action::Publish,
            protocol: Protocol::Rtmp,
            client: "192.0.2.10".parse().unwrap(),
            credentials: &credentials,
        };
        hook(shape).questions(&question, "c7")
    }

    #[test]
    fn srs_is_asked_as_its_own_hooks_are() {
        let posts = asked(Shape::Srs, "token=T");
        let urls: Vec<&str> = posts.iter().map(|post| &*post.url).collect();
        assert_eq!(urls, ["http://10.0.0.9/connect", "http://10.0.0.9/publish"]);
        let document: Value = serde_json::from_str(&posts[1].body).unwrap();
        for (field, value) in [
            ("action", "on_publish"),
            ("client_id", "c7"),
            ("ip", "192.0.2.10"),
            ("vhost", "__defaultVhost__"),
            ("app", "live"),
            ("stream", "cam1"),
            ("param", "?token=T"),
            ("stream_url", "/live/cam1"),
            ("pageUrl", "https://site.example/live?a=1"),
        ] {
            assert_eq!(document[field], value, "{field}");
        }
    }

    #[test]
    fn srs_hears_of_ends_as_its_own_hooks_do() {
        let stream: StreamUrl = "__defaultVhost__/live/cam1".parse().unwrap();
        let nothing = Credentials::default();
        let asked = |action| Question {
            stream: &stream,
            action,
            protocol: Protocol::Rtmp,
            client: "192.0.2.10".parse().unwrap(),
            credentials: &nothing,
        };
        let ended = SessionEnd {
            session: "c7".into(),
            received: 9,
            sent: 8,
            seconds: 7,
        };
        let actions = |action| -> Vec<String> {
            let posts = hook(Shape::Srs).news(&asked(action), &ended);
            let documents = posts.iter().map(|post| {
                let document: Value = serde_json::from_str(&post.body).unwrap();
                assert_eq!(document["client_id"], "c7");
                assert_eq!(document["recv_bytes"], 9);
                document["action"].as_str().unwrap().to_owned()
            });
            documents.collect()
        };
        assert_eq!(actions(Action::Publish), ["on_unpublish", "on_close"]);
        assert_eq!(
            actions(Action::Play),
            ["on_close"],
            "no address for the other"
        );
    }

    #[test]
    fn a_client_cannot_repeat_a_field_of_nginx_rtmp() {
        let query = "token=T&name=other&call=play&ADDR=10.0.0.1&na%6De=x&duration=5&a%26b=c";
        let posts = asked(Shape::NginxRtmp, query);
        assert_eq!(posts.len(), 1);
        assert_eq!(
            posts[0].body,
            "app=live&flashver=&swfurl=&tcurl=rtmp://__defaultVhost__/live&pageurl=https://site.example/live%3Fa%3D1&addr=192.0.2.10&clientid=c7\
             &call=publish&name=cam1&type=live&token=T&a%26b=c"
        );
    }

    #[test]
    fn what_an_rtmp_client_says_of_itself_is_passed_on() {
        let stream: StreamUrl = "__defaultVhost__/live/cam1".parse().unwrap();
        let credentials = Credentials::default().with_connect(
            "rtmp://edge.example:1935/live?a=1",
            "FMLE/3.0 (compatible; obs)",
            "https://site.example/p.swf",
        );
        let question = Question {
            stream: &stream,
            action: Action::Play,
            protocol: Protocol::Rtmp,
            client: "192.0.2.10".parse().unwrap(),
            credentials: &credentials,
        };
        let posts = hook(Shape::NginxRtmp).questions(&question, "c7");
        assert_eq!(
            posts[0].body,
            "app=live&flashver=FMLE/3.0%20%28compatible%3B%20obs%29&swfurl=https://site.example/p.swf\
             &tcurl=rtmp://edge.example:1935/live%3Fa%3D1&pageurl=&addr=192.0.2.10&clientid=c7&call=play&name=cam1&start=0\
             &duration=0&reset=0"
        );
        for post in hook(Shape::Srs).questions(&question, "c7") {
            let document: Value = serde_json::from_str(&post.body).unwrap();
            assert_eq!(document["tcUrl"], "rtmp://edge.example:1935/live?a=1");
        }
        assert!(!credentials.shows_something());
    }

    #[test]
    fn an_escaped_plus_is_no_space() {
        let posts = asked(Shape::NginxRtmp, "token=a%2Bb%3D%3D&words=a+b");
        let body = &posts[0].body;
        assert!(body.ends_with("&token=a%2Bb%3D%3D&words=a%20b"), "{body}");
    }

    #[test]
    fn mediamtx_is_asked_as_its_own_backends_are() {
        let document: Value =
            serde_json::from_str(&asked(Shape::MediaMtx, "token=T")[0].body).unwrap();
        let expected = json!({
            "ip": "192.0.2.10", "user": "u", "password": "p", "token": "T", "action": "publish",
            "path": "live/cam1", "protocol": "rtmp", "id": "c7", "query": "token=T", "userAgent": "player/1",
        });
        assert_eq!(document, expected);
    }

    fn answered(shape: Shape, status: u16, location: Option<&str>, body: &str) -> Option<Verdict> {
        let stream: StreamUrl = "h.example/live/cam1".parse().unwrap();
        let nothing = Credentials::default();
        let question = Question {
            stream: &stream,
            action: Action::Publish,
            protocol: Protocol::Rtmp,
            client: "192.0.2.10".parse().unwrap(),
            credentials: &nothing,
        };
        let said = Said {
            status,
            location,
            body: body.as_bytes(),
        };
        hook(shape).verdict(&said, &question)
    }

    #[test]
    fn what_says_no_is_named_for_who_keeps_the_backend() {
        for (shape, status, word) in [
            (Shape::Srs, 200, "the number 0"),
            (Shape::Srs, 403, "status"),
            (Shape::Ours, 200, "body"),
            (Shape::Ours, 404, "status"),
            (Shape::MediaMtx, 401, "status"),
            (Shape::NginxRtmp, 302, "status"),
        ] {
            let why = hook(shape).why_not(status);
            assert!(why.contains(word), "{shape:?} {status}: {why}");
        }
    }

    #[test]
    fn a_backend_may_give_a_stream_another_name_that_a_client_could_give() {
        let nginx = |location: &'static str| (Shape::NginxRtmp, 302, Some(location), String::new());
        let ours = |stream: &str| {
            let body = format!(r#"{{"allow":true,"stream":{stream}}}"#);
            (Shape::Ours, 200, None, body)
        };
        let rows = [
            ("a name", nginx("cam2"), Some(Some("h.example/live/cam2"))),
            (
                "with arguments",
                nginx("cam2?a=1"),
                Some(Some("h.example/live/cam2")),
            ),
            ("its own name", nginx("cam1"), Some(None)),
            ("a relay", nginx("rtmp://10.0.0.1/live/cam2"), None),
            ("a page", nginx("http://10.0.0.1/cam2"), None),
            ("nothing", nginx(""), None),
            ("no name that a client could give", nginx("cam2/../x"), None),
            (
                "a path",
                ours(r#""studio/b""#),
                Some(Some("h.example/studio/b")),
            ),
            ("none", ours("null"), Some(None)),
            ("no text", ours("7"), None),
            ("an empty one", ours(r#""""#), None),
        ];
        for (cause, (shape, status, location, body), expected) in rows {
            let renamed = match answered(shape, status, location, &body) {
                Some(Verdict::Yes(grant)) => Some(grant.stream.map(|stream| stream.to_string())),
                _ => None,
            };
            let renamed = renamed.as_ref().map(Option::as_deref);
            assert_eq!(renamed, expected, "{}: {cause}", shape.name());
        }
    }

    #[test]
    fn an_answer_means_what_its_kind_of_backend_means() {
        let rows: &[(&str, Shape, u16, &str, Option<bool>)] = &[
            ("zero", Shape::Srs, 200, "0", Some(true)),
            (
                "code 0",
                Shape::Srs,
                201,
                r#"{"code":0,"data":null}"#,
                Some(true),
            ),
            (
                "another code",
                Shape::Srs,
                200,
                r#"{"code":1}"#,
                Some(false),
            ),
            (
                "a code that is text",
                Shape::Srs,
                200,
                r#"{"code":"0"}"#,
                Some(false),
            ),
            ("nothing", Shape::Srs, 200, "", Some(false)),
            ("no code", Shape::Srs, 200, "{}", Some(false)),
            ("no content", Shape::Srs, 204, "0", Some(false)),
            ("a broken backend", Shape::Srs, 502, "0", None),
            ("any success", Shape::NginxRtmp, 204, "", Some(true)),
            (
                "a rename without a name",
                Shape::NginxRtmp,
                302,
                "",
                Some(false),
            ),
            ("not found", Shape::NginxRtmp, 404, "", Some(false)),
            ("a broken backend", Shape::NginxRtmp, 500, "", None),
            ("any success", Shape::MediaMtx, 204, "", Some(true)),
            ("unauthorized", Shape::MediaMtx, 401, "", Some(false)),
            ("a redirect", Shape::MediaMtx, 307, "", Some(false)),
            (
                "allowed",
                Shape::Ours,
                200,
                r#"{"allow":true,"viewer":"7"}"#,
                Some(true),
            ),
            (
                "denied",
                Shape::Ours,
                200,
                r#"{"allow":false,"reason":"paused"}"#,
                Some(false),
            ),
            ("neither", Shape::Ours, 200, r#"{"allow":"yes"}"#, None),
            ("no JSON", Shape::Ours, 200, "<html>", None),
            ("forbidden", Shape::Ours, 403, "", Some(false)),
            ("a redirect", Shape::Ours, 302, "", None),
        ];
        for (cause, shape, status, body, expected) in rows {
            let verdict = answered(*shape, *status, None, body);
            let may = verdict.map(|verdict| matches!(verdict, Verdict::Yes(_)));
            assert_eq!(may, *expected, "{}: {cause}", shape.name());
        }
    }
}
