//! A shadow: the origin's word on one viewer. It is the viewer's own request, granted and paused, so that the origin admits,
//! counts and ends each viewer as if it played, and sends the media once.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use sluicegate_core::dialect::{Dialect, RtmpAsked};
use sluicegate_core::fleet::origin::OriginId;
use sluicegate_core::place::leg::LegEnd;
use sluicegate_core::rtmp::amf0::Value;
use sluicegate_core::rtmp::client::Client;
use sluicegate_core::rtmp::message::Command;
use sluicegate_core::rtmp::server::StreamRequest;
use sluicegate_core::stream::{Action, Protocol, StreamUrl};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::sleep;
use tracing::debug;

use super::Inner;
use super::player::{Player, address, seed, write};
use super::pull::tc_url;
use crate::net::wire::Wire;
use crate::origin::attempt::{Attempt, DialError};
use crate::origin::elsewhere::{Elsewhere, Redirect};
use crate::proxy::{Refusal, Session};
use crate::sessions::{EndReason, Pull};
use crate::value::LocalAddr;

/// What is kept of a viewer's set-up, so that an origin can be asked the same in its place.
#[derive(Debug, Clone)]
pub struct Recipe {
    /// As it was sent; `None`: the viewer speaks HTTP.
    tc_url: Option<Box<str>>,
    /// How its client names streams.
    dialect: Dialect,
    /// The stream's name with the viewer's query.
    pub(super) name: Box<str>,
    /// What else is in its `connect`.
    connect: Vec<(String, Value)>,
    /// Where the client connected to.
    local: LocalAddr,
}

impl Recipe {
    /// Of a player that speaks RTMP.
    pub fn of_rtmp(request: &StreamRequest, dialect: Dialect, local: LocalAddr) -> Self {
        let properties = match &request.connect.object {
            Value::Object(properties) | Value::EcmaArray(properties) => properties.as_slice(),
            _ => &[],
        };
        let own = |name: &str| OWN_PROPERTIES.contains(&name);
        let others = properties.iter().filter(|(name, _)| !own(name));
        Self {
            tc_url: Some(request.tc_url.as_str().into()),
            dialect,
            name: request.name.as_str().into(),
            connect: others.take(MAX_PROPERTIES).cloned().collect(),
            local,
        }
    }

    /// Of a viewer that speaks HTTP, with the query of its URL.
    pub fn of_http(stream: &StreamUrl, query: Option<&str>, local: LocalAddr) -> Self {
        let name = match query {
            Some(query) => format!("{}?{query}", stream.stream()),
            None => stream.stream().to_owned(),
        };
        Self {
            tc_url: None,
            dialect: Dialect::default(),
            name: name.into(),
            connect: Vec::new(),
            local,
        }
    }

    /// The query of the viewer.
    pub(super) fn query(&self) -> &str {
        self.name.split_once('?').map_or("", |(_, query)| query)
    }
}

/// A shadow that was granted.
pub(super) struct Shadow {
    pub(super) origin: OriginId,
    socket: Wire,
    client: Client,
    out: Vec<u8>,
    /// Bytes that came although it is paused.
    came: usize,
    ignores_pause: bool,
}

/// What a shadow tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ShadowEvent {
    /// The origin sends what it was asked not to.
    IgnoresPause,
    /// It is over.
    Over(LegEnd),
}

impl Shadow {
    /// Asks the origin of the stream about the viewer of `session`.
    pub(super) async fn ask(
        shared: &Inner,
        session: &Session,
        recipe: &Recipe,
    ) -> Result<Self, Refusal> {
        let elsewhere = Elsewhere::default();
        let ask = |attempt| ask(shared, session, recipe, attempt, &elsewhere);
        session.try_dial(Protocol::Rtmp, ask).await
    }

    /// Hears the origin out.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<ShadowEvent> {
        loop {
            if let Err(end) = self.poll_say(cx) {
                return Poll::Ready(ShadowEvent::Over(end));
            }
            let mut room = [0; READ];
            let mut buffer = ReadBuf::new(&mut room);
            let read = ready!(Pin::new(&mut self.socket).poll_read(cx, &mut buffer));
            let heard = buffer.filled();
            if read.is_err() {
                return Poll::Ready(ShadowEvent::Over(LegEnd::Reset));
            }
            if heard.is_empty() {
                return Poll::Ready(ShadowEvent::Over(LegEnd::Closed));
            }
            self.came += heard.len();
            if self.client.feed(heard).is_err() {
                return Poll::Ready(ShadowEvent::Over(LegEnd::Broken));
            }
            while self.client.poll_event().is_some() {}
            if self.came > MAX_PAUSED && !self.ignores_pause {
                self.ignores_pause = true;
                return Poll::Ready(ShadowEvent::IgnoresPause);
            }
        }
    }

    /// Says what is due: acknowledgements, and answers to pings.
    fn poll_say(&mut self, cx: &mut Context<'_>) -> Result<(), LegEnd> {
        self.out
            .extend(self.client.poll_output().unwrap_or_default());
        while !self.out.is_empty() {
            match Pin::new(&mut self.socket).poll_write(cx, &self.out) {
                Poll::Ready(Ok(count)) if count > 0 => drop(self.out.drain(..count)),
                Poll::Ready(_) => return Err(LegEnd::Reset),
                // An origin that has not read for this long has stalled.
                Poll::Pending if self.out.len() > MAX_UNSAID => return Err(LegEnd::Stalled),
                Poll::Pending => return Ok(()),
            }
        }
        Ok(())
    }
}

/// Asks one origin, and pauses what it grants.
async fn ask(
    shared: &Inner,
    session: &Session,
    recipe: &Recipe,
    mut attempt: Attempt,
    elsewhere: &Elsewhere<Redirect>,
) -> Result<Shadow, DialError> {
    let redirect = elsewhere.follow(shared.proxy.registry(), &mut attempt);
    let request = &session.row().request;
    let (client, local) = (request.client, recipe.local);
    let socket = shared.dialer.dial(&attempt, client, local).await?;
    let tc_url = match &recipe.tc_url {
        Some(tc_url) => {
            let (tc_url, name) = (&**tc_url, &*recipe.name);
            let host = attempt.target.host_for(&request.stream);
            RtmpAsked { tc_url, name }.tc_url_at(&host).into_owned()
        }
        None => tc_url(&request.stream, &attempt),
    };
    let address = address(
        &attempt,
        recipe.dialect,
        &request.stream,
        (tc_url, recipe.name.to_string()),
        redirect,
    )?;
    let client = Client::new(
        seed(),
        Action::Play,
        &address.tc_url,
        &address.name,
        recipe.connect.clone(),
    );
    let asked = (&address, &attempt);
    let mut player = Player::ask(shared, socket, client, asked, elsewhere).await?;
    let arguments = vec![Value::Boolean(true), Value::Number(0.0)];
    let pause = Command::call("pause", 0.0, arguments);
    player.client.send_command(&pause);
    let failed = |error: io::Error| DialError::Failed(error.to_string());
    write(&mut player.socket, &mut player.client)
        .await
        .map_err(failed)?;
    Ok(Shadow {
        origin: attempt.origin,
        socket: player.socket,
        client: player.client,
        out: Vec::new(),
        came: 0,
        ignores_pause: false,
    })
}

/// Whether a viewer may go on whose shadow is over: that was the origin's word on it only if the origin still sends what
/// is pulled. Otherwise it is asked again.
pub(super) async fn settle(
    shared: Arc<Inner>,
    session: Arc<Session>,
    pull: Arc<Pull>,
    recipe: Arc<Recipe>,
) -> Result<Shadow, EndReason> {
    let before = (pull.legs(), pull.bytes());
    sleep(MOVES_WITHIN).await;
    if !pull.is_held() && pull.legs() == before.0 && pull.bytes() > before.1 {
        return Err(EndReason::OriginClosed);
    }
    // An origin that the stream is to come to may not know it before.
    pull.flows().await;
    debug!(session = session.row().id, "its shadow is asked for again");
    shared.turn().await;
    let asked = Shadow::ask(&shared, &session, &recipe).await;
    asked.map_err(|_| EndReason::Refused)
}

/// Properties of `connect` that our own machine writes.
const OWN_PROPERTIES: [&str; 4] = ["app", "flashVer", "tcUrl", "type"];
/// Other properties that are kept; players send a dozen.
const MAX_PROPERTIES: usize = 32;
/// How long the origin may take to show that a shadow it has closed was meant.
const MOVES_WITHIN: Duration = Duration::from_millis(500);
/// Bytes that may come after a pause: SRS sends 28 kB of what is under way already.
const MAX_PAUSED: usize = 256 * 1024;
/// Bytes that an origin may leave unread of what it is told.
const MAX_UNSAID: usize = 16 * 1024;
const READ: usize = 2 * 1024;
