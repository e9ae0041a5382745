//! The public sockets of the shards.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket as StdSocket};

use socket2::{Domain, Protocol, Socket, Type};

/// The public sockets of one shard, bound but not served yet.
#[derive(Debug)]
pub struct Entries(pub(super) Vec<StdSocket>);

impl Entries {
    /// Binds `addresses` for `shards` shards. `every_interface` says that a wildcard IPv6 address must accept IPv4 too,
    /// and that IPv4 is enough on a machine without IPv6. A port 0 becomes one port for all of them.
    ///
    /// # Errors
    /// Names the address that could not be bound, for example because another program listens there.
    pub fn bind(
        addresses: &[SocketAddr],
        every_interface: bool,
        shards: usize,
    ) -> Result<Vec<Self>, (SocketAddr, io::Error)> {
        let mut entries: Vec<Self> = (0..shards).map(|_| Self(Vec::new())).collect();
        for wanted in addresses {
            let address = match free(*wanted) {
                Err(error) if every_interface && error.kind() != io::ErrorKind::AddrInUse => {
                    free(SocketAddr::from((Ipv4Addr::UNSPECIFIED, wanted.port())))
                        .map_err(|_| error)
                }
                address => address,
            };
            let mut address = address.map_err(|error| (*wanted, error))?;
            for entry in &mut entries {
                let socket = bind(address, true).map_err(|error| (*wanted, error))?;
                address = socket.local_addr().map_err(|error| (*wanted, error))?;
                entry.0.push(socket);
            }
        }
        Ok(entries)
    }

    /// Sockets that were bound elsewhere: a shard for each of those that share an address.
    ///
    /// # Errors
    /// When one address has more sockets than another, or the system does not take a socket.
    pub fn adopt(sockets: impl IntoIterator<Item = StdSocket>) -> io::Result<Vec<Self>> {
        let mut by_address: Vec<(SocketAddr, Vec<StdSocket>)> = Vec::new();
        for socket in sockets {
            socket.set_nonblocking(true)?;
            let address = socket.local_addr()?;
            match by_address.iter_mut().find(|(known, _)| *known == address) {
                Some((_, same)) => same.push(socket),
                None => by_address.push((address, vec![socket])),
            }
        }
        let shards = by_address.first().map_or(0, |(_, same)| same.len());
        if by_address.iter().any(|(_, same)| same.len() != shards) {
            return Err(io::Error::other(
                "each address needs as many sockets as the others",
            ));
        }
        let mut entries: Vec<Self> = (0..shards).map(|_| Self(Vec::new())).collect();
        for (_, same) in by_address {
            for (entry, socket) in entries.iter_mut().zip(same) {
                entry.0.push(socket);
            }
        }
        Ok(entries)
    }

    /// The first address, with the port that the system chose for port 0.
    ///
    /// # Errors
    /// When the system does not know the address, which it does for a bound socket.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0
            .first()
            .ok_or(io::ErrorKind::NotConnected)?
            .local_addr()
    }

    /// Every address, in the order of the setting.
    pub fn addresses(&self) -> impl Iterator<Item = SocketAddr> + '_ {
        // The system knows the address of a bound socket.
        self.0.iter().filter_map(|socket| socket.local_addr().ok())
    }
}

/// Checks that no other program has the address: sockets that share a port would share it with a stranger too.
fn free(address: SocketAddr) -> io::Result<SocketAddr> {
    bind(address, false).map(|_| address)
}

pub(super) fn bind(address: SocketAddr, shared: bool) -> io::Result<StdSocket> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::DGRAM,
        Some(Protocol::UDP),
    )?;
    if address.is_ipv6() {
        socket.set_only_v6(!address.ip().is_unspecified())?;
    }
    if shared {
        socket.set_reuse_port(true)?;
    }
    socket.bind(&address.into())?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}
