//! Those who begin handshakes and leave: it costs them a connection and the same few bytes each time, and the relay a key
//! exchange and a signature.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};
use rcgen::CertifiedKey;
use socket2::SockRef;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpSocket;
use tokio::time::{sleep, timeout};
use tokio_rustls::rustls::ClientConnection;
use tokio_rustls::rustls::client::Resumption;

use super::callers::{client, name};
use super::here;

/// Begins handshakes at `port` of this machine until killed, from many addresses of the loopback network; prints how many were
/// answered, ten times a second.
pub(crate) async fn serve(port: u16) -> Result<()> {
    let hello: Arc<[u8]> = hello()?.into();
    let answered = Arc::<AtomicU64>::default();
    for number in 0..AT_ONCE {
        let (hello, answered) = (Arc::clone(&hello), Arc::clone(&answered));
        tokio::spawn(async move {
            loop {
                // One that is refused comes again at once.
                if let Ok(Ok(())) = timeout(PATIENCE, begin(port, number, &hello)).await {
                    answered.fetch_add(1, Ordering::Relaxed);
                }
            }
        });
    }
    loop {
        sleep(Duration::from_millis(100)).await;
        println!("{}", answered.load(Ordering::Relaxed));
    }
}

/// Sends the first message of a handshake, and leaves when the answer comes.
async fn begin(port: u16, number: u8, hello: &[u8]) -> Result<()> {
    let socket = TcpSocket::new_v4()?;
    socket.bind(SocketAddr::from((Ipv4Addr::new(127, 0, 1, number), 0)))?;
    let mut stream = socket.connect(here(port)).await?;
    // It leaves no port in TIME_WAIT.
    SockRef::from(&stream).set_linger(Some(Duration::ZERO))?;
    stream.write_all(hello).await?;
    let mut answer = [0; 512];
    let count = stream.read(&mut answer).await?;
    (count > 0).then_some(()).context("it was refused")
}

/// The first message of a handshake.
fn hello() -> Result<Vec<u8>> {
    let CertifiedKey { cert, .. } =
        rcgen::generate_simple_self_signed(["flood.example".to_owned()])?;
    let config = client(cert.der(), Resumption::disabled())?;
    let mut session = ClientConnection::new(Arc::new(config), name())?;
    let mut hello = Vec::new();
    session.write_tls(&mut hello)?;
    Ok(hello)
}

/// Handshakes under way, each from an address of its own.
const AT_ONCE: u8 = 64;
const PATIENCE: Duration = Duration::from_secs(5);
