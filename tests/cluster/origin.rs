//! An origin for a run: it grants what real origins grant, says who it is, and can be killed.

use std::collections::HashSet;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use sluicegate_core::rtmp::message::{Command, Message, kind};
use sluicegate_core::rtmp::server::{Server, ServerEvent};
use sluicegate_core::stream::Action;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::machine::free_port;
use crate::network;

/// The status by which an origin says who it is.
pub(crate) const NAMED: &str = "Origin.Named";

/// One origin on one port, which runs one instance after the other.
pub(crate) struct Origin {
    pub(crate) name: String,
    pub(crate) at: SocketAddr,
    /// The time between two frames to a player; without it, none are sent.
    frames: Option<Duration>,
    instance: Mutex<Instance>,
    reports: Reports,
}

/// What an origin reports of a publisher that it took: an encoder that is held does not hear who has its stream.
#[derive(Debug, Clone)]
pub(crate) struct Report {
    pub(crate) stream: String,
    /// The instance that took it.
    pub(crate) origin: String,
    /// Where the proxy called from.
    pub(crate) peer: IpAddr,
    pub(crate) from: Instant,
    /// When it was gone, if it is.
    pub(crate) until: Option<Instant>,
}

type Reports = Arc<Mutex<Vec<Report>>>;

#[derive(Clone)]
struct Instance {
    number: u32,
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl Origin {
    pub(crate) async fn start(name: &str, frames: Option<Duration>) -> Self {
        // A port that no other process gets when the origin is killed.
        let listener = TcpListener::bind((network::of_origins(), free_port())).await;
        let listener = listener.expect("it has ports");
        let at = listener.local_addr().expect("it is bound");
        let instance = Instance::new(1);
        let reports = Reports::default();
        instance.serve(listener, name, frames, &reports);
        Self {
            reports,
            name: name.to_owned(),
            at,
            frames,
            instance: Mutex::new(instance),
        }
    }

    /// The name of the running instance, as it tells clients.
    pub(crate) fn instance(&self) -> String {
        format!("{}/{}", self.name, self.current().number)
    }

    /// The body of its registration. A new instance has another pid, as a new process does.
    pub(crate) fn registration(&self) -> String {
        let (name, pid) = (&self.name, self.current().number);
        let (ip, port) = (self.at.ip(), self.at.port());
        format!(
            r#"{{"ip":"{ip}","server":"{name}","service":"s{pid}","pid":"{pid}","rtmp":["{port}"]}}"#
        )
    }

    /// Its key in the Redis.
    pub(crate) fn key(&self) -> String {
        let (name, number) = (&self.name, self.current().number);
        format!("srs-proxy-server:{name}-s{number}-{number}")
    }

    pub(crate) fn is_running(&self) -> bool {
        !self.current().stop.is_cancelled()
    }

    /// Ends the instance as `kill -9` would: closes every connection and the listener.
    pub(crate) async fn kill(&self) {
        let instance = self.current();
        instance.stop.cancel();
        instance.tasks.wait().await;
    }

    /// Starts the next instance on the same port.
    pub(crate) async fn start_again(&self) {
        let next = Instance::new(self.current().number + 1);
        let listener = TcpListener::bind(self.at).await.expect("the port is free");
        next.serve(listener, &self.name, self.frames, &self.reports);
        *self.instance.lock().expect("a test") = next;
    }

    /// Who published to any of its instances, from when to when.
    pub(crate) fn reports(&self) -> Vec<Report> {
        self.reports.lock().expect("a test").clone()
    }

    fn current(&self) -> Instance {
        self.instance.lock().expect("a test").clone()
    }
}

impl Instance {
    fn new(number: u32) -> Self {
        let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
        tasks.close();
        Self {
            number,
            stop,
            tasks,
        }
    }

    fn serve(
        &self,
        listener: TcpListener,
        name: &str,
        frames: Option<Duration>,
        reports: &Reports,
    ) {
        let reports = Arc::clone(reports);
        let named = format!("{name}/{}", self.number);
        let published = Published::default();
        let (stop, tasks) = (self.stop.clone(), self.tasks.clone());
        let accepting = async move {
            while let Ok((socket, peer)) = listener.accept().await {
                let connection = Connection {
                    peer: peer.ip(),
                    reports: Arc::clone(&reports),
                    named: named.clone(),
                    published: Arc::clone(&published),
                    publishes: None,
                    plays: None,
                };
                let serving = connection.serve(socket, frames);
                tasks.spawn(stop.clone().run_until_cancelled_owned(serving));
            }
        };
        self.tasks
            .spawn(self.stop.clone().run_until_cancelled_owned(accepting));
    }
}

/// The streams that have a publisher.
type Published = Arc<Mutex<HashSet<String>>>;

struct Connection {
    named: String,
    peer: IpAddr,
    published: Published,
    reports: Reports,
    /// The stream that it publishes, and the place of the report of that.
    publishes: Option<(String, usize)>,
    /// The message stream that is being played.
    plays: Option<u32>,
}

impl Connection {
    async fn serve(mut self, mut socket: TcpStream, frames: Option<Duration>) {
        let mut server = Server::serving([3; 32], None);
        let mut buffer = vec![0; 16 * 1024];
        let mut number = 0;
        loop {
            let frame = async {
                match (self.plays, frames) {
                    (Some(stream), Some(pause)) => {
                        tokio::time::sleep(pause).await;
                        stream
                    }
                    _ => std::future::pending().await,
                }
            };
            tokio::select! {
                read = socket.read(&mut buffer) => match read {
                    Ok(count @ 1..) if server.feed(&buffer[..count]).is_ok() => {}
                    _ => return,
                },
                stream_id = frame => {
                    let payload = vec![0x27, 1, 0, 0, 0, 0];
                    server.send_media(&Message { timestamp: number, kind: kind::VIDEO, stream_id, payload });
                    number += 1;
                }
            }
            while let Some(event) = server.poll_event() {
                if let ServerEvent::Request(request) = event {
                    let app = request.tc_url.rsplit('/').next().unwrap_or_default();
                    let stream = format!("{app}/{}", request.name);
                    self.answer(&mut server, request.action, &stream, request.stream_id);
                }
            }
            let bytes = server.poll_output().unwrap_or_default();
            if socket.write_all(&bytes).await.is_err() {
                return;
            }
        }
    }

    fn answer(&mut self, server: &mut Server, action: Action, stream: &str, stream_id: u32) {
        match action {
            Action::Play => self.plays = Some(stream_id),
            Action::Publish => {
                let is_free = self
                    .published
                    .lock()
                    .expect("a test")
                    .insert(stream.to_owned());
                if !is_free {
                    let words = "it has a publisher";
                    let _ = server.refuse(stream_id, "NetStream.Publish.BadName", words);
                    return;
                }
                let mut reports = self.reports.lock().expect("a test");
                self.publishes = Some((stream.to_owned(), reports.len()));
                reports.push(Report {
                    stream: stream.to_owned(),
                    origin: self.named.clone(),
                    peer: self.peer,
                    from: Instant::now(),
                    until: None,
                });
            }
        }
        let named = Command::on_status("status", NAMED, &self.named);
        if server.accept(stream_id).is_ok() {
            server.send_media(&Message::command(stream_id, &named));
        }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        if let Some((stream, place)) = &self.publishes {
            self.published.lock().expect("a test").remove(stream);
            let mut reports = self.reports.lock().expect("a test");
            reports[*place].until = Some(Instant::now());
        }
    }
}
