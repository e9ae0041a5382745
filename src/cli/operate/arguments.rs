//! The options of the operator's verbs.

use std::fmt::Debug;
use std::str::FromStr;

use clap::{Args, ValueEnum};

use sluicegate_core::access::bans::LONGEST_BAN;

use crate::cli::not_empty;
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
    #[arg(value_parser = not_empty)]
    pub origin: String,
    /// The proxy to ask.
    #[command(flatten)]
    pub ask: Ask,
}

/// An origin that is to get no new clients.
#[derive(Debug, Args)]
pub struct DisableArguments {
    /// The origin, by the id that `sluicegate origins` shows.
    #[arg(value_parser = not_empty)]
    pub origin: String,
    /// Even if no other origin takes new streams then.
    #[arg(long)]
    pub force: bool,
    /// The proxy to ask.
    #[command(flatten)]
    pub ask: Ask,
}

/// An origin, or the proxy itself.
#[derive(Debug, Args)]
pub struct Whom {
    /// The origin, by the id that `sluicegate origins` shows.
    #[arg(required_unless_present = "proxy", value_parser = not_empty)]
    pub origin: Option<String>,
    /// The proxy itself, before an update; or another of its cluster, by the name that `sluicegate ps` shows.
    #[arg(long, conflicts_with = "origin", value_name = "NAME", value_parser = not_empty)]
    proxy: Option<Option<String>>,
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
    /// Even if no other origin takes new streams then.
    #[arg(long, conflicts_with = "proxy")]
    force: bool,
}

/// Which rows of a list, and in which order.
#[derive(Debug, Args)]
pub struct ListArguments {
    /// Sort by this column, the largest first with - in front: -rate, stream, -age.
    #[arg(long, value_name = "COLUMN", allow_hyphen_values = true, value_parser = not_empty)]
    sort: Option<String>,
    /// Only rows that mention this text.
    #[arg(long, value_name = "TEXT", value_parser = not_empty)]
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
    #[arg(long, value_name = "KIND", value_parser = not_empty)]
    pub kind: Option<String>,
    /// Only events of a stream, as app/name or vhost/app/name.
    #[arg(long, value_name = "STREAM", value_parser = not_empty)]
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
    #[arg(value_parser = not_empty)]
    pub id: String,
    /// The proxy to ask.
    #[command(flatten)]
    pub ask: Ask,
}

/// Whom to ban, and until when.
#[derive(Debug, Args)]
pub struct BanArguments {
    /// address:192.0.2.0/24, viewer:NAME, key:NAME, token:ID or stream:APP/NAME.
    #[arg(value_parser = not_empty)]
    target: String,
    /// How long, a year at most: 90s, 2h, 30d.
    #[arg(long = "for", value_name = "DURATION")]
    period: BanPeriod,
    /// Why, for those who list the bans.
    #[arg(long, value_name = "WORDS", value_parser = not_empty)]
    reason: Option<String>,
    /// The proxy to ask.
    #[command(flatten)]
    pub ask: Ask,
}

/// A stream that is to go to another origin.
#[derive(Debug, Args)]
pub struct MoveArguments {
    /// The stream, as app/name or vhost/app/name.
    #[arg(value_parser = not_empty)]
    stream: String,
    /// The origin that is to have it; else where the policy puts it.
    #[arg(long, value_name = "ORIGIN", value_parser = not_empty)]
    to: Option<String>,
    /// Only if it is on this origin now.
    #[arg(long, value_name = "ORIGIN", value_parser = not_empty)]
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

/// Whether streams move, or are only shown.
#[derive(Debug, Args)]
pub struct RebalanceArguments {
    /// Show what would move, and move nothing.
    #[arg(long)]
    pub dry_run: bool,
    /// The proxy to ask.
    #[command(flatten)]
    pub ask: Ask,
}

/// Which ban to lift.
#[derive(Debug, Args)]
pub struct UnbanArguments {
    /// The ban, by the id or by the target that `sluicegate bans` shows.
    #[arg(value_parser = not_empty)]
    pub ban: String,
    /// The proxy to ask.
    #[command(flatten)]
    pub ask: Ask,
}

/// A stream.
#[derive(Debug, Args)]
pub struct ExplainArguments {
    /// The stream, as app/name or vhost/app/name; or the address that a client has.
    #[arg(value_parser = not_empty)]
    stream: String,
    /// Explain for this protocol, such as rtmp, hls or webrtc; default: rtmp, or what the fleet serves.
    #[arg(long, value_name = "PROTOCOL", value_parser = not_empty)]
    protocol: Option<String>,
    /// Explain as if this origin did not exist.
    #[arg(long, value_name = "ORIGIN", value_parser = not_empty)]
    pub without: Option<String>,
    /// Say which access rule decides about a client, such as "publish over srt from 192.0.2.1 with srt=me:KEY".
    #[arg(long = "as", value_name = "CLIENT", value_parser = not_empty)]
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

impl DrainArguments {
    /// The drain as a query of the API.
    pub(in crate::cli) fn query(&self) -> String {
        let parts = [
            self.whom.query(),
            self.deadline
                .as_ref()
                .map_or_else(String::new, Deadline::query),
            forced(self.force).to_owned(),
        ];
        let given = parts.into_iter().filter(|part| !part.is_empty());
        given.collect::<Vec<_>>().join("&")
    }
}

impl DisableArguments {
    /// The disabling as a query of the API.
    pub(in crate::cli) const fn query(&self) -> &'static str {
        forced(self.force)
    }
}

/// Whether what leaves nobody is done all the same, as a query of the API.
const fn forced(force: bool) -> &'static str {
    if force { "force=true" } else { "" }
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
    /// Whether only rows that mention a text are wanted.
    pub(super) const fn is_narrowed(&self) -> bool {
        self.find.is_some()
    }

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
    pub(in crate::cli) fn query(&self) -> String {
        match &self.proxy {
            None | Some(None) => String::new(),
            Some(Some(proxy)) => format!("proxy={}", escaped(proxy)),
        }
    }
}

impl ExplainArguments {
    /// The stream as a query of the API, explained without the origin `without` if one is given.
    pub(super) fn query(&self, without: Option<&str>) -> String {
        let mut query = format!("stream={}", escaped(&self.stream));
        if let Some(protocol) = &self.protocol {
            query.push_str(&format!("&protocol={}", escaped(protocol)));
        }
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
///
/// # Errors
/// A variable that names none: another proxy than was meant would be asked.
pub(crate) fn proxy_of<T: FromStr<Err: Debug>>(
    given: Option<T>,
    environment: &Environment,
) -> Result<T, NotAProxyUrl> {
    if let Some(given) = given {
        return Ok(given);
    }
    match environment.variable(URL_VARIABLE) {
        Some(named) => named.parse().map_err(|_| NotAProxyUrl),
        None => Ok(USUAL_PROXY.parse().expect("a constant URL")),
    }
}

/// The environment names a proxy by something that is no URL.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "{URL_VARIABLE} is not the URL of a system API, such as http://HOST:12025 or https://HOST:12025"
)]
pub struct NotAProxyUrl;

impl Ask {
    /// The system API to ask.
    ///
    /// # Errors
    /// As [`proxy_of`].
    pub(super) fn proxy(&self, environment: &Environment) -> Result<Url, NotAProxyUrl> {
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
    fn another_proxy_than_the_environment_names_is_never_asked() {
        for (cause, value, expected) in [
            ("a URL", "http://10.0.0.9:12025", Ok("10.0.0.9:12025")),
            ("nothing", "", Ok("127.0.0.1:12025")),
            ("no URL", "the proxy", Err(NotAProxyUrl)),
            ("no scheme", "10.0.0.9:12025", Err(NotAProxyUrl)),
        ] {
            let named = [(URL_VARIABLE.to_owned(), value.to_owned())];
            let asked = proxy_of::<Url>(None, &Environment::new(named, ""));
            let asked = asked.map(|url| url.target().to_string());
            assert_eq!(
                asked.as_deref().map_err(|error| *error),
                expected,
                "{cause}"
            );
        }
    }

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
