//! gst-rtsp-server and live555 as origins, and GStreamer as a player.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use super::machine::{self, Scratch, installed};
use super::program::Program;
use super::{Proxy, proxy};

/// gst-rtsp-server, run by the script beside the tests. It speaks only RTSP.
pub(crate) struct RtspServer {
    name: String,
    at: SocketAddr,
    program: Program,
}

impl RtspServer {
    /// Starts it with additional arguments: mounts to play, mounts to record to, credentials.
    pub(crate) fn start(name: &str, arguments: &[&str]) -> Self {
        let at = SocketAddr::from((Ipv4Addr::LOCALHOST, machine::free_port()));
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/peers/rtsp_server.py");
        // The system's Python, which has the bindings; another one may come first on the path.
        let mut python = Command::new("/usr/bin/python3");
        python
            .arg(script)
            .arg(at.port().to_string())
            .args(arguments);
        let program = Program::start(name, &mut python).abrupt();
        program.wait_line(
            "it listens (`scripts/peers` installs it)",
            PATIENCE,
            |line| (line.text == "listening").then_some(()),
        );
        Self {
            name: name.to_owned(),
            at,
            program,
        }
    }

    /// Keeps it registered with the side program, as an operator would.
    pub(crate) fn register(&self, proxy: &Proxy) -> Program {
        let mut register = proxy::binary();
        register.args(["register", "--server", &self.name, "--ip", "127.0.0.1"]);
        register.args(["--rtsp", &self.at.port().to_string()]);
        register.args(["--to", &format!("http://{}", proxy.system)]);
        register.args(["--while-answers", "--every", "1s"]);
        let program = Program::start("register", &mut register);
        proxy.wait_origin(&self.name);
        program
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn at(&self) -> SocketAddr {
        self.at
    }

    /// Returns when it has decoded `count` frames of what is published to a mount.
    #[track_caller]
    pub(crate) fn wait_recorded(&self, stream: &str, count: usize) {
        let start = format!("recorded {stream} ");
        self.program
            .wait_line(&format!("{count} frames of {stream}"), PATIENCE, |line| {
                let frames: usize = line.text.strip_prefix(&start)?.parse().ok()?;
                (frames >= count).then_some(())
            });
    }

    /// Returns when the publisher of a mount has left.
    #[track_caller]
    pub(crate) fn wait_ended(&self, stream: &str) {
        let words = format!("ended {stream}");
        self.program
            .wait_line(&words, PATIENCE, |line| (line.text == words).then_some(()));
    }

    pub(crate) fn kill(&mut self) {
        self.program.kill();
    }
}

/// The small server on live555 that plays one picture under several names. It speaks only RTSP, and names its own address in
/// every URL that it answers.
pub(crate) struct Live555 {
    at: SocketAddr,
    _program: Program,
    _scratch: Scratch,
}

impl Live555 {
    pub(crate) fn start(name: &str, mounts: &[&str]) -> Self {
        let at = SocketAddr::from((Ipv4Addr::LOCALHOST, machine::free_port()));
        let scratch = Scratch::new(name);
        let picture = scratch.path().join("picture.264");
        let mut ffmpeg = Command::new(installed(&["ffmpeg"]));
        ffmpeg.args(["-hide_banner", "-nostdin", "-loglevel", "error"]);
        ffmpeg.args(["-f", "lavfi", "-i", "testsrc=size=160x120:rate=25"]);
        // Longer than any story; a file ends.
        ffmpeg.args(["-t", "120", "-c:v", "libx264", "-preset", "ultrafast"]);
        ffmpeg.args(["-tune", "zerolatency", "-g", "25", "-pix_fmt", "yuv420p"]);
        ffmpeg.args(["-f", "h264"]).arg(&picture);
        let encoded = ffmpeg.status().expect("ffmpeg starts");
        assert!(encoded.success(), "ffmpeg encodes a picture");
        let mut server = Command::new(machine::peer_file("live555/server"));
        server.arg(at.port().to_string()).arg(picture).args(mounts);
        let program = Program::start(name, &mut server).abrupt();
        program.wait_line("it listens", PATIENCE, |line| {
            (line.text == "listening").then_some(())
        });
        Self {
            at,
            _program: program,
            _scratch: scratch,
        }
    }

    pub(crate) fn port(&self) -> u16 {
        self.at.port()
    }
}

/// Runs GStreamer until it has played `buffers` decoded video buffers of a URL.
#[track_caller]
pub(crate) fn gstreamer_plays(url: &str, protocols: &str, buffers: usize) {
    let mut gstreamer = Command::new(installed(&["gst-launch-1.0"]));
    gstreamer.args([
        "-v",
        "rtspsrc",
        &format!("location={url}"),
        &format!("protocols={protocols}"),
    ]);
    gstreamer.args(["!", "rtph264depay", "!", "decodebin", "!"]);
    gstreamer.args(["identity", "silent=false", &format!("eos-after={buffers}")]);
    gstreamer.args(["!", "fakesink"]);
    let mut program = Program::start("gstreamer", &mut gstreamer).abrupt();
    // Its status does not count: rtspsrc closes its connection and then sometimes complains that it cannot send PAUSE
    // on it.
    program.wait_end(PATIENCE);
    let said = program.output();
    let pictures = said.matches("chain   ******* (identity0:sink)").count();
    // The last buffer is not let through.
    assert!(pictures + 1 >= buffers, "{said}{}", program.errors());
}

/// Pipelines take some time to start on a busy machine.
const PATIENCE: Duration = Duration::from_secs(40);
