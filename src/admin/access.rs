//! Who may ask the system API for what.

use std::sync::Arc;

use axum::extract::rejection::RawPathParamsRejection;
use axum::extract::{ConnectInfo, RawPathParams, Request, State};
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use sluicegate_core::events::Kind;
use sluicegate_core::http::caller::{Caller, OwnNames, PROGRAM, Terms};
use tracing::warn;

use super::audit::Audited;
use super::{System, problem, takeovers, to_its_end};
use crate::cluster::PeerAccess;
use crate::config::{LiveTokens, Role};
use crate::metrics::SurfaceLabel;
use crate::net::entrance::Ends;
use crate::unix_time;
use crate::value::{Network, Secret};

/// The token, and where registrations may come from.
#[derive(Debug, Default)]
pub struct Access {
    /// What administrators show. Without it and without [`tokens`](Self::tokens), only loopback may manage, and anybody
    /// may register.
    pub token: Option<Secret>,
    /// What others show, each with its role.
    pub tokens: LiveTokens,
    /// Networks that may register; none means any.
    pub register_from: Vec<Network>,
    /// What proxies of one cluster show each other, where they share a key.
    pub peers: Option<Arc<PeerAccess>>,
    /// How callers on this machine may call it.
    pub names: OwnNames,
}

/// Somebody who showed a token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Holder {
    pub(super) name: String,
    pub(super) role: Role,
}

/// What a route is for, and so who may use it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Surface {
    /// What origins say of their streams; who may register may use it.
    Callbacks,
    /// The files of the console, and logging in; for everybody where a token is set, else for callers on this machine.
    Console,
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
    pub(super) least: Role,
}

impl Access {
    /// Who a caller is by the token that it shows: somebody with a token, or another proxy of this cluster.
    fn holder(&self, headers: &HeaderMap) -> Option<Holder> {
        self.holder_of_token(headers).or_else(|| {
            self.is_proxy(headers).then(|| Holder {
                name: "another proxy of the cluster".to_owned(),
                role: Role::Admin,
            })
        })
    }

    /// Whether a caller is another proxy of this cluster.
    fn is_proxy(&self, headers: &HeaderMap) -> bool {
        let mut own = self.peers.iter().flat_map(|peers| peers.own());
        own.any(|token| shows(token, headers))
    }

    fn holder_of_token(&self, headers: &HeaderMap) -> Option<Holder> {
        self.holder_of(bearer(headers)?)
    }

    /// Whose token `shown` is.
    pub(super) fn holder_of(&self, shown: &str) -> Option<Holder> {
        if self
            .token
            .as_ref()
            .is_some_and(|token| token.matches(shown.as_bytes()))
        {
            return Some(Holder {
                name: AUTH_TOKEN.to_owned(),
                role: Role::Admin,
            });
        }
        let tokens = self.tokens.now();
        let (name, role) = tokens.owner(shown, unix_time::seconds())?;
        Some(Holder { name, role })
    }

    /// Whether callers have to show a token.
    pub(super) fn asks(&self) -> bool {
        self.token.is_some() || !self.tokens.now().is_empty()
    }

    /// Who a caller is by its token, or by the pass of a browser that logged in. A browser sends its pass along with every
    /// request, so one that changes something has to carry a header besides that no page of another site can send.
    fn holder_for(&self, method: &Method, headers: &HeaderMap) -> Option<Holder> {
        let is_safe = method.is_safe() || headers.contains_key(PROGRAM);
        let by_pass = || Some(self.holder_of_pass(headers).filter(|_| is_safe)?.0);
        self.holder(headers).or_else(by_pass)
    }

    /// What a caller may do here; `None` for one that has to show a token first.
    pub(super) fn role_of(&self, caller: &Caller, headers: &HeaderMap) -> Option<Role> {
        match self.holder_for(&Method::GET, headers) {
            Some(holder) => Some(holder.role),
            None => (!self.asks() && caller.is_local()).then_some(Role::Admin),
        }
    }

    /// The answer to a caller that may not even see the console.
    fn refuse_console(&self, caller: &Caller) -> Option<Response> {
        let is_open = self.asks() || caller.is_local();
        (!is_open).then(|| {
            let words = "the console is for this machine until a token is set (system.auth_enabled, system.auth_type, system.auth_token)";
            problem(StatusCode::FORBIDDEN, words)
        })
    }

    /// The answer to a caller that may not register an origin.
    pub(super) fn refuse_registration(
        &self,
        caller: &Caller,
        headers: &HeaderMap,
    ) -> Option<Response> {
        if self.asks() {
            match self.holder_of_token(headers) {
                Some(holder) if holder.role.may(Role::Origin) => {}
                Some(holder) => return Some(forbidden(&holder, Role::Origin)),
                None if bearer(headers).is_some() => return Some(unauthorized(NOT_KNOWN)),
                None => {
                    return Some(unauthorized(
                        "registration needs the token of system.auth_token, or one of system.tokens with the role origin",
                    ));
                }
            }
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

    /// The answer to a caller that may not do what `least` may: without tokens, callers on this machine may do all.
    fn refuse_management(
        &self,
        caller: &Caller,
        (holder, shows_token): (Option<&Holder>, bool),
        least: Role,
    ) -> Option<Response> {
        if let Some(holder) = holder {
            return (!holder.role.may(least)).then(|| forbidden(holder, least));
        }
        if !self.asks() && caller.is_local() {
            return None;
        }
        Some(unauthorized(if self.asks() && shows_token {
            NOT_KNOWN
        } else if self.asks() {
            "this needs the token of system.auth_token, or one of system.tokens with a role that may do it"
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
            Self::Console | Self::Health | Self::Management | Self::Metrics | Self::Work => {
                "system"
            }
            Self::Registration => "register",
        }
    }

    /// Whether it is only for who may manage.
    const fn is_guarded(self) -> bool {
        match self {
            Self::Management | Self::Work => true,
            Self::Callbacks | Self::Console | Self::Health | Self::Metrics | Self::Registration => {
                false
            }
        }
    }
}

/// Lets through who may use a surface, with what is known of the [`Caller`], and sends everybody else away. What may
/// register is for the handlers to say, which log it.
pub(super) async fn door(
    State(Door {
        system,
        surface,
        least,
    }): State<Door>,
    ConnectInfo(ends): ConnectInfo<Ends>,
    params: Result<RawPathParams, RawPathParamsRejection>,
    mut request: Request,
    next: Next,
) -> Response {
    let access = &system.access;
    let headers = request.headers();
    let caller = ends.caller(request.uri(), headers, &access.names);
    let holder = access.holder_for(request.method(), headers);
    let terms = Terms {
        is_proven: holder.is_some(),
        // What a health check calls this machine is no matter: it hears nothing of the fleet.
        goes_by_address: !access.asks() && surface != Surface::Health,
        starts_work: surface == Surface::Work,
        opens_to_pages: false,
    };
    let refused = match caller.check(terms) {
        Err(unwelcome) => {
            warn!(client = %ends.client, surface = surface.as_str(), why = %unwelcome, "request refused");
            let status = StatusCode::from_u16(unwelcome.status()).unwrap_or(StatusCode::FORBIDDEN);
            Some(problem(status, &unwelcome.to_string()))
        }
        Ok(()) if surface.is_guarded() => {
            let shown = (holder.as_ref(), bearer(headers).is_some());
            access.refuse_management(&caller, shown, least)
        }
        Ok(()) if surface == Surface::Console => access.refuse_console(&caller),
        Ok(()) => None,
    };
    let is_told = is_told(surface, &request, access.is_proxy(headers));
    // Where a publisher gives way to one at another proxy, its session says so.
    let is_question = request.uri().path() == takeovers::PATH && access.is_proxy(headers);
    let is_change = surface.is_guarded() && !request.method().is_safe() && !is_question;
    let audited =
        (is_told || is_change).then(|| Audited::of(&system, &request, &params, refused.is_none()));
    let answer = {
        let system = system.clone();
        async move {
            match refused {
                Some(refused) => {
                    system.count_refusal(surface);
                    refused
                }
                None => {
                    request.extensions_mut().insert(caller);
                    next.run(request).await
                }
            }
        }
    };
    let Some(audited) = audited else {
        return answer.await;
    };
    // A change is made and told to its end, also where its caller leaves.
    to_its_end(async move {
        let answer = answer.await;
        let (holder, status) = (holder.as_ref(), answer.status().as_u16());
        if is_change {
            audited.log(holder, ends.client, status);
        }
        if is_told {
            let news = audited.news(holder, ends.client, status);
            system.proxy.metrics().journal.note(Kind::Audit, news);
        }
        answer
    })
    .await
}

/// Whether people are told of a request: it changes something, or looks at what a stream carries. What another proxy passes on
/// was told there.
fn is_told(surface: Surface, request: &Request, is_passed_on: bool) -> bool {
    let is_change = surface.is_guarded() && !request.method().is_safe();
    (is_change || surface == Surface::Work) && !is_passed_on
}

fn forbidden(holder: &Holder, least: Role) -> Response {
    let words = format!(
        "this needs the role {}; the token of {} has the role {}",
        least.as_str(),
        holder.name,
        holder.role.as_str()
    );
    problem(StatusCode::FORBIDDEN, &words)
}

/// What a caller hears whose token is nobody's.
const NOT_KNOWN: &str = "the token that was shown is not known here, or is over";

/// A caller with the token of that setting is called by its name.
pub(super) const AUTH_TOKEN: &str = "system.auth_token";

fn shows(token: &Secret, headers: &HeaderMap) -> bool {
    bearer(headers).is_some_and(|shown| token.matches(shown.as_bytes()))
}

/// The token that a caller shows.
fn bearer(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    // RFC 9110 §11.1: the scheme is case-insensitive.
    let (scheme, shown) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| shown.trim())
}

fn unauthorized(words: &str) -> Response {
    let challenge = [(header::WWW_AUTHENTICATE, "Bearer")];
    (challenge, problem(StatusCode::UNAUTHORIZED, words)).into_response()
}
