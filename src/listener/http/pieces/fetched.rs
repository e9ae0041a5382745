//! Asking an origin for a piece.

use std::borrow::Cow;
use std::time::Duration;

use hyper::{Response, StatusCode};
use sluicegate_core::dialect::File;
use sluicegate_core::fleet::health::Fault;
use sluicegate_core::http::route::Piece;
use sluicegate_core::http::splice::ask;
use tracing::debug;

use super::{PieceRequest, TimeLimit, status_of};
use crate::listener::http::again;
use crate::origin::line::LineBody;
use crate::proxy::{Attempt, DialError};

impl PieceRequest {
    /// An origin's answer: by the link, else by placement. The origin of a link that is gone is no reason to fail.
    pub(super) async fn fetch(
        &self,
    ) -> Result<(Attempt, Response<LineBody>), (StatusCode, String)> {
        let time_limit = match self.time_limit {
            TimeLimit::Answer => self.pieces.settings.answer_timeout,
            TimeLimit::Reload => self.pieces.settings.reload_timeout,
        };
        let registry = self.proxy.registry();
        if let Some(attempt) = &self.linked {
            match self.send_to(attempt, time_limit).await {
                Ok(response) => {
                    registry.answered(&attempt.origin);
                    return Ok((attempt.clone(), response));
                }
                Err(error) => {
                    debug!(origin = %attempt.origin, ?error, "the origin of a link did not answer");
                    match &error {
                        DialError::Slow(_) => return Err(self.no_answer()),
                        DialError::Failed(why) => {
                            registry.failed(&attempt.origin, Fault::Refused, why);
                        }
                        DialError::Silent(why) => {
                            registry.failed(&attempt.origin, Fault::Silent, why);
                        }
                        _ => {}
                    }
                }
            }
        }
        if self.went_with_its_origin(false) {
            return Err(self.lost());
        }
        let found = match self.time_limit {
            TimeLimit::Answer => {
                let send = |attempt: Attempt| async move {
                    let response = self.send_to(&attempt, time_limit).await?;
                    if let Some(place) = again::moved(&self.proxy, &attempt, &response) {
                        return Err(DialError::Moved(place));
                    }
                    Ok((attempt, response))
                };
                let shows = |(_, response): &(Attempt, Response<LineBody>)| {
                    response.status() != StatusCode::NOT_FOUND
                };
                self.place.dial(send, shows).await
            }
            TimeLimit::Reload => {
                let reach = |attempt: Attempt| async move {
                    self.ask.reach(&self.dialer, &attempt).await?;
                    Ok(attempt)
                };
                match self.place.dial(reach, |_| true).await {
                    Ok(attempt) => match self.send_waiting(&attempt, time_limit).await {
                        Ok(response) => Ok((attempt, response)),
                        Err(_) => return Err(self.no_answer()),
                    },
                    Err(refusal) => Err(refusal),
                }
            }
        };
        match found {
            Ok((attempt, response)) => {
                registry.answered(&attempt.origin);
                if response.status() == StatusCode::NOT_FOUND && self.went_with_its_origin(true) {
                    return Err(self.lost());
                }
                Ok((attempt, response))
            }
            Err(_) if self.went_with_its_origin(true) => Err(self.lost()),
            Err(refusal) => Err((status_of(refusal.http_status()), refusal.to_string())),
        }
    }

    /// What a player hears whose origin lives and takes too long: no other would be faster.
    fn no_answer(&self) -> (StatusCode, String) {
        let stream = &self.place.request().stream;
        let words = format!("{stream}: its origin did not answer in time");
        (StatusCode::SERVICE_UNAVAILABLE, words)
    }

    /// What a player hears of a segment that was lost with its origin. It asks for its playlist again, where that is a gap.
    fn lost(&self) -> (StatusCode, String) {
        let stream = &self.place.request().stream;
        let words = format!("{stream}: this segment was lost with its origin");
        (StatusCode::SERVICE_UNAVAILABLE, words)
    }

    /// Sends a request that waits for a segment. An origin that is far from that one may refuse it (RFC 8216bis §6.2.5.2), and
    /// is asked for what it has then.
    async fn send_waiting(
        &self,
        attempt: &Attempt,
        time_limit: Duration,
    ) -> Result<Response<LineBody>, DialError> {
        let response = self.send_to(attempt, time_limit).await?;
        if response.status() != StatusCode::BAD_REQUEST || self.name.is_none() {
            return Ok(response);
        }
        let target = ask::waiting_for(&self.ask.head.target, None);
        let target = self.named_at(attempt, target.into())?;
        self.ask
            .send(&self.dialer, &self.silence, attempt, &target, time_limit)
            .await
    }

    async fn send_to(
        &self,
        attempt: &Attempt,
        time_limit: Duration,
    ) -> Result<Response<LineBody>, DialError> {
        let target = self.target_at(attempt)?;
        self.ask
            .send(&self.dialer, &self.silence, attempt, &target, time_limit)
            .await
    }

    /// The target as an origin is to get it. Only what a player begins with has a name in every dialect; what that lists
    /// is asked for by its link.
    pub(super) fn target_at(&self, attempt: &Attempt) -> Result<Cow<'_, str>, DialError> {
        let target = self.directed(&self.ask.head.target, &attempt.origin);
        self.named_at(attempt, target)
    }

    fn named_at<'a>(
        &self,
        attempt: &Attempt,
        target: Cow<'a, str>,
    ) -> Result<Cow<'a, str>, DialError> {
        let Some(dialect) = self
            .dialect
            .filter(|dialect| !attempt.naming.is_of(*dialect))
        else {
            return Ok(target);
        };
        let file = match self.kind {
            Piece::Manifest => File::Manifest,
            Piece::Playlist => File::Playlist,
            Piece::Segment => {
                let words = "it is asked for by the link in its playlist";
                return Err(DialError::Refused(words.to_owned()));
            }
        };
        let (_, query) = target.split_once('?').unwrap_or_default();
        let stream = &self.place.request().stream;
        Ok(attempt.naming.file(dialect, stream, file, query)?.into())
    }
}
