//! One origin to try, and why that may fail.

use std::fmt;
use std::io;
use std::time::Duration;

use rustix::io::Errno;
use sluicegate_core::dialect::{Naming, Unsayable};
use sluicegate_core::fleet::origin::{OriginId, Target};
use sluicegate_core::place::redirect::place_of;
use sluicegate_core::stream::Service;

use crate::registry::Registry;

/// One origin to try.
#[derive(Debug, Clone)]
pub struct Attempt {
    /// Its name.
    pub origin: OriginId,
    /// What its operator calls it.
    pub label: String,
    /// What it is asked for.
    pub service: Service,
    /// What to dial.
    pub target: Target,
    /// How it is asked for a stream.
    pub naming: Naming,
    /// How long it has to send its first byte.
    pub time_limit: Duration,
    /// It wants RTMP commands one by one.
    pub step_by_step: bool,
}

impl Attempt {
    /// An origin where it is registered, if it has the service.
    pub fn of(
        registry: &Registry,
        origin: &OriginId,
        service: Service,
        time_limit: Duration,
    ) -> Option<Self> {
        let target = registry.target(origin, service)?;
        Some(Self::at(registry, origin, service, target, time_limit))
    }

    /// An origin at a place where it was before: since then it may have been registered elsewhere, or be known to
    /// another proxy only.
    pub fn at(
        registry: &Registry,
        origin: &OriginId,
        service: Service,
        target: Target,
        time_limit: Duration,
    ) -> Self {
        let known = registry.of_member(origin, |member| {
            let naming = member.origin.attributes.naming.clone();
            (
                member.origin.label().to_owned(),
                naming,
                member.step_by_step,
            )
        });
        let (label, naming, step_by_step) = known.unwrap_or_default();
        Self {
            origin: origin.clone(),
            label,
            service,
            target,
            naming,
            time_limit,
            step_by_step,
        }
    }

    /// The place that a URL names to which the origin sends a client, as `host:port`. A path alone is at the origin itself.
    pub(crate) fn place_of(&self, url: &str) -> Option<String> {
        match url.starts_with('/') {
            true => Some(self.target.to_string()),
            false => place_of(url, self.service),
        }
    }

    /// The place that the origin sends this request to, as `host:port`, where another origin of the fleet is there. Clients
    /// never see that place.
    pub fn moved_within(
        &self,
        registry: &Registry,
        status: u16,
        location: Option<&str>,
    ) -> Option<String> {
        let moves = matches!(status, 301 | 302 | 303 | 307 | 308);
        let place = place_of(location.filter(|_| moves)?, self.service)?;
        let there = registry.at(self.service, &place)?;
        (there != self.origin).then_some(place)
    }

    /// What settings may call the origin.
    pub(crate) fn names(&self) -> [&str; 2] {
        [self.origin.as_str(), &self.label]
    }
}

impl From<Unsayable> for DialError {
    fn from(why: Unsayable) -> Self {
        Self::Refused(why.to_string())
    }
}

/// Why an attempt did not end in a joined session.
#[derive(Debug)]
pub enum DialError {
    /// The origin answered, and the answer is no because the stream has a publisher. That may be one that has left, which
    /// the origin has not noticed.
    Busy(String),
    /// The origin accepted the connection and closed it without a word, as one does that is gone behind a balancer: the next
    /// candidate may do better.
    Closed(String),
    /// This machine has no descriptor, port or memory left for a connection: no origin is to blame.
    Exhausted(String),
    /// The origin could not be reached, or answered nonsense: the next candidate may do better.
    Failed(String),
    /// The origin speaks, and closes the connection when it hears what the client wants, or answers nothing that can be
    /// passed on. The next candidate may do better, but the origin is alive: a client that every origin hangs up on must
    /// not make them all look dead.
    HungUp(String),
    /// The origin names another place for the stream.
    Moved {
        /// The place, as `host:port`.
        place: String,
        /// It is to be asked for something else there, which only this client was told.
        for_one: bool,
    },
    /// The origin answered, and the answer is no.
    Refused(String),
    /// The origin said nothing in its time.
    Silent(String),
    /// As [`Busy`](Self::Busy), and the client has heard that no, so that only its next request can do better.
    Taken(String),
    /// The origin lives, and its answer took longer than the client may wait: no other would be faster, and nobody is to
    /// blame.
    Slow(String),
}

impl DialError {
    /// What happened, in words.
    pub(crate) fn into_words(self) -> String {
        match self {
            Self::Moved { place, .. } => format!("it names {place} for the stream"),
            Self::Busy(words)
            | Self::Closed(words)
            | Self::Exhausted(words)
            | Self::Failed(words)
            | Self::HungUp(words)
            | Self::Refused(words)
            | Self::Silent(words)
            | Self::Slow(words)
            | Self::Taken(words) => words,
        }
    }

    /// What a socket that cannot be had means for a candidate.
    pub(crate) fn of_socket(error: &io::Error) -> Self {
        if is_ours(error) {
            Self::Exhausted(error.to_string())
        } else {
            Self::Failed(error.to_string())
        }
    }

    /// What a connection to `target` that failed means for a candidate.
    pub(super) fn of_connect(target: &Target, error: &io::Error) -> Self {
        if is_ours(error) {
            Self::Exhausted(error.to_string())
        } else if error.kind() == io::ErrorKind::TimedOut {
            Self::Silent(format!("{target}: {error}"))
        } else {
            Self::Failed(format!("{target}: {error}"))
        }
    }
}

impl fmt::Display for Attempt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at {}", self.origin, self.target)
    }
}

/// Whether an error says that this machine ran out of something, and nothing about the origin.
fn is_ours(error: &io::Error) -> bool {
    let ran_out = [
        Errno::MFILE,
        Errno::NFILE,
        Errno::NOBUFS,
        Errno::NOMEM,
        Errno::ADDRNOTAVAIL,
    ];
    error
        .raw_os_error()
        .is_some_and(|code| ran_out.iter().any(|errno| errno.raw_os_error() == code))
}
