//! Looking at a stream for an operator: a viewer of the proxy's own, whom nobody lets in and nothing counts as a viewer.

use std::fmt::Debug;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use sluicegate_core::fleet::origin::OriginId;
use sluicegate_core::place::attempts::GiveUp;
use sluicegate_core::rtc::sdp::SdpError;
use sluicegate_core::stream::{PlacementKey, Protocol, Service, StreamUrl};
use tokio::time::timeout;

use super::choice::Ask;
use super::{Attempt, DialError, Proxy, Refusal, Request, Session};
use crate::net::entrance::Ends;
use crate::sessions::EndReason;

/// Who makes calls for operators who look at streams.
pub trait PreviewCalls: Debug + Send + Sync {
    /// Whether media has a port here.
    fn has_media(&self) -> bool;

    /// Asks the origin for the stream of `session`, and lets the call stand until the row of that ends. Returns the answer to
    /// the offer. Other proxies do not hear of the call: its media has to come here.
    ///
    /// # Errors
    /// [`PreviewError`]; the session is over then.
    fn preview<'a>(
        &'a self,
        proxy: &'a Proxy,
        session: Session,
        wanted: PreviewOffer<'a>,
    ) -> BoxFuture<'a, Result<String, PreviewError>>;
}

/// An operator's wish to see a stream by WebRTC.
#[derive(Debug)]
pub struct PreviewOffer<'a> {
    /// Who asks, and where.
    pub ends: Ends,
    /// The origin that holds the stream.
    pub holder: &'a OriginId,
    /// What the operator calls this machine. No origin hears of it.
    pub host: &'a str,
    /// The description that the operator's browser offers.
    pub offer: Bytes,
    /// What an origin that asks for credentials gets besides the name of the stream; empty for nothing.
    pub pull_query: &'a str,
}

/// Why there is no call.
#[derive(Debug, thiserror::Error)]
pub enum PreviewError {
    /// The offer cannot be read.
    #[error("the offer is refused: {0}")]
    Offer(SdpError),
    /// No origin takes it.
    #[error(transparent)]
    Refused(Refusal),
    /// An origin took it with an answer that no browser could use.
    #[error("its origin gave no answer that can be used")]
    Unusable,
}

impl Proxy {
    /// Opens a session for an operator who looks at a stream. It passes no gate, and it has no share in the counts, limits
    /// and drains of sessions. The stream is to have a [holder](Self::holder), so that none is placed to be looked at.
    ///
    /// # Errors
    /// [`Refusal::Full`] where the table has no room.
    pub fn open_preview(&self, request: Request) -> Result<Session, Refusal> {
        let key = self.key(&request.stream);
        let hold = self.registry().hold_for_ourselves(&key);
        let sessions = &self.shared.sessions;
        let row = sessions.open_preview(request, key).ok_or(Refusal::Full)?;
        Ok(Session {
            proxy: self.clone(),
            setup: self.shared.timing.setup,
            admitted: None,
            hold,
            row,
        })
    }

    /// The origin that holds the stream, as far as this proxy, the store and the origins say.
    pub async fn holder(&self, stream: &StreamUrl) -> Option<OriginId> {
        let key = self.key(stream);
        match self.holder_here(&key) {
            Some(origin) => Some(origin),
            None => self.stands(&key).await,
        }
    }

    /// The same without the store. Where an origin says that a stream is, it is, unless its publisher came through here.
    pub(super) fn holder_here(&self, key: &PlacementKey) -> Option<OriginId> {
        let registry = self.registry();
        let reported = registry.reported(key);
        match reported {
            Some(origin) if !registry.published_here(key) => Some(origin),
            reported => registry.claimed(key).or(reported),
        }
    }

    /// Asks the origin that holds a stream, and no other. Whatever comes of it, no claim is made or moved, and nothing is
    /// noted of the health of the origin: an operator who looks changes nothing for anybody.
    ///
    /// # Errors
    /// A [`Refusal`].
    pub(super) async fn ask_holder<T, F>(
        &self,
        origin: &OriginId,
        request: &Request,
        protocol: Protocol,
        dial: impl Fn(Attempt) -> F,
    ) -> Result<T, Refusal>
    where
        F: Future<Output = Result<T, DialError>>,
    {
        let asked = async {
            let mut redirects = 0;
            loop {
                let attempt = self.attempt(origin, request, protocol, false);
                let Some(attempt) = attempt else {
                    return Err(GiveUp::WrongService(origin.clone()));
                };
                match dial(attempt).await {
                    Ok(leg) => return Ok(leg),
                    Err(DialError::Moved { place, .. })
                        if redirects < MOST_REDIRECTS
                            && self.is_at(origin, protocol.service(), &place) =>
                    {
                        redirects += 1;
                    }
                    Err(error) => return Err(give_up(origin, error)),
                }
            }
        };
        let asked = timeout(self.shared.timing.setup, asked).await;
        let asked = asked.unwrap_or_else(|_| {
            let slow = DialError::Slow("did not answer in time".to_owned());
            Err(give_up(origin, slow))
        });
        asked.map_err(|give_up| {
            let ask = Ask {
                stream: &request.stream,
                key: &self.key(&request.stream),
                protocol,
                action: request.action,
                only: Some(origin),
                without: &[],
                zone: None,
                stands: None,
            };
            self.refusal(give_up, &ask)
        })
    }

    /// Whether `place`, as `host:port`, is an address of the origin.
    fn is_at(&self, origin: &OriginId, service: Service, place: &str) -> bool {
        let service = match service {
            // A call is asked for at the API.
            Service::Rtc => Service::Api,
            other => other,
        };
        self.registry().at(service, place).as_ref() == Some(origin)
    }
}

/// What it means for a look that its only origin did not give the stream.
fn give_up(origin: &OriginId, error: DialError) -> GiveUp {
    let origin = origin.clone();
    match error {
        DialError::Exhausted(words) => GiveUp::Exhausted(words),
        DialError::Busy(words) | DialError::Refused(words) | DialError::Taken(words) => {
            GiveUp::Refused { origin, words }
        }
        DialError::Moved { place, .. } => GiveUp::Redirected { origin, to: place },
        DialError::Closed(how) => GiveUp::AllClosed(vec![(origin, how)]),
        DialError::HungUp(how) => GiveUp::HungUp(vec![(origin, how)]),
        DialError::Failed(how) | DialError::Silent(how) => GiveUp::AllFailed(vec![(origin, how)]),
        DialError::Slow(how) => GiveUp::TooSlow(vec![(origin, how)]),
    }
}

impl Session {
    /// Asks the `holder` of the stream, for an operator who looks: where it is refused, no client was.
    ///
    /// # Errors
    /// A [`Refusal`]; the session is over then.
    pub async fn dial_preview<T, F>(
        &self,
        holder: &OriginId,
        dial: impl Fn(Attempt) -> F,
    ) -> Result<T, Refusal>
    where
        F: Future<Output = Result<T, DialError>>,
    {
        let request = &self.row.request;
        self.row.note_placed(holder.clone(), HOLDS.into());
        let asked = self
            .proxy
            .ask_holder(holder, request, request.protocol, dial);
        let dialled = tokio::select! {
            dialled = asked => dialled,
            reason = self.row.ended() => Err(Refusal::Ended(reason)),
        };
        match &dialled {
            Ok(_) if self.row.joined() => self.tell_joined(&self.row.placed()),
            Ok(_) => {}
            Err(_) => self.row.end(EndReason::Refused),
        }
        dialled
    }
}

/// Why a look is where it is.
const HOLDS: &str = "it holds the stream";
/// Redirects of an origin to addresses of its own that are followed.
const MOST_REDIRECTS: usize = 2;
