//! Why a request got no session, in the words of each who hears of it.

use std::time::Duration;

use hyper::StatusCode;
use sluicegate_core::access::tally::Exceeded;
use sluicegate_core::access::verdict::Why;
use sluicegate_core::dialect::Unsayable;
use sluicegate_core::fleet::origin::OriginId;
use sluicegate_core::place::attempts::GiveUp;
use sluicegate_core::place::origins_no;
use sluicegate_core::stream::{Service, StreamUrl};

use crate::net::http::USUAL_RETRY_AFTER;
use crate::sessions::EndReason;

/// Why a request got no session.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Every candidate accepted the connection and closed it without a word.
    #[error("{stream}: every origin closed the connection without a word; tried {}", names(.tried))]
    AllClosed {
        /// The stream asked for.
        stream: StreamUrl,
        /// What was tried, and how each closed. The text may hold addresses and is for logs only.
        tried: Vec<(OriginId, String)>,
    },
    /// Every candidate failed.
    #[error("{stream}: no origin answered; tried {}", names(.tried))]
    AllFailed {
        /// The stream asked for.
        stream: StreamUrl,
        /// What was tried, and how each failed. The text may hold addresses and is for logs only.
        tried: Vec<(OriginId, String)>,
    },
    /// Origins are there, and none can be asked for a stream of this name, or not by this protocol.
    #[error("{stream}: {why}")]
    CannotAsk {
        /// The stream asked for.
        stream: StreamUrl,
        /// The rule in the way, at the first of them.
        why: Unsayable,
    },
    /// The service that decides about new streams said no.
    #[error("{stream}: {reason}")]
    Denied {
        /// The stream asked for.
        stream: StreamUrl,
        /// Which kind of no it is.
        why: Why,
        /// In the words of who denied it.
        reason: String,
    },
    /// The proxy stops.
    #[error("this proxy is stopping; connect again")]
    Draining,
    /// No descriptor, port or memory is left for a connection to an origin.
    #[error("this proxy has no room for a further connection; try again later")]
    Exhausted {
        /// What the system said.
        error: String,
    },
    /// Something ended the session before it was joined.
    #[error("the session was ended: {0}")]
    Ended(EndReason),
    /// The session table is full.
    #[error("this proxy holds as many sessions as it may; try again later")]
    Full,
    /// The stream is published, on an origin that takes nobody any more.
    #[error("{stream} is on {origin}, which is out of service")]
    Gone {
        /// The stream asked for.
        stream: StreamUrl,
        /// The origin that holds it.
        origin: OriginId,
    },
    /// Origins that live did not serve this client, without saying no.
    #[error("{stream}: no origin gave a proper answer; tried {}", names(.tried))]
    HungUp {
        /// The stream asked for.
        stream: StreamUrl,
        /// What was tried, and what each did. The text may hold addresses and is for logs only.
        tried: Vec<(OriginId, String)>,
    },
    /// A limit is reached.
    #[error("{stream}: {exceeded}; try again in {} s", seconds(exceeded.after))]
    Limited {
        /// The stream asked for.
        stream: StreamUrl,
        /// Which limit.
        exceeded: Exceeded,
    },
    /// Whether the client may have the stream cannot be said now.
    #[error("{stream}: try again in {} s", seconds(millis(.after)))]
    NotYet {
        /// The stream asked for.
        stream: StreamUrl,
        /// When it may be asked again.
        after: Duration,
        /// Which check cannot say, and why. The text may hold addresses and is for logs only.
        cause: String,
    },
    /// No origin is there that could take it.
    #[error("{stream}: no live origin serves {}", .service.as_str())]
    NoOrigin {
        /// The stream asked for.
        stream: StreamUrl,
        /// The kind of endpoint that was looked for.
        service: Service,
        /// What stood in the way, for logs.
        detail: String,
    },
    /// Those that could take it hold as much as they may.
    #[error("{stream}: every origin that could take it is full; try again later")]
    NoRoom {
        /// The stream asked for.
        stream: StreamUrl,
        /// Who is full of what, for logs.
        detail: String,
    },
    /// Another client publishes the stream, and is held while its origin is lost.
    #[error("{stream}: another client publishes it")]
    Published {
        /// The stream asked for.
        stream: StreamUrl,
    },
    /// The origin said no.
    #[error("{description}")]
    Refused {
        /// Which origin.
        origin: OriginId,
        /// Its own words.
        description: String,
    },
    /// The origin sends the client to where this proxy follows nobody.
    #[error("its origin redirects it to a place that cannot be followed")]
    Redirected {
        /// Which origin.
        origin: OriginId,
        /// Where to, for logs only.
        to: String,
    },
    /// Too many plays from one address of streams of which nothing came.
    #[error(
        "too many streams without a publisher are waited for from your address; try again in a minute"
    )]
    TooManyClaims,
    /// The candidates together took too long.
    #[error("{stream}: no origin answered in time; tried {}", names(.tried))]
    TooSlow {
        /// The stream asked for.
        stream: StreamUrl,
        /// What was tried, and how each failed. The text may hold addresses and is for logs only.
        tried: Vec<(OriginId, String)>,
    },
    /// The stream is on an origin that does not speak this protocol.
    #[error("{stream} is on {origin}, which has no {}", .service.as_str())]
    WrongService {
        /// The stream asked for.
        stream: StreamUrl,
        /// The origin that holds it.
        origin: OriginId,
        /// What that origin lacks.
        service: Service,
    },
}

impl Refusal {
    /// What it means for a request that no origin will do.
    pub(super) fn of(give_up: GiveUp, stream: &StreamUrl, service: Service) -> Self {
        let stream = stream.clone();
        match give_up {
            GiveUp::AllClosed(tried) => Self::AllClosed { stream, tried },
            GiveUp::AllFailed(tried) => Self::AllFailed { stream, tried },
            GiveUp::Exhausted(error) => Self::Exhausted { error },
            GiveUp::Full(origin) => Self::NoRoom {
                stream,
                detail: format!("{origin} is full"),
            },
            GiveUp::Gone(origin) => Self::Gone { stream, origin },
            GiveUp::HungUp(tried) => Self::HungUp { stream, tried },
            GiveUp::Nobody { full: true, words } => Self::NoRoom {
                stream,
                detail: words,
            },
            GiveUp::Nobody { full: false, words } => Self::NoOrigin {
                stream,
                service,
                detail: words,
            },
            GiveUp::Refused { origin, words } => Self::Refused {
                origin,
                description: words,
            },
            GiveUp::Redirected { origin, to } => Self::Redirected { origin, to },
            GiveUp::TooSlow(tried) => Self::TooSlow { stream, tried },
            GiveUp::WrongService(origin) => Self::WrongService {
                stream,
                origin,
                service,
            },
        }
    }

    /// The refusal as metrics spell it.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::AllClosed { .. } | Self::AllFailed { .. } => "all_failed",
            Self::CannotAsk { .. } => "cannot_ask",
            Self::Denied { .. } => "denied",
            Self::Draining => "draining",
            Self::Ended(_) => "ended",
            Self::Exhausted { .. } => "exhausted",
            Self::Full => "full",
            Self::Gone { .. } => "gone",
            Self::NoOrigin { .. } => "no_origin",
            Self::NoRoom { .. } => "no_room",
            Self::Limited { .. } => "limited",
            Self::NotYet { .. } => "not_yet",
            Self::Published { .. } => "published",
            Self::HungUp { .. } | Self::Redirected { .. } | Self::Refused { .. } => "refused",
            Self::TooManyClaims => "too_many_claims",
            Self::TooSlow { .. } => "too_slow",
            Self::WrongService { .. } => "wrong_service",
        }
    }

    /// The status it has in HTTP, which says whose turn it is.
    pub fn http_status(&self) -> StatusCode {
        match self {
            Self::AllClosed { .. }
            | Self::AllFailed { .. }
            | Self::HungUp { .. }
            | Self::Redirected { .. } => StatusCode::BAD_GATEWAY,
            Self::Refused { description, .. } => origins_no::http_status(description)
                .and_then(|status| StatusCode::from_u16(status).ok())
                .unwrap_or(StatusCode::BAD_GATEWAY),
            Self::Denied {
                why: Why::Unknown, ..
            } => StatusCode::UNAUTHORIZED,
            Self::Denied { .. } => StatusCode::FORBIDDEN,
            Self::Draining
            | Self::Ended(_)
            | Self::Exhausted { .. }
            | Self::Full
            | Self::Gone { .. }
            | Self::NoOrigin { .. }
            | Self::NoRoom { .. }
            | Self::NotYet { .. } => StatusCode::SERVICE_UNAVAILABLE,
            Self::Published { .. } => StatusCode::CONFLICT,
            Self::Limited { .. } | Self::TooManyClaims => StatusCode::TOO_MANY_REQUESTS,
            Self::TooSlow { .. } => StatusCode::GATEWAY_TIMEOUT,
            Self::CannotAsk { .. } | Self::WrongService { .. } => StatusCode::NOT_FOUND,
        }
    }

    /// When it is worth to ask again, in seconds.
    pub fn retry_after(&self) -> u64 {
        match self {
            Self::Limited { exceeded, .. } => seconds(exceeded.after),
            Self::NotYet { after, .. } => seconds(millis(after)),
            Self::TooManyClaims => 60,
            _ => USUAL_RETRY_AFTER,
        }
    }

    /// The whole story, for the log: it may hold addresses, and no secrets that an origin quotes.
    pub(crate) fn detail(&self) -> String {
        let detail = match self {
            Self::AllClosed { tried, .. }
            | Self::AllFailed { tried, .. }
            | Self::HungUp { tried, .. }
            | Self::TooSlow { tried, .. } => tried
                .iter()
                .map(|(id, why)| format!("{id}: {why}"))
                .collect::<Vec<_>>()
                .join("; "),
            Self::Exhausted { error } => error.clone(),
            Self::NotYet { cause: detail, .. }
            | Self::NoOrigin { detail, .. }
            | Self::NoRoom { detail, .. } => {
                format!("{self}: {detail}")
            }
            Self::Redirected { origin, to } => format!("{origin}: {self}: {to}"),
            Self::Refused {
                origin,
                description,
            } => format!("{origin}: {description}"),
            other => other.to_string(),
        };
        origins_no::without_secrets(&detail).into_owned()
    }
}

/// Whole seconds, at least one.
fn seconds(millis: u64) -> u64 {
    millis.div_ceil(1000).max(1)
}

fn millis(after: &Duration) -> u64 {
    u64::try_from(after.as_millis()).unwrap_or(u64::MAX)
}

fn names(tried: &[(OriginId, String)]) -> String {
    tried
        .iter()
        .map(|(id, _)| id.as_str())
        .collect::<Vec<_>>()
        .join(", ")
}
