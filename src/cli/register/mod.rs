//! The side program for origins that cannot register themselves: it probes the origin, and reports it for as long as it
//! answers.
//!
//! | file | what it knows |
//! | --- | --- |
//! | `arguments` | the options of `sluicegate register` |
//! | `report` | one report to one proxy, and its answer |

mod arguments;
mod report;

pub use arguments::RegisterArguments;
pub use report::{NotASystemApi, ReportError, SystemApi};

use crate::config::{ConfigError, Environment, format_duration};
use crate::origin::connect::Connector;
use crate::origin::probe::{self, ProbeError};
use crate::value::Secret;
use bytes::Bytes;
use futures_util::future::join_all;
use sluicegate_core::fleet::attributes::AttributeError;
use sluicegate_core::fleet::origin::{Origin, Target};
use sluicegate_core::stream::Service;
use std::convert::Infallible;
use std::fmt;
use std::io::{self, Write};
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};

/// `sluicegate register`: does what `arguments` ask for until SIGTERM, SIGINT or SIGQUIT. It reports what happens in sentences,
/// on standard output, or on standard error if an operator may have to act.
///
/// # Errors
/// Those of [`keep`], and a token that no header can carry.
pub async fn run(arguments: RegisterArguments) -> anyhow::Result<()> {
    let registration = arguments.registration(&Environment::read()?)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(RegisterError::NoSignals)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(RegisterError::NoSignals)?;
    let mut quit = signal(SignalKind::quit()).map_err(RegisterError::NoSignals)?;
    // Other programs open their logs again at these. Here nothing is open, and nobody means to end the origin's reports.
    let _without_effect = [SignalKind::user_defined1(), SignalKind::user_defined2()].map(signal);
    let stop = async {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
            _ = quit.recv() => {}
        }
    };
    let tell = |event: Event| {
        // The reader of this output may go; the origin stays registered.
        let _ = if event.is_problem() {
            writeln!(io::stderr(), "{event}")
        } else {
            writeln!(io::stdout(), "{event}")
        };
    };
    Ok(keep(&registration, tell, stop).await?)
}

/// What to report, and to which proxies.
#[derive(Debug, Clone)]
pub struct Registration {
    /// The origin; its `service` gets a new value each time it comes back.
    pub origin: Origin,
    /// The proxies to register it with.
    pub to: Vec<SystemApi>,
    /// The bearer token that they require; empty for none.
    pub token: Secret,
    /// How long to wait between two reports, while the origin answers. `None`: report it once, without a probe.
    pub while_answers: Option<Duration>,
}

/// Reports the origin until `stop` completes, or once. `tell` gets each change once.
///
/// # Errors
/// For a single report, that a proxy refused it. Repeated reports do not give up.
pub async fn keep(
    registration: &Registration,
    mut tell: impl FnMut(Event),
    stop: impl Future<Output = ()>,
) -> Result<(), RegisterError> {
    let work = async {
        let Some(every) = registration.while_answers else {
            return report_once(registration, &mut tell).await;
        };
        match report_while_answering(registration, every, &mut tell).await {
            Err(error) => Err(error),
        }
    };
    tokio::select! {
        result = work => result,
        () = stop => Ok(()),
    }
}

/// A change.
#[derive(Debug)]
pub enum Event {
    /// A proxy accepted the origin.
    Accepted {
        /// The id of the origin.
        server: String,
        /// The proxy.
        proxy: SystemApi,
    },
    /// The origin answers again.
    Answers {
        /// The id of the origin.
        server: String,
        /// The address that was probed.
        target: Target,
        /// How often the origin is reported.
        every: Duration,
    },
    /// A proxy refused the origin.
    Refused {
        /// The id of the origin.
        server: String,
        /// The proxy.
        proxy: SystemApi,
        /// The reason.
        why: ReportError,
    },
    /// The origin does not answer.
    Silent {
        /// The id of the origin.
        server: String,
        /// The address that was probed.
        target: Target,
        /// The reason.
        why: ProbeError,
    },
    /// The origin has only services that cannot be probed.
    Unasked {
        /// The id of the origin.
        server: String,
        /// How often the origin is reported.
        every: Duration,
    },
}

/// Why registering ended.
#[derive(Debug, thiserror::Error)]
pub enum RegisterError {
    /// An attribute is invalid.
    #[error("--{name}: {why}", name = .0.replace('_', "-"), why = .1)]
    Attribute(&'static str, AttributeError),
    /// The token is in a file that does not hold it.
    #[error(transparent)]
    Environment(#[from] ConfigError),
    /// The system provides no random bytes.
    #[error("cannot draw an id for the origin: {0}")]
    NoRandomness(getrandom::Error),
    /// The token cannot be sent in a header.
    #[error("the token holds other than printable ASCII characters, or a space")]
    NotAToken,
    /// At least one proxy refused the single report.
    #[error("{0}")]
    NotTaken(String),
    /// The system provides no signals.
    #[error("cannot wait for signals: {0}")]
    NoSignals(io::Error),
}

impl Event {
    /// Whether an operator may have to act.
    pub const fn is_problem(&self) -> bool {
        matches!(self, Self::Refused { .. } | Self::Silent { .. })
    }
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Accepted { server, proxy } => write!(f, "{server} is registered at {proxy}"),
            Self::Answers {
                server,
                target,
                every,
            } => {
                write!(
                    f,
                    "{server} answers at {target}; reporting it every {}",
                    format_duration(*every)
                )
            }
            Self::Refused { server, proxy, why } => {
                write!(f, "{server} is not registered at {proxy}: {why}")
            }
            Self::Silent {
                server,
                target,
                why,
            } => {
                write!(
                    f,
                    "{server} does not answer at {target}: {why}; not reporting it until it does"
                )
            }
            Self::Unasked { server, every } => write!(
                f,
                "{server} has services over UDP only, which cannot be asked; reporting it every {} whether it answers or not",
                format_duration(*every)
            ),
        }
    }
}

async fn report_once(
    registration: &Registration,
    tell: &mut impl FnMut(Event),
) -> Result<(), RegisterError> {
    let mut refusals = Vec::new();
    let results = report(registration, &new_instance()?).await;
    for (proxy, result) in registration.to.iter().zip(results) {
        match outcome(registration, proxy, result) {
            refusal @ Event::Refused { .. } => refusals.push(refusal.to_string()),
            event => tell(event),
        }
    }
    if refusals.is_empty() {
        Ok(())
    } else {
        Err(RegisterError::NotTaken(refusals.join("; ")))
    }
}

async fn report_while_answering(
    registration: &Registration,
    every: Duration,
    tell: &mut impl FnMut(Event),
) -> Result<Infallible, RegisterError> {
    let server = || registration.origin.server.clone();
    let asked = asked(&registration.origin);
    if asked.is_none() {
        tell(Event::Unasked {
            server: server(),
            every,
        });
    }
    let mut instance = new_instance()?;
    let mut answered = None;
    // The last answer of each proxy, so that only changes are reported.
    let mut told: Vec<Option<String>> = vec![None; registration.to.len()];
    loop {
        if let Some((service, target)) = &asked {
            let target = target.clone();
            match probe::answers(&Connector::unrestricted(), &target, *service).await {
                Err(why) => {
                    if answered.replace(false) != Some(false) {
                        tell(Event::Silent {
                            server: server(),
                            target,
                            why,
                        });
                    }
                    tokio::time::sleep(AGAIN.min(every)).await;
                    continue;
                }
                Ok(()) => {
                    let before = answered.replace(true);
                    if before != Some(true) {
                        tell(Event::Answers {
                            server: server(),
                            target,
                            every,
                        });
                    }
                    if before == Some(false) {
                        // The origin may have been restarted: with a new id, proxies treat it so.
                        instance = new_instance()?;
                    }
                }
            }
        }
        let results = report(registration, &instance).await;
        let all_taken = results.iter().all(Result::is_ok);
        for ((proxy, told), result) in registration.to.iter().zip(&mut told).zip(results) {
            let event = outcome(registration, proxy, result);
            let sentence = event.to_string();
            if told.as_ref() != Some(&sentence) {
                tell(event);
                *told = Some(sentence);
            }
        }
        tokio::time::sleep(if all_taken { every } else { AGAIN.min(every) }).await;
    }
}

fn outcome(
    registration: &Registration,
    proxy: &SystemApi,
    result: Result<(), ReportError>,
) -> Event {
    let (server, proxy) = (registration.origin.server.clone(), proxy.clone());
    match result {
        Ok(()) => Event::Accepted { server, proxy },
        Err(why) => Event::Refused { server, proxy, why },
    }
}

/// The service to probe: RTMP before all others, because its handshake tells most.
fn asked(origin: &Origin) -> Option<(Service, Target)> {
    [Service::Rtmp, Service::Http, Service::Api, Service::Rtsp]
        .into_iter()
        .find_map(|service| Some((service, origin.target(service)?)))
}

/// Reports the origin to all proxies at the same time.
async fn report(registration: &Registration, instance: &str) -> Vec<Result<(), ReportError>> {
    let document = Bytes::from(report::document(&registration.origin, instance).to_string());
    join_all(
        registration
            .to
            .iter()
            .map(|proxy| proxy.report(&registration.token, document.clone())),
    )
    .await
}

/// Eight random letters and digits, as SRS draws at each start.
fn new_instance() -> Result<String, RegisterError> {
    let mut random = [0; 8];
    getrandom::fill(&mut random).map_err(RegisterError::NoRandomness)?;
    let alphabet = ('a'..='z').chain('2'..='7');
    Ok(random
        .iter()
        .filter_map(|byte| alphabet.clone().nth(usize::from(byte % 32)))
        .collect())
}

/// How long to wait after an origin or a proxy that did not answer.
const AGAIN: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instances_differ() {
        let (one, two) = (new_instance().unwrap(), new_instance().unwrap());
        assert_ne!(one, two);
        assert!(
            one.len() == 8 && one.bytes().all(|byte| byte.is_ascii_alphanumeric()),
            "{one}"
        );
    }
}
