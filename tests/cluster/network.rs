//! The paths between the proxies, their Redis and their origins, and how to cut one.
//!
//! If the system allows it, each proxy is in a network namespace of its own with two links: one to clients and origins,
//! and one to the Redis, which can be taken down. The test runs itself again inside namespaces that end with it, so
//! that nothing of it is visible outside. Elsewhere everything is on loopback, and each proxy reaches the Redis through
//! a relay that can be cut. In either case, what is sent while the path is cut arrives later, because TCP repeats it.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use crate::fleet::PROXIES;
use crate::namespaces::{self, World, ip, is_inside};
use crate::relay::Relay;

/// The path from one proxy to the Redis.
pub(crate) enum Way {
    /// The name of our end of the link, and the address at which the proxy finds the Redis.
    Link(String, SocketAddr),
    Relay(Relay),
}

impl Way {
    pub(crate) fn to(redis: SocketAddr, proxy: usize) -> Self {
        if !is_inside() {
            return Self::Relay(Relay::to(redis));
        }
        let store = Ipv4Addr::new(10, 8, octet(proxy), 1);
        Self::Link(format!("store{proxy}"), (store, redis.port()).into())
    }

    /// The address at which the proxy finds the Redis.
    pub(crate) fn address(&self) -> SocketAddr {
        match self {
            Self::Link(_, address) => *address,
            Self::Relay(relay) => relay.address(),
        }
    }

    /// Cuts the path: nothing passes any more, and nobody is told.
    pub(crate) fn part(&self) {
        match self {
            Self::Link(link, _) => ip(&format!("link set {link} down")),
            Self::Relay(relay) => relay.part(),
        }
    }

    pub(crate) fn mend(&self) {
        match self {
            Self::Link(link, _) => ip(&format!("link set {link} up")),
            Self::Relay(relay) => relay.mend(),
        }
    }
}

/// Where a proxy runs: its namespace, if it has one, and its address there.
pub(crate) fn home(proxy: usize) -> Option<(String, IpAddr)> {
    is_inside().then(|| {
        let address = Ipv4Addr::new(10, 9, octet(proxy), 2);
        (format!("proxy{proxy}"), address.into())
    })
}

/// The address of the origins.
pub(crate) fn of_origins() -> Ipv4Addr {
    if is_inside() {
        ORIGINS
    } else {
        Ipv4Addr::LOCALHOST
    }
}

/// Runs this test again where each proxy has a namespace, and returns whether it did. Returns false inside that run,
/// and where the system does not allow it, which is printed.
pub(crate) fn ran_in_namespaces(test: &str) -> bool {
    let world = namespaces::enter(test);
    if world == World::NotAllowed {
        println!(
            "network namespaces are not allowed here (unshare -rnm, ip netns): the proxies are on loopback, behind \
             relays that can be parted"
        );
    }
    world == World::Ran
}

/// Makes the namespaces and their links, once; does nothing on loopback.
pub(crate) fn lay_links() {
    if !is_inside() {
        return;
    }
    ip(&format!("addr add {ORIGINS}/32 dev lo"));
    for proxy in 0..PROXIES {
        let home = format!("proxy{proxy}");
        ip(&format!("netns add {home}"));
        for (link, net) in [("media", 9), ("store", 8)] {
            ip(&format!(
                "link add {link}{proxy} type veth peer name {link} netns {home}"
            ));
            ip(&format!("addr add 10.{net}.{proxy}.1/24 dev {link}{proxy}"));
            ip(&format!("link set {link}{proxy} up"));
            ip(&format!(
                "-n {home} addr add 10.{net}.{proxy}.2/24 dev {link}"
            ));
            ip(&format!("-n {home} link set {link} up"));
        }
        ip(&format!("-n {home} link set lo up"));
        ip(&format!(
            "-n {home} route add {ORIGINS}/32 via 10.9.{proxy}.1"
        ));
    }
}

fn octet(proxy: usize) -> u8 {
    u8::try_from(proxy).expect("a few")
}

const ORIGINS: Ipv4Addr = Ipv4Addr::new(10, 7, 0, 1);
