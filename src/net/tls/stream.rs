//! A connection after its TLS handshake. What is written is encrypted at once and then owed to the socket; what is read is
//! decrypted from a scratch buffer that all connections of a thread share.

use std::cell::RefCell;
use std::io::{self, Read, Write};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use rustls::client::ClientConnection;
use rustls::pki_types::ServerName;
use rustls::server::ServerConnection;
use rustls::{ClientConfig, Connection};
use sluicegate_core::certificate::Certificate;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;

use super::handshake::HandshakeError;

/// A connection that speaks TLS, with a client or a server at its other end.
#[derive(Debug)]
pub struct TlsStream {
    socket: TcpStream,
    session: Connection,
    /// What came from the socket and waits until earlier bytes are taken; at most [`READ_MAX`].
    ahead: Vec<u8>,
    /// The name in the client's certificate, if it was asked for one.
    identity: Option<Arc<str>>,
    sending: Sending,
}

/// Whether more may be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sending {
    /// It may.
    Open,
    /// The other side was told that nothing follows.
    Closed,
}

/// What is known of a handshake that is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Established {
    /// Both sides agreed on new secrets.
    Full,
    /// The client came back with a ticket.
    Resumed,
}

impl TlsStream {
    /// The server's side of a handshake that is about to begin. `early` is what was read from the socket already.
    pub(super) fn new(socket: TcpStream, session: ServerConnection, early: Vec<u8>) -> Self {
        Self::begin(socket, session.into(), early)
    }

    /// Shakes hands with the server at the other end of `socket`, which has to be `name` where `config` looks at that.
    pub(super) async fn connect(
        socket: TcpStream,
        config: Arc<ClientConfig>,
        name: ServerName<'static>,
    ) -> Result<Self, HandshakeError> {
        let session = ClientConnection::new(config, name)?;
        let mut stream = Self::begin(socket, session.into(), Vec::new());
        loop {
            stream.flush().await.map_err(HandshakeError::Closed)?;
            if !stream.is_handshaking() {
                return Ok(stream);
            }
            stream.receive().await.map_err(HandshakeError::Closed)?;
            stream.process()?;
        }
    }

    fn begin(socket: TcpStream, mut session: Connection, early: Vec<u8>) -> Self {
        session.set_buffer_limit(Some(WRITE_MAX));
        Self {
            socket,
            session,
            ahead: early,
            identity: None,
            sending: Sending::Open,
        }
    }

    /// The socket beneath.
    pub const fn tcp(&self) -> &TcpStream {
        &self.socket
    }

    /// The protocol that both sides agreed on by ALPN (RFC 7301).
    pub fn protocol(&self) -> Option<&[u8]> {
        self.session.alpn_protocol()
    }

    /// The name in the client's verified certificate.
    pub const fn identity(&self) -> Option<&Arc<str>> {
        self.identity.as_ref()
    }

    /// Whether the handshake goes on.
    pub(super) fn is_handshaking(&self) -> bool {
        self.session.is_handshaking()
    }

    /// Notes what the handshake found out.
    pub(super) fn finish_handshake(&mut self) -> Established {
        let leaf = self.session.peer_certificates().and_then(<[_]>::first);
        self.identity = leaf
            .and_then(|der| Certificate::parse(der).ok())
            .and_then(|certificate| certificate.first_name().map(Arc::from));
        match self.session.handshake_kind() {
            Some(rustls::HandshakeKind::Resumed) => Established::Resumed,
            _ => Established::Full,
        }
    }

    /// Waits for more of the other side's handshake and keeps it for [`TlsStream::process`].
    pub(super) async fn receive(&mut self) -> io::Result<()> {
        if !self.ahead.is_empty() {
            return Ok(());
        }
        self.socket.readable().await?;
        let mut room = vec![0; HANDSHAKE_READ];
        match self.socket.try_read(&mut room) {
            Ok(0) => Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(count) => {
                room.truncate(count);
                self.ahead = room;
                Ok(())
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Does what the received bytes ask for: in a handshake, that may be a signature.
    pub(super) fn process(&mut self) -> Result<(), rustls::Error> {
        let ahead = std::mem::take(&mut self.ahead);
        let used = self.decrypt(&ahead);
        if let Ok(used) = used
            && let Some(rest) = ahead.get(used..).filter(|rest| !rest.is_empty())
        {
            self.ahead = rest.to_vec();
        }
        used.map(drop)
    }

    /// Decrypts `input` until there is enough for the reader; says how much of it was used.
    fn decrypt(&mut self, input: &[u8]) -> Result<usize, rustls::Error> {
        let mut rest = input;
        while !rest.is_empty() {
            // It takes what it is given, because its reader took what was decrypted before.
            let taken = self.session.read_tls(&mut rest);
            taken.map_err(|error| rustls::Error::General(error.to_string()))?;
            let state = self.session.process_new_packets().inspect_err(|_| {
                // What is wrong is told, if anybody still listens.
                let _ = self.try_flush();
            })?;
            if state.peer_has_closed() {
                return Ok(input.len());
            }
            if state.plaintext_bytes_to_read() > PLAIN_MAX {
                break;
            }
        }
        Ok(input.len() - rest.len())
    }

    /// Writes as much as can be taken now.
    ///
    /// # Errors
    /// [`io::ErrorKind::WouldBlock`] when that is nothing; any other error ends the connection.
    pub fn try_write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.try_flush()?;
        let taken = self.session.writer().write(bytes)?;
        self.try_flush_some()?;
        Ok(taken)
    }

    /// The same for several slices.
    ///
    /// # Errors
    /// Those of [`TlsStream::try_write`].
    pub fn try_write_vectored(&mut self, slices: &[io::IoSlice<'_>]) -> io::Result<usize> {
        self.try_flush()?;
        let taken = self.session.writer().write_vectored(slices)?;
        self.try_flush_some()?;
        Ok(taken)
    }

    /// Passes on what the socket is owed. `WouldBlock` says that some is left.
    fn try_flush(&mut self) -> io::Result<()> {
        while self.session.wants_write() {
            if self.session.write_tls(&mut Socket(&self.socket))? == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
        }
        Ok(())
    }

    /// Passes on what the socket takes now of what it is owed.
    fn try_flush_some(&mut self) -> io::Result<()> {
        match self.try_flush() {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(()),
            flushed => flushed,
        }
    }

    /// Ready when the socket has taken everything that was written.
    pub fn poll_owed(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            match self.try_flush() {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    ready!(self.socket.poll_write_ready(cx))?;
                }
                flushed => return Poll::Ready(flushed),
            }
        }
    }

    /// Reads from the socket once, and decrypts what came.
    fn poll_more(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.ahead.is_empty() {
            return Poll::Ready(self.process().map_err(broken));
        }
        SCRATCH.with_borrow_mut(|scratch| {
            scratch.resize(READ_MAX, 0);
            let mut buffer = ReadBuf::new(scratch);
            ready!(Pin::new(&mut self.socket).poll_read(cx, &mut buffer))?;
            let input = buffer.filled();
            if input.is_empty() {
                // It is noted that the connection ended, so that what follows tells a cut from an end.
                let _ = self.session.read_tls(&mut io::empty());
                return Poll::Ready(Ok(()));
            }
            let used = self.decrypt(input).map_err(broken)?;
            self.ahead
                .extend_from_slice(input.get(used..).unwrap_or_default());
            Poll::Ready(Ok(()))
        })
    }
}

impl AsyncRead for TlsStream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let stream = self.get_mut();
        // A caller that waits for an answer needs what it wrote to be sent.
        if stream.session.wants_write()
            && let Poll::Ready(Err(error)) = stream.poll_owed(cx)
        {
            return Poll::Ready(Err(error));
        }
        loop {
            match stream.session.reader().read(buffer.initialize_unfilled()) {
                Ok(count) => {
                    buffer.advance(count);
                    return Poll::Ready(Ok(()));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    ready!(stream.poll_more(cx))?;
                }
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }
}

impl AsyncWrite for TlsStream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let stream = self.get_mut();
        loop {
            match stream.try_write(bytes) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    ready!(stream.socket.poll_write_ready(cx))?;
                }
                written => return Poll::Ready(written),
            }
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let stream = self.get_mut();
        loop {
            match stream.try_write_vectored(slices) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    ready!(stream.socket.poll_write_ready(cx))?;
                }
                written => return Poll::Ready(written),
            }
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().poll_owed(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let stream = self.get_mut();
        if stream.sending == Sending::Open {
            stream.sending = Sending::Closed;
            stream.session.send_close_notify();
        }
        ready!(stream.poll_owed(cx))?;
        Pin::new(&mut stream.socket).poll_shutdown(cx)
    }
}

impl Drop for TlsStream {
    /// Tells the other side that the end is one, as the end of a plain connection does by itself. If it takes nothing now,
    /// it does not hear it.
    fn drop(&mut self) {
        if self.sending == Sending::Open && !self.session.is_handshaking() {
            self.session.send_close_notify();
            let _ = self.try_flush();
        }
    }
}

/// A socket as rustls writes to it: what it does not take at once is `WouldBlock`.
struct Socket<'a>(&'a TcpStream);

impl Write for Socket<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.try_write(bytes)
    }

    fn write_vectored(&mut self, slices: &[io::IoSlice<'_>]) -> io::Result<usize> {
        self.0.try_write_vectored(slices)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn broken(error: rustls::Error) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

thread_local! {
    /// What a read of this thread takes from a socket.
    static SCRATCH: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// Of the socket at once: one record with its header and its tag (RFC 8446 §5.2), and a bit of the next.
const READ_MAX: usize = 18 * 1024;
/// Decrypted bytes that are enough for a reader; rustls takes no more ciphertext beyond them.
const PLAIN_MAX: usize = 16 * 1024;
/// Bytes that are encrypted ahead of a socket that does not take them: what a stalled viewer costs beyond its plain
/// bytes.
const WRITE_MAX: usize = 32 * 1024;
/// Of a handshake at once: most first messages are shorter.
const HANDSHAKE_READ: usize = 2 * 1024;
