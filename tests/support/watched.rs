//! Players that are watched: how far they come, and what they cannot bear. ffmpeg, mpv, VLC, and pages in a browser.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::ffmpeg::Player;
use super::machine::{self, installed};
use super::page::Page;
use super::program::Program;
use super::wait_for;

/// A player, seen from outside.
pub(crate) trait Watched {
    /// Where it was in the stream, and when. It grows with each picture, or several times a second.
    fn places(&self) -> Vec<(Instant, f64)>;
    /// Why it does not play on, where it says so.
    fn problem(&mut self) -> Option<String>;
}

impl Watched for Player {
    fn places(&self) -> Vec<(Instant, f64)> {
        let frames = self.decoded().into_iter().zip(1_u32..);
        frames
            .map(|(frame, number)| (frame.at, f64::from(number)))
            .collect()
    }

    fn problem(&mut self) -> Option<String> {
        (!self.is_running()).then(|| self.wait_end().errors)
    }
}

impl Watched for Page {
    fn places(&self) -> Vec<(Instant, f64)> {
        let shown = self.browser.all_shown();
        let places = shown
            .into_iter()
            .map(|(at, shown)| Some((at, shown["time"].as_f64()?)));
        places.flatten().collect()
    }

    fn problem(&mut self) -> Option<String> {
        let shown = self.browser.all_shown();
        shown
            .iter()
            .find_map(|(_, shown)| Some(shown["problem"].as_str()?.to_owned()))
    }
}

/// mpv, without a screen or a loudspeaker.
pub(crate) struct Mpv(Program);

impl Mpv {
    pub(crate) fn open(url: &str) -> Self {
        let mut mpv = Command::new(player("mpv"));
        let times = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/peers/mpv_times.lua");
        mpv.args([
            "--no-config",
            "--vo=null",
            "--ao=null",
            "--msg-level=all=warn",
        ]);
        mpv.arg(format!("--script={}", times.display())).arg(url);
        Self(Program::start("mpv", &mut mpv).abrupt())
    }
}

impl Watched for Mpv {
    fn places(&self) -> Vec<(Instant, f64)> {
        let lines = self.0.lines();
        let places = lines.iter().map(|line| {
            let time = line.text.strip_prefix("time ")?;
            Some((line.at, time.parse().ok()?))
        });
        places.flatten().collect()
    }

    fn problem(&mut self) -> Option<String> {
        (!self.0.is_running()).then(|| self.0.errors() + &self.0.output())
    }
}

/// VLC, without a screen or a loudspeaker, as a user who is not root: it refuses that one.
pub(crate) struct Vlc {
    program: Program,
    places: Arc<Mutex<Vec<(Instant, f64)>>>,
}

impl Vlc {
    pub(crate) fn open(url: &str) -> Self {
        let control = SocketAddr::from(([127, 0, 0, 1], machine::free_port()));
        let vlc = player("vlc");
        let is_root = std::fs::metadata("/proc/self").is_ok_and(|ours| ours.uid() == 0);
        let mut command = if is_root {
            let mut command = Command::new(installed(&["setpriv"]));
            command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]);
            command.arg(vlc);
            command
        } else {
            Command::new(vlc)
        };
        let control_at = format!("--rc-host={control}");
        command.args(["--intf", "oldrc", "--rc-fake-tty", &control_at]);
        command.args(["--vout", "dummy", "--aout", "dummy", "--no-color"]);
        command.arg(url).env("HOME", "/tmp").current_dir("/");
        let program = Program::start("vlc", &mut command).abrupt();
        let socket = wait_for("VLC takes commands", STARTS, || {
            TcpStream::connect(control).ok()
        });
        let places = Arc::<Mutex<Vec<_>>>::default();
        let notes = Arc::clone(&places);
        let mut commands = socket.try_clone().expect("a socket");
        // Both threads end with the program, and so with the connection.
        std::thread::spawn(move || {
            while commands.write_all(b"stats\n").is_ok() {
                std::thread::sleep(Duration::from_millis(100));
            }
        });
        std::thread::spawn(move || {
            for line in BufReader::new(socket).lines().map_while(Result::ok) {
                if let Some((_, count)) = line.split_once("frames displayed :")
                    && let Ok(count) = count.trim().parse()
                {
                    notes.lock().expect("a test").push((Instant::now(), count));
                }
            }
        });
        Self { program, places }
    }
}

impl Watched for Vlc {
    fn places(&self) -> Vec<(Instant, f64)> {
        self.places.lock().expect("a test").clone()
    }

    fn problem(&mut self) -> Option<String> {
        (!self.program.is_running()).then(|| self.program.errors())
    }
}

/// A player that only the long stories need.
fn player(name: &str) -> std::path::PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).map(|folder| folder.join(name));
    let mut found = found.filter(|path| path.is_file());
    found
        .next()
        .unwrap_or_else(|| panic!("{name} is missing; `scripts/peers players` installs it"))
}

const STARTS: Duration = Duration::from_secs(30);
