//! What systemd is told (sd_notify(3)), where it started this program and waits for word (`Type=notify`): that clients are
//! served, what is going on, that no thread hangs, that a reload began and ended, and that the end may take a while.
//! Where nobody waits, nothing is sent.

use std::ffi::OsStr;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use sluicegate_core::counted::counted;
use sluicegate_core::fleet::State;
use sluicegate_core::fleet::origin::OriginId;
use tokio::time::{MissedTickBehavior, interval, sleep};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::net::workers::Pulse;
use crate::proxy::Proxy;

/// The way to systemd, or to nobody.
#[derive(Debug, Clone, Default)]
pub struct Systemd(Option<Arc<Waiting>>);

/// Somebody who waits for word.
#[derive(Debug)]
struct Waiting {
    socket: UnixDatagram,
    at: SocketAddr,
    /// How long this program may be silent before it counts as hung.
    watchdog: Option<Duration>,
    /// Reloads follow each other: the end of one must not be taken for that of the next.
    reload: tokio::sync::Mutex<()>,
    /// That nobody listens any more is said once.
    failed: AtomicBool,
}

impl Systemd {
    /// The one that this process's environment names: `NOTIFY_SOCKET`, and `WATCHDOG_USEC` where `WATCHDOG_PID` is this process
    /// or is not set.
    ///
    /// # Errors
    /// A `NOTIFY_SOCKET` that is neither a path nor an abstract name (`@…`), and a system that gives no socket.
    pub fn from_environment() -> io::Result<Self> {
        let Some(name) = std::env::var_os("NOTIFY_SOCKET").filter(|name| !name.is_empty()) else {
            return Ok(Self::default());
        };
        let number = |name| std::env::var(name).ok()?.parse::<u64>().ok();
        let for_us = number("WATCHDOG_PID").is_none_or(|pid| pid == u64::from(std::process::id()));
        let watchdog = number("WATCHDOG_USEC").filter(|micros| *micros > 0 && for_us);
        Self::waiting_at(&name, watchdog.map(Duration::from_micros))
    }

    /// Somebody who waits at `name`, and takes this program for hung when it is silent for as long as `watchdog`.
    ///
    /// # Errors
    /// Those of [`Systemd::from_environment`].
    pub fn waiting_at(name: &OsStr, watchdog: Option<Duration>) -> io::Result<Self> {
        let at = match name.as_bytes() {
            [b'@', rest @ ..] => SocketAddr::from_abstract_name(rest)?,
            [b'/', ..] => SocketAddr::from_pathname(name)?,
            _ => return Err(io::Error::other("neither a path nor an abstract name")),
        };
        let socket = UnixDatagram::unbound()?;
        socket.set_nonblocking(true)?;
        Ok(Self(Some(Arc::new(Waiting {
            socket,
            at,
            watchdog,
            reload: tokio::sync::Mutex::default(),
            failed: AtomicBool::new(false),
        }))))
    }

    /// Says that clients are served, and then, until `end`, what is going on; that no worker hangs; and from `stop` on,
    /// that the end is under way.
    pub async fn keep_told(
        self,
        proxy: Proxy,
        workers: Pulse,
        stop: CancellationToken,
        end: CancellationToken,
    ) {
        let Some(waiting) = self.0 else { return };
        let told = waiting.tell_all(&proxy, &workers, &stop);
        end.run_until_cancelled(told).await;
    }

    /// Does `work`, and tells when it begins and when it is done.
    pub async fn while_reloading<T>(&self, work: impl Future<Output = T>) -> T {
        let Some(waiting) = &self.0 else {
            return work.await;
        };
        let _turn = waiting.reload.lock().await;
        let now = clock_gettime(ClockId::Monotonic);
        // The time tells this reload from an earlier one (Type=notify-reload).
        let micros = now.tv_sec * 1_000_000 + now.tv_nsec / 1_000;
        waiting
            .say(&format!("RELOADING=1\nMONOTONIC_USEC={micros}\n"))
            .await;
        let done = work.await;
        waiting.say("READY=1\n").await;
        done
    }
}

impl Waiting {
    async fn tell_all(&self, proxy: &Proxy, workers: &Pulse, stop: &CancellationToken) {
        let mut told = status(proxy, false);
        self.say(&format!("READY=1\nSTATUS={told}\n")).await;
        let every = self
            .watchdog
            .map_or(LOOK, |watchdog| LOOK.min(watchdog / 2));
        let mut clock = interval(every);
        clock.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut stopping = false;
        loop {
            let mut words = String::new();
            tokio::select! {
                () = stop.cancelled(), if !stopping => {
                    stopping = true;
                    words.push_str("STOPPING=1\n");
                }
                _ = clock.tick() => if self.watchdog.is_some() {
                    // A worker that hangs keeps this waiting, and systemd from hearing of us.
                    workers.felt().await;
                    words.push_str("WATCHDOG=1\n");
                },
            }
            if stopping {
                let micros = STILL_STOPPING.as_micros();
                words.push_str(&format!("EXTEND_TIMEOUT_USEC={micros}\n"));
            }
            let now = status(proxy, stopping);
            if now != told {
                words.push_str(&format!("STATUS={now}\n"));
                told = now;
            }
            if !words.is_empty() {
                self.say(&words).await;
            }
        }
    }

    /// Sends `words`, each assignment on a line of its own. A full queue is waited for a while.
    async fn say(&self, words: &str) {
        let mut tries = TRIES;
        let sent = loop {
            match self.socket.send_to_addr(words.as_bytes(), &self.at) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock && tries > 0 => {
                    tries -= 1;
                    sleep(RETRY).await;
                }
                sent => break sent,
            }
        };
        if let Err(error) = sent
            && !self.failed.swap(true, Ordering::Relaxed)
        {
            warn!(%error, "systemd waits for word (NOTIFY_SOCKET) and cannot be told");
        }
    }
}

/// What `systemctl status` shows.
fn status(proxy: &Proxy, stopping: bool) -> String {
    let left = proxy.left();
    let origins = proxy.registry().origins();
    let is_up = |id: &OriginId| proxy.registry().state(id) == Some(State::Up);
    let up = origins.iter().filter(|(id, _)| is_up(id)).count();
    let doing = if stopping {
        "stopping: "
    } else if proxy.is_draining() {
        "draining: "
    } else {
        ""
    };
    format!(
        "{doing}{}, {}, {up} of {} up",
        counted(left.publishers, "publisher"),
        counted(left.players, "player"),
        counted(origins.len(), "origin")
    )
}

/// How often the status is looked at, where the watchdog does not want to hear of us more often.
const LOOK: Duration = Duration::from_secs(5);
/// While the end is under way, systemd hears of it at each [`LOOK`] and waits this much longer.
const STILL_STOPPING: Duration = Duration::from_secs(15);
/// How often a full queue is tried again: for a second in all.
const TRIES: u32 = 50;
const RETRY: Duration = Duration::from_millis(20);

#[cfg(test)]
mod tests {
    use super::*;

    fn heard(socket: &UnixDatagram) -> String {
        let mut words = [0; 1024];
        let length = socket.recv(&mut words).unwrap();
        String::from_utf8(words[..length].to_vec()).unwrap()
    }

    #[tokio::test]
    async fn a_reload_is_told_with_its_time_when_it_begins_and_when_it_ends() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let systemd = UnixDatagram::bind(&path).unwrap();
        let way = Systemd::waiting_at(path.as_os_str(), None).unwrap();
        let begun = way.while_reloading(async { heard(&systemd) }).await;
        let micros = begun
            .strip_prefix("RELOADING=1\nMONOTONIC_USEC=")
            .and_then(|rest| rest.trim_end().parse::<u64>().ok());
        assert!(micros.is_some_and(|micros| micros > 0), "{begun}");
        assert_eq!(heard(&systemd), "READY=1\n");
    }

    #[tokio::test]
    async fn an_abstract_name_is_reached_too() {
        let name = format!("sluicegate-test-{}", std::process::id());
        let at = SocketAddr::from_abstract_name(&name).unwrap();
        let systemd = UnixDatagram::bind_addr(&at).unwrap();
        let way = Systemd::waiting_at(format!("@{name}").as_ref(), None).unwrap();
        way.while_reloading(async {}).await;
        assert!(heard(&systemd).starts_with("RELOADING=1\n"));
        assert_eq!(heard(&systemd), "READY=1\n");
    }

    #[tokio::test]
    async fn nobody_who_waits_and_nobody_who_listens_are_no_trouble() {
        assert_eq!(Systemd::default().while_reloading(async { 7 }).await, 7);
        let gone = Systemd::waiting_at("/nonexistent/notify".as_ref(), None).unwrap();
        assert_eq!(gone.while_reloading(async { 7 }).await, 7);
        for wrong in ["vsock:2:1234", "notify"] {
            assert!(
                Systemd::waiting_at(wrong.as_ref(), None).is_err(),
                "{wrong}"
            );
        }
    }
}
