//! A connection of a client or to an origin, whatever it travels over. Listeners and the relay know this type and no
//! socket, so that encryption is known here alone.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::TcpStream;
use tokio::net::tcp;
use tokio::time::sleep;

use super::tls::TlsStream;

/// A client's connection after the [entrance](super::entrance), or one to an origin after its handshake. A plain one costs
/// what its socket costs: each call is one of the socket's.
#[derive(Debug)]
pub enum Wire {
    /// TCP with nothing in between.
    Plain(TcpStream),
    /// TLS, after its handshake.
    Tls(Box<TlsStream>),
}

/// The reading half of a [`Wire`].
#[derive(Debug)]
pub enum WireReader<'a> {
    /// Of [`Wire::Plain`].
    Plain(tcp::ReadHalf<'a>),
    /// Of [`Wire::Tls`].
    Tls(Shared<'a>),
}

/// The writing half of a [`Wire`].
#[derive(Debug)]
pub enum WireWriter<'a> {
    /// Of [`Wire::Plain`].
    Plain(tcp::WriteHalf<'a>),
    /// Of [`Wire::Tls`].
    Tls(Shared<'a>),
}

/// Both halves of an encrypted connection have one state. They are polled by one task, so neither ever waits for it.
#[derive(Debug)]
pub struct Shared<'a>(Arc<Mutex<&'a mut TlsStream>>);

impl<'a> Shared<'a> {
    fn lock(&self) -> MutexGuard<'_, &'a mut TlsStream> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Wire {
    /// The socket beneath, for its options and its readiness. What is read from it or written to it directly is not
    /// what the peer sends and gets.
    pub const fn tcp(&self) -> &TcpStream {
        match self {
            Self::Plain(stream) => stream,
            Self::Tls(stream) => stream.tcp(),
        }
    }

    /// Writes as much as the wire takes now. Of what it took, some may still be owed to the peer: see
    /// [`Wire::poll_owed`].
    ///
    /// # Errors
    /// [`io::ErrorKind::WouldBlock`] when it takes nothing now; any other error ends the connection.
    pub fn try_write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(stream) => stream.try_write(bytes),
            Self::Tls(stream) => stream.try_write(bytes),
        }
    }

    /// The same for several slices.
    ///
    /// # Errors
    /// Those of [`Wire::try_write`].
    pub fn try_write_vectored(&mut self, slices: &[io::IoSlice<'_>]) -> io::Result<usize> {
        match self {
            Self::Plain(stream) => stream.try_write_vectored(slices),
            Self::Tls(stream) => stream.try_write_vectored(slices),
        }
    }

    /// Ready when nothing of what was written waits in this process: at once where nothing is encrypted. Who writes and
    /// then waits for something else waits for this as well. At most some ten kilobytes are owed.
    ///
    /// # Errors
    /// Any error ends the connection.
    pub fn poll_owed(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Plain(_) => Poll::Ready(Ok(())),
            Self::Tls(stream) => stream.poll_owed(cx),
        }
    }

    /// The name in the certificate that the client showed and that was verified, where clients are asked for one.
    pub fn identity(&self) -> Option<Arc<str>> {
        match self {
            Self::Plain(_) => None,
            Self::Tls(stream) => stream.identity().cloned(),
        }
    }

    /// Whether the client agreed to speak HTTP/2 (RFC 9113 §3.2).
    pub fn is_http2(&self) -> bool {
        match self {
            Self::Plain(_) => false,
            Self::Tls(stream) => stream.protocol() == Some(b"h2"),
        }
    }

    /// Both halves, for two futures of one task.
    pub fn split(&mut self) -> (WireReader<'_>, WireWriter<'_>) {
        match self {
            Self::Plain(stream) => {
                let (reader, writer) = stream.split();
                (WireReader::Plain(reader), WireWriter::Plain(writer))
            }
            Self::Tls(stream) => {
                let shared = Arc::new(Mutex::new(&mut **stream));
                let reader = WireReader::Tls(Shared(Arc::clone(&shared)));
                (reader, WireWriter::Tls(Shared(shared)))
            }
        }
    }

    /// Resolves when the client has closed its connection. What it sends meanwhile stays unread, and the socket stays
    /// readable then; so the end that may follow it is looked for every 50 ms.
    pub async fn closed(&self) {
        while let Ok(ready) = self.tcp().ready(Interest::READABLE).await {
            if ready.is_read_closed() {
                return;
            }
            sleep(LOOK_AGAIN).await;
        }
    }
}

impl AsyncRead for Wire {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(cx, buffer),
            Self::Tls(stream) => Pin::new(&mut **stream).poll_read(cx, buffer),
        }
    }
}

impl AsyncWrite for Wire {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(cx, bytes),
            Self::Tls(stream) => Pin::new(&mut **stream).poll_write(cx, bytes),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write_vectored(cx, slices),
            Self::Tls(stream) => Pin::new(&mut **stream).poll_write_vectored(cx, slices),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Plain(stream) => stream.is_write_vectored(),
            Self::Tls(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Self::Tls(stream) => Pin::new(&mut **stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Tls(stream) => Pin::new(&mut **stream).poll_shutdown(cx),
        }
    }
}

impl AsyncRead for WireReader<'_> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(reader) => Pin::new(reader).poll_read(cx, buffer),
            Self::Tls(shared) => Pin::new(&mut **shared.lock()).poll_read(cx, buffer),
        }
    }
}

impl AsyncWrite for WireWriter<'_> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(writer) => Pin::new(writer).poll_write(cx, bytes),
            Self::Tls(shared) => Pin::new(&mut **shared.lock()).poll_write(cx, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(writer) => Pin::new(writer).poll_flush(cx),
            Self::Tls(shared) => Pin::new(&mut **shared.lock()).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(writer) => Pin::new(writer).poll_shutdown(cx),
            Self::Tls(shared) => Pin::new(&mut **shared.lock()).poll_shutdown(cx),
        }
    }
}

/// How late the end of a client is noticed that sent something before it.
const LOOK_AGAIN: Duration = Duration::from_millis(50);
