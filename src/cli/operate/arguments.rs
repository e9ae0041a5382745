//! The options of the operator's verbs.

use std::fmt::Debug;
use std::str::FromStr;

use clap::{Args, ValueEnum};

use sluicegate_core::access::bans::LONGEST_BAN;

use crate::config::{ConfigError, Environment, URL_VARIABLE, parse_duration, parse_period};
use crate::origin::fetch::escaped;
use crate::value::Secret;
use crate::value::Url;

/// Which proxy, and how to print.
#[derive(Debug, Args)]
pub struct Ask {
    /// The proxy's system API; default: SLUICEGATE_URL, then http://127.0.0.1:12025.
    #[arg(long, value_name = "URL")]
    to: Option<Url>,
    /// The bearer token; in PROXY_HTTP_API_AUTH_TOKEN, or in a file, other users can't see it.
    #[arg(long, value_name = "TOKEN")]
    token: Option<String>,
    /// Cover this proxy only, not all that share its store.
    #[arg(long)]
    pub local: bool,
    /// Print a table for people, or the JSON of the API.
    #[arg(long, short, value_enum, default_value = "table", value_name = "FORM")]
    pub output: Output,
}

/// How answers are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// For people.
    Table,
    /// For programs.
    Json,
}

/// An origin.
#[derive(Debug, Args)]
pub struct Named {
    /// The origin, by the id that `sluicegate origins` shows.
    pub origin: String,
    /// The proxy to ask.
    #[command(flatten)]
    pub ask: Ask,
}

/// An origin, or the proxy itself.
#[derive(Debug, Args)]
pub struct Whom {
    /// The origin, by the id that `sluicegate origins` shows.
    #[arg(required_unless_present = "proxy")]
    pub origin: Option<String>,
    /// The proxy itself, before an update; or another of its cluster, by the name that `sluicegate ps` shows.
    #[arg(long, conflicts_with = "origin", value_name = "NAME", num_args = 0..=1, default_missing_value = "")]
    proxy: Option<String>,
    /// The proxy to ask.
    #[command(flatten)]
    pub ask: Ask,
}

/// What to drain, and how long it may take.
#[derive(Debug, Args)]
pub struct DrainArguments {
    /// What to drain.
    #[command(flatten)]
    pub whom: Whom,
    /// End what is left after this time, one by one; without it, sessions end by themselves.
    #[arg(long, value_name = "DURATION")]
    pub deadline: Option<Deadline>,
    /// Return only when nobody is left, and print how far it has come.
    #[arg(long)]
    pub wait: bool,
}

/// Which rows of a list, and in which order.
#[derive(Debug, Args)]
pub struct ListArguments {
    /// Sort by this column, the largest first with - in front: -rate, stream, -age.
    #[arg(long, value_name = "COLUMN", allow_hyphen_values = true)]
    sort: Option<String>,
    /// Only rows that mention this text.
    #[arg(long, value_name = "TEXT")]
    find: Option<String>,
    /// At most this many rows; 200 if a column or a text is given, else all.
    #[arg(long, value_name = "ROWS", value_parser = clap::value_parser!(u32).range(1..=200))]
    limit: Option<u32>,
    /// The proxy to ask.
    #[command(flatten)]
    pub ask: Ask,
}

/// Which events.
#[derive(Debug, Args)]
pub struct EventArguments {
    /// Go on with what happens.
    #[arg(long, short)]
    pub follow: bool,
    /// Only one kind: audit, config, drained, held, lost, moved, origin, published or refused.
    #[arg(long, value_name = "KIND")]
    pub kind: Option<String>,
    /// Only events of a stream, as app/name or vhost/app/name.
    #[arg(long, value_name = "STREAM")]
    pub stream: Option<String>,
    /// How many of the newest events to begin with.
    #[arg(long, value_name = "EVENTS", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=200))]
    pub limit: u32,
    /// The proxy to ask.
    #[command(flatten)]
    pub ask: Ask,
}

/// A session, or every session of a stream.
#[derive(Debug, Args)]
pub struct Numbered {
    /// The session, by the id that `sluicegate sessions` shows; or a stream, as app/name or vhost/app/name.
    pub id: String,
    /// The proxy to ask.
    #[command(flatten)]
    pub ask: Ask,
}

/// Whom to ban, and until when.
#[derive(Debug, Args)]
pub struct BanArguments {
    /// address:192.0.2.0/24, viewer:NAME, key:NAME, token:ID or stream:APP/NAME.
    target: String,
    /// How long, a year at most: 90s, 2h, 30d.
    #[arg(long = "for", value_name = "DURATION")]
    period: BanPeriod,
    /// Why, for those who list the bans.
    #[arg(long, value_name = "WORDS")]
    reason: Option<String>,
    /// The proxy to ask.
    #[command(flatten)]
    pub ask: Ask,
}

/// A stream that is to go to another origin.
#[derive(Debug, Args)]
pub struct MoveArguments {
    /// The stream, as app/name or vhost/app/name.
    stream: String,
    /// The origin that is to have it; else where the policy puts it.
    #[arg(long, value_name = "ORIGIN")]
    to: Option<String>,
    /// Only if it is on this origin now.
    #[arg(long, value_name = "ORIGIN")]
    expect: Option<String>,
    /// End viewers that cannot follow, because they have legs of their own.
    #[arg(long)]
    end_viewers: bool,
    /// The proxy's system API; default: SLUICEGATE_URL, then http://127.0.0.1:12025.
    #[arg(long, value_name = "URL")]
    proxy: Option<Url>,
    /// The bearer token; in PROXY_HTTP_API_AUTH_TOKEN, or in a file, other users can't see it.
    #[arg(long, value_name = "TOKEN")]
    token: Option<String>,
    /// Ask this proxy only, not all that share its store.
    #[arg(long)]
    local: bool,
    /// Print a sentence for people, or the JSON of the API.
    #[arg(long, short, value_enum, default_value = "table", value_name = "FORM")]
    output: Output,
}

/// Which ban to lift.
#[derive(Debug, Args)]
pub struct UnbanArguments {
    /// The ban, by the id or by the target that `sluicegate bans` shows.
    pub ban: String,
    /// The proxy to ask.
    #[command(flatten)]
    pub ask: Ask,
}

/// A stream.
#[derive(Debug, Args)]
pub struct ExplainArguments {
    /// The stream, as app/name or vhost/app/name.
    stream: String,
    /// Explain as if this origin did not exist.
    #[arg(long, value_name = "ORIGIN")]
    pub without: Option<String>,
    /// Say which access rule decides about a client, such as "publish over srt from 192.0.2.1 with bearer=TOKEN".
    #[arg(long = "as", value_name = "CLIENT")]
    asking: Option<String>,
    /// The proxy to ask.
    #[command(flatten)]
    pub ask: Ask,
}

/// How long sessions may finish.
#[derive(Debug, Clone)]
pub struct Deadline(String);

impl FromStr for Deadline {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match parse_duration(text) {
            Ok(_) => Ok(Self(text.to_owned())),
            Err(_) => Err("write a duration, such as 10m, 90s or 0s"),
        }
    }
}

/// How long a ban holds.
#[derive(Debug, Clone)]
pub(super) struct BanPeriod(String);

impl FromStr for BanPeriod {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match parse_period(text) {
            Ok(period) if (1..=LONGEST_BAN).contains(&period.as_secs()) => {
                Ok(Self(text.to_owned()))
            }
            Ok(_) => Err("a ban lasts from 1s to a year; what has to last longer is a rule"),
            Err(_) => Err("write a duration, such as 90s, 2h or 30d"),
        }
    }
}

impl Deadline {
    /// The deadline as a query of the API.
    pub(super) fn query(&self) -> String {
        format!("deadline={}", escaped(&self.0))
    }
}

impl BanArguments {
    /// The ban as a query of the API.
    pub(super) fn query(&self) -> String {
        let nothing = String::new();
        let given = [
            ("target", &self.target),
            ("for", &self.period.0),
            ("reason", self.reason.as_ref().unwrap_or(&nothing)),
        ];
        given
            .map(|(name, value)| format!("{name}={}", escaped(value)))
            .join("&")
    }
}

impl MoveArguments {
    /// Whom to ask. For other verbs `--to` names the proxy; here it names the origin, as people say it.
    pub(super) fn ask(&self) -> Ask {
        Ask {
            to: self.proxy.clone(),
            token: self.token.clone(),
            local: self.local,
            output: self.output,
        }
    }

    /// The move as a query of the API.
    pub(super) fn query(&self) -> String {
        let given = [
            ("stream", Some(&self.stream)),
            ("to", self.to.as_ref()),
            ("expect", self.expect.as_ref()),
        ];
        let given = given
            .into_iter()
            .filter_map(|(name, value)| Some(format!("{name}={}", escaped(value?))));
        let ends = self.end_viewers.then(|| "end_viewers=true".to_owned());
        given.chain(ends).collect::<Vec<_>>().join("&")
    }
}

impl ListArguments {
    /// The page as a query of the API; empty for the whole list.
    pub(super) fn query(&self) -> String {
        let given = [("sort", &self.sort), ("q", &self.find)];
        let mut pairs: Vec<String> = given
            .into_iter()
            .filter_map(|(name, value)| Some(format!("{name}={}", escaped(value.as_deref()?))))
            .collect();
        if self.limit.is_some() || !pairs.is_empty() {
            pairs.push(format!("limit={}", self.limit.unwrap_or(200)));
        }
        match pairs.is_empty() {
            true => String::new(),
            false => format!("?{}", pairs.join("&")),
        }
    }
}

impl Whom {
    /// The other proxy that is meant, as a query of the API; empty for the one that is asked.
    pub(super) fn query(&self) -> String {
        match self.proxy.as_deref() {
            None | Some("") => String::new(),
            Some(proxy) => format!("proxy={}", escaped(proxy)),
        }
    }
}

impl ExplainArguments {
    /// The stream as a query of the API, explained without the origin `without` if one is given.
    pub(super) fn query(&self, without: Option<&str>) -> String {
        let mut query = format!("stream={}", escaped(&self.stream));
        if let Some(origin) = without {
            query.push_str(&format!("&without={}", escaped(origin)));
        }
        if let Some(client) = &self.asking {
            query.push_str(&format!("&as={}", escaped(client)));
        }
        query
    }
}

/// The system API to ask: the one that was `given`, else that of the environment, else this machine's.
pub(crate) fn proxy_of<T: FromStr<Err: Debug>>(given: Option<T>, environment: &Environment) -> T {
    let named = || environment.variable(URL_VARIABLE)?.parse().ok();
    let usual = || USUAL_PROXY.parse().expect("a constant URL");
    given.or_else(named).unwrap_or_else(usual)
}

impl Ask {
    pub(super) fn proxy(&self, environment: &Environment) -> Url {
        proxy_of(self.to.clone(), environment)
    }

    /// The token to show: the argument's, else the environment's.
    ///
    /// # Errors
    /// A file with the token that cannot be read.
    pub(super) fn token(&self, environment: &Environment) -> Result<Option<Secret>, ConfigError> {
        match self.token.as_deref() {
            Some(token) => Ok(Some(Secret::new(token))),
            None => environment.secret("system.auth_token"),
        }
    }
}

const USUAL_PROXY: &str = "http://127.0.0.1:12025";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ban_lasts_a_year_at_most() {
        let limit = "a ban lasts from 1s to a year; what has to last longer is a rule";
        let form = "write a duration, such as 90s, 2h or 30d";
        for (text, expected) in [
            ("1s", Ok(())),
            ("30d", Ok(())),
            ("366d", Ok(())),
            ("367d", Err(limit)),
            ("9999h", Err(limit)),
            ("0", Err(limit)),
            ("500ms", Err(limit)),
            ("a year", Err(form)),
            ("30", Err(form)),
        ] {
            assert_eq!(text.parse::<BanPeriod>().map(drop), expected, "{text}");
        }
    }
}
