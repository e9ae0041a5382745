//! Sockets that a service manager opened for this process (sd_listen_fds(3)), which goes on listening while the process
//! is restarted.

use sluicegate_core::counted::counted;
use std::net::{SocketAddr, TcpListener, UdpSocket};

use listenfd::ListenFd;
use rustix::net::sockopt::socket_acceptconn;

use super::StartError;
use crate::config::PassedSocket;
use crate::net::datagram::Entries;
use crate::net::workers;
use crate::value::Opening;

/// Sockets from outside, each with its name. By default there are none.
#[derive(Debug, Default)]
pub struct Inherited {
    tcp: Vec<(String, TcpListener)>,
    udp: Vec<(String, UdpSocket)>,
}

impl Inherited {
    /// The sockets that `LISTEN_FDS` counts and `LISTEN_FDNAMES` names, where `LISTEN_PID` is this process. They may be
    /// taken once, before there are other threads: the variables are removed.
    ///
    /// # Errors
    /// [`StartError::Inherited`], for a descriptor that is no listening socket.
    pub fn from_environment() -> Result<Self, StartError> {
        let number = |name| std::env::var(name).ok()?.parse::<usize>().ok();
        let for_us = number("LISTEN_PID") == usize::try_from(std::process::id()).ok();
        let count = number("LISTEN_FDS").filter(|_| for_us).unwrap_or(0);
        if count == 0 {
            return Ok(Self::default());
        }
        if count > MOST {
            let problem = format!("{count} sockets are more than all listeners could use");
            return Err(StartError::Inherited(problem));
        }
        let names = std::env::var("LISTEN_FDNAMES").unwrap_or_default();
        let mut names = names.split(':').map(str::to_owned);
        let mut descriptors = ListenFd::from_env();
        let mut found = Self::default();
        for index in 0..descriptors.len() {
            let name = names.next().unwrap_or_default();
            found.add(name, &mut descriptors, index)?;
        }
        Ok(found)
    }

    /// These sockets, as if a service manager had passed them.
    pub fn of(
        tcp: impl IntoIterator<Item = (&'static str, TcpListener)>,
        udp: impl IntoIterator<Item = (&'static str, UdpSocket)>,
    ) -> Self {
        let tcp = tcp.into_iter().map(|(name, socket)| (name.into(), socket));
        let udp = udp.into_iter().map(|(name, socket)| (name.into(), socket));
        Self {
            tcp: tcp.collect(),
            udp: udp.collect(),
        }
    }

    /// What is known of each socket.
    pub fn sockets(&self) -> Vec<PassedSocket> {
        let tcp = self.tcp.iter();
        let tcp = tcp.map(|(name, socket)| (name, true, socket.local_addr()));
        let udp = self.udp.iter();
        let udp = udp.map(|(name, socket)| (name, false, socket.local_addr()));
        tcp.chain(udp)
            .filter_map(|(name, is_tcp, address)| {
                Some(PassedSocket {
                    listener: name.clone(),
                    is_tcp,
                    address: address.ok()?,
                })
            })
            .collect()
    }

    fn add(
        &mut self,
        name: String,
        descriptors: &mut ListenFd,
        index: usize,
    ) -> Result<(), StartError> {
        if let Ok(Some(socket)) = descriptors.take_tcp_listener(index) {
            if !socket_acceptconn(&socket).unwrap_or(false) {
                let problem = format!(
                    "socket {} ({name}) is a connection; the unit has to say Accept=no",
                    index + 1
                );
                return Err(StartError::Inherited(problem));
            }
            self.tcp.push((name, socket));
        } else if let Ok(Some(socket)) = descriptors.take_udp_socket(index) {
            self.udp.push((name, socket));
        } else {
            let problem = format!(
                "socket {} ({name}) is neither a TCP nor a UDP socket",
                index + 1
            );
            return Err(StartError::Inherited(problem));
        }
        Ok(())
    }

    /// The sockets of a listener over TCP: those of its name, and those whose name is no listener's and whose port is
    /// one that `opening` says.
    pub(super) fn take_tcp(&mut self, listener: &str, opening: &Opening) -> Vec<TcpListener> {
        let fits = |name: &str, socket: &TcpListener| {
            fits(name, socket.local_addr().ok(), listener, opening)
        };
        let its = self.tcp.extract_if(.., |(name, socket)| fits(name, socket));
        let sockets = its.map(|(_, socket)| socket);
        sockets
            .inspect(|socket| {
                // One that stays blocking fails when it is served.
                let _ = socket.set_nonblocking(true);
            })
            .collect()
    }

    /// The same for datagrams: a shard for each of the sockets that share an address.
    pub(super) fn take_udp(
        &mut self,
        listener: &str,
        opening: &Opening,
    ) -> Result<Vec<Entries>, StartError> {
        let fits = |name: &str, socket: &UdpSocket| {
            fits(name, socket.local_addr().ok(), listener, opening)
        };
        let its = self.udp.extract_if(.., |(name, socket)| fits(name, socket));
        let shards = Entries::adopt(its.map(|(_, socket)| socket)).map_err(|error| {
            StartError::Inherited(format!("the UDP sockets of {listener}: {error}"))
        })?;
        let threads = workers::per_core();
        if shards.len() > threads {
            let problem = format!(
                "{} of {listener} share an address, and there is room for {threads}: a thread serves one",
                counted(shards.len(), "UDP socket")
            );
            return Err(StartError::Inherited(problem));
        }
        Ok(shards)
    }

    /// Makes sure that each socket has found its listener: clients of one that nobody serves would wait for ever.
    pub(super) fn finish(self) -> Result<(), StartError> {
        let tcp = self.tcp.first();
        let tcp = tcp.map(|(name, socket)| (name, socket.local_addr()));
        let udp = self.udp.first();
        let left = tcp.or_else(|| udp.map(|(name, socket)| (name, socket.local_addr())));
        let Some((name, address)) = left else {
            return Ok(());
        };
        let address = address.map_or_else(|_| "no address".to_owned(), |at| at.to_string());
        Err(StartError::Inherited(format!(
            "the socket {name} at {address} fits no listener; give it one of their names (FileDescriptorName={}) or the \
             port of one",
            LISTENERS.join(", ")
        )))
    }
}

fn fits(name: &str, address: Option<SocketAddr>, listener: &str, opening: &Opening) -> bool {
    if LISTENERS.contains(&name) {
        return name == listener;
    }
    let port = address.map(|address| address.port());
    let wanted = opening.listen().into_iter();
    wanted
        .flat_map(|listen| listen.addresses())
        .any(|address| Some(address.port()) == port)
}

/// The names of listeners.
const LISTENERS: [&str; 14] = [
    "rtmp",
    "http",
    "api",
    "system",
    "rtsp",
    "srt",
    "rtc",
    "metrics",
    "rtmp_tls",
    "http_tls",
    "api_tls",
    "system_tls",
    "rtsp_tls",
    "console",
];
/// Sockets that are taken: some addresses for each listener, and a shard for each core of a large machine.
const MOST: usize = 1024;
