//! Encoders that are impatient as OBS is: the system cuts their connection when nothing is read from it for a while. They
//! outlive their origin, because what they send is read on.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use sluicegate::sessions::State;
use sluicegate_core::rtmp::client::{Client, ClientEvent};
use sluicegate_core::stream::Action;
use socket2::SockRef;
use tokio::net::TcpListener;

use crate::held::{FRAME, HEADER, KEYFRAME};
use crate::house::{House, Manner, Stub, nowhere, until, video};
use crate::uninterrupted::uninterrupted;

/// How OBS notices that its server takes nothing any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum System {
    /// `TCP_USER_TIMEOUT`: the connection ends some time after the receive window of the server has closed, whatever the
    /// send buffer would take.
    Linux,
    /// `SO_SNDTIMEO`: a write that takes longer than this fails. So it is on macOS.
    Windows,
}

/// OBS has 15 s.
const PATIENCE: Duration = Duration::from_secs(1);
/// Longer than it takes to know that an origin has stopped: nothing is read meanwhile, once the kernels take no more.
const LONGER_PATIENCE: Duration = Duration::from_secs(4);
/// OBS drops pictures when those that wait to be sent are older than this.
const DROPS_AFTER: Duration = Duration::from_millis(700);

/// An encoder of 2 Mbit/s, on a thread of its own.
struct Encoder {
    pictures: Arc<AtomicUsize>,
    stop: Arc<AtomicBool>,
    /// The longest time that a picture took to be sent, or why it gave up.
    thread: JoinHandle<io::Result<Duration>>,
}

impl Encoder {
    fn start(at: SocketAddr, system: System, patience: Duration) -> Self {
        let (pictures, stop) = (Arc::<AtomicUsize>::default(), Arc::<AtomicBool>::default());
        let (count, told) = (Arc::clone(&pictures), Arc::clone(&stop));
        let thread = std::thread::spawn(move || {
            let mut link = Link::open(at, system, patience)?;
            link.send(0, HEADER)?;
            let (began, mut longest) = (Instant::now(), Duration::ZERO);
            for number in 0_u32.. {
                if told.load(Ordering::Relaxed) {
                    break;
                }
                let first = if number % 10 == 0 { KEYFRAME } else { FRAME };
                let sending = Instant::now();
                link.send(number * FRAME_MS, &[first, &[7; 10_000]].concat())?;
                longest = longest.max(sending.elapsed());
                count.fetch_add(1, Ordering::Relaxed);
                let due = began + Duration::from_millis(u64::from(number * FRAME_MS));
                while Instant::now() < due {
                    link.hear()?;
                }
            }
            Ok(longest)
        });
        Self {
            pictures,
            stop,
            thread,
        }
    }

    fn pictures(&self) -> usize {
        self.pictures.load(Ordering::Relaxed)
    }
}

/// The connection of an encoder.
struct Link {
    socket: TcpStream,
    machine: Client,
}

impl Link {
    /// Connects and asks to publish `live/a`.
    fn open(at: SocketAddr, system: System, patience: Duration) -> io::Result<Self> {
        let action = Action::Publish;
        let machine = Client::new([7; 32], action, "rtmp://example/live", "a", Vec::new());
        let socket = impatient(at, system, patience)?;
        let mut link = Self { socket, machine };
        while !link.hear()? {}
        Ok(link)
    }

    fn send(&mut self, timestamp: u32, payload: &[u8]) -> io::Result<()> {
        self.machine.send_media(&video(timestamp, payload));
        let bytes = self.machine.poll_output().unwrap_or_default();
        self.socket.write_all(&bytes)
    }

    /// Reads what has come. True once the stream was granted.
    fn hear(&mut self) -> io::Result<bool> {
        let bytes = self.machine.poll_output().unwrap_or_default();
        self.socket.write_all(&bytes)?;
        let mut buffer = [0; 4096];
        match uninterrupted(|| self.socket.read(&mut buffer)) {
            Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
            Ok(count) => self.machine.feed(&buffer[..count]).expect("RTMP"),
            Err(error) if is_timeout(&error) => {}
            Err(error) => return Err(error),
        }
        let mut is_granted = false;
        while let Some(event) = self.machine.poll_event() {
            if let ClientEvent::Status { code, .. } = event {
                is_granted |= code.ends_with(".Start");
            }
        }
        Ok(is_granted)
    }
}

/// A connection with the patience of this system.
fn impatient(at: SocketAddr, system: System, patience: Duration) -> io::Result<TcpStream> {
    let socket = TcpStream::connect(at)?;
    socket.set_read_timeout(Some(Duration::from_millis(5)))?;
    match system {
        System::Linux => SockRef::from(&socket).set_tcp_user_timeout(Some(patience))?,
        System::Windows => socket.set_write_timeout(Some(patience))?,
    }
    Ok(socket)
}

fn is_timeout(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::TimedOut | ErrorKind::WouldBlock)
}

/// An encoder whose origin `fails` goes on sending for longer than its patience, and then at another origin.
async fn is_borne(system: System, patience: Duration, fails: impl AsyncFnOnce(&mut Stub)) {
    let house = House::open("[hold]\npublishers = \"60s\"\n").await;
    let mut one = Stub::start(Manner::Grants).await;
    house.register("one", one.at);
    let encoder = Encoder::start(house.at.rtmp, system, patience);
    until("its media", || one.seen.lock().unwrap().media.len() > 10).await;
    fails(&mut one).await;
    let row = house.proxy.sessions().list().remove(0);
    until("the hold", || row.state() == State::Held).await;
    let (held, sent) = (Instant::now(), encoder.pictures());
    until("pictures that nobody gets", || {
        assert!(!encoder.thread.is_finished(), "{system:?}: it gave up");
        held.elapsed() > patience * 3 / 2 && encoder.pictures() > sent + 50
    })
    .await;
    let two = Stub::start(Manner::Grants).await;
    house.register("two", two.at);
    until("the stream at the other origin", || {
        two.seen.lock().unwrap().media.len() > 10
    })
    .await;
    encoder.stop.store(true, Ordering::Relaxed);
    let longest = encoder.thread.join().expect("no panic");
    let longest = longest.expect("its connection lasts");
    assert!(
        longest < DROPS_AFTER,
        "{system:?}: a picture waited {longest:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn impatient_encoders_outlive_an_origin_that_dies() {
    let dies = async |one: &mut Stub| one.kill().await;
    tokio::join!(
        is_borne(System::Linux, PATIENCE, dies),
        is_borne(System::Windows, PATIENCE, dies)
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn impatient_encoders_outlive_an_origin_that_stops() {
    let stops = async |one: &mut Stub| one.freeze();
    tokio::join!(
        is_borne(System::Linux, LONGER_PATIENCE, stops),
        is_borne(System::Windows, LONGER_PATIENCE, stops)
    );
}

/// They are what they say: a server that stops to read is left after their patience.
#[tokio::test]
async fn an_impatient_encoder_leaves_a_server_that_reads_nothing() {
    let listener = TcpListener::bind(nowhere()).await.expect("a port");
    let at = listener.local_addr().expect("it is bound");
    for system in [System::Linux, System::Windows] {
        let writing = tokio::task::spawn_blocking(move || {
            let mut socket = impatient(at, system, PATIENCE).expect("it listens");
            let began = Instant::now();
            loop {
                if let Err(error) = socket.write_all(&[7; 100_000]) {
                    return (error, began.elapsed());
                }
            }
        });
        let (_unread, _) = listener.accept().await.expect("it comes");
        let (error, after) = writing.await.expect("no panic");
        assert!(is_timeout(&error), "{system:?}: {error}");
        assert!(after >= PATIENCE, "{system:?}: {after:?}");
    }
}

/// Between two pictures.
const FRAME_MS: u32 = 40;
