//! Banning: who is met is refused from now on and at every proxy, and what it has ends.

use sluicegate_core::access::bans::{Ban, Suspect, Target, reason_of};
use sluicegate_core::access::identity::Identity;
use sluicegate_core::access::verdict::Why;

use super::{Proxy, Refusal, Request};
use crate::unix_time;

impl Proxy {
    /// Bans somebody or something until then, in seconds since 1970. Returns the ban and how many sessions it ended here;
    /// `None` if there are too many bans.
    pub async fn ban(&self, target: Target, until: u64, reason: &str) -> Option<(Ban, usize)> {
        let ban = Ban {
            at: self.later_than(&target),
            target,
            until,
            lifted: false,
            reason: reason_of(reason),
        };
        let ended = self.shared.sessions.take_ban(ban.clone())?;
        if let Some(cluster) = &self.shared.cluster {
            cluster.tell_ban(&ban).await;
        }
        Some((ban, ended))
    }

    /// Lifts the ban of this id. Returns it; `None` if no such ban holds.
    pub async fn lift(&self, id: &str) -> Option<Ban> {
        let ban = self.shared.sessions.bans().holding(id)?;
        let lifted = Ban {
            at: self.later_than(&ban.target),
            lifted: true,
            ..ban
        };
        self.shared.sessions.take_ban(lifted.clone())?;
        if let Some(cluster) = &self.shared.cluster {
            cluster.tell_ban(&lifted).await;
        }
        Some(lifted)
    }

    /// Whether anything is banned.
    pub fn has_bans(&self) -> bool {
        !self.shared.sessions.bans().is_empty()
    }

    /// Whether a ban stands in the way of a request.
    ///
    /// # Errors
    /// [`Refusal::Denied`]
    pub(super) fn refuse_banned(&self, request: &Request, who: &Identity) -> Result<(), Refusal> {
        if self.shared.sessions.bans().is_empty() {
            return Ok(());
        }
        let key = self.key(&request.stream);
        let suspect = Suspect {
            client: request.client.ip(),
            stream: key.as_str(),
            called: request.stream.as_str(),
            who,
        };
        match self.shared.sessions.bans().meeting(&suspect) {
            None => Ok(()),
            Some(_) => Err(Refusal::Denied {
                stream: request.stream.clone(),
                why: Why::Forbidden,
                reason: BANNED.to_owned(),
            }),
        }
    }

    /// Milliseconds since 1970, and later than every word on this target: the clock of who spoke last may be ahead.
    fn later_than(&self, target: &Target) -> u64 {
        let now = unix_time::millis();
        let words = self.shared.sessions.bans().words();
        let known = words.iter().find(|ban| ban.target == *target);
        known.map_or(now, |known| now.max(known.at.saturating_add(1)))
    }
}

/// What a banned client hears. Until when and why is for operators.
const BANNED: &str = "this is not allowed at present";
