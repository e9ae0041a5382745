//! SRT streams that are moved to origins that do not want them: nobody notices, and everything stays where it was.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use sluicegate::sessions::State;
use sluicegate_core::srt::control::keep_alive;
use sluicegate_core::srt::extension::Extensions;
use sluicegate_core::srt::packet::{HAS_HANDSHAKE, Handshake, Header, Kind, MAGIC, Step, shutdown};
use tokio::net::UdpSocket;
use tokio::task::JoinHandle;
use tokio::time::{interval, timeout};

use crate::house::{House, PATIENCE, until};
use crate::moves::ask;
use crate::srt_caller::{asks_for, conclusion, induction};

/// An origin of SRT that sends media to each player, or lets publishers go that it has agreed to.
struct Origin {
    port: u16,
    is_silent: Arc<AtomicBool>,
    /// It plays nobody anything.
    is_mute: Arc<AtomicBool>,
    /// Its calls, by their socket ids there.
    calls: Arc<Mutex<BTreeMap<u32, Call>>>,
    /// Players that it had.
    played: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

struct Call {
    peer: u32,
    publishes: bool,
    next: u32,
    /// Packets of media that came.
    media: usize,
}

impl Drop for Origin {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Origin {
    async fn start(wants_publishers: bool, is_silent: bool) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").await.expect("a port");
        let port = socket.local_addr().expect("bound").port();
        let is_silent = Arc::new(AtomicBool::new(is_silent));
        let calls: Arc<Mutex<BTreeMap<u32, Call>>> = Arc::default();
        let played = Arc::new(AtomicUsize::new(0));
        let is_mute = Arc::new(AtomicBool::new(false));
        let mute = is_mute.clone();
        let (silent, open, players) = (is_silent.clone(), calls.clone(), played.clone());
        let task = tokio::spawn(async move {
            let mut ticks = interval(PACE);
            let mut proxy = None;
            let mut buffer = [0; 1500];
            loop {
                let said = tokio::select! {
                    got = socket.recv_from(&mut buffer) => {
                        let Ok((length, from)) = got else { continue };
                        if silent.load(Ordering::Relaxed) {
                            continue;
                        }
                        proxy = Some(from);
                        hear(&mut open.lock().unwrap(), &players, wants_publishers, &buffer[..length])
                    }
                    _ = ticks.tick() => {
                        let mut open = open.lock().unwrap();
                        let plays_any = wants_publishers && !mute.load(Ordering::Relaxed);
                        let plays = |call: &&mut Call| !call.publishes && plays_any;
                        open.values_mut().filter(plays).map(Call::media).collect()
                    }
                };
                for packet in said {
                    let _ = socket.send_to(&packet, proxy.expect("it called")).await;
                }
            }
        });
        Self {
            port,
            is_silent,
            is_mute,
            calls,
            played,
            task,
        }
    }

    fn register(&self, house: &House, id: &str) {
        house.register_with(id, &format!(r#""rtmp":[],"srt":["{}"]"#, self.port));
    }

    fn calls(&self) -> usize {
        self.calls.lock().unwrap().len()
    }

    fn media(&self) -> usize {
        let calls = self.calls.lock().unwrap();
        calls.values().map(|call| call.media).sum()
    }
}

impl Call {
    fn media(&mut self) -> Vec<u8> {
        self.next += 1;
        data(self.next - 1, self.peer)
    }
}

/// What an origin answers.
fn hear(
    calls: &mut BTreeMap<u32, Call>,
    played: &AtomicUsize,
    wants_publishers: bool,
    packet: &[u8],
) -> Vec<Vec<u8>> {
    let header = Header::parse(packet).expect("SRT");
    let Ok(asked) = Handshake::parse(packet) else {
        let call = calls.get_mut(&header.destination);
        let answers = call.map(|call| {
            call.media += usize::from(header.kind == Kind::Data);
            keep_alive(call.peer, 0)
        });
        if header.kind == Kind::Shutdown {
            calls.remove(&header.destination);
        }
        return answers.into_iter().collect();
    };
    let answer = Handshake {
        destination: asked.socket_id,
        version: 5,
        cookie: 9,
        ..asked
    };
    if asked.step == Step::Induction {
        let first = Handshake {
            extension: MAGIC,
            extensions: &[],
            ..answer
        };
        return vec![first.write()];
    }
    let read = Extensions::parse(asked.extensions, asked.extension).expect("extensions");
    let publishes = read.stream_id.is_some_and(|id| id.contains("m=publish"));
    let agrees = Handshake {
        socket_id: asked.socket_id ^ 1,
        extension: HAS_HANDSHAKE,
        extensions: &[0, 2, 0, 3, 0, 1, 5, 1, 0, 0, 0, 0xbf, 0, 120, 0, 120],
        ..answer
    };
    let mut said = vec![agrees.write()];
    if publishes && !wants_publishers {
        said.push(shutdown(asked.socket_id));
        return said;
    }
    played.fetch_add(usize::from(!publishes), Ordering::Relaxed);
    let call = Call {
        peer: asked.socket_id,
        publishes,
        next: asked.initial_sequence,
        media: 0,
    };
    calls.entry(asked.socket_id ^ 1).or_insert(call);
    said
}

fn data(number: u32, to: u32) -> Vec<u8> {
    let words = [number, 0xe000_0001, number * 20_000, to, 7];
    words.iter().flat_map(|word| word.to_be_bytes()).collect()
}

/// A caller that is joined, and sends media or hears some.
struct Caller {
    /// Packets of media that it got.
    got: Arc<AtomicUsize>,
    is_let_go: Arc<AtomicBool>,
    task: JoinHandle<()>,
}

impl Drop for Caller {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Caller {
    async fn call(house: &House, mode: &str) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").await.expect("a port");
        socket.connect(house.at.srt).await.expect("loopback");
        let first = answer_to(&socket, &induction(7)).await;
        let asks = asks_for(&format!("#!::r=live/a,m={mode}"));
        let joined = answer_to(&socket, &conclusion(7, first.0, &asks)).await;
        let (got, is_let_go): (Arc<AtomicUsize>, Arc<AtomicBool>) = Default::default();
        let (media, end) = (got.clone(), is_let_go.clone());
        let publishes = mode == "publish";
        let task = tokio::spawn(async move {
            let mut ticks = interval(PACE);
            let mut number = 0;
            let mut buffer = [0; 1500];
            loop {
                tokio::select! {
                    heard = socket.recv(&mut buffer) => {
                        let Ok(length) = heard else { continue };
                        let header = Header::parse(&buffer[..length]).expect("SRT");
                        media.fetch_add(usize::from(header.kind == Kind::Data), Ordering::Relaxed);
                        end.fetch_or(header.kind == Kind::Shutdown, Ordering::Relaxed);
                    }
                    _ = ticks.tick() => {
                        number += 1;
                        let packet = match publishes {
                            true => data(number, joined.1),
                            false => keep_alive(joined.1, number * 20_000),
                        };
                        let _ = socket.send(&packet).await;
                    }
                }
            }
        });
        Self {
            got,
            is_let_go,
            task,
        }
    }

    fn got(&self) -> usize {
        self.got.load(Ordering::Relaxed)
    }
}

/// The cookie and the socket id in the answer to a handshake.
async fn answer_to(socket: &UdpSocket, packet: &[u8]) -> (u32, u32) {
    let mut buffer = [0; 1500];
    socket.send(packet).await.expect("loopback");
    let length = timeout(PATIENCE, socket.recv(&mut buffer)).await;
    let length = length.expect("in time").expect("an answer");
    let answer = Handshake::parse(&buffer[..length]).expect("a handshake");
    (answer.cookie, answer.socket_id)
}

/// A stream on the origin `one`, with a player.
async fn on_air() -> (House, Origin, Caller, Caller) {
    let house = House::open("").await;
    let one = Origin::start(true, false).await;
    one.register(&house, "one");
    let publisher = Caller::call(&house, "publish").await;
    let player = Caller::call(&house, "request").await;
    until("media, and calls that may go on elsewhere", || {
        let rows = house.proxy.sessions().list();
        rows.len() == 2 && player.got() > 0 && rows.iter().all(|row| row.state() == State::Relaying)
    })
    .await;
    // Whether a call may go on is looked at with the next packets.
    let (media, got) = (one.media(), player.got());
    until("more of it", || {
        one.media() > media + 60 && player.got() > got + 60
    })
    .await;
    (house, one, publisher, player)
}

/// Everybody is on `one`, and gets media there.
async fn goes_on_at_one(house: &House, one: &Origin, callers: [&Caller; 2]) {
    until("all are on one", || {
        let rows = house.proxy.sessions().list();
        let is_there = |origin: &str| origin == "one";
        rows.len() == 2
            && rows
                .iter()
                .all(|row| row.origin().is_some_and(|origin| is_there(origin.as_str())))
            && rows
                .iter()
                .all(|row| row.state() == State::Relaying && !row.has_ended())
    })
    .await;
    assert_eq!(house.origin_of("live/a").as_deref(), Some("one"));
    let (media, got) = (one.media(), callers[1].got());
    until("media goes on", || {
        one.media() > media + 60 && callers[1].got() > got + 60
    })
    .await;
    assert!(
        callers
            .iter()
            .all(|caller| !caller.is_let_go.load(Ordering::Relaxed))
    );
    assert_eq!(one.calls(), 2, "nobody had to come again");
}

/// As servers do that ask somebody about a publisher after the handshake.
#[tokio::test]
async fn an_origin_that_agrees_and_closes_gets_no_stream() {
    let (house, one, publisher, player) = on_air().await;
    let two = Origin::start(false, false).await;
    two.register(&house, "two");
    let (status, document) = ask(&house, "stream=live/a&to=two").await;
    assert_eq!(status, 409, "{document}");
    let words = document["error"].as_str().expect("words");
    assert!(
        words.contains("stays on one") && words.contains("closed the connection"),
        "{words}"
    );
    assert_eq!(
        two.played.load(Ordering::Relaxed),
        1,
        "the player was there"
    );
    goes_on_at_one(&house, &one, [&publisher, &player]).await;
    until("the player's call is given up", || two.calls() == 0).await;
    let events = crate::fanout::told(&house, "/api/v1/events?kind=held").await;
    assert_eq!(events["total"], 0, "nobody was held: {events}");
}

#[tokio::test]
async fn an_origin_that_was_silent_is_not_asked_after_a_move() {
    let (house, one, publisher, player) = on_air().await;
    let two = Origin::start(true, true).await;
    two.register(&house, "two");
    let (status, document) = ask(&house, "stream=live/a&to=two").await;
    assert_eq!(status, 409, "{document}");
    two.is_silent.store(false, Ordering::Relaxed);
    // A second, in which it would be asked four times.
    goes_on_at_one(&house, &one, [&publisher, &player]).await;
    assert_eq!(two.calls(), 0, "it has nobody");
}

#[tokio::test]
async fn a_player_that_waits_where_its_stream_was_goes_on_with_it() {
    let (house, _one, publisher, player) = on_air().await;
    let two = Origin::start(true, false).await;
    two.is_mute.store(true, Ordering::Relaxed);
    two.register(&house, "two");
    let (status, document) = ask(&house, "stream=live/a&to=two").await;
    assert_eq!(status, 200, "{document}");
    until("the player waits there", || {
        two.played.load(Ordering::Relaxed) > 0
    })
    .await;
    let three = Origin::start(true, false).await;
    three.register(&house, "three");
    let (status, document) = ask(&house, "stream=live/a&to=three").await;
    assert_eq!(status, 200, "{document}");
    let got = player.got();
    until("media where the stream is by now", || {
        three.played.load(Ordering::Relaxed) > 0 && player.got() > got + 60
    })
    .await;
    let ended = [&publisher, &player].map(|caller| caller.is_let_go.load(Ordering::Relaxed));
    assert_eq!(ended, [false, false]);
}

/// How often media is sent.
const PACE: Duration = Duration::from_millis(20);
