//! Why a session ended, and what of it did.

use std::fmt;

use sluicegate_core::http::websocket::Closing;
use sluicegate_core::place::leg::LegEnd;

/// Why a session ended: a closed list, for logs and metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EndReason {
    /// The time is over for which it was let in.
    AccessOver,
    /// It was judged again, and may not any more.
    AccessRevoked,
    /// A ban met it.
    Banned,
    /// The client closed its connection.
    ClientClosed,
    /// The client broke its protocol.
    ClientError,
    /// The client of a call has not said for too long that it is there.
    ClientIdle,
    /// Our own code failed; the panic is logged.
    Crashed,
    /// The proxy stops.
    Drained,
    /// Another proxy carries the call.
    Elsewhere,
    /// An operator ended it.
    Kicked,
    /// The stream moved to another origin; a client that comes back finds it there.
    Moved,
    /// The origin closed its connection.
    OriginClosed,
    /// Its origin is drained, and the time to finish is over.
    OriginDrained,
    /// The origin broke its protocol.
    OriginError,
    /// The origin sent nothing for too long.
    PlayerIdle,
    /// The publisher sent nothing for too long.
    PublisherIdle,
    /// No origin took it, or the origin said no.
    Refused,
    /// The same stream's publisher came back on a new connection.
    Replaced,
    /// The client asked for another stream on a connection that carries one.
    SecondStream,
    /// The receiver took nothing for too long.
    Stalled,
    /// It sent more than a limit allows, and for too long.
    TooFast,
    /// It was served from a pull of its stream, and took the stream more slowly than it came.
    TooSlow,
    /// No publisher came in the time a player may wait.
    WaitedTooLong,
}

impl EndReason {
    /// The reason as logs and metrics spell it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::AccessOver => "access_over",
            Self::AccessRevoked => "access_revoked",
            Self::Banned => "banned",
            Self::ClientClosed => "client_closed",
            Self::ClientError => "client_error",
            Self::ClientIdle => "client_idle",
            Self::Crashed => "crashed",
            Self::Drained => "drained",
            Self::Elsewhere => "elsewhere",
            Self::Kicked => "kicked",
            Self::Moved => "moved",
            Self::OriginClosed => "origin_closed",
            Self::OriginDrained => "origin_drained",
            Self::OriginError => "origin_error",
            Self::PlayerIdle => "player_idle",
            Self::PublisherIdle => "publisher_idle",
            Self::Refused => "refused",
            Self::Replaced => "replaced",
            Self::SecondStream => "second_stream",
            Self::Stalled => "stalled",
            Self::TooFast => "too_fast",
            Self::TooSlow => "too_slow",
            Self::WaitedTooLong => "waited_too_long",
        }
    }
}

/// What came to its end when a relay stopped: the leg to the origin, which the session may outlive, or the session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Over {
    /// The leg, for this reason.
    Leg(LegEnd),
    /// The session, for this reason.
    Session(EndReason),
}

impl From<LegEnd> for EndReason {
    /// Why a session ends that has lost its leg and gets no other.
    fn from(end: LegEnd) -> Self {
        match end {
            LegEnd::Broken => Self::OriginError,
            LegEnd::Closed | LegEnd::Reset => Self::OriginClosed,
            LegEnd::Drained => Self::OriginDrained,
            LegEnd::Moved => Self::Moved,
            LegEnd::Refused => Self::Refused,
            LegEnd::Released => Self::ClientClosed,
            LegEnd::Silent => Self::PlayerIdle,
            LegEnd::Stalled => Self::Stalled,
        }
    }
}

impl EndReason {
    /// How a WebSocket is closed whose session ends so. Other protocols have no such words; in them, a stream ends as whole
    /// where this is [`Closing::Over`].
    pub const fn closing(self) -> Closing {
        match self {
            Self::ClientClosed | Self::OriginClosed | Self::PublisherIdle => Closing::Over,
            Self::Drained
            | Self::Elsewhere
            | Self::Kicked
            | Self::Moved
            | Self::OriginDrained
            | Self::Replaced => Closing::GoingAway,
            Self::ClientError => Closing::ProtocolError,
            Self::AccessOver
            | Self::AccessRevoked
            | Self::Banned
            | Self::Refused
            | Self::SecondStream
            | Self::TooFast => Closing::Policy,
            Self::Crashed => Closing::Failed,
            Self::ClientIdle
            | Self::PlayerIdle
            | Self::Stalled
            | Self::TooSlow
            | Self::WaitedTooLong => Closing::TryAgainLater,
            Self::OriginError => Closing::BadGateway,
        }
    }
}

impl fmt::Display for EndReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
