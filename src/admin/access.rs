//! Who may ask the system API for what.

use std::net::{IpAddr, SocketAddr};

use axum::extract::{ConnectInfo, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use sluicegate_core::cluster::peers::token;

use super::{System, problem};
use crate::metrics::SurfaceLabel;
use crate::value::{Network, Secret};

/// The token, and where registrations may come from.
#[derive(Debug, Default)]
pub struct Access {
    /// What callers must show. Without one, only loopback may manage, and anybody may register.
    pub token: Option<Secret>,
    /// Networks that may register; none means any.
    pub register_from: Vec<Network>,
    /// What proxies of one cluster show each other, where they share a key.
    pub peers: Option<PeerAccess>,
}

/// How proxies of one cluster know each other.
#[derive(Debug)]
pub struct PeerAccess {
    /// What they share, and this one shows the others.
    key: Secret,
    /// What the others show here, of each key.
    own: Vec<Secret>,
}

impl PeerAccess {
    /// Of the proxy that is called `id`, with what `cluster.key` says; `None` without a key.
    pub fn new(keys: &[Secret], id: &str) -> Option<Self> {
        let own = |key: &Secret| Secret::new(token(key.reveal().as_bytes(), id));
        Some(Self {
            key: keys.first()?.clone(),
            own: keys.iter().map(own).collect(),
        })
    }

    /// What to show the proxy that is called `id`.
    pub(super) fn token_for(&self, id: &str) -> Secret {
        Secret::new(token(self.key.reveal().as_bytes(), id))
    }
}

impl Access {
    /// Whether a caller may manage the fleet: by the token, or without one from this machine; or as another proxy of
    /// this cluster.
    fn may_manage(&self, peer: IpAddr, headers: &HeaderMap) -> bool {
        let manager = self
            .token
            .as_ref()
            .map_or_else(|| peer.is_loopback(), |token| shows(token, headers));
        manager
            || self
                .peers
                .iter()
                .flat_map(|peers| &peers.own)
                .any(|own| shows(own, headers))
    }

    /// The answer to a caller that may not register an origin.
    pub(super) fn refuse_registration(
        &self,
        peer: IpAddr,
        headers: &HeaderMap,
    ) -> Option<Response> {
        if self
            .token
            .as_ref()
            .is_some_and(|token| !shows(token, headers))
        {
            return Some(unauthorized(
                "registration needs the token of system.auth_token",
            ));
        }
        let listed = |network: &Network| network.contains(peer);
        if !self.register_from.is_empty() && !self.register_from.iter().any(listed) {
            let words =
                format!("{peer} is not in a network that may register (system.register_from)");
            return Some(problem(StatusCode::FORBIDDEN, &words));
        }
        None
    }
}

impl System {
    /// Counts somebody without the right credentials or address, by what was asked for.
    pub(super) fn count_refusal(&self, surface: &'static str) {
        let refusals = &self.proxy.metrics().auth_refusals;
        refusals.get_or_create(&SurfaceLabel { surface }).inc();
    }
}

/// Lets managers through and sends everybody else away.
pub(super) async fn guard(
    State(system): State<System>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    request: Request,
    next: Next,
) -> Response {
    if system.access.may_manage(peer.ip(), request.headers()) {
        return next.run(request).await;
    }
    system.count_refusal("system");
    unauthorized(if system.access.token.is_some() {
        "this needs the token of system.auth_token"
    } else {
        "this is for callers on the same machine; others need system.auth_token to be set, and to show it"
    })
}

fn shows(token: &Secret, headers: &HeaderMap) -> bool {
    let Some(value) = headers
        .get(header::AUTHORIZATION)
        .and_then(|value| value.to_str().ok())
    else {
        return false;
    };
    // RFC 9110 §11.1: the scheme is case-insensitive.
    value.split_once(' ').is_some_and(|(scheme, shown)| {
        scheme.eq_ignore_ascii_case("bearer") && token.matches(shown.trim().as_bytes())
    })
}

fn unauthorized(words: &str) -> Response {
    let challenge = [(header::WWW_AUTHENTICATE, "Bearer")];
    (challenge, problem(StatusCode::UNAUTHORIZED, words)).into_response()
}
