//! A connection after its TLS handshake. What is written is encrypted in a buffer that all connections of a thread share, and
//! goes to the socket at once; what is read is decrypted in another one. A connection keeps what the socket does not take, what
//! its reader does not take, and the beginning of a record whose rest has yet to come: where nothing flows, nothing.

use std::cell::RefCell;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use rustls::client::UnbufferedClientConnection;
use rustls::pki_types::ServerName;
use rustls::server::UnbufferedServerConnection;
use rustls::{ClientConfig, ServerConfig};
use sluicegate_core::certificate::Certificate;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;

use super::handshake::HandshakeError;
use super::session::{Ciphertext, Next, Outcome, Session, Wanted};

/// A connection that speaks TLS, with a client or a server at its other end.
#[derive(Debug)]
pub struct TlsStream {
    socket: TcpStream,
    session: Session,
    /// The beginning of a record or of a message whose rest has yet to come; at most [`INCOMPLETE_MAX`]. In a handshake, also
    /// what came and was not looked at.
    ahead: Vec<u8>,
    /// There is something in `ahead` that was not looked at.
    unseen: bool,
    /// Decrypted bytes that the reader has yet to take: no more than came with one read.
    plain: Rest,
    /// Encrypted bytes that the socket has yet to take.
    owed: Rest,
    /// The name in the client's certificate, if it was asked for one.
    identity: Option<Arc<str>>,
    sending: Sending,
    receiving: Receiving,
}

/// Bytes that somebody takes bit by bit.
#[derive(Debug, Default)]
struct Rest {
    bytes: Vec<u8>,
    taken: usize,
}

impl Rest {
    fn left(&self) -> &[u8] {
        self.bytes.get(self.taken..).unwrap_or_default()
    }

    fn is_empty(&self) -> bool {
        self.left().is_empty()
    }

    /// The room is given back with the last byte.
    fn take(&mut self, count: usize) {
        self.taken += count;
        if self.is_empty() {
            *self = Self::default();
        }
    }
}

/// Whether more may be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sending {
    /// It may.
    Open,
    /// The other side was told that nothing follows, or what is wrong.
    Closed,
}

/// Whether more may come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Receiving {
    /// It may.
    Open,
    /// The other side said that nothing follows.
    Ended,
    /// The connection ended, and the other side did not say so.
    Cut,
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
    ///
    /// # Errors
    /// When `config` cannot be used.
    pub(super) fn accept(
        socket: TcpStream,
        config: Arc<ServerConfig>,
        early: Vec<u8>,
    ) -> Result<Self, rustls::Error> {
        let session = Session::Server(UnbufferedServerConnection::new(config)?);
        Ok(Self::begin(socket, session, early))
    }

    /// Shakes hands with the server at the other end of `socket`, which has to be `name` where `config` looks at that.
    pub(super) async fn connect(
        socket: TcpStream,
        config: Arc<ClientConfig>,
        name: ServerName<'static>,
    ) -> Result<Self, HandshakeError> {
        let session = Session::Client(UnbufferedClientConnection::new(config, name)?);
        let mut stream = Self::begin(socket, session, Vec::new());
        loop {
            stream.process()?;
            stream.flush().await.map_err(HandshakeError::Closed)?;
            if !stream.is_handshaking() {
                return Ok(stream);
            }
            stream.receive().await.map_err(HandshakeError::Closed)?;
        }
    }

    fn begin(socket: TcpStream, session: Session, early: Vec<u8>) -> Self {
        Self {
            socket,
            session,
            unseen: !early.is_empty(),
            ahead: early,
            plain: Rest::default(),
            owed: Rest::default(),
            identity: None,
            sending: Sending::Open,
            receiving: Receiving::Open,
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
        if self.unseen {
            return Ok(());
        }
        if self.ahead.len() >= INCOMPLETE_MAX {
            return Err(io::ErrorKind::InvalidData.into());
        }
        self.socket.readable().await?;
        let known = self.ahead.len();
        self.ahead.resize(known + HANDSHAKE_READ, 0);
        let room = self.ahead.get_mut(known..).unwrap_or_default();
        let read = self.socket.try_read(room);
        self.ahead
            .truncate(known + read.as_ref().map_or(0, |count| *count));
        match read {
            Ok(0) => Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(_) => {
                self.unseen = true;
                Ok(())
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Does what the received bytes ask for: in a handshake, that may be a signature.
    pub(super) fn process(&mut self) -> Result<(), rustls::Error> {
        let mut ahead = std::mem::take(&mut self.ahead);
        self.unseen = false;
        let used = self.decrypt(&mut ahead, &mut ReadBuf::new(&mut []))?;
        ahead.drain(..used);
        if !ahead.is_empty() {
            self.ahead = ahead;
        }
        Ok(())
    }

    /// Decrypts what is whole of `input` into `buffer`, and what does not fit there into what is kept for the reader; says how
    /// much of `input` was used. After an error the session is asked for nothing more: it knows places of bytes that are gone.
    fn decrypt(
        &mut self,
        input: &mut [u8],
        buffer: &mut ReadBuf<'_>,
    ) -> Result<usize, rustls::Error> {
        with_ciphertext_room(|room| {
            let (mut used, mut failed) = (0, None);
            let kept = &mut self.plain.bytes;
            let mut take = |plain: &[u8]| {
                let (fits, rest) = plain.split_at(plain.len().min(buffer.remaining()));
                buffer.put_slice(fits);
                kept.extend_from_slice(rest);
            };
            let mut outcome = Outcome {
                ciphertext: Ciphertext::new(room),
                plain: &mut take,
                has_ended: false,
            };
            loop {
                let rest = input.get_mut(used..).unwrap_or_default();
                match self.session.turn(rest, Wanted::Nothing, &mut outcome) {
                    Ok((count, next)) => {
                        used += count;
                        if next == Next::Input {
                            break;
                        }
                    }
                    Err(error) => {
                        self.session.last_word(&mut outcome);
                        failed = Some(error);
                        break;
                    }
                }
            }
            if outcome.has_ended {
                self.receiving = Receiving::Ended;
            }
            // Where the other side is gone, the next read says so.
            let _ = send(&self.socket, &mut self.owed, outcome.ciphertext.bytes());
            if let Some(error) = failed {
                (self.sending, self.receiving) = (Sending::Closed, Receiving::Cut);
                return Err(error);
            }
            Ok(used)
        })
    }

    /// Has the session do what is `wanted`, and sends what comes of it as far as the socket takes it now.
    fn want(&mut self, wanted: Wanted<'_>) -> io::Result<()> {
        if self.sending == Sending::Closed {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        with_ciphertext_room(|room| {
            let kept = &mut self.plain.bytes;
            let mut take = |plain: &[u8]| kept.extend_from_slice(plain);
            let mut outcome = Outcome {
                ciphertext: Ciphertext::new(room),
                plain: &mut take,
                has_ended: false,
            };
            loop {
                // What came and waits is looked at first, because its beginning may be part of what was seen.
                match self.session.turn(&mut self.ahead, wanted, &mut outcome) {
                    Ok((used, next)) => {
                        self.ahead.drain(..used);
                        if next == Next::Input {
                            break;
                        }
                    }
                    Err(error) => {
                        (self.sending, self.receiving) = (Sending::Closed, Receiving::Cut);
                        return Err(broken(error));
                    }
                }
            }
            if outcome.has_ended {
                self.receiving = Receiving::Ended;
            }
            send(&self.socket, &mut self.owed, outcome.ciphertext.bytes())
        })
    }

    /// Tells the other side that nothing follows.
    fn close(&mut self) -> io::Result<()> {
        if self.sending == Sending::Closed {
            return Ok(());
        }
        let told = self.want(Wanted::Close);
        self.sending = Sending::Closed;
        told
    }

    /// Writes as much as can be taken now.
    ///
    /// # Errors
    /// [`io::ErrorKind::WouldBlock`] when that is nothing; any other error ends the connection.
    pub fn try_write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.try_flush()?;
        let taken = bytes.get(..WRITE_MAX).unwrap_or(bytes);
        if !taken.is_empty() {
            self.want(Wanted::Encrypted(taken))?;
        }
        Ok(taken.len())
    }

    /// The same for several slices.
    ///
    /// # Errors
    /// Those of [`TlsStream::try_write`].
    pub fn try_write_vectored(&mut self, slices: &[io::IoSlice<'_>]) -> io::Result<usize> {
        if let [one] = slices {
            return self.try_write(one);
        }
        self.try_flush()?;
        // As few records as possible: each costs bytes, and both sides some work.
        TOGETHER.with_borrow_mut(|together| {
            together.clear();
            for slice in slices {
                let room = WRITE_MAX - together.len();
                together.extend_from_slice(slice.get(..room).unwrap_or(slice));
            }
            self.try_write(together)
        })
    }

    /// Passes on what the socket is owed. `WouldBlock` says that some is left.
    fn try_flush(&mut self) -> io::Result<()> {
        while !self.owed.is_empty() {
            match self.socket.try_write(self.owed.left())? {
                0 => return Err(io::ErrorKind::WriteZero.into()),
                count => self.owed.take(count),
            }
        }
        Ok(())
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
    fn poll_more(
        &mut self,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let known = self.ahead.len();
        if known >= INCOMPLETE_MAX {
            return Poll::Ready(Err(io::ErrorKind::InvalidData.into()));
        }
        SCRATCH.with_borrow_mut(|scratch| {
            scratch.resize(INCOMPLETE_MAX + READ_MAX, 0);
            let (before, room) = scratch.split_at_mut(known);
            let mut read = ReadBuf::new(room.get_mut(..READ_MAX).unwrap_or_default());
            ready!(Pin::new(&mut self.socket).poll_read(cx, &mut read))?;
            let count = read.filled().len();
            if count == 0 {
                self.receiving = Receiving::Cut;
                return Poll::Ready(Ok(()));
            }
            before.copy_from_slice(&self.ahead);
            let input = scratch.get_mut(..known + count).unwrap_or_default();
            let used = self.decrypt(input, buffer).map_err(broken)?;
            let rest = input.get(used..).unwrap_or_default();
            if rest.is_empty() {
                self.ahead = Vec::new();
            } else {
                self.ahead.clear();
                self.ahead.extend_from_slice(rest);
            }
            Poll::Ready(Ok(()))
        })
    }
}

/// Lends the room in which this thread encrypts. At the end of a thread it may be gone before the last connection, which says
/// that it ends.
fn with_ciphertext_room<T>(work: impl FnOnce(&mut Vec<u8>) -> T) -> T {
    let mut room = CIPHERTEXT.try_with(RefCell::take).unwrap_or_default();
    let done = work(&mut room);
    let _ = CIPHERTEXT.try_with(|kept| kept.replace(room));
    done
}

/// Sends what the socket takes now, after what it is owed; what it does not take is owed.
fn send(socket: &TcpStream, owed: &mut Rest, bytes: &[u8]) -> io::Result<()> {
    let mut rest = bytes;
    while owed.is_empty() && !rest.is_empty() {
        match socket.try_write(rest) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(count) => rest = rest.get(count..).unwrap_or_default(),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
            Err(error) => return Err(error),
        }
    }
    owed.bytes.extend_from_slice(rest);
    Ok(())
}

impl AsyncRead for TlsStream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let stream = self.get_mut();
        // A caller that waits for an answer needs what it wrote to be sent.
        if !stream.owed.is_empty()
            && let Poll::Ready(Err(error)) = stream.poll_owed(cx)
        {
            return Poll::Ready(Err(error));
        }
        let before = buffer.filled().len();
        loop {
            if !stream.plain.is_empty() {
                let left = stream.plain.left();
                let count = left.len().min(buffer.remaining());
                buffer.put_slice(left.get(..count).unwrap_or_default());
                stream.plain.take(count);
            }
            if buffer.filled().len() > before || buffer.remaining() == 0 {
                return Poll::Ready(Ok(()));
            }
            match stream.receiving {
                Receiving::Open => ready!(stream.poll_more(cx, buffer))?,
                Receiving::Ended => return Poll::Ready(Ok(())),
                Receiving::Cut => return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into())),
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
        stream.close()?;
        ready!(stream.poll_owed(cx))?;
        Pin::new(&mut stream.socket).poll_shutdown(cx)
    }
}

impl Drop for TlsStream {
    /// Tells the other side that the end is one, as the end of a plain connection does by itself. If it takes nothing now,
    /// it does not hear it.
    fn drop(&mut self) {
        if !self.session.is_handshaking() {
            let _ = self.close();
            let _ = self.try_flush();
        }
    }
}

fn broken(error: rustls::Error) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

thread_local! {
    /// What a read of this thread takes from a socket, after the beginning of a record that came before.
    static SCRATCH: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
    /// What is encrypted in this thread, until it is sent.
    static CIPHERTEXT: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
    /// What is encrypted together, from several slices.
    static TOGETHER: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// Of the socket at once: one record with its header and its tag (RFC 8446 §5.2), and a bit of the next.
const READ_MAX: usize = 18 * 1024;
/// Bytes that wait for the rest of a record or of a message: rustls takes no longer message of a handshake.
const INCOMPLETE_MAX: usize = 64 * 1024;
/// Bytes that are encrypted at once, and so ahead of a socket that does not take them: what a stalled viewer costs beyond its
/// plain bytes.
const WRITE_MAX: usize = 32 * 1024;
/// Of a handshake at once: most first messages are shorter.
const HANDSHAKE_READ: usize = 2 * 1024;

#[cfg(test)]
mod tests {
    use rustls::RootCertStore;
    use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
    use tokio::io::AsyncReadExt;
    use tokio::net::TcpListener;
    use tokio_rustls::TlsConnector;
    use tokio_rustls::client::TlsStream as Peer;

    use super::super::entrance::VERSIONS;
    use super::*;
    use crate::pem::provider;

    /// A server's settings, and those of a client that believes it.
    fn configs() -> (Arc<ServerConfig>, Arc<ClientConfig>) {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let key = PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
        let mut roots = RootCertStore::empty();
        roots.add(made.cert.der().clone()).unwrap();
        let server = ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(VERSIONS)
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.der().clone()], PrivateKeyDer::Pkcs8(key));
        let client = ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(VERSIONS)
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        (Arc::new(server.unwrap()), Arc::new(client))
    }

    fn name() -> ServerName<'static> {
        ServerName::try_from("localhost").unwrap()
    }

    /// Two sockets that are connected.
    async fn sockets() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let at = listener.local_addr().unwrap();
        let (out, accepted) = tokio::join!(TcpStream::connect(at), listener.accept());
        (out.unwrap(), accepted.unwrap().0)
    }

    async fn accepted(socket: TcpStream, config: Arc<ServerConfig>) -> TlsStream {
        let mut stream = TlsStream::accept(socket, config, Vec::new()).unwrap();
        while stream.is_handshaking() {
            stream.receive().await.unwrap();
            stream.process().unwrap();
            stream.flush().await.unwrap();
        }
        stream
    }

    /// Our server, and a client of another implementation.
    async fn with_peer() -> (TlsStream, Peer<TcpStream>) {
        let (server, client) = configs();
        let (out, came) = sockets().await;
        let peer = TlsConnector::from(client).connect(name(), out);
        let (ours, peer) = tokio::join!(accepted(came, server), peer);
        (ours, peer.unwrap())
    }

    /// Bytes that show where they belong.
    fn bytes(count: usize) -> Vec<u8> {
        (0..count).map(|at| (at % 251) as u8).collect()
    }

    const SIZES: [usize; 8] = [1, 300, 1, 16_384, 16_385, 40_000, 100_000, 7];

    async fn write_all(stream: &mut (impl AsyncWrite + Unpin), all: &[u8]) {
        let mut rest = all;
        for size in SIZES.iter().cycle() {
            let (now, later) = rest.split_at(rest.len().min(*size));
            stream.write_all(now).await.unwrap();
            rest = later;
            if rest.is_empty() {
                break;
            }
        }
        stream.flush().await.unwrap();
    }

    async fn read_all(stream: &mut (impl AsyncRead + Unpin), count: usize) -> Vec<u8> {
        let mut got = Vec::new();
        let mut part = vec![0; 70_000];
        for size in SIZES.iter().cycle() {
            let most = (*size).min(count - got.len()).min(part.len());
            let read = stream.read(&mut part[..most]).await.unwrap();
            assert!(read > 0, "an end after {} of {count}", got.len());
            got.extend_from_slice(&part[..read]);
            if got.len() == count {
                break;
            }
        }
        got
    }

    fn keeps_nothing(stream: &TlsStream) -> bool {
        let kept = [&stream.ahead, &stream.plain.bytes, &stream.owed.bytes];
        kept.iter().all(|bytes| bytes.capacity() == 0)
    }

    #[tokio::test]
    async fn bytes_arrive_in_their_order_and_nothing_is_kept() {
        let (server, client) = configs();
        let (out, came) = sockets().await;
        let (ours, theirs) = tokio::join!(
            accepted(came, server),
            TlsStream::connect(out, client, name())
        );
        let (mut ours, mut theirs) = (ours, theirs.unwrap());
        let all = bytes(900_000);
        for _ in 0..2 {
            let (got, ()) =
                tokio::join!(read_all(&mut theirs, all.len()), write_all(&mut ours, &all));
            assert!(got == all, "to the client");
            let (got, ()) =
                tokio::join!(read_all(&mut ours, all.len()), write_all(&mut theirs, &all));
            assert!(got == all, "to the server");
        }
        assert!(keeps_nothing(&ours) && keeps_nothing(&theirs));
    }

    #[tokio::test]
    async fn several_slices_are_one_text() {
        let (mut ours, mut peer) = with_peer().await;
        let all = bytes(100_000);
        let slices: Vec<_> = all.chunks(3_000).map(io::IoSlice::new).collect();
        let written = ours.try_write_vectored(&slices).unwrap();
        assert_eq!(written, WRITE_MAX, "as much as is taken at once");
        assert!(read_all(&mut peer, written).await == all[..written]);
        assert_eq!(ours.try_write_vectored(&[]).unwrap(), 0);
        assert_eq!(ours.try_write(&[]).unwrap(), 0);
    }

    #[tokio::test]
    async fn a_handshake_and_records_may_come_byte_by_byte() {
        let (server, client) = configs();
        let (out, mut passes_in) = sockets().await;
        let (mut passes_out, came) = sockets().await;
        let passing = tokio::spawn(async move {
            let (mut from_client, mut to_client) = passes_in.split();
            let (mut from_server, mut to_server) = passes_out.split();
            let slowly = async {
                let mut one = [0];
                while from_client
                    .read(&mut one)
                    .await
                    .is_ok_and(|count| count > 0)
                {
                    to_server.write_all(&one).await.unwrap();
                }
            };
            tokio::join!(slowly, tokio::io::copy(&mut from_server, &mut to_client)).1
        });
        let connecting = TlsConnector::from(client).connect(name(), out);
        let (mut ours, peer) = tokio::join!(accepted(came, server), connecting);
        let mut peer = peer.unwrap();
        let all = bytes(40_000);
        let (got, ()) = tokio::join!(read_all(&mut ours, all.len()), write_all(&mut peer, &all));
        assert!(got == all);
        assert!(keeps_nothing(&ours));
        passing.abort();
    }

    #[tokio::test]
    async fn keys_may_be_replaced_on_the_way() {
        let (mut ours, mut peer) = with_peer().await;
        let all = bytes(50_000);
        for _ in 0..3 {
            peer.get_mut().1.refresh_traffic_keys().unwrap();
            let (got, ()) =
                tokio::join!(read_all(&mut ours, all.len()), write_all(&mut peer, &all));
            assert!(got == all);
            let (got, ()) =
                tokio::join!(read_all(&mut peer, all.len()), write_all(&mut ours, &all));
            assert!(got == all);
        }
        assert!(keeps_nothing(&ours));
    }

    #[tokio::test]
    async fn a_slow_reader_is_owed_a_bounded_number_of_bytes() {
        let (mut ours, mut peer) = with_peer().await;
        let all = bytes(8_000_000);
        let mut sent = 0;
        loop {
            match ours.try_write(&all[sent..]) {
                Ok(count) => sent += count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => panic!("{error}"),
            }
        }
        assert!(sent < all.len(), "the socket is full");
        let owed = ours.owed.left().len();
        assert!((1..=WRITE_MAX + 1024).contains(&owed), "{owed}");
        let (got, flushed) = tokio::join!(read_all(&mut peer, sent), ours.flush());
        flushed.unwrap();
        assert!(got == all[..sent]);
        assert!(keeps_nothing(&ours));
    }

    #[tokio::test]
    async fn an_end_is_told_from_a_cut() {
        let (mut ours, mut peer) = with_peer().await;
        peer.write_all(b"last").await.unwrap();
        peer.shutdown().await.unwrap();
        let mut got = Vec::new();
        ours.read_to_end(&mut got).await.unwrap();
        assert_eq!(got, b"last");
        ours.write_all(b"heard").await.unwrap();
        drop(ours);
        let mut got = Vec::new();
        peer.read_to_end(&mut got).await.unwrap();
        assert_eq!(got, b"heard", "and its end is told as well");

        let (mut ours, mut peer) = with_peer().await;
        // The socket ends, and TLS has not said so.
        peer.get_mut().0.shutdown().await.unwrap();
        let cut = ours.read(&mut [0; 9]).await.unwrap_err();
        assert_eq!(cut.kind(), io::ErrorKind::UnexpectedEof);
    }

    #[tokio::test]
    async fn what_is_no_record_ends_the_connection_with_a_word() {
        let (mut ours, mut peer) = with_peer().await;
        // Nobody has encrypted this.
        let forged = [0x17, 3, 3, 0, 20].into_iter().chain([7; 20]);
        let forged: Vec<u8> = forged.collect();
        peer.get_mut().0.write_all(&forged).await.unwrap();
        let error = ours.read(&mut [0; 9]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
        let again = ours.read(&mut [0; 9]).await.unwrap_err();
        assert_eq!(again.kind(), io::ErrorKind::UnexpectedEof);
        assert_eq!(
            ours.try_write(b"more").unwrap_err().kind(),
            io::ErrorKind::BrokenPipe
        );
        let told = peer.read(&mut [0; 9]).await.unwrap_err();
        assert!(told.to_string().contains("BadRecordMac"), "{told}");
    }
}
