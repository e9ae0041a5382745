//! One origin to try, and why that may fail.

use std::fmt;
use std::time::Duration;

use sluicegate_core::fleet::origin::{OriginId, Target};

/// One origin to try.
#[derive(Debug, Clone)]
pub struct Attempt {
    /// Its name.
    pub origin: OriginId,
    /// What its operator calls it.
    pub label: String,
    /// What to dial.
    pub target: Target,
    /// How long it has to send its first byte.
    pub patience: Duration,
    /// It wants RTMP commands one by one.
    pub step_by_step: bool,
    /// A no is to be reported as [`DialError::Refused`], since there may be a better answer, and not to be passed on.
    pub asks_again: bool,
}

/// Why an attempt did not end in a joined session.
#[derive(Debug)]
pub enum DialError {
    /// This machine has no descriptor, port or memory left for a connection: no origin is to blame.
    Exhausted(String),
    /// The origin could not be reached, or answered nonsense: the next candidate may do better.
    Failed(String),
    /// The origin speaks, and closes the connection when it hears what the client wants. The next candidate may not,
    /// but the origin is alive: a client that every origin hangs up on must not make them all look dead.
    HungUp(String),
    /// The origin names another place for the stream, as `host:port`.
    Moved(String),
    /// The origin answered, and the answer is no.
    Refused(String),
    /// The origin said nothing in its time.
    Silent(String),
}

impl fmt::Display for Attempt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at {}", self.origin, self.target)
    }
}
