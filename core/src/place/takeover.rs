//! Whose publish ends an earlier one of the same stream.

/// Which publish ends an earlier one of the same stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Takeover {
    /// One from the same address at once; any other once the earlier publisher is silent.
    Address,
    /// Every later one.
    Always,
    /// None; the origin decides.
    Never,
    /// Any, once the earlier publisher is silent.
    Silent,
}

/// What an earlier publisher does when another comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GivesWay {
    /// It ends at once.
    AtOnce,
    /// It stays.
    Never,
    /// It ends once it has been silent for long enough.
    WhenSilent,
}

/// What a proxy says of the earlier publisher of a stream that an origin refused to a publisher at another proxy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Former {
    /// It was here, and has ended to make room.
    GaveWay,
    /// It left so lately that its origin may not have noticed.
    Left,
    /// None is here, nor was lately.
    Nobody,
    /// It is here, and stays.
    Stays,
    /// It is here, and not yet known to be silent for long enough or closed: the same question again brings the answer.
    Watched,
}

impl Former {
    /// Every answer.
    pub const ALL: [Self; 5] = [
        Self::GaveWay,
        Self::Left,
        Self::Nobody,
        Self::Stays,
        Self::Watched,
    ];

    /// The answer as proxies spell it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::GaveWay => "gave_way",
            Self::Left => "left",
            Self::Nobody => "nobody",
            Self::Stays => "stays",
            Self::Watched => "watched",
        }
    }

    /// Reads what another proxy wrote. What a later build may say is nothing to wait for.
    pub fn parse(word: &str) -> Self {
        let known = Self::ALL.into_iter().find(|one| one.as_str() == word);
        known.unwrap_or(Self::Nobody)
    }

    /// Whether an origin that refused the stream may take it by now, or in a moment.
    pub const fn makes_room(self) -> bool {
        matches!(self, Self::GaveWay | Self::Left)
    }

    /// Whether it says all there is to know, whatever other proxies say.
    pub const fn is_the_last_word(self) -> bool {
        matches!(self, Self::GaveWay | Self::Stays)
    }
}

impl Takeover {
    /// What an earlier publisher at the same proxy does. No origin has the stream of one that `is_held`: an encoder that comes
    /// back from the `same_address` need not wait for its silence.
    pub const fn here(self, same_address: bool, is_held: bool) -> GivesWay {
        match self {
            Self::Never => GivesWay::Never,
            Self::Silent if same_address && is_held => GivesWay::AtOnce,
            Self::Address if same_address => GivesWay::AtOnce,
            Self::Always => GivesWay::AtOnce,
            Self::Address | Self::Silent => GivesWay::WhenSilent,
        }
    }

    /// What an earlier publisher does when another proxy asks for one that its origin refused. One that has no origin yet is
    /// not whom that origin has: it asks itself, and two that ask at the same time must not end each other.
    pub const fn for_another(
        self,
        same_address: bool,
        is_held: bool,
        is_connecting: bool,
    ) -> GivesWay {
        match is_connecting {
            true => GivesWay::Never,
            false => self.here(same_address, is_held),
        }
    }

    /// Whether a publisher takes a stream over whose publisher another proxy holds.
    pub const fn elsewhere(self, same_address: bool) -> bool {
        match self {
            Self::Never => false,
            Self::Silent | Self::Address => same_address,
            Self::Always => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_gives_way_to_whom() {
        use GivesWay::{AtOnce, Never, WhenSilent};
        use Takeover::{Address, Always, Silent};
        let (same, other) = (true, false);
        for (takeover, same_address, joined, held) in [
            (Takeover::Never, same, Never, Never),
            (Takeover::Never, other, Never, Never),
            (Silent, same, WhenSilent, AtOnce),
            (Silent, other, WhenSilent, WhenSilent),
            (Address, same, AtOnce, AtOnce),
            (Address, other, WhenSilent, WhenSilent),
            (Always, same, AtOnce, AtOnce),
            (Always, other, AtOnce, AtOnce),
        ] {
            let case = format!("{takeover:?}, same address: {same_address}");
            for (is_held, expected) in [(false, joined), (true, held)] {
                assert_eq!(takeover.here(same_address, is_held), expected, "{case}");
                let elsewhere = takeover.for_another(same_address, is_held, false);
                assert_eq!(elsewhere, expected, "{case}, through another proxy");
                let connecting = takeover.for_another(same_address, is_held, true);
                assert_eq!(connecting, Never, "{case}, still connecting");
            }
        }
    }

    #[test]
    fn what_proxies_say_of_a_former_publisher() {
        for (said, makes_room, is_last) in [
            (Former::GaveWay, true, true),
            (Former::Left, true, false),
            (Former::Nobody, false, false),
            (Former::Stays, false, true),
            (Former::Watched, false, false),
        ] {
            assert_eq!(Former::parse(said.as_str()), said);
            assert_eq!(said.makes_room(), makes_room, "{said:?}");
            assert_eq!(said.is_the_last_word(), is_last, "{said:?}");
        }
        assert_eq!(Former::parse("moves_on"), Former::Nobody);
    }
}
