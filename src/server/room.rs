//! How many clients there are file descriptors for.
//!
//! A connection takes two, one for its origin side. Of the viewers that share a pull, the first gives the second to the pull, and
//! the others leave it. Some are left for the system API: without them a flood would end in failing dials, and origins that
//! cannot report.

use rustix::process::{Resource, getrlimit};
use tokio::sync::Semaphore;

use crate::config::Settings;
use crate::net::accept::{OF_A_CONNECTION, Room};

/// The room for clients: as far as there are descriptors, or for all sessions and some connections beside them.
pub(super) fn of_clients(settings: &Settings) -> Room {
    let by_descriptors = for_clients(settings);
    let by_sessions = OF_A_CONNECTION * (settings.session.max + SPARE_CONNECTIONS);
    if by_descriptors < by_sessions {
        let more = "more file descriptors (ulimit -Hn, LimitNOFILE=)";
        Room::new(by_descriptors, more)
    } else {
        Room::new(by_sessions, "a higher session.max")
    }
}

/// The room for connections of the system API.
pub(super) fn of_system() -> Room {
    Room::new(
        OF_A_CONNECTION * SYSTEM_CONNECTIONS,
        "fewer connections at once to the system API",
    )
}

/// How many sessions there are descriptors for, an origin side for each, if they are fewer than may be.
pub fn too_little(settings: &Settings) -> Option<usize> {
    let sessions = for_clients(settings) / OF_A_CONNECTION;
    (sessions < settings.session.max).then_some(sessions)
}

/// Descriptors that media over UDP may take in RTSP.
pub(super) fn for_datagrams() -> usize {
    spare() / UDP_SHARE
}

/// Descriptors for public connections and their origin sides.
fn for_clients(settings: &Settings) -> usize {
    let datagrams = match settings.rtsp.udp_ports {
        Some(_) => for_datagrams(),
        None => 0,
    };
    (spare() - datagrams).clamp(LEAST, Semaphore::MAX_PERMITS)
}

/// Descriptors for connections and datagrams.
fn spare() -> usize {
    let limit = getrlimit(Resource::Nofile)
        .current
        .and_then(|limit| usize::try_from(limit).ok());
    limit
        .unwrap_or(usize::MAX)
        .saturating_sub(SYSTEM_CONNECTIONS + OWN_DESCRIPTORS)
}

/// Connections beyond the sessions: requests that are not one yet, pages, health checks.
const SPARE_CONNECTIONS: usize = 512;
/// Connections of the system API at once: a thousand origins report in short ones.
const SYSTEM_CONNECTIONS: usize = 256;
/// Listeners, the runtime, log and lookups.
const OWN_DESCRIPTORS: usize = 64;
/// One descriptor in `UDP_SHARE` is for media over UDP, where that is served.
const UDP_SHARE: usize = 4;
/// However few descriptors there are, something is tried.
const LEAST: usize = 32;
