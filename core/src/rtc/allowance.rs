//! How often clients may ask for usernames that nobody here knows. There is a total, and a limit per network, so that a
//! flood from one network leaves the others their share.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::time::Instant;

/// The tokens that look-ups cost, in total and per network.
#[derive(Debug)]
pub struct Allowance {
    all: Bucket,
    sources: HashMap<IpAddr, Bucket>,
}

impl Allowance {
    /// An allowance with all its tokens.
    pub fn new(now: Instant) -> Self {
        Self {
            all: Bucket::new(now, ALL),
            sources: HashMap::new(),
        }
    }

    /// Takes one token from the total and one from the network of `source`. Returns false if either has none left.
    pub fn take(&mut self, now: Instant, source: IpAddr) -> bool {
        let network = network_of(source.to_canonical());
        if !self.sources.contains_key(&network) && self.sources.len() >= MAX_SOURCES {
            return false;
        }
        let source = self
            .sources
            .entry(network)
            .or_insert_with(|| Bucket::new(now, SOURCE));
        source.take(now, SOURCE) && self.all.take(now, ALL)
    }

    /// Forgets networks that have all their tokens back.
    pub fn sweep(&mut self, now: Instant) {
        self.sources
            .retain(|_, bucket| !bucket.is_full(now, SOURCE));
    }

    /// Whether no network has spent any tokens.
    pub fn is_whole(&self) -> bool {
        self.sources.is_empty()
    }
}

/// Tokens that come back with time.
#[derive(Debug)]
struct Bucket {
    tokens: f64,
    at: Instant,
}

/// How fast tokens come back, and their maximum.
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

/// The network that shares one bucket: a /24 of IPv4, a /56 of IPv6.
fn network_of(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(ip) => IpAddr::V4((u32::from(ip) & 0xffff_ff00).into()),
        IpAddr::V6(ip) => IpAddr::V6(Ipv6Addr::from(u128::from(ip) & !0 << 72)),
    }
}

/// A store answers two thousand look-ups a second with ease, and no crowd arrives faster at one shard.
const ALL: Rate = Rate {
    each_second: 2000.0,
    most: 2000.0,
};
/// Per network: the people of a company behind one address may join a call together.
const SOURCE: Rate = Rate {
    each_second: 100.0,
    most: 200.0,
};
/// Maximum networks with spent tokens; more at once is a flood from forged addresses.
const MAX_SOURCES: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[allow(
        clippy::disallowed_methods,
        reason = "a test needs some instant to count from"
    )]
    fn one_network_cannot_spend_what_the_others_have() {
        let now = Instant::now();
        let mut allowance = Allowance::new(now);
        let of = |allowance: &mut Allowance, network: u8| {
            let each = (0..=255_u8).cycle().take(1000);
            each.filter(|host| allowance.take(now, [10, 0, network, *host].into()))
                .count()
        };
        assert_eq!(of(&mut allowance, 1), 200);
        assert_eq!(of(&mut allowance, 2), 200);
        let rest: usize = (3..30).map(|network| of(&mut allowance, network)).sum();
        assert_eq!(rest, 1600, "all together have no more");
        let later = now + std::time::Duration::from_secs(3);
        allowance.sweep(later);
        assert!(allowance.is_whole());
        let mapped: IpAddr = "::ffff:10.0.1.1".parse().unwrap();
        assert!(allowance.take(later, mapped));
    }
}
