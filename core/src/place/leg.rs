//! A leg is one connection or flow of ours towards an origin. A session has a leg or waits for one, and the end of a leg
//! need not be the end of its session.

/// Why a leg is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum LegEnd {
    /// The origin broke its protocol.
    Broken,
    /// The origin closed it.
    Closed,
    /// The origin drains, and the time to finish is over.
    Drained,
    /// The stream was placed on another origin.
    Moved,
    /// The origin said no, or was asked in vain.
    Refused,
    /// Its session is over, or needs it no more.
    Released,
    /// The connection failed.
    Reset,
    /// The origin sent nothing for too long.
    Silent,
    /// The origin took nothing for too long.
    Stalled,
}

impl LegEnd {
    /// Every end, in the order of their names.
    pub const ALL: [Self; 9] = [
        Self::Broken,
        Self::Closed,
        Self::Drained,
        Self::Moved,
        Self::Refused,
        Self::Released,
        Self::Reset,
        Self::Silent,
        Self::Stalled,
    ];

    /// The end as logs and metrics spell it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Broken => "broken",
            Self::Closed => "closed",
            Self::Drained => "drained",
            Self::Moved => "moved",
            Self::Refused => "refused",
            Self::Released => "released",
            Self::Reset => "reset",
            Self::Silent => "silent",
            Self::Stalled => "stalled",
        }
    }

    /// Whether the origin is not to be asked for the stream again at once. One that closed the connection may have
    /// restarted, and has the stream if anybody has it.
    pub const fn rules_out_origin(self) -> bool {
        match self {
            Self::Broken
            | Self::Drained
            | Self::Moved
            | Self::Refused
            | Self::Silent
            | Self::Stalled => true,
            Self::Closed | Self::Released | Self::Reset => false,
        }
    }
}
