//! `sluicegate ps`, `origins`, `drain` and similar verbs: what an operator asks a running proxy, through its system
//! API.

mod arguments;
mod explain;
mod follow;
mod rebalance;
mod table;
mod tell;

pub use arguments::NotAProxyUrl;
pub(crate) use arguments::proxy_of;
pub use arguments::{
    Ask, BanArguments, Deadline, DisableArguments, DrainArguments, EventArguments,
    ExplainArguments, ListArguments, MoveArguments, Named, Numbered, Output, RebalanceArguments,
    UnbanArguments, Whom,
};

use std::io;
use std::process::ExitCode;
use std::time::Duration;

use hyper::{Method, StatusCode};
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::api::{EndedCount, Origins};
use crate::config::{ConfigError, Environment, URL_VARIABLE};
use crate::lookup::Explanation;
use crate::origin::connect::Connector;
use crate::origin::fetch::{self, FetchError, escaped};
use crate::output::print;
use crate::value::Secret;
use crate::value::Url;

/// An operator's question or command.
#[derive(Debug)]
pub enum Command {
    /// Ban somebody or something.
    Ban(BanArguments),
    /// List the bans.
    Bans(Ask),
    /// Send no new clients to an origin.
    Disable(DisableArguments),
    /// Drain an origin, or the proxy.
    Drain(DrainArguments),
    /// List what happened.
    Events(EventArguments),
    /// Explain why a stream is where it is.
    Explain(ExplainArguments),
    /// End a session.
    Kick(Numbered),
    /// Move a stream to another origin.
    Move(MoveArguments),
    /// List the origins.
    Origins(Ask),
    /// Ask an origin how it is.
    Probe(Named),
    /// Show everything at a glance.
    Ps(Ask),
    /// Move streams away from overloaded origins, or show which.
    Rebalance(RebalanceArguments),
    /// List the sessions.
    Sessions(ListArguments),
    /// List the streams.
    Streams(ListArguments),
    /// Lift a ban.
    Unban(UnbanArguments),
    /// Undo a drain.
    Undrain(Whom),
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum OperateError {
    /// The token is missing or wrong.
    #[error("{0}; give the token with --token or PROXY_HTTP_API_AUTH_TOKEN")]
    Denied(String),
    /// The token is in a file that does not hold it.
    #[error(transparent)]
    Environment(#[from] ConfigError),
    /// No proxy answers there.
    #[error(
        "no proxy answers at {0}: {1}; if its system API listens elsewhere (system.listen), say where with --to \
         (move: --proxy) or in {URL_VARIABLE}, such as http://HOST:PORT"
    )]
    Unreachable(Url, FetchError),
    /// The proxy refused.
    #[error("{0}")]
    Refused(String),
    /// The proxy refused, and would not if it were forced.
    #[error("{0}; --force does it all the same")]
    Forcible(String),
    /// The environment names no proxy.
    #[error(transparent)]
    ProxyUrl(#[from] NotAProxyUrl),
    /// What was named does not exist.
    #[error("{0}")]
    Unknown(String),
    /// Something answers that is not a proxy.
    #[error("{0} answers, but not as a proxy does: is this the system API?")]
    NotAProxy(Url),
    /// The answer cannot be written.
    #[error("cannot write: {0}")]
    Output(#[from] io::Error),
}

impl OperateError {
    /// The exit code, which scripts may rely on.
    pub const fn code(&self) -> u8 {
        match self {
            Self::Environment(_)
            | Self::Refused(_)
            | Self::Forcible(_)
            | Self::NotAProxy(_)
            | Self::Output(_) => 1,
            Self::ProxyUrl(_) => 2,
            Self::Unreachable(..) => 3,
            Self::Denied(_) => 4,
            Self::Unknown(_) => 5,
        }
    }
}

/// Asks, prints the answer, and returns the exit code.
pub async fn run(question: Command, environment: &Environment) -> ExitCode {
    let answered = answer(question, environment).await;
    match answered.and_then(|text| Ok(print(text)?)) {
        Ok(_) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("sluicegate: {error}");
            ExitCode::from(error.code())
        }
    }
}

async fn answer(question: Command, environment: &Environment) -> Result<String, OperateError> {
    match question {
        Command::Ps(ask) => ps(&ask, environment).await,
        Command::Origins(ask) => list(&ask, environment, "origins", tell::origins).await,
        Command::Streams(it) => {
            let what = format!("streams{}", it.query());
            let told = |all: &_| tell::streams(all, it.is_narrowed());
            list(&it.ask, environment, &what, told).await
        }
        Command::Sessions(it) => {
            let what = format!("sessions{}", it.query());
            let told = |all: &_| tell::sessions(all, it.is_narrowed());
            list(&it.ask, environment, &what, told).await
        }
        Command::Events(it) => {
            let caller = ProxyClient::new(&it.ask, environment)?;
            follow::events(&it, &caller).await
        }
        Command::Explain(it) => {
            let caller = ProxyClient::new(&it.ask, environment)?;
            explained(&it, &caller).await
        }
        Command::Kick(it) => {
            let caller = ProxyClient::new(&it.ask, environment)?;
            let what = if it.id.contains('/') {
                "streams"
            } else {
                "sessions"
            };
            let path = format!("/api/v1/{what}/{}", escaped(&it.id));
            let document = caller.ask(Method::DELETE, &path).await?;
            let told = |ended: Option<EndedCount>| tell::kick(&it.id, ended.as_ref());
            caller.shown(&it.ask, document, told)
        }
        Command::Ban(it) => {
            let caller = ProxyClient::new(&it.ask, environment)?;
            let path = format!("/api/v1/bans?{}", it.query());
            let document = caller.ask(Method::POST, &path).await?;
            caller.shown(&it.ask, document, |banned| tell::ban(&banned))
        }
        Command::Bans(ask) => list(&ask, environment, "bans", tell::bans).await,
        Command::Unban(it) => {
            let caller = ProxyClient::new(&it.ask, environment)?;
            let path = format!("/api/v1/bans/{}", escaped(&it.ban));
            let document = caller.ask(Method::DELETE, &path).await?;
            caller.shown(&it.ask, document, |lifted| tell::unban(&lifted))
        }
        Command::Move(it) => {
            let ask = it.ask();
            let caller = ProxyClient::new(&ask, environment)?;
            let path = format!("/api/v1/moves?{}", it.query());
            let document = caller.ask(Method::POST, &path).await?;
            caller.shown(&ask, document, |it| tell::moved(&it))
        }
        Command::Rebalance(it) => {
            let caller = ProxyClient::new(&it.ask, environment)?;
            let method = match it.dry_run {
                true => Method::GET,
                false => Method::POST,
            };
            let document = caller.ask(method, "/api/v1/rebalance").await?;
            caller.shown(&it.ask, document, |plan| rebalance::told(&plan, it.dry_run))
        }
        Command::Probe(it) => {
            let caller = ProxyClient::new(&it.ask, environment)?;
            let path = format!("/api/v1/origins/{}/probe", escaped(&it.origin));
            let document = caller.ask(Method::POST, &path).await?;
            caller.shown(&it.ask, document, |probed| tell::probed(&probed))
        }
        Command::Disable(it) => {
            let origin = Some(it.origin.as_str());
            duty(&it.ask, environment, origin, "disable", it.query()).await
        }
        Command::Undrain(it) => {
            let query = it.query();
            duty(
                &it.ask,
                environment,
                it.origin.as_deref(),
                "undrain",
                &query,
            )
            .await
        }
        Command::Drain(it) => {
            let origin = it.whom.origin.as_deref();
            let text = duty(&it.whom.ask, environment, origin, "drain", &it.query()).await?;
            if !it.wait {
                return Ok(text);
            }
            print(text)?;
            let caller = ProxyClient::new(&it.whom.ask, environment)?;
            follow::drained(origin, &it.whom.query(), &caller).await
        }
    }
}

/// The explanation for people. It also says what would happen without the origin that has the stream, and what is known
/// about those that are rejected or not well.
async fn explained(it: &ExplainArguments, caller: &ProxyClient) -> Result<String, OperateError> {
    let about = async |without: Option<&str>| {
        let path = format!("/api/v1/explain?{}", it.query(without));
        caller.ask(Method::GET, &path).await
    };
    let left_out = it.without.as_deref();
    let document = about(left_out).await?;
    if it.ask.output == Output::Json {
        return Ok(format!("{document:#}\n"));
    }
    let said: Explanation = caller.read(document)?;
    let otherwise = match (&said.origin, left_out) {
        // The origin may be gone by now; then there is nothing to say about its absence.
        (Some(origin), None) => about(Some(origin.as_str())).await.ok(),
        _ => None,
    };
    let fleet: Origins = caller.read(caller.ask(Method::GET, "/api/v1/origins").await?)?;
    let otherwise: Option<Explanation> = otherwise.map(|it| caller.read(it)).transpose()?;
    let fleet = &fleet.origins;
    Ok(explain::story(&said, left_out, otherwise.as_ref(), fleet))
}

async fn list<T: DeserializeOwned>(
    ask: &Ask,
    environment: &Environment,
    what: &str,
    tell: impl FnOnce(&T) -> String,
) -> Result<String, OperateError> {
    let caller = ProxyClient::new(ask, environment)?;
    let document = caller.ask(Method::GET, &format!("/api/v1/{what}")).await?;
    caller.shown(ask, document, |document| tell(&document))
}

async fn ps(ask: &Ask, environment: &Environment) -> Result<String, OperateError> {
    let caller = ProxyClient::new(ask, environment)?;
    let mut all = serde_json::Map::new();
    for what in ["proxy", "origins", "streams"] {
        let document = caller.ask(Method::GET, &format!("/api/v1/{what}")).await?;
        all.insert(what.to_owned(), document);
    }
    caller.shown(ask, Value::Object(all), |all| tell::ps(&all))
}

/// Sets the duty of an origin, or of the proxy if no origin is named.
async fn duty(
    ask: &Ask,
    environment: &Environment,
    origin: Option<&str>,
    verb: &str,
    query: &str,
) -> Result<String, OperateError> {
    let whom = match origin {
        Some(origin) => format!("origins/{}", escaped(origin)),
        None => "proxy".to_owned(),
    };
    let path = match query {
        "" => format!("/api/v1/{whom}/{verb}"),
        query => format!("/api/v1/{whom}/{verb}?{query}"),
    };
    let caller = ProxyClient::new(ask, environment)?;
    let document = caller.ask(Method::POST, &path).await?;
    match origin {
        Some(_) => caller.shown(ask, document, |it| tell::origin_duty(&it)),
        None => caller.shown(ask, document, |it| tell::proxy_duty(&it)),
    }
}

/// A proxy, and the credentials for it.
struct ProxyClient {
    at: Url,
    token: Option<Secret>,
    /// Whether only the proxy itself should answer.
    local: bool,
}

impl ProxyClient {
    fn new(ask: &Ask, environment: &Environment) -> Result<Self, OperateError> {
        Ok(Self {
            at: ask.proxy(environment)?,
            token: ask.token(environment)?,
            local: ask.local,
        })
    }

    /// A document as it was asked for: as it is, or told for people.
    fn shown<T: DeserializeOwned>(
        &self,
        ask: &Ask,
        document: Value,
        tell: impl FnOnce(T) -> String,
    ) -> Result<String, OperateError> {
        match ask.output {
            Output::Json => Ok(format!("{document:#}\n")),
            Output::Table => Ok(tell(self.read(document)?)),
        }
    }

    /// Reads a document of the system API.
    fn read<T: DeserializeOwned>(&self, document: Value) -> Result<T, OperateError> {
        serde_json::from_value(document).map_err(|_| OperateError::NotAProxy(self.at.clone()))
    }

    /// The `data` of an answer.
    async fn ask(&self, method: Method, path: &str) -> Result<Value, OperateError> {
        let separator = if path.contains('?') { '&' } else { '?' };
        let scope = if self.local { "local" } else { "cluster" };
        let url = self.at.join(&format!("{path}{separator}scope={scope}"));
        let asked = fetch::ask(
            &Connector::unrestricted(),
            method,
            &url,
            self.token.as_ref(),
            TIME_LIMIT,
            LONGEST_ANSWER,
        )
        .await;
        let (status, body) = asked.map_err(|error| match error {
            FetchError::NotAToken => OperateError::Denied(error.to_string()),
            error => OperateError::Unreachable(self.at.clone(), error),
        })?;
        let document: Option<Value> = serde_json::from_slice(&body).ok();
        let words = document
            .as_ref()
            .and_then(|document| document.get("error"))
            .and_then(Value::as_str)
            .map(|words| {
                words
                    .chars()
                    .filter(|letter| !letter.is_control())
                    .collect::<String>()
            });
        let is_forcible = document
            .as_ref()
            .is_some_and(|document| document["force"] == true);
        match (status, words) {
            (
                StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN | StatusCode::MISDIRECTED_REQUEST,
                Some(words),
            ) => Err(OperateError::Denied(words)),
            (StatusCode::NOT_FOUND, Some(words)) => Err(OperateError::Unknown(words)),
            (status, Some(words)) if !status.is_success() && is_forcible => {
                Err(OperateError::Forcible(words))
            }
            (status, Some(words)) if !status.is_success() => Err(OperateError::Refused(words)),
            (status, _) if status.is_success() => {
                let document = document.filter(|document| document.get("code").is_some());
                let mut document =
                    document.ok_or_else(|| OperateError::NotAProxy(self.at.clone()))?;
                Ok(document.get_mut("data").map_or(Value::Null, Value::take))
            }
            _ => Err(OperateError::NotAProxy(self.at.clone())),
        }
    }
}

const TIME_LIMIT: Duration = Duration::from_secs(10);
/// Maximum bytes of an answer: the table of a hundred thousand sessions.
const LONGEST_ANSWER: usize = 128 * 1024 * 1024;

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::cli::{Cli, Verb};

    #[tokio::test]
    async fn who_asks_at_the_wrong_port_is_told_how_to_name_another() {
        // Nothing listens where a listener was a moment ago.
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("bound"));
        drop(listener);
        for (token, code, wanted) in [
            (
                "sesame",
                3,
                &[
                    "connection refused",
                    "system.listen",
                    "--to",
                    "SLUICEGATE_URL",
                ][..],
            ),
            ("ses\name", 4, &["--token"]),
        ] {
            let line = ["sluicegate", "ps", "--to", &url, "--token", token];
            let Ok(Verb::Ps(ask)) = Cli::try_parse_from(line).map(Cli::verb) else {
                panic!("it is a verb");
            };
            let environment = Environment::new([], "");
            let error = answer(Command::Ps(ask), &environment).await.unwrap_err();
            let words = error.to_string();
            assert_eq!(error.code(), code, "{words}");
            for part in wanted {
                assert!(
                    words.to_lowercase().contains(&part.to_lowercase()),
                    "{words}"
                );
            }
        }
    }
}
