//! Backends that are asked whether a client may: in the shapes that operators have, and as they behave on bad days.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::Value;
use sluicegate_core::events::Kind;
use sluicegate_core::stream::Action;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

use crate::house::{Guest, House, Manner, Stub, until, video};
use crate::sources::open;

/// How a backend behaves.
#[derive(Debug, Clone)]
pub(crate) enum Manners {
    /// Answers with this status and body.
    Answers(u16, String),
    /// Answers with this `Location`.
    Leads(&'static str),
    /// Answers with a head and then a body that does not end.
    Floods,
    /// Takes this long to answer.
    Slow(Duration, Box<Self>),
    /// Answers in the one way and in the other, by turns.
    Turns(Box<Self>, Box<Self>),
    /// Says nothing, until it is told to.
    Waits(CancellationToken, Box<Self>),
}

impl Manners {
    pub(crate) fn answers(status: u16, body: &str) -> Self {
        Self::Answers(status, body.to_owned())
    }
}

/// A backend that keeps what it was asked.
pub(crate) struct Backend {
    pub(crate) at: SocketAddr,
    asked: Arc<Mutex<Vec<(String, String)>>>,
    manners: Arc<Mutex<Manners>>,
    end: CancellationToken,
}

impl Backend {
    pub(crate) async fn start(manners: Manners) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let backend = Self {
            at: listener.local_addr().expect("bound"),
            asked: Arc::default(),
            manners: Arc::new(Mutex::new(manners)),
            end: CancellationToken::new(),
        };
        let (asked, manners) = (Arc::clone(&backend.asked), Arc::clone(&backend.manners));
        let end = backend.end.clone();
        tokio::spawn(end.clone().run_until_cancelled_owned(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let serving = serve(socket, Arc::clone(&asked), Arc::clone(&manners));
                tokio::spawn(end.clone().run_until_cancelled_owned(serving));
            }
        }));
        backend
    }

    pub(crate) fn becomes(&self, manners: Manners) {
        *self.manners.lock().expect("a test") = manners;
    }

    /// The path and the body of every request so far.
    pub(crate) fn asked(&self) -> Vec<(String, String)> {
        self.asked.lock().expect("a test").clone()
    }

    fn json(&self, index: usize) -> Value {
        serde_json::from_str(&self.asked()[index].1).expect("JSON")
    }

    /// What it was asked or told at a path.
    pub(crate) fn told(&self, path: &str) -> Vec<Value> {
        let asked = self.asked().into_iter().filter(|(at, _)| at == path);
        asked
            .map(|(_, body)| serde_json::from_str(&body).expect("JSON"))
            .collect()
    }
}

impl Drop for Backend {
    fn drop(&mut self) {
        self.end.cancel();
    }
}

async fn serve(
    mut socket: TcpStream,
    asked: Arc<Mutex<Vec<(String, String)>>>,
    manners: Arc<Mutex<Manners>>,
) {
    let mut bytes = Vec::new();
    let (head, length) = loop {
        if let Some(at) = bytes.windows(4).position(|end| end == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&bytes[..at]).into_owned();
            let length = head.lines().find_map(|line| {
                let (name, value) = line.split_once(": ")?;
                name.eq_ignore_ascii_case("content-length")
                    .then(|| value.parse::<usize>().ok())?
            });
            break (head, at + 4 + length.unwrap_or(0));
        }
        if !matches!(socket.read_buf(&mut bytes).await, Ok(count) if count > 0) {
            return;
        }
    };
    while bytes.len() < length {
        if !matches!(socket.read_buf(&mut bytes).await, Ok(count) if count > 0) {
            return;
        }
    }
    let body = bytes.split_off(head.len() + 4);
    let path = head.split(' ').nth(1).expect("a target").to_owned();
    let body = String::from_utf8(body).expect("text");
    asked.lock().expect("a test").push((path, body));
    let mut manner = manners.lock().expect("a test").clone();
    if let Manners::Waits(told, then) = manner {
        told.cancelled().await;
        manner = *then;
    }
    if let Manners::Slow(time, then) = manner {
        tokio::time::sleep(time).await;
        manner = *then;
    }
    if let Manners::Turns(one, other) = manner {
        let count = asked.lock().expect("a test").len();
        manner = if count.is_multiple_of(2) {
            *one
        } else {
            *other
        };
    }
    let _ = match manner {
        Manners::Answers(status, body) => {
            let head = format!(
                "HTTP/1.1 {status} X\r\nContent-Length: {}\r\n\r\n",
                body.len()
            );
            socket.write_all(format!("{head}{body}").as_bytes()).await
        }
        Manners::Leads(place) => {
            let head = format!("HTTP/1.1 302 X\r\nLocation: {place}\r\nContent-Length: 0\r\n\r\n");
            socket.write_all(head.as_bytes()).await
        }
        Manners::Floods => {
            let _ = socket.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await;
            while socket.write_all(&[b'0'; 65_536]).await.is_ok() {}
            Ok(())
        }
        Manners::Slow(..) | Manners::Turns(..) | Manners::Waits(..) => Ok(()),
    };
}

/// A proxy that asks `backend` about everything, and an origin.
pub(crate) async fn asking(backend: &Backend, shape: &str, more: &str) -> (House, Stub, TempDir) {
    let folder = tempfile::tempdir().expect("a folder");
    let at = backend.at;
    let lists = format!(
        "[[check]]\nname = \"backend\"\nkind = \"hook\"\nshape = \"{shape}\"\n\
         on_publish = \"http://{at}/publish\"\non_play = \"http://{at}/play\"\n{more}\n[[access]]\nall = [\"backend\"]\n"
    );
    let house = open(&folder.path().join("sluicegate.toml"), &lists).await;
    let origin = Stub::start(Manner::Grants).await;
    house.register("one", origin.at);
    (house, origin, folder)
}

#[tokio::test]
async fn srs_hooks_are_asked_and_told_with_one_session() {
    let backend = Backend::start(Manners::answers(200, r#"{"code":0}"#)).await;
    let ends = format!(
        "on_connect = \"http://{0}/connect\"\non_unpublish = \"http://{0}/unpublish\"\non_stop = \"http://{0}/stop\"",
        backend.at
    );
    let (house, _origin, _folder) = asking(&backend, "srs", &ends).await;
    let mut publisher = house.ask(Action::Publish, "live/a?token=T").await;
    assert!(publisher.has_started(), "{}", publisher.code());
    publisher.send(&video(0, &[0x17, 1, 0, 0, 0])).await;
    let paths: Vec<String> = backend.asked().into_iter().map(|(path, _)| path).collect();
    assert_eq!(paths, ["/connect", "/publish"]);
    let asked = backend.json(1);
    assert_eq!(
        (&asked["action"], &asked["param"]),
        (&"on_publish".into(), &"?token=T".into())
    );
    drop(publisher);
    until("the end is told", || backend.asked().len() == 3).await;
    let told = backend.json(2);
    assert_eq!(backend.asked()[2].0, "/unpublish");
    assert_eq!(told["client_id"], asked["client_id"], "one id in both");
    assert!(told["recv_bytes"].as_u64().expect("bytes") > 0, "{told}");

    backend.becomes(Manners::answers(200, r#"{"code":1}"#));
    let player = house.ask(Action::Play, "live/a").await;
    assert_eq!(player.code(), "NetStream.Play.Failed");
    assert_eq!(house.proxy.sessions().len(), 0);
}

#[tokio::test]
async fn nginx_rtmp_and_mediamtx_backends_are_asked_as_they_are_used_to() {
    let backend = Backend::start(Manners::answers(204, "")).await;
    let (house, _origin, _folder) = asking(&backend, "nginx-rtmp", "").await;
    let publisher = house.ask(Action::Publish, "live/a?name=b&token=T").await;
    assert!(publisher.has_started(), "{}", publisher.code());
    let form = backend.asked()[0].1.clone();
    assert!(
        form.contains("call=publish&name=a&") && form.ends_with("&token=T"),
        "{form}"
    );
    let said = |name: &str, value: &str| (name.to_owned(), value.into());
    let page = vec![
        said("swfUrl", "https://site.example/p.swf"),
        said("pageUrl", "https://site.example/live"),
    ];
    let player = Guest::ask(house.at.rtmp, Action::Play, "live/a", page).await;
    assert!(player.has_started(), "{}", player.code());
    let form = backend.asked()[1].1.clone();
    let of_client = "&flashver=LNX%209%2C0%2C124%2C2&swfurl=https://site.example/p.swf\
                     &tcurl=rtmp://example/live&pageurl=https://site.example/live&";
    assert!(form.contains(of_client), "as the player said it: {form}");
    backend.becomes(Manners::Leads("rtmp://10.0.0.9/live/b"));
    let relayed = house.ask(Action::Publish, "live/b").await;
    assert_eq!(
        relayed.code(),
        "NetStream.Publish.Denied",
        "a relay is no yes"
    );

    let backend = Backend::start(Manners::answers(200, "")).await;
    let (house, _origin, _folder) = asking(&backend, "mediamtx", "").await;
    let player = house.ask(Action::Play, "live/a?user=u&pass=p").await;
    assert!(player.has_started(), "{}", player.code());
    let asked = backend.json(0);
    assert_eq!(
        (&asked["action"], &asked["path"]),
        (&"read".into(), &"live/a".into()),
        "{asked}"
    );
    assert_eq!(
        (&asked["user"], &asked["password"]),
        (&"u".into(), &"p".into()),
        "{asked}"
    );
}

#[tokio::test]
async fn those_who_ask_the_same_at_once_are_asked_about_once() {
    let go = CancellationToken::new();
    let yes = Manners::answers(200, r#"{"allow":true}"#);
    let backend = Backend::start(Manners::Waits(go.clone(), Box::new(yes))).await;
    let (house, _origin, _folder) = asking(&backend, "sluicegate", "").await;
    let ask = || house.ask(Action::Play, "live/a?token=T");
    let told = async {
        until("the question", || !backend.asked().is_empty()).await;
        go.cancel();
    };
    let (one, other, ()) = tokio::join!(ask(), ask(), told);
    assert!(one.has_started() && other.has_started());
    assert_eq!(backend.asked().len(), 1, "one answer for both");
    let third = house.ask(Action::Play, "live/a?token=U").await;
    assert!(third.has_started());
    assert_eq!(
        backend.asked().len(),
        2,
        "who shows something else is another"
    );
}

#[tokio::test]
async fn a_backend_on_a_bad_day_lets_in_only_where_the_settings_say_so() {
    let open_to_players = "timeout = 1\nplay_unanswered = \"allow\"";
    let never = CancellationToken::new();
    let rows = [
        (
            "silent",
            Manners::Waits(never, Box::new(Manners::answers(200, ""))),
            "no answer within 1000 ms",
        ),
        (
            "broken",
            Manners::answers(502, ""),
            "its answer with the status 502 means nothing",
        ),
        (
            "garbage",
            Manners::answers(200, "<html>"),
            "its answer with the status 200 means nothing",
        ),
        (
            "endless",
            Manners::Floods,
            "its answer is longer than 65536 bytes",
        ),
        (
            "a redirect",
            Manners::answers(302, ""),
            "its answer with the status 302 means nothing",
        ),
    ];
    for (cause, manners, why) in rows {
        let backend = Backend::start(manners).await;
        let (house, origin, _folder) = asking(&backend, "sluicegate", open_to_players).await;
        let publisher = house.ask(Action::Publish, "live/a").await;
        assert_eq!(publisher.code(), "", "{cause}: come again");
        assert_eq!(origin.connections(), 0, "{cause}: dials nobody");
        let mut told = Vec::new();
        let journal = &house.proxy.metrics().journal;
        journal.look(Kind::Refused, |event| told.push(event.news.what.clone()));
        let expected = format!(
            "publish by rtmp: __defaultVhost__/live/a: try again in 2 s: check backend: no answer of the backend: {why}"
        );
        assert_eq!(told, [expected], "{cause}");
        let player = house.ask(Action::Play, "live/a").await;
        assert!(player.has_started(), "{cause}: {}", player.code());
    }
}

#[tokio::test]
async fn media_does_not_wait_for_a_silent_backend_which_is_asked_again_when_it_answers() {
    let go = CancellationToken::new();
    let yes = Manners::answers(200, r#"{"allow":true}"#);
    let backend = Backend::start(yes.clone()).await;
    let (house, _origin, _folder) = asking(&backend, "sluicegate", "timeout = 1").await;
    let mut publisher = house.ask(Action::Publish, "live/a").await;
    assert!(publisher.has_started(), "{}", publisher.code());
    backend.becomes(Manners::Waits(go.clone(), Box::new(yes.clone())));
    let names: Vec<String> = (0..5).map(|number| format!("live/a?n={number}")).collect();
    let waiting =
        futures_util::future::join_all(names.iter().map(|name| house.ask(Action::Play, name)));
    let sending = async {
        for number in 0..20 {
            publisher
                .send(&video(number * 40, &[0x27, 1, 0, 0, 0]))
                .await;
            tokio::task::yield_now().await;
        }
    };
    let (players, ()) = tokio::join!(waiting, sending);
    assert!(
        players
            .iter()
            .all(|player| player.code() == "NetStream.Play.Failed")
    );
    let asked = backend.asked().len();
    let at_once = tokio::time::timeout(
        Duration::from_millis(900),
        house.ask(Action::Play, "live/a?n=9"),
    );
    let at_once = at_once
        .await
        .expect("nobody waits for one that was found silent");
    assert_eq!(at_once.code(), "NetStream.Play.Failed");
    assert_eq!(backend.asked().len(), asked, "it is left alone for a while");
    backend.becomes(yes);
    let answers = async || house.ask(Action::Play, "live/a?n=10").await.has_started();
    crate::house::until_told("it is asked again", answers).await;
    house.until_sessions(2).await;
}

#[tokio::test]
async fn a_backend_hears_of_an_end_once_it_is_there_again() {
    let backend = Backend::start(Manners::answers(200, r#"{"code":0}"#)).await;
    let ends = format!(
        "on_unpublish = \"http://{0}/unpublish\"\non_close = \"http://{0}/close\"",
        backend.at
    );
    let (house, _origin, _folder) = asking(&backend, "srs", &ends).await;
    let publisher = house.ask(Action::Publish, "live/a").await;
    assert!(publisher.has_started(), "{}", publisher.code());
    backend.becomes(Manners::answers(502, ""));
    drop(publisher);
    until("it is told", || backend.told("/unpublish").len() == 1).await;
    assert!(backend.told("/close").is_empty(), "one after the other");
    backend.becomes(Manners::answers(200, "0"));
    until("it has heard it all", || backend.told("/close").len() == 1).await;
    assert!(backend.told("/unpublish").len() >= 2, "told again");
    let paths = ["/publish", "/unpublish", "/close"];
    let mut ids = paths.iter().flat_map(|path| backend.told(path));
    let first = ids.next().expect("a question");
    assert!(ids.all(|told| told["client_id"] == first["client_id"]));
}

#[tokio::test]
async fn an_end_is_told_to_who_said_yes_and_to_nobody_else() {
    let backend = Backend::start(Manners::answers(200, r#"{"allow":true}"#)).await;
    let key = sluicegate_core::access::keys::line("one", b"salt", "the-key");
    let more = format!(
        "on_stop = \"http://{}/stop\"\n\
         [[check]]\nname = \"keys\"\nkind = \"keys\"\nkeys = [\"{key}\"]\n\
         [[limit]]\nper = \"stream\"\nstream = \"narrow\"\nviewers = 1\n\
         [[access]]\napp = \"either\"\nany = [\"keys\", \"backend\"]\n\
         [[access]]\napp = \"both\"\nall = [\"backend\", \"keys\"]\n",
        backend.at
    );
    let (house, _origin, _folder) = asking(&backend, "sluicegate", &more).await;
    let by_key = house.ask(Action::Play, "either/a?key=the-key").await;
    assert!(by_key.has_started(), "{}", by_key.code());
    assert!(backend.asked().is_empty(), "its key was enough");
    drop(by_key);
    house.until_sessions(0).await;

    let refused = house.ask(Action::Play, "both/a?key=wrong").await;
    assert!(!refused.has_started(), "by the other check");
    let first = house.ask(Action::Play, "live/narrow").await;
    assert!(first.has_started(), "{}", first.code());
    let second = house.ask(Action::Play, "live/narrow").await;
    assert!(!second.has_started(), "by a limit");
    let nowhere = house.ask(Action::Play, "live/a").await;
    assert!(nowhere.has_started(), "{}", nowhere.code());
    drop((first, nowhere));
    until("every end is told", || backend.told("/stop").len() == 4).await;
    let sessions = |path| {
        let ids = backend.told(path).into_iter();
        let mut ids: Vec<String> = ids.map(|told| told["session"].to_string()).collect();
        ids.sort_unstable();
        ids
    };
    assert_eq!(sessions("/stop"), sessions("/play"), "each once");
}

#[tokio::test]
async fn a_backend_that_changes_its_mind_ends_who_it_let_in() {
    let backend = Backend::start(Manners::answers(200, r#"{"allow":true}"#)).await;
    let again = "[[access]]\nall = [\"backend\"]\nrecheck = 5\n";
    let (house, _origin, _folder) = asking(&backend, "sluicegate", again).await;
    let mut publisher = house.ask(Action::Publish, "live/a?token=T").await;
    assert!(publisher.has_started(), "{}", publisher.code());
    // Nobody is ended by a backend that cannot say.
    backend.becomes(Manners::answers(502, ""));
    until("it is asked again", || backend.asked().len() == 2).await;
    backend.becomes(Manners::answers(200, r#"{"allow":false}"#));
    publisher.wait_for_end().await;
    house.until_sessions(0).await;
    let asked = backend.told("/publish");
    assert!(asked.len() >= 3, "it went on without an answer: {asked:?}");
    assert!(asked.iter().all(|again| *again == asked[0]), "{asked:?}");
}
