//! How a flow is found whose packets may not be readdressed: by the socket ids that both sides chose.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use crate::flow::{FlowId, LinkId};

/// The flows of which each side is shown the other's own socket id. Empty unless somebody uses AES-GCM.
#[derive(Debug, Default)]
pub(super) struct OwnIds {
    /// By the caller's address and the socket id of its origin.
    by_caller: BTreeMap<(SocketAddr, u32), FlowId>,
    /// By the link, which no other flow uses.
    by_link: BTreeMap<LinkId, FlowId>,
    /// Under what each flow is found, so that it can be forgotten at any stage.
    found: BTreeMap<FlowId, Found>,
}

#[derive(Debug, Default)]
struct Found {
    caller: Option<(SocketAddr, u32)>,
    link: Option<LinkId>,
}

impl OwnIds {
    /// The flow that a caller at `client` writes to by the socket id `number`.
    pub(super) fn of_caller(&self, client: SocketAddr, number: u32) -> Option<FlowId> {
        // Asked for every packet of every caller.
        if self.by_caller.is_empty() {
            return None;
        }
        self.by_caller.get(&(client, number)).copied()
    }

    /// The flow that the other end of `link` writes to.
    pub(super) fn of_link(&self, link: LinkId) -> Option<FlowId> {
        if self.by_link.is_empty() {
            return None;
        }
        self.by_link.get(&link).copied()
    }

    /// An origin is being asked over `link` for `flow`.
    pub(super) fn use_link(&mut self, flow: FlowId, link: LinkId) {
        self.by_link.insert(link, flow);
        self.found.entry(flow).or_default().link = Some(link);
    }

    /// The caller of `flow` will write to the origin's socket id.
    pub(super) fn show_origin(&mut self, flow: FlowId, client: SocketAddr, number: u32) {
        self.by_caller.insert((client, number), flow);
        self.found.entry(flow).or_default().caller = Some((client, number));
    }

    /// The flow has no origin any more.
    pub(super) fn forget(&mut self, flow: FlowId) {
        let Some(found) = self.found.remove(&flow) else {
            return;
        };
        if let Some(caller) = found.caller {
            self.by_caller.remove(&caller);
        }
        if let Some(link) = found.link {
            self.by_link.remove(&link);
        }
    }
}
