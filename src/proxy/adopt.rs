//! A session that another proxy placed: its client is heard here now.

use sluicegate_core::access::identity::Identity;
use sluicegate_core::fleet::origin::OriginId;

use super::{Grant, Proxy, Refusal, Session};
use crate::sessions::Request;

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
        let counted = self.count_anyway(&request, None, &Identity::default());
        let session = self.let_in((request, None), Grant::default(), None, counted)?;
        // Where the stream is said to be elsewhere, this session stays alone where it is.
        let expected = self.registry().claimed(session.key());
        let claim = session.hold.claim(expected.as_ref(), origin, WHY);
        if claim.is_ok_and(|claim| claim.won) {
            let _ = session.hold.join(origin);
        }
        session.row.note_placed(origin.clone(), WHY.into());
        session.row.joined();
        session.tell_joined(&session.row.placed());
        Ok(session)
    }
}

const WHY: &str = "another proxy placed it there";
