//! Looking at a stream for an operator: a viewer of the proxy's own, whom nobody lets in and nothing counts as a viewer.

use sluicegate_core::stream::StreamUrl;

use super::{Proxy, Refusal, Request, Session};

impl Proxy {
    /// Opens a session for an operator who looks at a stream. It passes no gate, and it has no share in the counts, limits
    /// and drains of sessions. `None`: the stream is nowhere, and is placed nowhere to be looked at.
    ///
    /// # Errors
    /// [`Refusal::Full`] where the table has no room.
    pub async fn open_preview(&self, request: Request) -> Result<Option<Session>, Refusal> {
        if !self.is_somewhere(&request.stream).await {
            return Ok(None);
        }
        let key = self.key(&request.stream);
        let hold = self.registry().hold_for_ourselves(&key);
        let sessions = &self.shared.sessions;
        let row = sessions.open_preview(request, key).ok_or(Refusal::Full)?;
        Ok(Some(Session {
            proxy: self.clone(),
            setup: self.shared.timing.setup,
            admitted: None,
            hold,
            row,
        }))
    }

    /// Whether an origin holds the stream, as far as this proxy, the store and the origins say.
    async fn is_somewhere(&self, stream: &StreamUrl) -> bool {
        let key = self.key(stream);
        let registry = self.registry();
        registry.claimed(&key).is_some()
            || registry.reported(&key).is_some()
            || self.stands(&key).await.is_some()
    }
}
