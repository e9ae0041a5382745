//! Playing a stream of an origin ourselves, by RTMP, up to its yes or no.

use sluicegate_core::dialect::{Dialect, RtmpAddress, RtmpAsked};
use sluicegate_core::place::origins_no::without_secrets;
use sluicegate_core::rtmp::client::{Client, ClientEvent};
use sluicegate_core::rtmp::message::{Message, NO_REASON, kind};
use sluicegate_core::stream::StreamUrl;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use super::Inner;
use crate::net::relay::acknowledge_at_once;
use crate::net::wire::Wire;
use crate::origin::attempt::{Attempt, DialError};
use crate::origin::elsewhere::{Elsewhere, Redirect};

/// A stream that an origin plays to us.
pub(super) struct Player {
    pub(super) socket: Wire,
    pub(super) client: Client,
    /// Bytes that came.
    pub(super) came: usize,
    /// What came of the stream already.
    pub(super) messages: Vec<Message>,
    /// The stream's publisher has left after that.
    pub(super) unpublished: bool,
}

impl Player {
    /// Asks the origin of `attempt` on a fresh connection, by a `client` that asks for this address. A redirect of it is noted in
    /// `elsewhere`.
    ///
    /// # Errors
    /// What its no, its end or its silence means for the candidates.
    pub(super) async fn ask(
        shared: &Inner,
        mut socket: Wire,
        mut client: Client,
        (asked, attempt): (&RtmpAddress, &Attempt),
        elsewhere: &Elsewhere<Redirect>,
    ) -> Result<Self, DialError> {
        let mut buffer = Vec::with_capacity(READ);
        let (mut came, mut messages, mut unpublished) = (0, Vec::new(), false);
        loop {
            if write(&mut socket, &mut client).await.is_err() {
                return Err(closed(came > 0, &client));
            }
            buffer.clear();
            let read = if came > 0 {
                socket.read_buf(&mut buffer).await
            } else {
                // A stopped process still accepts connections; only its first bytes show that it lives.
                let read = timeout(attempt.time_limit, socket.read_buf(&mut buffer)).await;
                let silent = "accepted the connection and sent nothing";
                read.map_err(|_| DialError::Silent(silent.to_owned()))?
            };
            match read {
                Ok(count) if count > 0 => came += count,
                _ => return Err(closed(came > 0, &client)),
            }
            acknowledge_at_once(socket.tcp(), true);
            client
                .feed(&buffer)
                .map_err(|error| DialError::Failed(error.to_string()))?;
            let heard = (&mut messages, &mut unpublished);
            let answered = answered(&mut client, heard, (asked, attempt), elsewhere);
            let has_answered = match answered {
                Ok(has_answered) => has_answered,
                Err(error) => {
                    let (connector, registry) = (&shared.dialer.connector, shared.proxy.registry());
                    let error = elsewhere.as_registered(error, attempt, connector, registry);
                    return Err(error.await);
                }
            };
            if has_answered {
                return Ok(Self {
                    socket,
                    client,
                    came,
                    messages,
                    unpublished,
                });
            }
        }
    }
}

/// By which address an origin is asked for `stream`, where clients of `dialect` send this tcUrl and name, and what it is asked for
/// in place of that by a redirect.
///
/// # Errors
/// [`DialError::Refused`], where the origin has no such names.
pub(super) fn address(
    attempt: &Attempt,
    dialect: Dialect,
    stream: &StreamUrl,
    (tc_url, name): (String, String),
    redirect: Option<Redirect>,
) -> Result<RtmpAddress, DialError> {
    let asked = RtmpAsked {
        tc_url: &tc_url,
        name: &name,
    };
    let address = attempt.naming.rtmp(dialect, stream, &asked)?;
    let address = address.unwrap_or_else(|| RtmpAddress {
        app: stream.app().to_owned(),
        tc_url,
        name,
    });
    let elsewhere = redirect.and_then(|to| address.redirected(&to.url, to.whole));
    Ok(elsewhere.unwrap_or(address))
}

/// Writes what the client has to say.
pub(super) async fn write(socket: &mut Wire, client: &mut Client) -> std::io::Result<()> {
    while let Some(bytes) = client.poll_output() {
        socket.write_all(&bytes).await?;
    }
    Ok(())
}

/// Randomness for a handshake. It is no secret; a kernel without entropy still gets its streams.
pub(super) fn seed() -> [u8; 32] {
    let mut seed = [0; 32];
    let _ = getrandom::fill(&mut seed);
    seed
}

/// Whether the origin said yes.
fn answered(
    client: &mut Client,
    (messages, unpublished): (&mut Vec<Message>, &mut bool),
    (asked, attempt): (&RtmpAddress, &Attempt),
    elsewhere: &Elsewhere<Redirect>,
) -> Result<bool, DialError> {
    let mut joined = false;
    while let Some(event) = client.poll_event() {
        match event {
            ClientEvent::Connected(_) => {}
            ClientEvent::Media(message) => {
                // Data may come before the origin's word on the stream.
                joined |= message.kind != kind::DATA_AMF0;
                messages.push(message);
            }
            ClientEvent::Redirected { url, whole } => {
                let redirect = Redirect { url, whole };
                return Err(elsewhere.over_rtmp(redirect, asked, attempt));
            }
            ClientEvent::Refused(command) => {
                let words = command.status().map(|status| status.words());
                return Err(refused(words.as_deref().unwrap_or(NO_REASON)));
            }
            ClientEvent::Status {
                level,
                code,
                description,
            } if level == "error" => {
                return Err(refused(&format!("{code}: {description}")));
            }
            ClientEvent::Status { code, .. } => {
                *unpublished |= says_unpublished(&code);
                joined = true;
            }
        }
    }
    Ok(joined)
}

/// What the origin says is heard by every viewer who waits, and one of them lent it the query that it may quote.
fn refused(words: &str) -> DialError {
    DialError::Refused(without_secrets(words).into_owned())
}

/// Whether a status says that the stream's publisher has left.
pub(super) fn says_unpublished(code: &str) -> bool {
    PUBLISHER_LEFT.contains(&code)
}

/// What it means that the origin closed the connection before it said yes.
fn closed(shaken: bool, client: &Client) -> DialError {
    if client.stream_id() != 0 {
        DialError::Refused("its origin closed the connection without a reason".to_owned())
    } else if shaken {
        DialError::HungUp("closed the connection during set-up".to_owned())
    } else {
        DialError::Closed("closed the connection without a word".to_owned())
    }
}

const READ: usize = 4 * 1024;
/// What origins say when the stream's publisher has left.
const PUBLISHER_LEFT: [&str; 3] = [
    "NetStream.Play.UnpublishNotify",
    "NetStream.Play.Stop",
    "NetStream.Play.Complete",
];
