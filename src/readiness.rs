//! Whether this proxy should get clients.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use hyper::StatusCode;
use sluicegate_core::fleet::State as OriginState;

use crate::api::{self, OriginsKnown, Ready};
use crate::net::tls::Certificates;
use crate::proxy::Proxy;

/// What a caller of `/readyz` takes for ready.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Asked {
    /// A proxy that was asked to stop is ready until its process ends. Kubernetes sends a pod that stops no new clients, but
    /// it also cuts the UDP flows of a pod that is not ready.
    pub while_stopping: bool,
}

impl Asked {
    /// What the query of a request says; other parameters are none of ours.
    pub fn by(query: Option<&str>) -> Self {
        let mut pairs = query.unwrap_or_default().split('&');
        Self {
            while_stopping: pairs.any(|pair| pair == "while_stopping=true"),
        }
    }
}

/// What `/readyz` goes by.
#[derive(Debug, Default)]
pub struct Readiness {
    /// Every listener is bound and serves.
    pub serving: AtomicBool,
    /// Without a live origin the proxy is not ready. Off by default: in Kubernetes origins register through a
    /// Service that reaches ready pods only, and each would wait for the other.
    pub needs_origin: bool,
    /// What is shown to clients over TLS, which changes nothing: a client may not care.
    pub certificates: Option<Arc<Certificates>>,
}

impl Readiness {
    /// Each certificate that is shown over TLS, and the last second in which it holds.
    pub fn certificates(&self) -> Vec<api::Certificate> {
        let expiries = self.certificates.as_deref().map(Certificates::expiries);
        let expiries = expiries.unwrap_or_default().into_iter();
        expiries
            .map(|expiry| api::Certificate {
                name: expiry.name,
                not_after: jiff::Timestamp::from_second(expiry.not_after)
                    .ok()
                    .map(|at| at.to_string()),
            })
            .collect()
    }

    /// The status and the document of `/readyz`.
    pub fn report(&self, proxy: &Proxy, asked: Asked) -> (StatusCode, Ready) {
        let origins = proxy.registry().origins();
        let up = origins
            .iter()
            .filter(|(id, _)| proxy.registry().state(id) == Some(OriginState::Up))
            .count();
        let serving = self.serving.load(Ordering::Relaxed);
        let draining = proxy.is_draining();
        let stopping = proxy.is_stopping() && proxy.drain_in_progress().is_none();
        let takes_clients = !draining || (asked.while_stopping && stopping);
        let ready = serving && takes_clients && (up > 0 || !self.needs_origin);
        let status = if ready {
            StatusCode::OK
        } else {
            StatusCode::SERVICE_UNAVAILABLE
        };
        // An outage of the store is no reason to send clients elsewhere: every other proxy has it too.
        let store = match proxy.cluster() {
            None => "memory",
            Some(cluster) if cluster.is_reachable() => "ok",
            Some(_) => "degraded",
        };
        let document = Ready {
            ready,
            listeners: if serving { "bound" } else { "starting" }.to_owned(),
            draining,
            origins: OriginsKnown {
                known: origins.len(),
                up,
            },
            store: store.to_owned(),
            certificates: self.certificates(),
        };
        (status, document)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stop_counts_as_ready_for_those_who_ask_so() {
        for (query, expected) in [
            (None, false),
            (Some(""), false),
            (Some("while_stopping=true"), true),
            (Some("a=b&while_stopping=true"), true),
            (Some("while_stopping=false"), false),
            (Some("while_stopping"), false),
        ] {
            let asked = Asked::by(query);
            assert_eq!(asked.while_stopping, expected, "{query:?}");
        }
    }
}
