//! Where a registered name leads, and the only way to open a connection there.
//!
//! The address rules are checked when a name is registered, and say nothing of the addresses that the name has. Those
//! can change at any time, so the rules are checked again here, between resolution and the connection.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use sluicegate_core::fleet::origin::{
    AddressError, AddressRules, Host, Security, Target, Transport,
};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpStream, lookup_host};
use tokio::time::{sleep, timeout};

use crate::net::accept::prepare;
use crate::net::tls::Trust;
use crate::net::wire::Wire;
use crate::origin::itself::OwnSockets;

/// Turns a host name into addresses. Tests bring their own.
pub trait Resolve: fmt::Debug + Send + Sync {
    /// Every address of `name`, in the order in which they should be tried.
    ///
    /// # Errors
    /// When the name has no address, or nobody could say.
    fn resolve(&self, name: &str) -> Resolving;
}

/// A name that is being resolved.
pub type Resolving = Pin<Box<dyn Future<Output = io::Result<Vec<IpAddr>>> + Send>>;

/// The resolver of the system, which knows `/etc/hosts` too.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemResolver;

impl Resolve for SystemResolver {
    fn resolve(&self, name: &str) -> Resolving {
        let name = name.to_owned();
        Box::pin(async move {
            let found = lookup_host((name.as_str(), 0)).await?;
            Ok(found.map(|address| address.ip()).collect())
        })
    }
}

/// Opens connections to targets whose addresses the rules permit, plain or by TLS; a cheap clone.
#[derive(Debug, Clone)]
pub struct Connector {
    rules: AddressRules,
    resolver: Arc<dyn Resolve>,
    trust: Arc<Trust>,
    /// Never connected to.
    own: Arc<OwnSockets>,
}

/// No address of a target may be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NoAddress {
    /// Each that the rules permit is a listener of this proxy.
    #[error("this is the proxy itself")]
    Itself,
    /// The name has none.
    #[error("its name has no address")]
    None,
    /// The rules refuse each of them; the reason is that of the last.
    #[error("every address it has is refused: {0} (system.allow_special_addresses)")]
    Refused(AddressError),
}

impl Connector {
    /// Connects to addresses that `rules` permit, as `resolver` finds them. With TLS, it believes the authorities that `trust` names.
    pub fn new(rules: AddressRules, resolver: Arc<dyn Resolve>, trust: Arc<Trust>) -> Self {
        Self {
            rules,
            resolver,
            trust,
            own: Arc::default(),
        }
    }

    /// The same, but never to where this proxy itself listens.
    #[must_use]
    pub fn avoiding(self, own: OwnSockets) -> Self {
        Self {
            own: Arc::new(own),
            ..self
        }
    }

    /// Where this proxy itself listens.
    pub fn own_sockets(&self) -> &OwnSockets {
        &self.own
    }

    /// Connects to any address: for URLs that the operator wrote, not for what was registered. Authorities of the system
    /// are believed.
    pub fn unrestricted() -> Self {
        Self::new(ANYWHERE, Arc::new(SystemResolver), Arc::default())
    }

    /// The same for one that believes whom this one believes.
    #[must_use]
    pub fn anywhere(&self) -> Self {
        Self::new(ANYWHERE, Arc::new(SystemResolver), Arc::clone(&self.trust))
    }

    /// The same, but with TLS it believes the authorities that `trust` names.
    #[must_use]
    pub fn believing(self, trust: Arc<Trust>) -> Self {
        Self { trust, ..self }
    }

    /// Whether the rules permit a host as it is written; of a name this says nothing about its addresses.
    ///
    /// # Errors
    /// Why they do not.
    pub fn check(&self, host: &Host) -> Result<(), AddressError> {
        self.rules.check(host)
    }

    /// The addresses of a target that the rules permit and that are not this proxy's own; at least one.
    ///
    /// Every connection and flow towards something that was registered takes its address from here.
    ///
    /// # Errors
    /// When its name is not resolved; [`NoAddress`] inside [`io::ErrorKind::Other`] when none is left.
    pub async fn addresses(
        &self,
        target: &Target,
        transport: Transport,
    ) -> io::Result<Vec<SocketAddr>> {
        let found = match &target.host {
            Host::Ip(ip) => vec![*ip],
            Host::Name(name) => self.resolver.resolve(name).await?,
        };
        let mut why = NoAddress::None;
        let mut permitted = Vec::with_capacity(found.len());
        for ip in found {
            let address = SocketAddr::new(ip, target.port);
            match self.rules.check(&ip.into()) {
                Ok(()) if self.own.take(transport, address) => why = NoAddress::Itself,
                Ok(()) => permitted.push(address),
                Err(error) => why = NoAddress::Refused(error),
            }
        }
        if permitted.is_empty() {
            return Err(io::Error::other(why));
        }
        Ok(permitted)
    }

    /// Connects to the first permitted address that answers. All of them together have `time_limit`, in equal shares:
    /// after one that leads nowhere may come one that answers. A TLS handshake is part of it.
    ///
    /// # Errors
    /// Of [`Connector::addresses`]; otherwise that of the last address, or why the other side of a TLS handshake is not
    /// believed. [`io::ErrorKind::TimedOut`] when the time is over.
    pub async fn connect(&self, target: &Target, time_limit: Duration) -> io::Result<Wire> {
        self.connect_after(target, time_limit, |_| Ok(Vec::new()))
            .await
    }

    /// The same; what `first` makes of the new connection is sent ahead of all else, also of TLS.
    ///
    /// # Errors
    /// Those of [`Connector::connect`], and of `first`.
    pub(super) async fn connect_after(
        &self,
        target: &Target,
        time_limit: Duration,
        first: impl FnOnce(&TcpStream) -> io::Result<Vec<u8>>,
    ) -> io::Result<Wire> {
        let connected = timeout(time_limit, async {
            let mut stream = self.reach(target, time_limit).await?;
            prepare(&stream);
            let first = first(&stream)?;
            if !first.is_empty() {
                stream.write_all(&first).await?;
            }
            match &target.security {
                Security::Plain => Ok(Wire::Plain(stream)),
                security => {
                    // Boxed: a handshake takes more room than all the rest of a set-up, and few origins ask for one.
                    let securing = Box::pin(self.trust.secure(stream, target, security));
                    Ok(Wire::Tls(Box::new(securing.await?)))
                }
            }
        });
        connected.await.unwrap_or_else(|_| Err(out_of_time()))
    }

    async fn reach(&self, target: &Target, time_limit: Duration) -> io::Result<TcpStream> {
        let addresses = self.addresses(target, Transport::Tcp).await?;
        let share = time_limit / u32::try_from(addresses.len()).unwrap_or(u32::MAX);
        let mut failure = io::Error::other(NoAddress::None);
        for address in addresses {
            match timeout(share, connect_to(address)).await {
                Ok(Ok(stream)) => return Ok(stream),
                Ok(Err(error)) => failure = error,
                Err(_) => failure = out_of_time(),
            }
        }
        Err(failure)
    }
}

fn out_of_time() -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, "no connection in time")
}

/// Connects, and tries again while nothing comes back.
///
/// An origin whose accept queue is full drops the first packet of a connection, and the kernel repeats it a second
/// later, when the dial is over. A second and a third connection of our own get in as soon as there is room; the first
/// to succeed is taken, and the others were never more than a packet.
async fn connect_to(address: SocketAddr) -> io::Result<TcpStream> {
    let mut knocks = FuturesUnordered::new();
    knocks.push(TcpStream::connect(address));
    for _ in 1..KNOCKS {
        tokio::select! {
            Some(connected) = knocks.next() => return connected,
            () = sleep(KNOCK_AGAIN) => knocks.push(TcpStream::connect(address)),
        }
    }
    match knocks.next().await {
        Some(connected) => connected,
        None => Err(out_of_time()),
    }
}

const ANYWHERE: AddressRules = AddressRules {
    allow_special: true,
};
/// Connections of one dial that may be under way.
const KNOCKS: usize = 3;
/// Longer than a packet takes around the world, and often enough to be heard within a dial of one second.
const KNOCK_AGAIN: Duration = Duration::from_millis(400);

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::TcpListener;

    /// Knows one name.
    #[derive(Debug)]
    struct Answers(Vec<IpAddr>);

    impl Resolve for Answers {
        fn resolve(&self, name: &str) -> Resolving {
            let known = (name == "origin.test").then(|| self.0.clone());
            Box::pin(async move { known.ok_or_else(|| io::ErrorKind::NotFound.into()) })
        }
    }

    /// A cause, a host, what it resolves to, and what is left or why nothing is.
    type Row<'a> = (
        &'a str,
        &'a str,
        &'a [&'a str],
        Result<&'a [&'a str], &'a str>,
    );

    fn connector(answers: &[&str]) -> Connector {
        let answers = answers.iter().map(|ip| ip.parse().expect("an address"));
        let resolver = Arc::new(Answers(answers.collect()));
        Connector::new(AddressRules::default(), resolver, Arc::default())
    }

    fn target(host: &str, port: u16) -> Target {
        Target::plain(host.parse().expect("a host"), port)
    }

    #[tokio::test]
    async fn only_permitted_addresses_are_left() {
        let link_local = "every address it has is refused: link-local addresses are refused \
                          (system.allow_special_addresses)";
        let rows: [Row; 8] = [
            (
                "all are fine, in their order",
                "origin.test",
                &["10.0.0.2", "2001:db8::1", "10.0.0.1"],
                Ok(&["10.0.0.2:80", "[2001:db8::1]:80", "10.0.0.1:80"]),
            ),
            (
                "loopback and private networks are where origins live",
                "origin.test",
                &["127.0.0.1", "192.168.1.1", "fd00::1"],
                Ok(&["127.0.0.1:80", "192.168.1.1:80", "[fd00::1]:80"]),
            ),
            (
                "those that are refused are skipped",
                "origin.test",
                &["169.254.169.254", "10.0.0.1", "0.0.0.0"],
                Ok(&["10.0.0.1:80"]),
            ),
            (
                "none is left",
                "origin.test",
                &["169.254.169.254", "169.254.1.1"],
                Err(link_local),
            ),
            (
                "an IPv4 address written as an IPv6 one is judged as what it is",
                "origin.test",
                &["::ffff:169.254.1.1"],
                Err(link_local),
            ),
            (
                "no address at all",
                "origin.test",
                &[],
                Err("its name has no address"),
            ),
            ("an address", "10.0.0.9", &[], Ok(&["10.0.0.9:80"])),
            (
                "an address that is refused",
                "169.254.1.1",
                &[],
                Err(link_local),
            ),
        ];
        for (cause, host, answers, expected) in rows {
            let connector = connector(answers);
            let found = connector.addresses(&target(host, 80), Transport::Tcp).await;
            let found = found
                .map(|found| found.iter().map(ToString::to_string).collect::<Vec<_>>())
                .map_err(|error| error.to_string());
            let expected = expected
                .map(|found| found.iter().map(|&address| address.to_owned()).collect())
                .map_err(str::to_owned);
            assert_eq!(found, expected, "{cause}");
        }
        let everything = Connector {
            rules: AddressRules {
                allow_special: true,
            },
            ..connector(&["169.254.1.1"])
        };
        let origin = target("origin.test", 80);
        let found = everything.addresses(&origin, Transport::Tcp).await;
        assert_eq!(found.expect("the operator allows it").len(), 1);
    }

    #[tokio::test]
    async fn the_proxy_itself_is_not_connected_to() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let at = listener.local_addr().expect("bound");
        let own = OwnSockets {
            tcp: vec![at],
            udp: Vec::new(),
        };
        let connector = connector(&["169.254.1.1", "127.0.0.1"]).avoiding(own);
        let target = target("origin.test", at.port());
        let connected = connector.connect(&target, Duration::from_secs(5)).await;
        let error = connected.expect_err("it is the proxy itself").to_string();
        assert_eq!(error, "this is the proxy itself");
        let anywhere = connector.anywhere();
        let itself = Target::plain("127.0.0.1".parse().expect("a host"), at.port());
        let found = anywhere.addresses(&itself, Transport::Tcp).await;
        assert_eq!(found.expect("a page of the operator's"), [at]);
    }

    #[tokio::test]
    async fn nor_is_it_sent_datagrams() {
        let at: SocketAddr = "127.0.0.1:10080".parse().expect("an address");
        let own = OwnSockets {
            tcp: Vec::new(),
            udp: vec![at],
        };
        let itself = target("origin.test", at.port());
        let two = connector(&["127.0.0.1", "10.0.0.1"]).avoiding(own.clone());
        let found = two.addresses(&itself, Transport::Udp).await;
        assert_eq!(found.expect("another is left").len(), 1);
        let found = two.addresses(&itself, Transport::Tcp).await;
        assert_eq!(found.expect("nobody takes connections there").len(), 2);
        let only = connector(&["127.0.0.1"]).avoiding(own);
        let found = only.addresses(&itself, Transport::Udp).await;
        let error = found.expect_err("it is the proxy itself").to_string();
        assert_eq!(error, "this is the proxy itself");
    }

    #[tokio::test]
    async fn a_refused_address_is_skipped_and_the_next_is_connected_to() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let at = listener.local_addr().expect("bound");
        let connector = connector(&["0.0.0.0", "127.0.0.1"]);
        let connected = connector
            .connect(&target("origin.test", at.port()), Duration::from_secs(5))
            .await
            .expect("it listens");
        assert_eq!(connected.tcp().peer_addr().expect("connected"), at);
    }
}
