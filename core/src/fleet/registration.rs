//! What a registration means: a heartbeat, a restart, a new origin, or a second origin under a used name.

use std::time::Instant;

use super::{Fleet, Member};
use crate::fleet::drain::Duty;
use crate::fleet::origin::{Origin, OriginId};

/// How a registration changed the table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Registered {
    /// The origin's name in the table.
    pub id: OriginId,
    /// The kind of change.
    pub change: Change,
}

/// What a registration meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// Another live origin uses the same server id (a cloned disk): both now have their long ids. Placements that name
    /// `old` belong to `renamed`.
    Collision {
        /// The old and new name of the other origin, if it had to change.
        renamed: Option<(OriginId, OriginId)>,
        /// The address of the other origin.
        other: String,
    },
    /// The same instance as before.
    Heartbeat,
    /// An unknown origin.
    New,
    /// A new instance replaced an old one. Placements that name `previous` belong to the new id.
    Restarted {
        /// The name of the old instance.
        previous: OriginId,
    },
}

/// The table is full; its maximum.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("as many origins are registered as may be: {0} (origins.max)")]
pub struct FleetFull(pub usize);

impl Fleet {
    /// Takes a registration: a heartbeat, a restart, a new origin, or a second origin with a used server id.
    ///
    /// # Errors
    /// [`FleetFull`] when a new origin does not fit; nothing is stored then.
    pub fn register(&mut self, now: Instant, origin: Origin) -> Result<Registered, FleetFull> {
        if let Some((id, member)) = self
            .members
            .iter_mut()
            .find(|(_, member)| member.is_instance(&origin))
        {
            member.heard(now, origin);
            return Ok(Registered {
                id: id.clone(),
                change: Change::Heartbeat,
            });
        }
        let short = OriginId::from(origin.server.as_str());
        if let Some(previous) = self.restarted(now, &origin) {
            let duty = self.members.remove(&previous).map(|old| old.duty);
            // A long id names one instance, so a restart changes it; a short one stays.
            let id = if previous == short {
                short
            } else {
                self.long_id(&origin)
            };
            let mut member = self.newcomer(now, origin);
            member.duty = match duty {
                // A new process is a new registration, so a deregistration is over; an operator's order outlives the
                // process.
                Some(Duty::Draining(drain)) if drain.cause.ends_in_removal() => Duty::Active,
                duty => duty.unwrap_or_default(),
            };
            self.members.insert(id.clone(), member);
            return Ok(Registered {
                id,
                change: Change::Restarted { previous },
            });
        }
        if self.members.len() >= self.max {
            return Err(FleetFull(self.max));
        }
        let Some((standing, other)) = self.namesakes(&origin).next() else {
            // Another origin may have this name: a permanent one, or one whose long id happens to be equal.
            let id = if self.members.contains_key(&short) {
                self.long_id(&origin)
            } else {
                short
            };
            self.members.insert(id.clone(), self.newcomer(now, origin));
            return Ok(Registered {
                id,
                change: Change::New,
            });
        };
        let other_place = other.place();
        let renamed = (*standing == short).then(|| (short, self.long_id(&other.origin)));
        if let Some((from, to)) = &renamed
            && let Some(member) = self.members.remove(from)
        {
            self.members.insert(to.clone(), member);
        }
        let id = self.long_id(&origin);
        self.members.insert(id.clone(), self.newcomer(now, origin));
        Ok(Registered {
            id,
            change: Change::Collision {
                renamed,
                other: other_place,
            },
        })
    }

    /// The origins that would be in the way of `origin`, which has the same server id at another address: those that seem
    /// to be alive, at most `MOST_NAMESAKES`. A caller that finds that nobody answers there notes so before it registers.
    pub fn namesakes_elsewhere(&self, now: Instant, origin: &Origin) -> Vec<OriginId> {
        let known = self
            .members
            .values()
            .any(|member| member.is_instance(origin));
        if known || self.restarted(now, origin).is_some() {
            return Vec::new();
        }
        let namesakes = self.namesakes(origin).map(|(id, _)| id.clone());
        namesakes.take(MOST_NAMESAKES).collect()
    }

    /// Notes that nobody accepts a connection where an origin is registered, while its server id is reported elsewhere: that
    /// is the same origin, which has moved.
    pub fn note_absent(&mut self, id: &OriginId) {
        if let Some(member) = self.members.get_mut(id) {
            member.absent = true;
        }
    }

    /// The entry that `origin` is a new instance of: it has the same server id, and is in the same place, or has missed
    /// two of its heartbeats, or is [absent](Self::note_absent).
    fn restarted(&self, now: Instant, origin: &Origin) -> Option<OriginId> {
        let in_place = self
            .namesakes(origin)
            .find(|(_, member)| member.origin.same_place(origin));
        let silent = || {
            self.namesakes(origin)
                .find(|(_, member)| member.silent(now))
        };
        let absent = || self.namesakes(origin).find(|(_, member)| member.absent);
        let found = in_place.or_else(silent).or_else(absent);
        found.map(|(id, _)| id.clone())
    }

    /// The origins with the same server id. A permanent one never registers, so it has no namesakes.
    fn namesakes<'a>(
        &'a self,
        origin: &'a Origin,
    ) -> impl Iterator<Item = (&'a OriginId, &'a Member)> {
        self.members
            .iter()
            .filter(|(_, member)| !member.permanent && member.origin.server == origin.server)
    }

    fn newcomer(&self, now: Instant, origin: Origin) -> Member {
        Member::new(now, origin, self.rules)
    }

    /// A name for one instance of `origin` that no other origin has.
    fn long_id(&self, origin: &Origin) -> OriginId {
        let long = OriginId::from(origin.instance());
        let numbered = || (2_u32..).map(|number| OriginId::from(format!("{long}-{number}")));
        if !self.members.contains_key(&long) {
            return long;
        }
        let free = numbered().find(|id| !self.members.contains_key(id));
        free.expect("there are more numbers than members")
    }
}

/// Origins with one server id that are asked whether they are there: copies of one disk are a handful.
const MOST_NAMESAKES: usize = 4;
