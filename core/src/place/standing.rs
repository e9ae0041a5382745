//! Where a stream is that somebody asks for, and whether it may stay there.

use super::attempts::{Choice, GiveUp, Why};
use super::placement::Decision;
use crate::fleet::State;
use crate::fleet::drain::Duty;
use crate::fleet::origin::OriginId;
use crate::stream::Action;

/// What one proxy knows of a stream and of the origins. Each is asked only where it matters, so that a stream on an origin
/// that is well costs little.
pub trait Seen {
    /// The origin that the stream is claimed for, whether or not that one is known.
    fn claimed(&self) -> Option<OriginId>;

    /// The origin that says that the stream is published there, by another way than through proxies, if it is well.
    fn reported(&self) -> Option<OriginId>;

    /// Whether a publisher of it is joined through this proxy.
    fn is_published_here(&self) -> bool;

    /// How an origin is, and what is wanted of it; `None` if it is not known.
    fn origin(&self, origin: &OriginId) -> Option<(State, Duty)>;

    /// Whether there are other proxies, through which its publisher may have come without a word of it here.
    fn has_other_proxies(&self) -> bool;

    /// Whether somebody gets its media from `origin` through this proxy.
    fn is_watched_at(&self, origin: &OriginId) -> bool;
}

/// Where a stream is, if that is not one of `without` and it may stay there for who asks.
///
/// # Errors
/// [`GiveUp::Gone`] where it is published on an origin that takes nobody.
pub fn settled(
    seen: &impl Seen,
    action: Action,
    without: &[OriginId],
) -> Result<Option<Choice>, GiveUp> {
    let claimed = seen.claimed();
    // Where an origin says it is, it is, unless its publisher came through here.
    if let Some(origin) = seen.reported()
        && claimed.as_ref() != Some(&origin)
        && !without.contains(&origin)
        && !seen.is_published_here()
    {
        return Ok(Some(Choice {
            expected: claimed,
            words: format!("{origin} reports that it is published there").into(),
            origin,
            why: Why::Reported,
        }));
    }
    let Some(origin) = claimed.filter(|origin| !without.contains(origin)) else {
        return Ok(None);
    };
    let known = seen.origin(&origin);
    let takes_players = known.is_some_and(|(_, duty)| duty.takes_players());
    if !takes_players && seen.is_published_here() {
        return Err(GiveUp::Gone(origin));
    }
    let stays = known.is_some_and(|known| may_stay(seen, action, &origin, known));
    Ok(stays.then(|| Choice {
        expected: Some(origin.clone()),
        origin,
        why: Why::Sticky,
        words: "it is placed there".into(),
    }))
}

/// What follows from a `decision` for a stream that is nowhere, or has to leave the origin that it is `claimed` for. `words`: the
/// decision, for people.
///
/// # Errors
/// [`GiveUp::Nobody`] when none may take the stream.
pub fn best(
    decision: &Decision,
    claimed: Option<OriginId>,
    words: String,
) -> Result<Choice, GiveUp> {
    let Some(best) = decision.ranked.first() else {
        return Err(GiveUp::Nobody {
            full: decision.is_full(),
            words,
        });
    };
    let why = match claimed {
        Some(_) => Why::Moved,
        None => Why::New,
    };
    Ok(Choice {
        expected: claimed,
        origin: best.origin.clone(),
        why,
        words: format!("first {words}").into(),
    })
}

/// Where the stream of a player goes that leaves an origin to follow it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GoesOn {
    /// Back to the origin that the player is to leave.
    Back,
    /// On to another origin than the one that the player waits at.
    Elsewhere,
    /// To where the player waits or asks, as far as is known.
    There,
}

/// Where the stream goes of a player that is to leave `from`, and waits for media `at` another origin; `None`: it asks for one
/// still.
pub fn goes_on(seen: &impl Seen, from: &OriginId, at: Option<&OriginId>) -> GoesOn {
    match (seen.claimed(), at) {
        (Some(claimed), _) if claimed == *from && is_to_be_on(seen, from) => GoesOn::Back,
        (Some(claimed), Some(at)) if claimed != *at && is_to_be_on(seen, &claimed) => {
            GoesOn::Elsewhere
        }
        _ => GoesOn::There,
    }
}

/// Whether a stream that is claimed for `origin` is to be there: no other origin says that it is published there, or its
/// publisher is joined through this proxy, which counts for more.
fn is_to_be_on(seen: &impl Seen, origin: &OriginId) -> bool {
    seen.is_published_here() || seen.reported().is_none_or(|other| other == *origin)
}

/// Whether a stream that is placed at `standing` stays there.
fn may_stay(
    seen: &impl Seen,
    action: Action,
    standing: &OriginId,
    (state, duty): (State, Duty),
) -> bool {
    let fails = state == State::Failing;
    match duty {
        Duty::Active if !fails => true,
        // An origin that fails, or is taken out of service, keeps what is published on it through here.
        _ if seen.is_published_here() => true,
        // Its publisher may have come another way: where it is seen, it is.
        Duty::Draining(_) if !fails => {
            // With other proxies it may have come through one of them, and none says so. Where it did not, the
            // encoder that comes back is placed elsewhere, and ends who waits here.
            let may_be_there = || {
                seen.has_other_proxies()
                    || seen.reported().as_ref() == Some(standing)
                    || seen.is_watched_at(standing)
            };
            action == Action::Play && may_be_there()
        }
        _ => false,
    }
}
