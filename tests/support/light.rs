//! An RTMP publisher that costs next to nothing: for stories with many publishers, or that time their set-up.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use sluicegate_core::rtmp::client::{Client, ClientEvent};
use sluicegate_core::rtmp::message::{Message, kind};
use sluicegate_core::stream::Action;

use super::uninterrupted;

/// A publisher that sends a little video, ten times a second, until it is ended or dropped.
pub(crate) struct Light {
    /// From its first packet until the stream was granted.
    pub(crate) accepted: Duration,
    ended: Arc<AtomicBool>,
    stop: Arc<AtomicBool>,
}

impl Light {
    /// Publishes `app/stream`; an error is what it heard instead of a grant.
    pub(crate) fn publish(at: SocketAddr, stream: &str) -> Result<Self, String> {
        let began = Instant::now();
        let (app, name) = stream.rsplit_once('/').expect("app/stream");
        let tc_url = format!("rtmp://{at}/{app}");
        let mut machine = Client::new([7; 32], Action::Publish, &tc_url, name, Vec::new());
        let mut socket = TcpStream::connect(at).map_err(|error| error.to_string())?;
        socket
            .set_read_timeout(Some(PATIENCE))
            .expect("a time that is not zero");
        ask(&mut socket, &mut machine)?;
        let accepted = began.elapsed();
        let (ended, stop) = (Arc::<AtomicBool>::default(), Arc::<AtomicBool>::default());
        let (told, asked) = (Arc::clone(&ended), Arc::clone(&stop));
        std::thread::spawn(move || {
            send(&mut socket, &mut machine, &asked);
            told.store(true, Ordering::Release);
        });
        Ok(Self {
            accepted,
            ended,
            stop,
        })
    }

    pub(crate) fn is_running(&self) -> bool {
        !self.ended.load(Ordering::Acquire)
    }
}

impl Drop for Light {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
    }
}

/// What a client hears that asks for `name` with this `tc_url` and is refused.
pub(crate) fn refusal(at: SocketAddr, action: Action, tc_url: &str, name: &str) -> String {
    let mut machine = Client::new([7; 32], action, tc_url, name, Vec::new());
    let mut socket = TcpStream::connect(at).expect("the proxy listens");
    let patience = socket.set_read_timeout(Some(PATIENCE));
    patience.expect("a time that is not zero");
    ask(&mut socket, &mut machine).expect_err("it is refused")
}

/// Publishes or plays `app/stream`, sends these bytes then, and reads until the other side closes.
pub(crate) fn ask_and_say(at: SocketAddr, action: Action, stream: &str, last: &[u8]) {
    let (app, name) = stream.rsplit_once('/').expect("app/stream");
    let tc_url = format!("rtmp://{at}/{app}");
    let mut machine = Client::new([7; 32], action, &tc_url, name, Vec::new());
    let mut socket = TcpStream::connect(at).expect("the proxy listens");
    let patience = socket.set_read_timeout(Some(PATIENCE));
    patience.expect("a time that is not zero");
    ask(&mut socket, &mut machine).expect("it is granted");
    socket.write_all(last).expect("the proxy reads");
    while uninterrupted(|| socket.read(&mut [0; 4096])).is_ok_and(|count| count > 0) {}
}

fn ask(socket: &mut TcpStream, machine: &mut Client) -> Result<(), String> {
    let mut buffer = [0; 4096];
    loop {
        if let Some(bytes) = machine.poll_output() {
            socket
                .write_all(&bytes)
                .map_err(|error| error.to_string())?;
        }
        let count =
            uninterrupted(|| socket.read(&mut buffer)).map_err(|error| error.to_string())?;
        if count == 0 {
            return Err("it closed".to_owned());
        }
        machine
            .feed(&buffer[..count])
            .map_err(|error| error.to_string())?;
        while let Some(event) = machine.poll_event() {
            if let ClientEvent::Status {
                code, description, ..
            } = event
            {
                match &*code {
                    "NetStream.Play.Reset" => {}
                    "NetStream.Play.Start" | "NetStream.Publish.Start" => return Ok(()),
                    code => return Err(format!("{code}: {description}")),
                }
            }
        }
    }
}

fn send(socket: &mut TcpStream, machine: &mut Client, stop: &AtomicBool) {
    let mut buffer = [0; 4096];
    let _ = socket.set_read_timeout(Some(PAUSE));
    let mut time = 0;
    while !stop.load(Ordering::Acquire) {
        machine.send_media(&frame(time));
        time += 100;
        let bytes = machine.poll_output().unwrap_or_default();
        if socket.write_all(&bytes).is_err() {
            return;
        }
        // The pause also checks whether the other side closed.
        match uninterrupted(|| socket.read(&mut buffer)) {
            Ok(0) => return,
            Ok(_) => {}
            Err(error)
                if matches!(
                    error.kind(),
                    std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut
                ) => {}
            Err(_) => return,
        }
    }
}

/// A frame of AVC that is no keyframe and holds one small unit.
fn frame(timestamp: u32) -> Message {
    Message {
        timestamp,
        kind: kind::VIDEO,
        stream_id: 1,
        payload: vec![0x27, 1, 0, 0, 0, 0, 0, 0, 1, 0x41],
    }
}

const PATIENCE: Duration = Duration::from_secs(30);
const PAUSE: Duration = Duration::from_millis(100);
