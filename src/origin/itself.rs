//! This proxy, seen as an origin: what is sent to one of its own listeners comes back as a client, is sent there again, and
//! one request takes every session that there is.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

use sluicegate_core::fleet::origin::{Host, Origin, Transport};
use sluicegate_core::stream::Service;

use crate::value::is_covered;

/// Where this proxy listens; nothing by default.
#[derive(Debug, Clone, Default)]
pub struct OwnSockets {
    /// For connections.
    pub tcp: Vec<SocketAddr>,
    /// For datagrams.
    pub udp: Vec<SocketAddr>,
}

impl OwnSockets {
    /// Whether what is sent to `address` surely arrives at a listener of this proxy. Other proxies, and addresses that are
    /// translated on the way, are not known here.
    pub fn take(&self, transport: Transport, address: SocketAddr) -> bool {
        let own = match transport {
            Transport::Tcp => &self.tcp,
            Transport::Udp => &self.udp,
        };
        // The ports are looked at first, which costs no system call.
        own.iter().any(|bound| is_covered(*bound, address)) && is_of_this_machine(address)
    }

    /// The first service that `origin` has at a listener of this proxy, and where; names are not resolved.
    pub fn service_of(&self, origin: &Origin) -> Option<(Service, SocketAddr)> {
        let services = Service::ALL.into_iter();
        let mut endpoints = services.flat_map(|service| {
            let endpoints = origin.endpoints.of(service).iter();
            endpoints.map(move |endpoint| (service, endpoint))
        });
        endpoints.find_map(|(service, endpoint)| {
            let Host::Ip(ip) = endpoint.host.as_ref().unwrap_or(&origin.ip) else {
                return None;
            };
            let address = SocketAddr::new(*ip, endpoint.port);
            self.take(endpoint.transport, address)
                .then_some((service, address))
        })
    }
}

/// Whether an address is one of this machine: what is sent to a machine's own address comes from that address. A socket
/// that is only connected sends nothing. Of a second address in the same network this is not always found out.
fn is_of_this_machine(address: SocketAddr) -> bool {
    let ip = address.ip().to_canonical();
    let source = || -> io::Result<SocketAddr> {
        let socket = match address {
            SocketAddr::V4(_) => UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)),
            SocketAddr::V6(_) => UdpSocket::bind((Ipv6Addr::UNSPECIFIED, 0)),
        }?;
        socket.connect(address)?;
        socket.local_addr()
    };
    ip.is_loopback() || source().is_ok_and(|source| source.ip().to_canonical() == ip)
}

#[cfg(test)]
mod tests {
    use sluicegate_core::fleet::origin::{AddressRules, parse_registration};

    use super::*;

    fn own(bound: &str) -> OwnSockets {
        OwnSockets {
            tcp: vec![bound.parse().unwrap()],
            udp: Vec::new(),
        }
    }

    #[test]
    fn datagrams_arrive_at_sockets_for_datagrams() {
        let own = OwnSockets {
            tcp: vec!["127.0.0.1:1935".parse().unwrap()],
            udp: vec!["[::]:10080".parse().unwrap()],
        };
        let rows = [
            ("both", Transport::Udp, "127.0.0.1:10080", true),
            ("over IPv6", Transport::Udp, "[::1]:10080", true),
            ("another port", Transport::Udp, "127.0.0.1:10081", false),
            (
                "a port for connections",
                Transport::Udp,
                "127.0.0.1:1935",
                false,
            ),
            ("a connection", Transport::Tcp, "127.0.0.1:10080", false),
            ("another machine", Transport::Udp, "192.0.2.1:10080", false),
        ];
        for (cause, transport, address, expected) in rows {
            let address = address.parse().unwrap();
            assert_eq!(own.take(transport, address), expected, "{cause}");
        }
        let of = |endpoints: &str| {
            let registration =
                format!(r#"{{"ip":"127.0.0.1","server":"s","service":"s","pid":"1",{endpoints}}}"#);
            let origin = parse_registration(registration.as_bytes(), &AddressRules::default());
            own.service_of(&origin.expect("a valid registration"))
        };
        let srt = (Service::Srt, "127.0.0.1:10080".parse().unwrap());
        assert_eq!(of(r#""rtmp":["1"],"srt":["10080"]"#), Some(srt));
        let rtc = (Service::Rtc, "127.0.0.1:10080".parse().unwrap());
        assert_eq!(of(r#""api":["10080"],"rtc":["10080"]"#), Some(rtc));
        assert_eq!(of(r#""srt":["10081"],"http":["10080"]"#), None);
    }

    #[test]
    fn only_what_surely_arrives_here_is_ours() {
        let tcp = Transport::Tcp;
        let rows = [
            ("every interface", "[::]:1935", tcp, "127.0.0.1:1935", true),
            (
                "all of loopback",
                "0.0.0.0:1935",
                tcp,
                "127.0.0.2:1935",
                true,
            ),
            (
                "the very address",
                "127.0.0.1:1935",
                tcp,
                "127.0.0.1:1935",
                true,
            ),
            (
                "mapped",
                "127.0.0.1:1935",
                tcp,
                "[::ffff:127.0.0.1]:1935",
                true,
            ),
            ("another port", "[::]:1935", tcp, "127.0.0.1:1936", false),
            (
                "another address",
                "127.0.0.2:1935",
                tcp,
                "127.0.0.1:1935",
                false,
            ),
            ("another family", "0.0.0.0:1935", tcp, "[::1]:1935", false),
            (
                "datagrams",
                "[::]:1935",
                Transport::Udp,
                "127.0.0.1:1935",
                false,
            ),
            ("another machine", "[::]:1935", tcp, "192.0.2.1:1935", false),
        ];
        for (cause, bound, transport, address, expected) in rows {
            let address = address.parse().unwrap();
            assert_eq!(own(bound).take(transport, address), expected, "{cause}");
        }
        let nowhere = OwnSockets::default();
        assert!(!nowhere.take(tcp, "127.0.0.1:1935".parse().unwrap()));
    }
}
