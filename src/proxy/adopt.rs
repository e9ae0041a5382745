//! A session that another proxy placed: its client is heard here now.

use sluicegate_core::origin::OriginId;
use tracing::info;

use super::{Proxy, Refusal, Session};
use crate::session::Request;

impl Proxy {
    /// Opens a session that is joined to `origin` already. It counts on that origin, whatever the origin may hold: it
    /// is there, and nobody is asked.
    ///
    /// # Errors
    /// A [`Refusal`] when this proxy takes nobody, or has no room.
    pub fn adopt(&self, request: Request, origin: &OriginId) -> Result<Session, Refusal> {
        if self.is_draining() {
            return Err(Refusal::Draining);
        }
        let key = self.key(&request.stream);
        let registry = &self.shared.registry;
        let hold = registry
            .hold(&key, request.action, request.client.ip())
            .map_err(|_| Refusal::TooManyClaims)?;
        let service = request.protocol.service();
        let row = self.shared.sessions.open(request).ok_or(Refusal::Full)?;
        // Where the stream is said to be elsewhere, this session stays alone where it is.
        let expected = registry.claimed(&key);
        if hold
            .claim(expected.as_ref(), origin, WHY)
            .is_ok_and(|claim| claim.won)
        {
            let _ = hold.join(origin);
        }
        row.note_placed(origin.clone(), WHY.into());
        row.joined();
        info!(
            session = row.id,
            stream = %row.request.stream,
            action = row.request.action.as_str(),
            protocol = row.request.protocol.as_str(),
            client = %row.request.client,
            %origin,
            why = WHY,
            "session joined"
        );
        Ok(Session {
            proxy: self.clone(),
            service,
            setup: self.shared.timing.setup,
            key,
            hold,
            row,
        })
    }
}

const WHY: &str = "another proxy placed it there";
