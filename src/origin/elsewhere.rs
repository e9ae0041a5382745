//! What an origin names in place of what it was asked for.

use std::sync::{Mutex, PoisonError};

use sluicegate_core::dialect::RtmpAddress;
use sluicegate_core::place::redirect::target_of;

use super::attempt::{Attempt, DialError};
use super::connect::Connector;
use crate::registry::Registry;

/// A redirect of an origin, from the attempt that heard it to the one that follows it.
#[derive(Debug)]
pub(crate) struct Elsewhere<T>(Mutex<Option<(String, T)>>);

impl<T> Default for Elsewhere<T> {
    fn default() -> Self {
        Self(Mutex::new(None))
    }
}

impl<T> Elsewhere<T> {
    /// Notes that an origin named `place`, as `host:port`, and what to ask for there.
    pub(crate) fn note(&self, place: String, what: T) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some((place, what));
    }

    /// `error`, with which `attempt` ended. A redirect of the origin to itself names it as it is registered from here on.
    pub(crate) async fn as_registered(
        &self,
        error: DialError,
        attempt: &Attempt,
        connector: &Connector,
        registry: &Registry,
    ) -> DialError {
        let DialError::Moved { place, for_one } = error else {
            return error;
        };
        let place = connector.as_registered(registry, attempt, place).await;
        let mut noted = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((noted, _)) = &mut *noted {
            place.clone_into(noted);
        }
        DialError::Moved { place, for_one }
    }

    /// What to ask for in `attempt`, if that goes to the place of the latest redirect: it is dialled just there.
    pub(crate) fn follow(&self, registry: &Registry, attempt: &mut Attempt) -> Option<T> {
        let noted = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        let (place, what) = noted?;
        attempt.target = registry.target_at(&attempt.origin, attempt.service, &place)?;
        Some(what)
    }
}

impl Elsewhere<String> {
    /// Notes that an origin redirected a request for `asked` over HTTP to this URL, which is at `place`, and says so.
    pub(crate) fn over_http(&self, place: String, url: &str, asked: &str) -> DialError {
        let target = target_of(url, asked);
        let for_one = target != asked;
        self.note(place.clone(), target);
        DialError::Moved { place, for_one }
    }
}

impl Elsewhere<Redirect> {
    /// Notes that the origin of `attempt` redirected a client that had `asked` for this, and says so.
    pub(crate) fn over_rtmp(
        &self,
        redirect: Redirect,
        asked: &RtmpAddress,
        attempt: &Attempt,
    ) -> DialError {
        let place = attempt.place_of(&redirect.url).unwrap_or_default();
        let for_one = asked.redirected(&redirect.url, redirect.whole).is_some();
        self.note(place.clone(), redirect);
        DialError::Moved { place, for_one }
    }
}

/// What an origin says over RTMP that redirects.
#[derive(Debug)]
pub(crate) struct Redirect {
    pub(crate) url: String,
    /// Whether the URL names the stream, and not only its app.
    pub(crate) whole: bool,
}
