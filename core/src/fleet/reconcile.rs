//! Origins that do not register themselves: one that stands for ever, and the lists of sources.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Instant;

use super::{Fleet, Member};
use crate::fleet::drain::{Cause, Drain, Duty};
use crate::fleet::origin::{Origin, OriginId};

/// What a source's new list did to the table.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Reconciled {
    /// Those that were not known.
    pub added: Vec<OriginId>,
    /// Those it names again before they were drained.
    pub returned: Vec<OriginId>,
    /// Those it names no more: they drain.
    pub gone: Vec<OriginId>,
    /// Those that register themselves by now, and the names they do it under. Placements follow.
    pub superseded: Vec<(OriginId, OriginId)>,
    /// Those that cannot be taken, because another stands under their name or the table is full.
    pub refused: Vec<OriginId>,
}

impl Fleet {
    /// Puts an origin in that never registers: it stands until [`Fleet::remove`], alive while its probe succeeds.
    pub fn insert_permanent(&mut self, now: Instant, id: OriginId, origin: Origin) {
        let member = Member::permanent(now, origin, self.rules, None);
        self.members.insert(id, member);
    }

    /// Takes the whole list of a source: what is new on it joins, what is gone from it drains. One that an operator
    /// disabled or drains stays so. An origin that registers itself from the same place is known better by that.
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

    /// Takes out and names those whose drain is to end so, and that are not `in_use` any more.
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
