//! Usernames that this shard does not know yet: who is asked about, how often, and what is known to be nobody's.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::time::{Duration, Instant};

use crate::flow::{ClientPath, DropReason};

/// Look-ups in flight, look-ups that found nothing, and the tokens that pay for them.
#[derive(Debug)]
pub(super) struct Unknown {
    asked: HashMap<Box<[u8]>, Question>,
    absent: HashMap<Box<[u8]>, Instant>,
    all: Bucket,
    sources: HashMap<IpAddr, Bucket>,
}

/// A look-up in flight, and the datagram that caused it: with the answer it is looked at again, which spares the
/// client the time to send it anew.
#[derive(Debug)]
pub(super) struct Question {
    pub(super) path: ClientPath,
    pub(super) datagram: Vec<u8>,
    since: Instant,
}

impl Unknown {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            asked: HashMap::new(),
            absent: HashMap::new(),
            all: Bucket::new(now, ALL),
            sources: HashMap::new(),
        }
    }

    /// Whether to ask for `username` now. A datagram that is kept until then is looked at again.
    pub(super) fn ask(
        &mut self,
        now: Instant,
        username: &[u8],
        path: ClientPath,
        datagram: &[u8],
    ) -> Result<(), DropReason> {
        if self.absent.get(username).is_some_and(|until| now < *until) {
            return Err(DropReason::UnknownFlow);
        }
        if self.asked.contains_key(username) {
            return Err(DropReason::Untimely);
        }
        if self.asked.len() >= MAX_ASKED || datagram.len() > MAX_KEPT || !self.pay(now, path) {
            return Err(DropReason::TooMany);
        }
        let question = Question {
            path,
            datagram: datagram.to_vec(),
            since: now,
        };
        self.asked.insert(username.into(), question);
        Ok(())
    }

    /// The answer has come.
    pub(super) fn answered(&mut self, username: &[u8]) -> Option<Question> {
        self.asked.remove(username)
    }

    /// The answer is that nobody has this name.
    pub(super) fn is_absent(&mut self, now: Instant, username: &[u8]) {
        if self.absent.len() < MAX_ABSENT {
            self.absent.insert(username.into(), now + ABSENT_FOR);
        }
    }

    /// Somebody new has come: nothing is known to be absent.
    pub(super) fn forget_absent(&mut self) {
        self.absent.clear();
    }

    /// Forgets what is over.
    pub(super) fn sweep(&mut self, now: Instant) {
        self.absent.retain(|_, until| now < *until);
        self.asked
            .retain(|_, question| now < question.since + ANSWER_WITHIN);
        self.sources
            .retain(|_, bucket| !bucket.is_full(now, SOURCE));
    }

    pub(super) fn is_empty(&self) -> bool {
        self.asked.is_empty() && self.absent.is_empty() && self.sources.is_empty()
    }

    /// Takes a token of the sender's network and one of all.
    fn pay(&mut self, now: Instant, path: ClientPath) -> bool {
        let network = network_of(path.client().ip());
        if !self.sources.contains_key(&network) && self.sources.len() >= MAX_SOURCES {
            return false;
        }
        let source = self
            .sources
            .entry(network)
            .or_insert_with(|| Bucket::new(now, SOURCE));
        source.take(now, SOURCE) && self.all.take(now, ALL)
    }
}

/// Tokens that come back with time.
#[derive(Debug)]
struct Bucket {
    tokens: f64,
    at: Instant,
}

/// How fast tokens come back, and how many there may be.
#[derive(Debug, Clone, Copy)]
struct Rate {
    each_second: f64,
    most: f64,
}

impl Bucket {
    const fn new(now: Instant, rate: Rate) -> Self {
        Self {
            tokens: rate.most,
            at: now,
        }
    }

    fn refill(&mut self, now: Instant, rate: Rate) {
        let passed = now.saturating_duration_since(self.at).as_secs_f64();
        self.tokens = (self.tokens + passed * rate.each_second).min(rate.most);
        self.at = now;
    }

    fn take(&mut self, now: Instant, rate: Rate) -> bool {
        self.refill(now, rate);
        let enough = self.tokens >= 1.0;
        if enough {
            self.tokens -= 1.0;
        }
        enough
    }

    fn is_full(&mut self, now: Instant, rate: Rate) -> bool {
        self.refill(now, rate);
        self.tokens >= rate.most
    }
}

/// What one customer has: a /24 of IPv4, a /56 of IPv6.
fn network_of(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(ip) => IpAddr::V4((u32::from(ip) & 0xffff_ff00).into()),
        IpAddr::V6(ip) => IpAddr::V6(Ipv6Addr::from(u128::from(ip) & !0 << 72)),
    }
}

/// A store answers two thousand look-ups a second without noticing, and no crowd arrives faster at one shard.
const ALL: Rate = Rate {
    each_second: 2000.0,
    most: 2000.0,
};
/// A company behind one address may join a call together.
const SOURCE: Rate = Rate {
    each_second: 100.0,
    most: 200.0,
};
/// Networks with spent tokens: more at once is a flood from forged addresses.
const MAX_SOURCES: usize = 4096;
/// Look-ups in flight, each with a datagram.
const MAX_ASKED: usize = 256;
/// Bytes of a datagram that waits: a check has about a hundred.
const MAX_KEPT: usize = 768;
/// Names known to be nobody's.
const MAX_ABSENT: usize = 4096;
/// An answer may be on its way to the client while its binding is on its way to us.
const ABSENT_FOR: Duration = Duration::from_millis(500);
/// A store that has not answered by then will not; the client asks again.
const ANSWER_WITHIN: Duration = Duration::from_secs(2);
