//! gst-rtsp-server as an origin, and GStreamer as a player.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use super::machine::{self, installed};
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
