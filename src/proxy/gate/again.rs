//! What is asked of those who were let in: whether they still may, and how many they are.

use std::sync::Arc;
use std::time::Duration;

use sluicegate_core::access::credentials::Credentials;
use sluicegate_core::access::identity::Identity;
use sluicegate_core::access::tally::Exceeded;
use sluicegate_core::access::verdict::{Denial, Grant, Verdict};
use sluicegate_core::http::link::Viewing;
use sluicegate_core::stream::StreamUrl;
use tokio::time::sleep;
use tokio_util::task::AbortOnDropHandle;
use tracing::info;

use super::{Gate, Sitting};
use crate::proxy::{PieceGuard, Proxy, Refusal, Request};
use crate::sessions::{EndReason, Row, Ticket, names, question};
use crate::unix_time;

impl Gate {
    /// The verdict by the rules of today on somebody who was let in at `began`, in seconds since 1970. A signature or a
    /// token that held then holds still; keys, users, rules and backends are asked as they are now.
    async fn judge_again(&self, request: &Request, began: u64, session: &str) -> Verdict {
        let rules = self.rules();
        let nothing = Credentials::default();
        let question = question(request, &nothing);
        let Some((_, rule)) = rules.deciding(&question) else {
            return Verdict::Yes(Grant::default());
        };
        let sitting = Sitting {
            session: Some(session),
            now: began,
            is_again: true,
        };
        self.try_by(&rules, rule, &question, &sitting).await
    }

    /// How often the rule that decides about a request has sessions judged again.
    fn recheck_of(&self, request: &Request) -> Option<Duration> {
        let rules = self.rules();
        if !rules.rechecks() {
            return None;
        }
        let nothing = Credentials::default();
        rules.deciding(&question(request, &nothing))?.1.recheck
    }
}

impl Proxy {
    /// Judges the session of `row` again and again, and ends it when it may not any more, unless it is dropped before. Where
    /// nobody can say, it goes on.
    pub(in crate::proxy) fn judge_again(
        &self,
        row: &Arc<Row>,
        period: Duration,
        session: Box<str>,
    ) -> AbortOnDropHandle<()> {
        let (proxy, row) = (self.clone(), Arc::downgrade(row));
        let began = unix_time::seconds();
        AbortOnDropHandle::new(tokio::spawn(async move {
            loop {
                sleep(period).await;
                let Some(row) = row.upgrade() else { return };
                let gate = &proxy.shared.gate;
                // By the name that the client gave it, as at first.
                let request = Request {
                    stream: row.asked().unwrap_or(&row.request.stream).clone(),
                    ..row.request.clone()
                };
                let verdict = gate.judge_again(&request, began, &session).await;
                if let Verdict::No(Denial { reason, .. }) = verdict {
                    info!(session = row.id, stream = %row.request.stream, reason, "judged again: it may not any more");
                    return row.end(EndReason::AccessRevoked);
                }
            }
        }))
    }

    /// Counts a session that begins, unless a limit is in the way. `asked` is what the client called its stream, where a
    /// backend gave it another name.
    pub(in crate::proxy) fn count(
        &self,
        request: &Request,
        asked: Option<&StreamUrl>,
        grant: &Grant,
    ) -> Result<(Option<Ticket>, Option<u32>), Refusal> {
        let nothing = Credentials::default();
        let names = names(request, asked, &nothing);
        let tally = self.shared.sessions.tally();
        let entered = tally.enter(&names, &grant.who, grant.limits.as_ref());
        // By the client's own name: the other is none of its business.
        let stream = asked.unwrap_or(&request.stream);
        entered.map_err(|exceeded| limited_by(exceeded, stream))
    }

    /// Counts one that is there, whatever the limits say.
    pub(in crate::proxy) fn count_anyway(
        &self,
        request: &Request,
        who: &Identity,
    ) -> (Option<Ticket>, Option<u32>) {
        let nothing = Credentials::default();
        let tally = self.shared.sessions.tally();
        tally.adopt(&[question(request, &nothing)], who)
    }

    /// A viewer begins to watch in pieces.
    ///
    /// # Errors
    /// A [`Refusal`], logged and counted, where a limit is in the way.
    pub fn begin_viewing(&self, place: &PieceGuard, viewing: &Viewing) -> Result<(), Refusal> {
        let (request, grant) = (place.request(), place.grant());
        let viewings = &self.shared.gate.viewings;
        if !self.watches_viewings(grant) || viewings.seen(viewing.id).is_some() {
            return Ok(());
        }
        match self.count(request, place.asked(), grant) {
            Ok((ticket, _)) => {
                viewings.begin(viewing.id, ticket);
                Ok(())
            }
            Err(refusal) => {
                self.note_refusal(request, &refusal);
                Err(refusal)
            }
        }
    }

    /// A viewer asks for a playlist by the link of its viewing.
    ///
    /// # Errors
    /// A [`Refusal`], logged and counted, where it was judged again and may not any more.
    pub async fn continue_viewing(
        &self,
        request: &Request,
        viewing: &Viewing,
    ) -> Result<(), Refusal> {
        let gate = &self.shared.gate;
        if !self.watches_viewings(&Grant::default()) {
            return Ok(());
        }
        let judged = gate.viewings.seen(viewing.id);
        let unjudged = match judged {
            Some(judged) => judged.elapsed(),
            None => {
                let (ticket, _) = self.count_anyway(request, &viewing.who);
                gate.viewings.begin(viewing.id, ticket);
                Duration::from_secs(unix_time::seconds().saturating_sub(viewing.since))
            }
        };
        let Some(period) = gate.recheck_of(request) else {
            return Ok(());
        };
        if unjudged < period {
            return Ok(());
        }
        // Those who ask meanwhile are let through.
        gate.viewings.judged(viewing.id);
        let session = format!("{:016x}", viewing.id);
        let Verdict::No(Denial { why, reason }) =
            gate.judge_again(request, viewing.since, &session).await
        else {
            return Ok(());
        };
        gate.viewings.end(viewing.id);
        let stream = request.stream.clone();
        let refusal = Refusal::Denied {
            stream,
            why,
            reason,
        };
        self.note_refusal(request, &refusal);
        Err(refusal)
    }

    /// Whether anybody wants to know of viewings.
    fn watches_viewings(&self, grant: &Grant) -> bool {
        let shared = &self.shared;
        shared.sessions.tally().is_limited()
            || grant.limits.is_some()
            || shared.gate.rules().rechecks()
    }
}

/// The refusal of a request for `stream` that a limit is in the way of.
pub(super) fn limited_by(exceeded: Exceeded, stream: &StreamUrl) -> Refusal {
    Refusal::Limited {
        stream: stream.clone(),
        exceeded,
    }
}
