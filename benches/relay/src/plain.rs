//! A UDP relay as most people would write it: a socket of its own for each client, one call to receive a packet and one
//! to send it. It looks at nothing and rewrites nothing. In batched mode it shows what the calls of Sluicegate cost by
//! themselves.

use std::collections::HashMap;
use std::io::{self, IoSliceMut};
use std::net::{Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;

use anyhow::Result;
use quinn_udp::{RecvMeta, Transmit, UdpSocketState};
use socket2::{Domain, SockRef, Socket, Type};
use tokio::io::Interest;
use tokio::net::UdpSocket;
use tokio::task::LocalSet;

/// Relays to `origin` with a thread per core, and prints its port. `batched` means to read what the kernel joined
/// (GRO), to send it with one call (GSO), and to sleep in between.
pub(crate) fn serve(origin: SocketAddr, batched: bool) -> Result<()> {
    let cores = std::thread::available_parallelism()?.get();
    let mut at = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let mut threads = Vec::new();
    for _ in 0..cores {
        let socket = Socket::new(Domain::IPV4, Type::DGRAM, None)?;
        socket.set_reuse_port(true)?;
        socket.set_nonblocking(true)?;
        socket.set_recv_buffer_size(4 << 20)?;
        socket.bind(&at.into())?;
        let socket = std::net::UdpSocket::from(socket);
        at = socket.local_addr()?;
        threads.push(std::thread::spawn(move || -> Result<()> {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_io()
                .build()?;
            let shard = async {
                if batched {
                    tokio::task::spawn_local(rest());
                }
                let public = Line::new(UdpSocket::from_std(socket)?, batched)?;
                serve_clients(Rc::new(public), origin, batched).await
            };
            LocalSet::new().block_on(&runtime, shard)
        }));
    }
    println!("{}", at.port());
    for thread in threads {
        let ended = thread.join();
        ended.map_err(|_| anyhow::anyhow!("a thread failed"))??;
    }
    Ok(())
}

async fn serve_clients(public: Rc<Line>, origin: SocketAddr, batched: bool) -> Result<()> {
    let mut flows: HashMap<SocketAddr, Rc<Line>> = HashMap::new();
    let mut buffer = vec![0; LONGEST];
    loop {
        let (length, size, client) = public.receive(&mut buffer).await?;
        let link = match flows.get(&client) {
            Some(link) => link,
            None => {
                let link = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await?;
                SockRef::from(&link).set_recv_buffer_size(4 << 20)?;
                link.connect(origin).await?;
                let link = Rc::new(Line::new(link, batched)?);
                let (back, public) = (Rc::clone(&link), Rc::clone(&public));
                tokio::task::spawn_local(async move {
                    let mut buffer = vec![0; LONGEST];
                    while let Ok((length, size, _)) = back.receive(&mut buffer).await {
                        let _ = public.send(&buffer[..length], size, client).await;
                    }
                });
                flows.entry(client).or_insert(link)
            }
        };
        let _ = link.send(&buffer[..length], size, origin).await;
    }
}

/// Lets packets gather, and gives every task a turn.
async fn rest() {
    loop {
        std::thread::sleep(REST);
        tokio::task::yield_now().await;
    }
}

/// A socket with calls that handle several packets at once.
struct Line {
    socket: UdpSocket,
    /// The peer that it is connected to.
    peer: Option<SocketAddr>,
    bursts: Option<UdpSocketState>,
}

impl Line {
    fn new(socket: UdpSocket, batched: bool) -> io::Result<Self> {
        let bursts = batched.then(|| UdpSocketState::new((&socket).into()));
        Ok(Self {
            bursts: bursts.transpose()?,
            peer: socket.peer_addr().ok(),
            socket,
        })
    }

    /// Receives; returns how many bytes, how long each packet is, and the sender.
    async fn receive(&self, buffer: &mut [u8]) -> io::Result<(usize, usize, SocketAddr)> {
        let Some(bursts) = &self.bursts else {
            let (length, from) = match self.peer {
                Some(peer) => (self.socket.recv(buffer).await?, peer),
                None => self.socket.recv_from(buffer).await?,
            };
            return Ok((length, length, from));
        };
        let mut metas = [RecvMeta::default()];
        let read = || {
            let mut slices = [IoSliceMut::new(buffer)];
            bursts.recv((&self.socket).into(), &mut slices, &mut metas)
        };
        self.socket.async_io(Interest::READABLE, read).await?;
        let [
            RecvMeta {
                len, stride, addr, ..
            },
        ] = metas;
        Ok((len, stride, addr))
    }

    /// Sends packets of `size` bytes.
    async fn send(&self, bytes: &[u8], size: usize, to: SocketAddr) -> io::Result<()> {
        let Some(bursts) = &self.bursts else {
            match self.peer {
                Some(_) => self.socket.send(bytes).await?,
                None => self.socket.send_to(bytes, to).await?,
            };
            return Ok(());
        };
        let transmit = Transmit {
            destination: to,
            ecn: None,
            contents: bytes,
            segment_size: (bytes.len() > size).then_some(size),
            src_ip: None,
        };
        bursts.try_send((&self.socket).into(), &transmit)
    }
}

/// Maximum bytes that a call may return.
const LONGEST: usize = 65_536;
/// How long to sleep: as long as a WebRTC shard.
const REST: Duration = Duration::from_millis(1);
