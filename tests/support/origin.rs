//! Real media servers as origins, and the side program that registers them.

use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use super::machine::{self, Scratch};
use super::program::Program;
use super::proxy::{self, Proxy};
use super::wait_for;

/// A media server that runs, as the proxy gets to know it.
pub(crate) trait Origin {
    /// The server id it registers under.
    fn name(&self) -> &str;
    fn rtmp(&self) -> SocketAddr;
    /// The address of HTTP-FLV, if the server has it.
    fn http(&self) -> Option<SocketAddr>;
    /// Whether it holds, or held, a publisher of `app/stream`, according to its own log.
    fn was_published(&self, stream: &str) -> bool;

    /// The address of a stream on the origin itself.
    fn rtmp_url(&self, stream: &str) -> String {
        format!("rtmp://{}/{stream}", self.rtmp())
    }

    /// The body of a registration, for origins that a story registers itself.
    fn registration(&self) -> serde_json::Value {
        let http: Vec<String> = self
            .http()
            .iter()
            .map(|address| address.port().to_string())
            .collect();
        // A server that gives one address for both speaks only HTTP.
        let rtmp: Vec<String> = Some(self.rtmp())
            .filter(|rtmp| self.http() != Some(*rtmp))
            .iter()
            .map(|address| address.port().to_string())
            .collect();
        serde_json::json!({
            "ip": "127.0.0.1", "server": self.name(), "service": "by-hand", "pid": "1",
            "rtmp": rtmp, "http": http,
        })
    }
}

/// nginx with its RTMP module: RTMP only, unless it packages.
pub(crate) struct NginxRtmp {
    name: String,
    rtmp: SocketAddr,
    /// The address at which it serves what it packages, if it packages.
    http: Option<SocketAddr>,
    scratch: Scratch,
    program: Program,
}

/// node-media-server: RTMP and HTTP-FLV, a new player starts with the last keyframe.
pub(crate) struct NodeMediaServer {
    name: String,
    rtmp: SocketAddr,
    http: SocketAddr,
    program: Program,
    _scratch: Scratch,
}

/// `sluicegate register --while-answers` beside an origin. When it ends, the origin stops reporting.
pub(crate) struct Registrar {
    program: Program,
}

impl NginxRtmp {
    pub(crate) fn start(name: &str) -> Self {
        Self::with(name, "")
    }

    /// A server with additional directives for its application `live`.
    pub(crate) fn with(name: &str, directives: &str) -> Self {
        Self::build(name, directives, None)
    }

    /// A server that also packages HLS and DASH, in segments of a second, and serves both.
    pub(crate) fn packaging(name: &str) -> Self {
        let http = SocketAddr::from((Ipv4Addr::LOCALHOST, machine::free_port()));
        Self::build(name, "", Some(http))
    }

    /// A server that packages HLS with a folder for each stream, as in `live/a/index.m3u8`.
    pub(crate) fn in_folders(name: &str) -> Self {
        let http = SocketAddr::from((Ipv4Addr::LOCALHOST, machine::free_port()));
        Self::build(name, "hls_nested on;", Some(http))
    }

    fn build(name: &str, directives: &str, http: Option<SocketAddr>) -> Self {
        let rtmp = SocketAddr::from((Ipv4Addr::LOCALHOST, machine::free_port()));
        let scratch = Scratch::new(name);
        let (mut packaging, mut serving) = (String::new(), String::new());
        if let Some(http) = http {
            // The module needs a folder for each format; in URLs they are one.
            let [hls, dash] = ["hls", "dash"].map(|format| scratch.path().join(format));
            for root in [&hls, &dash] {
                std::fs::create_dir_all(root.join("live")).expect("a folder in ours");
            }
            let (hls, dash) = (hls.display(), dash.display());
            packaging = format!(
                "hls on; hls_path {hls}/live; hls_fragment 1s; hls_playlist_length 8s; \
                 dash on; dash_path {dash}/live; dash_fragment 1s; dash_playlist_length 8s;"
            );
            serving = format!(
                "http {{ {SERVING} server {{ listen {http}; root {hls}; \
                 location ~ [.](mpd|m4v|m4a)$ {{ root {dash}; }} }} }}\n"
            );
        }
        let module = NGINX_MODULES.iter().find(|path| Path::new(path).is_file());
        let module = module.map_or_else(
            || machine::installed(&["ngx_rtmp_module.so"]),
            |path| path.into(),
        );
        // The default chunk size, so that what passes is what operators run.
        scratch.write(
            "nginx.conf",
            &format!(
                "load_module {};\n\
                 daemon off; master_process off; user root; pid nginx.pid;\n\
                 error_log stderr info;\n\
                 events {{ worker_connections 512; }}\n\
                 rtmp {{ access_log off; server {{ listen {rtmp}; application live {{ live on; {directives} {packaging} }} }} }}\n{serving}",
                module.display()
            ),
        );
        let program = Self::run(name, scratch.path(), rtmp);
        Self {
            name: name.to_owned(),
            rtmp,
            http,
            scratch,
            program,
        }
    }

    /// Kills it and starts another process on the same port, as a supervisor does after a crash.
    pub(crate) fn restart(&mut self) {
        self.program.kill();
        self.program = Self::run(&self.name, self.scratch.path(), self.rtmp);
    }

    /// How many players of `app/stream` it has had, according to its log.
    pub(crate) fn plays(&self, stream: &str) -> usize {
        let (_, name) = stream.split_once('/').expect("app/stream");
        let line = format!("play: name='{name}'");
        let errors = self.program.errors();
        errors.lines().filter(|found| found.contains(&line)).count()
    }

    /// When each publisher came to the process that runs now, according to its log.
    pub(crate) fn published_at(&self) -> Vec<Instant> {
        let lines = self.program.lines().into_iter();
        let published = lines.filter(|line| line.text.contains(" publish: name='"));
        published.map(|line| line.at).collect()
    }

    /// Ends the process, so that the port is closed.
    pub(crate) fn kill(&mut self) {
        self.program.kill();
    }

    /// Stops the process without ending it: its port still accepts connections, and nothing answers.
    pub(crate) fn freeze(&self) {
        self.program.signal("STOP");
    }

    fn run(name: &str, folder: &Path, rtmp: SocketAddr) -> Program {
        let mut nginx = Command::new(machine::installed(&["nginx"]));
        nginx
            .arg("-p")
            .arg(folder)
            .args(["-c", "nginx.conf", "-e", "stderr"]);
        listening(Program::start(name, &mut nginx).abrupt(), rtmp)
    }
}

impl Origin for NginxRtmp {
    fn name(&self) -> &str {
        &self.name
    }

    fn rtmp(&self) -> SocketAddr {
        self.rtmp
    }

    fn http(&self) -> Option<SocketAddr> {
        self.http
    }

    fn was_published(&self, stream: &str) -> bool {
        let (_, name) = stream.split_once('/').expect("app/stream");
        self.program
            .errors()
            .lines()
            .any(|line| line.contains(&format!("publish: name='{name}'")))
    }
}

impl NodeMediaServer {
    pub(crate) fn start(name: &str) -> Self {
        Self::with(name, &[])
    }

    /// A server with additional command line arguments.
    pub(crate) fn with(name: &str, arguments: &[&str]) -> Self {
        let [rtmp, http] = [machine::free_port(), machine::free_port()]
            .map(|port| SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
        let scratch = Scratch::new(name);
        // The server rewrites its settings file and puts its data beside it, so it gets a file of its own.
        let config = scratch.write(
            "config.json",
            &serde_json::json!({
                "bind": "127.0.0.1", "rtmp": {"port": rtmp.port()}, "http": {"port": http.port()},
                "store": {"path": "./data"},
            })
            .to_string(),
        );
        let mut node = Command::new(machine::installed(&["node", "nodejs"]));
        node.arg(machine::peer_file(
            "node_modules/node-media-server/bin/app.js",
        ));
        node.arg("--config")
            .arg(config)
            .arg("--no-admin")
            .args(arguments)
            .current_dir(scratch.path());
        let program = listening(Program::start(name, &mut node).abrupt(), rtmp);
        let program = listening(program, http);
        Self {
            name: name.to_owned(),
            rtmp,
            http,
            program,
            _scratch: scratch,
        }
    }

    /// The address of a stream on the origin itself, by HTTP-FLV.
    pub(crate) fn flv_url(&self, stream: &str) -> String {
        format!("http://{}/{stream}.flv", self.http)
    }
}

impl Origin for NodeMediaServer {
    fn name(&self) -> &str {
        &self.name
    }

    fn rtmp(&self) -> SocketAddr {
        self.rtmp
    }

    fn http(&self) -> Option<SocketAddr> {
        Some(self.http)
    }

    fn was_published(&self, stream: &str) -> bool {
        self.program
            .output()
            .lines()
            .any(|line| line.ends_with(&format!("start push /{stream}")))
    }
}

impl Registrar {
    /// Registers `origin` every second while it answers; returns when the proxy knows it.
    pub(crate) fn start(proxy: &Proxy, origin: &dyn Origin) -> Self {
        let registrar = Self::spawn(proxy, origin, origin.http(), None);
        proxy.wait_origin(origin.name());
        registrar
    }

    /// Registers only the origin's RTMP.
    pub(crate) fn rtmp_only(proxy: &Proxy, origin: &dyn Origin) -> Self {
        let registrar = Self::spawn(proxy, origin, None, None);
        proxy.wait_origin(origin.name());
        registrar
    }

    /// Registers the origin's RTMP, and a server for SRT beside it.
    pub(crate) fn rtmp_and_srt(proxy: &Proxy, origin: &dyn Origin, srt: u16) -> Self {
        let registrar = Self::spawn(proxy, origin, None, Some(srt));
        proxy.wait_origin(origin.name());
        registrar
    }

    fn spawn(
        proxy: &Proxy,
        origin: &dyn Origin,
        http: Option<SocketAddr>,
        srt: Option<u16>,
    ) -> Self {
        let mut register = proxy::binary();
        register.args(["register", "--server", origin.name(), "--ip", "127.0.0.1"]);
        register.args(["--rtmp", &origin.rtmp().port().to_string()]);
        if let Some(http) = http {
            register.args(["--http", &http.port().to_string()]);
        }
        if let Some(srt) = srt {
            register.args(["--srt", &srt.to_string()]);
        }
        register.args([
            "--to",
            &format!("http://{}", proxy.system),
            "--while-answers",
            "--every",
            "1s",
        ]);
        Self {
            program: Program::start("register", &mut register),
        }
    }

    /// Returns when its first report was accepted.
    #[track_caller]
    pub(crate) fn wait_taken(&self) {
        self.program
            .wait_line("its first report is taken", STARTS, |line| {
                line.text.contains(" is registered at ").then_some(())
            });
    }

    pub(crate) fn program(&mut self) -> &mut Program {
        &mut self.program
    }
}

/// Returns when a server answers at `address`.
#[track_caller]
pub(super) fn listening(mut program: Program, address: SocketAddr) -> Program {
    wait_for(&format!("{address} is open"), STARTS, || {
        if let Ok(stream) = TcpStream::connect(address) {
            drop(stream);
            return Some(());
        }
        assert!(
            program.is_running(),
            "ended at once: {}{}",
            program.output(),
            program.errors()
        );
        None
    });
    program
}

/// How nginx serves what its RTMP module packages.
const SERVING: &str = "access_log off; types { application/vnd.apple.mpegurl m3u8; video/mp2t ts; \
application/dash+xml mpd; video/mp4 m4v; audio/mp4 m4a; }";

/// Where distributions put nginx's RTMP module.
const NGINX_MODULES: [&str; 3] = [
    "/usr/lib/nginx/modules/ngx_rtmp_module.so",
    "/usr/lib64/nginx/modules/ngx_rtmp_module.so",
    "/usr/share/nginx/modules/ngx_rtmp_module.so",
];
const STARTS: Duration = Duration::from_secs(30);
