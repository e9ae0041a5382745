//! What rustls knows of one connection. It keeps no bytes: what came, what is to be sent and what was decrypted is with the
//! caller, so that a connection on which nothing flows holds its keys and little else.

use std::fmt;
use std::ops::Deref;

use rustls::client::UnbufferedClientConnection;
use rustls::server::UnbufferedServerConnection;
use rustls::unbuffered::{
    ConnectionState, EncodeError, EncodeTlsData, EncryptError, UnbufferedStatus, WriteTraffic,
};
use rustls::{CommonState, Error};

/// One side of a connection.
pub(super) enum Session {
    /// Ours is the client's.
    Client(UnbufferedClientConnection),
    /// Ours is the server's.
    Server(UnbufferedServerConnection),
}

/// What is wanted of a session beside looking at what came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wanted<'a> {
    /// Nothing.
    Nothing,
    /// These bytes, encrypted.
    Encrypted(&'a [u8]),
    /// The word that nothing follows.
    Close,
}

/// Where a session puts what comes out of it.
pub(super) struct Outcome<'a> {
    /// What is to be sent.
    pub(super) ciphertext: Ciphertext<'a>,
    /// Takes what was decrypted.
    pub(super) plain: &'a mut dyn FnMut(&[u8]),
    /// The other side said that nothing follows.
    pub(super) has_ended: bool,
}

/// Bytes to be sent, at the beginning of a buffer that is kept between turns.
pub(super) struct Ciphertext<'a> {
    room: &'a mut Vec<u8>,
    filled: usize,
}

/// What a session needs to go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    /// Nothing: it may have more to say of what came.
    Turn,
    /// More of what the other side sends, or something to encrypt.
    Input,
}

impl Session {
    /// One turn: looks at the beginning of `input`, or does what is `wanted` when there is nothing left to look at. Returns how
    /// many bytes of `input` are not needed any more, and what is next.
    ///
    /// # Errors
    /// Any error ends the connection; what the other side is to be told of it has to be [asked for](Session::last_word).
    pub(super) fn turn(
        &mut self,
        input: &mut [u8],
        wanted: Wanted<'_>,
        outcome: &mut Outcome<'_>,
    ) -> Result<(usize, Next), Error> {
        match self {
            Self::Client(session) => settle(session.process_tls_records(input), wanted, outcome),
            Self::Server(session) => settle(session.process_tls_records(input), wanted, outcome),
        }
    }

    /// After an error: what the other side is told of it, if there is a word.
    pub(super) fn last_word(&mut self, outcome: &mut Outcome<'_>) {
        for _ in 0..MOST_LAST_TURNS {
            // What waits to be sent comes first, so nothing is looked at. The word may come after messages of the handshake.
            if !self.wants_write() || self.turn(&mut [], Wanted::Nothing, outcome).is_err() {
                break;
            }
        }
    }
}

impl Deref for Session {
    type Target = CommonState;

    fn deref(&self) -> &CommonState {
        match self {
            Self::Client(session) => session,
            Self::Server(session) => session,
        }
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Session").finish_non_exhaustive()
    }
}

impl<'a> Ciphertext<'a> {
    /// Nothing yet, in `room`.
    pub(super) const fn new(room: &'a mut Vec<u8>) -> Self {
        Self { room, filled: 0 }
    }

    /// What is to be sent.
    pub(super) fn bytes(&self) -> &[u8] {
        self.room.get(..self.filled).unwrap_or_default()
    }

    /// Adds what `write` puts into the room that it gets; it gets more where it says how much it needs.
    fn add(
        &mut self,
        least: usize,
        mut write: impl FnMut(&mut [u8]) -> Result<usize, Option<usize>>,
    ) -> Result<(), Error> {
        let mut least = least;
        loop {
            if self.room.len() < self.filled.saturating_add(least) {
                self.room.resize(self.filled.saturating_add(least), 0);
            }
            match write(self.room.get_mut(self.filled..).unwrap_or_default()) {
                Ok(count) => {
                    self.filled += count;
                    return Ok(());
                }
                Err(Some(more)) if more > least => least = more,
                Err(_) => return Err(Error::EncryptError),
            }
        }
    }

    fn add_message<D>(&mut self, mut message: EncodeTlsData<'_, D>) -> Result<(), Error> {
        self.add(FIRST_MESSAGES, |room| {
            message.encode(room).map_err(|error| match error {
                EncodeError::InsufficientSize(needed) => Some(needed.required_size),
                EncodeError::AlreadyEncoded => None,
            })
        })
    }

    fn add_wanted<D>(
        &mut self,
        mut traffic: WriteTraffic<'_, D>,
        wanted: Wanted<'_>,
    ) -> Result<(), Error> {
        let needed = |error| match error {
            EncryptError::InsufficientSize(needed) => Some(needed.required_size),
            EncryptError::EncryptExhausted => None,
        };
        match wanted {
            Wanted::Nothing => Ok(()),
            Wanted::Encrypted(plain) => self.add(plain.len().saturating_add(AROUND), |room| {
                traffic.encrypt(plain, room).map_err(needed)
            }),
            Wanted::Close => self.add(AROUND, |room| {
                traffic.queue_close_notify(room).map_err(needed)
            }),
        }
    }
}

/// Does what rustls asks for.
fn settle<D>(
    status: UnbufferedStatus<'_, '_, D>,
    wanted: Wanted<'_>,
    outcome: &mut Outcome<'_>,
) -> Result<(usize, Next), Error> {
    let UnbufferedStatus { mut discard, state } = status;
    let next = match state? {
        ConnectionState::ReadTraffic(mut traffic) => {
            while let Some(record) = traffic.next_record() {
                let record = record?;
                discard = discard.saturating_add(record.discard);
                (outcome.plain)(record.payload);
            }
            Next::Turn
        }
        ConnectionState::EncodeTlsData(message) => {
            outcome.ciphertext.add_message(message)?;
            Next::Turn
        }
        ConnectionState::TransmitTlsData(message) => {
            // The caller sends all that it is given, in its order.
            message.done();
            Next::Turn
        }
        ConnectionState::PeerClosed => {
            outcome.has_ended = true;
            Next::Turn
        }
        ConnectionState::WriteTraffic(traffic) => {
            outcome.ciphertext.add_wanted(traffic, wanted)?;
            Next::Input
        }
        ConnectionState::BlockedHandshake | ConnectionState::Closed => Next::Input,
        // There is no early data, because nobody is told that there may be.
        _ => return Err(Error::General("an unknown state".to_owned())),
    };
    Ok((discard, next))
}

/// A turn brings one message, and no flight of a handshake has as many.
const MOST_LAST_TURNS: usize = 16;
/// Room for the messages of a handshake: a chain of two certificates and what is around it.
const FIRST_MESSAGES: usize = 4 * 1024;
/// What TLS adds to the bytes of a write: at most 29 for each of its records, of which it has up to three.
const AROUND: usize = 128;
