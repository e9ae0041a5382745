//! What is asked of those who were let in: whether they still may, and how many they are.

use std::sync::Arc;
use std::time::Duration;

use sluicegate_core::access::credentials::Credentials;
use sluicegate_core::access::identity::Identity;
use sluicegate_core::access::question::Question;
use sluicegate_core::access::tally::Exceeded;
use sluicegate_core::access::verdict::{Denial, Grant, Verdict, Why};
use sluicegate_core::fleet::origin::OriginId;
use sluicegate_core::http::link::Viewing;
use sluicegate_core::http::segment::Owners;
use sluicegate_core::stream::StreamUrl;
use tokio::time::sleep;
use tokio_util::task::AbortOnDropHandle;
use tracing::info;

use super::rename::DENIED;
use super::{Gate, Sitting};
use crate::proxy::{PieceGuard, Proxy, Refusal, Request};
use crate::sessions::{EndReason, Row, Ticket, names, question};
use crate::unix_time;

impl Gate {
    /// The verdict by the rules of today on somebody who was let in at `began`, in seconds since 1970. A signature or a
    /// token that held then holds still; keys, users, rules and backends are asked as they are now. `asked` is what the client
    /// called its stream, where a backend gave it another name: it is judged by that name as at first, and a rule that denies
    /// the other one counts as well.
    async fn judge_again(
        &self,
        request: &Request,
        asked: Option<&StreamUrl>,
        began: u64,
        session: &str,
    ) -> Verdict {
        let rules = self.rules();
        let nothing = Credentials::default();
        let named = question(request, &nothing);
        if asked.is_some() && rules.deny(&named) {
            return Verdict::No(Denial::new(Why::Forbidden, DENIED));
        }
        let question = Question {
            stream: asked.unwrap_or(named.stream),
            ..named
        };
        let Some((_, rule)) = rules.deciding(&question) else {
            return Verdict::Yes(Grant::default());
        };
        let sitting = Sitting {
            session: Some(session),
            now: began,
            is_again: true,
        };
        self.try_by(&rules, rule, &question, &sitting).await.0
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
                let judging = gate.judge_again(&row.request, row.asked(), began, &session);
                let verdict = judging.await;
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
        asked: Option<&StreamUrl>,
        who: &Identity,
    ) -> (Option<Ticket>, Option<u32>) {
        let nothing = Credentials::default();
        let tally = self.shared.sessions.tally();
        tally.adopt(&names(request, asked, &nothing), who)
    }

    /// A share in the placement of a stream for somebody who watches it by the links of a viewing, and asks for a file of these
    /// owners.
    ///
    /// # Errors
    /// A [`Refusal`], logged and counted.
    pub fn place_viewing(
        &self,
        request: Request,
        owners: &Owners,
        named: Option<OriginId>,
        viewing: &Viewing,
    ) -> Result<PieceGuard, Refusal> {
        let asked = as_asked(&request, viewing);
        let banned = self.refuse_banned(&asked, &viewing.who);
        let banned = banned.and_then(|()| self.refuse_banned_owners(&asked, owners));
        banned.inspect_err(|refusal| self.note_refusal(&asked, refusal))?;
        let mut grant = Grant::default();
        grant.who = viewing.who.clone();
        // Players show their headers with every request.
        grant.headers = self.headers_to_take_out(&asked).into();
        self.place_admitted(request, named, grant)
    }

    /// A viewer asks for the playlist that it begins to watch with. `None` where nobody counts viewings, or where this one is
    /// known: that of a manifest is the same each time.
    ///
    /// # Errors
    /// A [`Refusal`], logged and counted, where a limit is in the way.
    pub fn begin_viewing(
        &self,
        place: &PieceGuard,
        viewing: &Viewing,
    ) -> Result<Option<BeginningViewing>, Refusal> {
        let (request, grant) = (place.request(), place.grant());
        let viewings = &self.shared.gate.viewings;
        if !self.watches_viewings(grant) || viewings.seen(viewing.id).is_some() {
            return Ok(None);
        }
        match self.count(request, place.asked(), grant) {
            Ok((ticket, _)) => {
                viewings.begin(viewing.id, ticket);
                Ok(Some(BeginningViewing {
                    proxy: self.clone(),
                    id: viewing.id,
                    has_begun: false,
                }))
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
                let asked = viewing.asked.as_ref();
                let (ticket, _) = self.count_anyway(request, asked, &viewing.who);
                gate.viewings.begin(viewing.id, ticket);
                Duration::from_secs(unix_time::seconds().saturating_sub(viewing.since))
            }
        };
        let asked = as_asked(request, viewing);
        let Some(period) = gate.recheck_of(&asked) else {
            return Ok(());
        };
        if unjudged < period {
            return Ok(());
        }
        // Those who ask meanwhile are let through.
        gate.viewings.judged(viewing.id);
        let session = format!("{:016x}", viewing.id);
        let shown = Request {
            credentials: as_shown(request, viewing),
            ..request.clone()
        };
        let called = viewing.asked.as_ref();
        let judging = gate.judge_again(&shown, called, viewing.since, &session);
        let Verdict::No(Denial { why, reason, .. }) = judging.await else {
            return Ok(());
        };
        gate.viewings.end(viewing.id);
        let refusal = Refusal::Denied {
            stream: asked.stream.clone(),
            why,
            reason,
        };
        self.note_refusal(&asked, &refusal);
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

/// A viewing whose viewer waits for its first playlist. It takes a place meanwhile, and gives it back where none came: a player
/// that waits for a stream asks again and again.
#[derive(Debug)]
pub struct BeginningViewing {
    proxy: Proxy,
    id: u64,
    has_begun: bool,
}

impl BeginningViewing {
    /// The viewer has its playlist.
    pub fn begun(mut self) {
        self.has_begun = true;
    }
}

impl Drop for BeginningViewing {
    fn drop(&mut self) {
        if !self.has_begun {
            self.proxy.shared.gate.viewings.take_back(self.id);
        }
    }
}

/// The request of somebody who watches, by the name that it called its stream.
fn as_asked(request: &Request, viewing: &Viewing) -> Request {
    Request {
        stream: viewing.asked.as_ref().unwrap_or(&request.stream).clone(),
        ..request.clone()
    }
}

/// What somebody who watches shows: its headers of now, and the query that it began with, which its links keep to themselves.
fn as_shown(request: &Request, viewing: &Viewing) -> Option<Box<Credentials>> {
    let Some(url) = &viewing.shown else {
        return request.credentials.clone();
    };
    let Credentials { query, url, .. } = Credentials::of_target(url.as_str());
    let now = request.credentials.as_deref().cloned();
    let shown = Credentials {
        query,
        url,
        ..now.unwrap_or_default()
    };
    shown.boxed()
}

/// The refusal of a request for `stream` that a limit is in the way of.
pub(super) fn limited_by(exceeded: Exceeded, stream: &StreamUrl) -> Refusal {
    Refusal::Limited {
        stream: stream.clone(),
        exceeded,
    }
}
