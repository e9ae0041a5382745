//! WebRTC in this process: str0m over a socket, as the client of a call and as the origin behind it.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use str0m::change::{SdpAnswer, SdpOffer, SdpPendingOffer};
use str0m::media::{Direction, Frequency, MediaKind, MediaTime, Mid};
use str0m::net::{Protocol, Receive};
use str0m::{Candidate, Event, Input, Output, Rtc, RtcConfig};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::call::{ask, location};
use crate::house::{House, PATIENCE};

/// One end of a call. It sends fifty numbered frames a second whenever it may send, until it is dropped.
pub(crate) struct Peer {
    pub(crate) at: SocketAddr,
    changes: mpsc::UnboundedSender<Change>,
    frames: watch::Receiver<u64>,
    driving: JoinHandle<()>,
}

/// The agent, and the track on which it sends.
pub(crate) struct Agent {
    rtc: Rtc,
    track: Option<Mid>,
}

type Change = Box<dyn FnOnce(&mut Agent) + Send>;

impl Peer {
    /// An agent on a free port of `ip`; with `lite`, one that answers checks and sends none, like SRS.
    pub(crate) async fn start(ip: &str, lite: bool) -> Self {
        let socket = UdpSocket::bind((ip, 0)).await.expect("loopback has ports");
        let at = socket.local_addr().expect("it is bound");
        let mut rtc = RtcConfig::new().set_ice_lite(lite).build(Instant::now());
        rtc.add_local_candidate(Candidate::host(at, "udp").expect("an address of ours"));
        let (changes, wanted) = mpsc::unbounded_channel();
        let (count, frames) = watch::channel(0);
        let agent = Agent { rtc, track: None };
        let driving = tokio::spawn(drive(agent, socket, wanted, count));
        Self {
            at,
            changes,
            frames,
            driving,
        }
    }

    /// Changes the agent between two of its packets.
    async fn change<T: Send + 'static>(
        &self,
        change: impl FnOnce(&mut Agent) -> T + Send + 'static,
    ) -> T {
        let (done, result) = oneshot::channel();
        let change: Change = Box::new(move |agent| {
            let _ = done.send(change(agent));
        });
        assert!(self.changes.send(change).is_ok(), "the agent has failed");
        result.await.expect("it is done")
    }

    /// The offer of a call with one sound track.
    pub(crate) async fn offer(&self, direction: Direction) -> (String, SdpPendingOffer) {
        let offer = self.change(move |agent| {
            let mut change = agent.rtc.sdp_api();
            let track = change.add_media(MediaKind::Audio, direction, None, None, None);
            agent.track = direction.is_sending().then_some(track);
            change.apply()
        });
        let (offer, pending) = offer.await.expect("a track is a change");
        (offer.to_sdp_string(), pending)
    }

    /// An offer that restarts ICE.
    pub(crate) async fn restart(&self) -> (String, SdpPendingOffer) {
        let offer = self.change(|agent| {
            let mut change = agent.rtc.sdp_api();
            change.ice_restart(true);
            change.apply()
        });
        let (offer, pending) = offer.await.expect("a restart is a change");
        (offer.to_sdp_string(), pending)
    }

    /// Takes the answer to an offer.
    pub(crate) async fn answered(&self, pending: SdpPendingOffer, answer: &str) {
        let answer = SdpAnswer::from_sdp_string(answer).expect("an answer");
        let taken = self.change(move |agent| agent.rtc.sdp_api().accept_answer(pending, answer));
        taken.await.expect("it fits its offer");
    }

    async fn accept(&self, offer: &str) -> Option<String> {
        let offer = SdpOffer::from_sdp_string(offer).ok()?;
        let answer = self.change(move |agent| agent.rtc.sdp_api().accept_offer(offer));
        Some(answer.await.ok()?.to_sdp_string())
    }

    /// Waits for `count` more frames than there are now.
    pub(crate) async fn wait_more(&self, count: u64) {
        let mut frames = self.frames.clone();
        let wanted = *frames.borrow() + count;
        let enough = timeout(PATIENCE, frames.wait_for(|seen| *seen >= wanted)).await;
        let seen = *self.frames.borrow();
        assert!(
            matches!(enough, Ok(Ok(_))),
            "{seen} frames of {wanted} came in time"
        );
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.driving.abort();
    }
}

/// Runs the loop that str0m requires: after each input, all its outputs are drained.
async fn drive(
    mut agent: Agent,
    socket: UdpSocket,
    mut changes: mpsc::UnboundedReceiver<Change>,
    count: watch::Sender<u64>,
) {
    let here = socket.local_addr().expect("it is bound");
    let mut bytes = vec![0; 2048];
    let mut pace = tokio::time::interval(FRAME);
    let mut sent = 0;
    loop {
        let due = loop {
            match agent.rtc.poll_output().expect("the agent goes on") {
                Output::Timeout(due) => break due,
                // A candidate that does not exist is no failure.
                Output::Transmit(packet) => {
                    let _ = socket.send_to(&packet.contents, packet.destination).await;
                }
                Output::Event(Event::MediaAdded(media)) if media.direction.is_sending() => {
                    agent.track = Some(media.mid);
                }
                Output::Event(Event::MediaData(media)) => {
                    assert!(media.data.ends_with(MARK), "what was sent");
                    count.send_modify(|frames| *frames += 1);
                }
                Output::Event(_) => {}
            }
        };
        tokio::select! {
            change = changes.recv() => match change {
                Some(change) => change(&mut agent),
                None => return,
            },
            received = socket.recv_from(&mut bytes) => {
                let Ok((length, from)) = received else { continue };
                if let Ok(packet) = Receive::new(Protocol::Udp, from, here, &bytes[..length]) {
                    let input = Input::Receive(Instant::now(), packet);
                    agent.rtc.handle_input(input).expect("the agent goes on");
                }
            }
            () = tokio::time::sleep_until(due.into()) => {
                let input = Input::Timeout(Instant::now());
                agent.rtc.handle_input(input).expect("the agent goes on");
            }
            _ = pace.tick() => if let Some(track) = agent.track {
                write(&mut agent.rtc, track, sent);
                sent += 1;
            }
        }
    }
}

fn write(rtc: &mut Rtc, track: Mid, number: u64) {
    let Some(writer) = rtc.writer(track) else {
        return;
    };
    let Some(kind) = writer.payload_params().next().map(|params| params.pt()) else {
        return;
    };
    let time = MediaTime::new(number * 960, Frequency::FORTY_EIGHT_KHZ);
    let frame = [&number.to_be_bytes(), MARK].concat();
    // Before the call is up, nothing is sent.
    let _ = writer.write(kind, Instant::now(), time, frame);
}

/// A call that is up.
pub(crate) struct Call {
    pub(crate) client: Peer,
    pub(crate) offer: String,
    pub(crate) answer: String,
    /// Its resource.
    pub(crate) at: String,
}

impl Call {
    pub(crate) async fn start(house: &House, path: &str, direction: Direction) -> Self {
        Self::start_at("127.0.0.1", house, path, direction).await
    }

    /// Starts a call from a client at this address.
    pub(crate) async fn start_at(
        client: &str,
        house: &House,
        path: &str,
        direction: Direction,
    ) -> Self {
        let client = Peer::start(client, false).await;
        let (offer, pending) = client.offer(direction).await;
        let (status, head, answer) = ask(house.at.api, "POST", path, &offer).await;
        assert_eq!(status, 201, "{head}\n{answer}");
        let call = Self {
            client,
            offer,
            at: location(&head),
            answer,
        };
        call.client.answered(pending, &call.answer).await;
        call
    }

    /// The username of its first checks.
    pub(crate) fn username(&self) -> String {
        let name = |description: &str| attribute(description, "ice-ufrag");
        format!("{}:{}", name(&self.answer), name(&self.offer))
    }

    /// Requests an ICE restart.
    pub(crate) async fn restart(&self, house: &House) -> (SdpPendingOffer, (u16, String, String)) {
        let (offer, pending) = self.client.restart().await;
        let said = ask(house.at.api, "PATCH", &self.at, &fragment(&offer)).await;
        (pending, said)
    }
}

/// An origin for one call.
pub(crate) struct Origin {
    pub(crate) api: SocketAddr,
    pub(crate) peer: Arc<Peer>,
    asked: Arc<Mutex<Vec<String>>>,
    serving: JoinHandle<()>,
}

/// How an origin answers a PATCH.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Patches {
    /// It closes the connection without an answer, like SRS.
    HangUp,
    /// It refuses with a status.
    Refused(u16),
    /// It restarts ICE, and accepts everything else.
    Taken,
}

impl Origin {
    pub(crate) async fn start(lite: bool, patches: Patches) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let api = listener.local_addr().expect("it is bound");
        let peer = Arc::new(Peer::start("127.0.0.1", lite).await);
        let asked: Arc<Mutex<Vec<String>>> = Arc::default();
        let (ours, told) = (Arc::clone(&peer), Arc::clone(&asked));
        let serving = tokio::spawn(async move {
            let mut offered = String::new();
            while let Ok((mut client, _)) = listener.accept().await {
                let Some((method, body)) = read(&mut client).await else {
                    continue;
                };
                told.lock().expect("no panic").push(method.clone());
                let (status, body) = match (method.as_str(), patches) {
                    ("POST", _) => {
                        offered.clone_from(&body);
                        let answer = ours.accept(&body).await;
                        ("201 Created\r\nLocation: /call/1".to_owned(), answer)
                    }
                    ("PATCH", Patches::HangUp) => continue,
                    ("PATCH", Patches::Refused(status)) => (format!("{status} No"), None),
                    ("PATCH", Patches::Taken) if !body.contains("a=ice-ufrag:") => {
                        ("204 No Content".to_owned(), None)
                    }
                    ("PATCH", Patches::Taken) => {
                        offered = with_credentials(&offered, &body);
                        let answer = ours.accept(&offered).await;
                        let answer = answer.map(|answer| fragment(&answer));
                        ("200 OK\r\nETag: \"2\"".to_owned(), answer)
                    }
                    _ => ("200 OK".to_owned(), None),
                };
                let body = body.unwrap_or_default();
                let length = body.len();
                let answer = format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\n\r\n{body}");
                let _ = client.write_all(answer.as_bytes()).await;
            }
        });
        Self {
            api,
            peer,
            asked,
            serving,
        }
    }

    /// Its API and its media port, in the form of a registration.
    pub(crate) fn endpoints(&self) -> String {
        let (api, media) = (self.api.port(), self.peer.at.port());
        format!(r#""api":["{api}"],"rtc":["{media}"]"#)
    }

    /// How many requests with this method it got.
    pub(crate) fn asked(&self, method: &str) -> usize {
        let asked = self.asked.lock().expect("no panic");
        asked.iter().filter(|known| *known == method).count()
    }
}

impl Drop for Origin {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

/// The method and the body of one request.
async fn read(client: &mut TcpStream) -> Option<(String, String)> {
    let mut bytes = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&bytes);
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head.to_ascii_lowercase();
            let length = length.split_once("content-length: ");
            let length = length.and_then(|(_, rest)| rest.lines().next()?.trim().parse().ok());
            if body.len() >= length.unwrap_or(0) {
                return Some((head.split(' ').next()?.to_owned(), body.to_owned()));
            }
        }
        if client.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    }
}

/// The ICE part of a description, in the form of a PATCH (RFC 8840 §9).
pub(crate) fn fragment(description: &str) -> String {
    let said = ["m=", "a=mid:", "a=ice-ufrag:", "a=ice-pwd:", "a=candidate:"];
    let lines = description.lines();
    lines
        .filter(|line| said.iter().any(|start| line.starts_with(start)))
        .flat_map(|line| [line, "\r\n"])
        .collect()
}

/// A description with the credentials of a fragment in place of its own.
pub(crate) fn with_credentials(description: &str, fragment: &str) -> String {
    let lines = description.lines();
    lines
        .flat_map(|line| {
            let name = ["a=ice-ufrag:", "a=ice-pwd:"];
            let name = name.into_iter().find(|name| line.starts_with(name));
            let new = name.and_then(|name| fragment.lines().find(|new| new.starts_with(name)));
            [new.unwrap_or(line), "\r\n"]
        })
        .collect()
}

/// The value of the first attribute of this name.
pub(crate) fn attribute(description: &str, name: &str) -> String {
    let start = format!("a={name}:");
    let mut lines = description.lines();
    let found = lines.find_map(|line| line.strip_prefix(start.as_str()));
    found.expect("a description has it").to_owned()
}

/// Where `live/a` is published.
pub(crate) const WHIP: &str = "/rtc/v1/whip/?app=live&stream=a";
/// The end of every frame.
const MARK: &[u8] = b"a frame of ours";
const FRAME: Duration = Duration::from_millis(20);
