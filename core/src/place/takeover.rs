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

    /// Whether a publisher takes a stream over whose publisher another proxy holds.
    pub const fn elsewhere(self, same_address: bool) -> bool {
        match self {
            Self::Never => false,
            Self::Silent | Self::Address => same_address,
            Self::Always => true,
        }
    }
}
