//! One claim in a store that proxies share: what is expected there, what may be replaced, and what gives way.
//!
//! The store has the last word. What it said last may be replaced by a claimant who expects it, since that one has found its
//! origin to be of no use. Nothing else may.

use crate::fleet::State;
use crate::fleet::origin::OriginId;

/// What the store said last of a placement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Known {
    /// As it stands there: the key of an origin.
    pub value: String,
    /// The store would have told of a change, so that it stands still.
    pub holds: bool,
    /// It names an origin whose record has not come.
    pub names_unknown: bool,
}

/// A claim that is being made. Its caller does what each [`Step`] says, and tells what came of it.
#[derive(Debug)]
pub struct Claiming {
    origin: OriginId,
    /// What a placement on it is written as.
    value: String,
    /// A publisher's.
    durable: bool,
    /// It goes ahead of a publisher that is moved.
    goes_ahead: bool,
    /// Here are sessions that live there, whatever was heard of the stream since.
    insists: bool,
    expected: Option<String>,
    rounds: usize,
}

/// What to do next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Look once more at what is known, which may have changed: [`Claiming::round`] follows.
    Look,
    /// Wait within bounds for the record of the origin that this value names: [`Claiming::came`] follows.
    LookFor(String),
    /// It is over.
    Over(Claimed),
    /// Compare and set: [`Claiming::answered`] or [`Claiming::unanswered`] follows.
    Set {
        /// What may be replaced.
        expected: Option<String>,
    },
}

/// What became of a claim in the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Claimed {
    /// Another origin stands there.
    Lost(OriginId),
    /// The store cannot be asked, or what stands there kept changing: it is settled when the store is looked at again.
    Unsettled,
    /// It is ours.
    Won,
}

impl Claiming {
    /// A claim for `origin`, which is written as `value`. A `durable` one is a publisher's: it is written though the store says
    /// the same already, for its lifetime.
    pub const fn new(origin: OriginId, value: String, durable: bool) -> Self {
        Self {
            origin,
            value,
            durable,
            goes_ahead: false,
            insists: false,
            expected: None,
            rounds: 0,
        }
    }

    /// The same claim, for a publisher that is moved: it goes ahead, and nobody leaves for it before that has followed.
    #[must_use]
    pub fn going_ahead(self) -> Self {
        Self {
            goes_ahead: true,
            ..self
        }
    }

    /// The same claim, for sessions that live there while the claim that it lost to is for an origin that does not.
    #[must_use]
    pub fn insisting(&self) -> Self {
        Self {
            insists: true,
            ..Self::new(self.origin.clone(), self.value.clone(), self.durable)
        }
    }

    /// What the placement is to be written as.
    pub fn value(&self) -> &str {
        &self.value
    }

    /// Who is to have the stream.
    pub const fn origin(&self) -> &OriginId {
        &self.origin
    }

    /// Whether it stands already by what is `known`, and need not be made.
    pub fn is_made(&self, known: Option<&Known>) -> bool {
        !self.durable && known.is_some_and(|known| known.holds && known.value == self.value)
    }

    /// Whether it is a publisher's, so that it lives for longer.
    pub const fn is_durable(&self) -> bool {
        self.durable
    }

    /// Whether the claim, once it is won, has taken the stream from another place, so that sessions which are there leave. The
    /// store tells the other proxies of the change, and not the one that makes it.
    pub fn replaces(&self) -> bool {
        let expected = self.expected.as_ref();
        !self.goes_ahead && expected.is_some_and(|expected| *expected != self.value)
    }

    /// Begins, once no other claim on the stream is under way at this proxy. `here`: where the stream is claimed here by now. The
    /// claim that was under way may have been lost, and the stream be elsewhere since this claimant has chosen.
    pub fn begin(&self, here: Option<OriginId>) -> Step {
        match here.filter(|here| *here != self.origin) {
            Some(here) if !self.insists => Step::Over(Claimed::Lost(here)),
            _ => Step::Look,
        }
    }

    /// Begins a round with what is `known`.
    pub fn round(&mut self, known: Option<Known>) -> Step {
        self.rounds += 1;
        if self.rounds > ROUNDS {
            return Step::Over(Claimed::Unsettled);
        }
        let Some(known) = known else {
            self.expected = None;
            return Step::Set { expected: None };
        };
        if self.is_made(Some(&known)) {
            return Step::Over(Claimed::Won);
        }
        let is_ours = known.value == self.value;
        self.expected = Some(known.value.clone());
        // A claim that came before the record of its origin is no dead one yet: its origin was judged unseen.
        if known.names_unknown && !is_ours {
            return Step::LookFor(known.value);
        }
        self.set()
    }

    /// The origin that was looked for, if its record came.
    pub fn came(&self, there: Option<OriginId>) -> Step {
        match there.filter(|there| *there != self.origin) {
            Some(there) => Step::Over(Claimed::Lost(there)),
            None => self.set(),
        }
    }

    /// The store has answered: whether the claim is `won`, and the origin that stands there now, if that one is known.
    pub fn answered(&self, won: bool, there: Option<OriginId>) -> Step {
        match there {
            _ if won => Step::Over(Claimed::Won),
            Some(there) if there == self.origin => Step::Over(Claimed::Won),
            Some(there) => Step::Over(Claimed::Lost(there)),
            // What stands names nobody who lives: it may be replaced.
            None => Step::Look,
        }
    }

    /// The store has not.
    pub const fn unanswered(&self) -> Step {
        Step::Over(Claimed::Unsettled)
    }

    fn set(&self) -> Step {
        Step::Set {
            expected: self.expected.clone(),
        }
    }
}

/// What a proxy does whose sessions are elsewhere than a claim says, once it can ask the store again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Against {
    /// Asks the origin that is claimed whether it lives, and gives way if it does.
    Asks,
    /// Claims the stream for where its sessions live.
    Replaces,
    /// Its sessions go where the claim says.
    Yields,
}

impl Against {
    /// For a claim on an origin that is in this `state` as far as this proxy knows. Heartbeats may reach one proxy only, so that
    /// silence alone says little while that one cannot pass them on.
    pub const fn a_claim_on(state: Option<State>) -> Self {
        match state {
            Some(State::Failing) | None => Self::Replaces,
            Some(State::Suspect) => Self::Asks,
            Some(State::Up) => Self::Yields,
        }
    }
}

/// Attempts at one claim: each that fails means that another proxy replaced a claim that nobody held.
const ROUNDS: usize = 3;

#[cfg(test)]
mod tests {
    use super::*;

    fn claiming(durable: bool) -> Claiming {
        Claiming::new(OriginId::from("o1"), "key-o1".to_owned(), durable)
    }

    fn known(value: &str, holds: bool, names_unknown: bool) -> Option<Known> {
        Some(Known {
            value: value.to_owned(),
            holds,
            names_unknown,
        })
    }

    fn set(expected: Option<&str>) -> Step {
        Step::Set {
            expected: expected.map(str::to_owned),
        }
    }

    #[test]
    fn what_a_round_begins_with() {
        let won = Step::Over(Claimed::Won);
        let rows = [
            ("nothing is known", false, None, set(None)),
            (
                "a player's is ours already",
                false,
                known("key-o1", true, false),
                won,
            ),
            (
                "a publisher's lives for longer",
                true,
                known("key-o1", true, false),
                set(Some("key-o1")),
            ),
            (
                "it may have changed",
                false,
                known("key-o1", false, false),
                set(Some("key-o1")),
            ),
            (
                "another, whose origin was of no use",
                false,
                known("key-o2", true, false),
                set(Some("key-o2")),
            ),
            (
                "another, whose origin was judged unseen",
                false,
                known("key-o2", true, true),
                Step::LookFor("key-o2".to_owned()),
            ),
            (
                "our own origin is unknown to the store's readers",
                true,
                known("key-o1", true, true),
                set(Some("key-o1")),
            ),
        ];
        for (cause, durable, known, expected) in rows {
            assert_eq!(claiming(durable).round(known), expected, "{cause}");
        }
    }

    #[test]
    fn which_claims_take_a_stream_elsewhere() {
        let o2 = Some(OriginId::from("o2"));
        let rows = [
            ("nothing stood there", None, false),
            ("it stood there", known("key-o1", true, false), false),
            ("another did", known("key-o2", true, false), true),
        ];
        for (cause, known, replaces) in rows {
            let mut first = claiming(true);
            first.round(known.clone());
            assert_eq!(first.replaces(), replaces, "{cause}");
            let mut moved = claiming(true).going_ahead();
            moved.round(known);
            assert!(!moved.replaces(), "{cause}: its publisher is there still");
        }
        let mut lost = claiming(true);
        lost.round(None);
        lost.answered(false, o2);
        let mut insists = lost.insisting();
        insists.round(known("key-o2", true, false));
        assert!(insists.replaces());
    }

    #[test]
    fn who_waited_for_its_turn_looks_where_the_stream_is_by_then() {
        let claiming = claiming(true);
        let (own, o2) = (OriginId::from("o1"), OriginId::from("o2"));
        assert_eq!(claiming.begin(None), Step::Look);
        assert_eq!(claiming.begin(Some(own)), Step::Look);
        assert_eq!(claiming.insisting().begin(Some(o2.clone())), Step::Look);
        assert_eq!(
            claiming.begin(Some(o2.clone())),
            Step::Over(Claimed::Lost(o2))
        );
    }

    #[test]
    fn an_origin_that_is_only_silent_is_asked_before_its_claim_is_replaced() {
        for (state, expected) in [
            (Some(State::Up), Against::Yields),
            (Some(State::Suspect), Against::Asks),
            (Some(State::Failing), Against::Replaces),
            (None, Against::Replaces),
        ] {
            assert_eq!(Against::a_claim_on(state), expected, "{state:?}");
        }
    }

    #[test]
    fn who_stands_there_is_not_replaced_while_its_record_may_come() {
        let mut claiming = claiming(true);
        claiming.round(known("key-o2", true, true));
        let o2 = OriginId::from("o2");
        assert_eq!(
            claiming.came(Some(o2.clone())),
            Step::Over(Claimed::Lost(o2))
        );
        let own = OriginId::from("o1");
        assert_eq!(
            claiming.came(Some(own)),
            set(Some("key-o2")),
            "under another key"
        );
        assert_eq!(claiming.came(None), set(Some("key-o2")), "it did not come");
    }

    #[test]
    fn what_the_store_says_counts_and_the_dead_may_be_replaced_for_some_rounds() {
        let mut claiming = claiming(true);
        let o2 = OriginId::from("o2");
        claiming.round(None);
        assert_eq!(claiming.answered(true, None), Step::Over(Claimed::Won));
        assert_eq!(
            claiming.answered(false, Some(o2.clone())),
            Step::Over(Claimed::Lost(o2))
        );
        assert_eq!(claiming.unanswered(), Step::Over(Claimed::Unsettled));
        assert_eq!(claiming.answered(false, None), Step::Look);
        assert_eq!(claiming.round(None), set(None));
        assert_eq!(claiming.round(None), set(None));
        assert_eq!(claiming.round(None), Step::Over(Claimed::Unsettled));
    }
}
