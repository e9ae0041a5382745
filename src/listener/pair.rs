//! A client and an origin, joined: what a connection keeps while it is relayed.

use crate::net::relay::{self, Ending, Passage};
use crate::net::wire::Wire;
use crate::proxy::Session;
use crate::sessions::Over;

/// A client and an origin, and what happens to bytes between them.
pub(super) struct Pair<P> {
    pub(super) client: Wire,
    pub(super) origin: Wire,
    pub(super) passage: P,
    /// What the client is to get before anything is relayed; it is counted already.
    pub(super) first: Vec<u8>,
    // Last, so that the session ends when both connections are closed.
    pub(super) session: Session,
}

impl<P: Passage> Pair<P> {
    /// Relays until the leg or the session is over. What the client has yet to take is what it gets first then.
    pub(super) async fn relay_leg(&mut self) -> Over {
        let Ending { over, rest } = relay::join(
            &mut self.client,
            &mut self.origin,
            self.session.row(),
            &mut self.passage,
            std::mem::take(&mut self.first),
        )
        .await;
        self.first = rest;
        over
    }
}
