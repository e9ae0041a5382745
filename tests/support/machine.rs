//! What stories share: ports, folders, programs, and turns to have the machine alone.

use std::fs::{self, File};
use std::net::{TcpListener, UdpSocket};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};

/// A turn on the machine; it ends with the value.
#[must_use]
pub(crate) struct Turn(#[expect(dead_code, reason = "the lock lives as long as the file")] File);

/// A turn beside other stories: what every story takes first.
pub(crate) fn share() -> Turn {
    let turns = lock_file("turns.lock");
    // A story that waits for a turn alone holds the gate; otherwise it would wait until no story is left to run.
    let gate = lock_file("gate.lock");
    gate.lock_shared()
        .and_then(|()| turns.lock_shared())
        .expect("locks on files of ours");
    Turn(turns)
}

/// A turn alone, for a story that measures time.
pub(crate) fn alone() -> Turn {
    let turns = lock_file("turns.lock");
    let gate = lock_file("gate.lock");
    gate.lock()
        .and_then(|()| turns.lock())
        .expect("locks on files of ours");
    Turn(turns)
}

/// A port of 127.0.0.1 that is free over TCP and UDP, and that no other process gets while this process lives: neither
/// before its server has started, nor while the server restarts. It is outside the range that the system hands out by
/// itself, and test processes that run at the same time take their ports from different blocks.
pub(crate) fn free_port() -> u16 {
    static OURS: Mutex<Ours> = Mutex::new(Ours {
        left: 0..0,
        next: FIRST_PORT,
        locks: Vec::new(),
    });
    let mut ours = OURS.lock().unwrap_or_else(PoisonError::into_inner);
    loop {
        let port = ours.left.next().unwrap_or_else(|| ours.another_block());
        let is_free = TcpListener::bind(("127.0.0.1", port)).is_ok()
            && UdpSocket::bind(("127.0.0.1", port)).is_ok();
        if is_free {
            return port;
        }
    }
}

/// The ports of this process.
struct Ours {
    /// What is left of the last block.
    left: Range<u16>,
    /// Where the next block begins.
    next: u16,
    /// The blocks, until the process ends.
    locks: Vec<File>,
}

impl Ours {
    /// Locks the next block that no process has, and returns its first port.
    fn another_block(&mut self) -> u16 {
        let folder = std::env::temp_dir().join("sluicegate-test-ports");
        fs::create_dir_all(&folder).expect("a folder for temporary files");
        while self.next < LAST_PORT {
            let first = self.next;
            self.next += BLOCK;
            let path = folder.join(first.to_string());
            // A block of another user counts as taken.
            let block = File::options().create(true).append(true).open(path).ok();
            if let Some(block) = block.filter(|block| block.try_lock().is_ok()) {
                self.locks.push(block);
                self.left = first + 1..self.next;
                return first;
            }
        }
        panic!("no port is free between {FIRST_PORT} and {LAST_PORT}");
    }
}

/// Whether a program listens on the port, checked without a connection: some servers accept only one.
pub(crate) fn is_listening(port: u16) -> bool {
    has_socket("/proc/net/tcp", port, "0A")
}

/// Whether a program receives datagrams on the port.
pub(crate) fn takes_datagrams(port: u16) -> bool {
    has_socket("/proc/net/udp", port, "07")
}

/// Whether a table of the system has a socket on the port in this state: 0A is LISTEN, 07 a datagram socket without a
/// peer.
fn has_socket(table: &str, port: u16, state: &str) -> bool {
    // `sl local_address rem_address st …` in hexadecimal.
    let local = format!(":{port:04X}");
    let table = fs::read_to_string(table).unwrap_or_default();
    table.lines().any(|line| {
        let mut fields = line.split_whitespace().skip(1);
        fields
            .next()
            .is_some_and(|address| address.ends_with(&local))
            && fields.nth(1) == Some(state)
    })
}

/// A folder that is removed with the value.
pub(crate) struct Scratch(PathBuf);

impl Scratch {
    /// An empty folder; `name` helps to recognise it after a crash.
    pub(crate) fn new(name: &str) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = scratch_root().join(format!("{name}-{}-{number}", std::process::id()));
        fs::create_dir_all(&path).expect("a folder in cargo's own temporary folder");
        Self(path)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// Writes a file into the folder and returns its path.
    pub(crate) fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.join(name);
        fs::write(&path, text).expect("a file in a folder of ours");
        path
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // A program that exits slowly may still write into the folder; what is left over is in the target folder.
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Cargo's folder for the temporary files of integration tests.
pub(crate) fn scratch_root() -> &'static Path {
    Path::new(env!("CARGO_TARGET_TMPDIR"))
}

/// The first of `names` that is on the search path.
///
/// # Panics
/// When none is there: a story must not pass because its peer is missing.
pub(crate) fn installed(names: &[&str]) -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    // Daemons are in sbin, which is not on every user's path.
    let folders: Vec<PathBuf> = std::env::split_paths(&path)
        .chain(["/usr/sbin".into()])
        .collect();
    let found = names
        .iter()
        .flat_map(|name| folders.iter().map(move |folder| folder.join(name)));
    found
        .into_iter()
        .find(|path| path.is_file())
        .unwrap_or_else(|| missing(names[0]))
}

/// A file that `scripts/peers` puts into the project's own folder.
pub(crate) fn peer_file(path: &str) -> PathBuf {
    let path = peers_folder().join(path);
    if path.is_file() {
        path
    } else {
        missing(&path.display().to_string())
    }
}

/// The same for `scripts/peers players`, which has what only long stories need.
pub(crate) fn player_file(path: &str) -> PathBuf {
    let path = peers_folder().join("players").join(path);
    assert!(
        path.is_file(),
        "{} is missing; `scripts/peers players` installs it",
        path.display()
    );
    path
}

fn peers_folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(".peers")
}

fn missing(what: &str) -> ! {
    panic!("{what} is missing; `scripts/peers` installs it")
}

fn lock_file(name: &str) -> File {
    let path = scratch_root().join(name);
    File::options()
        .create(true)
        .append(true)
        .open(path)
        .expect("a file in cargo's temporary folder")
}

const FIRST_PORT: u16 = 21_000;
const LAST_PORT: u16 = 32_000;
/// Ports that a process reserves at a time.
const BLOCK: u16 = 50;
