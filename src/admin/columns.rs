//! What each list of the system API can be sorted and filtered by.

use sluicegate_core::events::Kind;
use sluicegate_core::list::{Columns, Filter};
use sluicegate_core::stream::Protocol;

const PROTOCOLS: [&str; Protocol::ALL.len()] = {
    let mut names = [""; Protocol::ALL.len()];
    let mut at = 0;
    while at < names.len() {
        names[at] = Protocol::ALL[at].as_str();
        at += 1;
    }
    names
};
const ACTIONS: Filter = Filter {
    name: "action",
    values: &["play", "publish"],
};

const fn any(name: &'static str) -> Filter {
    Filter { name, values: &[] }
}

const fn one_of(name: &'static str, values: &'static [&'static str]) -> Filter {
    Filter { name, values }
}

pub(super) const SESSIONS: Columns = Columns {
    usual: "id",
    sorts: &["id", "age", "bytes", "client", "origin", "rate", "stream"],
    filters: &[
        ACTIONS,
        any("client"),
        any("origin"),
        one_of("protocol", &PROTOCOLS),
        any("proxy"),
        one_of("state", &["connecting", "waiting", "relaying", "held"]),
        any("stream"),
    ],
};

pub(super) const ENDED: Columns = Columns {
    usual: "-ended",
    sorts: &[
        "ended", "bytes", "client", "lasted", "origin", "reason", "stream",
    ],
    filters: &[
        ACTIONS,
        any("client"),
        any("origin"),
        one_of("protocol", &PROTOCOLS),
        any("proxy"),
        any("reason"),
        any("stream"),
    ],
};

pub(super) const EVENTS: Columns = Columns {
    usual: "-at",
    sorts: &["at", "kind"],
    filters: &[
        any("client"),
        one_of("kind", &KINDS),
        any("origin"),
        any("proxy"),
        any("stream"),
    ],
};

pub(super) const ORIGINS: Columns = Columns {
    usual: "id",
    sorts: &[
        "id", "heard", "load", "rate", "sessions", "state", "streams", "zone",
    ],
    filters: &[
        one_of("duty", &["active", "disabled", "draining"]),
        one_of("state", &["failing", "suspect", "up"]),
        any("zone"),
    ],
};

pub(super) const STREAMS: Columns = Columns {
    usual: "stream",
    sorts: &["stream", "age", "origin", "out", "players", "rate"],
    filters: &[
        any("origin"),
        one_of("protocol", &PROTOCOLS),
        one_of(
            "state",
            &[
                "held",
                "idle",
                "in_two_places",
                "late_keyframes",
                "live",
                "stalled",
                "waiting",
            ],
        ),
        any("stream"),
    ],
};

const KINDS: [&str; Kind::ALL.len()] = {
    let mut names = [""; Kind::ALL.len()];
    let mut at = 0;
    while at < names.len() {
        names[at] = Kind::ALL[at].as_str();
        at += 1;
    }
    names
};
