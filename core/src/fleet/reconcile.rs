//! Origins that do not register themselves: permanent ones, and the lists of sources.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Instant;

use super::{Fleet, Member};
use crate::fleet::drain::{Cause, Drain, Duty};
use crate::fleet::origin::{Origin, OriginId};

/// How a source's new list changed the table.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Reconciled {
    /// Origins that were unknown.
    pub added: Vec<OriginId>,
    /// Origins that the list names again, and whose drain is undone.
    pub returned: Vec<OriginId>,
    /// Origins that the list no longer names: they drain.
    pub gone: Vec<OriginId>,
    /// Origins that now register themselves, with their old and new names. Placements follow.
    pub superseded: Vec<(OriginId, OriginId)>,
    /// Origins that cannot be added, because another one has their name or the table is full.
    pub refused: Vec<OriginId>,
}

impl Fleet {
    /// Adds an origin that never registers. It stays until [`Fleet::remove`], and is alive while its probe succeeds.
    pub fn insert_permanent(&mut self, now: Instant, id: OriginId, origin: Origin) {
        let member = Member::permanent(now, origin, self.rules, None);
        self.members.insert(id, member);
    }

    /// Takes the whole list of a source: new origins join, missing ones drain. An origin that an operator disabled or
    /// drains stays so. If an origin on the list registers itself from the same place, its registration counts.
    pub fn reconcile(
        &mut self,
        now: Instant,
        source: &Arc<str>,
        listed: Vec<(OriginId, Origin)>,
    ) -> Reconciled {
        let mut done = Reconciled::default();
        let named: BTreeSet<OriginId> = listed.iter().map(|(id, _)| id.clone()).collect();
        for (id, origin) in listed {
            self.take_listed(now, source, id, origin, &mut done);
        }
        for (id, member) in &mut self.members {
            let ours = member.source.as_ref() == Some(source);
            if ours && !named.contains(id) && member.duty == Duty::Active {
                let drain = Drain::begin(member.duty, now, None, Cause::Gone);
                member.duty = Duty::Draining(drain);
                done.gone.push(id.clone());
            }
        }
        done
    }

    fn take_listed(
        &mut self,
        now: Instant,
        source: &Arc<str>,
        id: OriginId,
        origin: Origin,
        done: &mut Reconciled,
    ) {
        let registered = self
            .members
            .iter()
            .find(|(_, member)| !member.permanent && member.origin.shares_endpoint(&origin))
            .map(|(id, _)| id.clone());
        let full = self.members.len() >= self.max;
        match (self.members.get_mut(&id), registered) {
            (Some(member), other) if member.source.as_ref() == Some(source) => {
                if let Some(other) = other {
                    self.members.remove(&id);
                    done.superseded.push((id, other));
                    return;
                }
                member.origin = origin;
                if matches!(member.duty, Duty::Draining(drain) if drain.cause == Cause::Gone) {
                    member.duty = Duty::Active;
                    done.returned.push(id);
                }
            }
            (_, Some(_)) => {}
            (Some(_), None) => done.refused.push(id),
            (None, None) if full => done.refused.push(id),
            (None, None) => {
                let source = Some(Arc::clone(source));
                let member = Member::permanent(now, origin, self.rules, source);
                self.members.insert(id.clone(), member);
                done.added.push(id);
            }
        }
    }

    /// Removes origins whose drain ends in removal and that are no longer `in_use`, and returns their names.
    pub fn remove_drained(&mut self, in_use: impl Fn(&OriginId) -> bool) -> Vec<OriginId> {
        let over = |(id, member): &(&OriginId, &Member)| {
            matches!(member.duty, Duty::Draining(drain) if drain.cause.ends_in_removal())
                && !in_use(id)
        };
        let gone: Vec<OriginId> = self
            .members
            .iter()
            .filter(over)
            .map(|(id, _)| id.clone())
            .collect();
        for id in &gone {
            self.members.remove(id);
        }
        gone
    }
}
