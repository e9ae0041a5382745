//! Copies in both directions between a client and an origin until one of them is done.
//!
//! Each worker thread has one scratch buffer that all its sessions read into; what the other side takes at once
//! never touches the heap. Only what a slow receiver left over is kept, and while it is kept nothing more is
//! read from its sender, so a session holds at most [`READ_MAX`] bytes.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};

use sluicegate_core::place::leg::LegEnd;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use super::tls::TlsStream;
use super::wire::Wire;
use crate::sessions::{Direction, EndReason, Over, Row};

/// What happens to the bytes of a session on their way: nothing, or a walk that watches them.
pub trait Passage {
    /// What goes on to the client for `input` from the origin.
    ///
    /// # Errors
    /// Why the leg is over, when the origin breaks its protocol.
    fn to_client<'a>(&'a mut self, input: &'a [u8]) -> Result<&'a [u8], LegEnd>;

    /// What goes on to the origin for `input` from the client.
    ///
    /// # Errors
    /// The reason to end the session, when the client breaks its protocol.
    fn to_origin<'a>(&'a mut self, input: &'a [u8]) -> Result<&'a [u8], EndReason>;

    /// Called after each read from the origin, before the bytes are looked at.
    fn read_from_origin(&mut self, _origin: &TcpStream) {}

    /// Called after what came out was written.
    ///
    /// # Errors
    /// The reason to end the session, for what was seen in the bytes that passed.
    fn passed(&mut self) -> Result<(), EndReason> {
        Ok(())
    }

    /// Why the leg is over by what passed, whether or not its origin closes it: nothing more is read from there.
    fn leg_end(&self) -> Option<LegEnd> {
        None
    }

    /// What the passage has to tell the client by itself, at a place where the origin has nothing half said.
    fn words(&mut self) -> Option<Vec<u8>> {
        None
    }

    /// Moves what travels beside the two connections; ready when that ends the leg or the session. `is_even`: the origin
    /// has taken all that passed to it.
    fn poll_beside(&mut self, _cx: &mut Context<'_>, _is_even: bool) -> Poll<Over> {
        Poll::Pending
    }
}

/// Serves one connection: `set_up` joins a pair, if it comes to that, and `relay` serves the pair to its end. Set-up takes
/// tens of kilobytes and milliseconds, relaying takes hours: it does not keep that room.
pub fn set_up_then<P, F>(
    set_up: impl Future<Output = Option<P>> + Send + 'static,
    relay: impl FnOnce(P) -> F + Send + 'static,
) -> impl Future<Output = ()> + Send + 'static
where
    P: Send + 'static,
    F: Future<Output = ()> + Send + 'static,
{
    let set_up = Box::pin(set_up);
    async move {
        if let Some(pair) = set_up.await {
            relay(pair).await;
        }
    }
}

/// How a joined pair came apart.
#[derive(Debug, PartialEq, Eq)]
pub struct Ending {
    /// What is over, and why.
    pub over: Over,
    /// What the client has yet to take. Only when that is nothing may a last word of ours follow.
    pub rest: Vec<u8>,
}

/// Joins the two until one side closes, fails, or the session is ended from outside; says which, and why. The client gets
/// `first` before anything else; it is counted already. Bytes that one side sent before it closed still reach the
/// other, if it takes them.
pub fn join<'a>(
    client: &'a mut Wire,
    origin: &'a mut Wire,
    row: &'a Row,
    passage: &'a mut impl Passage,
    first: Vec<u8>,
) -> impl Future<Output = Ending> {
    let mut to_client = Half::new(Direction::ToClient);
    to_client.left_over = LeftOver::new(first);
    to_client.closed = passage.leg_end().map(Over::Leg);
    let mut joined = Joined {
        client,
        to_client,
        to_origin: Half::new(Direction::ToOrigin),
        row,
        passage,
    };
    // It is made out here, because what is moved within a future is kept twice in it, for hours.
    async move {
        let mut interrupted = pin!(row.interrupted());
        let mut poll = |cx: &mut Context<'_>| match origin {
            Wire::Plain(origin) => joined.poll(cx, origin),
            Wire::Tls(origin) => joined.poll(cx, &mut **origin),
        };
        let over = poll_fn(|cx| match poll(cx) {
            Poll::Pending => interrupted.as_mut().poll(cx),
            ready => ready,
        });
        Ending {
            over: over.await,
            rest: LeftOver::rest(joined.to_client.left_over),
        }
    }
}

/// A joined pair.
struct Joined<'a, P> {
    client: &'a mut Wire,
    to_client: Half,
    to_origin: Half,
    row: &'a Row,
    passage: &'a mut P,
}

impl<P: Passage> Joined<'_, P> {
    /// Moves what can be moved now, both ways; ready when that is over. It is compiled for each kind of origin leg.
    fn poll(&mut self, cx: &mut Context<'_>, origin: &mut impl End) -> Poll<Over> {
        let (row, passage) = (self.row, &mut *self.passage);
        let client = &mut *self.client;
        loop {
            if let Poll::Ready(over) = self.to_client.poll(cx, origin, client, row, passage) {
                return Poll::Ready(over);
            }
            if let Poll::Ready(over) = self.to_origin.poll(cx, client, origin, row, passage) {
                return Poll::Ready(over);
            }
            if let Poll::Ready(over) = passage.poll_beside(cx, self.to_origin.is_even()) {
                return Poll::Ready(over);
            }
            // While a slow client has yet to take something, its socket wakes this again.
            if self.to_client.left_over.is_some() {
                return Poll::Pending;
            }
            match passage.words() {
                Some(words) => self.to_client.left_over = LeftOver::new(words),
                None => return Poll::Pending,
            }
        }
    }
}

/// What a direction reads from or writes to. Each direction is compiled for its two ends, so that none of this is
/// decided while packets pass.
trait End: AsyncRead + AsyncWrite + Unpin {
    /// Writes as much as it takes now.
    fn try_write(&mut self, bytes: &[u8]) -> io::Result<usize>;

    /// Ready when nothing of what was written waits in this process.
    fn poll_owed(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>>;

    /// The socket beneath.
    fn tcp(&self) -> &TcpStream;
}

impl End for TcpStream {
    fn try_write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Self::try_write(self, bytes)
    }

    fn poll_owed(&mut self, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn tcp(&self) -> &TcpStream {
        self
    }
}

impl End for TlsStream {
    fn try_write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Self::try_write(self, bytes)
    }

    fn poll_owed(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Self::poll_owed(self, cx)
    }

    fn tcp(&self) -> &TcpStream {
        Self::tcp(self)
    }
}

impl End for Wire {
    fn try_write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Self::try_write(self, bytes)
    }

    fn poll_owed(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Self::poll_owed(self, cx)
    }

    fn tcp(&self) -> &TcpStream {
        Self::tcp(self)
    }
}

/// One direction of a joined pair.
struct Half {
    direction: Direction,
    // Boxed: most receivers take what they get, for hours.
    left_over: Option<Box<LeftOver>>,
    /// Each read is of at most two to this power of bytes: one byte, since thousands of connections keep it for hours.
    read_power: u8,
    /// The receiver took what was written, and its socket did not yet.
    owing: bool,
    closed: Option<Over>,
}

/// What a receiver did not take at once.
struct LeftOver {
    bytes: Vec<u8>,
    taken: usize,
}

impl LeftOver {
    /// `None`: there is nothing.
    fn new(bytes: Vec<u8>) -> Option<Box<Self>> {
        (!bytes.is_empty()).then(|| Box::new(Self { bytes, taken: 0 }))
    }

    /// What is still to be taken.
    fn rest(left_over: Option<Box<Self>>) -> Vec<u8> {
        left_over.map_or_else(Vec::new, |mut left_over| {
            left_over.bytes.split_off(left_over.taken)
        })
    }
}

impl Half {
    const fn new(direction: Direction) -> Self {
        Self {
            direction,
            left_over: None,
            read_power: READ_FIRST,
            owing: false,
            closed: None,
        }
    }

    fn poll(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut impl End,
        to: &mut impl End,
        row: &Row,
        passage: &mut impl Passage,
    ) -> Poll<Over> {
        loop {
            if let Err(over) = ready!(self.poll_left_over(cx, to, row)) {
                return Poll::Ready(over);
            }
            if let Some(over) = self.closed {
                return Poll::Ready(over);
            }
            let step = SCRATCH.with_borrow_mut(|scratch| {
                let Some(input) = ready!(self.poll_input(cx, scratch, from)) else {
                    return Poll::Ready(Err(self.sender_closed()));
                };
                Poll::Ready(self.pass(input, from, to, row, passage))
            });
            if let Err(over) = ready!(step) {
                self.closed = Some(over);
            }
        }
    }

    /// One read; `None` when the sender has closed.
    fn poll_input<'b>(
        &self,
        cx: &mut Context<'_>,
        scratch: &'b mut Vec<u8>,
        from: &mut impl End,
    ) -> Poll<Option<&'b [u8]>> {
        if scratch.is_empty() {
            scratch.resize(READ_MAX, 0);
        }
        let room = scratch
            .get_mut(..1 << self.read_power)
            .expect("a read is at most READ_MAX");
        let mut buffer = ReadBuf::new(room);
        // `poll_read` clears the socket's readiness on a short read, which saves the read that finds nothing.
        let read = ready!(Pin::new(from).poll_read(cx, &mut buffer));
        let count = buffer.filled().len();
        let input = scratch.get(..count).unwrap_or_default();
        Poll::Ready((read.is_ok() && count > 0).then_some(input))
    }

    /// Passes a read on: as much of it as the receiver takes is written.
    fn pass(
        &mut self,
        input: &[u8],
        from: &impl End,
        to: &mut impl End,
        row: &Row,
        passage: &mut impl Passage,
    ) -> Result<(), Over> {
        let count = input.len();
        row.count(self.direction, count);
        let mut rest = match self.direction {
            Direction::ToClient => {
                passage.read_from_origin(from.tcp());
                passage.to_client(input).map_err(Over::Leg)?
            }
            Direction::ToOrigin => passage.to_origin(input).map_err(Over::Session)?,
        };
        while !rest.is_empty() {
            match to.try_write(rest) {
                Ok(wrote) => rest = rest.get(wrote..).unwrap_or_default(),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(_) => return Err(self.receiver_closed()),
            }
        }
        if rest.is_empty() {
            if count == 1 << self.read_power {
                self.read_power = (self.read_power + 1).min(READ_LARGEST);
            }
        } else {
            self.left_over = LeftOver::new(rest.to_vec());
            self.read_power = READ_SLOW;
            row.blocked(self.direction, true);
        }
        passage.passed().map_err(Over::Session)?;
        passage.leg_end().map_or(Ok(()), |end| Err(Over::Leg(end)))
    }

    /// Writes what the receiver did not take before.
    fn poll_left_over(
        &mut self,
        cx: &mut Context<'_>,
        to: &mut impl End,
        row: &Row,
    ) -> Poll<Result<(), Over>> {
        let Some(left_over) = &mut self.left_over else {
            return self.poll_owed(cx, to, row);
        };
        while let Some(rest) = left_over
            .bytes
            .get(left_over.taken..)
            .filter(|rest| !rest.is_empty())
        {
            match Pin::new(&mut *to).poll_write(cx, rest) {
                Poll::Ready(Ok(wrote)) if wrote > 0 => {
                    left_over.taken += wrote;
                    row.blocked(self.direction, false);
                }
                Poll::Ready(_) => return Poll::Ready(Err(self.receiver_closed())),
                Poll::Pending => {
                    row.blocked(self.direction, true);
                    return Poll::Pending;
                }
            }
        }
        row.blocked(self.direction, false);
        self.left_over = None;
        self.poll_owed(cx, to, row)
    }

    /// Passes on what the receiver's side of this process took and its socket did not. A receiver that takes nothing of it
    /// stalls like any other.
    fn poll_owed(
        &mut self,
        cx: &mut Context<'_>,
        to: &mut impl End,
        row: &Row,
    ) -> Poll<Result<(), Over>> {
        match to.poll_owed(cx) {
            Poll::Ready(Ok(())) => {
                if std::mem::take(&mut self.owing) {
                    row.blocked(self.direction, false);
                }
                Poll::Ready(Ok(()))
            }
            Poll::Ready(Err(_)) => Poll::Ready(Err(self.receiver_closed())),
            Poll::Pending => {
                self.owing = true;
                row.blocked(self.direction, true);
                Poll::Pending
            }
        }
    }

    /// Whether the receiver has taken all that passed.
    const fn is_even(&self) -> bool {
        self.left_over.is_none() && !self.owing
    }

    const fn sender_closed(&self) -> Over {
        match self.direction {
            Direction::ToClient => Over::Leg(LegEnd::Closed),
            Direction::ToOrigin => Over::Session(EndReason::ClientClosed),
        }
    }

    const fn receiver_closed(&self) -> Over {
        match self.direction {
            Direction::ToClient => Over::Session(EndReason::ClientClosed),
            Direction::ToOrigin => Over::Leg(LegEnd::Reset),
        }
    }
}

/// Asks the kernel to acknowledge what comes on `stream` at once, or only with what goes out and every second
/// read. Neither sticks. Set-up sets the first after each read, because SRS and nginx-rtmp wait 40 ms for the
/// acknowledgement of their handshake.
pub fn acknowledge_at_once(stream: &TcpStream, at_once: bool) {
    let _ = socket2::SockRef::from(stream).set_tcp_quickack(at_once);
}

/// Keeps the acknowledgements of an origin's media delayed: it needs no answer each time, and a third of the packets of a
/// stream are saved. After a pause in which the kernel's timer had to acknowledge (40 ms and more), it goes back
/// to one for each frame, for good; so it is asked again.
#[derive(Debug, Default)]
pub struct DelayedAcks {
    reads: u8,
}

impl DelayedAcks {
    /// Called after each read of media.
    pub fn read(&mut self, origin: &TcpStream) {
        if self.reads == 0 {
            acknowledge_at_once(origin, false);
        }
        self.reads = (self.reads + 1) % ASK_AGAIN;
    }
}

thread_local! {
    static SCRATCH: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// The kernel is asked again after this many reads to delay acknowledgements: half a second of video, and no cost.
const ASK_AGAIN: u8 = 16;
/// The largest read, and the size of the scratch buffer of a worker.
pub const READ_MAX: usize = 1 << READ_LARGEST;
const READ_LARGEST: u8 = 18;
/// A new session reads 64 KiB at once; full reads double it.
const READ_FIRST: u8 = 16;
/// After a receiver was slow its sender is read in steps of 16 KiB, so that thousands of stalled viewers stay cheap.
const READ_SLOW: u8 = 14;

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use sluicegate_core::stream::Action;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;
    use crate::sessions::OpenRow;
    use crate::sessions::fixture::{opened, sessions};

    struct Identity;

    impl Passage for Identity {
        fn to_client<'a>(&'a mut self, input: &'a [u8]) -> Result<&'a [u8], LegEnd> {
            Ok(input)
        }

        fn to_origin<'a>(&'a mut self, input: &'a [u8]) -> Result<&'a [u8], EndReason> {
            Ok(input)
        }
    }

    async fn pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let ours = TcpStream::connect(listener.local_addr().unwrap())
            .await
            .unwrap();
        (ours, listener.accept().await.unwrap().0)
    }

    fn open_row() -> OpenRow {
        opened(&sessions(1), Action::Play).unwrap()
    }

    #[tokio::test]
    async fn everything_arrives_in_order_though_the_receiver_is_slow() {
        let (mut viewer, client) = pair().await;
        let mut client = Wire::Plain(client);
        let (origin, mut server) = pair().await;
        let mut origin = Wire::Plain(origin);
        let row = open_row();
        let data: Vec<u8> = (0..8_000_000_u32).map(|i| (i % 251) as u8).collect();
        let sent = data.clone();
        let serve = tokio::spawn(async move {
            server.write_all(&sent).await.unwrap();
            server
        });
        let read = tokio::spawn(async move {
            tokio::time::sleep(Duration::from_millis(50)).await;
            let mut got = vec![0; 8_000_005];
            viewer.read_exact(&mut got).await.unwrap();
            viewer.write_all(b"thanks").await.unwrap();
            (got, viewer)
        });
        let join = async {
            join(
                &mut client,
                &mut origin,
                &row,
                &mut Identity,
                b"first".to_vec(),
            )
            .await
        };
        let check = async {
            let mut server = serve.await.unwrap();
            let (got, viewer) = read.await.unwrap();
            assert!(
                got.starts_with(b"first") && got[5..] == data,
                "the bytes arrive unchanged and in order"
            );
            let mut thanks = [0; 6];
            server.read_exact(&mut thanks).await.unwrap();
            drop(viewer);
            server
        };
        let (ending, _server) = tokio::join!(join, check);
        assert_eq!(ending.over, Over::Session(EndReason::ClientClosed));
        assert_eq!(row.bytes(Direction::ToClient), 8_000_000);
        assert_eq!(row.bytes(Direction::ToOrigin), 6);
    }

    #[tokio::test]
    async fn what_an_origin_sent_before_it_closed_still_arrives() {
        let (mut viewer, client) = pair().await;
        let mut client = Wire::Plain(client);
        let (origin, mut server) = pair().await;
        let mut origin = Wire::Plain(origin);
        let row = open_row();
        server
            .write_all(&vec![7; 3_000_000])
            .await
            .unwrap_or_default();
        let serve = tokio::spawn(async move {
            server.write_all(&vec![8; 3_000_000]).await.unwrap();
        });
        let read = tokio::spawn(async move {
            let mut got = Vec::new();
            viewer.read_to_end(&mut got).await.unwrap();
            got.len()
        });
        let ending = join(&mut client, &mut origin, &row, &mut Identity, Vec::new()).await;
        drop(client);
        serve.await.unwrap();
        assert_eq!(ending.over, Over::Leg(LegEnd::Closed));
        assert_eq!(read.await.unwrap(), 6_000_000);
    }

    #[tokio::test]
    async fn a_kick_ends_it_at_once() {
        let (_viewer, client) = pair().await;
        let mut client = Wire::Plain(client);
        let (origin, _server) = pair().await;
        let mut origin = Wire::Plain(origin);
        let row = open_row();
        let other = Arc::clone(&row);
        let kick = tokio::spawn(async move { other.end(EndReason::Kicked) });
        assert_eq!(
            join(&mut client, &mut origin, &row, &mut Identity, Vec::new())
                .await
                .over,
            Over::Session(EndReason::Kicked)
        );
        kick.await.unwrap();
    }
}
