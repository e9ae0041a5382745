//! `sluicegate tap` records what a session carries, through the system API of a running proxy.

use std::fs::File;
use std::io::{self, ErrorKind, Write};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use clap::Args;
use http_body_util::{BodyExt, Full};
use hyper::header::{AUTHORIZATION, HOST, HeaderValue, TE};
use hyper::{Request, Response, Uri};
use sluicegate_core::counted::counted;
use sluicegate_core::fleet::origin::Target;
use sluicegate_core::http::caller::PROGRAM;
use tokio::time::timeout;

use crate::api::{Envelope, Problem, Session, Sessions};
use crate::cli::not_empty;
use crate::cli::operate::proxy_of;
use crate::config::{Credential, Environment, URL_VARIABLE};
use crate::net::http::status_words;
use crate::origin::connect::Connector;
use crate::origin::http::{self, AnswerBody};
use crate::origin::probe::plain;
use crate::value::Secret;
use crate::value::url::server_of;

/// What to record, and where to write it.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLE)]
pub struct TapArguments {
    /// The stream, as app/stream or vhost/app/stream, or the number of a session.
    #[arg(value_parser = not_empty)]
    stream: String,
    /// How many seconds to record, at most 300.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=300))]
    seconds: u64,
    /// The FLV file to write; - is standard output.
    #[arg(long, short, value_name = "FILE")]
    output: PathBuf,
    /// The proxy's system API; default: SLUICEGATE_URL, then http://127.0.0.1:12025.
    #[arg(long, value_name = "URL")]
    proxy: Option<Uri>,
    /// The bearer token that the proxy requires; in PROXY_HTTP_API_AUTH_TOKEN, or in a file, other users can't see it.
    #[arg(long, value_name = "TOKEN")]
    token: Option<Secret>,
}

/// Records into the file, and says on standard error how the recording ended.
///
/// # Errors
/// Why there is no recording, or why it ended early.
pub async fn run(arguments: TapArguments) -> anyhow::Result<()> {
    let api = SystemApi::of(&arguments)?;
    let id = api.session(&arguments.stream).await?;
    let path = format!("/api/v1/sessions/{id}/tap?seconds={}", arguments.seconds);
    let response = api.get(&path).await?;
    if !response.status().is_success() {
        bail!(refusal(response).await);
    }
    let mut file: Box<dyn Write> = if arguments.output.as_os_str() == "-" {
        Box::new(io::stdout())
    } else {
        let name = arguments.output.display();
        Box::new(File::create(&arguments.output).with_context(|| format!("cannot write {name}"))?)
    };
    let (mut bytes, mut ended) = (0, None);
    let mut body = response.into_body();
    while let Some(frame) = body.frame().await {
        match frame.context("the recording broke off")?.into_data() {
            Ok(data) => {
                bytes += data.len();
                match file.write_all(&data) {
                    // A reader that closes the pipe early has seen enough.
                    Err(error) if error.kind() == ErrorKind::BrokenPipe => return Ok(()),
                    written => written.context("cannot write the recording")?,
                }
            }
            Err(frame) => ended = frame.into_trailers().ok(),
        }
    }
    file.flush().context("cannot write the recording")?;
    let why = ended
        .as_ref()
        .and_then(|trailers| trailers.get("tap-ended"));
    let bytes = counted(bytes, "byte");
    match why.and_then(|why| why.to_str().ok()) {
        Some("time") => eprintln!("recorded {bytes} of session {id}"),
        Some("session") => eprintln!("recorded {bytes}; session {id} ended"),
        Some("behind") => bail!("recorded {bytes}; this end was too slow for the session"),
        Some("unreadable") => bail!("recorded {bytes}; what follows cannot be read as FLV"),
        _ => bail!("recorded {bytes}; the proxy went away"),
    }
    Ok(())
}

struct SystemApi {
    authority: String,
    target: Target,
    token: Option<HeaderValue>,
}

impl SystemApi {
    fn of(arguments: &TapArguments) -> anyhow::Result<Self> {
        let environment = Environment::read()?;
        let proxy = proxy_of(arguments.proxy.clone(), &environment)?;
        let target = server_of(&proxy, Some(12025));
        let Some((authority, target)) = proxy.authority().zip(target) else {
            bail!("--proxy: write the system API as http://HOST:12025 or https://HOST:12025");
        };
        let token = match arguments.token.clone() {
            Some(token) => Some(token),
            None => environment.secret("system.auth_token")?,
        };
        let bearer = |token: Secret| {
            let header = Credential::bearer(token.reveal()).header();
            header.context("--token: not a token that a header can carry")
        };
        Ok(Self {
            authority: authority.to_string(),
            target,
            token: token
                .filter(|token| !token.is_empty())
                .map(bearer)
                .transpose()?,
        })
    }

    /// The session to record. The stream's publisher comes first if it is on this proxy, because it carries everything.
    async fn session(&self, wanted: &str) -> anyhow::Result<u64> {
        if let Ok(id) = wanted.parse() {
            return Ok(id);
        }
        let response = self.get("/api/v1/sessions?scope=local").await?;
        if !response.status().is_success() {
            bail!(refusal(response).await);
        }
        let body = http::whole(response.into_body(), LONGEST_LIST).await;
        let body = body.context("the list of sessions")?;
        let answer: Envelope<Sessions> =
            serde_json::from_slice(&body).context("the answer is not that of a system API")?;
        let ends = format!("/{wanted}");
        let fits = |session: &&Session| {
            let stream = &session.stream;
            let carries = matches!(session.protocol.as_str(), "http_flv" | "rtmp");
            carries && (stream == wanted || stream.ends_with(&ends))
        };
        let fitting = answer.data.sessions.iter().filter(fits);
        let first = fitting.min_by_key(|session| session.action != "publish");
        let id = first.map(|session| session.id);
        id.with_context(|| format!("no session carries {wanted} by RTMP or HTTP-FLV here"))
    }

    async fn get(&self, path: &str) -> anyhow::Result<Response<AnswerBody>> {
        let connected = Connector::unrestricted()
            .connect(&self.target, TIME_LIMIT)
            .await;
        let stream = connected.map_err(|error| {
            anyhow!(
                "cannot reach {}: {}; if the system API listens elsewhere (system.listen), say where with --proxy or in \
                 {URL_VARIABLE}",
                self.authority,
                plain(&error)
            )
        })?;
        let mut request = Request::builder()
            .uri(path)
            .header(HOST, &self.authority)
            .header(PROGRAM, "1")
            .header(TE, "trailers");
        if let Some(token) = &self.token {
            request = request.header(AUTHORIZATION, token);
        }
        let request = request.body(Full::default())?;
        let answer = timeout(TIME_LIMIT, http::once(stream, request)).await;
        Ok(answer.context("the system API did not answer")??)
    }
}

/// What a proxy that refuses said.
async fn refusal(response: Response<AnswerBody>) -> String {
    let status = response.status();
    let body = http::whole(response.into_body(), LONGEST_WORDS).await;
    let body = body.unwrap_or_default();
    let words = serde_json::from_slice(&body).map(|problem: Problem| problem.error);
    let words = words.unwrap_or_else(|_| "no reason given".to_owned());
    format!("{}: {words}", status_words(status))
}
const TIME_LIMIT: Duration = Duration::from_secs(5);
/// A hundred thousand sessions.
const LONGEST_LIST: usize = 64 * 1024 * 1024;
const LONGEST_WORDS: usize = 64 * 1024;
const EXAMPLE: &str = "\
Example:
  sluicegate tap live/a --seconds 10 -o a.flv";
