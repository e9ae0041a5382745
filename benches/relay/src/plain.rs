//! A UDP relay as anybody would write it: a socket of its own for each client, one call to receive a packet and one to
//! send it. It looks at nothing and rewrites nothing.

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::rc::Rc;

use anyhow::Result;
use socket2::{Domain, SockRef, Socket, Type};
use tokio::net::UdpSocket;
use tokio::task::LocalSet;

/// Relays to `origin` with a thread per core, and prints its port.
pub(crate) fn serve(origin: SocketAddr) -> Result<()> {
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
            LocalSet::new().block_on(&runtime, shard(socket, origin))
        }));
    }
    println!("{}", at.port());
    for thread in threads {
        let ended = thread.join();
        ended.map_err(|_| anyhow::anyhow!("a thread failed"))??;
    }
    Ok(())
}

async fn shard(socket: std::net::UdpSocket, origin: SocketAddr) -> Result<()> {
    let public = Rc::new(UdpSocket::from_std(socket)?);
    let mut flows: HashMap<SocketAddr, Rc<UdpSocket>> = HashMap::new();
    let mut buffer = [0; 2048];
    loop {
        let (length, client) = public.recv_from(&mut buffer).await?;
        let link = match flows.get(&client) {
            Some(link) => link,
            None => {
                let link = Rc::new(UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await?);
                SockRef::from(&*link).set_recv_buffer_size(4 << 20)?;
                link.connect(origin).await?;
                let (back, public) = (Rc::clone(&link), Rc::clone(&public));
                tokio::task::spawn_local(async move {
                    let mut buffer = [0; 2048];
                    while let Ok(length) = back.recv(&mut buffer).await {
                        let _ = public.send_to(&buffer[..length], client).await;
                    }
                });
                flows.entry(client).or_insert(link)
            }
        };
        let _ = link.send(&buffer[..length]).await;
    }
}
