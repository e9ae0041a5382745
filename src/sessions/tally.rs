//! Counts for limits: what of a session is counted from its begin to its end.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use sluicegate_core::access::credentials::Credentials;
use sluicegate_core::access::identity::Identity;
use sluicegate_core::access::limits::{Limit, Most};
use sluicegate_core::access::question::Question;
use sluicegate_core::access::tally::{Counted, Exceeded, Tally as Counts};
use sluicegate_core::stream::StreamUrl;
use tokio::time::Instant;

use super::{Request, Row};

/// All counts of this proxy, and what the others count.
#[derive(Debug)]
pub struct Tally {
    // A std mutex: it is held for a few lines, never across an await, and only while something is limited.
    counts: Mutex<Counts>,
    limited: AtomicBool,
    began: Instant,
}

/// A place among those that are counted, given back when it is dropped.
#[derive(Debug)]
pub(crate) struct Ticket {
    tally: Arc<Tally>,
    number: u64,
}

/// What a limit has against a request, or a place and a rate.
pub(crate) type Entered = Result<(Option<Ticket>, Option<u32>), Exceeded>;

impl Default for Tally {
    fn default() -> Self {
        Self {
            counts: Mutex::default(),
            limited: AtomicBool::new(false),
            began: Instant::now(),
        }
    }
}

impl Tally {
    /// Whether the settings limit anything.
    pub fn is_limited(&self) -> bool {
        self.limited.load(Ordering::Relaxed)
    }

    /// Takes other limits. Sessions that are counted have to be [adopted](Self::adopt) again.
    pub(crate) fn take(&self, limits: Vec<Limit>) {
        self.limited.store(!limits.is_empty(), Ordering::Relaxed);
        self.lock().take(limits);
    }

    /// Whether a request may be judged at all.
    pub(crate) fn may_ask(&self, question: &Question<'_>) -> Result<(), Exceeded> {
        if !self.is_limited() {
            return Ok(());
        }
        self.lock().may_ask(question, self.now())
    }

    /// A request showed something wrong.
    pub(crate) fn failed(&self, question: &Question<'_>) {
        if self.is_limited() {
            self.lock().failed(question, self.now());
        }
    }

    /// Counts a session or a viewing that begins.
    pub(crate) fn enter(
        self: &Arc<Self>,
        names: &[Question<'_>],
        who: &Identity,
        own: Option<&Most>,
    ) -> Entered {
        if !self.is_limited() && own.is_none() {
            return Ok((None, None));
        }
        let counted = self.lock().enter(names, who, own, self.now())?;
        Ok(self.ticket(counted))
    }

    /// Counts one that is there, whatever the limits say.
    pub(crate) fn adopt(
        self: &Arc<Self>,
        names: &[Question<'_>],
        who: &Identity,
    ) -> (Option<Ticket>, Option<u32>) {
        if !self.is_limited() {
            return (None, None);
        }
        let counted = self.lock().adopt(names, who, None);
        self.ticket(counted)
    }

    /// The counts, for those who tell the other proxies and hear of theirs.
    pub(crate) fn with<T>(&self, f: impl FnOnce(&mut Counts) -> T) -> T {
        f(&mut self.lock())
    }

    fn ticket(self: &Arc<Self>, counted: Counted) -> (Option<Ticket>, Option<u32>) {
        let ticket = counted.ticket.map(|number| Ticket {
            tally: Arc::clone(self),
            number,
        });
        (ticket, counted.kbps)
    }

    fn now(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn lock(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Ticket {
    /// Gives it back where nothing came of it, so that nothing has begun.
    pub(crate) fn take_back(self) {
        self.tally.lock().take_back(self.number);
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.tally.lock().leave(self.number);
    }
}

impl Row {
    /// Counts an open session by other limits than before.
    pub(super) fn count_again(&self, tally: &Arc<Tally>) {
        let (nothing, nobody) = (Credentials::default(), Identity::default());
        let names = names(&self.request, self.asked(), &nothing);
        let (ticket, kbps) = tally.adopt(&names, self.who().unwrap_or(&nobody));
        self.note_counted(ticket, kbps);
    }
}

/// The same of a request by each name of its stream: `asked` is what the client called it, where a backend gave it another
/// name.
pub(crate) fn names<'a>(
    request: &'a Request,
    asked: Option<&'a StreamUrl>,
    nothing: &'a Credentials,
) -> Vec<Question<'a>> {
    let named = question(request, nothing);
    let first = asked.map(|stream| Question { stream, ..named });
    std::iter::once(named).chain(first).collect()
}

/// What limits see of a request. `nothing` stands in for what a client did not show.
pub(crate) fn question<'a>(request: &'a Request, nothing: &'a Credentials) -> Question<'a> {
    Question {
        stream: &request.stream,
        action: request.action,
        protocol: request.protocol,
        client: request.client.ip().to_canonical(),
        credentials: request.credentials.as_deref().unwrap_or(nothing),
    }
}
