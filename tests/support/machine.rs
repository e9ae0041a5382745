//! What stories share: ports, folders, programs, and turns of having the machine alone.

use std::fs::{self, File};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

/// A turn on the machine; it ends with the value.
#[must_use]
pub(crate) struct Turn(#[expect(dead_code, reason = "the lock lives as long as the file")] File);

/// A turn beside other stories: what every story takes first.
pub(crate) fn share() -> Turn {
    let turns = lock_file("turns.lock");
    // Whoever waits for a turn alone holds the gate, and would else wait until nobody has anything left to run.
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

/// A TCP port of 127.0.0.1 that nobody listens on. It is outside the range the system hands out by itself, so
/// that it is still free a moment later.
pub(crate) fn free_port() -> u16 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    // Test processes that run at the same time start at different places.
    let start = std::process::id().wrapping_mul(97);
    for _ in 0..PORTS {
        let step = NEXT.fetch_add(1, Ordering::Relaxed);
        let offset = u16::try_from(start.wrapping_add(step) % PORTS).expect("less than PORTS");
        let port = FIRST_PORT + offset;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
    panic!(
        "no port is free between {FIRST_PORT} and {}",
        u32::from(FIRST_PORT) + PORTS
    );
}

/// Somebody listens on the port, found out without a connection: some servers take only one.
pub(crate) fn is_listening(port: u16) -> bool {
    has_socket("/proc/net/tcp", port, "0A")
}

/// Somebody takes datagrams on the port.
pub(crate) fn takes_datagrams(port: u16) -> bool {
    has_socket("/proc/net/udp", port, "07")
}

/// A table of the system's has a socket on the port in this state: 0A is LISTEN, 07 a datagram socket without a peer.
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
    /// An empty folder; `name` helps whoever looks into it after a crash.
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
        // A program that dies slowly may still write into it; what is left over is in the target folder.
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
/// When none is there: a story does not pass because its peer is missing.
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
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join(".peers")
        .join(path);
    if path.is_file() {
        path
    } else {
        missing(&path.display().to_string())
    }
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
const PORTS: u32 = 11_000;
