//! Tracks that travel over UDP: a pair of ports towards each side, and what comes in at one goes out at the other.
//!
//! Datagrams are taken from, and sent to, the two machines of the session's TCP connections only: nobody can have a
//! stream sent to somebody else. A client behind an address translator shows by its first datagram which port is its. An
//! origin may send from any port, as cameras do that name another one than they use, until it has sent from the one it
//! named; what is for it goes to that one.
//!
//! An origin that has not confirmed the end of a session may send on, to ports that are somebody else's by then. So they are
//! given to no other session with that machine until its own has run out, and what comes before a client plays is passed
//! over.

use std::cell::RefCell;
use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use prometheus_client::metrics::counter::Counter;
use sluicegate_core::fleet::origin::OriginId;
use sluicegate_core::rtsp::join::Offer;
use sluicegate_core::rtsp::media::is_rtp;
use sluicegate_core::rtsp::transport::Ports;
use sluicegate_core::stream::Action;
use socket2::SockRef;
use tokio::io::ReadBuf;
use tokio::net::UdpSocket;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tracing::info;

use crate::metrics::{DropLabels, Metrics};
use crate::random;
use crate::sessions::{Direction, Row};
use crate::value::PortRange;

/// The ports that tracks may have, shared by all sessions.
#[derive(Debug)]
pub struct UdpPorts {
    first: u16,
    pairs: u32,
    next: AtomicU32,
    /// Pairs that may be taken yet: each is two descriptors, of which connections need their share.
    free: Arc<Semaphore>,
    /// The pairs, by their first port, that an origin at this address may still send to, and until when.
    resting: Mutex<HashMap<(u16, IpAddr), Instant>>,
}

/// The tracks of one session.
pub(super) struct Datagrams {
    row: Arc<Row>,
    client: AddressPair,
    origin: AddressPair,
    tracks: Vec<Track>,
    /// The log was told that media comes from another port than the origin named.
    is_port_told: bool,
    /// The client has asked for media, or announced that it sends some.
    has_begun: bool,
    /// Datagrams of strangers, which are passed over.
    ignored: Counter,
}

/// Our address and the other's, on one side.
#[derive(Debug, Clone, Copy)]
pub(super) struct AddressPair {
    pub(super) ours: IpAddr,
    pub(super) theirs: IpAddr,
}

struct Track {
    number: u32,
    uri: String,
    /// Media, and the reports on it.
    lanes: [Lane; 2],
    granted: bool,
    ports: Arc<UdpPorts>,
    /// Where its origin sends to: our first port, and the origin's address.
    facing_origin: (u16, IpAddr),
    /// For how long the origin sends on if nobody tells it of the end.
    sends_on_for: Option<Duration>,
    /// Gives the pairs back.
    _permit: OwnedSemaphorePermit,
}

struct Lane {
    facing_client: UdpSocket,
    facing_origin: UdpSocket,
    /// Where the client waits.
    client: SocketAddr,
    /// Where the origin waits, as it said, or else as its first datagram showed; unknown until then.
    origin: Option<SocketAddr>,
    /// It said so.
    is_named: bool,
    /// It has said so, and sends from there.
    is_there: bool,
    /// Datagrams of strangers.
    ignored: Counter,
}

impl UdpPorts {
    /// Every pair of the range, of which the first port is even (RFC 3550 §11); with at most `descriptors` file descriptors.
    pub fn new(range: PortRange, descriptors: usize) -> Self {
        let first = range.first.next_multiple_of(2);
        let pairs = (u32::from(range.last) + 1).saturating_sub(u32::from(first)) / 2;
        Self {
            first,
            pairs,
            // A proxy that starts again would otherwise give out the ports that its last sessions had.
            next: AtomicU32::new(u32::from_ne_bytes(random::bytes())),
            free: Arc::new(Semaphore::new(
                (descriptors / 2).min(Semaphore::MAX_PERMITS),
            )),
            resting: Mutex::default(),
        }
    }

    /// Room for a pair on each side.
    fn permit(&self) -> io::Result<OwnedSemaphorePermit> {
        let permit = Arc::clone(&self.free).try_acquire_many_owned(2);
        permit.map_err(|_| io::Error::other("media over UDP has all the descriptors it may have"))
    }

    /// A pair that nobody has, and that nobody at `theirs` may still send to.
    fn bind(&self, ours: IpAddr, theirs: IpAddr) -> io::Result<[UdpSocket; 2]> {
        let mut failure = io::Error::from(io::ErrorKind::AddrInUse);
        let mut tries = 0;
        for _ in 0..self.pairs {
            let at = self.next.fetch_add(1, Ordering::Relaxed) % self.pairs;
            let port = u32::from(self.first) + at * 2;
            let Ok(port) = u16::try_from(port) else {
                continue;
            };
            if self.is_resting(port, theirs) {
                failure = io::Error::other(RESTING);
                continue;
            }
            match (bind(ours, port), bind(ours, port.saturating_add(1))) {
                (Ok(media), Ok(reports)) => return Ok([media, reports]),
                (Err(error), _) | (_, Err(error)) => failure = error,
            }
            tries += 1;
            if tries == MAX_TRIES {
                break;
            }
        }
        Err(failure)
    }

    fn is_resting(&self, port: u16, theirs: IpAddr) -> bool {
        let until = self.resting().get(&(port, theirs)).copied();
        until.is_some_and(|until| until > Instant::now())
    }

    /// Gives a pair to nobody at this address for a while.
    fn rest(&self, pair: (u16, IpAddr), time: Duration) {
        let now = Instant::now();
        let mut resting = self.resting();
        if resting.len() >= self.pairs as usize {
            resting.retain(|_, until| *until > now);
        }
        // Of so many, the next turn of a pair is far away.
        if resting.len() < self.pairs as usize {
            resting.insert(pair, now + time);
        }
    }

    // A std mutex: held for a line, when a track is set up or ends.
    fn resting(&self) -> MutexGuard<'_, HashMap<(u16, IpAddr), Instant>> {
        self.resting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn bind(address: IpAddr, port: u16) -> io::Result<UdpSocket> {
    let socket = std::net::UdpSocket::bind((address, port))?;
    socket.set_nonblocking(true)?;
    // A keyframe comes as a hundred datagrams at once. A smaller buffer than asked for still serves.
    let _ = SockRef::from(&socket).set_recv_buffer_size(RECEIVE_BUFFER);
    UdpSocket::from_std(socket)
}

impl Datagrams {
    /// No tracks yet.
    pub(super) fn new(
        row: Arc<Row>,
        metrics: &Metrics,
        client: AddressPair,
        origin: AddressPair,
    ) -> Self {
        Self {
            row,
            client,
            origin,
            tracks: Vec::new(),
            is_port_told: false,
            has_begun: false,
            ignored: metrics
                .datagrams_dropped
                .get_or_create(&DropLabels {
                    listener: "rtsp",
                    reason: "stranger",
                })
                .clone(),
        }
    }

    /// Takes ports for a track: those facing the origin, and those facing the client. Nothing is sent before the
    /// origin has agreed.
    pub(super) fn prepare(
        &mut self,
        ports: &Arc<UdpPorts>,
        offer: &Offer,
    ) -> io::Result<(Ports, Ports)> {
        self.tracks.retain(|track| track.uri != offer.uri());
        if self.tracks.len() == MAX_TRACKS {
            return Err(io::Error::other("a session has as many tracks as it may"));
        }
        let permit = ports.permit()?;
        let [media, reports] = ports.bind(self.client.ours, self.client.theirs)?;
        let [origin_media, origin_reports] = ports.bind(self.origin.ours, self.origin.theirs)?;
        let of = |sockets: [&UdpSocket; 2]| -> io::Result<Ports> {
            let [media, reports] = sockets.map(UdpSocket::local_addr);
            Ok((media?.port(), reports?.port()))
        };
        let facing_client = of([&media, &reports])?;
        let facing_origin = of([&origin_media, &origin_reports])?;
        let lane = |facing_client, facing_origin, port| Lane {
            facing_client,
            facing_origin,
            client: SocketAddr::new(self.client.theirs, port),
            origin: None,
            is_named: false,
            is_there: false,
            ignored: self.ignored.clone(),
        };
        let (media_port, reports_port) = offer.client_ports;
        self.tracks.push(Track {
            number: offer.track,
            uri: offer.uri().to_owned(),
            lanes: [
                lane(media, origin_media, media_port),
                lane(reports, origin_reports, reports_port),
            ],
            granted: false,
            ports: Arc::clone(ports),
            facing_origin: (facing_origin.0, self.origin.theirs),
            sends_on_for: None,
            _permit: permit,
        });
        Ok((facing_origin, facing_client))
    }

    /// The client has asked for media, or announced that it sends some.
    pub(super) fn begin(&mut self) {
        self.has_begun = true;
    }

    /// The origin has agreed; `ports` is where it waits, if it said so. If it is not told of the end, it sends for as long as
    /// `keeps` says.
    pub(super) fn open(&mut self, number: u32, ports: Option<Ports>, keeps: Duration) {
        let address = self.origin.theirs;
        let Some(track) = self.tracks.iter_mut().find(|track| track.number == number) else {
            return;
        };
        track.granted = true;
        track.sends_on_for = Some(keeps + LATE);
        if let (Some((first, second)), [media, reports]) = (ports, &mut track.lanes) {
            media.origin = Some(SocketAddr::new(address, first));
            reports.origin = Some(SocketAddr::new(address, second));
            media.is_named = true;
            reports.is_named = true;
        }
    }

    /// The origin has not agreed.
    pub(super) fn remove(&mut self, number: u32) {
        self.tracks.retain(|track| track.number != number);
    }

    /// The origin sends nothing more of one track.
    pub(super) fn end_track(&mut self, uri: &str) {
        let ended = self.tracks.iter_mut().filter(|track| track.uri == uri);
        ended.for_each(|track| track.sends_on_for = None);
        self.tracks.retain(|track| track.uri != uri);
    }

    /// The origin sends nothing more.
    pub(super) fn end(&mut self) {
        let ended = self.tracks.iter_mut();
        ended.for_each(|track| track.sends_on_for = None);
        self.tracks.clear();
    }

    /// Passes on what is there, on every track.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) {
        if self.tracks.is_empty() {
            return;
        }
        SCRATCH.with_borrow_mut(|scratch| {
            scratch.resize(DATAGRAM_MAX, 0);
            for track in self.tracks.iter_mut().filter(|track| track.granted) {
                for (index, lane) in track.lanes.iter_mut().enumerate() {
                    let is_media = index == 0;
                    let origin = self.has_begun.then_some(self.origin.theirs);
                    let other = lane.pass_to_client(cx, scratch, origin, &self.row, is_media);
                    if let Some(ports) = other.filter(|_| is_media && !self.is_port_told) {
                        self.is_port_told = true;
                        tell_of_port(&self.row, ports);
                    }
                    lane.pass_to_origin(cx, scratch, self.client.theirs, &self.row, is_media);
                }
            }
        });
    }
}

/// Tells of media that comes from another port than the origin `named`: firewalls between the two are set by what it names.
fn tell_of_port(row: &Row, (named, from): (u16, u16)) {
    info!(
        session = row.id,
        stream = %row.request.stream,
        origin = row.origin().as_ref().map_or("-", OriginId::as_str),
        named,
        from,
        "media comes from another port than the origin named"
    );
}

impl Drop for Track {
    fn drop(&mut self) {
        if let Some(time) = self.sends_on_for {
            self.ports.rest(self.facing_origin, time);
        }
    }
}

impl Lane {
    /// `origin` is who may send, which is nobody before the client asks for it. Returns the port that the origin waits at and
    /// the one that a datagram came from, if there was one from another.
    fn pass_to_client(
        &mut self,
        cx: &mut Context<'_>,
        scratch: &mut [u8],
        origin: Option<IpAddr>,
        row: &Row,
        is_media: bool,
    ) -> Option<(u16, u16)> {
        let mut other = None;
        while let Poll::Ready((data, from)) = receive(&self.facing_origin, cx, scratch) {
            if origin != Some(from.ip()) || (self.is_there && self.origin != Some(from)) {
                self.ignored.inc();
                continue;
            }
            let named = self.origin.get_or_insert(from).port();
            if named != from.port() {
                other = Some((named, from.port()));
            } else {
                self.is_there = self.is_named;
            }
            // What does not fit is lost, as datagrams are.
            let _ = self.facing_client.try_send_to(data, self.client);
            row.count(Direction::ToClient, data.len());
            if is_media && !data.is_empty() && row.request.action == Action::Play {
                row.media_flows();
            }
        }
        other
    }

    fn pass_to_origin(
        &mut self,
        cx: &mut Context<'_>,
        scratch: &mut [u8],
        client: IpAddr,
        row: &Row,
        is_media: bool,
    ) {
        while let Poll::Ready((data, from)) = receive(&self.facing_client, cx, scratch) {
            if from.ip() != client {
                self.ignored.inc();
                continue;
            }
            // Behind an address translator the port is another than it said.
            self.client = from;
            let Some(origin) = self.origin else {
                continue;
            };
            let _ = self.facing_origin.try_send_to(data, origin);
            row.count(Direction::ToOrigin, data.len());
            match row.request.action {
                Action::Play if is_media && is_rtp(data) => row.talks_back(),
                Action::Publish if is_media => row.media_flows(),
                _ => {}
            }
        }
    }
}

/// The next datagram. Errors of earlier ones, such as a port that nobody waits at, are passed over.
fn receive<'a>(
    socket: &UdpSocket,
    cx: &mut Context<'_>,
    scratch: &'a mut [u8],
) -> Poll<(&'a [u8], SocketAddr)> {
    for _ in 0..MAX_ERRORS {
        let mut buffer = ReadBuf::new(scratch);
        match socket.poll_recv_from(cx, &mut buffer) {
            Poll::Pending => return Poll::Pending,
            Poll::Ready(Err(_)) => {}
            Poll::Ready(Ok(from)) => {
                let count = buffer.filled().len();
                let data = scratch.get(..count).unwrap_or_default();
                let from = SocketAddr::new(from.ip().to_canonical(), from.port());
                return Poll::Ready((data, from));
            }
        }
    }
    cx.waker().wake_by_ref();
    Poll::Pending
}

thread_local! {
    static SCRATCH: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// Why there is no port where some are free.
const RESTING: &str = "origins may still send to the ports that are left, for sessions whose end they have not confirmed";
/// How much later than it says an origin may notice that a session has run out.
const LATE: Duration = Duration::from_secs(10);
/// Tracks of a session over UDP: a recorder that shows all its cameras in one stream has a dozen or two. Their ports are bounded
/// by the range for all sessions.
const MAX_TRACKS: usize = 32;
/// Pairs looked at before a track is refused: in a range nearly full, more would only take time.
const MAX_TRIES: u32 = 256;
/// The longest datagram there is.
const DATAGRAM_MAX: usize = 65_535;
const RECEIVE_BUFFER: usize = 512 * 1024;
/// Errors in a row before the other sessions of the worker get their turn.
const MAX_ERRORS: usize = 8;
