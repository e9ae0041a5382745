//! Viewers that share one pull, where the origin has its word on each of them.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use sluicegate_core::rtmp::message::{Message, kind};
use sluicegate_core::rtmp::server::{Server, ServerEvent};
use sluicegate_core::stream::Action;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::AbortHandle;
use tokio::time::interval;

use crate::fanout::{FlvViewer, OPEN};
use crate::fanout_blocks::{Live, packet, tables};
use crate::house::{Guest, House, nowhere, talk, until, video};
use crate::http_origin::Viewer;

const CHECKED: &str = "[fanout]\nmode = \"checked\"\ncoalesce = \"5ms\"\nlinger = \"200ms\"\n";

/// An origin that judges each player by its token, and sends what it publishes by itself.
struct Gatekeeper {
    at: SocketAddr,
    seen: Arc<Mutex<Seen>>,
    serving: AbortHandle,
}

#[derive(Default)]
struct Seen {
    /// Players that are here, by the names they asked for.
    here: Vec<Player>,
    /// Names of players to be sent away.
    kicked: BTreeSet<String>,
    /// Names of players that are not let in.
    refused: BTreeSet<String>,
    next: u64,
    ignores_pause: bool,
    /// How often it has restarted.
    restarts: u32,
}

#[derive(Clone)]
struct Player {
    id: u64,
    name: String,
    tc_url: String,
    page: Option<String>,
    paused: bool,
}

impl Gatekeeper {
    async fn start(ignores_pause: bool) -> Self {
        let listener = TcpListener::bind(nowhere()).await.expect("a port");
        let at = listener.local_addr().expect("bound");
        let seen = Arc::new(Mutex::new(Seen {
            ignores_pause,
            ..Seen::default()
        }));
        let told = Arc::clone(&seen);
        let serving = tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                tokio::spawn(serve(socket, Arc::clone(&told)));
            }
        });
        Self {
            at,
            seen,
            serving: serving.abort_handle(),
        }
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().expect("a test")
    }

    /// The names of players that are here and get media, and of those that are paused, each in order.
    fn players(&self) -> (Vec<String>, Vec<String>) {
        let names = |paused| {
            let seen = self.seen();
            let these = seen.here.iter().filter(|one| one.paused == paused);
            let mut names: Vec<_> = these.map(|one| one.name.clone()).collect();
            names.sort();
            names
        };
        (names(false), names(true))
    }
}

impl Drop for Gatekeeper {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

async fn serve(mut socket: TcpStream, seen: Arc<Mutex<Seen>>) {
    let mut server = Server::serving([5; 32], None);
    let restarts = seen.lock().expect("a test").restarts;
    let mut playing: Option<Player> = None;
    let mut frames = interval(Duration::from_millis(20));
    let mut buffer = Vec::with_capacity(4096);
    let mut number = 0;
    loop {
        tokio::select! {
            read = socket.read_buf(&mut buffer) => {
                if !matches!(read, Ok(count) if count > 0) || server.feed(&buffer).is_err() {
                    break;
                }
                buffer.clear();
            }
            _ = frames.tick() => {}
        }
        while let Some(event) = server.poll_event() {
            match event {
                ServerEvent::Request(request)
                    if request.name.contains("token=bad")
                        || seen.lock().expect("a test").refused.contains(&request.name) =>
                {
                    let _ = server.refuse(request.stream_id, "NetStream.Play.Failed", "bad token");
                }
                ServerEvent::Request(request) => {
                    let _ = server.accept(request.stream_id);
                    let page = request.connect.object.field("pageUrl");
                    let mut seen = seen.lock().expect("a test");
                    let player = Player {
                        id: seen.next,
                        name: request.name.clone(),
                        tc_url: request.tc_url.clone(),
                        page: page.and_then(|page| page.as_str()).map(str::to_owned),
                        paused: false,
                    };
                    seen.next += 1;
                    seen.here.push(player.clone());
                    playing = Some(player);
                }
                ServerEvent::Paused { paused, .. } => {
                    let mut seen = seen.lock().expect("a test");
                    let id = playing.as_ref().map(|one| one.id);
                    if let Some(player) = seen.here.iter_mut().find(|one| Some(one.id) == id) {
                        player.paused = paused;
                    }
                }
                ServerEvent::Closed { .. } | ServerEvent::Connect(_) | ServerEvent::Media(_) => {}
            }
        }
        if let Some(player) = &playing {
            let (sends, kicked) = {
                let seen = seen.lock().expect("a test");
                let here = seen.here.iter().find(|one| one.id == player.id);
                let paused = here.is_some_and(|one| one.paused);
                (
                    !paused || seen.ignores_pause,
                    seen.kicked.contains(&player.name) || seen.restarts > restarts,
                )
            };
            if kicked {
                break;
            }
            if sends {
                number += 1;
                server.send_media(&picture(number));
            }
        }
        if let Some(bytes) = server.poll_output()
            && socket.write_all(&bytes).await.is_err()
        {
            break;
        }
    }
    if let Some(player) = playing {
        let mut seen = seen.lock().expect("a test");
        seen.here.retain(|one| one.id != player.id);
    }
}

/// A keyframe of some kilobytes, so that one that comes in spite of a pause is noticed.
fn picture(number: u32) -> Message {
    let mut payload = vec![0x17, 1, 0, 0, 0];
    payload.extend_from_slice(&[0x55; 4000]);
    video(number * 20, &payload)
}

async fn shows(viewer: &mut Guest) {
    let before = viewer.media.len();
    let pictures = |one: &Message| one.kind == kind::VIDEO;
    let more = viewer.read_until(|viewer| viewer.media.iter().skip(before).any(pictures));
    assert!(more.await, "it goes on: {:?}", viewer.status);
}

#[tokio::test]
async fn the_origin_admits_counts_and_ends_each_viewer_and_sends_once() {
    let house = House::open(CHECKED).await;
    let origin = Gatekeeper::start(false).await;
    house.register("one", origin.at);
    let mut first = house.ask(Action::Play, "live/a?token=1").await;
    let mut second = house.ask(Action::Play, "live/a?token=2").await;
    shows(&mut first).await;
    shows(&mut second).await;
    let names = |names: &[&str]| {
        names
            .iter()
            .map(|name| (*name).to_owned())
            .collect::<Vec<_>>()
    };
    let expected = (names(&["a?token=1"]), names(&["a?token=1", "a?token=2"]));
    until("one pull and two shadows", || origin.players() == expected).await;

    // What the origin refuses gets no media.
    let third = house.ask(Action::Play, "live/a?token=bad").await;
    assert_eq!(third.words(), "bad token");
    assert!(third.media.is_empty());
    house.until_sessions(2).await;

    // Over HTTP, the query is judged too.
    let request = "GET /live/a.flv?token=3 HTTP/1.1\r\nHost: example\r\n\r\n";
    let mut fourth = Viewer::send(house.at.http, request).await;
    assert!(fourth.head().await.starts_with("HTTP/1.1 200 "));
    let request = "GET /live/a.flv?token=bad HTTP/1.1\r\nHost: example\r\n\r\n";
    let mut fifth = Viewer::send(house.at.http, request).await;
    let head = fifth.head().await;
    assert!(head.starts_with("HTTP/1.1 403 "), "{head}");
    assert_eq!(fifth.rest().await, b"NetStream.Play.Failed: bad token\n");
    house.until_sessions(3).await;
    let metrics = house.proxy.metrics().render();
    for line in [
        "sluicegate_viewers 3",
        "sluicegate_pulls 1",
        "sluicegate_legs 4",
    ] {
        assert!(metrics.contains(line), "{line}: {metrics}");
    }

    // It sends the second away, and the others stay.
    origin.seen().kicked.insert("a?token=2".to_owned());
    second.read_to_end().await;
    house.until_sessions(2).await;
    shows(&mut first).await;
    drop((first, fourth));
    house.until_sessions(0).await;
    until("the origin is left alone", || origin.seen().here.is_empty()).await;
}

#[tokio::test]
async fn a_pull_goes_on_with_another_viewers_right_when_its_lender_leaves() {
    let house = House::open(CHECKED).await;
    let origin = Gatekeeper::start(false).await;
    house.register("one", origin.at);
    let mut first = house.ask(Action::Play, "live/a?token=1").await;
    let mut second = house.ask(Action::Play, "live/a?token=2").await;
    shows(&mut first).await;
    shows(&mut second).await;
    drop(first);
    until("the pull has changed", || {
        let (pulls, shadows) = origin.players();
        pulls == ["a?token=2"] && shadows == ["a?token=2"]
    })
    .await;
    shows(&mut second).await;
    assert_eq!(house.proxy.sessions().pulls().len(), 1);
}

#[tokio::test]
async fn a_pull_with_a_right_of_its_own_lends_none_and_some_parameters_split_feeds() {
    let settings = format!("{CHECKED}pull_query = \"token=ours\"\nsplit_query = [\"angle\"]\n");
    let house = House::open(&settings).await;
    let origin = Gatekeeper::start(false).await;
    house.register("one", origin.at);
    let mut viewers = Vec::new();
    for name in ["a?token=1", "a?token=2", "a?token=1&angle=2"] {
        let mut viewer = house.ask(Action::Play, &format!("live/{name}")).await;
        shows(&mut viewer).await;
        viewers.push(viewer);
    }
    until("two pulls", || {
        let (pulls, shadows) = origin.players();
        pulls == ["a?token=ours", "a?token=ours&angle=2"] && shadows.len() == 3
    })
    .await;
}

#[tokio::test]
async fn viewers_of_an_origin_that_ignores_pauses_have_legs_of_their_own() {
    let house = House::open(CHECKED).await;
    let origin = Gatekeeper::start(true).await;
    house.register("one", origin.at);
    let mut first = house.ask(Action::Play, "live/a?token=1").await;
    shows(&mut first).await;
    // It is found out after some hundred kilobytes, and those who watch by then stay.
    let mut others = Vec::new();
    loop {
        let mut viewer = house.ask(Action::Play, "live/a?token=2").await;
        shows(&mut viewer).await;
        let rows = house.proxy.sessions().list();
        let alone = rows.iter().any(|row| row.pull().is_none());
        others.push(viewer);
        if alone {
            break;
        }
        shows(&mut first).await;
        assert!(others.len() < 100, "it is noticed");
    }
    shows(&mut first).await;
    assert!(house.proxy.sessions().list()[0].pull().is_some());
}

#[tokio::test]
async fn viewers_outlive_a_restart_of_the_origin_if_it_lets_them_in_again() {
    let house = House::open(CHECKED).await;
    let origin = Gatekeeper::start(false).await;
    house.register("one", origin.at);
    let mut viewers = Vec::new();
    for token in 1..=3 {
        let mut viewer = house
            .ask(Action::Play, &format!("live/a?token={token}"))
            .await;
        shows(&mut viewer).await;
        viewers.push(viewer);
    }
    let before = origin.seen().next;
    {
        let mut seen = origin.seen();
        seen.refused.insert("a?token=3".to_owned());
        seen.restarts += 1;
    }
    // One pull and two shadows are granted anew.
    until("they are let in again", || origin.seen().next >= before + 3).await;
    viewers[2].read_to_end().await;
    house.until_sessions(2).await;
    for viewer in &mut viewers[..2] {
        shows(viewer).await;
    }
    let names = ["a?token=1", "a?token=2"].map(str::to_owned).to_vec();
    until("one pull and two shadows", || {
        let (pulls, shadows) = origin.players();
        pulls.len() == 1 && shadows == names
    })
    .await;
}

#[tokio::test]
async fn a_shadow_asks_as_its_viewer_does() {
    let house = House::open(CHECKED).await;
    let origin = Gatekeeper::start(false).await;
    house.register("one", origin.at);
    let page = ("pageUrl".to_owned(), "http://page.example/".into());
    let mut viewer = Guest::ask(house.at.rtmp, Action::Play, "live/a", vec![page]).await;
    shows(&mut viewer).await;
    until("it is paused", || origin.players().1.len() == 1).await;
    let shadow = origin.seen().here.iter().find(|one| one.paused).cloned();
    let shadow = shadow.expect("it is there");
    assert_eq!(shadow.page.as_deref(), Some("http://page.example/"));
    assert_eq!(shadow.tc_url, "rtmp://example/live");
}

#[tokio::test]
async fn the_origin_has_its_word_on_viewers_of_other_formats_too() {
    let house = House::open(CHECKED).await;
    let gate = Gatekeeper::start(false).await;
    let media = Live::start(tables()).await;
    let (rtmp, http) = (gate.at.port(), media.at.port());
    house.register_with("one", &format!(r#""rtmp":["{rtmp}"],"http":["{http}"]"#));
    let mut viewers = Vec::new();
    for token in [1, 2] {
        let request = format!("GET /live/a.ts?token={token} HTTP/1.0\r\n\r\n");
        let mut viewer = Viewer::send(house.at.http, request).await;
        assert!(viewer.head().await.starts_with("HTTP/1.1 200 "));
        viewers.push(viewer);
    }
    let request = "GET /live/a.ts?token=bad HTTP/1.0\r\n\r\n";
    let mut refused = Viewer::send(house.at.http, request).await;
    let head = refused.head().await;
    assert!(head.starts_with("HTTP/1.1 403 "), "{head}");
    media.until_here(1).await;
    assert_eq!(
        *media.here(),
        ["/live/a.ts?token=1"],
        "with the first one's right"
    );
    media.send(&packet(true, 1));
    for viewer in &mut viewers {
        let came = viewer.take(3 * 188).await;
        assert!(came == [tables(), packet(true, 1)].concat());
    }
    let names = ["a?token=1", "a?token=2"].map(str::to_owned).to_vec();
    assert_eq!(
        gate.players(),
        (Vec::new(), names),
        "two shadows, and no media"
    );
}

#[tokio::test]
async fn origins_without_flv_show_it_where_their_pulls_are_shared() {
    for settings in [CHECKED, OPEN] {
        let house = House::open(settings).await;
        let origin = Gatekeeper::start(false).await;
        let endpoints = format!(r#""rtmp":["{}"],"dialect":"nginx-rtmp""#, origin.at.port());
        house.register_with("one", &endpoints);
        let mut viewer = FlvViewer::pull(&house, "/live/a.flv").await;
        viewer.until_last_mark(0x55).await;
        // A monitor that asks whether the stream is there.
        let head = "HEAD /live/a.flv HTTP/1.1\r\nHost: example.com\r\nConnection: close\r\n\r\n";
        let (status, body) = talk(house.at.http, head).await;
        assert_eq!((status, &*body), (200, ""), "{settings}");
    }
}
