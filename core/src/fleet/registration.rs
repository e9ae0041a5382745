//! What a registration means: a heartbeat, a restart, a newcomer, or a second origin under a used name.

use std::time::Instant;

use super::{Fleet, Member};
use crate::fleet::drain::Duty;
use crate::fleet::origin::{Origin, OriginId};

/// What a registration did to the table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Registered {
    /// The name the origin stands under.
    pub id: OriginId,
    /// What happened.
    pub change: Change,
}

/// What a registration meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// Another live origin uses the same server id (a cloned disk): both now stand under their long ids.
    /// Placements that name `old` belong to `renamed`.
    Collision {
        /// The name the other origin had until now, if it had to give it up.
        renamed: Option<(OriginId, OriginId)>,
        /// Where the other origin is.
        other: String,
    },
    /// The same instance as before.
    Heartbeat,
    /// Not known before.
    New,
    /// A new instance in the place of an old one. Placements that name `previous` belong to the new id.
    Restarted {
        /// The name the old instance stood under.
        previous: OriginId,
    },
}

/// The table is full.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0} origins are registered, which is the limit (origins.max)")]
pub struct FleetFull(pub usize);

impl Fleet {
    /// Takes a registration: a heartbeat, a restart, a newcomer, or a second origin with a used server id.
    ///
    /// # Errors
    /// [`FleetFull`] when a newcomer does not fit; nothing is stored then.
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
            // A long id names one instance, so a restart under it changes the id; a short one stays.
            let id = if previous == short {
                short
            } else {
                self.long_id(&origin)
            };
            let mut member = self.newcomer(now, origin);
            member.duty = match duty {
                // A new process in its place is a new registration; an operator's wish outlives it.
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
            // Another origin may stand under this name: a permanent one, or one whose long id happens to read so.
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

    /// The standing entry that `origin` is a new instance of: same server id, and either in the same place or
    /// silent for two of its heartbeats.
    fn restarted(&self, now: Instant, origin: &Origin) -> Option<OriginId> {
        let in_place = self
            .namesakes(origin)
            .find(|(_, member)| member.origin.same_place(origin));
        let silent = || {
            self.namesakes(origin)
                .find(|(_, member)| member.silent(now))
        };
        in_place.or_else(silent).map(|(id, _)| id.clone())
    }

    /// The origins with the same server id. A permanent one never registers, so it is nobody's namesake.
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

    /// A name for one instance of `origin` that nobody stands under.
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
