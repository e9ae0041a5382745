//! Who may ask the system API for what.

use axum::extract::{ConnectInfo, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use sluicegate_core::cluster::peers::token;
use sluicegate_core::http::caller::{Caller, OwnNames, Terms};
use tracing::warn;

use super::{System, problem};
use crate::metrics::SurfaceLabel;
use crate::net::entrance::Ends;
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
    /// How callers on this machine may call it.
    pub names: OwnNames,
}

/// What a route is for, and so who may use it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Surface {
    /// What origins say of their streams; who may register may use it.
    Callbacks,
    /// How this process is; for everybody.
    Health,
    /// The fleet and its sessions; for who may manage them.
    Management,
    /// Numbers; for everybody.
    Metrics,
    /// Who exists; for who may register.
    Registration,
    /// Reading that keeps the proxy busy; for who may manage.
    Work,
}

/// A surface of the system API, and its door.
#[derive(Debug, Clone)]
pub(super) struct Door {
    pub(super) system: System,
    pub(super) surface: Surface,
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
    /// Whether a caller shows the token, or is another proxy of this cluster.
    fn is_proven(&self, headers: &HeaderMap) -> bool {
        let own = self.peers.iter().flat_map(|peers| &peers.own);
        self.token
            .iter()
            .chain(own)
            .any(|token| shows(token, headers))
    }

    /// The answer to a caller that may not register an origin.
    pub(super) fn refuse_registration(
        &self,
        caller: &Caller,
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
        if self.register_from.is_empty() {
            return None;
        }
        let listed = |ip| {
            self.register_from
                .iter()
                .any(|network| network.contains(ip))
        };
        if caller.is_in(listed) {
            return None;
        }
        let words = match caller.address() {
            Some(address) if listed(address) => {
                "the proxy that passed this on is not in a network that may register (system.register_from)".to_owned()
            }
            Some(address) => {
                format!("{address} is not in a network that may register (system.register_from)")
            }
            None => "a proxy passed this on, so system.register_from cannot tell where it is from"
                .to_owned(),
        };
        Some(problem(StatusCode::FORBIDDEN, &words))
    }

    /// The answer to a caller that may not manage the fleet: without a token only callers on this machine may.
    fn refuse_management(&self, caller: &Caller, is_proven: bool) -> Option<Response> {
        if is_proven || (self.token.is_none() && caller.is_local()) {
            return None;
        }
        Some(unauthorized(if self.token.is_some() {
            "this needs the token of system.auth_token"
        } else if caller.address().is_none() {
            "this is for callers on the same machine, and a proxy passed it on; others need system.auth_token to be set, and to show it"
        } else {
            "this is for callers on the same machine; others need system.auth_token to be set, and to show it"
        }))
    }
}

impl System {
    /// Counts somebody without the right credentials or address, by what was asked for.
    pub(super) fn count_refusal(&self, surface: Surface) {
        let refusals = &self.proxy.metrics().auth_refusals;
        let surface = surface.as_str();
        refusals.get_or_create(&SurfaceLabel { surface }).inc();
    }
}

impl Surface {
    /// Its name in metrics.
    const fn as_str(self) -> &'static str {
        match self {
            Self::Callbacks => "hooks",
            Self::Health | Self::Management | Self::Metrics | Self::Work => "system",
            Self::Registration => "register",
        }
    }

    /// Whether it is only for who may manage.
    const fn is_guarded(self) -> bool {
        match self {
            Self::Management | Self::Work => true,
            Self::Callbacks | Self::Health | Self::Metrics | Self::Registration => false,
        }
    }
}

/// Lets through who may use a surface, with what is known of the [`Caller`], and sends everybody else away. What may
/// register is for the handlers to say, which log it.
pub(super) async fn door(
    State(Door { system, surface }): State<Door>,
    ConnectInfo(ends): ConnectInfo<Ends>,
    mut request: Request,
    next: Next,
) -> Response {
    let access = &system.access;
    let headers = request.headers();
    let caller = ends.caller(request.uri(), headers, &access.names);
    let is_proven = access.is_proven(headers);
    let terms = Terms {
        is_proven,
        // What a health check calls this machine is no matter: it hears nothing of the fleet.
        goes_by_address: access.token.is_none() && surface != Surface::Health,
        starts_work: surface == Surface::Work,
        opens_to_pages: false,
    };
    let refused = match caller.check(terms) {
        Err(unwelcome) => {
            warn!(client = %ends.client, surface = surface.as_str(), why = %unwelcome, "request refused");
            let status = StatusCode::from_u16(unwelcome.status()).unwrap_or(StatusCode::FORBIDDEN);
            Some(problem(status, &unwelcome.to_string()))
        }
        Ok(()) if surface.is_guarded() => access.refuse_management(&caller, is_proven),
        Ok(()) => None,
    };
    if let Some(refused) = refused {
        system.count_refusal(surface);
        return refused;
    }
    request.extensions_mut().insert(caller);
    next.run(request).await
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
