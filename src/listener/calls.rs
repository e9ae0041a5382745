//! Calls that stand here: those this proxy signalled, and those whose client it heard though another did. Signalling and
//! media both let them stand, and know nothing of each other.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use sluicegate_core::http::head::{Forwarded, RequestHead};
use sluicegate_core::rtc::flows::CONSENT;
use sluicegate_core::stream::Protocol;
use tokio::time::timeout;
use tokio_util::task::TaskTracker;
use tracing::debug;

use crate::cluster::Cluster;
use crate::origin::call::{Message, TELL_WITHIN, tell};
use crate::origin::dial::Dialer;
use crate::proxy::{Proxy, Request, Session};
use crate::registry::Registry;
use crate::registry::bindings::{Binding, Bound, Call};
use crate::sessions::{Direction, EndReason, Row};
use crate::value::{ClientAddr, LocalAddr};

/// Lets calls stand until something ends them; a cheap clone.
#[derive(Debug, Clone)]
pub struct Calls {
    dialer: Arc<Dialer>,
    /// Keeps count of them.
    tasks: TaskTracker,
    // A std mutex: held for the few lines in which a call is taken over, so that two shards do not take it twice.
    taking: Arc<Mutex<()>>,
}

/// Who speaks for a call when its origin is told of the end.
#[derive(Debug)]
pub(super) struct DeleteRequest {
    pub(super) client: ClientAddr,
    pub(super) local: LocalAddr,
    pub(super) forwarded: Forwarded,
    pub(super) head: RequestHead,
}

impl Calls {
    /// Calls whose origins are reached by `dialer`, counted by `tasks`.
    pub fn new(dialer: Arc<Dialer>, tasks: TaskTracker) -> Self {
        Self {
            dialer,
            tasks,
            taking: Arc::default(),
        }
    }

    /// Reaches origins.
    pub(super) const fn dialer(&self) -> &Arc<Dialer> {
        &self.dialer
    }

    /// Lets a call stand that was signalled here.
    pub(super) fn stand(
        &self,
        proxy: &Proxy,
        session: Session,
        call: Arc<Call>,
        delete: DeleteRequest,
    ) {
        let bound = proxy.registry().bindings().insert(call, session.row().id);
        let task = CallTask {
            session,
            bound,
            proxy: proxy.clone(),
            dialer: Arc::clone(&self.dialer),
            delete: Box::new(delete),
        };
        self.tasks.spawn(task.until_over());
    }

    /// The row of a call whose client has proven itself here by `found`. A call that another proxy signalled is taken:
    /// it has its row here from now on. The binding that counts is the one that is returned. `None` while this proxy
    /// takes nobody.
    pub(super) fn take(
        &self,
        proxy: &Proxy,
        found: &Arc<Binding>,
    ) -> Option<(Arc<Binding>, Arc<Row>)> {
        let bindings = proxy.registry().bindings();
        let _one_at_a_time = self.taking.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(call) = bindings.call(&found.call.id) {
            let binding = bindings.binding(&found.username).or_else(|| {
                bindings.add(&call, &found.call.checks());
                bindings.binding(&found.username)
            })?;
            let row = proxy.sessions().row(call.session())?;
            return Some((binding, row));
        }
        let call = Arc::clone(&found.call);
        let request = Request {
            stream: call.stream.clone(),
            action: call.action,
            protocol: Protocol::WebRtc,
            client: call.client,
            by_way_of: None,
            bond: None,
            credentials: None,
        };
        let refused = |refusal| debug!(%refusal, "a call of another proxy is not taken");
        let session = proxy.adopt(request, &call.origin).map_err(refused).ok()?;
        let row = Arc::clone(session.row());
        let delete = DeleteRequest::of(&call);
        if let Some(cluster) = proxy.cluster() {
            let (cluster, call) = (Arc::clone(cluster), Arc::clone(&call));
            tokio::spawn(async move { cluster.carry(&call).await });
        }
        self.stand(proxy, session, call, delete);
        let binding = bindings.binding(&found.username)?;
        Some((binding, row))
    }
}

impl DeleteRequest {
    /// Our own, for a call whose client never spoke to us by HTTP.
    fn of(call: &Call) -> Self {
        let mut head = RequestHead::parse(b"DELETE / HTTP/1.1\r\nHost: -\r\n\r\n")
            .ok()
            .flatten()
            .map(|(head, _)| head)
            .expect("a head of our own");
        head.headers.remove("host");
        head.headers.push("host", &call.api.to_string());
        Self {
            client: call.client,
            local: SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)).into(),
            forwarded: Forwarded {
                client: call.client.ip(),
                secure: false,
                trusted: false,
            },
            head,
        }
    }
}

/// A call that stands.
struct CallTask {
    session: Session,
    bound: Bound,
    proxy: Proxy,
    dialer: Arc<Dialer>,
    delete: Box<DeleteRequest>,
}

impl CallTask {
    async fn until_over(self) {
        let row = Arc::clone(self.session.row());
        let reason = match timeout(CONSENT, row.ended()).await {
            Ok(reason) => reason,
            // Nobody came for the answer.
            Err(_) if row.bytes(Direction::ToOrigin) == 0 => {
                row.end(EndReason::ClientIdle);
                row.end_reason().unwrap_or(EndReason::ClientIdle)
            }
            Err(_) => row.ended().await,
        };
        // Nothing may find it any more, before the origin is told. What telling needs is no room to keep for hours.
        let call = Arc::clone(self.bound.call());
        // Other proxies do not know of those who look.
        let is_shared = !row.is_preview();
        drop(self.bound);
        drop(self.session);
        let cluster = self.proxy.cluster().filter(|_| is_shared);
        let told = tell_of_end(
            (reason, cluster),
            &self.proxy,
            &self.dialer,
            *self.delete,
            &call,
        );
        Box::pin(told).await;
    }
}

/// Tells the other proxies and the origin that a call is over, as far as they do not know.
async fn tell_of_end(
    (reason, cluster): (EndReason, Option<&Arc<Cluster>>),
    proxy: &Proxy,
    dialer: &Dialer,
    delete: DeleteRequest,
    call: &Call,
) {
    match (reason, cluster) {
        (EndReason::ClientClosed | EndReason::Elsewhere, _) => return,
        (EndReason::OriginClosed, None) => return,
        (EndReason::OriginClosed, Some(cluster)) => return cluster.end_call(call).await,
        // Another proxy takes it, when its client finds one.
        (EndReason::Drained, Some(cluster)) if cluster.is_reachable() => return,
        (_, Some(cluster)) => {
            if !cluster.carries(call).await {
                return;
            }
            cluster.end_call(call).await;
        }
        (_, None) => {}
    }
    delete.say_goodbye(dialer, proxy.registry(), call).await;
}

impl DeleteRequest {
    /// Tells the origin that a call is over. One that is not told finds out by itself, when its own clock runs out.
    async fn say_goodbye(self, dialer: &Dialer, registry: &Registry, call: &Call) {
        let Some(target) = &call.resource else {
            return;
        };
        let mut head = self.head;
        head.method = "DELETE".to_owned();
        head.headers.remove("content-type");
        let message = Message {
            head: &head,
            target,
            body: Bytes::new(),
            forwarded: &self.forwarded,
        };
        let told = tell(dialer, registry, call, self.client, self.local, message);
        match timeout(TELL_WITHIN, told).await {
            Ok(Ok(answer)) => {
                debug!(origin = %call.origin, status = %answer.status, "told the origin");
            }
            Ok(Err(error)) => debug!(origin = %call.origin, %error, "the origin was not told"),
            Err(_) => debug!(origin = %call.origin, "the origin was not told in time"),
        }
    }
}
