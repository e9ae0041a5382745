//! Builders: a proxy, origins that behave as told, clients.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use sluicegate::config::{Environment, Settings};
use sluicegate::origin::connect::{Resolve, Resolving};
use sluicegate::proxy::Proxy;
use sluicegate::server::{Addresses, Server, StartError};
use sluicegate_core::fleet::origin::{AddressRules, parse_registration};
use sluicegate_core::rtmp::amf0::Value;
use sluicegate_core::rtmp::chunk::{ChunkReader, ChunkWriter};
use sluicegate_core::rtmp::client::{Client, ClientEvent};
use sluicegate_core::rtmp::handshake::ServerHandshake;
use sluicegate_core::rtmp::message::{Command, Message, kind};
use sluicegate_core::rtmp::server::StreamRequest;
use sluicegate_core::stream::Action;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::machine::free_port;

/// A proxy that runs until it is dropped.
pub(crate) struct House {
    pub(crate) proxy: Proxy,
    pub(crate) at: At,
    pub(crate) stop: CancellationToken,
    pub(crate) serving: JoinHandle<()>,
}

/// The first address of each listener; port 0 for one that is closed.
pub(crate) struct At {
    pub(crate) rtmp: SocketAddr,
    pub(crate) http: SocketAddr,
    pub(crate) api: SocketAddr,
    pub(crate) system: SocketAddr,
    pub(crate) rtsp: SocketAddr,
    pub(crate) srt: SocketAddr,
    pub(crate) rtc: SocketAddr,
    pub(crate) console: Option<SocketAddr>,
}

impl At {
    pub(crate) fn of(addresses: &Addresses) -> Self {
        let at = |address: Option<SocketAddr>| {
            address.unwrap_or_else(|| SocketAddr::from(([127, 0, 0, 1], 0)))
        };
        Self {
            rtmp: at(addresses.rtmp),
            http: at(addresses.http),
            api: at(addresses.api),
            system: at(addresses.system),
            rtsp: at(addresses.rtsp),
            srt: at(addresses.srt),
            rtc: at(addresses.rtc),
            console: addresses.console,
        }
    }
}

impl House {
    /// A proxy on free ports of loopback, with `settings` as additional TOML.
    pub(crate) async fn open(settings: &str) -> Self {
        Self::open_with(settings, |server| server).await
    }

    /// Like `open`, with a server that `furnish` may change before it serves.
    pub(crate) async fn open_with(settings: &str, furnish: impl FnOnce(Server) -> Server) -> Self {
        Self::build(settings, |settings| Server::bind(settings).map(furnish)).await
    }

    /// The same, where the names of origins lead as `names` says.
    pub(crate) async fn open_knowing(settings: &str, names: &Names) -> Self {
        let names = Arc::new(names.clone());
        Self::build(settings, |settings| Server::bind_with(settings, names)).await
    }

    async fn build(
        settings: &str,
        bind: impl FnOnce(Settings) -> Result<Server, StartError>,
    ) -> Self {
        // The usual soft limit is too low for hundreds of clients, their sessions and their origins in one process.
        let limit = getrlimit(Resource::Nofile);
        setrlimit(
            Resource::Nofile,
            Rlimit {
                current: limit.maximum,
                ..limit
            },
        )
        .expect("its own maximum");
        let mut lines = String::new();
        for section in ["rtmp", "http", "api", "system", "rtsp", "srt", "rtc"] {
            let marker = format!("[{section}]\n");
            let said = settings.split_once(&marker);
            let said = said.map_or("", |(_, rest)| rest.split("\n[").next().unwrap_or_default());
            lines.push_str(&marker);
            if !said.contains("listen = ") {
                lines.push_str("listen = \"127.0.0.1:0\"\n");
            }
            lines.push_str(said);
            lines.push('\n');
        }
        for part in settings
            .split("\n[")
            .map(|part| part.trim_start_matches('['))
            .filter(|part| !part.trim().is_empty())
        {
            if !["rtmp]", "http]", "api]", "system]", "rtsp]", "srt]", "rtc]"]
                .iter()
                .any(|known| part.starts_with(known))
            {
                let heading = part.lines().next().unwrap_or_default();
                let open = if heading.ends_with("]]") { "[[" } else { "[" };
                lines.push_str(&format!("{open}{part}\n"));
            }
        }
        let file = tempfile::Builder::new()
            .suffix(".toml")
            .tempfile()
            .expect("a file");
        std::fs::write(file.path(), lines).expect("a file");
        let loaded =
            Settings::load(Some(file.path()), &Environment::new([], "")).expect("valid settings");
        let server = bind(loaded.settings).expect("free ports");
        let at = At::of(&server.addresses());
        let proxy = server.proxy().clone();
        let stop = CancellationToken::new();
        let serving = tokio::spawn(server.serve(stop.clone()));
        Self {
            proxy,
            at,
            stop,
            serving,
        }
    }

    /// Registers an origin by its id and RTMP port.
    pub(crate) fn register(&self, id: &str, rtmp: SocketAddr) {
        self.register_with(id, &format!(r#""rtmp":["{}"]"#, rtmp.port()));
    }

    /// Registers an origin with any endpoints.
    pub(crate) fn register_with(&self, id: &str, endpoints: &str) {
        self.register_at(id, "127.0.0.1", endpoints);
    }

    /// Registers an origin at any host.
    pub(crate) fn register_at(&self, id: &str, host: &str, endpoints: &str) {
        let body =
            format!(r#"{{"ip":"{host}","server":"{id}","service":"s","pid":"1",{endpoints}}}"#);
        let origin = parse_registration(body.as_bytes(), &AddressRules::default())
            .expect("a valid registration");
        self.proxy.registry().register(origin).expect("room");
    }

    /// The origin that holds a stream.
    pub(crate) fn origin_of(&self, stream: &str) -> Option<String> {
        let key = format!("__defaultVhost__/{stream}");
        self.proxy
            .registry()
            .placements()
            .into_iter()
            .find(|row| row.key == key)
            .map(|row| row.origin)
    }

    /// A client that has asked to publish or play, and has read until the proxy answered or closed.
    pub(crate) async fn ask(&self, action: Action, stream: &str) -> Guest {
        Guest::ask(self.at.rtmp, action, stream, Vec::new()).await
    }

    /// Waits until the session table is as expected.
    pub(crate) async fn until_sessions(&self, count: usize) {
        until("the session count", || self.proxy.sessions().len() == count).await;
    }
}

impl Drop for House {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

/// The names of a test and the addresses that each has, which may change at any time. No other name has any.
#[derive(Debug, Clone, Default)]
pub(crate) struct Names {
    known: Arc<Mutex<BTreeMap<String, Vec<IpAddr>>>>,
}

impl Names {
    /// From now on, a name has these addresses.
    pub(crate) fn lead(&self, name: &str, addresses: &[&str]) {
        let addresses = addresses.iter().map(|ip| ip.parse().expect("an address"));
        let mut known = self.known.lock().expect("a test");
        known.insert(name.to_owned(), addresses.collect());
    }
}

impl Resolve for Names {
    fn resolve(&self, name: &str) -> Resolving {
        let found = self.known.lock().expect("a test").get(name).cloned();
        Box::pin(async move { found.ok_or_else(|| io::ErrorKind::NotFound.into()) })
    }
}

/// Polls for an event that is not announced.
pub(crate) async fn until(what: &str, happened: impl FnMut() -> bool) {
    until_within(PATIENCE, what, happened).await;
}

/// Like `until`, for what has to be requested.
pub(crate) async fn until_told(what: &str, mut told: impl AsyncFnMut() -> bool) {
    let waiting = async {
        while !told().await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(PATIENCE, waiting)
        .await
        .unwrap_or_else(|_| panic!("{what} did not come in time"));
}

/// Like `until`, with a longer deadline.
pub(crate) async fn until_within(
    patience: Duration,
    what: &str,
    mut happened: impl FnMut() -> bool,
) {
    let waiting = async {
        while !happened() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(patience, waiting)
        .await
        .unwrap_or_else(|_| panic!("{what} did not come in time"));
}

/// An RTMP client.
pub(crate) struct Guest {
    stream: TcpStream,
    machine: Client,
    pub(crate) connected: Option<Command>,
    pub(crate) status: Option<(String, String)>,
    pub(crate) media: Vec<Message>,
    /// Bytes that it has sent on its stream.
    pub(crate) wrote: u64,
}

impl Guest {
    /// Connects, asks, and reads until a status of the stream or the end of the connection.
    pub(crate) async fn ask(
        at: SocketAddr,
        action: Action,
        stream: &str,
        extra: Vec<(String, Value)>,
    ) -> Self {
        Self::ask_after(at, &[], action, stream, extra).await
    }

    /// Like `ask`, after bytes of another protocol.
    pub(crate) async fn ask_after(
        at: SocketAddr,
        preface: &[u8],
        action: Action,
        stream: &str,
        extra: Vec<(String, Value)>,
    ) -> Self {
        let mut guest = Self::call(at, preface, action, stream, extra).await;
        while !guest.has_heard() && guest.step().await {}
        guest
    }

    /// Connects; its request is sent as the answers are read.
    pub(crate) async fn call(
        at: SocketAddr,
        preface: &[u8],
        action: Action,
        stream: &str,
        extra: Vec<(String, Value)>,
    ) -> Self {
        let (app, name) = stream.rsplit_once('/').expect("app/stream");
        let url = format!("rtmp://example/{app}");
        let machine = Client::new([7; 32], action, &url, name, extra);
        Self::begin(at, preface, machine).await
    }

    /// The same, with a tcUrl of its own.
    pub(crate) async fn call_url(at: SocketAddr, action: Action, url: &str, name: &str) -> Self {
        let machine = Client::new([7; 32], action, url, name, Vec::new());
        Self::begin(at, &[], machine).await
    }

    async fn begin(at: SocketAddr, preface: &[u8], machine: Client) -> Self {
        let mut socket = TcpStream::connect(at).await.expect("the proxy listens");
        socket.write_all(preface).await.expect("the proxy reads");
        Self {
            stream: socket,
            machine,
            connected: None,
            status: None,
            media: Vec::new(),
            wrote: 0,
        }
    }

    /// Sends what is due and reads once; `false` at the end of the connection.
    pub(crate) async fn step(&mut self) -> bool {
        if let Some(bytes) = self.machine.poll_output()
            && self.stream.write_all(&bytes).await.is_err()
        {
            return false;
        }
        let mut buffer = vec![0; 65_536];
        let read = timeout(PATIENCE, self.stream.read(&mut buffer))
            .await
            .expect("an answer in time");
        let Ok(count) = read else { return false };
        if count == 0 {
            return false;
        }
        self.machine
            .feed(&buffer[..count])
            .expect("the proxy speaks RTMP");
        while let Some(event) = self.machine.poll_event() {
            match event {
                ClientEvent::Connected(answer) => self.connected = Some(answer),
                ClientEvent::Media(message) => self.media.push(message),
                ClientEvent::Redirected { .. } => {}
                ClientEvent::Refused(command) => panic!("connect was refused: {command:?}"),
                ClientEvent::Status {
                    code, description, ..
                } => self.status = Some((code, description)),
            }
        }
        true
    }

    /// Reads until `enough`, or the end.
    pub(crate) async fn read_until(&mut self, mut enough: impl FnMut(&Self) -> bool) -> bool {
        while !enough(self) {
            if !self.step().await {
                return false;
            }
        }
        true
    }

    /// Reads until the proxy closes the connection.
    pub(crate) async fn read_to_end(&mut self) {
        while self.step().await {}
    }

    /// Waits, however long, until the proxy closes the connection.
    pub(crate) async fn wait_for_end(&mut self) {
        let mut buffer = [0; 4096];
        while self
            .stream
            .read(&mut buffer)
            .await
            .is_ok_and(|count| count > 0)
        {}
    }

    /// Sends one message on the stream.
    pub(crate) async fn send(&mut self, message: &Message) {
        self.machine.send_media(message);
        self.flush().await;
    }

    /// Announces another chunk size, and uses it from here on.
    pub(crate) async fn set_chunk_size(&mut self, size: u32) {
        self.machine.set_chunk_size(size);
        self.flush().await;
    }

    /// The message stream that it was given.
    pub(crate) const fn stream_id(&self) -> u32 {
        self.machine.stream_id()
    }

    /// Sends a command on any message stream.
    pub(crate) async fn tell(&mut self, stream_id: u32, command: &Command) {
        self.tell_message(&Message::command(stream_id, command))
            .await;
    }

    /// Sends a message as it is.
    pub(crate) async fn tell_message(&mut self, message: &Message) {
        self.machine.send_as_it_is(message);
        self.flush().await;
    }

    /// Sends a command on the stream.
    pub(crate) async fn command(&mut self, command: &Command) {
        self.machine.send_command(command);
        self.flush().await;
    }

    /// Whether the stream was granted or refused.
    pub(crate) fn has_heard(&self) -> bool {
        self.status.is_some() && self.code() != "NetStream.Play.Reset"
    }

    pub(crate) fn has_started(&self) -> bool {
        self.code().ends_with(".Start")
    }

    pub(crate) fn code(&self) -> &str {
        self.status.as_ref().map_or("", |(code, _)| code)
    }

    pub(crate) fn words(&self) -> &str {
        self.status.as_ref().map_or("", |(_, words)| words)
    }

    async fn flush(&mut self) {
        let bytes = self.machine.poll_output().unwrap_or_default();
        self.wrote += bytes.len() as u64;
        self.stream
            .write_all(&bytes)
            .await
            .expect("the proxy reads");
    }
}

/// An address where nothing listens, now and later: no other test gets its port.
pub(crate) fn nowhere() -> SocketAddr {
    ([127, 0, 0, 1], free_port()).into()
}

/// How a stub origin treats its clients.
#[derive(Clone)]
pub(crate) enum Manner {
    /// Grants every request.
    Grants,
    /// Accepts connections and sends nothing.
    Silent,
    /// Completes the handshake, and closes every connection when it hears the request.
    Declines,
    /// Closes every connection after the handshake bytes have arrived.
    HangsUp,
    /// Grants, and closes: when a publisher sends media, or when a player has all that there is.
    Closes,
    /// Grants, and sends a player numbered video messages of this many bytes, twenty a second, without end.
    Streams(usize),
    /// Refuses every request with this code and description.
    Refuses(&'static str, &'static str),
    /// Answers every request's transaction with an error of this code and description.
    Errs(&'static str, &'static str),
    /// Refuses this many requests because it has a publisher already, and grants the rest.
    BusyFor(Arc<AtomicUsize>),
    /// Refuses a publisher while it has another on a connection of its own; the semaphore has one permit.
    TakesOne(Arc<Semaphore>),
    /// Refuses this many requests because their token is wrong, and grants the rest.
    DeniesFor(Arc<AtomicUsize>),
    /// Answers every request after this is cancelled, and then grants it.
    Thinks(CancellationToken),
    /// Redirects every client to another place.
    Redirects(String),
    /// Redirects those who ask for the app `live` to this path of its own, and grants everything else.
    RedirectsToItself(&'static str),
    /// Assigns message stream ids from this one on, and grants.
    NumbersFrom(u32),
    /// Closes when it gets commands faster than it answers; grants otherwise.
    OneByOne,
    /// Grants, and closes when it hears of another chunk size after the request, where it does not look for one.
    ReadsSizesOnce,
}

/// An origin that records what it saw.
pub(crate) struct Stub {
    pub(crate) at: SocketAddr,
    pub(crate) seen: Arc<Mutex<Seen>>,
    serving: JoinHandle<()>,
    killed: CancellationToken,
    signals: Signals,
}

/// What a stub origin is told while it serves.
#[derive(Clone, Default)]
struct Signals {
    frozen: CancellationToken,
    unpublished: CancellationToken,
    words: watch::Sender<Option<LateWord>>,
}

/// What a stub origin says on the streams that it has, and whether that is its last word.
#[derive(Clone)]
struct LateWord {
    command: Command,
    closes: bool,
}

/// What a stub origin has received.
#[derive(Default)]
pub(crate) struct Seen {
    pub(crate) connections: usize,
    pub(crate) preface: Vec<u8>,
    pub(crate) requests: Vec<StreamRequest>,
    pub(crate) media: Vec<Message>,
    pub(crate) closed: usize,
}

impl Stub {
    pub(crate) async fn start(manner: Manner) -> Self {
        Self::with(manner, 0, Vec::new()).await
    }

    /// An origin that reads `preface` bytes before RTMP and sends `media` to its players.
    pub(crate) async fn with(manner: Manner, preface: usize, media: Vec<Message>) -> Self {
        // A port that no other process gets when the origin is killed.
        let listener = TcpListener::bind(nowhere()).await.expect("a port");
        Self::on(listener, manner, preface, media)
    }

    /// An origin that accepts on an existing listener.
    pub(crate) fn on(
        listener: TcpListener,
        manner: Manner,
        preface: usize,
        media: Vec<Message>,
    ) -> Self {
        let at = listener.local_addr().expect("bound");
        let seen = Arc::new(Mutex::new(Seen::default()));
        let told = Arc::clone(&seen);
        let (killed, signals) = (CancellationToken::new(), Signals::default());
        let (end, told_so) = (killed.clone(), signals.clone());
        let serving = tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                told.lock().expect("a test").connections += 1;
                let seen = Arc::clone(&told);
                let (manner, media, end) = (manner.clone(), media.clone(), end.clone());
                let signals = told_so.clone();
                tokio::spawn(async move {
                    let serving = serve(socket, manner, preface, media, &seen, &signals);
                    end.run_until_cancelled(serving).await;
                    seen.lock().expect("a test").closed += 1;
                });
            }
        });
        Self {
            at,
            seen,
            serving,
            killed,
            signals,
        }
    }

    /// Stops it as `SIGSTOP` would: connections stay and are accepted, and nothing is read or said.
    pub(crate) fn freeze(&self) {
        self.signals.frozen.cancel();
    }

    /// Says to all players that the publisher has left.
    pub(crate) fn unpublish(&self) {
        self.signals.unpublished.cancel();
    }

    /// Says this on every stream that it has.
    pub(crate) fn say(&self, command: Command) {
        let word = LateWord {
            command,
            closes: false,
        };
        self.signals.words.send_replace(Some(word));
    }

    /// The same, and then closes every connection with a stream.
    pub(crate) fn say_and_close(&self, command: Command) {
        let word = LateWord {
            command,
            closes: true,
        };
        self.signals.words.send_replace(Some(word));
    }

    /// Ends it as `kill -9` would: every connection, and the listener.
    pub(crate) async fn kill(&mut self) {
        self.killed.cancel();
        self.close().await;
    }

    /// Refuses connections from now on; existing ones stay.
    pub(crate) async fn close(&mut self) {
        self.serving.abort();
        let _ = (&mut self.serving).await;
    }

    pub(crate) fn connections(&self) -> usize {
        self.seen.lock().expect("a test").connections
    }

    pub(crate) fn request(&self) -> StreamRequest {
        self.seen
            .lock()
            .expect("a test")
            .requests
            .first()
            .cloned()
            .expect("a request came")
    }
}

impl Drop for Stub {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

/// Serves one connection by hand, so that it can misbehave.
async fn serve(
    mut socket: TcpStream,
    manner: Manner,
    preface: usize,
    media: Vec<Message>,
    seen: &Mutex<Seen>,
    signals: &Signals,
) {
    if preface > 0 {
        let mut before = vec![0; preface];
        if socket.read_exact(&mut before).await.is_err() {
            return;
        }
        seen.lock().expect("a test").preface = before;
    }
    let mut handshake = ServerHandshake::new([3; 32]);
    let mut reader = ChunkReader::new(1 << 24);
    let mut voice = Voice {
        writer: ChunkWriter::new(128),
        out: Vec::new(),
    };
    let mut connect = Command::call("connect", 1.0, Vec::new());
    let mut buffer = vec![0; 65_536];
    let (mut playing, mut has_asked) = (false, false);
    let (mut asked_on, mut words) = (None, signals.words.subscribe());
    // Held until the connection is over.
    let mut its_publisher = None;
    loop {
        let read = tokio::select! {
            biased;
            () = signals.frozen.cancelled() => std::future::pending().await,
            () = signals.unpublished.cancelled(), if playing => {
                playing = false;
                let code = "NetStream.Play.UnpublishNotify";
                voice.command(1, &Command::on_status("status", code, "unpublished"));
                let _ = socket.write_all(&std::mem::take(&mut voice.out)).await;
                continue;
            }
            Ok(()) = words.changed(), if asked_on.is_some() => {
                let word = words.borrow_and_update().clone();
                let (Some(LateWord { command, closes }), Some(stream_id)) = (word, asked_on) else {
                    continue;
                };
                voice.command(stream_id, &command);
                let _ = socket.write_all(&std::mem::take(&mut voice.out)).await;
                if closes {
                    return;
                }
                continue;
            }
            read = socket.read(&mut buffer) => read,
        };
        let count = read.unwrap_or_default();
        if count == 0 || matches!(manner, Manner::HangsUp) {
            return;
        }
        if matches!(manner, Manner::Silent) {
            continue;
        }
        let taken = if handshake.is_done() {
            0
        } else {
            handshake.feed(&buffer[..count]).expect("a handshake")
        };
        voice
            .out
            .extend(handshake.poll_output().unwrap_or_default());
        let mut input = &buffer[taken..count];
        let mut commands = 0;
        while let Some(message) = reader.read(&mut input).expect("chunks") {
            let once = matches!(manner, Manner::ReadsSizesOnce) && has_asked;
            if once && message.kind == kind::SET_CHUNK_SIZE {
                return;
            }
            let Ok(command) = Command::decode(message.kind, &message.payload) else {
                if message.is_media() && matches!(manner, Manner::Closes) {
                    return;
                }
                if message.is_media() {
                    seen.lock().expect("a test").media.push(message);
                }
                continue;
            };
            if matches!(manner, Manner::Declines) {
                let _ = socket.write_all(&voice.out).await;
                return;
            }
            commands += 1;
            if matches!(manner, Manner::OneByOne) && commands > 1 {
                return;
            }
            let tid = command.transaction_id;
            match command.name.as_str() {
                "connect" => {
                    connect = command;
                    voice.say(0, &Message::window_ack_size(2_500_000));
                    voice.say(0, &Message::set_chunk_size(4096));
                    voice.writer.set_chunk_size(4096);
                    if let Manner::Redirects(to) = &manner {
                        voice.command(0, &redirect(&format!("{to}/live/a")));
                        continue;
                    }
                    let app = connect.object.field("app").and_then(Value::as_str);
                    if let Manner::RedirectsToItself(path) = manner
                        && app == Some("live")
                    {
                        let own = socket.local_addr().expect("a connection");
                        voice.command(0, &redirect(&format!("{own}/{path}")));
                        continue;
                    }
                    let properties = vec![(
                        "fourCcList".to_owned(),
                        Value::StrictArray(vec!["hvc1".into()]),
                    )];
                    voice.command(
                        0,
                        &Command::result(tid, Value::Object(properties), Value::Null),
                    );
                    voice.command(0, &Command::call("onBWDone", 0.0, Vec::new()));
                }
                "createStream" => {
                    let id = if let Manner::NumbersFrom(first) = manner {
                        first
                    } else {
                        1
                    };
                    voice.command(
                        0,
                        &Command::result(tid, Value::Null, Value::Number(f64::from(id))),
                    );
                }
                "publish" | "play" => {
                    has_asked = true;
                    asked_on = Some(message.stream_id);
                    let action = if command.name == "play" {
                        Action::Play
                    } else {
                        Action::Publish
                    };
                    let text = |name| {
                        connect
                            .object
                            .field(name)
                            .and_then(Value::as_str)
                            .unwrap_or_default()
                    };
                    let request = StreamRequest {
                        action,
                        tc_url: text("tcUrl").to_owned(),
                        name: command.text(0).unwrap_or_default().to_owned(),
                        stream_id: message.stream_id,
                        command,
                        connect: connect.clone(),
                    };
                    let transaction_id = request.command.transaction_id;
                    seen.lock().expect("a test").requests.push(request);
                    if let Manner::Errs(code, words) = manner {
                        let why = Command::on_status("error", code, words).arguments.remove(0);
                        let no = Command {
                            name: "_error".to_owned(),
                            ..Command::result(transaction_id, Value::Null, why)
                        };
                        voice.command(0, &no);
                        continue;
                    }
                    if let Manner::Refuses(code, words) = manner {
                        voice.command(message.stream_id, &Command::on_status("error", code, words));
                        continue;
                    }
                    let no = match &manner {
                        Manner::BusyFor(times) => {
                            Some((times, "NetStream.Publish.BadName", "busy"))
                        }
                        Manner::DeniesFor(times) => {
                            Some((times, "NetStream.Publish.Denied", "wrong token"))
                        }
                        _ => None,
                    };
                    if let Some((times, code, words)) = no
                        && times
                            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| {
                                left.checked_sub(1)
                            })
                            .is_ok()
                    {
                        let status = Command::on_status("error", code, words);
                        voice.command(message.stream_id, &status);
                        continue;
                    }
                    if let (Manner::TakesOne(one), Action::Publish) = (&manner, action) {
                        let Ok(permit) = Arc::clone(one).try_acquire_owned() else {
                            let code = "NetStream.Publish.BadName";
                            let status = Command::on_status("error", code, "busy");
                            voice.command(message.stream_id, &status);
                            continue;
                        };
                        its_publisher.replace(permit);
                    }
                    if let Manner::Thinks(go) = &manner {
                        let said = std::mem::take(&mut voice.out);
                        let _ = socket.write_all(&said).await;
                        go.cancelled().await;
                    }
                    playing = action == Action::Play;
                    let code = if action == Action::Play {
                        "NetStream.Play.Start"
                    } else {
                        "NetStream.Publish.Start"
                    };
                    voice.command(
                        message.stream_id,
                        &Command::on_status("status", code, "granted"),
                    );
                    for message_out in media.iter().filter(|_| action == Action::Play) {
                        voice.say(
                            6,
                            &Message {
                                stream_id: message.stream_id,
                                ..message_out.clone()
                            },
                        );
                    }
                }
                "releaseStream" | "FCPublish" => {
                    voice.command(0, &Command::result(tid, Value::Null, Value::Undefined));
                }
                _ => {}
            }
        }
        if socket
            .write_all(&std::mem::take(&mut voice.out))
            .await
            .is_err()
        {
            return;
        }
        if matches!(manner, Manner::Closes) && playing {
            return;
        }
        if let (Manner::Streams(size), true) = (&manner, playing) {
            return stream(socket, voice, *size).await;
        }
    }
}

/// Sends numbered messages until the player is gone.
async fn stream(mut socket: TcpStream, mut voice: Voice, size: usize) {
    for number in 0_u32.. {
        voice.say(6, &video(number, &vec![0x27; size]));
        if socket
            .write_all(&std::mem::take(&mut voice.out))
            .await
            .is_err()
        {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

struct Voice {
    writer: ChunkWriter,
    out: Vec<u8>,
}

impl Voice {
    fn command(&mut self, stream_id: u32, command: &Command) {
        self.say(3, &Message::command(stream_id, command));
    }

    fn say(&mut self, chunk_stream: u32, message: &Message) {
        self.writer
            .write(chunk_stream.max(2), message, &mut self.out);
    }
}

/// The redirect of an SRS origin that knows where the stream is.
fn redirect(to: &str) -> Command {
    let url = format!("rtmp://{to}");
    let (tc_url, _) = url.rsplit_once('/').expect("a stream");
    let extra = vec![
        ("code".to_owned(), Value::Number(302.0)),
        ("redirect".to_owned(), tc_url.into()),
        ("redirect2".to_owned(), url.as_str().into()),
    ];
    let information = vec![
        ("level".to_owned(), "error".into()),
        ("code".to_owned(), "NetConnection.Connect.Rejected".into()),
        ("description".to_owned(), "RTMP 302 Redirect".into()),
        ("ex".to_owned(), Value::Object(extra)),
    ];
    Command::call("onStatus", 0.0, vec![Value::Object(information)])
}

/// A video message with a payload that names it.
pub(crate) fn video(timestamp: u32, payload: &[u8]) -> Message {
    Message {
        timestamp,
        kind: kind::VIDEO,
        stream_id: 1,
        payload: payload.to_vec(),
    }
}

/// Enough for a machine that is busy with other things.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// One GET, with the status and the body.
pub(crate) async fn get(at: SocketAddr, path: &str) -> (u16, String) {
    talk(
        at,
        &format!("GET {path} HTTP/1.1\r\nHost: {at}\r\nConnection: close\r\n\r\n"),
    )
    .await
}

/// One POST of a JSON body.
pub(crate) async fn post(at: SocketAddr, path: &str, body: &str) -> (u16, String) {
    let length = body.len();
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: {at}\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n"
    );
    talk(at, &format!("{head}{body}")).await
}

/// Sends text, reads to the end, and splits the answer into its status and its body.
pub(crate) async fn talk(at: SocketAddr, request: &str) -> (u16, String) {
    let mut socket = TcpStream::connect(at).await.expect("it listens");
    socket
        .write_all(request.as_bytes())
        .await
        .expect("it reads");
    let mut answer = Vec::new();
    timeout(PATIENCE, socket.read_to_end(&mut answer))
        .await
        .expect("an answer in time")
        .expect("an answer");
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let status = answer
        .split(' ')
        .nth(1)
        .and_then(|status| status.parse().ok())
        .unwrap_or_default();
    let body = answer
        .split_once("\r\n\r\n")
        .map_or("", |(_, body)| body)
        .to_owned();
    (status, body)
}
